package federation

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// How much may be on its way without acknowledgement, in each lane [FED-OUT-2].
const (
	windowEvents = 16 * fed.MaxBatchEvents
	windowBytes  = 4 << 20
)

// maxReason is how many bytes of a refusal's reason are kept.
const maxReason = 256

// outlet is what a link knows of the events that it sends.
type outlet struct {
	more  chan struct{} // holds one token: something new is in the outbox, or was acknowledged
	acked chan struct{} // holds one token: there are acknowledgements to be noted

	mu      sync.Mutex // guards what follows
	lanes   [fed.LaneLast + 1]sending
	stopped bool
}

func newOutlet() outlet { return outlet{more: make(chan struct{}, 1), acked: make(chan struct{}, 1)} }

// sending is how far one lane is.
type sending struct {
	next    uint64 // sequence of the next event to send
	acked   uint64 // the peer's cursor, as far as it has said
	noted   uint64 // how much of that is in the state
	kept    uint64 // up to where events are sent again that the peer had acknowledged once
	bytes   int    // on their way
	batches []sentBatch
	refused []protocol.Refusal
}

// sentBatch is one that is on its way.
type sentBatch struct {
	last  uint64
	bytes int
}

var (
	errStateLost = errors.New("the peer has more of this cluster's events than this cluster itself: its state was lost; " +
		"`teamtalkd federation resume --restored` if this cluster was restored from a backup")
	errPeerLostState = errors.New("the peer has begun a former epoch of its events again: its state was lost")
	errNewEpoch      = errors.New("a new epoch of the outbox has begun: the link begins anew")
)

// stop has no further events be sent.
func (o *outlet) stop() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stopped = true
}

// begin takes up where the peer's cursors are. One that is beyond what was ever sent means that this side lost some of its state [FED-EP-2]; one that is below
// what was acknowledged, that the peer did: then what is kept is sent again [FED-EP-1]. Where the peer has refused something that is not noted here, what follows what is noted is
// sent again: it answers with the refusal [FED-IN-2].
func (l *link) begin() error {
	own, err := l.state.FedLanes(l.peer)
	if err != nil {
		return err
	}
	if l.hello.PeerEpoch > l.own.identity.Epoch {
		return errStateLost
	}
	cursors := map[fed.Lane]fed.Cursor{}
	if l.hello.PeerEpoch == l.own.identity.Epoch {
		for _, c := range l.hello.Cursors {
			cursors[c.Lane] = c
		}
	}
	o := &l.out
	o.mu.Lock()
	defer o.mu.Unlock()
	for lane := range o.lanes {
		o.lanes[lane].next = 1
	}
	sent := map[fed.Lane]uint64{}
	for _, lane := range own {
		if lane.EpochIn > l.hello.Epoch {
			return errPeerLostState
		}
		there := cursors[lane.Lane].Sequence
		if cursors[lane.Lane].Refused > lane.Acked {
			there = min(there, lane.Acked)
		}
		sent[lane.Lane] = lane.Sent
		o.lanes[lane.Lane] = sending{next: there + 1, acked: there, noted: lane.Acked, kept: lane.Acked}
	}
	for lane, c := range cursors {
		if lane.Durable() && c.Sequence > sent[lane] {
			return errStateLost
		}
	}
	wake(o.more)
	wake(o.acked)
	return nil
}

// send sends what waits, lane by lane, a batch of each in turn.
func (l *link) send(ctx context.Context) error {
	if err := l.awaitReady(ctx); err != nil {
		return err
	}
	for {
		sent := false
		for lane := fed.LaneControl; lane <= fed.LaneLast; lane++ {
			some, err := l.sendBatch(lane)
			if err != nil {
				return err
			}
			sent = sent || some
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		if sent {
			continue
		}
		select {
		case <-l.out.more:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// room is where to go on in a lane and how many events the window has room for; 0: none.
func (o *outlet) room(lane fed.Lane) (next uint64, events int, again bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := &o.lanes[lane]
	if o.stopped || s.bytes >= windowBytes {
		return 0, 0, false
	}
	free := windowEvents - int(s.next-1-s.acked)
	return s.next, min(max(free, 0), fed.MaxBatchEvents), s.next <= s.kept
}

// sendBatch sends the next events of a lane, if there are any and the peer has acknowledged enough of those before.
func (l *link) sendBatch(lane fed.Lane) (bool, error) {
	next, room, again := l.out.room(lane)
	if room == 0 {
		return false, nil
	}
	events, err := l.events(lane, next, room, again)
	if err != nil || len(events) == 0 {
		return false, err
	}
	batch := fed.Batch{Epoch: l.own.identity.Epoch, Lane: lane, First: next, Events: make([]fed.SignedEvent, len(events))}
	size := 0
	for i, e := range events {
		batch.Events[i] = l.self.SignEvent(e)
		size += len(e)
	}
	l.self.SignBatch(&batch, l.peer)
	l.out.left(lane, batch.Last(), size)
	if err := l.say(lane, fed.NewFrame(fed.KindBatch, batch)); err != nil {
		return false, err
	}
	l.tally.sent.Add(uint64(len(events)))
	return true, nil
}

// left notes a batch that goes out now.
func (o *outlet) left(lane fed.Lane, last uint64, size int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := &o.lanes[lane]
	s.next = last + 1
	s.bytes += size
	s.batches = append(s.batches, sentBatch{last, size})
}

// events reads what is to be sent of a lane. again: it had been acknowledged once, so it may be gone; a Skip takes the place of each that is.
func (l *link) events(lane fed.Lane, next uint64, most int, again bool) ([][]byte, error) {
	if again {
		swept, err := l.swept(lane)
		if err != nil {
			return nil, err
		}
		if next <= swept {
			return l.skips(next, min(swept, next+uint64(most)-1)), nil
		}
	}
	events, epoch, err := l.state.FedOut(l.peer, lane, next, most, fed.MaxBatchBytes)
	if err == nil && len(events) > 0 && epoch != l.own.identity.Epoch {
		err = errNewEpoch
	}
	return events, err
}

func (l *link) swept(lane fed.Lane) (uint64, error) {
	lanes, err := l.state.FedLanes(l.peer)
	if err != nil {
		return 0, err
	}
	for _, s := range lanes {
		if s.Lane == lane {
			return s.Swept, nil
		}
	}
	return 0, nil
}

// skips stand where events were that are not kept any more: what they said the peer asks for, by a range.
func (l *link) skips(from, to uint64) (events [][]byte) {
	for seq := from; seq <= to; seq++ {
		e := fed.Event{ID: fed.EventID{Cluster: l.self.Cluster, Index: seq}}
		events = append(events, e.Encode(fed.TypeSkip, fed.Skip{}))
	}
	return events
}

// took is an acknowledgement by the peer: the window moves, and the state is to know.
func (l *link) took(a fed.Ack) error {
	if a.Epoch != l.own.identity.Epoch || !a.Lane.Durable() {
		return nil // of a former epoch
	}
	o := &l.out
	o.mu.Lock()
	defer o.mu.Unlock()
	s := &o.lanes[a.Lane]
	if a.Sequence >= s.next {
		return protocol.Errorf(protocol.CodeInvalid, "event %d of lane %d is acknowledged, but was not sent yet", a.Sequence, a.Lane)
	}
	if a.Sequence <= s.acked {
		return nil
	}
	s.acked = a.Sequence
	for len(s.batches) > 0 && s.batches[0].last <= s.acked {
		s.bytes -= s.batches[0].bytes
		s.batches = s.batches[1:]
	}
	wake(o.more)
	wake(o.acked)
	return nil
}

// refused is an event that the peer will never accept; it is noted with the acknowledgement that follows.
func (l *link) refused(r fed.Reject) error {
	if err := r.Verify(l.peer, l.self.Cluster, l.keeper.newestKeys()); err != nil {
		return err
	}
	if r.Epoch != l.own.identity.Epoch || !r.Lane.Durable() {
		return nil
	}
	o := &l.out
	o.mu.Lock()
	defer o.mu.Unlock()
	s := &o.lanes[r.Lane]
	if r.Sequence >= s.next || r.Sequence <= s.acked || len(s.refused) >= windowEvents {
		return protocol.Errorf(protocol.CodeInvalid, "event %d of lane %d is refused, but does not wait for an answer", r.Sequence, r.Lane)
	}
	if r.Sequence > s.noted { // else it was acknowledged once, and its author knows
		s.refused = append(s.refused, protocol.Refusal{Sequence: r.Sequence, Code: r.Code, Text: protocol.Truncate(r.Text, maxReason)})
	}
	return nil
}

// note has acknowledgements written to the state, all lanes at once and never more than one command of a lane at a time: many acknowledgements become one.
func (l *link) note(ctx context.Context) error {
	for {
		select {
		case <-l.out.acked:
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
	l.out.mu.Lock()
	defer l.out.mu.Unlock()
	s := &l.out.lanes[lane]
	if s.acked <= s.noted {
		return nil
	}
	c := &protocol.AckEvents{Cluster: l.peer, Epoch: l.own.identity.Epoch, Lane: uint8(lane), Sequence: s.acked}
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
