package service

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"teamtalk/protocol"
)

// burnStore has messages that burn at their times.
type burnStore struct {
	mu      sync.Mutex // guards what follows
	leads   bool
	due     []protocol.Time
	burned  []protocol.Time // when
	broken  error           // what a command is answered with
	blind   error           // what NextBurn says
	limit   int             // per command, 0: as the command says
	calls   int
	waiting bool // NextBurn is always 0, but nothing burns
}

func (s *burnStore) Head() (protocol.Cursor, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return 1, s.leads
}

func (s *burnStore) NextBurn() (protocol.Time, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting || s.blind != nil || len(s.due) == 0 {
		return 0, s.waiting, s.blind
	}
	return slices.Min(s.due), true, nil
}

func (s *burnStore) Execute(_ context.Context, cmd protocol.Command) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if s.broken != nil {
		return nil, s.broken
	}
	limit := int(cmd.(*protocol.BurnDue).Limit)
	if s.limit > 0 {
		limit = s.limit
	}
	now := protocol.TimeOf(time.Now())
	var result protocol.BurnDueResult
	slices.Sort(s.due)
	for len(s.due) > 0 && s.due[0] <= now {
		if result.More = result.Burned == limit; result.More {
			break
		}
		s.due, s.burned = s.due[1:], append(s.burned, now)
		result.Burned++
	}
	return result, nil
}

func (s *burnStore) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *burnStore) counts() (burned, calls int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.burned), s.calls
}

// burner runs one until the test ends, in virtual time.
func burner(t *testing.T, s *burnStore, log *slog.Logger) *prometheus.Registry {
	reg := prometheus.NewRegistry()
	b, err := NewBurner(BurnerConfig{Store: s, Log: log, Registerer: reg})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := b.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return reg
}

// pass lets virtual time go by.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// TestBurner: what is due is burned at its time, and nothing is asked of the log meanwhile. [TT-DEL-3]
func TestBurner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := protocol.TimeOf(time.Now())
		s := &burnStore{leads: true, due: []protocol.Time{now + 10_500, now + 3_000_000}}
		burner(t, s, nil)
		pass(10 * time.Second)
		if burned, calls := s.counts(); burned != 0 || calls != 0 {
			t.Errorf("%d burned, %d commands before the time", burned, calls)
		}
		pass(1500 * time.Millisecond)
		if burned, calls := s.counts(); burned != 1 || calls != 1 {
			t.Errorf("%d burned, %d commands", burned, calls)
		}
		if late := s.burned[0] - (now + 10_500); late > 1 {
			t.Errorf("%d ms late", late)
		}
		s.set(func() {
			for range 5000 {
				s.due = append(s.due, protocol.TimeOf(time.Now()))
			}
		})
		pass(time.Second)
		if burned, calls := s.counts(); burned != 5001 || calls != 1+20 {
			t.Errorf("%d burned, %d commands", burned, calls)
		}
	})
}

// TestBurnerFollows: only the leader burns; who leads next goes on. [TT-DEL-3]
func TestBurnerFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &burnStore{due: []protocol.Time{1, 2, 3}}
		burner(t, s, nil)
		pass(time.Minute)
		if burned, calls := s.counts(); burned != 0 || calls != 0 {
			t.Errorf("a follower burned %d with %d commands", burned, calls)
		}
		s.set(func() { s.leads = true })
		pass(time.Second)
		if burned, _ := s.counts(); burned != 3 {
			t.Errorf("%d burned", burned)
		}
	})
}

// TestBurnerIsRefused: it tries again, every second, and the log has it once.
func TestBurnerIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		s := &burnStore{leads: true, due: []protocol.Time{1}, broken: protocol.Errorf(protocol.CodeUnavailable, "no leader")}
		reg := burner(t, s, slog.New(slog.NewTextHandler(&out, nil)))
		pass(10 * time.Second)
		if burned, calls := s.counts(); burned != 0 || calls < 9 || calls > 10 {
			t.Errorf("%d burned, %d commands", burned, calls)
		}
		s.set(func() { s.broken, s.blind = nil, errors.New("the state can't be read") })
		pass(10 * time.Second)
		if n := strings.Count(out.String(), "\n"); n != 1 || !strings.Contains(out.String(), "no leader") {
			t.Errorf("logged: %s", out.String())
		}
		s.set(func() { s.blind = nil })
		pass(time.Second)
		if burned, _ := s.counts(); burned != 1 {
			t.Errorf("%d burned", burned)
		}
		got := make(map[string]float64)
		all, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range all {
			got[f.GetName()] = f.GetMetric()[0].GetCounter().GetValue()
		}
		if n := got["teamtalk_burn_failures_total"]; n < 18 || n > 20 {
			t.Errorf("%v failures", n)
		}
		if n := got["teamtalk_messages_burned_total"]; n != 1 {
			t.Errorf("%v burned", n)
		}
	})
}

// TestBurnerLeavesRoom: it does not go on for ever without a pause, nor turn in a circle when nothing comes of it.
func TestBurnerLeavesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &burnStore{leads: true, limit: 1}
		for range 3 * burnRounds {
			s.due = append(s.due, 1)
		}
		burner(t, s, nil)
		pass(1500 * time.Millisecond)
		if _, calls := s.counts(); calls != burnRounds {
			t.Errorf("%d commands in a second", calls)
		}
		pass(3 * time.Second)
		if burned, _ := s.counts(); burned != 3*burnRounds {
			t.Errorf("%d burned", burned)
		}
		s.set(func() { s.waiting, s.calls = true, 0 })
		pass(5 * time.Second)
		if _, calls := s.counts(); calls != 5 {
			t.Errorf("%d commands in 5 s for nothing", calls)
		}
	})
}

func TestBurnerMetricsTwice(t *testing.T) {
	reg := prometheus.NewRegistry()
	if _, err := NewBurner(BurnerConfig{Registerer: reg}); err != nil {
		t.Fatal(err)
	}
	if _, err := NewBurner(BurnerConfig{Registerer: reg}); err == nil {
		t.Error("registered twice")
	}
}
