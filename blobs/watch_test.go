package blobs

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"teamtalk/protocol"
)

// through changes what nodes send from now on.
func (w *town) through(bend func(net.Conn) net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bend = bend
}

// TestCopyIsTriedAgain: a copy for safety that failed is tried again soon, and less often if it fails over and over.
func TestCopyIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, w := newLedger(), newTown(t)
		a, b := w.work(t, "n1", l, nil), w.work(t, "n2", l, nil)
		synctest.Wait()
		var sent atomic.Int64
		w.through(func(c net.Conn) net.Conn { return &broken{Conn: c, left: 1, sent: &sent} })
		id := a.bring(t, []byte("picture")).ID
		time.Sleep(5 * time.Second)
		first := w.dialled("n1")
		if got := l.holders(id); first == 0 || len(got) != 1 {
			t.Fatalf("dialled %d times, %v have it", first, got)
		}
		time.Sleep(6 * time.Hour)
		if again := w.dialled("n1") - first; again < 10*first || again > 50*first {
			t.Errorf("dialled %d times at first, %d times in six hours", first, again)
		}
		w.cut("n1", true) // it is back some time later
		time.Sleep(time.Hour)
		tried := total(t, b.metrics.failures)["broken"]
		w.through(nil)
		time.Sleep(time.Hour)
		if more := total(t, b.metrics.failures)["broken"] - tried; more != 0 {
			t.Errorf("who is down was asked %v times", more)
		}
		w.cut("n1", false)
		time.Sleep(20 * time.Second)
		if got := l.holders(id); len(got) != 2 {
			t.Errorf("%v have it", got)
		}
	})
}

// TestFirstRetry: one that failed once is there within half a minute.
func TestFirstRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, w := newLedger(), newTown(t)
		a := w.work(t, "n1", l, nil)
		w.work(t, "n2", l, nil)
		time.Sleep(7 * time.Second)
		var sent atomic.Int64
		w.through(func(c net.Conn) net.Conn { return &broken{Conn: c, left: 1, sent: &sent} })
		id := a.bring(t, []byte("picture")).ID
		time.Sleep(4 * time.Second)
		w.through(nil)
		if got := l.holders(id); len(got) != 1 {
			t.Fatalf("it did not fail: %v have it", got)
		}
		time.Sleep(26 * time.Second)
		if got := l.holders(id); !slices.Equal(got, []protocol.NodeID{"n1", "n2"}) {
			t.Errorf("%v have it", got)
		}
	})
}

// TestDeadOnItsTurn: what a node was to copy that died just then is copied by another one within half a minute.
func TestDeadOnItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, w := newLedger(), newTown(t)
		a, b := w.work(t, "n1", l, nil), w.work(t, "n2", l, nil)
		w.add(t, "n3", l, nil) // reachable, and does nothing
		time.Sleep(20 * time.Second)
		var ids []protocol.BlobID
		for i := range 20 {
			ids = append(ids, a.bring(t, fmt.Append(nil, "picture", i)).ID)
		}
		time.Sleep(time.Minute)
		theirs := slices.DeleteFunc(slices.Clone(ids), func(id protocol.BlobID) bool { return slices.Contains(l.holders(id), "n2") })
		if len(theirs) == 0 || len(theirs) == len(ids) {
			t.Fatalf("%d of %d are n3's to copy", len(theirs), len(ids))
		}
		w.cut("n3", true)
		time.Sleep(30 * time.Second)
		for _, id := range theirs {
			if !slices.Contains(l.holders(id), "n2") || !slices.Contains(b.files(t), id.String()) {
				t.Errorf("%v have it", l.holders(id))
			}
		}
	})
}

// TestUnrecordedCopy: a copy that could not be recorded, for there was no leader, is when there is one.
func TestUnrecordedCopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, w := newLedger(), newTown(t)
		a := w.work(t, "n1", l, nil)
		var state headless
		state.ledger = l
		b := w.work(t, "n2", l, func(c *Config) { c.State = &state })
		synctest.Wait()
		state.isOn.Store(true)
		id := a.bring(t, []byte("picture")).ID
		time.Sleep(20 * time.Second)
		if !slices.Contains(b.files(t), id.String()) || len(l.holders(id)) != 1 {
			t.Fatalf("%v have it", l.holders(id))
		}
		state.isOn.Store(false)
		time.Sleep(30 * time.Second)
		if got := l.holders(id); len(got) != 2 || w.dialled("n1") != 1 {
			t.Errorf("%v have it, dialled %d times", got, w.dialled("n1"))
		}
	})
}

// headless is a state without a leader while it is on.
type headless struct {
	*ledger
	isOn atomic.Bool
}

// Execute refuses.
func (h *headless) Execute(ctx context.Context, cmd protocol.Command) (any, error) {
	if h.isOn.Load() {
		return nil, protocol.Errorf(protocol.CodeUnavailable, "no leader")
	}
	return h.ledger.Execute(ctx, cmd)
}
