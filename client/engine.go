package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"teamtalk/client/dial"
	"teamtalk/protocol"
)

// engine keeps the session going: one connection at a time, each ended before the next has anything to say, so that there are never two
// HELLOs outstanding [TT-SESS-23]. It is one goroutine; what others may touch has its own lock.
type engine struct {
	cfg      *Config
	log      *slog.Logger
	dialer   Dialer
	codec    codec
	events   *queue
	outbox   *outbox
	requests *requests
	reads    *reads
	watch    *watch
	keeper   *keeper
	status   *status
	home     home

	wake chan struct{} // 1: something may be sent, or acked
	hint chan struct{} // 1: the network has changed

	// The rest belongs to the goroutine.
	seen   *seen
	user   protocol.UserID // who logged in last; not me before the session can be resumed
	cursor protocol.Cursor // every event up to here has been put into the queue
	tries  tries
}

// tries is what was learned from connecting.
type tries struct {
	back    backoff
	probes  probes
	avoid   []dial.Route    // tried last, next time
	legacy  map[string]bool // URLs where HELLO is not known
	unheard time.Time       // when a HELLO was last left without its answer
}

// lateHello is for how long after that a server may still take the HELLO, and end what came after it with REPLACED.
const lateHello = time.Minute

// stopError is an error that trying again would not change.
type stopError struct{ cause error }

func (e *stopError) Error() string { return e.cause.Error() }
func (e *stopError) Unwrap() error { return e.cause }

// run connects, again and again, until ctx ends or there is no point in going on; it returns why.
func (e *engine) run(ctx context.Context) error {
	for {
		err := e.once(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		after, stop := e.judge(err)
		if stop != nil {
			e.stopped(stop)
			return stop
		}
		delay := e.tries.back.next(after)
		e.log.Info("offline", "why", err, "retry_in", delay)
		e.status.set(e.events, &StateChanged{State: Offline, Why: err, RetryAt: time.Now().Add(delay)})
		if !e.pause(ctx, delay, after > 0) {
			return context.Cause(ctx)
		}
	}
}

// pause waits; a hint that the network has changed ends it early, unless the server asked for it.
func (e *engine) pause(ctx context.Context, delay time.Duration, ordered bool) bool {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	hint := e.hint
	if ordered {
		hint = nil
	}
	select {
	case <-timer.C:
	case <-hint:
		e.tries.back = backoff{}
		e.tries.probes = probes{}
	case <-ctx.Done():
		return false
	}
	return true
}

// once connects and lives until the connection ends, moving to other connections on the way.
func (e *engine) once(ctx context.Context) error {
	e.status.set(e.events, &StateChanged{State: Connecting})
	s, err := e.connect(ctx)
	if err != nil {
		return err
	}
	for {
		next, err := s.run(ctx)
		e.home.online(nil)
		e.tries.back.online(s.held())
		e.unanswered(s)
		if next == nil {
			s.l.end(endCode(err), "")
			return err
		}
		moved, err := e.open(ctx, next)
		s.l.end(protocol.CodeReplaced, "goes on elsewhere")
		if err != nil {
			return err
		}
		e.tries.probes.moved(time.Now())
		s = moved
	}
}

// endCode is what a connection is closed with.
func endCode(err error) protocol.Code {
	var bye *byeError
	if errors.As(err, &bye) {
		return bye.Code
	}
	return protocol.CodeUnspecified
}

// unanswered lets what was sent on a connection and not answered be sent again on the next, or fail.
func (e *engine) unanswered(s *session) {
	var fail error
	if s.legacy {
		fail = ErrInterrupted
	}
	e.outbox.lost(fail)
	e.requests.lost()
	e.reads.lost()
}

// connect races the routes and says HELLO on the first connection that opens; when that comes to nothing, on the next [TT-SESS-23].
func (e *engine) connect(ctx context.Context) (*session, error) {
	race := e.dialer.Race(e.tries.avoid...)
	e.status.racing(race)
	defer e.status.racing(nil)
	e.tries.avoid = nil
	var tried error
	for {
		conn, err := race.Next(ctx)
		if err != nil {
			if tried != nil {
				return nil, tried
			}
			return nil, fmt.Errorf("client: connect: %w", err)
		}
		s, err := e.open(ctx, conn)
		if err == nil {
			return s, nil
		}
		var lost *lostError
		if !errors.Is(err, ErrNoHello) && !errors.Is(err, errSilent) && !errors.As(err, &lost) {
			return nil, err
		}
		e.log.Debug("route given up", "route", conn.Route(), "why", err)
		tried = err
	}
}

// open makes a session of a connection.
func (e *engine) open(ctx context.Context, conn dial.Conn) (*session, error) {
	began := time.Now()
	l := newLink(conn)
	e.status.greeting(conn.Route())
	g, err := e.greet(ctx, l)
	if err != nil {
		e.status.greeting(dial.Route{})
		l.part()
		l.end(protocol.CodeUnspecified, "")
		return nil, atGreeting(err)
	}
	e.dialer.Remember(conn.Route())
	return newSession(e, l, g, began), nil
}

// atGreeting makes an error final that a server would repeat for every HELLO.
func atGreeting(err error) error {
	switch endCode(err) {
	case protocol.CodeInvalid, protocol.CodeForbidden, protocol.CodeNotFound, protocol.CodeTooLarge:
		return &stopError{err}
	default:
		return err
	}
}

// judge says how long to wait at least after an error, or why to stop [TT-SESS-22].
func (e *engine) judge(err error) (after time.Duration, stop error) {
	var final *stopError
	if errors.As(err, &final) {
		return 0, final.cause
	}
	var bye *byeError
	if !errors.As(err, &bye) {
		return 0, nil
	}
	switch bye.Code {
	case protocol.CodeKicked:
		return 0, fmt.Errorf("%w: %s", ErrKicked, bye.Message)
	case protocol.CodeReplaced:
		if time.Since(e.tries.unheard) < lateHello {
			e.tries.unheard = time.Time{} // by a HELLO of our own, which the server took late
			return 0, nil
		}
		return 0, ErrReplaced
	case protocol.CodeUnauthenticated:
		e.keeper.with(func(s *Saved) { s.Token = nil })
		if e.cfg.Password == "" {
			return 0, fmt.Errorf("%w: %s", ErrCredentials, bye.Message)
		}
		return bye.RetryAfter, nil
	default:
		return bye.RetryAfter, nil
	}
}

// prefer tries the cluster's own addresses first from now on, as they were told last: of the others, some may be gone by then.
func (e *engine) prefer(endpoints []string) {
	if len(endpoints) == 0 {
		return
	}
	if err := e.dialer.Prefer(endpoints); err != nil {
		e.log.Warn("endpoints of the server not usable", "error", err)
	}
}

// stopped tells everybody that there is nothing more to come.
func (e *engine) stopped(why error) {
	e.log.Info("stopped", "why", why)
	state := Offline
	if errors.Is(why, ErrKicked) || errors.Is(why, ErrReplaced) {
		state = Kicked
	}
	e.status.set(e.events, &StateChanged{State: state, Why: why})
}
