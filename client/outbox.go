package client

import (
	"errors"
	"slices"
	"sync"
	"time"

	"teamtalk/protocol"
)

const (
	trackedMarks  = 1000                  // messages sent whose marks are still followed
	defaultPause  = time.Second           // before a message that was put off is repeated, unless the server says otherwise
	legacyPace    = 50 * time.Millisecond // COMPAT: a legacy server drops what comes faster than 20 a second
	legacyAckTime = 10 * time.Second      // COMPAT: a legacy server leaves what it does not store unanswered
)

// outbox holds the messages that are not acked, in the order of Send. It decides what goes next; sending is the connection's.
type outbox struct {
	bound int
	poke  func()      // something may be sent
	dirty func()      // what is to be saved has changed
	waits func(n int) // a call of the app waits for an ack, or no longer does

	mu      sync.Mutex // guards the rest
	queue   []*Outgoing
	unsaved map[*Outgoing]bool // not to be sent before the storage has them; nor is what is behind them
	hold    time.Time          // nothing is sent before
	sent    []*Outgoing        // acked, for marks: the newest last
	over    error              // why nothing is accepted any more
	ended   chan struct{}      // closed when over is set
}

func newOutbox(bound int) *outbox {
	return &outbox{bound: bound, ended: make(chan struct{}), unsaved: make(map[*Outgoing]bool), poke: func() {}, dirty: func() {}, waits: func(int) {}}
}

// restore fills an empty outbox with what was saved.
func (b *outbox) restore(saved []Queued) {
	for _, q := range saved {
		b.queue = append(b.queue, newOutgoing(b, q))
	}
}

// add queues a message, which is not sent before release.
func (b *outbox) add(q Queued) (*Outgoing, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over != nil {
		return nil, b.over
	}
	if len(b.queue) >= b.bound {
		return nil, ErrOutboxFull
	}
	o := newOutgoing(b, q)
	b.queue = append(b.queue, o)
	b.unsaved[o] = true
	return o, nil
}

// release lets a message that was added be sent; with an error it is taken back instead.
func (b *outbox) release(o *Outgoing, err error) {
	b.mu.Lock()
	delete(b.unsaved, o)
	if err != nil {
		b.dropLocked(o)
	}
	b.mu.Unlock()
	b.poke()
}

func (b *outbox) dropLocked(o *Outgoing) bool {
	i := slices.Index(b.queue, o)
	if i < 0 {
		return false
	}
	b.queue = slices.Delete(b.queue, i, i+1)
	return true
}

// retry queues a failed message again.
func (b *outbox) retry(o *Outgoing) error {
	b.mu.Lock()
	if b.over != nil || len(b.queue) >= b.bound || o.State().Phase != PhaseFailed {
		defer b.mu.Unlock()
		switch {
		case b.over != nil:
			return b.over
		case o.State().Phase != PhaseFailed:
			return errors.New("client: only what has failed can be tried again")
		}
		return ErrOutboxFull
	}
	o.move(Delivery{})
	b.queue = append(b.queue, o)
	b.mu.Unlock()
	b.dirty()
	b.poke()
	return nil
}

// next is the first message that may be sent now, and marks it as on its way; nil if there is none. At most window are on their way.
func (b *outbox) next(now time.Time, window int) *Outgoing {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Before(b.hold) {
		return nil
	}
	for i, o := range b.queue {
		if i >= window || b.unsaved[o] {
			return nil
		}
		if o.State().Phase == PhaseQueued {
			o.move(Delivery{Phase: PhaseSending})
			return o
		}
	}
	return nil
}

// heldUntil is when next may have something again that it has not now; zero: nothing is held.
func (b *outbox) heldUntil() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) == 0 {
		return time.Time{}
	}
	return b.hold
}

// pace lets nothing go for a while.
func (b *outbox) pace(until time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hold = until
}

// lost notes that the connection is gone: what was on its way goes again, first and in order [TT-SESS-3] [TT-SESS-11]. With fail, for
// servers that would store it twice, it fails instead.
func (b *outbox) lost(fail error) {
	b.mu.Lock()
	var failed []*Outgoing
	for _, o := range b.queue {
		switch {
		case o.State().Phase != PhaseSending:
		case fail != nil:
			failed = append(failed, o)
		default:
			o.move(Delivery{Phase: PhaseQueued})
		}
	}
	b.mu.Unlock()
	for _, o := range failed {
		b.refused(o, fail)
	}
}

// acked notes that the cluster has stored the message of this id.
func (b *outbox) acked(id protocol.ClientMsgID, number protocol.MsgID, at time.Time) {
	if id.IsZero() {
		return
	}
	b.mu.Lock()
	i := slices.IndexFunc(b.queue, func(o *Outgoing) bool { return o.queued.ID == id })
	if i < 0 {
		b.mu.Unlock()
		return
	}
	o := b.queue[i]
	b.queue = slices.Delete(b.queue, i, i+1)
	delete(b.unsaved, o)
	if len(b.sent) >= trackedMarks {
		b.sent = slices.Delete(b.sent, 0, len(b.sent)-trackedMarks+1)
	}
	b.sent = append(b.sent, o)
	o.move(Delivery{Phase: PhaseSent, ID: number, Time: at})
	b.mu.Unlock()
	b.dirty()
}

// refused takes a message out for good.
func (b *outbox) refused(o *Outgoing, why error) {
	b.mu.Lock()
	ours := b.dropLocked(o)
	if ours {
		o.move(Delivery{Phase: PhaseFailed, Err: why})
	}
	b.mu.Unlock()
	if ours {
		b.dirty()
	}
}

// putOff lets a message, and what is behind it, go again after a while.
func (b *outbox) putOff(o *Outgoing, now time.Time, after time.Duration) {
	if after <= 0 {
		after = defaultPause
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if o.State().Phase == PhaseSending {
		o.move(Delivery{Phase: PhaseQueued})
	}
	if until := now.Add(after); until.After(b.hold) {
		b.hold = until
	}
}

// marked follows a MARK [TT-SESS-17].
func (b *outbox) marked(m *Mark) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, o := range b.sent {
		if o.queued.Session != m.Session {
			continue
		}
		switch id := o.State().ID; {
		case id <= m.Read:
			o.mark(PhaseRead)
		case id <= m.Delivered:
			o.mark(PhaseDelivered)
		}
	}
}

// stated follows a STATE [TT-FED-4].
func (b *outbox) stated(ev *MessageStateChanged) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, o := range b.sent {
		if o.queued.Session == ev.Session && o.State().ID == ev.ID {
			o.tell(ev.State, ev.Reason)
		}
	}
}

// snapshot is what is to be saved.
func (b *outbox) snapshot() []Queued {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := make([]Queued, len(b.queue))
	for i, o := range b.queue {
		list[i] = o.queued
	}
	return list
}

// waiting lists the messages not acked, in order.
func (b *outbox) waiting() []*Outgoing {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.queue)
}

// sending counts the messages on their way.
func (b *outbox) sending() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, o := range b.queue {
		if o.State().Phase == PhaseSending {
			n++
		}
	}
	return n
}

// why is what ended the outbox.
func (b *outbox) why() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.over
}

// stop accepts nothing any more. What waits stays as it is, for the storage; with drop it fails.
func (b *outbox) stop(why error, drop bool) {
	b.mu.Lock()
	if b.over == nil {
		b.over = why
		close(b.ended)
	}
	queue := slices.Clone(b.queue)
	b.mu.Unlock()
	if !drop {
		return
	}
	for _, o := range queue {
		b.refused(o, why)
	}
}
