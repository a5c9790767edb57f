package raftstore

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// batcher makes one log entry of the commands that wait while another entry is under way. There is no timer: a lone
// command leaves at once, and a crowd travels together because the disk takes its time. Where another node leads, a group
// goes to it in the same manner.
type batcher struct {
	queue    chan *proposal
	slots    chan struct{} // one token per entry under way
	stop     chan struct{}
	done     chan struct{}
	submit   func(entry []byte) waiter
	forwards *forwards // nil: commands are for this node's log only
	space    *spaceGuard
	clock    func() time.Time
	metrics  *metrics
	seq      uint64        // of the last command taken; run's goroutine only
	backlog  []*proposal   // to go before the queue; run's goroutine only
	kick     chan struct{} // holds a token when there are refused ones

	mu      sync.Mutex // guards what follows
	flights map[*flight]struct{}
	refused []*proposal // surely not carried out, to be tried again
	ended   bool        // nothing is tried again
}

// waiter waits for the entry and returns the machine's results, one per command.
type waiter func() ([]any, error)

// proposal is one command on its way. Whoever moves status from waiting decides: the batcher (it goes into an entry) or
// the caller (it is given up and surely not carried out).
type proposal struct {
	cmd     []byte
	bundle  *bundle // another node's commands instead; one answer for all
	status  atomic.Int32
	answer  chan outcome // one place, so that nobody waits to answer
	seq     uint64       // its number among this node's commands, from the moment it was taken
	ride    *forward     // the last group it travelled in; guarded by pendings.mu
	refused *refused     // why it is tried again
}

// refused says who refused a command, and how long it is tried again.
type refused struct {
	by    seat
	err   error
	until time.Time
	again time.Time // when the same leader may be asked again
	pause time.Duration
}

const (
	statusWaiting int32 = iota
	statusTaken
	statusGivenUp
)

type outcome struct {
	result any
	err    error
}

func newProposal(cmd []byte) *proposal {
	return &proposal{cmd: cmd, answer: make(chan outcome, 1)}
}

func (p *proposal) count() int {
	if p.bundle != nil {
		return len(p.bundle.commands)
	}
	return 1
}

func (p *proposal) size() int {
	if p.bundle != nil {
		return p.bundle.bytes
	}
	return len(p.cmd)
}

func (p *proposal) take() bool   { return p.status.CompareAndSwap(statusWaiting, statusTaken) }
func (p *proposal) giveUp() bool { return p.status.CompareAndSwap(statusWaiting, statusGivenUp) }

// flight is an entry under way and whom to tell; it is answered once.
type flight struct {
	proposals []*proposal
	once      sync.Once
}

func (f *flight) answer(results []any, err error) {
	f.once.Do(func() {
		at := 0
		for _, p := range f.proposals {
			switch {
			case err != nil:
				p.answer <- outcome{err: err}
			case p.bundle != nil: // the sender finds the results in his own log
				p.answer <- outcome{}
			default:
				p.answer <- outcome{result: results[at]}
			}
			at += p.count()
		}
	})
}

func newBatcher(window int, submit func([]byte) waiter, space *spaceGuard, clock func() time.Time, m *metrics) *batcher {
	return &batcher{
		queue: make(chan *proposal, queueLength), slots: make(chan struct{}, window), stop: make(chan struct{}),
		done: make(chan struct{}), submit: submit, space: space, clock: clock, metrics: m, flights: make(map[*flight]struct{}),
		kick: make(chan struct{}, 1),
		// Numbers of a former life may still come out of the log: nobody may take them for those of this one.
		seq: rand.Uint64() >> 1,
	}
}

// enqueue puts a command into the queue, waiting while it is full.
func (b *batcher) enqueue(ctx context.Context, p *proposal) error {
	select {
	case b.queue <- p:
		return nil
	case <-ctx.Done():
		return expired(ctx, false)
	case <-b.stop:
		return errClosed()
	}
}

// await returns the outcome of a command that was enqueued. It may be called once.
func (b *batcher) await(ctx context.Context, p *proposal) (any, error) {
	select {
	case o := <-p.answer:
		return o.result, o.err
	case <-ctx.Done():
		return nil, expired(ctx, !p.giveUp())
	case <-b.done: // the batcher has ended: it either answered or will never look at this one
		if p.giveUp() {
			return nil, errClosed()
		}
		o := <-p.answer
		return o.result, o.err
	}
}

// run is the batcher's goroutine; halt ends it.
func (b *batcher) run() {
	defer close(b.done)
	var first *proposal
	for {
		if first = b.next(first); first == nil {
			return
		}
		var to seat
		if b.forwards != nil {
			var err error
			if to, err = b.forwards.route(first, b.stop); err != nil {
				if first.take() {
					first.answer <- outcome{err: err}
				}
				first = nil
				continue
			}
		}
		elsewhere := b.forwards != nil && to.node != b.forwards.leader.self
		slots := b.slots
		if elsewhere {
			slots = b.forwards.slots
		}
		select {
		case slots <- struct{}{}:
		case <-b.stop:
			return
		}
		if b.forwards != nil && !b.forwards.leads(to) { // somebody else does since the slot was asked for
			<-slots
			continue
		}
		// The answers of the last entry have just been given: let those who got one propose again, or this entry would
		// carry one command and the next one all the others.
		runtime.Gosched()
		var taken []*proposal
		taken, first = b.gather(first)
		if elsewhere {
			taken = turnAway(taken)
		}
		switch {
		case len(taken) == 0:
			<-slots
		case elsewhere && b.space.tight(0): // the log takes no entries, so nobody here would learn what came of them
			<-slots
			(&flight{proposals: taken}).answer(nil, unavailable("this node writes nothing until disk space returns", errDiskFull))
		case elsewhere:
			b.forwards.send(to, taken)
		case !b.launch(taken, to):
			<-slots
		}
	}
}

// next is the command to go on with, the one in hand unless refused ones come before it; nil when the batcher is to end.
func (b *batcher) next(inHand *proposal) *proposal {
	for {
		select {
		case <-b.kick:
			if inHand != nil {
				b.backlog = append(b.backlog, inHand)
				inHand = nil
			}
			if !b.collect() {
				return nil
			}
		default:
		}
		if inHand != nil {
			return inHand
		}
		if len(b.backlog) > 0 {
			p := b.backlog[0]
			b.backlog = b.backlog[1:]
			return p
		}
		select {
		case p := <-b.queue:
			return p
		case <-b.kick:
			if !b.collect() {
				return nil
			}
		case <-b.stop:
			return nil
		}
	}
}

// collect puts refused commands before all others, in their old order, once nothing is under way any more; false when the
// batcher is to end.
func (b *batcher) collect() bool {
	if !b.idle(b.slots) || !b.idle(b.forwards.slots) {
		return false
	}
	b.mu.Lock()
	b.backlog = append(b.backlog, b.refused...)
	b.refused = nil
	b.mu.Unlock()
	slices.SortStableFunc(b.backlog, func(p, q *proposal) int { return cmp.Compare(p.seq-1, q.seq-1) }) // those without a number last
	return true
}

// idle waits until none of the slots is taken; false when the batcher is to end.
func (b *batcher) idle(slots chan struct{}) bool {
	n, ending := 0, false
	for n < cap(slots) && !ending {
		select {
		case slots <- struct{}{}:
			n++
		case <-b.stop:
			ending = true
		}
	}
	for range n { // whoever closes waits for all of them, too
		<-slots
	}
	return !ending
}

// turnAway answers what other nodes forwarded, as this one doesn't lead: there is one hop only.
func turnAway(taken []*proposal) []*proposal {
	return slices.DeleteFunc(taken, func(p *proposal) bool {
		if p.bundle != nil {
			p.answer <- outcome{err: unavailable("this node is not the leader", raft.ErrNotLeader)}
		}
		return p.bundle != nil
	})
}

// refuse takes back commands that were surely not carried out, to try them again for a while.
func (b *batcher) refuse(proposals []*proposal, by seat, err error) {
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range proposals {
		if p.bundle != nil || b.ended {
			p.answer <- outcome{err: err}
			continue
		}
		if p.refused == nil {
			p.refused = &refused{until: now.Add(b.forwards.limit), pause: firstPause}
		}
		r := p.refused
		r.by, r.err, r.again = by, err, now.Add(r.pause)
		r.pause = min(2*r.pause, longestPause)
		b.forwards.metrics.again.Inc()
		p.status.Store(statusWaiting) // from here on its caller may give it up
		b.refused = append(b.refused, p)
	}
	select {
	case b.kick <- struct{}{}:
	default:
	}
}

// gather takes first and what waits behind it, without waiting itself. The second result didn't fit any more.
func (b *batcher) gather(first *proposal) (taken []*proposal, next *proposal) {
	size, count := 0, 0
	for p := first; ; {
		if len(taken) > 0 && (count+p.count() > batchCommands || size+p.size() > batchBytes) {
			return taken, p
		}
		if p.take() {
			if p.seq == 0 {
				b.seq++
				p.seq = b.seq
			}
			taken = append(taken, p)
			size += p.size()
			count += p.count()
		}
		if len(b.backlog) > 0 {
			p, b.backlog = b.backlog[0], b.backlog[1:]
			continue
		}
		select {
		case p = <-b.queue:
		default:
			return taken, nil
		}
	}
}

// launch sends an entry on its way; false if it was refused, and then the slot is still the caller's.
func (b *batcher) launch(taken []*proposal, from seat) bool {
	f := &flight{proposals: taken}
	commands := make([][]byte, 0, len(taken))
	var origins []origin
	size := 0
	for _, p := range taken {
		size += p.size()
		if p.bundle == nil {
			commands = append(commands, p.cmd)
			continue
		}
		origins = append(origins, p.bundle.origins(len(commands))...)
		for _, c := range p.bundle.commands {
			commands = append(commands, c.Command)
		}
	}
	if err := b.space.check(size); err != nil {
		f.answer(nil, err)
		return false
	}
	b.mu.Lock()
	b.flights[f] = struct{}{}
	b.mu.Unlock()
	b.metrics.batch.Observe(float64(len(commands)))
	start := time.Now()
	wait := b.submit(encodeEntry(b.clock().UnixMilli(), commands, origins...))
	go func() { // ends with the entry's outcome; close waits for its slot
		defer func() { <-b.slots }()
		results, err := wait()
		if err == nil && len(results) != len(commands) {
			err = unknown("the log gave no results", nil)
		}
		b.metrics.commit.Observe(time.Since(start).Seconds())
		b.land(f, from, results, err)
	}()
	return true
}

// land answers an entry's commands. Where raft refused the entry they are tried again, with whoever leads then.
func (b *batcher) land(f *flight, from seat, results []any, err error) {
	switch {
	case b.forwards == nil:
		f.answer(results, err)
	case errors.Is(err, raft.ErrNotLeader) || errors.Is(err, raft.ErrLeadershipTransferInProgress):
		f.once.Do(func() { b.refuse(f.proposals, from, err) })
	default:
		b.forwards.took(from, f.proposals[len(f.proposals)-1].seq)
		f.answer(results, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.flights, f)
}

// halt ends the batcher: nothing new is sent, what is under way may still be answered.
func (b *batcher) halt() {
	close(b.stop)
	<-b.done
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
	for _, p := range b.refused {
		p.answer <- outcome{err: p.refused.err}
	}
	b.refused = nil
}

// settle waits until nothing is under way any more, at most for the given time, and reports whether that was so.
func (b *batcher) settle(limit time.Duration) bool {
	t := time.NewTimer(limit)
	defer t.Stop()
	for i := range cap(b.slots) {
		select {
		case b.slots <- struct{}{}:
		case <-t.C:
			for range i {
				<-b.slots
			}
			return false
		}
	}
	for range cap(b.slots) {
		<-b.slots
	}
	return true
}

// abandon answers what is still under way with err.
func (b *batcher) abandon(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for f := range b.flights {
		f.answer(nil, err)
	}
}
