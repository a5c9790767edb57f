// Package doctor finds out why a client cannot reach its server: it tries every way there is, looks at each step on its own, and says what
// blocks and what to do next.
package doctor

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpproxy"

	"teamtalk/client/dial"
)

// Config says what to examine, and how. Addresses are required.
type Config struct {
	Addresses  []string                         // as dial.Parse reads them
	TLS        *tls.Config                      // roots, and the machine's clock; nil: the system's
	Proxy      func(*url.URL) (*url.URL, error) // nil: as the environment says
	AllowPlain bool
	Timeout    time.Duration // of each check; 0: 5 s
	Net        dial.Network  // nil: the machine's
	PlainURL   string        // what is asked by plain HTTP, for the time and for portals; empty: http://HOST:80/lp
}

// Check is one step that was tried.
type Check struct {
	What   string // dns, connect, certificate, http, portal, or a transport
	Target string // name, host and port, or URL
	Proxy  string // what it went through; empty: nothing
	OK     bool
	Took   time.Duration
	Detail string // what was found, or why it failed
	Err    error  // why it failed
	Paper  *Paper // of a certificate check: what was shown; nil: nothing
}

// Paper is a certificate as a support desk compares it.
type Paper struct {
	Issuer    string
	Names     []string // and addresses that it is for
	NotBefore time.Time
	NotAfter  time.Time
	SHA256    string // of the certificate, in hexadecimal digits
	Protocol  string // that was agreed on by ALPN; empty: none
}

// Report is what was found.
type Report struct {
	Checks   []Check
	Findings []Finding
	Ways     []dial.Route // those that work, the best first
}

// OK reports whether there is a way in.
func (r *Report) OK() bool { return len(r.Ways) > 0 }

// Diagnosis is what blocks first of all; Well if nothing does.
func (r *Report) Diagnosis() Kind {
	if len(r.Findings) == 0 {
		return Well
	}
	return r.Findings[0].Kind
}

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

	tcp     []Check  // one for each host and port
	gates   []Check  // one for each proxy
	dns     []Check  // one for each name
	papers  []papers // one for each port with TLS, directly and then through the proxy
	http    plain
	control control
	dialled []dialled
}

// dialled is a route and what became of it.
type dialled struct {
	Check
	route dial.Route
	shown *sighting // by QUIC, and trusted; nil: of other transports
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

// now is this machine's time.
func (e *exam) now() time.Time {
	if e.cfg.TLS != nil && e.cfg.TLS.Time != nil {
		return e.cfg.TLS.Time()
	}
	return time.Now()
}

// run makes all checks at once: each has its own time, and the slowest decides how long it takes.
func (e *exam) run(ctx context.Context) {
	names, ports, secure := e.places()
	e.dns, e.tcp, e.papers = make([]Check, len(names)), make([]Check, len(ports)), make([]papers, len(secure))
	e.dialled = make([]dialled, len(e.routes))
	calm, stop := context.WithCancel(ctx) // of the control questions, whose answers nobody needs if there is a way in
	defer stop()
	var all, controls sync.WaitGroup
	start := func(ctx context.Context, group *sync.WaitGroup, f func(ctx context.Context)) {
		group.Go(func() { // ends when its time is over
			ctx, cancel := context.WithTimeout(ctx, e.cfg.Timeout)
			defer cancel()
			f(ctx)
		})
	}
	for i, name := range names {
		start(ctx, &all, func(ctx context.Context) { e.dns[i] = e.lookUp(ctx, name) })
	}
	for i, hostPort := range ports {
		start(ctx, &all, func(ctx context.Context) { e.tcp[i] = e.connect(ctx, hostPort) })
	}
	gates := e.proxiesInUse()
	e.gates = make([]Check, len(gates))
	for i, gate := range gates {
		start(ctx, &all, func(ctx context.Context) {
			e.gates[i] = e.connect(ctx, gate.hostPort)
			e.gates[i].What, e.gates[i].Target = "proxy", shownProxy(gate.proxy)
		})
	}
	for i, place := range secure {
		start(ctx, &all, func(ctx context.Context) { e.papers[i] = e.inspect(ctx, place) })
	}
	if u := e.plainURL(); u != "" {
		start(ctx, &all, func(ctx context.Context) { e.http = e.askPlain(ctx, "http", u) })
	}
	for i, r := range e.routes {
		start(ctx, &all, func(ctx context.Context) { e.dialled[i] = e.dial(ctx, r) })
	}
	start(calm, &controls, e.askNowhere)
	if len(names) > 0 {
		start(calm, &controls, e.askNobody)
	}
	all.Wait()
	if slices.ContainsFunc(e.dialled, func(d dialled) bool { return d.OK }) {
		stop()
	}
	controls.Wait()
}

// secured is a port with TLS, and the proxy to reach it through.
type secured struct {
	hostPort string
	proxy    *url.URL // nil: directly
}

// places are the names to look up, and what to connect to: by TCP, and of those by TLS.
func (e *exam) places() (names, ports []string, secure []secured) {
	add := func(to *[]string, s string) {
		if !slices.Contains(*to, s) {
			*to = append(*to, s)
		}
	}
	var proxied []secured
	addSecure := func(to *[]secured, s secured) {
		if !slices.ContainsFunc(*to, func(t secured) bool { return t.hostPort == s.hostPort }) {
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
		if r.Plain {
			continue
		}
		addSecure(&secure, secured{hostPort: u.Host})
		if via := e.viaOf(r); via != nil {
			addSecure(&proxied, secured{u.Host, via})
		}
	}
	return names, ports, append(secure, proxied...)
}

// proxiesInUse are the proxies of the routes, and where they are.
func (e *exam) proxiesInUse() []secured {
	var gates []secured
	for _, r := range e.routes {
		via := e.viaOf(r)
		if via == nil || slices.ContainsFunc(gates, func(g secured) bool { return g.proxy.String() == via.String() }) {
			continue
		}
		port := via.Port()
		if port == "" {
			port = map[string]string{"http": "80", "https": "443"}[via.Scheme]
		}
		gates = append(gates, secured{net.JoinHostPort(via.Hostname(), cmp.Or(port, "1080")), via})
	}
	return gates
}

// lookUp asks the DNS for a name.
func (e *exam) lookUp(ctx context.Context, name string) Check {
	c, began := Check{What: "dns", Target: name}, time.Now()
	ips, err := e.resolve(ctx, name)
	if err != nil {
		return c.failed(began, err)
	}
	return c.passed(began, listed(ips))
}

func (e *exam) resolve(ctx context.Context, name string) ([]netip.Addr, error) {
	type resolver interface {
		LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	}
	own, ok := e.cfg.Net.(resolver)
	if !ok {
		own = net.DefaultResolver
	}
	ips, err := own.LookupNetIP(ctx, "ip", name)
	for i := range ips {
		ips[i] = ips[i].Unmap()
	}
	return ips, err
}

func listed(ips []netip.Addr) string {
	words := make([]string, len(ips))
	for i, ip := range ips {
		words[i] = ip.String()
	}
	return strings.Join(words, ", ")
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
	conf := e.cfg.TLS
	if r.Transport == dial.QUIC {
		d.shown = &sighting{}
		conf = d.shown.by(conf)
	}
	began := time.Now()
	conn, err := dial.DialRoute(ctx, r, dial.Options{TLS: conf, Proxy: e.cfg.Proxy, Timeout: e.cfg.Timeout, Net: e.cfg.Net})
	if err != nil {
		d.Check = d.failed(began, bare(err))
		return d
	}
	d.Check = d.passed(began, "connected")
	_ = conn.Close(0, "") // it has worked, whatever becomes of the goodbye
	return d
}

// proxyOf is the proxy that a route goes through, without its password.
func (e *exam) proxyOf(r dial.Route) string { return shownProxy(e.viaOf(r)) }

func shownProxy(via *url.URL) string {
	if via == nil {
		return ""
	}
	return (&url.URL{Scheme: via.Scheme, Host: via.Host}).String()
}

func (e *exam) viaOf(r dial.Route) *url.URL {
	u, err := url.Parse(r.URL)
	if err != nil || r.Transport != dial.WebSocket && r.Transport != dial.LongPoll {
		return nil
	}
	u.Scheme = "https"
	if r.Plain {
		u.Scheme = "http"
	}
	via, err := e.cfg.Proxy(u)
	if err != nil {
		return nil // the route says so
	}
	return via
}

func (c Check) passed(began time.Time, detail string) Check {
	c.OK, c.Took, c.Detail = true, time.Since(began), detail
	return c
}

func (c Check) failed(began time.Time, err error) Check {
	c.Took, c.Err, c.Detail = time.Since(began), err, oneLine(core(err))
	return c
}
