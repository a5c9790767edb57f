package federation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// linkState is what a link reads and changes of this cluster: the replicated state.
type linkState interface {
	FedOut(peer fed.ClusterID, lane fed.Lane, from uint64, events, size int) (out [][]byte, epoch uint64, err error)
	FedLanes(peer fed.ClusterID) ([]fed.LaneStatus, error)
	// Start hands a command to the log; those started by one caller keep their order.
	Start(ctx context.Context, cmd protocol.Command) (protocol.Pending, error)
}

// Times of a link [FED-TR-7].
const (
	pingEvery = 15 * time.Second
	silence   = 45 * time.Second
)

// window is how much may be on its way without acknowledgement, in each lane [FED-OUT-2].
const (
	windowEvents = 16 * fed.MaxBatchEvents
	maxPending   = 1024 // events of the peer's that are being committed
)

// link is one connection with a peer after both said hello, for as long as it lasts.
type link struct {
	wire   Wire
	state  linkState
	self   fed.Signer
	epoch  uint64 // of this side's outbox
	peer   fed.ClusterID
	keys   func() fed.Keys // the peer's, by its newest manifest
	log    *slog.Logger
	counts *counts
	other  func(ctx context.Context, f fed.Frame) error // frames that are not about events

	more  chan struct{} // something new is in the outbox, or was acknowledged
	heard chan struct{} // the peer has said something

	mu    sync.Mutex // guards lanes and acked
	lanes [fed.LaneLast + 1]sending
	acked chan struct{} // there are acknowledgements to be noted
}

// sending is how far one lane is.
type sending struct {
	next    uint64 // sequence of the next event to send
	acked   uint64 // the peer's cursor, as far as it has said
	noted   uint64 // how much of that is in the state
	refused []protocol.Refusal
}

// run sends, receives and acknowledges until the connection or ctx ends; cursors are where the peer's hello says that it is.
func (l *link) run(ctx context.Context, cursors []fed.Cursor) error {
	if err := l.begin(cursors); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	pending := make(chan receipt, maxPending)
	group.Go(func() error { return l.send(ctx) })
	group.Go(func() error { return l.note(ctx) })
	group.Go(func() error { return l.receive(ctx, pending) })
	group.Go(func() error { return l.acknowledge(ctx, pending) })
	group.Go(func() error { return l.listen(ctx) })
	group.Go(func() error { // ends with ctx: it wakes the reader
		<-ctx.Done()
		return l.wire.Close()
	})
	err := group.Wait()
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// begin takes up where the peer's cursors are. One that is beyond what was ever sent means that this side lost some of its state [FED-EP-2].
func (l *link) begin(cursors []fed.Cursor) error {
	own, err := l.state.FedLanes(l.peer)
	if err != nil {
		return err
	}
	sent := map[fed.Lane]fed.LaneStatus{}
	for _, o := range own {
		sent[o.Lane] = o
		l.lanes[o.Lane] = sending{next: o.Acked + 1, acked: o.Acked, noted: o.Acked}
	}
	for _, c := range cursors {
		if !c.Lane.Durable() {
			continue
		}
		if c.Sequence > sent[c.Lane].Sent {
			return errStateLost
		}
		s := &l.lanes[c.Lane]
		if c.Sequence > s.acked {
			s.acked, s.next = c.Sequence, c.Sequence+1
		}
	}
	l.wake(l.more)
	l.wake(l.acked)
	return nil
}

var errStateLost = errors.New("the peer has more of this cluster's events than this cluster itself: its state was lost; `teamtalkd federation resume` if this cluster was restored")

func (l *link) wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// send sends what waits, lane by lane, a batch of each in turn.
func (l *link) send(ctx context.Context) error {
	for {
		sent := false
		for lane := fed.LaneControl; lane <= fed.LaneLast; lane++ {
			some, err := l.sendBatch(lane)
			if err != nil {
				return err
			}
			sent = sent || some
		}
		if sent {
			continue
		}
		select {
		case <-l.more:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// sendBatch sends the next events of a lane, if there are any and the peer has acknowledged enough of those before.
func (l *link) sendBatch(lane fed.Lane) (bool, error) {
	l.mu.Lock()
	s := l.lanes[lane]
	l.mu.Unlock()
	if s.next == 0 {
		s.next = 1
	}
	room := int(s.acked) + windowEvents - int(s.next-1)
	if room <= 0 {
		return false, nil
	}
	events, epoch, err := l.state.FedOut(l.peer, lane, s.next, min(room, fed.MaxBatchEvents), fed.MaxBatchBytes)
	if err != nil || len(events) == 0 {
		return false, err
	}
	if epoch != l.epoch {
		return false, errNewEpoch
	}
	batch := fed.Batch{Epoch: epoch, Lane: lane, First: s.next, Events: make([]fed.SignedEvent, len(events))}
	for i, e := range events {
		batch.Events[i] = l.self.SignEvent(e)
	}
	l.self.SignBatch(&batch, l.peer)
	if err := l.wire.Write(lane, fed.NewFrame(fed.KindBatch, batch)); err != nil {
		return false, err
	}
	l.counts.sent.Add(float64(len(events)))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lanes[lane].next = max(l.lanes[lane].next, batch.Last()+1)
	return true, nil
}

var errNewEpoch = errors.New("a new epoch of the outbox has begun: say hello anew")

// took is an acknowledgement by the peer: the window moves, and the state is to know.
func (l *link) took(a fed.Ack) error {
	if a.Epoch != l.epoch || !a.Lane.Durable() {
		return nil // of a former epoch
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &l.lanes[a.Lane]
	if a.Sequence >= s.next && a.Sequence > 0 && a.Sequence >= max(s.next, 1) {
		return protocol.Errorf(protocol.CodeInvalid, "event %d of lane %d is acknowledged, but was not sent yet", a.Sequence, a.Lane)
	}
	if a.Sequence > s.acked {
		s.acked = a.Sequence
		l.wake(l.more)
		l.wake(l.acked)
	}
	return nil
}

// refused is an event that the peer will never accept; it is noted with the acknowledgement that follows.
func (l *link) refused(r fed.Reject) error {
	if err := r.Verify(l.peer, l.self.Cluster, l.keys()); err != nil {
		return err
	}
	if r.Epoch != l.epoch || !r.Lane.Durable() {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &l.lanes[r.Lane]
	if r.Sequence <= s.acked || r.Sequence >= s.next || len(s.refused) >= windowEvents {
		return protocol.Errorf(protocol.CodeInvalid, "event %d of lane %d is refused, but does not wait for an answer", r.Sequence, r.Lane)
	}
	s.refused = append(s.refused, protocol.Refusal{Sequence: r.Sequence, Code: r.Code, Text: protocol.Truncate(r.Text, maxReason)})
	return nil
}

const maxReason = 256 // bytes of a reason that is kept

// note has acknowledgements written to the state, all lanes at once and never more than one command of a lane at a time: many acknowledgements become one.
func (l *link) note(ctx context.Context) error {
	for {
		select {
		case <-l.acked:
		case <-ctx.Done():
			return ctx.Err()
		}
		var all []protocol.Pending
		for lane := fed.LaneControl; lane <= fed.LaneLast; lane++ {
			c := l.takeNote(lane)
			if c == nil {
				continue
			}
			p, err := l.state.Start(ctx, c)
			if err != nil {
				return fmt.Errorf("note what the peer has: %w", err)
			}
			all = append(all, p)
		}
		for _, p := range all {
			if _, err := p.Wait(ctx); err != nil {
				return fmt.Errorf("note what the peer has: %w", err)
			}
		}
	}
}

// takeNote is what has been acknowledged of a lane and is not in the state yet; nil: nothing.
func (l *link) takeNote(lane fed.Lane) *protocol.AckEvents {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &l.lanes[lane]
	if s.acked <= s.noted {
		return nil
	}
	c := &protocol.AckEvents{Cluster: l.peer, Epoch: l.epoch, Lane: uint8(lane), Sequence: s.acked}
	var later []protocol.Refusal
	for _, r := range s.refused {
		if r.Sequence <= s.acked {
			c.Refused = append(c.Refused, r)
		} else {
			later = append(later, r)
		}
	}
	s.refused, s.noted = later, s.acked
	return c
}

// receipt is an event of the peer's that is being committed.
type receipt struct {
	lane    fed.Lane
	epoch   uint64
	seq     uint64
	last    bool // of its batch
	pending protocol.Pending
}

// receive reads frames and has events executed.
func (l *link) receive(ctx context.Context, pending chan<- receipt) error {
	for {
		f, err := l.wire.Read()
		if err != nil {
			return err
		}
		l.wake(l.heard)
		if err := l.take(ctx, f, pending); err != nil {
			return err
		}
	}
}

func (l *link) take(ctx context.Context, f fed.Frame, pending chan<- receipt) error {
	switch f.Kind {
	case fed.KindBatch:
		var b fed.Batch
		if err := f.Into(&b); err != nil {
			return err
		}
		return l.takeBatch(ctx, &b, pending)
	case fed.KindAck:
		var a fed.Ack
		if err := f.Into(&a); err != nil {
			return err
		}
		return l.took(a)
	case fed.KindReject:
		var r fed.Reject
		if err := f.Into(&r); err != nil {
			return err
		}
		return l.refused(r)
	case fed.KindPing:
		return l.wire.Write(fed.LaneControl, fed.Frame{Kind: fed.KindPong, Body: f.Body})
	case fed.KindPong:
		return nil
	}
	return l.other(ctx, f)
}

// takeBatch checks signatures and starts a command for each event; an event with a wrong signature is one that is refused [FED-SIG-4].
func (l *link) takeBatch(ctx context.Context, b *fed.Batch, pending chan<- receipt) error {
	keys := l.keys()
	if err := b.Verify(l.peer, l.self.Cluster, keys); err != nil {
		return err
	}
	l.counts.received.Add(float64(len(b.Events)))
	for i := range b.Events {
		e := &b.Events[i]
		c := &protocol.ReceiveEvent{Cluster: l.peer, Epoch: b.Epoch, Lane: uint8(b.Lane), Sequence: b.First + uint64(i), Event: e.Event,
			Key: e.Signature.Key, Sig: e.Signature.Sig[:]}
		if err := e.Verify(l.peer, keys); err != nil {
			c.Event, c.Sig, c.Bad = nil, nil, &protocol.Refusal{Code: protocol.CodeOf(err), Text: err.Error()}
		}
		p, err := l.state.Start(ctx, c)
		if err != nil {
			return fmt.Errorf("execute an event: %w", err)
		}
		select {
		case pending <- receipt{b.Lane, b.Epoch, c.Sequence, i == len(b.Events)-1, p}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// acknowledge tells the peer what is committed, in the order in which it came, a batch at a time.
func (l *link) acknowledge(ctx context.Context, pending <-chan receipt) error {
	for {
		select {
		case r := <-pending:
			if err := l.settle(ctx, r); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (l *link) settle(ctx context.Context, r receipt) error {
	got, err := r.pending.Wait(ctx)
	if err != nil {
		return fmt.Errorf("commit event %d of lane %d: %w", r.seq, r.lane, err)
	}
	result, _ := got.(protocol.ReceiveResult)
	if result.Repeated {
		l.counts.repeated.Inc()
	}
	if why := result.Refused; why != nil {
		l.counts.refused.WithLabelValues(why.Code.String()).Inc()
		l.log.Warn("an event of a peer is not accepted", "lane", r.lane, "sequence", r.seq, "code", why.Code.String(), "reason", why.Text)
		reject := fed.Reject{Epoch: r.epoch, Lane: r.lane, Sequence: r.seq, Code: why.Code, Text: why.Text}
		l.self.SignReject(&reject, l.peer)
		if err := l.wire.Write(fed.LaneControl, fed.NewFrame(fed.KindReject, reject)); err != nil {
			return err
		}
	}
	if !r.last {
		return nil
	}
	return l.wire.Write(fed.LaneControl, fed.NewFrame(fed.KindAck, fed.Ack{Epoch: r.epoch, Lane: r.lane, Sequence: result.Sequence}))
}

// listen asks a silent peer whether it is there.
func (l *link) listen(ctx context.Context) error {
	last := time.Now()
	t := time.NewTicker(pingEvery)
	defer t.Stop()
	for n := uint64(1); ; {
		select {
		case <-l.heard:
			last = time.Now()
		case now := <-t.C:
			if now.Sub(last) >= silence {
				return protocol.Errorf(protocol.CodeUnavailable, "the peer has been silent for %v", silence)
			}
			if now.Sub(last) >= pingEvery {
				if err := l.wire.Write(fed.LaneControl, fed.NewFrame(fed.KindPing, fed.Ping{ID: n, Time: protocol.TimeOf(now)})); err != nil {
					return err
				}
				n++
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
