package quicport

import (
	"errors"
	"io"
	"net"
	"sync"
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
}

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

// sessionStream is the session stream as a net.Conn, which remembers how far it has come to its end. Its Close is not used: it closes with a code.
type sessionStream struct {
	*quic.Stream
	qc    *quic.Conn
	stray func(*quic.Conn) // looks after the other streams, at every Read; nil: nothing to do

	mu      sync.Mutex // guards what follows
	writing bool       // a Write is under way
	broken  bool       // a Write failed: what the client has is not whole
	fin     bool       // the end has been sent, or will be by the Write under way
	ended   bool       // the client's end has been read
	closed  bool
}

// Read takes a client that closes the connection for one that ends the stream: on other transports both look alike.
func (s *sessionStream) Read(b []byte) (int, error) {
	n, err := s.Stream.Read(b)
	if s.stray != nil {
		s.stray(s.qc)
	}
	if err == nil {
		return n, nil
	}
	if app, ok := errors.AsType[*quic.ApplicationError](err); ok && app.Remote {
		err = io.EOF
	}
	if errors.Is(err, io.EOF) {
		s.mu.Lock()
		s.ended = true
		s.mu.Unlock()
	}
	return n, err
}

func (s *sessionStream) Write(b []byte) (int, error) {
	s.mu.Lock()
	if s.closed || s.fin {
		s.mu.Unlock()
		return 0, net.ErrClosed
	}
	s.writing = true
	s.mu.Unlock()

	n, err := s.Stream.Write(b)

	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing = false
	if err != nil {
		s.broken = true
	}
	if s.fin && !s.broken {
		return n, errors.Join(err, s.Stream.Close())
	}
	return n, err
}

// CloseWrite sends the end of the stream; behind a Write under way, which QUIC does not allow at the same time.
func (s *sessionStream) CloseWrite() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	if s.fin {
		return nil
	}
	s.fin = true
	if s.writing {
		return nil
	}
	return s.Stream.Close()
}

// close reports whether it is called for the first time, and whether both sides have ended the stream with nothing missing.
func (s *sessionStream) close() (first, inOrder bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false, false
	}
	s.closed = true
	if !s.ended || s.writing || s.broken || s.qc.Context().Err() != nil {
		return true, false
	}
	return true, s.fin || s.Stream.Close() == nil
}

func (s *sessionStream) LocalAddr() net.Addr { return s.qc.LocalAddr() }

// RemoteAddr is that of the path in use, which follows the client [TT-QUIC-5].
func (s *sessionStream) RemoteAddr() net.Addr { return s.qc.RemoteAddr() }
