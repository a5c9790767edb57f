package client

import (
	"context"
	"fmt"
	"sync"
	"time"

	"teamtalk/client/dial"
)

// Status is how a client is doing.
type Status struct {
	State State
	Why   error      // why it is not online; nil if it is, or was never tried
	Route dial.Route // of the connection there is or was last
	// Trying are the routes that are being tried while it is Connecting, the one begun last at the end; or that of the connection on which the session is
	// being begun or resumed.
	Trying  []dial.Route
	Node    string
	Since   time.Time // of State
	RetryAt time.Time // Offline: when it is tried again
	// Position is that of the login in the server's queue, as in StateChanged, and ETA what is left of what the server said then.
	Position   uint32
	ETA        time.Duration
	RoundTrip  time.Duration
	Queued     int // messages that wait for their ack
	Events     int // events that wait for the app
	Reconnects int // times online after the first
}

// status keeps what is known for Client.Status.
type status struct {
	mu      sync.Mutex    // guards the rest
	now     Status        // ETA: as told
	told    time.Time     // of Position
	online  int           // times
	race    Race          // under way; nil: none
	greeted dial.Route    // where it led, and the server has been told HELLO; zero: nowhere yet
	changed chan struct{} // closed and replaced at each change of state
}

func newStatus() *status { return &status{changed: make(chan struct{})} }

// set tells the app and keeps what was told.
func (s *status) set(events *queue, ev *StateChanged) {
	s.mu.Lock()
	now := time.Now()
	if ev.Position == 0 || s.now.State != Connecting { // else it is as it was, but for its place in the queue
		s.now.State, s.now.RetryAt, s.now.Since = ev.State, ev.RetryAt, now
	}
	s.now.Position, s.now.ETA, s.told = ev.Position, ev.ETA, now
	if ev.State != Connecting { // while it is tried again, why it is not online is still the same
		s.now.Why, s.greeted = ev.Why, dial.Route{}
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
	now := s.now
	now.ETA = max(0, now.ETA-time.Since(s.told))
	if now.State == Connecting {
		now.Trying = s.tryingLocked()
	}
	return now, s.changed
}

func (s *status) tryingLocked() []dial.Route {
	if s.greeted != (dial.Route{}) {
		return []dial.Route{s.greeted}
	}
	if r, ok := s.race.(interface{ Trying() []dial.Route }); ok {
		return r.Trying()
	}
	return nil
}

// greeting notes the route on which the session is being begun or resumed; zero: that came to nothing.
func (s *status) greeting(r dial.Route) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.greeted = r
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
	if s.now.Position > 0 {
		return fmt.Errorf("waiting in the server's login queue at position %d", s.now.Position)
	}
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
