package dial

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"time"
)

// sessionCache is how many servers' TLS sessions are kept, to make the next handshake shorter.
const sessionCache = 32

// Dialer connects to the servers behind some addresses. Its methods may be called from any goroutine.
type Dialer struct {
	opts    Options
	own     []Route
	connect func(context.Context, Route) (Conn, error) // open; a test of the race has another
	lone    bool                                       // serves a single connection and ends with it
	guests  guests

	tcpSessions, quicSessions tls.ClientSessionCache

	mu        sync.Mutex // guards what follows
	preferred []Route
	worked    []Route // led to a server, the last one first
}

// mostWorked bounds the routes that are tried although nobody names them any more.
const mostWorked = 8

// New makes a Dialer for addresses as Parse understands them. Close must be called when it is no longer needed.
func New(addresses []string, o Options) (*Dialer, error) {
	routes, err := Parse(addresses, o.AllowPlain)
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	d := newDialer(o)
	d.own = d.usable(routes)
	if len(d.own) == 0 {
		return nil, errors.New("dial: no address has a transport that may be used")
	}
	return d, nil
}

func newDialer(o Options) *Dialer {
	o.complete()
	d := &Dialer{
		opts:         o,
		tcpSessions:  tls.NewLRUClientSessionCache(sessionCache),
		quicSessions: tls.NewLRUClientSessionCache(sessionCache),
	}
	d.guests.open = make(map[guest]struct{})
	d.connect = d.open
	return d
}

// usable are the routes by allowed transports, with their proxies named.
func (d *Dialer) usable(routes []Route) []Route {
	var out []Route
	for _, r := range routes {
		if d.opts.allows(r.Transport) {
			out = append(out, d.withProxy(r))
		}
	}
	return out
}

// withProxy names the proxy of a route. One that can't be told is left out: dialling says why.
func (d *Dialer) withProxy(r Route) Route {
	r.Proxy = ""
	if proxy, err := d.opts.proxyFor(r); err == nil && proxy != nil {
		r.Proxy = shown(proxy)
	}
	return r
}

// shown is a proxy's URL without its credentials.
func shown(u *url.URL) string { return (&url.URL{Scheme: u.Scheme, Host: u.Host}).String() }

// Routes are all ways to the servers, in the order in which they are tried when nothing is remembered.
func (d *Dialer) Routes() []Route { return inOrder(d.routes(), "", nil) }

func (d *Dialer) routes() []Route {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Concat(d.preferred, d.own, d.worked)
}

// Prefer names addresses that are tried before the Dialer's own of the same transport from the next Race on, such as the endpoints of a WELCOME or DRAIN. They
// take the place of those of the Prefer before, except that routes that worked (Remember) are still tried, after the Dialer's own; nil: there are none. A server does not decide what may be plain: without AllowPlain, plain
// addresses that are not the Dialer's own are left out. The error tells the addresses that could not be understood; the others count.
func (d *Dialer) Prefer(addresses []string) error {
	routes, err := Parse(addresses, d.opts.AllowPlain)
	routes = slices.DeleteFunc(routes, func(r Route) bool {
		return r.Plain && !d.opts.AllowPlain && !slices.ContainsFunc(d.own, r.same)
	})
	routes = d.usable(routes)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.preferred = routes
	if err != nil {
		return fmt.Errorf("dial: %w", err)
	}
	return nil
}

// DialRoute connects by one route only. The connection's Close says goodbye before it returns, which takes at most 2 s.
func DialRoute(ctx context.Context, r Route, o Options) (Conn, error) {
	d := newDialer(o)
	d.lone = true
	c, took, err := d.attempt(ctx, d.withProxy(r))
	if err != nil {
		return nil, errors.Join(&Error{Attempts: []Attempt{{Route: d.withProxy(r), Err: err, Took: took}}}, d.Close())
	}
	return c, nil
}

// attempt connects by a route, in the time that one attempt has.
func (d *Dialer) attempt(ctx context.Context, r Route) (Conn, time.Duration, error) {
	began := time.Now()
	limited, cancel := context.WithTimeout(ctx, d.opts.Timeout)
	defer cancel()
	c, err := d.connect(limited, r)
	took := time.Since(began)
	if err != nil && limited.Err() != nil && ctx.Err() == nil && !errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("%w: %w", context.DeadlineExceeded, err)
	}
	return c, took, err
}

// open connects by a route.
func (d *Dialer) open(ctx context.Context, r Route) (Conn, error) {
	var c guest
	var err error
	switch r.Transport {
	case QUIC:
		c, err = d.openQUIC(ctx, r)
	case TLS:
		c, err = d.openTLS(ctx, r)
	case WebSocket:
		c, err = d.openWebSocket(ctx, r)
	case LongPoll:
		c, err = d.openLongPoll(ctx, r)
	case TCP:
		c, err = d.openTCP(ctx, r)
	default:
		return nil, fmt.Errorf("there is no transport %q", r.Transport)
	}
	if err != nil {
		return nil, err
	}
	if !d.guests.enter(c) {
		c.abort()
		return nil, errDialerClosed
	}
	return c, nil
}

var errDialerClosed = errors.New("dial: the Dialer is closed")

// Close breaks the connections that are still open, lets those that are being closed finish their goodbye, which takes at most 2 s, and frees what they
// shared. A second Close does nothing.
func (d *Dialer) Close() error {
	d.guests.close()
	return nil
}

// guest is a Conn as its Dialer sees it.
type guest interface {
	Conn
	abort() // ends it without a goodbye
}

// guests are the connections of a Dialer, and the goroutines that still work for closed ones.
type guests struct {
	jobs sync.WaitGroup

	mu     sync.Mutex // guards what follows
	open   map[guest]struct{}
	closed bool
}

// enter files an open connection; false: the Dialer is closed.
func (g *guests) enter(c guest) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.open[c] = struct{}{}
	}
	return !g.closed
}

// leave runs the goodbye of a connection.
func (g *guests) leave(c guest, goodbye func()) {
	g.mu.Lock()
	delete(g.open, c)
	g.mu.Unlock()
	g.run(goodbye)
}

// run does a job in the background, which ends by itself and is joined by close; when that is over, in the foreground.
func (g *guests) run(job func()) {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		job()
		return
	}
	g.jobs.Go(job)
	g.mu.Unlock()
}

// close ends all.
func (g *guests) close() {
	g.mu.Lock()
	g.closed = true
	rest := make([]guest, 0, len(g.open))
	for c := range g.open {
		rest = append(rest, c)
	}
	g.mu.Unlock()
	for _, c := range rest {
		c.abort()
	}
	g.jobs.Wait()
}
