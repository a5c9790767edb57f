package quicport

import (
	"net"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"teamtalk/gateway/transport"
	"teamtalk/protocol"
)

// closeConn ends a connection, with the code that says why [TT-QUIC-6]. The second time it does nothing.
func closeConn(qc *quic.Conn, code protocol.Code) {
	_ = qc.CloseWithError(quic.ApplicationErrorCode(code), code.String()) // has no errors to tell
}

// conn is a native connection: PDUs on the session stream.
type conn struct {
	transport.Conn // over str
	str            *sessionStream
	flush          time.Duration

	user atomic.Uint32 // whose session it is; 0: not logged in
	bulk atomic.Int32  // streams beside it
}

// LoggedIn lets the client open streams beside the session.
func (c *conn) LoggedIn(u protocol.UserID) { c.user.Store(uint32(u)) }

func newConn(qc *quic.Conn, str *quic.Stream, flush time.Duration) *conn {
	s := &sessionStream{Stream: str, qc: qc}
	return &conn{Conn: transport.NewStream(s, transport.KindQUIC), str: s, flush: flush}
}

// Close ends the connection. Unlike TCP, QUIC then forgets what has not arrived or has not been read. So a client that has ended its side, and may
// be waiting for its last answers, gets the end of the stream first; the connection is closed when the client has closed it, which it does when it has
// read the end, or a time later [TT-QUIC-6].
func (c *conn) Close(code protocol.Code) error {
	first, inOrder := c.str.close()
	switch {
	case !first:
		return net.ErrClosed
	case !inOrder:
		closeConn(c.str.qc, code)
	default:
		time.AfterFunc(c.flush, func() { closeConn(c.str.qc, code) })
	}
	return nil
}

// sessionStream is the session stream as a net.Conn. Its Close is not used: it closes with a code.
type sessionStream struct {
	*quic.Stream
	qc    *quic.Conn
	stray func(*quic.Conn) // looks after the other streams, at every Read; nil: nothing to do
	end   ending
}

// Read takes a client that closes the connection for one that ends the stream: on other transports both look alike.
func (s *sessionStream) Read(b []byte) (int, error) {
	n, err := s.Stream.Read(b)
	if s.stray != nil {
		s.stray(s.qc)
	}
	return n, s.end.read(err)
}

func (s *sessionStream) Write(b []byte) (int, error) {
	if err := s.end.beginWrite(); err != nil {
		return 0, err
	}
	n, err := s.Stream.Write(b)
	return n, s.end.endWrite(err, s.Stream.Close)
}

// CloseWrite sends the end of the stream; behind a Write under way, which QUIC does not allow at the same time.
func (s *sessionStream) CloseWrite() error { return s.end.closeWrite(s.Stream.Close) }

func (s *sessionStream) close() (first, inOrder bool) {
	return s.end.close(s.qc.Context().Err() != nil, s.Stream.Close)
}

func (s *sessionStream) LocalAddr() net.Addr { return s.qc.LocalAddr() }

// RemoteAddr is that of the path in use, which follows the client [TT-QUIC-5].
func (s *sessionStream) RemoteAddr() net.Addr { return s.qc.RemoteAddr() }
