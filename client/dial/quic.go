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

// socket is a UDP socket with QUIC on it, for one connection.
type socket struct {
	pc        net.PacketConn
	transport *quic.Transport
}

// noID gives connections ids of no length: with a socket to itself a connection needs none, and without, the client's address may change any
// number of times, as NATs make it [TT-QUIC-5].
type noID struct{}

// GenerateConnectionID makes the empty id.
func (noID) GenerateConnectionID() (quic.ConnectionID, error) { return quic.ConnectionID{}, nil }

// ConnectionIDLen is 0.
func (noID) ConnectionIDLen() int { return 0 }

func (d *Dialer) newSocket(ctx context.Context) (*socket, error) {
	pc, err := d.opts.Net.ListenPacket(ctx)
	if err != nil {
		return nil, fmt.Errorf("no UDP socket: %w", err)
	}
	return &socket{pc: pc, transport: &quic.Transport{Conn: pc, ConnectionIDGenerator: noID{}}}, nil
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

// flow is a connection and the socket it was made on.
type flow struct {
	conn *quic.Conn
	on   *socket
}

// drop ends a flow on which nothing was said.
func (f flow) drop() {
	_ = f.conn.CloseWithError(0, "") // has no errors to tell
	_ = f.on.close()                 // nobody else is on it
}

// openQUIC makes a connection and opens its session stream. The server sees the stream with the first bytes on it.
func (d *Dialer) openQUIC(ctx context.Context, r Route) (guest, error) {
	f, err := d.dialQUIC(ctx, r)
	if err != nil {
		return nil, err
	}
	str, err := f.conn.OpenStream()
	if err != nil {
		f.drop()
		return nil, fmt.Errorf("session stream: %w", err)
	}
	p := &quicPipe{Stream: str, conn: f.conn, sockets: []*socket{f.on}}
	return &quicConn{stream: newStream(newLink(d, r, f.conn.RemoteAddr().String(), newClock()), p), pipe: p}, nil
}

// dialQUIC tries the host's addresses as it tries routes.
func (d *Dialer) dialQUIC(ctx context.Context, r Route) (flow, error) {
	host, hostPort, err := r.address()
	if err != nil {
		return flow{}, err
	}
	addrs, err := d.lookup(ctx, host, hostPort)
	if err != nil {
		return flow{}, err
	}
	var errs []error
	run := func(ctx context.Context, i int) (flow, error) { return d.dialHost(ctx, host, addrs[i]) }
	lost := func(i int, err error) { errs = append(errs, fmt.Errorf("%v: %w", addrs[i], err)) }
	plan := starts{count: len(addrs), pause: d.opts.Stagger, waitAll: func(int) bool { return false }}
	f, _, later, ok := stagger(ctx, plan, run, lost, flow.drop)
	if !ok {
		return flow{}, errors.Join(errs...)
	}
	d.guests.run(later) // ends when the losers have seen that they are called off
	return f, nil
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

// dialHost does the handshake with one address; again when the server had no room for a moment, or the system took the socket away.
func (d *Dialer) dialHost(ctx context.Context, host string, to *net.UDPAddr) (flow, error) {
	pause := refusedPause
	for attempt := 1; ; attempt++ {
		f, again, err := d.handshake(ctx, host, to)
		if err == nil || !again || attempt > refusals || ctx.Err() != nil {
			return f, err
		}
		select {
		case <-time.After(rand.N(pause) + pause/2):
			pause *= 2
		case <-ctx.Done():
			return flow{}, err
		}
	}
}

// handshake tries once; again tells whether another time may end differently.
func (d *Dialer) handshake(ctx context.Context, host string, to *net.UDPAddr) (f flow, again bool, err error) {
	s, err := d.newSocket(ctx)
	if err != nil {
		return f, false, err
	}
	qc, err := s.transport.Dial(ctx, to, d.opts.tlsConfig(host, d.quicSessions, native), &quic.Config{KeepAlivePeriod: keepAlive,
		MaxIdleTimeout: quicIdle, HandshakeIdleTimeout: d.opts.Timeout, MaxIncomingStreams: -1, MaxIncomingUniStreams: -1})
	if err == nil {
		return flow{qc, s}, false, nil
	}
	refused, isTransport := errors.AsType[*quic.TransportError](err)
	again = errors.Is(err, quic.ErrTransportClosed) || s.isClosed() ||
		isTransport && refused.Remote && refused.ErrorCode == quic.ConnectionRefused
	_ = s.close() // nobody is on it
	return f, again, err
}

// quicPipe is the session stream of a connection.
type quicPipe struct {
	*quic.Stream
	conn *quic.Conn

	mu      sync.Mutex // guards what follows
	sockets []*socket  // that the connection is, or was, on
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
	for _, s := range p.sockets {
		_ = s.close() // nobody is on it any more
	}
	p.sockets = nil
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
	if c.isClosed() {
		return c.errClosed()
	}
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
	case len(p.sockets) > maxMoves:
		return errors.New("dial: the connection has moved too often")
	}
	p.sockets = append(p.sockets, s)
	return nil
}

// maxReason is what a WebSocket close has room for.
const maxReason = 123

func clipped(reason string) string { return reason[:min(len(reason), maxReason)] }
