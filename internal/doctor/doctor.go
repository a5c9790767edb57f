// Package doctor finds out why a client cannot reach its server: it tries every way there is, looks at each step on its own, and says what
// blocks and what to do next.
package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/http/httpproxy"

	"teamtalk/client/dial"
)

// Config says what to examine, and how. Addresses are required.
type Config struct {
	Addresses  []string // as dial.Parse reads them
	TLS        *tls.Config
	Proxy      func(*url.URL) (*url.URL, error) // nil: as the environment says
	AllowPlain bool
	Timeout    time.Duration // of each check; 0: 5 s
	Net        dial.Network  // nil: the machine's
	PlainURL   string        // what is asked by plain HTTP, for the time and for portals; empty: http://HOST:80/lp
}

// Check is one step that was tried.
type Check struct {
	What   string // dns, connect, certificate, http, or a transport
	Target string // name, host and port, or URL
	Proxy  string // what it went through; empty: nothing
	OK     bool
	Took   time.Duration
	Detail string // what was found, or why it failed
	Err    error  // why it failed
}

// Report is what was found.
type Report struct {
	Checks   []Check
	Findings []Finding
	Ways     []dial.Route // those that work, the best first
}

// OK reports whether there is a way in.
func (r *Report) OK() bool { return len(r.Ways) > 0 }

// Summary is the report in a sentence.
func (r *Report) Summary() string {
	tried := 0
	for _, c := range r.Checks {
		if isTransport(c.What) {
			tried++
		}
	}
	switch {
	case !r.OK():
		return fmt.Sprintf("no way in: none of %d works", tried)
	case len(r.Ways) == tried:
		return fmt.Sprintf("all well: %d of %d ways work, the best is %s", len(r.Ways), tried, r.Ways[0].Transport)
	}
	return fmt.Sprintf("there is a way in: %d of %d work, the best is %s", len(r.Ways), tried, r.Ways[0].Transport)
}

func isTransport(what string) bool {
	return slices.Contains([]dial.Transport{dial.QUIC, dial.TLS, dial.WebSocket, dial.LongPoll, dial.TCP}, dial.Transport(what))
}

// exam is one examination.
type exam struct {
	cfg    Config
	routes []dial.Route

	tcp     []Check // one for each host and port
	dns     []Check // one for each name
	papers  []papers
	http    plain
	dialled []dialled
}

// dialled is a route and what became of it.
type dialled struct {
	Check
	route dial.Route
}

// Examine tries everything; the error is about the configuration only.
func Examine(ctx context.Context, cfg Config) (*Report, error) {
	routes, err := dial.Parse(cfg.Addresses, cfg.AllowPlain)
	if err != nil {
		return nil, err
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 5 * time.Second
	}
	if cfg.Net == nil {
		cfg.Net = dial.Machine()
	}
	if cfg.Proxy == nil {
		cfg.Proxy = httpproxy.FromEnvironment().ProxyFunc()
	}
	e := &exam{cfg: cfg, routes: routes}
	e.run(ctx)
	return e.report(), nil
}

// run makes all checks at once: each has its own time, and the slowest decides how long it takes.
func (e *exam) run(ctx context.Context) {
	names, ports, secure := e.places()
	e.dns, e.tcp, e.papers = make([]Check, len(names)), make([]Check, len(ports)), make([]papers, len(secure))
	e.dialled = make([]dialled, len(e.routes))
	var all sync.WaitGroup
	start := func(f func(ctx context.Context)) {
		all.Go(func() { // ends when its time is over
			ctx, cancel := context.WithTimeout(ctx, e.cfg.Timeout)
			defer cancel()
			f(ctx)
		})
	}
	for i, name := range names {
		start(func(ctx context.Context) { e.dns[i] = e.lookUp(ctx, name) })
	}
	for i, hostPort := range ports {
		start(func(ctx context.Context) { e.tcp[i] = e.connect(ctx, hostPort) })
	}
	for i, hostPort := range secure {
		start(func(ctx context.Context) { e.papers[i] = e.inspect(ctx, hostPort) })
	}
	if u := e.plainURL(); u != "" {
		start(func(ctx context.Context) { e.http = e.askPlain(ctx, u) })
	}
	for i, r := range e.routes {
		start(func(ctx context.Context) { e.dialled[i] = e.dial(ctx, r) })
	}
	all.Wait()
}

// places are the names to look up, and what to connect to: by TCP, and of those by TLS.
func (e *exam) places() (names, ports, secure []string) {
	add := func(to *[]string, s string) {
		if !slices.Contains(*to, s) {
			*to = append(*to, s)
		}
	}
	for _, r := range e.routes {
		u, err := url.Parse(r.URL)
		if err != nil {
			continue // dial.Parse made it
		}
		if _, err := netip.ParseAddr(u.Hostname()); err != nil {
			add(&names, u.Hostname())
		}
		if r.Transport == dial.QUIC {
			continue
		}
		add(&ports, u.Host)
		if !r.Plain {
			add(&secure, u.Host)
		}
	}
	return names, ports, secure
}

// lookUp asks the DNS for a name.
func (e *exam) lookUp(ctx context.Context, name string) Check {
	c, began := Check{What: "dns", Target: name}, time.Now()
	var resolver interface {
		LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	} = net.DefaultResolver
	if own, ok := e.cfg.Net.(interface {
		LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	}); ok {
		resolver = own
	}
	ips, err := resolver.LookupNetIP(ctx, "ip", name)
	if err != nil {
		return c.failed(began, err)
	}
	return c.passed(began, fmt.Sprint(ips))
}

// connect opens and closes a TCP connection.
func (e *exam) connect(ctx context.Context, hostPort string) Check {
	c, began := Check{What: "connect", Target: hostPort}, time.Now()
	nc, err := e.cfg.Net.DialContext(ctx, "tcp", hostPort)
	if err != nil {
		return c.failed(began, err)
	}
	_ = nc.Close() // nothing was said on it
	return c.passed(began, "connected to "+nc.RemoteAddr().String())
}

// dial connects by a route, as the client does.
func (e *exam) dial(ctx context.Context, r dial.Route) dialled {
	d := dialled{route: r, Check: Check{What: string(r.Transport), Target: r.URL, Proxy: e.proxyOf(r)}}
	d.route.Proxy = d.Proxy
	began := time.Now()
	conn, err := dial.DialRoute(ctx, r, dial.Options{TLS: e.cfg.TLS, Proxy: e.cfg.Proxy, Timeout: e.cfg.Timeout, Net: e.cfg.Net})
	if err != nil {
		d.Check = d.failed(began, bare(err))
		return d
	}
	d.Check = d.passed(began, "connected")
	_ = conn.Close(0, "") // it has worked, whatever becomes of the goodbye
	return d
}

// proxyOf is the proxy that a route goes through, without its password.
func (e *exam) proxyOf(r dial.Route) string {
	u, err := url.Parse(r.URL)
	if err != nil || r.Transport != dial.WebSocket && r.Transport != dial.LongPoll {
		return ""
	}
	u.Scheme = "https"
	if r.Plain {
		u.Scheme = "http"
	}
	via, err := e.cfg.Proxy(u)
	if err != nil || via == nil {
		return ""
	}
	return (&url.URL{Scheme: via.Scheme, Host: via.Host}).String()
}

func (c Check) passed(began time.Time, detail string) Check {
	c.OK, c.Took, c.Detail = true, time.Since(began), detail
	return c
}

func (c Check) failed(began time.Time, err error) Check {
	c.Took, c.Err, c.Detail = time.Since(began), err, oneLine(err.Error())
	return c
}

// papers are what a server shows by TLS.
type papers struct {
	Check
	chain []*x509.Certificate // as shown
}

func (p papers) leaf() *x509.Certificate {
	if len(p.chain) == 0 {
		return nil
	}
	return p.chain[0]
}

// issuer is who issued the certificate, in a person's words.
func (p papers) issuer() string {
	leaf := p.leaf()
	if leaf == nil {
		return "nobody"
	}
	name := leaf.Issuer.CommonName
	if org := leaf.Issuer.Organization; len(org) > 0 && org[0] != name {
		name += " of " + org[0]
	}
	return name
}
