package simnet

import (
	"context"
	"net"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Network is a network in memory. It has no goroutines; in a synctest bubble its delays are virtual.
type Network struct {
	link *Link

	mu        sync.Mutex // guards all below
	listeners map[string]*listener
	sockets   map[string]*socket
	conns     []*conn // of those who dialled, in the order in which they did
	lastPort  int
	lastHost  int
	deaf      map[string]bool
	paths     map[path]*Link // between hosts
	hosts     map[string]*Host
}

// NewNetwork makes a network all of whose connections go over this link. Streams lose nothing on it, datagrams do.
func NewNetwork(l *Link) *Network {
	return &Network{link: l, listeners: map[string]*listener{}, sockets: map[string]*socket{}, deaf: map[string]bool{},
		paths: map[path]*Link{}, hosts: map[string]*Host{}, lastPort: 40_000}
}

// listenPort is below those that a listener who asks for port 0 gets.
const listenPort = 20_000

// Listen opens a port of a made-up address: "chat.example:443", or with port 0 any. The listener's own address is numeric; both can be dialled.
func (n *Network) Listen(address string) (net.Listener, error) { return n.listen(address, nil) }

func (n *Network) listen(address string, at *Host) (net.Listener, error) {
	host, port, err := splitAddress(address)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lastHost++
	if port == 0 {
		port = listenPort + n.lastHost
		address = net.JoinHostPort(host, strconv.Itoa(port))
	}
	if n.listeners[address] != nil {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Err: syscall.EADDRINUSE}
	}
	own := &net.TCPAddr{IP: hostAddress(n.lastHost), Port: port}
	l := &listener{network: n, host: at, addr: own, names: []string{address, own.String()}, fresh: make(chan struct{}, 1), closed: make(chan struct{})}
	for _, name := range l.names {
		n.listeners[name] = l
	}
	return l, nil
}

// hostAddress is an address of the range that is meant for measuring networks.
func hostAddress(host int) net.IP { return net.IPv4(198, 18, byte(host>>8), byte(host)) }

func splitAddress(address string) (host string, port int, err error) {
	host, digits, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	port, err = strconv.Atoi(digits)
	return host, port, err
}

// DialContext connects to a listener's address; it takes a round trip. Nobody listening is a refusal; a deaf address never answers.
func (n *Network) DialContext(ctx context.Context, _, address string) (net.Conn, error) {
	return n.dial(ctx, nil, address)
}

func (n *Network) dial(ctx context.Context, from *Host, address string) (net.Conn, error) {
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
	}
	n.mu.Lock()
	deaf := n.deaf[address]
	link, way := n.routeLocked(from, address)
	n.mu.Unlock()
	if deaf {
		<-ctx.Done()
		return fail(ctx.Err())
	}
	if err := travel(ctx, link, way); err != nil {
		return fail(err)
	}
	dialled := n.connect(from, address, link, way)
	if err := travel(ctx, link, 1-way); err != nil {
		if dialled != nil {
			_ = dialled.Close()
		}
		return fail(err)
	}
	if dialled == nil {
		return fail(syscall.ECONNREFUSED)
	}
	return dialled, nil
}

// travel takes as long as a byte one way.
func travel(ctx context.Context, link *Link, d Direction) error {
	sent := time.Now()
	due := link.stream(d, sent, 1)
	for arrived := false; !arrived; {
		if err := until(ctx, due); err != nil {
			return err
		}
		due, arrived = link.streamArrives(d, sent, 1)
	}
	return nil
}

// connect puts a connection into the queue of who listens at an address; nil if nobody does, or his queue is full.
func (n *Network) connect(from *Host, address string, link *Link, way Direction) *conn {
	n.mu.Lock()
	l, source := n.listeners[address], hostAddress(0)
	if from != nil {
		source = from.ip
	}
	n.lastPort++
	client := &net.TCPAddr{IP: source, Port: n.lastPort}
	n.mu.Unlock()
	if l == nil || from.isDown() {
		return nil
	}
	dialled, accepted := pair(link, way, client, l.addr)
	if !l.queue(accepted) {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns = slices.DeleteFunc(n.conns, (*conn).over)
	n.conns = append(n.conns, dialled)
	return dialled
}

// SetDeaf makes an address answer nothing to new connections, as behind a firewall that drops, or lets it answer again.
func (n *Network) SetDeaf(address string, deaf bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.deaf[address] = deaf
}

// Cut ends all connections of this moment in a way, and returns how many there were. What is on its way is lost.
func (n *Network) Cut(how Cut) int { return n.CutSome(how, func(net.Conn) bool { return true }) }

// CutSome cuts the connections of which which is true; it is asked with the end of the one who dialled.
func (n *Network) CutSome(how Cut, which func(net.Conn) bool) int {
	n.mu.Lock()
	open := slices.Clone(slices.DeleteFunc(n.conns, (*conn).over))
	n.conns = slices.Clone(open)
	n.mu.Unlock()
	cut := 0
	for _, c := range open {
		if which(c) {
			c.cut(how)
			cut++
		}
	}
	return cut
}

// backlog is how many connections may wait for Accept.
const backlog = 1024

// A listener is a port of a Network.
type listener struct {
	network *Network
	host    *Host // nil: none in particular
	addr    *net.TCPAddr
	names   []string
	fresh   chan struct{} // holds one token when a connection may be waiting
	closed  chan struct{}

	mu      sync.Mutex // guards all below
	waiting []*conn
	ended   bool
}

func (l *listener) queue(c *conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended || len(l.waiting) >= backlog {
		return false
	}
	l.waiting = append(l.waiting, c)
	l.wake()
	return true
}

func (l *listener) wake() {
	select {
	case l.fresh <- struct{}{}:
	default:
	}
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	for {
		if c := l.take(); c != nil {
			return c, nil
		}
		select {
		case <-l.fresh:
		case <-l.closed:
			return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.addr, Err: net.ErrClosed}
		}
	}
}

func (l *listener) take() *conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 || l.ended {
		return nil
	}
	c := l.waiting[0]
	l.waiting = l.waiting[1:]
	if len(l.waiting) > 0 {
		l.wake() // several may be in Accept
	}
	return c
}

// Close implements net.Listener. Connections that nobody has accepted are reset.
func (l *listener) Close() error {
	l.mu.Lock()
	if l.ended {
		l.mu.Unlock()
		return &net.OpError{Op: "close", Net: "tcp", Addr: l.addr, Err: net.ErrClosed}
	}
	l.ended = true
	rest := l.waiting
	l.waiting = nil
	close(l.closed)
	l.mu.Unlock()
	for _, c := range rest {
		c.cut(Reset)
	}
	l.network.mu.Lock()
	defer l.network.mu.Unlock()
	for _, name := range l.names {
		if l.network.listeners[name] == l {
			delete(l.network.listeners, name)
		}
	}
	return nil
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return l.addr }
