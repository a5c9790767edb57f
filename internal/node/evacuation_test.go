package node

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// tightPlace is a node with a disk and clients, and others to which they can go.
type tightPlace struct {
	*evacuation
	log strings.Builder

	mu       sync.Mutex // guards what follows
	full     bool
	room     bool
	others   bool
	clients  int // each takes ten seconds to leave
	draining bool
	running  bool // a drain
	drains   int
	again    int
}

func newTightPlace() *tightPlace {
	p := &tightPlace{room: true, others: true, clients: 5}
	is := func(what *bool) func() bool {
		return func() bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			return *what
		}
	}
	p.evacuation = &evacuation{refuses: is(&p.full), roomy: is(&p.room), elsewhere: is(&p.others), drain: p.drainAll, log: slog.New(slog.NewTextHandler(&p.log, nil)),
		takeAgain: func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.draining = false
			p.again++
		}}
	return p
}

// drainAll does what the gateway's does: given up, clients are taken again.
func (p *tightPlace) drainAll(ctx context.Context) error {
	p.mu.Lock()
	if p.running {
		p.mu.Unlock()
		return errors.New("this node is being drained already")
	}
	p.draining, p.running = true, true
	p.drains++
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.running = false
	}()
	for {
		p.mu.Lock()
		left := p.clients
		p.mu.Unlock()
		if left == 0 {
			return nil
		}
		select {
		case <-time.After(10 * time.Second):
			p.mu.Lock()
			p.clients--
			p.mu.Unlock()
		case <-ctx.Done():
			p.mu.Lock()
			p.draining = false
			p.mu.Unlock()
			return ctx.Err()
		}
	}
}

// disk says how full it is: far too full, between, or with room.
func (p *tightPlace) disk(full, room bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.full, p.room = full, room
}

func (p *tightPlace) goTo(others bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.others = others
}

func (p *tightPlace) want(t *testing.T, what string, draining bool, clients int) {
	t.Helper()
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.draining != draining || p.clients != clients {
		t.Errorf("%s: draining %v with %d clients, want %v, %d", what, p.draining, p.clients, draining, clients)
	}
}

func evacuating(t *testing.T, test func(t *testing.T, p *tightPlace)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := newTightPlace()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = p.run(ctx)
		}()
		test(t, p)
		cancel()
		<-done
	})
}

// soon is when a change has been noticed and had its consequences.
const soon = evacuationSettle + 2*evacuationLook - time.Millisecond

// The clients of a node whose disk is full go to others, and are taken again when there is room, not before.
func TestEvacuation(t *testing.T) {
	evacuating(t, func(t *testing.T, p *tightPlace) {
		time.Sleep(time.Minute)
		p.want(t, "at first", false, 5)
		p.disk(true, false)
		time.Sleep(evacuationSettle / 2)
		p.disk(false, true)
		time.Sleep(time.Minute)
		p.want(t, "after a moment without space", false, 5)
		p.disk(true, false)
		time.Sleep(soon)
		p.want(t, "full", true, 5)
		time.Sleep(time.Minute)
		p.want(t, "a little later", true, 0)
		p.disk(false, false) // what is freed by moving the clients must not bring them back
		time.Sleep(time.Hour)
		p.want(t, "neither full nor with room", true, 0)
		p.disk(false, true)
		time.Sleep(soon)
		p.want(t, "room again", false, 0)
		if p.again != 1 || p.drains != 1 {
			t.Errorf("%d drains, taken again %d times", p.drains, p.again)
		}
		for _, line := range []string{"the disk of this node is full", "clients are taken again"} {
			if strings.Count(p.log.String(), line) != 1 {
				t.Errorf("the log does not say once %q: %s", line, p.log.String())
			}
		}
	})
}

// Without another node that takes clients they stay, and those that are not away yet stay when the last one is gone.
func TestEvacuationNowhere(t *testing.T) {
	evacuating(t, func(t *testing.T, p *tightPlace) {
		p.goTo(false)
		p.disk(true, false)
		time.Sleep(time.Minute)
		p.want(t, "nobody else", false, 5)
		p.goTo(true)
		time.Sleep(soon)
		p.want(t, "somebody else", true, 5)
		p.goTo(false)
		time.Sleep(soon)
		p.mu.Lock()
		if p.draining || p.clients == 0 {
			t.Errorf("gone again: draining %v, %d clients", p.draining, p.clients)
		}
		p.mu.Unlock()
	})
}

// What an operator has drained takes no clients when there is room.
func TestEvacuationAndOperator(t *testing.T) {
	evacuating(t, func(t *testing.T, p *tightPlace) {
		p.disk(true, false)
		time.Sleep(soon)
		p.want(t, "full", true, 5)
		if err := p.byOperator(t.Context()); err != nil {
			t.Fatal(err)
		}
		p.want(t, "drained", true, 0)
		p.disk(false, true)
		time.Sleep(time.Minute)
		p.want(t, "room again", true, 0)
		if p.again != 0 {
			t.Errorf("taken again %d times", p.again)
		}
	})
	evacuating(t, func(t *testing.T, p *tightPlace) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := p.byOperator(ctx); err == nil {
			t.Fatal("no error")
		}
		p.disk(true, false)
		time.Sleep(soon)
		p.want(t, "full, and the operator's drain was given up", true, 5)
	})
}
