package tlsport

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"teamtalk/gateway/transport"
	"teamtalk/protocol"
)

// goodbyeTime is what the last record of TLS, which says that this is the end, may take. Closing is done by whoever finds the reason to, and
// must not wait for a client that takes nothing.
const goodbyeTime = 50 * time.Millisecond

// conn is a native connection over TLS. It says goodbye so that the client can tell an end from a broken network. [TT-TLS-3]
type conn struct {
	transport.Conn
	wire *wire
}

// Close closes the connection; the client sees the end of the stream.
func (c *conn) Close(code protocol.Code) error {
	c.wire.hasten()
	return c.Conn.Close(code)
}

// wire is the TCP connection below TLS.
type wire struct {
	net.Conn
	hasty atomic.Bool
}

// hasten bounds what crypto/tls spends on its goodbye, which is 5 s.
func (w *wire) hasten() { w.hasty.Store(true) }

// SetWriteDeadline sets the deadline, or an earlier one when there is haste.
func (w *wire) SetWriteDeadline(t time.Time) error {
	if w.hasty.Load() {
		if soon := time.Now().Add(goodbyeTime); t.IsZero() || t.After(soon) {
			t = soon
		}
	}
	return w.Conn.SetWriteDeadline(t)
}

// httpListener hands connections to an http.Server.
type httpListener struct {
	port   *transport.Listener
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

// give hands a connection over; false: nobody takes it any more.
func (l *httpListener) give(nc net.Conn) bool {
	select {
	case l.conns <- nc:
		return true
	case <-l.closed:
		return false
	}
}

// Accept waits for a connection whose handshake is done.
func (l *httpListener) Accept() (net.Conn, error) {
	select {
	case nc := <-l.conns:
		return nc, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close closes the port.
func (l *httpListener) Close() error {
	err := net.ErrClosed
	l.once.Do(func() {
		close(l.closed)
		err = l.port.Close()
	})
	return err
}

// Addr is the port's address.
func (l *httpListener) Addr() net.Addr { return l.port.Addr() }
