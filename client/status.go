package client

import (
	"context"
	"sync"
	"time"

	"teamtalk/client/dial"
)

// Status is how a client is doing.
type Status struct {
	State      State
	Why        error      // why it is not online; nil if it is, or was never tried
	Route      dial.Route // of the connection there is or was last
	Node       string
	Since      time.Time // of State
	RetryAt    time.Time // Offline: when it is tried again
	RoundTrip  time.Duration
	Queued     int // messages that wait for their ack
	Events     int // events that wait for the app
	Reconnects int // times online after the first
}

// status keeps what is known for Client.Status.
type status struct {
	mu      sync.Mutex // guards the rest
	now     Status
	online  int           // times
	race    Race          // under way; nil: none
	changed chan struct{} // closed and replaced at each change of state
}

func newStatus() *status { return &status{changed: make(chan struct{})} }

// set tells the app and keeps what was told.
func (s *status) set(events *queue, ev *StateChanged) {
	s.mu.Lock()
	s.now.State, s.now.RetryAt, s.now.Since = ev.State, ev.RetryAt, time.Now()
	if ev.State != Connecting { // while it is tried again, why it is not online is still the same
		s.now.Why = ev.Why
	}
	if ev.State == Online {
		s.now.Route, s.now.Node = ev.Route, ev.Node
		s.now.Reconnects = s.online
		s.online++
	}
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
	events.putState(ev)
}

func (s *status) roundTrip(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now.RoundTrip = d
}

func (s *status) look() (Status, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now, s.changed
}

// racing notes the race that is under way.
func (s *status) racing(r Race) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.race = r
}

// why is what is known about not being online: why it was not before, and what has failed since.
func (s *status) why() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, ok := s.race.(interface{ Attempts() []dial.Attempt }); ok && s.now.Why == nil {
		if failed := r.Attempts(); len(failed) > 0 {
			return &dial.Error{Attempts: failed}
		}
	}
	return s.now.Why
}

// await waits for Online; over ends it early.
func (s *status) await(ctx context.Context, over <-chan struct{}) error {
	for {
		now, changed := s.look()
		if now.State == Online {
			return nil
		}
		select {
		case <-changed:
		case <-over:
			return ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
