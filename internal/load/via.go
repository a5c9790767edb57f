package load

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"teamtalk/client/dial"
)

// Via names a transport.
type Via string

// All transports.
const (
	ViaTCP         Via = "tcp"
	ViaTLS         Via = "tls"
	ViaQUIC        Via = "quic"
	ViaWebSocket   Via = "websocket"
	ViaWSS         Via = "wss"
	ViaLongPoll    Via = "longpoll"
	ViaLongPollTLS Via = "longpoll-tls"
)

// Vias are all transports, those of today's clients first.
func Vias() []Via {
	return []Via{ViaTCP, ViaTLS, ViaWebSocket, ViaWSS, ViaLongPoll, ViaLongPollTLS, ViaQUIC}
}

// ViaNamed finds a transport.
func ViaNamed(name string) (Via, error) {
	if v := Via(name); slices.Contains(Vias(), v) {
		return v, nil
	}
	return "", fmt.Errorf("%q is no transport: %v", name, Vias())
}

// route is where the transport of that name goes at a server's port.
func (v Via) route(hostport string) (dial.Route, error) {
	to := map[Via]struct {
		transport    dial.Transport
		scheme, path string
		plain        bool
	}{
		ViaTCP:         {dial.TCP, "tcp", "", true},
		ViaTLS:         {dial.TLS, "tls", "", false},
		ViaQUIC:        {dial.QUIC, "quic", "", false},
		ViaWebSocket:   {dial.WebSocket, "ws", "/ws", true},
		ViaWSS:         {dial.WebSocket, "wss", "/ws", false},
		ViaLongPoll:    {dial.LongPoll, "http", "/lp", true},
		ViaLongPollTLS: {dial.LongPoll, "https", "/lp", false},
	}
	r, ok := to[v]
	if !ok {
		return dial.Route{}, fmt.Errorf("%q is no transport: %v", v, Vias())
	}
	u := url.URL{Scheme: r.scheme, Host: hostport, Path: r.path}
	return dial.Route{Transport: r.transport, URL: u.String(), Plain: r.plain}, nil
}

// Addresses are the ports of a server, as it writes them into addresses.json of its data directory.
type Addresses struct {
	TCP  string `json:"tcp"`
	TLS  string `json:"tls"`
	QUIC string `json:"quic"`
	HTTP string `json:"http"`
	Ops  string `json:"ops"`
	CA   string `json:"ca"` // file of the authority that signed the certificate; empty: a public one
}

// Port is the one that a transport uses.
func (a Addresses) Port(v Via) (string, error) {
	port := map[Via]string{ViaTCP: a.TCP, ViaTLS: a.TLS, ViaWSS: a.TLS, ViaLongPollTLS: a.TLS, ViaQUIC: a.QUIC, ViaWebSocket: a.HTTP, ViaLongPoll: a.HTTP}[v]
	if port == "" {
		return "", fmt.Errorf("the server has no port for %s", v)
	}
	return port, nil
}

// Trust is a TLS configuration that believes the authority in a file; no file: the system's.
func Trust(file string) (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if file == "" {
		return conf, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	conf.RootCAs = x509.NewCertPool()
	if !conf.RootCAs.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s: no certificate", file)
	}
	return conf, nil
}

// options are those of one connection, which gets its sockets from n.
func (t Target) options(n dial.Network) dial.Options {
	return dial.Options{TLS: t.TLS, AllowPlain: true, Net: n, UserAgent: clientName,
		Proxy: func(*url.URL) (*url.URL, error) { return nil, nil }}
}

// sockets makes the sockets of clients. With several sources they come from so many addresses of the loopback, at random, and are as many hosts to
// the server.
type sockets struct{ sources int }

func (s sockets) local() net.IP {
	if s.sources < 2 {
		return nil
	}
	i := rand.IntN(s.sources)
	return net.IPv4(127, 1, byte(i/250), byte(i%250+1))
}

// DialContext opens a TCP socket.
func (s sockets) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{}
	if ip := s.local(); ip != nil {
		d.LocalAddr = &net.TCPAddr{IP: ip}
	}
	return d.DialContext(ctx, network, address)
}

// ListenPacket opens a UDP socket.
func (s sockets) ListenPacket(context.Context) (net.PacketConn, error) {
	return net.ListenUDP("udp", &net.UDPAddr{IP: s.local()})
}

// roads are the sockets of one connection, which can be cut all at once, as when the network goes away; then there are no more.
type roads struct {
	sockets
	mu   sync.Mutex // guards the rest
	open []io.Closer
	gone bool
}

// DialContext opens a TCP socket.
func (r *roads) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := r.sockets.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return c, r.add(c)
}

// ListenPacket opens a UDP socket.
func (r *roads) ListenPacket(ctx context.Context) (net.PacketConn, error) {
	c, err := r.sockets.ListenPacket(ctx)
	if err != nil {
		return nil, err
	}
	return c, r.add(c)
}

func (r *roads) add(c io.Closer) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone {
		return errors.Join(net.ErrClosed, c.Close())
	}
	r.open = append(r.open, c)
	return nil
}

// cut closes all sockets without a goodbye: the server sees a reset, or nothing at all.
func (r *roads) cut() {
	r.mu.Lock()
	open := r.open
	r.open, r.gone = nil, true
	r.mu.Unlock()
	for _, c := range open {
		if t, ok := c.(*net.TCPConn); ok {
			_ = t.SetLinger(0) // fails only when closed
		}
		_ = c.Close() // fails only when closed
	}
}

// patience is how long a QUIC server may say that it has no room for a new connection, which it also does after the handshake: handshakes that
// were given up, as at the end of a measurement, keep their room until they time out.
const patience = 15 * time.Second

// unlessRefused tries again, with jitter, while QUIC says CONNECTION_REFUSED [TT-QUIC-7].
func unlessRefused(ctx context.Context, connect func() error) error {
	until := time.Now().Add(patience)
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		err := connect()
		if refused, ok := errors.AsType[*quic.TransportError](err); !ok || refused.ErrorCode != quic.ConnectionRefused || time.Now().After(until) {
			return err
		}
		select {
		case <-time.After(rand.N(pause)):
		case <-ctx.Done():
			return err
		}
	}
}
