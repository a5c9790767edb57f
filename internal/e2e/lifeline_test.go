package e2e

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"teamtalk/client"
	"teamtalk/client/dial"
	"teamtalk/protocol"
)

// errCut is what a client sees of a network that it has left.
var errCut = errors.New("the network is gone")

// lifeline is a client's network that the client can lose at any moment, as a phone does that leaves a building: the client's sockets fail, and
// the server learns nothing.
type lifeline struct {
	dial.Network
	lookup func(host string) ([]netip.Addr, error) // nil: the network's own

	mu    sync.Mutex // guards what follows
	conns []cuttable
	now   *place
}

// place is where the client is until the next cut; from there nothing can be opened any more afterwards.
type place struct{ *lifeline }

// here is the network of this moment.
func (l *lifeline) here() dial.Network {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.now == nil {
		l.now = &place{l}
	}
	return l.now
}

func (p *place) isLeft() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now != p
}

// DialContext opens a socket that can be cut.
func (p *place) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if p.isLeft() {
		return nil, errCut
	}
	nc, err := p.Network.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c := &cutConn{Conn: nc, state: &cutState{}}
	p.add(p, c)
	return c, nil
}

// ListenPacket opens a socket that can be cut.
func (p *place) ListenPacket(ctx context.Context) (net.PacketConn, error) {
	if p.isLeft() {
		return nil, errCut
	}
	pc, err := p.Network.ListenPacket(ctx)
	if err != nil {
		return nil, err
	}
	c := &cutPacketConn{PacketConn: pc, state: &cutState{}}
	p.add(p, c)
	return c, nil
}

type cuttable interface {
	cut()
	dispose()
}

// LookupNetIP finds the server.
func (l *lifeline) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	if l.lookup != nil {
		return l.lookup(host)
	}
	return net.DefaultResolver.LookupNetIP(ctx, network, host)
}

func (l *lifeline) add(from *place, c cuttable) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns = append(l.conns, c)
	if l.now != from {
		c.cut()
	}
}

// cut loses the network of this moment; sockets opened later are on another one.
func (l *lifeline) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now = nil
	for _, c := range l.conns {
		c.cut()
	}
}

// dispose closes what was cut, which the server then notices.
func (l *lifeline) dispose() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		c.dispose()
	}
	l.conns = nil
}

// cutState is shared by both kinds of socket.
type cutState struct {
	mu     sync.Mutex // guards what follows
	isCut  bool
	closed bool
}

func (s *cutState) isOver() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.isCut
}

// begin marks the cut, once.
func (s *cutState) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isCut || s.closed {
		return false
	}
	s.isCut = true
	return true
}

// mayClose reports whether the client's close reaches the socket: after a cut it does not.
func (s *cutState) mayClose() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return !s.isCut
}

type cutConn struct {
	net.Conn
	state *cutState
}

func (c *cutConn) cut() {
	if c.state.begin() {
		_ = c.Conn.SetDeadline(time.Unix(1, 0)) // wakes whoever reads or writes
	}
}

func (c *cutConn) dispose() { _ = c.Conn.Close() }

func (c *cutConn) Read(b []byte) (int, error) {
	if c.state.isOver() {
		return 0, errCut
	}
	n, err := c.Conn.Read(b)
	if c.state.isOver() {
		return 0, errCut
	}
	return n, err
}

func (c *cutConn) Write(b []byte) (int, error) {
	if c.state.isOver() {
		return 0, errCut
	}
	return c.Conn.Write(b)
}

func (c *cutConn) Close() error {
	if c.state.mayClose() {
		return c.Conn.Close()
	}
	return nil
}

func (c *cutConn) SetDeadline(t time.Time) error {
	if c.state.isOver() {
		return errCut
	}
	return c.Conn.SetDeadline(t)
}

func (c *cutConn) SetReadDeadline(t time.Time) error {
	if c.state.isOver() {
		return errCut
	}
	return c.Conn.SetReadDeadline(t)
}

func (c *cutConn) SetWriteDeadline(t time.Time) error {
	if c.state.isOver() {
		return errCut
	}
	return c.Conn.SetWriteDeadline(t)
}

type cutPacketConn struct {
	net.PacketConn
	state *cutState
}

func (c *cutPacketConn) cut() {
	if c.state.begin() {
		_ = c.PacketConn.SetReadDeadline(time.Unix(1, 0))
	}
}

func (c *cutPacketConn) dispose() { _ = c.PacketConn.Close() }

func (c *cutPacketConn) ReadFrom(b []byte) (int, net.Addr, error) {
	if c.state.isOver() {
		return 0, nil, errCut
	}
	n, from, err := c.PacketConn.ReadFrom(b)
	if c.state.isOver() {
		return 0, nil, errCut
	}
	return n, from, err
}

func (c *cutPacketConn) WriteTo(b []byte, to net.Addr) (int, error) {
	if c.state.isOver() {
		return 0, errCut
	}
	return c.PacketConn.WriteTo(b, to)
}

func (c *cutPacketConn) Close() error {
	if c.state.mayClose() {
		return c.PacketConn.Close()
	}
	return nil
}

func (c *cutPacketConn) SetReadDeadline(t time.Time) error {
	if c.state.isOver() {
		return errCut
	}
	return c.PacketConn.SetReadDeadline(t)
}

// pinned is a client.Dialer that goes by the one transport a test has chosen for now.
type pinned struct {
	routes  map[dial.Transport]dial.Route
	options dial.Options
	line    *lifeline

	mu  sync.Mutex // guards now
	now dial.Transport
}

func newPinned(addresses []string, o dial.Options, line *lifeline, first dial.Transport) (*pinned, error) {
	routes, err := dial.Parse(addresses, false)
	if err != nil {
		return nil, err
	}
	p := &pinned{routes: make(map[dial.Transport]dial.Route), options: o, line: line, now: first}
	for _, r := range routes {
		p.routes[r.Transport] = r
	}
	return p, nil
}

// by chooses the transport of the connections to come.
func (p *pinned) by(t dial.Transport) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = t
}

func (p *pinned) Race(...dial.Route) client.Race { return &pinnedRace{p: p} }

func (p *pinned) Better(context.Context, dial.Route) (dial.Conn, error) { return nil, dial.ErrNoBetter }
func (p *pinned) Remember(dial.Route)                                   {}
func (p *pinned) Prefer([]string) error                                 { return nil }
func (p *pinned) Close() error                                          { return nil }

type pinnedRace struct {
	p    *pinned
	used bool
}

func (r *pinnedRace) Next(ctx context.Context) (dial.Conn, error) {
	if r.used {
		return nil, protocol.Errorf(protocol.CodeUnavailable, "no other way")
	}
	r.used = true
	r.p.mu.Lock()
	route := r.p.routes[r.p.now]
	options := r.p.options
	options.Net = r.p.line.here()
	r.p.mu.Unlock()
	return dial.DialRoute(ctx, route, options)
}

// hostNetwork is that of the machine.
type hostNetwork struct{ net.Dialer }

func (*hostNetwork) ListenPacket(ctx context.Context) (net.PacketConn, error) {
	return new(net.ListenConfig).ListenPacket(ctx, "udp", "127.0.0.1:0")
}
