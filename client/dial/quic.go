package dial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"teamtalk/protocol"
)

const (
	// keepAlive is below what NATs commonly remember a UDP flow for.
	keepAlive = 15 * time.Second
	// quicIdle ends a connection whose path is dead and which the session has not left before.
	quicIdle = time.Minute
	// refusals is how often a server may answer CONNECTION_REFUSED, which means that its queue of new connections is full for a moment.
	refusals     = 5
	refusedPause = 50 * time.Millisecond // before the second attempt; doubles
	// maxHosts is how many of a host's addresses are tried.
	maxHosts = 4
	// probeTime is how long a new path may take to answer; a session that can't move resumes.
	probeTime = 5 * time.Second
	// maxMoves bounds the sockets of one connection.
	maxMoves = 16
)

// udp is the socket that all QUIC connections of a Dialer share.
type udp struct {
	mu     sync.Mutex // guards what follows
	shared *socket
	closed bool
}

// socket is a UDP socket with QUIC on it.
type socket struct {
	pc        net.PacketConn
	transport *quic.Transport
}

func (d *Dialer) newSocket(ctx context.Context) (*socket, error) {
	pc, err := d.opts.Net.ListenPacket(ctx)
	if err != nil {
		return nil, fmt.Errorf("no UDP socket: %w", err)
	}
	return &socket{pc: pc, transport: &quic.Transport{Conn: pc}}, nil
}

func (s *socket) close() error {
	if err := errors.Join(s.transport.Close(), s.pc.Close()); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil // the system had closed it before
}

// isClosed reports whether the system has taken the socket away. The errors of QUIC don't tell that from an address that can't be reached.
func (s *socket) isClosed() bool {
	return errors.Is(s.pc.SetWriteDeadline(time.Time{}), net.ErrClosed)
}

// socket returns the shared socket. One that has failed is given back as bad, and replaced.
func (d *Dialer) socket(ctx context.Context, bad *socket) (*socket, error) {
	u := &d.udp
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return nil, errDialerClosed
	}
	if u.shared != nil && u.shared == bad {
		_ = bad.close() // it is of no use any more
		u.shared = nil
	}
	if u.shared == nil {
		s, err := d.newSocket(ctx)
		if err != nil {
			return nil, err
		}
		u.shared = s
	}
	return u.shared, nil
}

func (u *udp) close() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closed = true
	if u.shared == nil {
		return nil
	}
	return u.shared.close()
}

// openQUIC makes a connection and opens its session stream. The server sees the stream with the first bytes on it.
func (d *Dialer) openQUIC(ctx context.Context, r Route) (guest, error) {
	qc, err := d.dialQUIC(ctx, r)
	if err != nil {
		return nil, err
	}
	str, err := qc.OpenStream()
	if err != nil {
		_ = qc.CloseWithError(0, "") // has no errors to tell
		return nil, fmt.Errorf("session stream: %w", err)
	}
	p := &quicPipe{Stream: str, conn: qc}
	return &quicConn{stream: newStream(newLink(d, r, qc.RemoteAddr().String(), newClock()), p), pipe: p}, nil
}

// dialQUIC tries the host's addresses as it tries routes.
func (d *Dialer) dialQUIC(ctx context.Context, r Route) (*quic.Conn, error) {
	host, hostPort, err := r.address()
	if err != nil {
		return nil, err
	}
	addrs, err := d.lookup(ctx, host, hostPort)
	if err != nil {
		return nil, err
	}
	var errs []error
	run := func(ctx context.Context, i int) (*quic.Conn, error) { return d.dialHost(ctx, host, addrs[i]) }
	lost := func(i int, err error) { errs = append(errs, fmt.Errorf("%v: %w", addrs[i], err)) }
	drop := func(qc *quic.Conn) { _ = qc.CloseWithError(0, "") } // nothing was said on it
	plan := starts{count: len(addrs), pause: d.opts.Stagger, waitAll: func(int) bool { return false }}
	qc, _, later, ok := stagger(ctx, plan, run, lost, drop)
	if !ok {
		return nil, errors.Join(errs...)
	}
	d.guests.run(later) // ends when the losers have seen that they are called off
	return qc, nil
}

// lookup returns the addresses of a host, the two families in turns.
func (d *Dialer) lookup(ctx context.Context, host, hostPort string) ([]*net.UDPAddr, error) {
	_, portText, err := net.SplitHostPort(hostPort)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, err
	}
	ips := []netip.Addr{}
	if ip, err := netip.ParseAddr(host); err == nil {
		ips = append(ips, ip)
	} else {
		var from resolver = net.DefaultResolver
		if own, ok := d.opts.Net.(resolver); ok {
			from = own
		}
		if ips, err = from.LookupNetIP(ctx, "ip", host); err != nil {
			return nil, err
		}
	}
	var six, four, out []*net.UDPAddr
	for _, ip := range ips {
		a := net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip.Unmap(), uint16(port)))
		if ip.Unmap().Is4() {
			four = append(four, a)
		} else {
			six = append(six, a)
		}
	}
	for i := range max(len(six), len(four)) {
		out = append(append(out, six[min(i, len(six)):min(i+1, len(six))]...), four[min(i, len(four)):min(i+1, len(four))]...)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s has no address", host)
	}
	return out[:min(len(out), maxHosts)], nil
}

// dialHost does the handshake with one address; again when the server had no room for a moment, or the socket has failed.
func (d *Dialer) dialHost(ctx context.Context, host string, to *net.UDPAddr) (*quic.Conn, error) {
	conf := &quic.Config{KeepAlivePeriod: keepAlive, MaxIdleTimeout: quicIdle, HandshakeIdleTimeout: d.opts.Timeout,
		MaxIncomingStreams: -1, MaxIncomingUniStreams: -1}
	var bad *socket
	pause := refusedPause
	for attempt := 1; ; attempt++ {
		s, err := d.socket(ctx, bad)
		if err != nil {
			return nil, err
		}
		qc, err := s.transport.Dial(ctx, to, d.opts.tlsConfig(host, d.quicSessions, native), conf)
		if err == nil {
			return qc, nil
		}
		refused, isTransport := errors.AsType[*quic.TransportError](err)
		switch {
		case attempt > refusals || ctx.Err() != nil:
			return nil, err
		case errors.Is(err, quic.ErrTransportClosed) || s.isClosed():
			bad = s
		case isTransport && refused.Remote && refused.ErrorCode == quic.ConnectionRefused:
		default:
			return nil, err
		}
		select {
		case <-time.After(rand.N(pause) + pause/2):
			pause *= 2
		case <-ctx.Done():
			return nil, err
		}
	}
}

// quicPipe is the session stream of a connection.
type quicPipe struct {
	*quic.Stream
	conn *quic.Conn

	mu      sync.Mutex // guards what follows
	moved   []*socket  // that the connection is, or was, on besides the shared one
	path    *quic.Path // that the connection is on; nil: the first
	severed bool
}

func (p *quicPipe) CloseWrite() error { return p.Stream.Close() }

func (p *quicPipe) writev([][]byte) (bool, error) { return false, nil }

func (p *quicPipe) sever(code protocol.Code, reason string) {
	_ = p.conn.CloseWithError(quic.ApplicationErrorCode(code), clipped(reason)) // has no errors to tell
	p.mu.Lock()
	defer p.mu.Unlock()
	p.severed = true
	for _, s := range p.moved {
		_ = s.close() // nobody is on it any more
	}
	p.moved = nil
}

// explain takes the server's code from the close of the connection.
func (p *quicPipe) explain(err error) error {
	app, ok := errors.AsType[*quic.ApplicationError](err)
	switch {
	case !ok || !app.Remote:
		return err
	case app.ErrorCode == 0:
		return io.EOF
	}
	return &CloseError{Code: codeOf(uint64(app.ErrorCode)), Message: app.ErrorMessage}
}

// quicConn is a stream that can move.
type quicConn struct {
	*stream
	pipe *quicPipe
}

var _ Rebinder = (*quicConn)(nil)

// Rebind opens a new UDP socket, sees whether the server can be reached from it, and moves the connection there. If it fails, the connection stays where it was; a
// server may let it if it moves more than twice within seconds. It is for one goroutine at a time.
func (c *quicConn) Rebind(ctx context.Context) error {
	s, err := c.dialer.newSocket(ctx)
	if err != nil {
		return fmt.Errorf("dial: %w", err)
	}
	if err := c.pipe.adopt(s); err != nil {
		return errors.Join(err, s.close())
	}
	path, err := c.pipe.conn.AddPath(s.transport)
	if err != nil {
		return fmt.Errorf("dial: new path: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	stop := context.AfterFunc(c.pipe.conn.Context(), cancel) // Probe does not notice that the connection has ended
	defer stop()
	if err := path.Probe(ctx); err != nil {
		return errors.Join(fmt.Errorf("dial: new path: %w", err), path.Close())
	}
	if err := path.Switch(); err != nil {
		return fmt.Errorf("dial: new path: %w", err)
	}
	c.pipe.settle(path)
	return nil
}

// settle gives up the path before: each keeps one of the few connection ids that a server hands out.
func (p *quicPipe) settle(on *quic.Path) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.path != nil {
		_ = p.path.Close() // fails if QUIC has given it up by itself
	}
	p.path = on
}

// adopt lets the socket live as long as the connection: QUIC never quite leaves a socket, and closing one would close the connection.
func (p *quicPipe) adopt(s *socket) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.severed:
		return fmt.Errorf("dial: %w", net.ErrClosed)
	case len(p.moved) >= maxMoves:
		return errors.New("dial: the connection has moved too often")
	}
	p.moved = append(p.moved, s)
	return nil
}

// maxReason is what a WebSocket close has room for.
const maxReason = 123

func clipped(reason string) string { return reason[:min(len(reason), maxReason)] }
