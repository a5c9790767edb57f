package quicport

import (
	"net"

	"github.com/quic-go/quic-go"

	"teamtalk/gateway/transport"
	"teamtalk/protocol"
)

// bulk is a stream beside a session: PDUs back to back [TT-FILE-12].
type bulk struct {
	transport.Conn // over str
	str            *bulkStream
}

func newBulk(qc *quic.Conn, str *quic.Stream) *bulk {
	s := &bulkStream{Stream: str, qc: qc}
	return &bulk{Conn: transport.NewStream(s, transport.KindQUIC), str: s}
}

// Close ends the stream, and leaves the session alone. What has been ended with CloseWrite still arrives; anything else is reset, with the code that says why.
func (b *bulk) Close(code protocol.Code) error {
	first, inOrder := b.str.end.close(b.str.qc.Context().Err() != nil, b.str.Stream.Close)
	if !first {
		return net.ErrClosed
	}
	b.str.CancelRead(quic.StreamErrorCode(code))
	if !inOrder && !b.str.whole() {
		b.str.CancelWrite(quic.StreamErrorCode(code))
	}
	return nil
}

// bulkStream is the stream as a net.Conn. Its Close is not used: it closes with a code.
type bulkStream struct {
	*quic.Stream
	qc  *quic.Conn
	end ending
}

func (s *bulkStream) Read(b []byte) (int, error) {
	n, err := s.Stream.Read(b)
	return n, s.end.read(err)
}

func (s *bulkStream) Write(b []byte) (int, error) {
	if err := s.end.beginWrite(); err != nil {
		return 0, err
	}
	n, err := s.Stream.Write(b)
	return n, s.end.endWrite(err, s.Stream.Close)
}

// CloseWrite sends the end of the stream, behind a Write under way.
func (s *bulkStream) CloseWrite() error { return s.end.closeWrite(s.Stream.Close) }

// whole reports whether the end has been sent behind all that was written.
func (s *bulkStream) whole() bool {
	s.end.mu.Lock()
	defer s.end.mu.Unlock()
	return s.end.fin && !s.end.writing && !s.end.broken
}

func (s *bulkStream) LocalAddr() net.Addr { return s.qc.LocalAddr() }

// RemoteAddr is that of the path in use [TT-QUIC-5].
func (s *bulkStream) RemoteAddr() net.Addr { return s.qc.RemoteAddr() }
