package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"time"

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

// nativeProtocol is the ALPN name of the native protocol.
const nativeProtocol = "teamtalk/1"

// Dial connects to the server's chat port of a transport.
func (s *Server) Dial(ctx context.Context, via Via) (*Client, error) {
	w, err := s.dial(ctx, via)
	if err != nil {
		return nil, fmt.Errorf("via %s: %w", via, err)
	}
	return newClient(w), nil
}

func (s *Server) dial(ctx context.Context, via Via) (wire, error) {
	switch via {
	case ViaTCP:
		return new(net.Dialer).DialContext(ctx, "tcp", s.Addr.TCP)
	case ViaTLS:
		conf, err := s.trust(nativeProtocol)
		if err != nil {
			return nil, err
		}
		return (&tls.Dialer{Config: conf}).DialContext(ctx, "tcp", s.Addr.TLS)
	case ViaWebSocket:
		return dialSocket(ctx, "ws://"+s.Addr.HTTP+"/ws", nil)
	case ViaWebSocketTLS:
		conf, err := s.trust("http/1.1")
		if err != nil {
			return nil, err
		}
		return dialSocket(ctx, "wss://"+s.Addr.TLS+"/ws", conf)
	case ViaQUIC:
		conf, err := s.trust(nativeProtocol)
		if err != nil {
			return nil, err
		}
		return dialQUIC(ctx, s.Addr.QUIC, conf)
	case ViaLongPoll, ViaLongPollTLS, ViaLongPollHTTP3:
		conf, err := s.trust()
		if err != nil {
			return nil, err
		}
		return dialPolls(ctx, s.Addr, via, conf)
	}
	return nil, fmt.Errorf("no such transport")
}

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

// deadline is a write deadline for what has contexts instead.
type deadline struct {
	mu sync.Mutex // guards at
	at time.Time
}

// SetWriteDeadline bounds the Writes from now on.
func (d *deadline) SetWriteDeadline(t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at = t
	return nil
}

func (d *deadline) context(parent context.Context) (context.Context, context.CancelFunc) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.at.IsZero() {
		return context.WithCancel(parent)
	}
	return context.WithDeadline(parent, d.at)
}
