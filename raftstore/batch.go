package raftstore

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// batcher makes one log entry of the commands that wait while another entry is under way. There is no timer: a lone
// command leaves at once, and a crowd travels together because the disk takes its time.
type batcher struct {
	queue   chan *proposal
	slots   chan struct{} // one token per entry under way
	stop    chan struct{}
	done    chan struct{}
	submit  func(entry []byte) waiter
	space   *spaceGuard
	clock   func() time.Time
	metrics *metrics

	mu      sync.Mutex // guards flights
	flights map[*flight]struct{}
}

// waiter waits for the entry and returns the machine's results, one per command.
type waiter func() ([]any, error)

// proposal is one command on its way. Whoever moves status from waiting decides: the batcher (it goes into an entry) or
// the caller (it is given up and surely not carried out).
type proposal struct {
	cmd    []byte
	status atomic.Int32
	answer chan outcome // one place, so that nobody waits to answer
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

func (p *proposal) take() bool   { return p.status.CompareAndSwap(statusWaiting, statusTaken) }
func (p *proposal) giveUp() bool { return p.status.CompareAndSwap(statusWaiting, statusGivenUp) }

// flight is an entry under way and whom to tell; it is answered once.
type flight struct {
	proposals []*proposal
	once      sync.Once
}

func (f *flight) answer(results []any, err error) {
	f.once.Do(func() {
		for i, p := range f.proposals {
			if err != nil {
				p.answer <- outcome{err: err}
			} else {
				p.answer <- outcome{result: results[i]}
			}
		}
	})
}

func newBatcher(window int, submit func([]byte) waiter, space *spaceGuard, clock func() time.Time, m *metrics) *batcher {
	return &batcher{
		queue: make(chan *proposal, queueLength), slots: make(chan struct{}, window), stop: make(chan struct{}),
		done: make(chan struct{}), submit: submit, space: space, clock: clock, metrics: m, flights: make(map[*flight]struct{}),
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

// run is the batcher's goroutine; close ends it.
func (b *batcher) run() {
	defer close(b.done)
	var first *proposal
	for {
		if first == nil {
			select {
			case first = <-b.queue:
			case <-b.stop:
				return
			}
		}
		select {
		case b.slots <- struct{}{}:
		case <-b.stop:
			return
		}
		// The answers of the last entry have just been given: let those who got one propose again, or this entry would
		// carry one command and the next one all the others.
		runtime.Gosched()
		var taken []*proposal
		taken, first = b.gather(first)
		if len(taken) == 0 || !b.launch(taken) {
			<-b.slots
		}
	}
}

// gather takes first and what waits behind it, without waiting itself. The second result didn't fit any more.
func (b *batcher) gather(first *proposal) (taken []*proposal, next *proposal) {
	size := 0
	for p := first; ; {
		if len(taken) > 0 && (len(taken) == batchCommands || size+len(p.cmd) > batchBytes) {
			return taken, p
		}
		if p.take() {
			taken = append(taken, p)
			size += len(p.cmd)
		}
		select {
		case p = <-b.queue:
		default:
			return taken, nil
		}
	}
}

// launch sends an entry on its way; false if it was refused, and then the slot is still the caller's.
func (b *batcher) launch(taken []*proposal) bool {
	f := &flight{proposals: taken}
	commands := make([][]byte, len(taken))
	size := 0
	for i, p := range taken {
		commands[i] = p.cmd
		size += len(p.cmd)
	}
	if err := b.space.check(size); err != nil {
		f.answer(nil, err)
		return false
	}
	b.mu.Lock()
	b.flights[f] = struct{}{}
	b.mu.Unlock()
	b.metrics.batch.Observe(float64(len(taken)))
	start := time.Now()
	wait := b.submit(encodeEntry(b.clock().UnixMilli(), commands))
	go func() { // ends with the entry's outcome; close waits for its slot
		defer func() { <-b.slots }()
		results, err := wait()
		if err == nil && len(results) != len(taken) {
			err = unknown("the log gave no results", nil)
		}
		b.metrics.commit.Observe(time.Since(start).Seconds())
		f.answer(results, err)
		b.mu.Lock()
		delete(b.flights, f)
		b.mu.Unlock()
	}()
	return true
}

// halt ends the batcher: nothing new is sent, what is under way may still be answered.
func (b *batcher) halt() {
	close(b.stop)
	<-b.done
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
