package blobs

import (
	"context"
	"errors"
	"sync"
	"time"

	"teamtalk/protocol"
)

const (
	// laterMost is how many removals wait for their time; what does not fit goes as what is left over goes.
	laterMost = 1 << 16
	// removeWithin is how long looking and removing may take together: less than content is young.
	removeWithin = 20 * time.Second
)

// removals are those that wait: content of a store that all nodes share, which was dropped.
type removals struct {
	mu  sync.Mutex // guards what follows
	due map[protocol.BlobID]time.Time
}

// removeLater has content removed from a shared store after a while, if it is not recorded then.
func (k *Keeper) removeLater(id protocol.BlobID, after time.Duration) {
	k.later.mu.Lock()
	defer k.later.mu.Unlock()
	if len(k.later.due) >= laterMost {
		k.metrics.left.WithLabelValues("removal").Inc()
		return
	}
	if k.later.due == nil {
		k.later.due = map[protocol.BlobID]time.Time{}
	}
	k.later.due[id] = time.Now().Add(after)
}

// removeDue removes what has waited long enough.
func (k *Keeper) removeDue(ctx context.Context) {
	var ids []protocol.BlobID
	now := time.Now()
	k.later.mu.Lock()
	for id, at := range k.later.due {
		if !now.Before(at) {
			ids = append(ids, id)
			delete(k.later.due, id)
		}
	}
	k.later.mu.Unlock()
	for _, id := range ids {
		if err := k.remove(ctx, id, "dropped"); err != nil && ctx.Err() == nil {
			k.removeLater(id, k.cfg.Tuning.Young)
			k.log.Warn("a dropped blob can't be removed from the store; it will be tried again", "blob", id.String(), "error", err)
		}
	}
}

// removeShared removes content that is not recorded from a store in which other nodes put theirs. One of them may have put the same anew since it was looked up in
// the records, and looks once more whether it is there as soon as it is recorded: so what is young is left to it, and a removal does not linger.
func (k *Keeper) removeShared(ctx context.Context, id protocol.BlobID) (removed bool, err error) {
	young := k.cfg.Tuning.Young
	ctx, cancel := context.WithTimeout(ctx, removeWithin)
	defer cancel()
	at, err := k.cfg.Backend.Stat(ctx, id)
	switch {
	case errors.Is(err, ErrMissing):
		return false, nil
	case err != nil:
		return false, err
	case time.Since(at.Put) < young:
		k.removeLater(id, young)
		return false, nil
	}
	if err := k.cfg.Backend.Remove(ctx, id); err != nil {
		return false, err
	}
	return true, nil
}
