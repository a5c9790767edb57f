package raftstore

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"teamtalk/protocol"
)

// Forwarder takes commands to the node that leads.
type Forwarder interface {
	// Forward begins to hand commands to the Accept of node to, and wait returns what that said; both end soon after ctx.
	// What is begun first arrives first; several may be under way. If the commands may be carried out although there is
	// an error, it says so (protocol.Error.OutcomeUnknown); an error that is no protocol.Error counts as such.
	Forward(ctx context.Context, to NodeID, commands []TaggedCommand) (wait func() error, err error)
}

// TaggedCommand is a command on its way to the leader and the number under which the sender waits for it.
type TaggedCommand struct {
	Sequence uint64
	Command  []byte
}

const (
	// forwardWindow is how many groups may be under way to the leader: one being executed there, one waiting, one travelling.
	forwardWindow = 3
	reviewPause   = 5 * time.Millisecond
	firstPause    = 10 * time.Millisecond // before a refused command is tried at the same leader again, then twice as long
	longestPause  = 320 * time.Millisecond
	// graceParts is what part of LeaderWait a former leader has for its answers.
	graceParts = 4
)

// forward is a group of commands under way to the leader.
type forward struct {
	to        seat
	proposals []*proposal
	cancel    context.CancelFunc
	left      atomic.Int32 // not answered yet

	// guarded by forwards.mu
	returned bool      // the call has ended
	doubtful bool      // and nobody knows whether the leader took the commands
	grace    time.Time // when the call is cut off, once the leader is gone
	deadline time.Time // when the callers are told that the outcome is unknown; zero: nothing is wrong
}

// forwards brings commands to the leader. An answer comes through the log (pendings); the call to the leader only tells
// that it never will.
type forwards struct {
	over    Forwarder
	leader  *leaderWatch
	waiting *pendings
	limit   time.Duration
	past    func(term uint64) bool // whether no entry of the term will be executed here any more
	contact func() time.Time       // when the leader was last heard of
	metrics *forwardMetrics
	slots   chan struct{} // one token per group under way
	refuse  func([]*proposal, seat, error)
	ctx     context.Context // of the calls; ends with close
	cancel  context.CancelFunc
	kick    chan struct{}
	done    chan struct{}
	lost    time.Time // since when there is no leader, as the batcher saw it; the batcher's goroutine only

	mu       sync.Mutex // guards what follows
	flights  map[*forward]struct{}
	lastSeat seat   // the last leader that took commands,
	lastSeq  uint64 // and the last of those
}

func (s *Store) newForwards() *forwards {
	ctx, cancel := context.WithCancel(context.Background())
	return &forwards{over: s.cfg.Forwarder, leader: s.leader, waiting: s.fsm.pendings, limit: s.cfg.Tuning.LeaderWait, past: s.past,
		contact: s.raft.LastContact, metrics: s.cluster.metrics, slots: make(chan struct{}, forwardWindow), refuse: s.batches.refuse,
		ctx: ctx, cancel: cancel, kick: make(chan struct{}, 1), done: make(chan struct{}), flights: make(map[*forward]struct{})}
}

// route says where a command goes now: to the leader of the moment. It waits for one, or for another than the one that
// refused the command, or for the time to ask that one again.
func (f *forwards) route(p *proposal, stop <-chan struct{}) (seat, error) {
	if to, ok := f.leader.seat(); ok && p.refused == nil {
		f.lost = time.Time{}
		return to, nil
	}
	for {
		changed := f.leader.changes()
		now := time.Now()
		to, ok := f.leader.seat()
		if ok {
			f.lost = time.Time{}
		} else if f.lost.IsZero() {
			f.lost = now
		}
		pause, err := f.pause(p, to, ok, now)
		if err != nil || ok && pause <= 0 {
			return to, err
		}
		t := time.NewTimer(pause)
		select {
		case <-changed:
		case <-t.C:
		case <-stop:
			t.Stop()
			return seat{}, errClosed()
		}
		t.Stop()
	}
}

// leads reports whether that is still how things are.
func (f *forwards) leads(to seat) bool {
	now, ok := f.leader.seat()
	return ok && now == to
}

// pause is how long a command waits for what may change, at most; an error if it waited long enough.
func (f *forwards) pause(p *proposal, to seat, ok bool, now time.Time) (time.Duration, error) {
	if p.refused == nil {
		if ok {
			return 0, nil
		}
		left := f.lost.Add(f.limit).Sub(now)
		if left <= 0 {
			return 0, unavailable("no leader", raft.ErrNotLeader)
		}
		return left, nil
	}
	left := p.refused.until.Sub(now)
	if left <= 0 {
		return 0, p.refused.err
	}
	if !ok {
		return left, nil
	}
	if to != p.refused.by {
		return 0, nil
	}
	if f.overtaken(p, to) {
		return 0, p.refused.err // what was started later is there already
	}
	return min(left, p.refused.again.Sub(now)), nil
}

func (f *forwards) overtaken(p *proposal, at seat) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lastSeat == at && f.lastSeq > p.seq
}

// took remembers how far a leader has taken this node's commands.
func (f *forwards) took(at seat, last uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lastSeat != at {
		f.lastSeat, f.lastSeq = at, 0
	}
	f.lastSeq = max(f.lastSeq, last)
}

// send begins to bring a group to the leader. The caller holds a slot, which is free again when the call has ended.
func (f *forwards) send(to seat, taken []*proposal) {
	ctx, cancel := context.WithCancel(f.ctx)
	ride := &forward{to: to, proposals: taken, cancel: cancel}
	commands := make([]TaggedCommand, len(taken))
	for i, p := range taken {
		commands[i] = TaggedCommand{p.seq, p.cmd}
	}
	f.waiting.add(ride)
	f.mu.Lock()
	f.flights[ride] = struct{}{}
	f.mu.Unlock()
	if !f.leads(to) {
		f.wake() // the change may have been looked at before this group was there
	}
	f.metrics.groups.Observe(float64(len(taken)))
	start := time.Now()
	wait, err := f.over.Forward(ctx, to.node, commands)
	go func() { // ends with the call, which ends at the latest after close; close waits for its slot
		defer func() { <-f.slots }()
		if err == nil {
			err = wait()
		}
		cancel()
		f.metrics.seconds.Observe(time.Since(start).Seconds())
		f.end(ride, err)
	}()
}

// end deals with what the leader said.
func (f *forwards) end(ride *forward, err error) {
	if err == nil || mayHappen(err) {
		f.took(ride.to, ride.proposals[len(ride.proposals)-1].seq)
		f.mu.Lock()
		ride.returned, ride.doubtful = true, err != nil
		if ride.left.Load() == 0 {
			delete(f.flights, ride)
		}
		f.mu.Unlock()
		f.wake()
		return
	}
	f.mu.Lock()
	delete(f.flights, ride)
	f.mu.Unlock()
	left := f.waiting.take(ride)
	if protocol.CodeOf(err) == protocol.CodeUnavailable {
		f.refuse(left, ride.to, err)
		return
	}
	for _, p := range left {
		p.answer <- outcome{err: err}
	}
}

// mayHappen reports whether what was forwarded may be carried out in spite of the error.
func mayHappen(err error) bool {
	var e *protocol.Error
	return !errors.As(err, &e) || e.OutcomeUnknown
}

func (f *forwards) wake() {
	select {
	case f.kick <- struct{}{}:
	default:
	}
}

// run looks after groups whose leader is gone or silent; close ends it.
func (f *forwards) run() {
	defer close(f.done)
	for {
		changed := f.leader.changes()
		var tick <-chan time.Time
		if f.review(time.Now()) {
			tick = time.After(reviewPause)
		}
		select {
		case <-changed:
		case <-f.kick:
		case <-tick:
		case <-f.ctx.Done():
			return
		}
	}
}

// review ends what can't end well any more, and reports whether there is more to look after soon.
func (f *forwards) review(now time.Time) (busy bool) {
	current, known := f.leader.seat()
	f.mu.Lock()
	defer f.mu.Unlock()
	for ride := range f.flights {
		if ride.returned && ride.left.Load() == 0 {
			delete(f.flights, ride)
			continue
		}
		gone := !known || current != ride.to
		if !gone && !ride.doubtful {
			ride.deadline = time.Time{}
			continue
		}
		busy = true
		if ride.deadline.IsZero() {
			f.alarm(ride, gone, now)
		}
		if gone && !ride.returned && now.After(ride.grace) {
			ride.cancel()
		}
		if now.After(ride.deadline) || ride.returned && gone && f.past(ride.to.term) {
			delete(f.flights, ride)
			ride.cancel()
			f.giveUp(ride)
		}
	}
	return busy
}

// alarm sets the times of a group whose leader is gone or didn't answer clearly. The callers have waited since the leader
// was last heard of.
func (f *forwards) alarm(ride *forward, gone bool, now time.Time) {
	ride.grace = now.Add(f.limit / graceParts)
	ride.deadline = now.Add(f.limit)
	if !gone {
		return
	}
	if heard := f.contact().Add(f.limit); heard.Before(ride.deadline) {
		ride.deadline = heard
	}
	if ride.deadline.Before(ride.grace) {
		ride.deadline = ride.grace
	}
}

func (f *forwards) giveUp(ride *forward) {
	for _, p := range f.waiting.take(ride) {
		f.metrics.doubts.Inc()
		p.answer <- outcome{err: unknown("the leader was lost meanwhile", nil)}
	}
}

// close cuts off what is under way and answers it. The batcher has been halted.
func (f *forwards) close() {
	f.settle(settleTime)
	f.cancel()
	<-f.done
	for range cap(f.slots) {
		f.slots <- struct{}{}
	}
	f.waiting.abandon(unknown("this node is shutting down", nil))
}

// settle waits until nothing is under way, at most for the given time.
func (f *forwards) settle(limit time.Duration) {
	end := time.Now().Add(limit)
	tick := time.NewTicker(reviewPause)
	defer tick.Stop()
	for time.Now().Before(end) {
		f.mu.Lock()
		idle := true
		for ride := range f.flights {
			idle = idle && ride.left.Load() == 0
		}
		f.mu.Unlock()
		if idle {
			return
		}
		<-tick.C
	}
}

// past reports whether no entry of the term can be executed here any more: an entry of a later term is committed behind
// them, and all before it were executed and answered.
func (s *Store) past(term uint64) bool {
	done := s.fsm.pendings.answered()
	var l raft.Log
	for i := s.raft.CommitIndex(); i > done; i-- {
		if err := s.logs.GetLog(i, &l); err != nil || l.Term <= term && (l.Type == raft.LogCommand || l.Type == raft.LogConfiguration) {
			return false
		}
	}
	commit := s.raft.CommitIndex()
	return s.logs.GetLog(commit, &l) == nil && l.Term > term
}
