package simnet

import (
	"context"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// socketBuffer is how many packets wait for a reader; the next one is dropped.
const socketBuffer = 1024

// A socket is a UDP port of a Network.
type socket struct {
	network *Network
	host    *Host // nil: none in particular
	addr    *net.UDPAddr
	name    string
	up      Direction // of what it sends

	mu      sync.Mutex // guards all below
	changed chan struct{}
	arrived packetHeap
	count   uint64
	readBy  time.Time
	closed  bool
}

// ListenPacket opens a UDP port of one who dials.
func (n *Network) ListenPacket(context.Context) (net.PacketConn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lastPort++
	return n.socketLocked(&net.UDPAddr{IP: hostAddress(0), Port: n.lastPort}, "", Up, nil), nil
}

// ListenUDP opens a UDP port of one who serves: "chat.example:443". Its own address is numeric; packets go to that one, which ResolveUDP tells.
func (n *Network) ListenUDP(address string) (net.PacketConn, error) {
	_, port, err := splitAddress(address)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.sockets[address] != nil {
		return nil, &net.OpError{Op: "listen", Net: "udp", Err: syscall.EADDRINUSE}
	}
	n.lastHost++
	if port == 0 {
		port = listenPort + n.lastHost
	}
	return n.socketLocked(&net.UDPAddr{IP: hostAddress(n.lastHost), Port: port}, address, Down, nil), nil
}

// ResolveUDP is the numeric address of a UDP port.
func (n *Network) ResolveUDP(address string) (*net.UDPAddr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if s := n.sockets[address]; s != nil {
		return s.addr, nil
	}
	return net.ResolveUDPAddr("udp", address)
}

func (n *Network) socketLocked(addr *net.UDPAddr, name string, d Direction, at *Host) *socket {
	s := &socket{network: n, host: at, addr: addr, name: name, up: d, changed: make(chan struct{})}
	n.sockets[addr.String()] = s
	if name != "" {
		n.sockets[name] = s
	}
	return s
}

// WriteTo implements net.PacketConn.
func (s *socket) WriteTo(b []byte, to net.Addr) (int, error) {
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return 0, &net.OpError{Op: "write", Net: "udp", Err: net.ErrClosed}
	}
	s.network.mu.Lock()
	peer, deaf := s.network.sockets[to.String()], s.network.deaf[to.String()]
	s.network.mu.Unlock()
	link, way := s.route(peer)
	due, ok := link.packet(way)
	if ok && peer != nil && !deaf && !s.host.isDown() {
		peer.receive(packet{due: due, data: append([]byte(nil), b...), from: s.addr, link: link, way: way})
	}
	return len(b), nil
}

// route is the link that leads to another socket, and which way along it.
func (s *socket) route(to *socket) (*Link, Direction) {
	if s.host == nil || to == nil || to.host == nil {
		return s.network.link, s.up
	}
	s.network.mu.Lock()
	defer s.network.mu.Unlock()
	return s.network.pathLocked(s.host.name, to.host.name)
}

func (s *socket) receive(p packet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	if len(s.arrived) >= socketBuffer {
		p.link.overflow(p.way)
		return
	}
	s.count++
	p.order = s.count
	s.arrived.add(p)
	s.wakeLocked()
}

func (s *socket) wakeLocked() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// ReadFrom implements net.PacketConn.
func (s *socket) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		p, changed, next, err := s.take()
		switch {
		case err != nil:
			return 0, nil, &net.OpError{Op: "read", Net: "udp", Source: s.addr, Err: err}
		case p.from == nil:
			waitFor(changed, next)
		case p.link.arrives(p.way, len(p.data)):
			return copy(b, p.data), p.from, nil
		}
	}
}

// take takes a packet that is due, or says until when to wait for something to change.
func (s *socket) take() (p packet, changed chan struct{}, next time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return p, nil, next, net.ErrClosed
	case passed(s.readBy):
		return p, nil, next, os.ErrDeadlineExceeded
	case len(s.arrived) == 0:
		return p, s.changed, s.readBy, nil
	case passed(s.arrived[0].due):
		return s.arrived.first(), nil, next, nil
	}
	return p, s.changed, earliest(s.readBy, s.arrived[0].due), nil
}

// Close implements net.PacketConn.
func (s *socket) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return &net.OpError{Op: "close", Net: "udp", Err: net.ErrClosed}
	}
	s.closed = true
	s.wakeLocked()
	s.mu.Unlock()
	s.network.mu.Lock()
	defer s.network.mu.Unlock()
	s.network.forgetLocked(s)
	return nil
}

// forgetLocked has nobody find a socket any more.
func (n *Network) forgetLocked(s *socket) {
	for _, name := range []string{s.addr.String(), s.name} {
		if n.sockets[name] == s {
			delete(n.sockets, name)
		}
	}
}

// LocalAddr implements net.PacketConn.
func (s *socket) LocalAddr() net.Addr { return s.addr }

// SetDeadline implements net.PacketConn. Writing never waits.
func (s *socket) SetDeadline(t time.Time) error { return s.SetReadDeadline(t) }

// SetReadDeadline implements net.PacketConn.
func (s *socket) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readBy = t
	s.wakeLocked()
	return nil
}

// SetWriteDeadline implements net.PacketConn. Writing never waits.
func (s *socket) SetWriteDeadline(time.Time) error { return nil }
