package federation

import (
	"bytes"
	"context"
	"slices"
	"testing"
	"time"

	"teamtalk/internal/simnet"
	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// withheld is a state that lets nobody know what became of one peer's events until it is told to.
type withheld struct {
	State
	of   fed.ClusterID
	over chan struct{}
}

type withheldResult struct {
	protocol.Pending
	over chan struct{}
}

// Start withholds the results of the peer's events.
func (w *withheld) Start(ctx context.Context, c protocol.Command) (protocol.Pending, error) {
	p, err := w.State.Start(ctx, c)
	if e, is := c.(*protocol.ReceiveEvent); is && err == nil && e.Cluster == w.of {
		p = withheldResult{p, w.over}
	}
	return p, err
}

// Wait waits until the result may be known.
func (r withheldResult) Wait(ctx context.Context) (any, error) {
	select {
	case <-r.over:
		return r.Pending.Wait(ctx)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// between opens office b and two that are linked with it; change is of b's manager.
func between(t *testing.T, n *simnet.Network, change func(*Config)) (a, b, c *branch, y *site) {
	t.Helper()
	a, b, c = newBranch(t, n, 1, "a:443"), newBranch(t, n, 2, "b:443"), newBranch(t, n, 3, "c:443")
	befriend(a, b)
	befriend(b, c)
	x, y, z := a.open("a:443", false), b.open("b:443", false, change), c.open("c:443", false)
	b.until("links with both", func() bool { return stands(x, y) && stands(y, z) })
	return a, b, c, y
}

// TestCommitsOfOnePeer has a peer's events not come to an end: those of another one are committed nevertheless.
func TestCommitsOfOnePeer(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		over := make(chan struct{})
		a, b, c, y := between(t, n, func(cfg *Config) {
			cfg.State = &withheld{cfg.State, fed.ClusterID(bytes.Repeat([]byte{1}, 16)), over} // a
		})
		const others = maxCommits - linkCommits - 1 // so that the peer would not even need many to take all
		if !y.m.commits.TryAcquire(others) {
			t.Fatal("something is being committed")
		}
		many := numbered("m", linkCommits+50)
		for _, m := range many {
			a.say(1, b, 2, m)
		}
		<-time.After(10 * time.Second)
		c.say(1, b, 2, "goes on")
		b.until("what the other one says is there", func() bool { return slices.Contains(fromAuthor(t, b, 2, 0, c, 1), "goes on") && c.acked(b) })
		if a.acked(b) {
			t.Error("what is withheld was acknowledged")
		}
		close(over)
		b.until("all is there", func() bool { return a.acked(b) })
		if got := fromAuthor(t, b, 2, 0, a, 1); !slices.Equal(got, many) {
			t.Errorf("%d messages arrived, want %d", len(got), len(many))
		}
		y.m.commits.Release(others)
		if !y.m.commits.TryAcquire(maxCommits) || !y.m.linkOf(a.id).in.commits.own.TryAcquire(linkCommits) {
			t.Error("not everything is given back")
		}
	})
}

// TestRoomOfOnePeer has a peer's link use up all memory that it may have for what comes: another one's is read from nevertheless.
func TestRoomOfOnePeer(t *testing.T) {
	if lane := int64(windowBytes + fed.MaxBatchBytes + besideEvent*windowEvents); linkReceived+lane > maxReceived {
		t.Errorf("one link may have %d of %d bytes: the others can't fill the windows of a single lane", linkReceived, maxReceived)
	}
	bubble(t, func(t *testing.T, n *simnet.Network) {
		a, b, c, y := between(t, n, func(*Config) {})
		l := y.m.linkOf(a.id)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		large := fed.SignedEvent{Event: make([]byte, fed.MaxEvent)}
		huge := &fed.Batch{Events: slices.Repeat([]fed.SignedEvent{large}, 2*maxReceived/fed.MaxEvent)}
		if err := l.makeRoom(ctx, huge); err != nil {
			t.Fatalf("there is no room for a batch that is larger than what a link may have: %v", err)
		}
		l.in.room.give(weightOf(huge))
		taken := int64(0)
		for _, size := range []int{fed.MaxEvent, 1} { // until not even the smallest has room
			batch := &fed.Batch{Events: []fed.SignedEvent{{Event: large.Event[:size]}}}
			for l.in.room.tryTake(weightOf(batch)) {
				taken += weightOf(batch)
			}
		}
		if l.makeRoom(ctx, huge) == nil {
			t.Error("a batch has room where there is none")
		}
		l.clock.busy.Store(false)
		c.say(1, b, 2, "goes on")
		b.until("what the other one says is there", func() bool { return slices.Contains(fromAuthor(t, b, 2, 0, c, 1), "goes on") && c.acked(b) })
		l.in.room.give(taken)
		a.say(1, b, 2, "goes on too")
		b.until("all is there", func() bool { return a.acked(b) })
		b.until("all room is given back", func() bool { return l.in.room.held.Load() == 0 })
		if !y.m.room.TryAcquire(maxReceived) || !l.in.room.own.TryAcquire(linkReceived) {
			t.Error("not everything is given back")
		}
	})
}
