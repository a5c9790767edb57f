// Package quicport is the UDP port: native connections over QUIC, and HTTP/3 with WebTransport beside them, told apart by ALPN.
//
// What QUIC gives the protocol: a client that changes its network, or whose NAT gives it another port, keeps its connection [TT-QUIC-5],
// and many connections cost one socket. What it asks for: limits on handshakes, since datagrams can lie about where they come from (gate.go),
// and care at the end, since closing a connection destroys what has not arrived (conn.go).
package quicport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"golang.org/x/sync/errgroup"

	"teamtalk/gateway/transport"
	"teamtalk/protocol"
)

// ALPN names the native protocol in the handshake [TT-QUIC-1].
const ALPN = "teamtalk/1"

// KeyLen is the length of the keys, in bytes.
const KeyLen = 32

const (
	// connectionIDLen makes it unlikely that two ids of very many connections are the same.
	connectionIDLen = 8

	// The windows are what a client may send before anybody reads it. They are small at first, since most connections carry only chat, and
	// grow for those that send much and are read. Connections that nobody reads hold no more than the first.
	streamWindow        = 32 << 10
	maxStreamWindow     = 512 << 10
	connectionWindow    = 64 << 10
	maxConnectionWindow = 1 << 20

	// bulkStreams may be open beside the session stream of a native connection [TT-FILE-12].
	bulkStreams    = 4
	sessionStreams = 1 + bulkStreams
	// httpStreams and httpUniStreams are for HTTP/3, whose limits a connection gets before its ALPN is known: requests at a time, and the
	// control and header streams of the client with some more that clients open to see whether servers ignore them.
	httpStreams    = 32
	httpUniStreams = 8
)

// Config says where to listen and for what.
type Config struct {
	Address  string         // host:port of UDP; port 0 takes a free one
	Conn     net.PacketConn // used in place of a port at Address, and closed with the Port; nil: none
	Listener string         // the listener's name in logs and metrics; empty: "quic"
	TLS      *tls.Config    // the certificates; cloned
	HTTP     http.Handler   // what HTTP/3 serves; nil: no HTTP/3
	Origins  []string       // web pages that may open WebTransport sessions besides those of the host itself
	Peer     *PeerProtocol  // a protocol that is not for clients; nil: none
	// Bulk serves a stream beside the session of a user, on a goroutine of its own; when it returns the stream is closed. nil: there are none [TT-FILE-12].
	Bulk func(protocol.UserID, transport.Conn)

	// ResetKey, of KeyLen bytes, lets a restarted node tell clients that their connections are gone; so it must outlive the process, and be of
	// this node alone. nil: they find out by waiting.
	ResetKey []byte
	// TokenKey, of KeyLen bytes, signs the proofs that a client receives datagrams at its address; nodes that share it trust each other's.
	// nil: a random one.
	TokenKey []byte

	Limits Limits
	Timing Timing

	Log        *slog.Logger          // nil: slog.Default()
	Registerer prometheus.Registerer // nil: no metrics
}

// Limits bounds what clients can take. Zero values mean the default given.
type Limits struct {
	Connections          int // at a time, handshakes included, 100,000
	Handshakes           int // at a time, 1,024
	HandshakesPerAddress int // at a time from one address or IPv6 /64, 64
	ValidateAbove        int // handshakes at a time above which clients have to prove their address first, 128; below 0: always
	RefusedStreams       int // of one native connection, after which it is closed, 64
}

// Timing holds the times of a connection. Zero values mean the default given.
type Timing struct {
	Handshake   time.Duration // without a datagram during the handshake, which may take twice as long in all, 5 s
	FirstStream time.Duration // until a native client opens its session stream, 15 s [TT-QUIC-2]
	Idle        time.Duration // without a datagram, 330 s [TT-QUIC-4]
	KeepAlive   time.Duration // without a datagram until the server sends one; 0: never [TT-QUIC-4]
	Flush       time.Duration // for the client to take the last bytes, 2 s [TT-QUIC-6]
	HTTPIdle    time.Duration // without an HTTP/3 request, 120 s
	HTTPRequest time.Duration // to read an HTTP/3 request and to write its answer, unless the handler sets its own, 30 s
}

// Port serves one UDP port.
type Port struct {
	udp       net.PacketConn
	transport *quic.Transport
	listener  *quic.Listener
	gate      *gate
	sessions  *transport.Tracker
	web       *web          // nil: no HTTP/3
	peer      *PeerProtocol // nil: none
	bulk      func(protocol.UserID, transport.Conn)
	limits    Limits
	timing    Timing
	log       *slog.Logger
	metrics   *metrics

	life   context.Context // of connections; ends with Close
	end    context.CancelFunc
	noWait context.Context // has ended
	conns  conns
}

// conns joins the goroutines of a port.
type conns struct {
	wait sync.WaitGroup

	mu     sync.Mutex // guards closed
	closed bool
}

// spawn runs f on a goroutine of its own, unless the port has been closed.
func (c *conns) spawn(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.wait.Go(f) // f ends with the life of the port; joined by Close
	return true
}

func (c *conns) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
}

// Listen opens the port. Until Serve runs, connections wait, and are refused when they are many.
func Listen(cfg Config) (*Port, error) {
	cfg.complete()
	if cfg.TLS == nil {
		return nil, errors.New("quicport: no certificates")
	}
	p := &Port{
		sessions: transport.NewTracker(cfg.Log),
		peer:     cfg.Peer,
		bulk:     cfg.Bulk,
		limits:   cfg.Limits,
		timing:   cfg.Timing,
		log:      cfg.Log.With("listener", cfg.Listener),
		metrics:  newMetrics(cfg.Listener, cfg.Registerer),
	}
	p.gate = newGate(cfg.Limits, p.metrics)
	p.transport = &quic.Transport{ConnectionIDLength: connectionIDLen, VerifySourceAddress: p.gate.mustValidate, ConnContext: p.gate.admit}
	if err := setKeys(p.transport, cfg); err != nil {
		return nil, err
	}
	if cfg.HTTP != nil {
		p.web = newWeb(cfg, p.sessions, p.log)
	}
	udp := cfg.Conn
	if udp == nil {
		var err error
		if udp, err = new(net.ListenConfig).ListenPacket(context.Background(), "udp", cfg.Address); err != nil {
			return nil, fmt.Errorf("quicport: %w", err)
		}
	}
	p.udp, p.transport.Conn = udp, udp
	var err error
	if p.listener, err = p.transport.Listen(tlsConfig(cfg), quicConfig(cfg)); err != nil {
		_ = udp.Close()
		return nil, fmt.Errorf("quicport: %w", err)
	}
	p.life, p.end = context.WithCancel(context.Background())
	noWait, cancel := context.WithCancel(context.Background())
	cancel()
	p.noWait = noWait
	return p, nil
}

func setKeys(t *quic.Transport, cfg Config) error {
	for name, key := range map[string][]byte{"reset": cfg.ResetKey, "token": cfg.TokenKey} {
		if key != nil && len(key) != KeyLen {
			return fmt.Errorf("quicport: the %s key has %d bytes, not %d", name, len(key), KeyLen)
		}
	}
	if cfg.ResetKey != nil {
		t.StatelessResetKey = (*quic.StatelessResetKey)(cfg.ResetKey)
	}
	if cfg.TokenKey != nil {
		t.TokenGeneratorKey = (*quic.TokenGeneratorKey)(cfg.TokenKey)
	}
	return nil
}

// tlsConfig offers the protocols there are; a client that wants none of them fails in the handshake [TT-QUIC-1].
func tlsConfig(cfg Config) *tls.Config {
	_, _ = cfg.TLS.DecryptTicket(nil, tls.ConnectionState{}) // makes the keys of session tickets, which otherwise no clone would share
	conf := cfg.TLS.Clone()
	conf.MinVersion = tls.VersionTLS13
	conf.NextProtos = []string{ALPN}
	if cfg.HTTP != nil {
		conf.NextProtos = append(conf.NextProtos, http3.NextProtoH3)
	}
	if cfg.Peer != nil {
		configurePeer(cfg.Peer, conf)
	}
	return conf
}

// quicConfig has no 0-RTT: what comes with it can be replayed [TT-QUIC-1].
func quicConfig(cfg Config) *quic.Config {
	conf := &quic.Config{
		HandshakeIdleTimeout:           cfg.Timing.Handshake,
		MaxIdleTimeout:                 cfg.Timing.Idle,
		KeepAlivePeriod:                cfg.Timing.KeepAlive,
		InitialStreamReceiveWindow:     streamWindow,
		MaxStreamReceiveWindow:         maxStreamWindow,
		InitialConnectionReceiveWindow: connectionWindow,
		MaxConnectionReceiveWindow:     maxConnectionWindow,
		MaxIncomingStreams:             sessionStreams,
		MaxIncomingUniStreams:          -1, // none [TT-QUIC-3]
	}
	if cfg.HTTP != nil {
		conf.MaxIncomingStreams, conf.MaxIncomingUniStreams = httpStreams, httpUniStreams
		conf.EnableDatagrams, conf.EnableStreamResetPartialDelivery = true, true // WebTransport asks for both, and uses neither here
	}
	if cfg.Peer != nil {
		allowPeers(conf)
	}
	return conf
}

func (c *Config) complete() {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Listener == "" {
		c.Listener = "quic"
	}
	orDefault(&c.Limits.Connections, 100_000)
	orDefault(&c.Limits.Handshakes, 1_024)
	orDefault(&c.Limits.HandshakesPerAddress, 64)
	orDefault(&c.Limits.RefusedStreams, 64)
	if c.Limits.ValidateAbove == 0 {
		c.Limits.ValidateAbove = 128
	}
	orDefault(&c.Timing.Handshake, 5*time.Second)
	orDefault(&c.Timing.FirstStream, 15*time.Second)
	orDefault(&c.Timing.Idle, 330*time.Second)
	orDefault(&c.Timing.Flush, 2*time.Second)
	orDefault(&c.Timing.HTTPIdle, 120*time.Second)
	orDefault(&c.Timing.HTTPRequest, 30*time.Second)
}

func orDefault[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// Addr is the address listened on.
func (p *Port) Addr() net.Addr { return p.udp.LocalAddr() }

// acceptors is how many goroutines accept: each waits with an open hand, so to speak, besides the few places in the queue behind which
// connections are refused.
const acceptors = 64

// Serve accepts until Stop or Close and gives each native connection to handle, on a goroutine of its own; when handle returns the
// connection is closed. It returns nil after Stop.
func (p *Port) Serve(handle func(transport.Conn)) error {
	if p.web != nil {
		p.web.handle = handle
	}
	var all errgroup.Group
	for range acceptors {
		all.Go(func() error { return p.accept(handle) }) // ends with the listener
	}
	return all.Wait()
}

// accept only spawns: while it does anything else, connections are refused.
func (p *Port) accept(handle func(transport.Conn)) error {
	for {
		qc, err := p.listener.Accept(context.Background())
		switch {
		case errors.Is(err, quic.ErrServerClosed), errors.Is(err, net.ErrClosed) && p.sessions.Stopped():
			return nil
		case err != nil:
			return fmt.Errorf("quicport: accept: %w", err)
		}
		established(qc)
		p.metrics.accepted.Inc()
		if !p.conns.spawn(func() { p.serve(qc, handle) }) {
			closeConn(qc, protocol.CodeDraining)
		}
	}
}

func (p *Port) serve(qc *quic.Conn, handle func(transport.Conn)) {
	switch speaks := qc.ConnectionState().TLS.NegotiatedProtocol; {
	case p.peer != nil && speaks == p.peer.ALPN:
		p.servePeer(qc)
	case p.web != nil && speaks == http3.NextProtoH3:
		p.web.serve(qc)
	default:
		p.serveNative(qc, handle)
	}
}

// Stop accepts no more connections and leaves those there are alone, those of HTTP/3 too.
func (p *Port) Stop() {
	if !p.sessions.Stop() {
		return
	}
	if err := p.listener.Close(); err != nil {
		p.log.Debug("close of the listener failed", "error", err)
	}
}

// Shutdown stops, waits for the requests of HTTP/3 under way until ctx ends, and ends their connections. Native connections are left alone.
func (p *Port) Shutdown(ctx context.Context) error {
	p.Stop()
	if p.web == nil {
		return nil
	}
	if err := p.web.shutdown(ctx); err != nil {
		return fmt.Errorf("quicport: shutdown: %w", err)
	}
	return nil
}

// Close stops, breaks every connection and waits until all handlers have returned.
func (p *Port) Close() {
	p.Stop()
	p.conns.close()
	p.sessions.Close()
	p.end()
	if p.web != nil {
		p.web.close()
	}
	p.conns.wait.Wait()
	if err := p.transport.Close(); err != nil {
		p.log.Debug("close of the transport failed", "error", err)
	}
	_ = p.udp.Close()
}
