package client

import (
	"context"
	"sync"
	"time"

	"teamtalk/protocol"
)

// Phase is how far a message has got.
type Phase uint8

// Phases, in this order, but for Failed and for messages that go back to Queued when the connection breaks.
const (
	PhaseQueued    Phase = iota // waits for a connection, or for those before it
	PhaseSending                // on its way, not acked
	PhaseSent                   // stored by the cluster: it will not be lost
	PhaseDelivered              // a device of another member, or the receiver's office, has stored it
	PhaseRead                   // another member has read it
	PhaseFailed                 // refused; see Delivery.Err
)

// String is the phase's name.
func (p Phase) String() string {
	names := [...]string{"queued", "sending", "sent", "delivered", "read", "failed"}
	if int(p) < len(names) {
		return names[p]
	}
	return "unknown"
}

// Delivery is what is known about a message that was sent.
type Delivery struct {
	Phase Phase
	ID    protocol.MsgID // from PhaseSent on
	Time  time.Time      // from PhaseSent on: the server's
	Err   error          // PhaseFailed: an *Error, or ErrInterrupted
	// State is how far it has got to other offices, and Reason why no further; PhaseSent says that this office keeps it.
	State  MessageState
	Reason string
}

// Outgoing is a message on its way. It outlives connections, and with a Storage the program: Client.Outbox has it again.
type Outgoing struct {
	queued Queued
	box    *outbox

	mu       sync.Mutex // guards the rest; taken after the outbox's
	delivery Delivery
	settled  chan struct{} // closed once sent or failed
}

func newOutgoing(box *outbox, q Queued) *Outgoing {
	return &Outgoing{queued: q, box: box, settled: make(chan struct{})}
}

// ClientMsgID is the id by which the server knows the message before it has a number, and by which its Message event is known.
func (o *Outgoing) ClientMsgID() protocol.ClientMsgID { return o.queued.ID }

// Session is the conversation it goes to.
func (o *Outgoing) Session() protocol.Session { return o.queued.Session }

// State is what is known now.
func (o *Outgoing) State() Delivery {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.delivery
}

// Done is closed once the message is sent or has failed. After Retry there is another one.
func (o *Outgoing) Done() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.settled
}

// Wait returns nil once the message is stored by the cluster, or why it failed. With ctx's error, and with the error that stopped the client,
// the message still waits: in the first case it goes on, in the second a Storage has it for the next Open.
func (o *Outgoing) Wait(ctx context.Context) error {
	o.box.waits(1)
	defer o.box.waits(-1)
	select {
	case <-o.Done():
		return o.State().Err
	case <-o.box.ended:
		return o.box.why()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Retry queues a failed message again, behind all others. It keeps its id: if it was stored after all, it is not stored twice.
func (o *Outgoing) Retry() error { return o.box.retry(o) }

// move sets the phase.
func (o *Outgoing) move(d Delivery) {
	o.mu.Lock()
	defer o.mu.Unlock()
	was := o.delivery.Phase
	o.delivery = d
	settled := d.Phase >= PhaseSent
	if settled && was < PhaseSent {
		close(o.settled)
	}
	if !settled && was == PhaseFailed {
		o.settled = make(chan struct{})
	}
}

// tell notes what is known of a message on its way to other offices.
func (o *Outgoing) tell(s MessageState, reason string) {
	o.mu.Lock()
	o.delivery.State, o.delivery.Reason = s, reason
	o.mu.Unlock()
	if s == StateDelivered {
		o.mark(PhaseDelivered)
	}
}

// mark moves a message that was sent forward.
func (o *Outgoing) mark(p Phase) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.delivery.Phase >= PhaseSent && o.delivery.Phase < p && o.delivery.Phase != PhaseFailed {
		o.delivery.Phase = p
	}
}
