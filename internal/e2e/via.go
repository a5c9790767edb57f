package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"teamtalk/client/dial"
	"teamtalk/protocol"
	"teamtalk/protocol/pdu"
)

// Via names what a connection goes by.
type Via string

// What there is to go by.
const (
	ViaTCP           Via = "tcp"
	ViaTLS           Via = "tls"
	ViaWebSocket     Via = "ws"
	ViaWebSocketTLS  Via = "wss"
	ViaLongPoll      Via = "lp"  // HTTP/1.1
	ViaLongPollTLS   Via = "lps" // HTTP/2
	ViaLongPollHTTP3 Via = "lp3"
	ViaQUIC          Via = "quic"
)

// Transports are all of them.
func Transports() []Via {
	return []Via{ViaTCP, ViaTLS, ViaWebSocket, ViaWebSocketTLS, ViaLongPoll, ViaLongPollTLS, ViaLongPollHTTP3, ViaQUIC}
}

func viaNamed(name string) (Via, error) {
	if v := Via(name); slices.Contains(Transports(), v) {
		return v, nil
	}
	return "", fmt.Errorf("%q is no transport: %v", name, Transports())
}

// wire is a byte stream of PDUs, whatever carries it. Read returns io.EOF when the server closed it. Several may call Write; Read is one
// goroutine's.
type wire interface {
	io.ReadWriteCloser
	SetWriteDeadline(t time.Time) error
}

// Dial connects to the server's chat port of a transport.
func (s *Server) Dial(ctx context.Context, via Via) (*Client, error) {
	w, err := s.dial(ctx, via)
	if err != nil {
		return nil, fmt.Errorf("via %s: %w", via, err)
	}
	return newClient(w), nil
}

func (s *Server) dial(ctx context.Context, via Via) (wire, error) {
	if via == ViaTCP {
		return new(net.Dialer).DialContext(ctx, "tcp", s.Addr.TCP)
	}
	conf, err := s.trust()
	if err != nil {
		return nil, err
	}
	if via == ViaLongPollHTTP3 { // the client library has no such transport: where UDP passes, QUIC does
		return dialPolls(ctx, s.Addr.QUIC, conf)
	}
	route, ok := map[Via]dial.Route{
		ViaTLS:          {Transport: dial.TLS, URL: "tls://" + s.Addr.TLS},
		ViaQUIC:         {Transport: dial.QUIC, URL: "quic://" + s.Addr.QUIC},
		ViaWebSocket:    {Transport: dial.WebSocket, URL: "ws://" + s.Addr.HTTP + "/ws", Plain: true},
		ViaWebSocketTLS: {Transport: dial.WebSocket, URL: "wss://" + s.Addr.TLS + "/ws"},
		ViaLongPoll:     {Transport: dial.LongPoll, URL: "http://" + s.Addr.HTTP + "/lp", Plain: true},
		ViaLongPollTLS:  {Transport: dial.LongPoll, URL: "https://" + s.Addr.TLS + "/lp"},
	}[via]
	if !ok {
		return nil, errors.New("no such transport")
	}
	conn, err := dial.DialRoute(ctx, route, dial.Options{TLS: conf, AllowPlain: true, Log: slog.New(slog.DiscardHandler),
		Proxy: func(*url.URL) (*url.URL, error) { return nil, nil }})
	if err != nil {
		return nil, err
	}
	w := &dialed{conn: conn}
	if via != ViaTLS && via != ViaQUIC {
		w.whole = &wholePDUs{}
	}
	return w, nil
}

// dialed is a connection of the client library as a byte stream, so that a script can send what no client would.
type dialed struct {
	conn  dial.Conn
	whole *wholePDUs // of transports that carry nothing less
	rest  []byte     // of the PDU read last
}

// Read takes the bytes of the next PDU when those before are used up. That the server ended the connection is io.EOF, whatever reason it gave.
func (d *dialed) Read(b []byte) (int, error) {
	if len(d.rest) == 0 {
		p, err := d.conn.Read()
		if closed := (*dial.CloseError)(nil); errors.As(err, &closed) {
			return 0, io.EOF
		}
		if err != nil {
			return 0, err
		}
		d.rest = pdu.AppendRaw(d.rest, p.Header, p.Body)
	}
	n := copy(b, d.rest)
	d.rest = d.rest[n:]
	return n, nil
}

// Write sends bytes as they are, or the PDUs that are whole.
func (d *dialed) Write(b []byte) (int, error) {
	ready := b
	if d.whole != nil {
		ready = d.whole.add(b)
	}
	if len(ready) == 0 {
		return len(b), nil
	}
	err := d.conn.Write([][]byte{ready})
	if closed := (*dial.CloseError)(nil); errors.As(err, &closed) {
		err = fmt.Errorf("%w: %w", syscall.EPIPE, err)
	}
	if err != nil {
		return 0, err
	}
	return len(b), nil
}

// SetWriteDeadline does nothing: the library has deadlines of its own.
func (d *dialed) SetWriteDeadline(time.Time) error { return nil }

// Close says goodbye, which takes two seconds at most.
func (d *dialed) Close() error { return d.conn.Close(protocol.CodeUnspecified, "") }

// trust is what a client needs to know to believe the server's development certificate.
func (s *Server) trust(protocols ...string) (*tls.Config, error) {
	if s.Addr.CA == "" {
		return &tls.Config{NextProtos: protocols, MinVersion: tls.VersionTLS12}, nil
	}
	authority, err := os.ReadFile(s.Addr.CA)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		return nil, fmt.Errorf("no certificate in %s", s.Addr.CA)
	}
	return &tls.Config{RootCAs: roots, NextProtos: protocols, MinVersion: tls.VersionTLS12}, nil
}

// wholePDUs holds back what a client has written until a PDU is whole, for transports that carry nothing less.
type wholePDUs struct {
	mu   sync.Mutex // guards held
	held []byte
}

// add returns what may be sent now. After a length that the server has to refuse, everything is.
func (w *wholePDUs) add(b []byte) []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held = append(w.held, b...)
	end := 0
	for len(w.held)-end >= 4 {
		n := int(binary.BigEndian.Uint32(w.held[end:]))
		if n < pdu.HeaderLen || n > pdu.MaxLen {
			end = len(w.held)
			break
		}
		if end+n > len(w.held) {
			break
		}
		end += n
	}
	out := w.held[:end:end]
	w.held = append([]byte(nil), w.held[end:]...)
	return out
}
