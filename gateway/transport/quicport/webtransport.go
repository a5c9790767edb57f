package quicport

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/quic-go/webtransport-go"

	"teamtalk/gateway/transport"
	"teamtalk/protocol"
)

// webTransportPath is where browsers open a WebTransport session [TT-WT-1].
const webTransportPath = "/wt"

// upgrade makes a session of a CONNECT request and hands it over as a connection when its stream is there.
func (w *web) upgrade(rw http.ResponseWriter, r *http.Request) {
	switch {
	case w.handle == nil || w.requests.isClosing():
		http.Error(rw, "shutting down", http.StatusServiceUnavailable)
		return
	case !transport.OriginAllowed(r, w.origins): // [TT-WT-1]
		http.Error(rw, "this origin may not connect", http.StatusForbidden)
		return
	}
	s, err := w.server.Upgrade(rw, r)
	if err != nil {
		w.log.Debug("no WebTransport session", "remote", r.RemoteAddr, "error", err)
		rw.WriteHeader(http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(s.Context(), w.timing.FirstStream)
	str, err := s.AcceptStream(ctx)
	cancel()
	if err != nil {
		endWebSession(s, protocol.CodeUnauthenticated)
		return
	}
	if c := newWebConn(s, str, w.timing.Flush); w.sessions.Spawn(c, w.handle) {
		w.refuseWebStreams(s)
	}
}

// refuseWebStreams resets what a page opens beside its stream, until the session ends [TT-WT-2].
func (w *web) refuseWebStreams(s *webtransport.Session) {
	for {
		str, err := s.AcceptStream(s.Context())
		if err != nil {
			return
		}
		str.CancelRead(webtransport.StreamErrorCode(protocol.CodeForbidden))
		str.CancelWrite(webtransport.StreamErrorCode(protocol.CodeForbidden))
	}
}

// endWebSession ends a session, with the code that says why [TT-WT-3]. The second time it does nothing.
func endWebSession(s *webtransport.Session, code protocol.Code) {
	_ = s.CloseWithError(webtransport.SessionErrorCode(code), code.String()) // has no errors to tell
}

// webConn is a session of WebTransport: PDUs on its first stream.
type webConn struct {
	transport.Conn // over the stream
	stream         *webStream
	flush          time.Duration
}

func newWebConn(s *webtransport.Session, str *webtransport.Stream, flush time.Duration) *webConn {
	ws := &webStream{Stream: str, session: s}
	return &webConn{Conn: transport.NewStream(ws, transport.KindWebTransport), stream: ws, flush: flush}
}

// Close ends the session, and with it what has not arrived: a page that has ended its side gets the end of the stream first, and a time to read it.
func (c *webConn) Close(code protocol.Code) error {
	first, inOrder := c.stream.close()
	switch {
	case !first:
		return net.ErrClosed
	case !inOrder:
		endWebSession(c.stream.session, code)
	default:
		time.AfterFunc(c.flush, func() { endWebSession(c.stream.session, code) })
	}
	return nil
}

// webStream is the stream as a net.Conn. Its Close is not used: sessions are closed with a code.
type webStream struct {
	*webtransport.Stream
	session *webtransport.Session
	end     ending
}

// Read takes a page that closes the session for one that ends the stream: on other transports both look alike.
func (s *webStream) Read(b []byte) (int, error) {
	n, err := s.Stream.Read(b)
	return n, s.end.read(err)
}

func (s *webStream) Write(b []byte) (int, error) {
	if err := s.end.beginWrite(); err != nil {
		return 0, err
	}
	n, err := s.Stream.Write(b)
	return n, s.end.endWrite(err, s.Stream.Close)
}

// CloseWrite sends the end of the stream, behind a Write under way.
func (s *webStream) CloseWrite() error { return s.end.closeWrite(s.Stream.Close) }

func (s *webStream) close() (first, inOrder bool) {
	return s.end.close(s.session.Context().Err() != nil, s.Stream.Close)
}

func (s *webStream) LocalAddr() net.Addr { return s.session.LocalAddr() }

// RemoteAddr is that of the path in use, which follows the page's device [TT-QUIC-5].
func (s *webStream) RemoteAddr() net.Addr { return s.session.RemoteAddr() }
