package doctor

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// town is a network in which chat.test is this machine, black.test drops everything, far.test is beyond all networks, lone.test is asked for without one and no other name is known.
type town struct {
	hijack string // answers for addresses at which nobody is; empty: nobody does
	liar   bool   // the DNS knows any name
}

var errNoDNS = &net.DNSError{Err: "dial udp 203.0.113.1:53: connect: network is unreachable", Name: "lone.test"}

func (w town) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	switch host {
	case "127.0.0.1":
	case "192.0.2.1":
		if w.hijack == "" {
			return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.EHOSTUNREACH}
		}
		address = w.hijack
	case "far.test", "203.0.113.7":
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ENETUNREACH}
	case "lone.test":
		return nil, &net.OpError{Op: "dial", Net: network, Err: errNoDNS}
	case "chat.test":
		address = net.JoinHostPort("127.0.0.1", port)
	case "black.test":
		<-ctx.Done()
		return nil, &net.OpError{Op: "dial", Net: network, Err: ctx.Err()}
	default:
		return nil, &net.OpError{Op: "dial", Net: network, Err: &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}}
	}
	return new(net.Dialer).DialContext(ctx, network, address)
}

func (town) ListenPacket(ctx context.Context) (net.PacketConn, error) {
	return new(net.ListenConfig).ListenPacket(ctx, "udp", "127.0.0.1:0")
}

func (w town) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if w.liar {
		return []netip.Addr{netip.MustParseAddr("::ffff:127.0.0.1")}, nil
	}
	switch host {
	case "lone.test":
		return nil, errNoDNS
	case "far.test":
		return []netip.Addr{netip.MustParseAddr("203.0.113.7")}, nil
	case "chat.test":
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	case "black.test":
		return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil
	case "slow.test":
		return nil, &net.DNSError{Err: "i/o timeout", Name: host, IsTimeout: true}
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

// office is where an examination takes place.
type office struct {
	t     *testing.T
	roots *x509.CertPool
	ca    *x509.Certificate
	key   *ecdsa.PrivateKey
}

func newOffice(t *testing.T) *office {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	o := &office{t: t, key: key, roots: x509.NewCertPool(), ca: &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Prying Box", Organization: []string{"ACME"}},
		NotBefore: now.AddDate(-2, 0, 0), NotAfter: now.AddDate(2, 0, 0), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}}
	der, err := x509.CreateCertificate(rand.Reader, o.ca, o.ca, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if o.ca, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	o.roots.AddCert(o.ca)
	return o
}

// secure listens with a certificate for a name, valid for a day around a time from now, and speaks a protocol by ALPN; the port is returned.
func (o *office) secure(name string, in time.Duration, protocol string) string {
	conf := o.certificate(name, in)
	if protocol != "" {
		conf.NextProtos = []string{protocol}
	}
	return o.listen(func(nc net.Conn) { _, _ = io.Copy(io.Discard, tls.Server(nc, conf)) })
}

func (o *office) certificate(name string, in time.Duration) *tls.Config {
	mid := time.Now().Add(in)
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{name}, NotBefore: mid.Add(-12 * time.Hour), NotAfter: mid.Add(12 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, leaf, o.ca, &o.key.PublicKey, o.key)
	if err != nil {
		o.t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: o.key}}}
}

// secureWeb is a web server without anything on it, and says its port.
func (o *office) secureWeb(name string) string {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.TLS = o.certificate(name, 0)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	o.t.Cleanup(s.Close)
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	return port
}

func (o *office) listen(serve func(net.Conn)) (port string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		o.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { // ends with the listener
		defer close(done)
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { // ends when the client closes
				defer nc.Close()
				serve(nc)
			}()
		}
	}()
	o.t.Cleanup(func() {
		_ = ln.Close()
		<-done
	})
	_, port, _ = net.SplitHostPort(ln.Addr().String())
	return port
}

// web answers plain HTTP with a status, at a clock that is off, and says its URL.
func (o *office) web(status int, kind, body string, off time.Duration, head ...string) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(off).UTC().Format(http.TimeFormat))
		w.Header().Set("Content-Type", kind)
		for i := 0; i+1 < len(head); i += 2 {
			w.Header().Set(head[i], head[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	o.t.Cleanup(s.Close)
	return s.URL
}

// nobody is a port that refuses.
func (o *office) nobody() string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		o.t.Fatal(err)
	}
	defer ln.Close()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	return port
}

// swallow is a UDP port that answers nothing, and a TLS port of the same number.
func (o *office) swallow(port string) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:"+port)
	if err != nil {
		o.t.Skipf("the UDP port is taken: %v", err)
	}
	o.t.Cleanup(func() { pc.Close() })
}

const (
	day   = 24 * time.Hour
	login = "<html><form>Room number?</form></html>"
)

// scene is a place and what is examined there.
type scene struct {
	address  []string
	plain    string // URL; empty: nothing answers plain HTTP
	proxy    string
	distrust bool
	hijack   string // URL of what answers for addresses at which nobody is
	liar     bool
	clock    time.Duration // how far this machine's is off
}

func TestDiagnoses(t *testing.T) {
	for _, c := range slices.Concat(wellDiagnoses(), trustDiagnoses(), reachDiagnoses(), placeDiagnoses()) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := newOffice(t)
			r := examine(t, o, c.set(o))
			var kinds []Kind
			says := r.Summary()
			for i, f := range r.Findings {
				kinds = append(kinds, f.Kind)
				if i == 0 {
					says = f.What
				}
				if f.Next == "" {
					t.Errorf("%s: no next step", f.Kind)
				}
			}
			if !slices.Equal(kinds, c.kinds) || !strings.Contains(says, c.says) || r.OK() != c.ok {
				t.Errorf("got %v, %q, ok %v; checks:\n%s", kinds, says, r.OK(), shown(r))
			}
		})
	}
}

func examine(t *testing.T, o *office, s scene) *Report {
	t.Helper()
	cfg := Config{Addresses: s.address, TLS: &tls.Config{RootCAs: o.roots}, Timeout: 2 * time.Second, PlainURL: s.plain,
		Net: town{hijack: strings.TrimPrefix(s.hijack, "http://"), liar: s.liar},
		Proxy: func(*url.URL) (*url.URL, error) {
			if s.proxy == "" {
				return nil, nil
			}
			return url.Parse(s.proxy)
		}}
	if s.plain == "" {
		cfg.PlainURL = "http://chat.test:" + o.nobody()
	}
	if s.clock != 0 {
		cfg.TLS.Time = func() time.Time { return time.Now().Add(s.clock) }
	}
	if s.distrust {
		cfg.TLS.RootCAs = x509.NewCertPool()
	}
	r, err := Examine(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func shown(r *Report) string {
	var b strings.Builder
	for _, c := range r.Checks {
		fmt.Fprintf(&b, "  %s %s ok=%v %v %s\n", c.What, c.Target, c.OK, c.Took, c.Detail)
	}
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "  %s: %s\n", f.Kind, f.What)
	}
	return b.String()
}

func TestAddresses(t *testing.T) {
	if _, err := Examine(t.Context(), Config{Addresses: []string{"gopher://x"}}); err == nil {
		t.Error("an address that means nothing is examined")
	}
}
