package dial

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"teamtalk/protocol/pdu"
)

func TestMain(m *testing.M) {
	_ = os.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true")
	goleak.VerifyTestMain(m)
}

// patience is how long a test waits for what should happen at once.
const testPatience = 20 * time.Second

// identity is a server's certificate and what its clients trust.
type identity struct {
	cert  tls.Certificate
	roots *x509.CertPool
}

func makeIdentity(from, to time.Time, names ...string) (identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return identity{}, err
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: names,
		NotBefore: from, NotAfter: to, IsCA: true, BasicConstraintsValid: true}
	if len(names) == 0 {
		tmpl.DNSNames, tmpl.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		return identity{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return identity{}, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return identity{cert: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots: roots}, nil
}

var sharedIdentity = sync.OnceValues(func() (identity, error) {
	return makeIdentity(time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
})

func testIdentity(t testing.TB) identity {
	t.Helper()
	id, err := sharedIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func direct(*url.URL) (*url.URL, error) { return nil, nil }

// testOptions trust the test's servers and use no proxy.
func testOptions(t testing.TB) Options {
	return Options{TLS: &tls.Config{RootCAs: testIdentity(t).roots}, Proxy: direct, Log: slog.New(slog.DiscardHandler),
		NetworkKey: func() string { return "test" }}
}

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testPatience)
	t.Cleanup(cancel)
	return ctx
}

// newTestDialer is closed with the test.
func newTestDialer(t testing.TB, o Options, addresses ...string) *Dialer {
	t.Helper()
	d, err := New(addresses, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return d
}

// connect dials one address.
func connect(t testing.TB, o Options, address string) Conn {
	t.Helper()
	c, err := newTestDialer(t, o, address).Race().Next(within(t))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func frame(cmd pdu.Command, seq uint16, body []byte) []byte {
	return pdu.AppendRaw(nil, pdu.Header{Version: 1, Command: cmd, Seq: seq}, body)
}

func write(t testing.TB, c Conn, frames ...[]byte) {
	t.Helper()
	if err := c.Write(frames); err != nil {
		t.Fatalf("Write: %v", err)
	}
}

type readResult struct {
	p   pdu.PDU
	err error
}

// read fails the test when nothing comes.
func read(t testing.TB, c Conn) (pdu.PDU, error) {
	t.Helper()
	got := make(chan readResult, 1)
	go func() {
		p, err := c.Read()
		got <- readResult{p, err}
	}()
	select {
	case r := <-got:
		return r.p, r.err
	case <-time.After(testPatience):
		t.Fatal("nothing was read in time")
		return pdu.PDU{}, nil
	}
}

func expect(t testing.TB, c Conn, want []byte) {
	t.Helper()
	p, err := read(t, c)
	if err != nil {
		t.Fatalf("Read: %v", err)
	}
	if got := pdu.AppendRaw(nil, p.Header, p.Body); string(got) != string(want) {
		t.Fatalf("got %.64x (%d bytes), want %.64x (%d bytes)", got, len(got), want, len(want))
	}
}

func expectEnd(t testing.TB, c Conn) error {
	t.Helper()
	p, err := read(t, c)
	if err == nil {
		t.Fatalf("got %v, want the end", p.Header)
	}
	return err
}

// listen opens a TCP port and serves its connections until the end of the test.
func listen(t testing.TB, serve func(net.Conn)) net.Addr {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	wait.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, nc)
			mu.Unlock()
			wait.Go(func() {
				defer nc.Close()
				serve(nc)
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		mu.Lock()
		for _, nc := range conns {
			_ = nc.Close()
		}
		mu.Unlock()
		wait.Wait()
	})
	return ln.Addr()
}

// echoBytes returns what comes.
func echoBytes(nc net.Conn) { _, _ = io.Copy(nc, nc) }

// serveTLS does the handshake and then serves.
func serveTLS(id identity, alpn string, serve func(net.Conn)) func(net.Conn) {
	return func(nc net.Conn) {
		conf := &tls.Config{Certificates: []tls.Certificate{id.cert}}
		if alpn != "" {
			conf.NextProtos = []string{alpn}
		}
		tc := tls.Server(nc, conf)
		if tc.Handshake() == nil {
			serve(tc)
			_ = tc.Close()
		}
	}
}

func isClosedErr(err error) bool { return errors.Is(err, net.ErrClosed) }

// always is a proxy for everything.
func always(proxy *url.URL) func(*url.URL) (*url.URL, error) {
	return func(*url.URL) (*url.URL, error) { return proxy, nil }
}
