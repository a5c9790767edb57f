package tlsport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"teamtalk/gateway/transport"
	"teamtalk/gateway/transport/transporttest"
	"teamtalk/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

// place is a port with an HTTP server behind it.
type place struct {
	*testing.T
	port     *Port
	registry *prometheus.Registry
	desk     *transporttest.Desk
	roots    *x509.CertPool
}

// certificate is one for 127.0.0.1 and example.com.
func certificate(t testing.TB) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return s.TLS.Certificates[0], roots
}

func open(t *testing.T, cfg Config) *place {
	t.Helper()
	ln, err := transport.Listen(transport.ListenerConfig{Address: "127.0.0.1:0", Listener: "tls"})
	if err != nil {
		t.Fatal(err)
	}
	own, roots := certificate(t)
	p := &place{T: t, registry: prometheus.NewRegistry(), desk: transporttest.NewDesk(t), roots: roots}
	cfg.Listener, cfg.TLS, cfg.Registerer, cfg.Log = ln, &tls.Config{Certificates: []tls.Certificate{own}}, p.registry, slog.New(slog.DiscardHandler)
	p.port = New(cfg)
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Proto) // the client notices
	}), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)}
	native, served := make(chan error, 1), make(chan error, 1)
	go func() { native <- p.port.Serve(p.desk.Handle) }() // ends when the port is closed
	go func() { served <- web.Serve(p.port.HTTP()) }()    // ends when the port is closed
	t.Cleanup(func() {
		p.desk.Release()
		if err := web.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		if err := p.port.Close(); err != nil {
			t.Error(err)
		}
		if err := <-native; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("HTTP: %v", err)
		}
	})
	return p
}

func (p *place) dial(protocols ...string) (*tls.Conn, error) {
	c, err := tls.Dial("tcp", p.port.Addr().String(), &tls.Config{RootCAs: p.roots, NextProtos: protocols})
	if err == nil {
		p.Cleanup(func() { _ = c.Close() })
	}
	return c, err
}

// count waits until as many connections had the outcome.
func (p *place) count(o outcome, want float64) {
	p.Helper()
	limit := time.After(patience)
	for {
		got := p.value(o)
		if got == want {
			return
		}
		select {
		case <-time.After(time.Millisecond):
		case <-limit:
			p.Fatalf("%s: %v connections, want %v", o, got, want)
		}
	}
}

func TestConnection(t *testing.T) {
	transporttest.Run(t, transporttest.Transport{Kind: transport.KindTLS, HalfClose: true, Dial: func(tb testing.TB) (transporttest.Client, transport.Conn) {
		t, ok := tb.(*testing.T)
		if !ok {
			tb.Fatal("not a test")
		}
		p := open(t, Config{})
		c, err := p.dial(Protocol)
		if err != nil {
			t.Fatal(err)
		}
		return c, p.desk.Next(t)
	}})
}

// [TT-TLS-1] [TT-TLS-2]
func TestALPNDecides(t *testing.T) {
	p := open(t, Config{Protocols: []string{"check/1"}})
	for _, test := range []struct {
		name   string
		offers []string
		speaks string
		is     outcome // empty: refused in the handshake
	}{
		{"native", []string{Protocol}, Protocol, native},
		{"native before HTTP", []string{"http/1.1", "h2", Protocol}, Protocol, native},
		{"HTTP/2", []string{"http/1.1", "h2"}, "h2", overHTTP},
		{"HTTP/1.1", []string{"http/1.1"}, "http/1.1", overHTTP},
		{"nothing", nil, "", overHTTP},
		{"a further name", []string{"check/1"}, "check/1", handshake},
		{"federation", []string{"tt-fed/1"}, "", ""},
		{"something", []string{"imap", "xmpp-client"}, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := p.value(test.is)
			c, err := p.dial(test.offers...)
			if test.is == "" {
				if err == nil || !strings.Contains(err.Error(), "no application protocol") {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := c.ConnectionState().NegotiatedProtocol; got != test.speaks {
				t.Errorf("speaks %q", got)
			}
			if test.is == native {
				if kind := p.desk.Next(t).Kind(); kind != transport.KindTLS {
					t.Errorf("kind %q", kind)
				}
			}
			p.count(test.is, before+1)
		})
	}
	p.count(failed, 2)
}

func (p *place) value(o outcome) float64 {
	families, err := p.registry.Gather()
	if err != nil {
		p.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if len(m.GetLabel()) == 1 && m.GetLabel()[0].GetValue() == string(o) {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

// [TT-TLS-2]
func TestHTTPIsServed(t *testing.T) {
	p := open(t, Config{})
	for want, h2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2.0": true} {
		tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: p.roots}, ForceAttemptHTTP2: h2}
		resp, err := (&http.Client{Transport: tr, Timeout: patience}).Get("https://" + p.port.Addr().String() + "/")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || string(body) != want {
			t.Errorf("served %s, %v; want %s", body, err, want)
		}
		_ = resp.Body.Close()
		tr.CloseIdleConnections()
	}
}

// A client that is slow at its handshake, or sends nothing, is given up; meanwhile others come in. [TT-TLS-4]
func TestSlowHandshakesEnd(t *testing.T) {
	p := open(t, Config{HandshakeTime: time.Second})
	began := time.Now()
	mute, err := net.Dial("tcp", p.port.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	if _, err := p.dial(Protocol); err != nil {
		t.Fatal(err)
	}
	p.desk.Next(t)
	_ = mute.SetReadDeadline(began.Add(patience))
	if _, err := mute.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !isReset(err) {
		t.Errorf("the mute one reads %v", err)
	}
	if d := time.Since(began); d < time.Second {
		t.Errorf("given up after %v", d)
	}
	p.count(timedOut, 1)
}

func isReset(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && !op.Timeout()
}

// [TT-TLS-4]
func TestHandshakesAreBounded(t *testing.T) {
	for _, test := range []struct {
		name string
		cfg  Config
		is   outcome
	}{
		{"altogether", Config{Handshakes: 2, HandshakeTime: patience}, full},
		{"from an address", Config{HandshakesPerAddress: 2, HandshakeTime: patience}, addressFull},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := open(t, test.cfg)
			var waiting []net.Conn
			for range 2 {
				c, err := net.Dial("tcp", p.port.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = c.Close() })
				waiting = append(waiting, c)
			}
			if _, err := p.dial(Protocol); err == nil {
				t.Fatal("a third handshake went through")
			}
			p.count(test.is, 1)
			_ = waiting[0].Close() // gives its place back
			p.count(failed, 1)
			if _, err := p.dial(Protocol); err != nil {
				t.Fatal(err)
			}
			p.desk.Next(t)
		})
	}
}

// What is no TLS at all is counted and closed.
func TestNoTLS(t *testing.T) {
	p := open(t, Config{})
	c, err := net.Dial("tcp", p.port.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "\x00\x00\x00\x10\x00\x01\x00\x00\x00\x07\x07\x01\x00\x01\x00\x00"); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(patience))
	_, _ = io.ReadAll(c) // an alert, then the end
	p.count(failed, 1)
}

// After Stop no session begins, those there go on, and HTTP is served until the port is closed.
func TestStop(t *testing.T) {
	p := open(t, Config{})
	before, err := p.dial(Protocol)
	if err != nil {
		t.Fatal(err)
	}
	server := p.desk.Next(t)
	p.port.Stop()
	p.port.Stop() // twice is once
	after, err := p.dial(Protocol)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := after.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("a new one reads %v", err)
	}
	p.count(stopping, 1)
	if _, err := before.Write(transporttest.Frame(0x0701, 1, nil)); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Read(100); err != nil {
		t.Errorf("the one there: %v", err)
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: p.roots}}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr, Timeout: patience}).Get("https://" + p.port.Addr().String() + "/")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
}

// The end is told even when the session is broken off, and telling takes no time that a client could stretch. [TT-TLS-3]
func TestGoodbye(t *testing.T) {
	p := open(t, Config{})
	c, err := p.dial(Protocol)
	if err != nil {
		t.Fatal(err)
	}
	server := p.desk.Next(t)
	if err := server.Close(protocol.CodeInvalid); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the client reads %v", err)
	}
	if err := server.Close(protocol.CodeInvalid); err != nil && !errors.Is(err, net.ErrClosed) {
		t.Errorf("closing again: %v", err)
	}
}

// stuck is a connection that takes nothing any more.
type stuck struct {
	net.Conn
	deadline chan time.Time
}

func (s *stuck) SetWriteDeadline(t time.Time) error {
	s.deadline <- t
	return nil
}

// [TT-TLS-3]
func TestGoodbyeIsShort(t *testing.T) {
	s := &stuck{deadline: make(chan time.Time, 1)}
	w := &wire{Conn: s}
	for _, d := range []time.Duration{time.Millisecond, 5 * time.Second} {
		at := time.Now().Add(d)
		if err := w.SetWriteDeadline(at); err != nil {
			t.Fatal(err)
		}
		if got := <-s.deadline; !got.Equal(at) {
			t.Errorf("without haste %v became %v", at, got)
		}
	}
	w.hasten()
	for _, at := range []time.Time{{}, time.Now().Add(5 * time.Second)} {
		if err := w.SetWriteDeadline(at); err != nil {
			t.Fatal(err)
		}
		if got := time.Until(<-s.deadline); got > goodbyeTime {
			t.Errorf("%v left", got)
		}
	}
	past := time.Unix(1, 0)
	if err := w.SetWriteDeadline(past); err != nil {
		t.Fatal(err)
	}
	if got := <-s.deadline; !got.Equal(past) {
		t.Errorf("a deadline long past became %v", got)
	}
}

// A session resumed by a ticket is told apart by ALPN like any other.
func TestResumedHandshake(t *testing.T) {
	for name, p := range map[string]*place{"clients only": open(t, Config{}), "beside peers": openPeers(t, 0, nil).place} {
		t.Run(name, func(t *testing.T) { resumes(t, p) })
	}
}

func resumes(t *testing.T, p *place) {
	t.Helper()
	conf := &tls.Config{RootCAs: p.roots, ServerName: "example.com", NextProtos: []string{Protocol}, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	for i := range 2 {
		c, err := tls.Dial("tcp", p.port.Addr().String(), conf)
		if err != nil {
			t.Fatal(err)
		}
		server := p.desk.Next(t)
		frame := transporttest.Frame(0x0701, 1, nil)
		if err := server.Write([][]byte{frame}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, len(frame))); err != nil { // takes the ticket too
			t.Fatal(err)
		}
		if got := c.ConnectionState().DidResume; got != (i == 1) {
			t.Errorf("handshake %d: resumed %v", i, got)
		}
		_ = c.Close()
	}
}
