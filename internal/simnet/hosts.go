package simnet

import (
	"context"
	"hash/fnv"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"
)

// A Host is a machine on a Network, from when it is started until it goes down; after that another one may have its name. Between any two hosts
// there is a path of its own, whatever connections use it and whoever dialled.
type Host struct {
	network *Network
	name    string
	ip      net.IP // of connections, of this host only
	packets net.IP // of packets, of all hosts of the name

	mu        sync.Mutex // guards what follows
	down      bool
	listeners []*listener
	sockets   []*socket
}

// path joins two hosts, whose names are in order.
type path struct{ a, b string }

// Host starts a machine. Its listeners and diallers are found by its name.
func (n *Network) Host(name string) *Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lastHost++
	h := &Host{network: n, name: name, ip: hostAddress(n.lastHost), packets: hostAddress(n.lastHost)}
	if former := n.hosts[name]; former != nil {
		h.packets = former.packets
	}
	n.hosts[name] = h
	return h
}

// LookupHost is the address for packets to hosts with a name; false: there was none yet.
func (n *Network) LookupHost(name string) (netip.Addr, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if h := n.hosts[name]; h != nil {
		return netip.AddrFrom4([4]byte(h.packets.To4())), true
	}
	return netip.Addr{}, false
}

// Path is the link between two hosts, by their names; Up leads from the name that sorts first to the other one. It begins with the faults of the
// network's own link.
func (n *Network) Path(a, b string) *Link {
	n.mu.Lock()
	defer n.mu.Unlock()
	l, _ := n.pathLocked(a, b)
	return l
}

// pathLocked is the link between two hosts, and which way along it leads from the first to the second.
func (n *Network) pathLocked(from, to string) (*Link, Direction) {
	key, way := path{from, to}, Up
	if to < from {
		key, way = path{to, from}, Down
	}
	l := n.paths[key]
	if l == nil {
		sum := fnv.New64a()
		_, _ = sum.Write([]byte(key.a + " " + key.b))
		l = NewLink(sum.Sum64(), n.link.known())
		n.paths[key] = l
	}
	return l, way
}

// routeLocked is the link that leads from a host to an address. Who is no host, and what is at none, has the network's own.
func (n *Network) routeLocked(from *Host, address string) (*Link, Direction) {
	to, _, err := net.SplitHostPort(address)
	if l := n.listeners[address]; l != nil && l.host != nil {
		to = l.host.name
	}
	if from == nil || err != nil {
		return n.link, Up
	}
	return n.pathLocked(from.name, to)
}

// BlackoutOneWay lets nothing pass from one host to another for this long from now, and returns when that will be over.
func (n *Network) BlackoutOneWay(from, to string, d time.Duration) time.Time {
	n.mu.Lock()
	l, way := n.pathLocked(from, to)
	n.mu.Unlock()
	return l.BlackoutOneWay(way, d)
}

// Name is the host's.
func (h *Host) Name() string { return h.name }

// Listen opens a port of this host.
func (h *Host) Listen(port string) (net.Listener, error) {
	if h.isDown() {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Err: syscall.ENETDOWN}
	}
	opened, err := h.network.listen(net.JoinHostPort(h.name, port), h)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.listeners = append(h.listeners, opened.(*listener))
	return opened, nil
}

// DialContext connects from this host to an address of another.
func (h *Host) DialContext(ctx context.Context, _, address string) (net.Conn, error) {
	if h.isDown() {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ENETDOWN}
	}
	return h.network.dial(ctx, h, address)
}

// ListenPacket opens a UDP port of this host, for one who dials.
func (h *Host) ListenPacket(context.Context) (net.PacketConn, error) { return h.listenPacket(0, Up) }

// ListenUDP opens a UDP port of this host.
func (h *Host) ListenUDP(port int) (net.PacketConn, error) { return h.listenPacket(port, Down) }

func (h *Host) listenPacket(port int, way Direction) (net.PacketConn, error) {
	fail := func(err error) (net.PacketConn, error) {
		return nil, &net.OpError{Op: "listen", Net: "udp", Err: err}
	}
	n := h.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if port == 0 {
		n.lastPort++
		port = n.lastPort
	}
	at := &net.UDPAddr{IP: h.packets, Port: port}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.down:
		return fail(syscall.ENETDOWN)
	case n.sockets[at.String()] != nil:
		return fail(syscall.EADDRINUSE)
	}
	s := n.socketLocked(at, "", way, h)
	h.sockets = append(h.sockets, s)
	return s, nil
}

// Down takes the host off the network for ever: its connections end in a way, nobody listens at its name any more, and it can't dial.
// Reset is a process that was killed, Silence a machine without power.
func (h *Host) Down(how Cut) {
	h.mu.Lock()
	h.down = true
	gone, silent := h.listeners, h.sockets
	h.listeners, h.sockets = nil, nil
	h.mu.Unlock()
	n := h.network
	n.mu.Lock()
	for _, l := range gone {
		for _, name := range l.names {
			if n.listeners[name] == l {
				delete(n.listeners, name)
			}
		}
	}
	for _, s := range silent {
		n.forgetLocked(s)
	}
	n.mu.Unlock()
	dialled, accepted := how, how
	if how == Silence { // the host's own ends end with it; only the others learn nothing
		dialled, accepted = ResetDialer, ResetListener
	}
	n.CutSome(dialled, func(c net.Conn) bool { return h.has(c.LocalAddr()) })
	n.CutSome(accepted, func(c net.Conn) bool {
		return slices.ContainsFunc(gone, func(l *listener) bool { return c.RemoteAddr() == net.Addr(l.addr) })
	})
}

func (h *Host) has(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.Equal(h.ip)
}

// isDown also answers for who is no host, who is always there.
func (h *Host) isDown() bool {
	if h == nil {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.down
}
