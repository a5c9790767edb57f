package blobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"teamtalk/protocol"
)

const (
	// page is how many rows are read at once, and dropped by one command.
	page = 256
	// sweepRounds is how many commands follow each other before the log is left to others until the next sweep.
	sweepRounds = 64
)

// Run copies, removes and compares until ctx ends, and returns nil then. What fails is tried again.
func (k *Keeper) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	compare := make(chan struct{}, 1)
	// All of them end with ctx and are joined here.
	if k.cfg.Events != nil {
		wg.Go(func() { k.follow(ctx, compare) })
	}
	for range k.cfg.Tuning.Copies {
		wg.Go(func() { k.copyAll(ctx) })
	}
	wg.Go(func() { k.holdAll(ctx) })
	t := time.NewTicker(k.cfg.Tuning.Every)
	defer t.Stop()
	notice := time.NewTicker(k.cfg.Tuning.Notice)
	defer notice.Stop()
	k.again.Store(true)
	w := watch{keeper: k, wait: k.cfg.Tuning.Notice}
	for {
		if now := time.Now(); k.again.Swap(false) || now.Sub(w.compared) >= k.cfg.Tuning.Compare {
			w.compared = now
			w.saw(now, k.others())
			if err := k.compare(ctx); err != nil && ctx.Err() == nil {
				k.again.Store(true)
				k.log.Warn("what is here can't be compared with what is recorded; it will be tried again", "error", err)
			}
		}
		if err := k.sweep(ctx); err != nil && ctx.Err() == nil {
			k.log.Warn("blobs can't be swept; it will be tried again", "error", err)
		}
		for waiting := true; waiting; {
			select {
			case <-notice.C:
				k.removeDue(ctx)
				if err := w.look(ctx); err != nil && ctx.Err() == nil {
					k.lacking.Store(true)
					k.log.Warn("it can't be told which copies are missing; it will be tried again", "error", err)
				}
				continue
			case <-t.C:
			case <-compare:
				k.again.Store(true)
			case <-ctx.Done():
				return nil
			}
			waiting = false
		}
	}
}

// follow does what events ask for.
func (k *Keeper) follow(ctx context.Context, compare chan<- struct{}) {
	for {
		events, err := k.cfg.Events.Next(ctx)
		if err != nil {
			return // ctx, or the bus is closed: this node ends
		}
		for _, e := range events {
			switch body := e.Body.(type) {
			case protocol.BlobAdded:
				if k.wantCopy(body.Blob, []protocol.NodeID{body.Node}) {
					k.enqueue(body.Blob.ID)
				}
			case protocol.BlobsDropped:
				k.removeDropped(ctx, body.IDs)
			case protocol.Jumped:
				select {
				case compare <- struct{}{}:
				default: // asked for already
				}
			}
		}
	}
}

// removeDropped removes what was dropped. Where all nodes share the content the one that leads does, and the others when it should be done: another one may lead
// by now, or none.
func (k *Keeper) removeDropped(ctx context.Context, ids []protocol.BlobID) {
	_, leads := k.cfg.State.Head()
	for _, id := range ids {
		if k.cfg.Backend.Shared() && !leads {
			k.removeLater(id, 2*k.cfg.Tuning.Young)
			continue
		}
		if err := k.remove(ctx, id, "dropped"); err != nil && ctx.Err() == nil {
			k.again.Store(true)
			k.log.Warn("a dropped blob can't be removed; it will be tried again", "blob", id.String(), "error", err)
		}
	}
}

// remove removes the content of a blob that is not recorded: it may have come back since it was dropped.
func (k *Keeper) remove(ctx context.Context, id protocol.BlobID, why string) error {
	unlock := k.ids.lock(id)
	defer unlock()
	if _, err := k.cfg.Backend.Stat(ctx, id); err != nil {
		if errors.Is(err, ErrMissing) {
			return nil
		}
		return err
	}
	removed, err := k.removeUnrecorded(ctx, id)
	if removed {
		k.metrics.removed.WithLabelValues(why).Inc()
	}
	return err
}

// enqueue has a blob copied.
func (k *Keeper) enqueue(id protocol.BlobID) {
	select {
	case k.copies <- id:
	default:
		k.lacking.Store(true)
		k.metrics.left.WithLabelValues("copy").Inc()
	}
}

// copyAll gets copies for safety.
func (k *Keeper) copyAll(ctx context.Context) {
	for {
		select {
		case id := <-k.copies:
			if err := k.copy(ctx, id); err != nil && ctx.Err() == nil {
				k.lacking.Store(true)
				k.log.Warn("a blob could not be copied for safety; it will be tried again", "blob", id.String(), "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// copy gets one, if it is still this node's turn.
func (k *Keeper) copy(ctx context.Context, id protocol.BlobID) error {
	b, holders, err := k.cfg.State.Blob(id)
	if protocol.CodeOf(err) == protocol.CodeNotFound {
		return nil // dropped meanwhile
	}
	if err != nil {
		return err
	}
	if !k.wantCopy(b, holders) {
		return nil
	}
	c, err := k.Open(ctx, id)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	if b.Size > 0 { // the last byte is there when all is
		if _, err := c.Seek(-1, io.SeekEnd); err != nil {
			return err
		}
	}
	if _, err := io.Copy(io.Discard, c); err != nil {
		return err
	}
	if _, fetched := c.from.(*follower); !fetched {
		k.hold(id) // it was here before, and that could not be recorded
	}
	return nil
}

// hold has it recorded that this node has a blob.
func (k *Keeper) hold(id protocol.BlobID) {
	if k.cfg.Backend.Shared() {
		return // whoever has it, all have
	}
	select {
	case k.held <- id:
	default:
		k.again.Store(true)
		k.lacking.Store(true)
		k.metrics.left.WithLabelValues("hold").Inc()
	}
}

// holdAll records, together what comes while a command is under way.
func (k *Keeper) holdAll(ctx context.Context) {
	for {
		var ids []protocol.BlobID
		select {
		case id := <-k.held:
			ids = append(ids, id)
		case <-ctx.Done():
			return
		}
		for more := true; more && len(ids) < page; {
			select {
			case id := <-k.held:
				ids = append(ids, id)
			default:
				more = false
			}
		}
		result, err := k.tell(ids, false)
		if err != nil && ctx.Err() == nil {
			k.again.Store(true)
			k.lacking.Store(true)
			k.log.Warn("it could not be recorded which blobs this node has; it will be tried again", "error", err)
		}
		k.removeDropped(ctx, result.Unknown) // while they were on their way
	}
}

// tell has it recorded which blobs this node has, or has lost. Without any, what was recorded before is known to this node afterwards.
func (k *Keeper) tell(ids []protocol.BlobID, lost bool) (result protocol.HoldBlobsResult, err error) {
	r, _, err := k.execute(&protocol.HoldBlobs{Node: k.cfg.Node, IDs: ids, Lost: lost})
	if err != nil {
		return result, err
	}
	result, ok := r.(protocol.HoldBlobsResult)
	if !ok {
		return result, fmt.Errorf("blobs: %T answers HoldBlobs", r)
	}
	return result, nil
}

// compare brings together what is here and what is recorded.
func (k *Keeper) compare(ctx context.Context) error {
	if err := k.compareRecords(ctx); err != nil {
		return fmt.Errorf("records: %w", err)
	}
	if err := k.removeStrays(ctx); err != nil {
		return fmt.Errorf("content: %w", err)
	}
	return nil
}

// compareRecords looks for each recorded blob whether it is here, should be, or should not.
func (k *Keeper) compareRecords(ctx context.Context) error {
	if k.cfg.Backend.Shared() {
		return nil
	}
	var after protocol.BlobID
	for {
		places, err := k.cfg.State.BlobPlaces(after, page)
		if err != nil || len(places) == 0 {
			return err
		}
		var lost []protocol.BlobID
		for _, p := range places {
			if err := ctx.Err(); err != nil {
				return err
			}
			gone, err := k.compareRecord(ctx, p)
			if err != nil {
				return err
			}
			if gone {
				lost = append(lost, p.Blob.ID)
			}
		}
		if len(lost) > 0 {
			k.log.Warn("blobs that should be here are not", "count", len(lost), "first", lost[0].String())
			if _, err := k.tell(lost, true); err != nil {
				return err
			}
			for _, id := range lost {
				k.enqueue(id)
			}
		}
		after = places[len(places)-1].Blob.ID
	}
}

// compareRecord reports whether a blob is missing that should be here.
func (k *Keeper) compareRecord(ctx context.Context, p protocol.BlobPlace) (lost bool, err error) {
	b := p.Blob
	unlock := k.ids.lock(b.ID)
	defer unlock()
	at, err := k.cfg.Backend.Stat(ctx, b.ID)
	if err != nil && !errors.Is(err, ErrMissing) {
		return false, err
	}
	here, recorded := err == nil && at.Size == b.Size, slices.Contains(p.Nodes, k.cfg.Node)
	switch {
	case here && !recorded:
		k.hold(b.ID)
	case !here && recorded:
		return true, nil
	case !here && k.wantCopy(b, p.Nodes):
		k.enqueue(b.ID)
	}
	return false, nil
}

// removeStrays removes content that was never recorded, or was dropped while this node could not follow.
func (k *Keeper) removeStrays(ctx context.Context) error {
	if _, leads := k.cfg.State.Head(); k.cfg.Backend.Shared() && !leads {
		return nil
	}
	for {
		strays, err := k.strays(ctx)
		if err != nil || len(strays) == 0 {
			return err
		}
		// What was recorded before this command is known here when it is done: this node may be behind, and hold the only copy.
		if _, err := k.tell(nil, false); err != nil {
			return err
		}
		for _, id := range strays {
			if err := k.remove(ctx, id, "stray"); err != nil {
				return err
			}
		}
		if len(strays) < page {
			return nil
		}
	}
}

// strays are some blobs that are here, are not recorded, and are too old to be about to be.
func (k *Keeper) strays(ctx context.Context) ([]protocol.BlobID, error) {
	var ids []protocol.BlobID
	oldest := time.Now().Add(-k.cfg.Tuning.Stray)
	err := k.cfg.Backend.List(ctx, func(id protocol.BlobID, at Stat) error {
		if at.Put.After(oldest) {
			return nil
		}
		_, _, err := k.cfg.State.Blob(id)
		if protocol.CodeOf(err) != protocol.CodeNotFound {
			return err
		}
		if ids = append(ids, id); len(ids) == page {
			return errStopped
		}
		return nil
	})
	if errors.Is(err, errStopped) {
		err = nil
	}
	return ids, err
}

// sweep has dropped what is too old and what nothing shows, if this node leads.
func (k *Keeper) sweep(ctx context.Context) error {
	if _, leads := k.cfg.State.Head(); !leads {
		return nil
	}
	now := time.Now()
	if k.cfg.Retention > 0 {
		before := protocol.TimeOf(now.Add(-k.cfg.Retention))
		err := k.drop(ctx, "retention", protocol.DropBlobs{Before: before}, func() ([]protocol.Blob, error) { return k.cfg.State.BlobsAddedBefore(before, page) })
		if err != nil {
			return fmt.Errorf("retention: %w", err)
		}
	}
	if k.cfg.Unused > 0 {
		before := protocol.TimeOf(now.Add(-k.cfg.Unused))
		err := k.drop(ctx, "unused", protocol.DropBlobs{Unused: true, Before: before}, func() ([]protocol.Blob, error) { return k.cfg.State.UnusedBlobs(before, page) })
		if err != nil {
			return fmt.Errorf("unused: %w", err)
		}
	}
	return nil
}

// drop has those dropped that some tells, until there are no more.
func (k *Keeper) drop(ctx context.Context, why string, cmd protocol.DropBlobs, some func() ([]protocol.Blob, error)) error {
	for range sweepRounds {
		blobs, err := some()
		if err != nil || len(blobs) == 0 || ctx.Err() != nil {
			return err
		}
		cmd.IDs = nil
		for _, b := range blobs {
			cmd.IDs = append(cmd.IDs, b.ID)
		}
		r, _, err := k.execute(&cmd)
		if err != nil {
			return err
		}
		dropped, _ := r.(protocol.DropBlobsResult)
		k.metrics.dropped.WithLabelValues(why).Add(float64(len(dropped.Dropped)))
		if len(dropped.Dropped) == 0 {
			return nil // somebody shows them by now
		}
	}
	return nil
}
