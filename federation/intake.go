package federation

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// What may have come of a lane and not be executed yet: whoever keeps to the windows never has more on its way.
const (
	maxWaiting      = windowEvents
	maxWaitingBytes = windowBytes + fed.MaxBatchBytes + fed.MaxEvent
	maxPending      = 1024 // events of a lane that are being committed
)

// intake is what a link knows of the events that come in.
type intake struct {
	author  allowances
	room    share // of the Manager's room
	commits share // of what the Manager lets be committed at a time
	// refused is what the peer may not have heard of before the link began. It is read when something comes again: what former links had begun to execute is committed by then.
	refused func() (map[slot]*protocol.Refusal, error)

	lanes [fed.LaneLast + 1]*laneIn // made when something comes; of the reading goroutine
}

// laneIn is what has come of one lane and waits to be executed: lanes don't wait for each other [FED-LANE-1].
type laneIn struct {
	lane    fed.Lane
	more    chan struct{} // holds one token: something waits
	pending chan receipt
	acked   atomic.Uint64 // up to where the peer was told that it is committed

	mu     sync.Mutex // guards what follows
	queue  []*fed.Batch
	events int
	bytes  int
}

// pinged is a ping to be answered: with it goes once more what is committed, so that a peer that waits for it knows.
type pinged struct {
	fed.Ping
	acks []fed.Ack
}

// acks are the newest acknowledgements of all lanes.
func (in *intake) acks(epoch uint64) (all []fed.Ack) {
	for lane, l := range in.lanes {
		if l == nil {
			continue
		}
		if seq := l.acked.Load(); seq > 0 {
			all = append(all, fed.Ack{Epoch: epoch, Lane: fed.Lane(lane), Sequence: seq})
		}
	}
	return all
}

// receipt is an event of the peer's that is being committed.
type receipt struct {
	seq     uint64
	last    bool // of its batch
	pending protocol.Pending
	settled chan struct{} // instead of all this: what came before is committed
}

// receive reads frames until there are no more.
func (l *link) receive(ctx context.Context, group *errgroup.Group) error {
	for {
		f, err := l.wire.Read()
		if err != nil {
			return err
		}
		l.clock.heard.Store(time.Now().UnixNano())
		if err := l.take(ctx, group, f); err != nil {
			return err
		}
	}
}

func (l *link) take(ctx context.Context, group *errgroup.Group, f fed.Frame) error {
	switch f.Kind {
	case fed.KindBatch:
		b := new(fed.Batch)
		if err := f.Into(b); err != nil {
			return err
		}
		return l.takeBatch(ctx, group, b)
	case fed.KindAck:
		return into(f, l.took)
	case fed.KindReject:
		return into(f, l.refused)
	case fed.KindPing, fed.KindPong:
		return into(f, func(p fed.Ping) error { l.takePing(f.Kind, p); return nil })
	case fed.KindManifest:
		return into(f, func(s fed.SignedManifest) error { return l.takeManifest(ctx, s) })
	case fed.KindGetRange:
		return into(f, l.takeQuestion)
	case fed.KindRangePage:
		return into(f, l.takePage)
	case fed.KindGoodbye:
		return into(f, func(g fed.Goodbye) error { return farewellOf(g) })
	case fed.KindFileGet:
		return into(f, func(g fed.FileGet) error { return l.takeGet(ctx, group, g) })
	case fed.KindFilePiece:
		return into(f, l.takePiece)
	case fed.KindHello, fed.KindIntroduce:
		return protocol.Errorf(protocol.CodeInvalid, "a frame of kind %d has no place here", f.Kind)
	case fed.KindInterest, fed.KindEphemeral, fed.KindRequest, fed.KindAnswer:
	}
	return l.m.takeFrame(ctx, l, f)
}

func into[T any](f fed.Frame, do func(T) error) error {
	var body T
	if err := f.Into(&body); err != nil {
		return err
	}
	return do(body)
}

func (l *link) takePing(k fed.Kind, p fed.Ping) {
	if k == fed.KindPing {
		l.noteClock(p.Time, time.Duration(l.tally.roundTrip.Load()))
		select {
		case l.clock.pings <- pinged{p, l.in.acks(l.hello.Epoch)}:
		default: // one that asks faster than it is answered goes without
		}
		return
	}
	if sent := l.clock.asked.Swap(0); sent != 0 {
		took := time.Duration(time.Now().UnixNano() - sent)
		l.tally.roundTrip.Store(int64(took))
		l.noteClock(p.Time, took)
	}
}

// takeManifest is the peer's newest manifest.
func (l *link) takeManifest(ctx context.Context, s fed.SignedManifest) error {
	manifest, err := s.Open()
	if err != nil {
		return err
	}
	return l.keeper.learn(ctx, &s, &manifest)
}

// takeBatch checks a batch's signature and puts it into its lane's queue.
func (l *link) takeBatch(ctx context.Context, group *errgroup.Group, b *fed.Batch) error {
	if err := b.Verify(l.peer, l.self.Cluster, l.keeper.newestKeys()); err != nil {
		return err
	}
	if b.Epoch != l.hello.Epoch {
		return protocol.Errorf(protocol.CodeInvalid, "a batch of epoch %d, the peer said hello in %d", b.Epoch, l.hello.Epoch)
	}
	l.tally.received.Add(uint64(len(b.Events)))
	in := l.in.lanes[b.Lane]
	if in == nil {
		in = &laneIn{lane: b.Lane, more: make(chan struct{}, 1), pending: make(chan receipt, maxPending)}
		l.in.lanes[b.Lane] = in
		group.Go(func() error { return l.executeAll(ctx, in) }) // both end with ctx
		group.Go(func() error { return l.acknowledge(ctx, in) })
	}
	if err := l.makeRoom(ctx, b); err != nil {
		return err
	}
	return in.put(b)
}

// maxCommits bounds the events of all links that are being committed at a time: what this cluster's own users say is behind them in the log's queue.
const maxCommits = 512

// linkCommits bounds those of one link: a peer that does not read its acknowledgements keeps no more of them. A log was measured to commit more than
// 8,000 commands a second when it has 64 at a time, and a link to bring 6,000 at most, so that more would make no link faster.
const linkCommits = maxCommits / 4

// maxReceived bounds the memory of what has come over all links and is not executed, in bytes: who finds no room is not read from for a while.
const maxReceived = 64 << 20

// linkReceived bounds that of one link. It is what all windows of a peer can hold that keeps to them, so that such a peer is always read from as far as its own share
// goes: else the acknowledgements and the answers that this side needs to go on could wait behind its events. What is left is for all others.
const linkReceived = int64(fed.LaneLast+1) * (windowBytes + fed.MaxBatchBytes + besideEvent*windowEvents)

// besideEvent is about how much memory an event takes besides its bytes.
const besideEvent = 256

// weightOf is about how much memory a batch takes, and no more than a link may have.
func weightOf(b *fed.Batch) int64 {
	return min(int64(sizeOf(b)+besideEvent*len(b.Events)), linkReceived)
}

// makeRoom waits for room for a batch, while the peer is not taken for silent.
func (l *link) makeRoom(ctx context.Context, b *fed.Batch) error {
	n := weightOf(b)
	if l.in.room.tryTake(n) {
		return nil
	}
	l.clock.busy.Store(true)
	if err := l.in.room.take(ctx, n); err != nil {
		return err
	}
	l.clock.heard.Store(time.Now().UnixNano())
	l.clock.busy.Store(false)
	return nil
}

func sizeOf(b *fed.Batch) (n int) {
	for i := range b.Events {
		n += len(b.Events[i].Event)
	}
	return n
}

func (in *laneIn) put(b *fed.Batch) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.events += len(b.Events)
	in.bytes += sizeOf(b)
	if in.events > maxWaiting || in.bytes > maxWaitingBytes {
		return protocol.Errorf(protocol.CodeOverloaded, "the peer has sent more than %d events or %d bytes without waiting for acknowledgement", maxWaiting, maxWaitingBytes)
	}
	in.queue = append(in.queue, b)
	wake(in.more)
	return nil
}

func (in *laneIn) get() *fed.Batch {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.queue) == 0 {
		return nil
	}
	b := in.queue[0]
	in.queue[0] = nil
	in.queue = in.queue[1:]
	in.events -= len(b.Events)
	in.bytes -= sizeOf(b)
	return b
}

// executeAll has the events of one lane executed as they come.
func (l *link) executeAll(ctx context.Context, in *laneIn) error {
	if err := l.awaitReady(ctx); err != nil {
		return err
	}
	for {
		for b := in.get(); b != nil; b = in.get() {
			n := weightOf(b)
			for i := range b.Events {
				if err := l.execute(ctx, in, b, i); err != nil {
					return err
				}
			}
			l.in.room.give(n)
		}
		select {
		case <-in.more:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// execute checks an event's signatures and starts its command; one with a wrong signature is refused [FED-SIG-4].
func (l *link) execute(ctx context.Context, in *laneIn, b *fed.Batch, i int) error {
	e := &b.Events[i]
	c := &protocol.ReceiveEvent{Cluster: l.peer, Epoch: b.Epoch, Lane: uint8(b.Lane), Sequence: b.First + uint64(i), Event: e.Event,
		Key: e.Signature.Key, Sig: e.Signature.Sig[:]}
	author, err := l.verify(ctx, in, e)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if werr := l.in.author.wait(ctx, author); werr != nil {
		return werr
	}
	if err != nil {
		c.Event, c.Sig, c.Bad = nil, nil, &protocol.Refusal{Sequence: c.Sequence, Code: protocol.CodeOf(err), Text: protocol.Truncate(err.Error(), maxReason)}
	}
	if err := l.in.commits.take(ctx, 1); err != nil {
		return err
	}
	p, err := l.state.Start(ctx, c)
	if err != nil {
		return fmt.Errorf("execute an event: %w", err)
	}
	select {
	case in.pending <- receipt{seq: c.Sequence, last: i == len(b.Events)-1, pending: p}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// acknowledge tells the peer what is committed, in the order in which it came: after a batch if nothing more is under way, or after so many events.
func (l *link) acknowledge(ctx context.Context, in *laneIn) error {
	since := 0
	for {
		select {
		case r := <-in.pending:
			if r.settled != nil {
				close(r.settled)
				continue
			}
			cursor, err := l.settle(ctx, in.lane, &r)
			if err != nil {
				return err
			}
			since++
			if len(in.pending) > 0 && since < fed.MaxBatchEvents {
				continue
			}
			if !r.last && since < fed.MaxBatchEvents {
				continue // the rest of its batch follows at once
			}
			since = 0
			in.acked.Store(cursor)
			if err := l.say(fed.LaneControl, fed.NewFrame(fed.KindAck, fed.Ack{Epoch: l.hello.Epoch, Lane: in.lane, Sequence: cursor})); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// settle waits for an event to be committed, and returns up to where the lane can be acknowledged: no further than what came over this link. What can't be committed
// now ends the link without a word of it: the peer keeps it and comes again [FED-IN-3].
func (l *link) settle(ctx context.Context, lane fed.Lane, r *receipt) (uint64, error) {
	got, err := r.pending.Wait(ctx)
	l.in.commits.give(1)
	if err != nil {
		return 0, fmt.Errorf("commit event %d of lane %d: %w", r.seq, lane, err)
	}
	result, _ := got.(protocol.ReceiveResult)
	why := result.Refused
	if result.Repeated {
		l.tally.repeated.Add(1)
		refused, err := l.in.refused()
		if err != nil {
			return 0, fmt.Errorf("read what was refused: %w", err)
		}
		why = refused[slot{lane, r.seq}]
	}
	if result.Gap != nil {
		wake(l.asks.gaps)
	}
	if why != nil {
		l.tally.refusal(why.Code)
		l.log.Warn("an event of a peer is not accepted", "lane", lane, "sequence", r.seq, "code", why.Code.String(), "reason", why.Text)
		reject := fed.Reject{Epoch: l.hello.Epoch, Lane: lane, Sequence: r.seq, Code: why.Code, Text: why.Text}
		l.self.SignReject(&reject, l.peer)
		if err := l.say(fed.LaneControl, fed.NewFrame(fed.KindReject, reject)); err != nil {
			return 0, err
		}
	}
	return r.seq, nil
}
