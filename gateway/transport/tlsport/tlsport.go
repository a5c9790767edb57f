// Package tlsport is one TLS port for everything: what a client names in its handshake (ALPN) decides whether it speaks the native protocol or
// HTTP. Handshakes are done beside the accept loop, so that a slow one holds nobody up.
package tlsport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"teamtalk/gateway/transport"
)

// Protocol is the ALPN name of the native protocol.
const Protocol = "teamtalk/1"

// Config is what a Port is made of.
type Config struct {
	Listener  *transport.Listener // the port; closed by Close
	TLS       *tls.Config         // certificates; copied
	Protocols []string            // further ALPN names whose connections end with the handshake
	Peer      *PeerProtocol       // a protocol that is not for clients; nil: none

	Handshakes           int           // under way at once; 0: 4,096 [TT-TLS-4]
	HandshakesPerAddress int           // 0: 1,000 [TT-TLS-4]
	HandshakeTime        time.Duration // 0: 10 s [TT-TLS-4]

	Log        *slog.Logger          // nil: slog.Default()
	Registerer prometheus.Registerer // nil: no metrics
}

// Port splits the connections of a TLS port. Serve must run for either half to get any.
type Port struct {
	ln     *transport.Listener
	tls    *tls.Config
	time   time.Duration
	log    *slog.Logger
	done   *prometheus.CounterVec
	gate   gate
	conns  *transport.Tracker
	peers  *peers // nil: no protocol for them
	http   httpListener
	shakes sync.WaitGroup
	ctx    context.Context // of handshakes; ends with Close
	giveUp context.CancelFunc
}

// outcome is what became of a connection, in metrics.
type outcome string

const (
	native      outcome = "native"
	overHTTP    outcome = "http"
	handshake   outcome = "handshake_only"
	peer        outcome = "peer"
	failed      outcome = "failed"
	timedOut    outcome = "timeout"
	full        outcome = "full"
	addressFull outcome = "address_full"
	stopping    outcome = "stopping"
)

// New makes a port of a listener.
func New(cfg Config) *Port {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Handshakes <= 0 {
		cfg.Handshakes = 4096
	}
	if cfg.HandshakesPerAddress <= 0 {
		cfg.HandshakesPerAddress = 1000
	}
	if cfg.HandshakeTime <= 0 {
		cfg.HandshakeTime = 10 * time.Second
	}
	p := &Port{
		ln: cfg.Listener, tls: cfg.TLS.Clone(), time: cfg.HandshakeTime, log: cfg.Log.With("listener", "tls"),
		gate: gate{most: cfg.Handshakes, mostPerAddress: cfg.HandshakesPerAddress, by: make(map[netip.Prefix]int)},
		http: httpListener{port: cfg.Listener, conns: make(chan net.Conn), closed: make(chan struct{})},
		done: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "teamtalk_tls_connections_total",
			Help: "Connections of the TLS port by result: native, http, peer; or refused or failed before that."}, []string{"result"}),
	}
	p.conns = transport.NewTracker(p.log)
	p.ctx, p.giveUp = context.WithCancel(context.Background())
	p.tls.NextProtos = append([]string{Protocol, "h2", "http/1.1"}, cfg.Protocols...) // [TT-TLS-1]
	if p.peers = newPeers(cfg.Peer); p.peers != nil {
		p.peers.configure(p.tls)
	}
	if cfg.Registerer != nil {
		cfg.Registerer.MustRegister(p.done)
	}
	return p
}

// Addr is the address listened on.
func (p *Port) Addr() net.Addr { return p.ln.Addr() }

// HTTP is where an http.Server gets its connections, HTTP/2 ones too; their handshake is done. Closing it, which the server's Shutdown does,
// closes the port.
func (p *Port) HTTP() net.Listener { return &p.http }

// Serve accepts until the port is closed and gives each native connection to handle, on a goroutine of its own; when handle returns the
// connection is closed. It returns nil when the port is closed.
func (p *Port) Serve(handle func(transport.Conn)) error {
	for {
		nc, err := p.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		from := origin(nc)
		if refused := p.gate.enter(from); refused != "" {
			p.refuse(nc, refused)
			continue
		}
		p.shakes.Go(func() { // ends with the handshake, which has a deadline; joined by Close
			p.shake(nc, from, handle)
		})
	}
}

// shake does the handshake and hands the connection over.
func (p *Port) shake(nc net.Conn, from netip.Prefix, handle func(transport.Conn)) {
	w := &wire{Conn: nc}
	tc := tls.Server(w, p.tls)
	ctx, cancel := context.WithTimeout(p.ctx, p.time)
	err := tc.HandshakeContext(ctx)
	cancel()
	p.gate.leave(from)
	if err != nil {
		p.log.Debug("handshake failed", "remote", nc.RemoteAddr(), "error", err)
		p.refuse(nc, failure(err))
		return
	}
	state := tc.ConnectionState()
	if p.peers != nil && state.NegotiatedProtocol == p.peers.ALPN {
		if refused := p.peers.spawn(&peerConn{tc, w}, state.PeerCertificates); refused != "" {
			p.refuse(nc, refused)
			return
		}
		p.count(peer)
		return
	}
	p.handOver(tc, w, handle)
}

// handOver gives a client's connection to whoever speaks what it asks for.
func (p *Port) handOver(tc *tls.Conn, w *wire, handle func(transport.Conn)) {
	switch tc.ConnectionState().NegotiatedProtocol {
	case Protocol: // [TT-TLS-1]
		if !p.conns.Spawn(&conn{Conn: transport.NewStream(tc, transport.KindTLS), wire: w}, handle) {
			p.count(stopping)
			return
		}
		p.count(native)
	case "", "h2", "http/1.1": // [TT-TLS-2]
		if !p.http.give(tc) {
			p.refuse(w, stopping)
			return
		}
		p.count(overHTTP)
	default: // one of the further names: the handshake was all
		w.hasten()
		if err := tc.Close(); err != nil {
			p.log.Debug("close failed", "remote", w.RemoteAddr(), "error", err)
		}
		p.count(handshake)
	}
}

func failure(err error) outcome {
	if errors.Is(err, context.DeadlineExceeded) {
		return timedOut
	}
	return failed
}

func (p *Port) count(o outcome) { p.done.WithLabelValues(string(o)).Inc() }

// refuse closes a connection that nobody has taken.
func (p *Port) refuse(nc net.Conn, why outcome) {
	p.count(why)
	if err := nc.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		p.log.Debug("close failed", "remote", nc.RemoteAddr(), "error", err)
	}
}

// Stop takes no more native connections, nor any of peers, and leaves those there are alone. HTTP goes on until its listener is closed: clients that poll need
// connections to get their last answers.
func (p *Port) Stop() {
	p.conns.Stop()
	p.peers.stop()
}

// Close closes the port, breaks handshakes and native connections and waits until all handlers have returned. HTTP connections are the
// http.Server's.
func (p *Port) Close() error {
	p.Stop()
	err := p.http.Close()
	p.giveUp()
	p.shakes.Wait()
	p.conns.Close()
	p.peers.close()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("tlsport: %w", err)
	}
	return nil
}

// origin is whom a connection is counted for.
func origin(nc net.Conn) netip.Prefix {
	a, ok := nc.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	return transport.PlaceOf(a.AddrPort().Addr())
}

// gate counts handshakes under way.
type gate struct {
	most, mostPerAddress int

	mu  sync.Mutex // guards what follows
	all int
	by  map[netip.Prefix]int
}

// enter counts one, or says why there is no room. [TT-TLS-4]
func (g *gate) enter(from netip.Prefix) outcome {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.all >= g.most:
		return full
	case g.by[from] >= g.mostPerAddress:
		return addressFull
	}
	g.all++
	g.by[from]++
	return ""
}

func (g *gate) leave(from netip.Prefix) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all--
	if g.by[from]--; g.by[from] <= 0 {
		delete(g.by, from)
	}
}
