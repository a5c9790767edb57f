package blobs

import (
	"context"
	"maps"
	"slices"
	"time"

	"teamtalk/protocol"
)

// watch says when to look for missing copies between comparisons. It reads records only, no disk.
type watch struct {
	keeper   *Keeper
	compared time.Time                // when all was compared
	looked   time.Time                // when it was last seen what is missing
	others   map[protocol.NodeID]bool // among whom
	wait     time.Duration            // until what failed is tried again
}

// others are the other nodes, and whether they can be reached.
func (k *Keeper) others() map[protocol.NodeID]bool {
	if k.cfg.Nodes == nil {
		return nil
	}
	return k.cfg.Nodes.Others()
}

// saw notes when, and among whom, it was looked.
func (w *watch) saw(now time.Time, others map[protocol.NodeID]bool) { w.looked, w.others = now, others }

// look has copies made that are missing, if some failed, or the other nodes are not those of before: copies are needed when a node has left or died on its
// turn, and possible when one has come. What fails over and over is tried less and less often.
func (w *watch) look(ctx context.Context) error {
	k, now, others := w.keeper, time.Now(), w.keeper.others()
	tuning, since := &k.cfg.Tuning, now.Sub(w.looked)
	changed, lacking := !maps.Equal(w.others, others), k.lacking.Load()
	switch {
	case changed:
		w.wait = tuning.Notice
	case !lacking:
		if since >= 2*w.wait { // whatever was tried has come out well
			w.wait = tuning.Notice
		}
		return nil
	case since < w.wait || len(k.copies) > 0: // what waits for its turn goes first
		return nil
	default:
		w.wait = min(2*w.wait, tuning.Every)
	}
	k.lacking.Store(false)
	w.saw(now, others)
	return k.copyMissing(ctx, others)
}

// copyMissing has those copied of which there are too few. What no node that can be reached has waits for one to come back.
func (k *Keeper) copyMissing(ctx context.Context, others map[protocol.NodeID]bool) error {
	if !k.makesCopies() {
		return nil
	}
	var after protocol.BlobID
	for ctx.Err() == nil {
		places, err := k.cfg.State.BlobPlaces(after, page)
		if err != nil || len(places) == 0 {
			return err
		}
		for _, p := range places {
			isThere := slices.ContainsFunc(p.Nodes, func(n protocol.NodeID) bool { return others[n] })
			if isThere && k.wantCopyAmong(others, p.Blob, p.Nodes) {
				k.enqueue(p.Blob.ID)
			}
		}
		after = places[len(places)-1].Blob.ID
	}
	return nil
}
