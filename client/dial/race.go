package dial

import (
	"context"
	"slices"
	"sync"
	"time"

	"teamtalk/protocol"
)

// Race is one search for a connection: each route of its Dialer has one turn in it. Next is for one goroutine.
type Race struct {
	dialer *Dialer
	left   []Route // that had no turn yet, or were called off

	mu       sync.Mutex // guards attempts
	attempts []Attempt
}

// Race prepares a search and starts nothing yet. It goes by what is remembered of this network: the transport that won there in the last hour comes first. Routes
// to avoid come last, such as that of a connection that went silent [TT-SESS-23].
func (d *Dialer) Race(avoid ...Route) *Race {
	return &Race{dialer: d, left: inOrder(d.routes(), d.winner(), avoid)}
}

// Next returns the first connection that opens; those that opened too late are closed. If it turns out to be of no use, close it and call Next again: the
// routes that have not had their turn are raced once more. The error is ctx's if ctx ended, and otherwise an *Error that tells what became of
// every route, those of former calls included.
func (r *Race) Next(ctx context.Context) (Conn, error) {
	d := r.dialer
	routes := r.left
	if len(routes) == 0 {
		return nil, &Error{Attempts: r.Attempts()}
	}
	c, route, err := d.race(ctx, routes, func(a Attempt) {
		r.mu.Lock()
		r.attempts = append(r.attempts, a)
		r.mu.Unlock()
		r.left = slices.DeleteFunc(slices.Clone(r.left), a.Route.same)
	})
	switch {
	case err != nil:
		return nil, err
	case c == nil:
		return nil, &Error{Attempts: r.Attempts()}
	}
	r.left = slices.DeleteFunc(slices.Clone(r.left), route.same)
	return c, nil
}

// Attempts are the failures so far, in order.
func (r *Race) Attempts() []Attempt {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.attempts)
}

// race runs the routes against each other and reports those that fail. A nil Conn without an error: all have.
func (d *Dialer) race(ctx context.Context, routes []Route, failed func(Attempt)) (Conn, Route, error) {
	if err := ctx.Err(); err != nil {
		return nil, Route{}, err
	}
	took := make([]time.Duration, len(routes)) // each written by its runner, and read when that has ended
	run := func(ctx context.Context, i int) (Conn, error) {
		d.opts.Log.Debug("connecting", "route", routes[i].String())
		c, t, err := d.attempt(ctx, routes[i])
		took[i] = t
		return c, err
	}
	lost := func(i int, err error) {
		if ctx.Err() != nil {
			return // it was called off
		}
		d.opts.Log.Debug("no connection", "route", routes[i].String(), "error", err, "took", took[i])
		failed(Attempt{Route: routes[i], Err: err, Took: took[i]})
	}
	drop := func(c Conn) { _ = c.Close(protocol.CodeUnspecified, "") } // nothing was said on it
	c, winner, later, ok := stagger(ctx, d.starts(routes), run, lost, drop)
	switch {
	case ok:
		d.guests.run(later) // ends when the losers have seen that they are called off
		d.opts.Log.Debug("connected", "route", routes[winner].String(), "took", took[winner])
		return c, routes[winner], nil
	case ctx.Err() != nil:
		return nil, Route{}, ctx.Err()
	}
	return nil, Route{}, nil
}

// starts lets a plain route wait for all encrypted ones.
func (d *Dialer) starts(routes []Route) starts {
	return starts{count: len(routes), pause: d.opts.Stagger, grace: plainGrace,
		waitAll: func(i int) bool { return i > 0 && routes[i].Plain && !routes[i-1].Plain }}
}

// Better races the routes that are better than the one in use, for a session that idles on a lesser transport and may move over. ErrNoBetter: there
// are none. Otherwise the errors are those of Race.Next.
func (d *Dialer) Better(ctx context.Context, than Route) (Conn, error) {
	routes := slices.DeleteFunc(d.Routes(), func(r Route) bool { return !r.betterThan(than) })
	if len(routes) == 0 {
		return nil, ErrNoBetter
	}
	e := &Error{}
	c, _, err := d.race(ctx, routes, func(a Attempt) { e.Attempts = append(e.Attempts, a) })
	switch {
	case err != nil:
		return nil, err
	case c == nil:
		return nil, e
	}
	return c, nil
}
