package transport

import (
	"bufio"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	proxyproto "github.com/pires/go-proxyproto"
)

// proxyHeaderTime is how long a trusted proxy has to say whom it speaks for; after a client's own first bytes nobody waits any more.
const proxyHeaderTime = 10 * time.Second

// doorman takes the connections of a port and has those of trusted proxies say first whom they speak for (the PROXY protocol, version 1 or 2),
// beside the others, so that a silent one holds nobody up.
type doorman struct {
	l        *Listener
	trusted  func(netip.Addr) bool
	admitted chan net.Conn

	reading sync.WaitGroup // run, and those that read a header

	mu      sync.Mutex // guards what follows
	waiting map[net.Conn]struct{}
	closed  bool
}

func newDoorman(l *Listener, trusted func(netip.Addr) bool) *doorman {
	d := &doorman{l: l, trusted: trusted, admitted: make(chan net.Conn), waiting: make(map[net.Conn]struct{})}
	d.reading.Go(d.run) // ends when the port is closed; joined by close
	return d
}

func (d *doorman) run() {
	for {
		nc, err := d.l.acceptDirect()
		if err != nil {
			return
		}
		if !d.trusted(addressOf(nc.RemoteAddr())) {
			d.hand(nc)
			continue
		}
		if !d.note(nc) {
			d.drop(nc, net.ErrClosed)
			return
		}
		d.reading.Go(func() { // ends with the header, which has a deadline; joined by close
			proxied, err := readProxyHeader(nc)
			d.forget(nc)
			if err != nil {
				d.drop(nc, err)
				return
			}
			d.hand(proxied)
		})
	}
}

func (d *doorman) hand(nc net.Conn) {
	select {
	case d.admitted <- nc:
	case <-d.l.quit:
		d.drop(nc, net.ErrClosed)
	}
}

func (d *doorman) drop(nc net.Conn, why error) {
	if !errors.Is(why, net.ErrClosed) {
		d.l.badProxy.Inc()
		d.l.log.Warn("a trusted proxy did not say whom it speaks for", "proxy", nc.RemoteAddr(), "error", why)
	}
	_ = nc.Close() // nothing was read from it or written
}

func (d *doorman) note(nc net.Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	d.waiting[nc] = struct{}{}
	return true
}

func (d *doorman) forget(nc net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.waiting, nc)
}

// close ends what still waits for a header; the port is closed already.
func (d *doorman) close() {
	d.mu.Lock()
	d.closed = true
	for nc := range d.waiting {
		_ = nc.SetReadDeadline(time.Unix(1, 0)) // whoever reads the header closes it
	}
	d.mu.Unlock()
	d.reading.Wait()
}

// readProxyHeader reads a header if there is one: a proxy may also send none, as one does that speaks HTTP.
func readProxyHeader(nc net.Conn) (net.Conn, error) {
	if err := nc.SetReadDeadline(time.Now().Add(proxyHeaderTime)); err != nil {
		return nil, err
	}
	r := bufio.NewReader(nc)
	header, err := proxyproto.Read(r)
	if err != nil && !errors.Is(err, proxyproto.ErrNoProxyProtocol) {
		return nil, err
	}
	if err := nc.SetReadDeadline(time.Time{}); err != nil {
		return nil, err
	}
	p := &proxiedConn{Conn: nc, unread: r, remote: nc.RemoteAddr()}
	if header != nil && header.Command.IsProxy() && header.SourceAddr != nil {
		p.remote = header.SourceAddr
	}
	return p, nil
}

// proxiedConn is a connection that a proxy made for a client.
type proxiedConn struct {
	net.Conn
	remote net.Addr
	unread *bufio.Reader // what came with the header; nil: nothing more
}

// Read gives first what came together with the header.
func (c *proxiedConn) Read(b []byte) (int, error) {
	if c.unread == nil {
		return c.Conn.Read(b)
	}
	if c.unread.Buffered() == 0 {
		c.unread = nil
		return c.Conn.Read(b)
	}
	return c.unread.Read(b)
}

// RemoteAddr is the client's address.
func (c *proxiedConn) RemoteAddr() net.Addr { return c.remote }

// CloseWrite ends this side, as the connection below does.
func (c *proxiedConn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return errors.ErrUnsupported
}

func addressOf(a net.Addr) netip.Addr {
	if at, err := netip.ParseAddrPort(a.String()); err == nil {
		return at.Addr().Unmap()
	}
	return netip.Addr{}
}
