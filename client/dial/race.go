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
	tally  tally
}

// tally is how the attempts of a race go.
type tally struct {
	mu     sync.Mutex // guards what follows
	trying []Route
	failed []Attempt
}

func (t *tally) began(r Route) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.trying = append(slices.Clone(t.trying), r)
}

func (t *tally) ended(r Route) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.trying = slices.DeleteFunc(slices.Clone(t.trying), r.same)
}

func (t *tally) fail(a Attempt) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failed = append(t.failed, a)
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
	c, route, err := d.race(ctx, routes, &r.tally, func(a Attempt) {
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
	r.tally.mu.Lock()
	defer r.tally.mu.Unlock()
	return slices.Clone(r.tally.failed)
}

// Trying are the routes by which it is being tried to connect at this moment, the one begun last at the end.
func (r *Race) Trying() []Route {
	r.tally.mu.Lock()
	defer r.tally.mu.Unlock()
	return slices.Clone(r.tally.trying)
}

// race runs the routes against each other, counts and reports those that fail. A nil Conn without an error: all have.
func (d *Dialer) race(ctx context.Context, routes []Route, t *tally, failed func(Attempt)) (Conn, Route, error) {
	if err := ctx.Err(); err != nil {
		return nil, Route{}, err
	}
	took := make([]time.Duration, len(routes)) // each written by its runner, and read when that has ended
	run := func(ctx context.Context, i int) (Conn, error) {
		d.opts.Log.Debug("connecting", "route", routes[i].String())
		t.began(routes[i])
		defer t.ended(routes[i])
		c, passed, err := d.attempt(ctx, routes[i])
		took[i] = passed
		return c, err
	}
	lost := func(i int, err error) {
		if ctx.Err() != nil {
			return // it was called off
		}
		d.opts.Log.Debug("no connection", "route", routes[i].String(), "error", err, "took", took[i])
		a := Attempt{Route: routes[i], Err: err, Took: took[i]}
		t.fail(a)
		failed(a)
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
	t := &tally{}
	c, _, err := d.race(ctx, routes, t, func(Attempt) {})
	switch {
	case err != nil:
		return nil, err
	case c == nil:
		return nil, &Error{Attempts: t.failed}
	}
	return c, nil
}
