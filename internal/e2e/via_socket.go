package e2e

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/coder/websocket"
)

// socket is a WebSocket as a byte stream.
type socket struct {
	deadline
	conn  *websocket.Conn
	http  *http.Transport
	life  context.Context
	end   context.CancelFunc
	whole wholePDUs
	rest  []byte // of the message read last
}

func dialSocket(ctx context.Context, url string, conf *tls.Config) (wire, error) {
	transport := &http.Transport{TLSClientConfig: conf}
	conn, resp, err := websocket.Dial(ctx, url, &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport}, Subprotocols: []string{"teamtalk.v1"}})
	if err != nil {
		return nil, err
	}
	if resp.Body != nil {
		_ = resp.Body.Close() // the library keeps the connection; this is nothing
	}
	conn.SetReadLimit(64 << 20)
	s := &socket{conn: conn, http: transport}
	s.life, s.end = context.WithCancel(context.Background())
	return s, nil
}

// Read takes the PDUs of the next message when those before are used up. Any close by the server is the end.
func (s *socket) Read(b []byte) (int, error) {
	for len(s.rest) == 0 {
		_, message, err := s.conn.Read(s.life)
		if closed := (websocket.CloseError{}); errors.As(err, &closed) {
			return 0, io.EOF
		}
		if err != nil {
			return 0, err
		}
		s.rest = message
	}
	n := copy(b, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// Write sends a message of the PDUs that are whole.
func (s *socket) Write(b []byte) (int, error) {
	ready := s.whole.add(b)
	if len(ready) == 0 {
		return len(b), nil
	}
	ctx, cancel := s.context(s.life)
	defer cancel()
	if err := s.conn.Write(ctx, websocket.MessageBinary, ready); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Close says goodbye, and breaks the connection if the server does not answer.
func (s *socket) Close() error {
	defer s.http.CloseIdleConnections()
	defer s.end()
	given := time.AfterFunc(leaveTime, func() { _ = s.conn.CloseNow() })
	defer given.Stop()
	return s.conn.Close(websocket.StatusNormalClosure, "")
}
