package raftstore

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"teamtalk/protocol"
)

func noSpaceLimit() *spaceGuard {
	return &spaceGuard{free: func() (uint64, error) { return 1 << 50, nil }}
}

// fakeLog takes entries and answers each command with itself.
type fakeLog struct {
	mu      sync.Mutex
	entries []entry
	flying  atomic.Int32
	most    atomic.Int32
	delay   time.Duration
	fail    func(n int) error
}

func (l *fakeLog) submit(b []byte) waiter {
	e, err := decodeEntry(b)
	l.mu.Lock()
	n := len(l.entries)
	l.entries = append(l.entries, e)
	l.mu.Unlock()
	if now := l.flying.Add(1); now > l.most.Load() {
		l.most.Store(now)
	}
	return func() ([]any, error) {
		time.Sleep(l.delay) // in a synctest bubble
		l.flying.Add(-1)
		if err == nil && l.fail != nil {
			err = l.fail(n)
		}
		if err != nil {
			return nil, err
		}
		out := make([]any, len(e.commands))
		for i, c := range e.commands {
			out[i] = string(c)
		}
		return out, nil
	}
}

func startBatcher(window int, l *fakeLog, space *spaceGuard) *batcher {
	b := newBatcher(window, l.submit, space, time.Now, newMetrics(nil, nil, nil))
	go b.run()
	return b
}

// Every command gets its own answer, once; entries keep their bounds and the window its depth.
func TestBatcherProperties(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		window := rapid.IntRange(1, 2).Draw(rt, "window")
		sizes := rapid.SliceOfN(rapid.OneOf(rapid.IntRange(8, 100), rapid.IntRange(batchBytes/3, batchBytes+10)), 1, 60).Draw(rt, "sizes")
		crowd := rapid.IntRange(0, 1500).Draw(rt, "crowd")
		for range crowd {
			sizes = append(sizes, 8)
		}
		synctest.Test(t, func(t *testing.T) { checkBatches(t, window, sizes) })
	})
}

func checkBatches(t *testing.T, window int, sizes []int) {
	l := &fakeLog{delay: time.Millisecond}
	b := startBatcher(window, l, noSpaceLimit())
	var wg sync.WaitGroup
	for i, n := range sizes {
		cmd := make([]byte, n)
		binary.BigEndian.PutUint64(cmd, uint64(i))
		wg.Go(func() {
			r, err := b.propose(context.Background(), cmd)
			if err != nil || r != string(cmd) {
				t.Errorf("command %d: wrong answer, error %v", i, err)
			}
		})
	}
	wg.Wait()
	b.halt()
	seen := make(map[uint64]bool)
	for _, e := range l.entries {
		bytes := 0
		for _, c := range e.commands {
			id := binary.BigEndian.Uint64(c)
			if seen[id] {
				t.Errorf("command %d went twice", id)
			}
			seen[id] = true
			bytes += len(c)
		}
		if len(e.commands) > batchCommands || bytes > batchBytes && len(e.commands) > 1 {
			t.Errorf("an entry has %d commands and %d bytes", len(e.commands), bytes)
		}
	}
	if len(seen) != len(sizes) {
		t.Errorf("%d commands went, of %d", len(seen), len(sizes))
	}
	if int(l.most.Load()) > window {
		t.Errorf("%d entries under way, window is %d", l.most.Load(), window)
	}
	if most := len(sizes)/2 + 1; len(sizes) > 200 && len(l.entries) > most {
		t.Errorf("%d commands needed %d entries", len(sizes), len(l.entries))
	}
}

// A command whose caller gave up before it was sent is not sent, and the caller is told which it was.
func TestBatcherGivingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &fakeLog{delay: time.Second}
		b := startBatcher(1, l, noSpaceLimit())
		defer b.halt()
		ctx, cancel := context.WithCancel(context.Background())
		errs := make(chan error, 2)
		go func() { _, err := b.propose(ctx, []byte("sent....")); errs <- err }()
		synctest.Wait()
		go func() { _, err := b.propose(ctx, []byte("waiting.")); errs <- err }()
		synctest.Wait()
		cancel()
		unknowns := 0
		for range 2 {
			err := <-errs
			if protocol.CodeOf(err) != protocol.CodeUnavailable || !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			if protocol.IsOutcomeUnknown(err) {
				unknowns++
			}
		}
		if unknowns != 1 {
			t.Errorf("%d commands have an unknown outcome, want 1", unknowns)
		}
		if _, err := b.propose(context.Background(), []byte("last....")); err != nil {
			t.Error(err)
		}
		if n := len(l.entries); n != 2 {
			t.Errorf("%d entries were sent, want 2", n)
		}
	})
}

func TestBatcherHaltAnswersEverybody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &fakeLog{delay: time.Hour}
		b := startBatcher(1, l, noSpaceLimit())
		errs := make(chan error, 3)
		for range 3 {
			go func() { _, err := b.propose(context.Background(), []byte("12345678")); errs <- err }()
			synctest.Wait()
		}
		b.halt()
		if b.settle(time.Second) {
			t.Error("settled with an entry under way")
		}
		b.abandon(unknown("closing", nil))
		unknowns := 0
		for range 3 {
			if err := <-errs; protocol.IsOutcomeUnknown(err) {
				unknowns++
			} else if protocol.CodeOf(err) != protocol.CodeUnavailable {
				t.Errorf("got %v", err)
			}
		}
		if unknowns != 1 {
			t.Errorf("%d commands have an unknown outcome, want the one under way", unknowns)
		}
		if !b.settle(2 * time.Hour) {
			t.Error("did not settle")
		}
	})
}

func TestBatcherFailedEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := errors.New("bad")
		l := &fakeLog{fail: func(n int) error {
			if n == 0 {
				return bad
			}
			return nil
		}}
		b := startBatcher(1, l, noSpaceLimit())
		defer b.halt()
		if _, err := b.propose(context.Background(), []byte("12345678")); !errors.Is(err, bad) {
			t.Errorf("got %v", err)
		}
		if _, err := b.propose(context.Background(), []byte("12345678")); err != nil {
			t.Error(err)
		}
	})
}

func (b *batcher) propose(ctx context.Context, cmd []byte) (any, error) {
	p := newProposal(cmd)
	if err := b.enqueue(ctx, p); err != nil {
		return nil, err
	}
	return b.await(ctx, p)
}

// TestIdleGivesBack: whoever ends while the batcher waits for what is under way gets all slots but those that are taken.
func TestIdleGivesBack(t *testing.T) {
	b := &batcher{stop: make(chan struct{})}
	close(b.stop)
	for range 100 { // it may take some of the free ones before it sees the end
		slots := make(chan struct{}, 4)
		slots <- struct{}{}
		if b.idle(slots) {
			t.Fatal("idle, although one is taken")
		}
		if len(slots) != 1 {
			t.Fatalf("%d of 4 slots are taken, one really is", len(slots))
		}
	}
}
