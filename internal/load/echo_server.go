package load

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/quic-go/quic-go"
)

const (
	echoBuffer = 32 << 10
	echoALPN   = "echo"
)

// echoServer sends everything back, by one transport.
type echoServer struct {
	dial  func(ctx context.Context) (io.ReadWriteCloser, error)
	stop  func() error
	conns sync.WaitGroup
}

// close waits for the connections, which the clients have closed.
func (s *echoServer) close() error {
	err := s.stop()
	s.conns.Wait()
	return err
}

// reflect sends back what comes until there is no more.
func reflect(c io.ReadWriter) {
	buf := make([]byte, echoBuffer)
	for {
		n, err := c.Read(buf)
		if n > 0 {
			if _, err := c.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func listenEcho(ctx context.Context, via Via) (*echoServer, error) {
	server, client, err := echoCertificates()
	if err != nil {
		return nil, err
	}
	if via == ViaQUIC {
		return listenQUICEcho(server, client)
	}
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	at := l.Addr().String()
	switch via {
	case ViaTCP:
		return streamEcho(l, func(ctx context.Context) (io.ReadWriteCloser, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", at)
		}), nil
	case ViaTLS:
		d := &tls.Dialer{Config: client}
		return streamEcho(tls.NewListener(l, server), func(ctx context.Context) (io.ReadWriteCloser, error) {
			return d.DialContext(ctx, "tcp", at)
		}), nil
	case ViaWebSocket:
		return socketEcho(l, "ws://"+at, nil), nil
	case ViaWSS:
		server.NextProtos = []string{"http/1.1"}
		return socketEcho(tls.NewListener(l, server), "wss://"+at, client), nil
	case ViaLongPoll:
		return pollEcho(l, nil, "http://"+at, nil), nil
	case ViaLongPollTLS:
		return pollEcho(l, server, "https://"+at, client), nil
	default:
		_, err = via.route(at)
		return nil, errors.Join(err, l.Close())
	}
}

// streamEcho serves a stream listener.
func streamEcho(l net.Listener, dial func(context.Context) (io.ReadWriteCloser, error)) *echoServer {
	s := &echoServer{dial: dial, stop: l.Close}
	s.conns.Go(func() { // until stop
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.conns.Go(func() { // until the client closes
				defer c.Close()
				reflect(c)
			})
		}
	})
	return s
}

// socketEcho serves WebSockets.
func socketEcho(l net.Listener, url string, client *tls.Config) *echoServer {
	s := &echoServer{}
	hs := &http.Server{ReadHeaderTimeout: loginTimeout, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.conns.Add(1)
		defer s.conns.Done()
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		nc := websocket.NetConn(context.WithoutCancel(r.Context()), c, websocket.MessageBinary)
		defer nc.Close()
		reflect(nc)
	})}
	s.conns.Go(func() { _ = hs.Serve(l) }) // until stop
	s.stop = hs.Close
	s.dial = func(ctx context.Context) (io.ReadWriteCloser, error) {
		tr := &http.Transport{TLSClientConfig: client.Clone()}
		c, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPClient: &http.Client{Transport: tr}}) //nolint:bodyclose // the library has taken it
		if err != nil {
			return nil, err
		}
		return websocket.NetConn(context.WithoutCancel(ctx), c, websocket.MessageBinary), nil
	}
	return s
}

// listenQUICEcho serves streams of QUIC connections.
func listenQUICEcho(server, client *tls.Config) (*echoServer, error) {
	server.NextProtos, client.NextProtos = []string{echoALPN}, []string{echoALPN}
	l, err := quic.ListenAddr("127.0.0.1:0", server, nil)
	if err != nil {
		return nil, err
	}
	s := &echoServer{stop: l.Close}
	s.conns.Go(func() { // until stop
		for {
			c, err := l.Accept(context.Background())
			if err != nil {
				return
			}
			s.conns.Go(func() { // until the client closes
				if stream, err := c.AcceptStream(c.Context()); err == nil {
					reflect(stream)
				}
			})
		}
	})
	s.dial = func(ctx context.Context) (e io.ReadWriteCloser, err error) {
		err = unlessRefused(ctx, func() error {
			c, err := quic.DialAddr(ctx, l.Addr().String(), client, nil)
			if err != nil {
				return err
			}
			stream, err := c.OpenStreamSync(ctx)
			if err == nil {
				err = knock(stream)
			}
			if err != nil {
				return errors.Join(err, c.CloseWithError(0, ""))
			}
			e = quicEcho{stream, c}
			return nil
		})
		return e, err
	}
	return s, nil
}

// knock waits for a byte to come back: a server that has more connections than it has taken refuses the next after their handshake.
func knock(stream *quic.Stream) error {
	if _, err := stream.Write([]byte{0}); err != nil {
		return err
	}
	_, err := io.ReadFull(stream, make([]byte, 1))
	return err
}

// quicEcho is the client's stream.
type quicEcho struct {
	*quic.Stream
	conn *quic.Conn
}

// Close ends the connection with its stream.
func (q quicEcho) Close() error { return q.conn.CloseWithError(0, "") }

// echoCertificates are a certificate for this host as development servers have it, and the trust in it.
func echoCertificates() (server, client *tls.Config, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	now := time.Now()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	own, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, err
	}
	trusted := x509.NewCertPool()
	trusted.AddCert(own)
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}},
		&tls.Config{MinVersion: tls.VersionTLS12, RootCAs: trusted}, nil
}
