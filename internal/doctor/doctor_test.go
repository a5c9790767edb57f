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
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// town is a network in which chat.test is this machine, black.test drops everything and no other name is known.
type town struct{}

func (town) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	switch host {
	case "127.0.0.1":
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

func (town) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	switch host {
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
	mid := time.Now().Add(in)
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{name}, NotBefore: mid.Add(-12 * time.Hour), NotAfter: mid.Add(12 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, leaf, o.ca, &o.key.PublicKey, o.key)
	if err != nil {
		o.t.Fatal(err)
	}
	conf := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: o.key}}}
	if protocol != "" {
		conf.NextProtos = []string{protocol}
	}
	return o.listen(func(nc net.Conn) { _, _ = io.Copy(io.Discard, tls.Server(nc, conf)) })
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
	native = "teamtalk/1"
	day    = 24 * time.Hour
	login  = "<html><form>Room number?</form></html>"
)

// scene is a place and what is examined there.
type scene struct {
	address  []string
	plain    string // URL; empty: nothing answers plain HTTP
	proxy    string
	distrust bool
}

// diagnosis is a scene and what the doctor has to find.
type diagnosis struct {
	name  string
	set   func(o *office) scene
	kinds []Kind
	says  string // is in the first finding, or in the summary if there is none
	ok    bool
}

func diagnoses() []diagnosis {
	good := func(o *office) string { return o.secure("chat.test", 0, native) }
	return []diagnosis{
		{"all well", func(o *office) scene {
			return scene{address: []string{"tls://chat.test:" + good(o)}, plain: o.web(405, "text/plain", "", 0)}
		},
			nil, "all well: 1 of 1 ways work, the best is tls", true},
		{"UDP dropped", func(o *office) scene {
			port := good(o)
			o.swallow(port)
			return scene{address: []string{"tls://chat.test:" + port, "quic://chat.test:" + port}}
		}, []Kind{NoUDP}, "UDP gets no answer at chat.test:", true},
		{"unknown authority", func(o *office) scene { return scene{address: []string{"tls://chat.test:" + good(o)}, distrust: true} },
			[]Kind{Untrusted}, "issued by Prying Box of ACME, whom this machine does not trust", false},
		{"another name", func(o *office) scene {
			return scene{address: []string{"tls://chat.test:" + o.secure("office.test", 0, native)}}
		},
			[]Kind{OtherHost}, "is for office.test", false},
		{"clock behind", func(o *office) scene {
			return scene{address: []string{"tls://chat.test:" + o.secure("chat.test", 4*day, native)}, plain: o.web(405, "text/plain", "", 4*day+time.Hour)}
		}, []Kind{WrongClock}, "clock is 4 days behind of the server's", false},
		{"clock ahead", func(o *office) scene {
			return scene{address: []string{"tls://chat.test:" + o.secure("chat.test", -day, native)}, plain: o.web(404, "text/plain", "", -day)}
		}, []Kind{WrongClock}, "clock is 24 hours ahead of the server's", false},
		{"expired", func(o *office) scene {
			return scene{address: []string{"tls://chat.test:" + o.secure("chat.test", -day, native)}, plain: o.web(405, "text/plain", "", 0)}
		}, []Kind{Expired}, "this machine's clock is right", false},
		{"expired, or the clock", func(o *office) scene {
			return scene{address: []string{"tls://chat.test:" + o.secure("chat.test", -day, native)}}
		},
			[]Kind{Expired}, "is valid from ", false},
		{"name not known", func(*office) scene { return scene{address: []string{"chta.test"}} }, []Kind{NoName}, "does not know the name chta.test", false},
		{"DNS silent", func(*office) scene { return scene{address: []string{"tls://slow.test"}} }, []Kind{NoName}, "no answer for slow.test", false},
		{"server down", func(o *office) scene { return scene{address: []string{"chat.test:" + o.nobody()}} }, []Kind{Refused}, "nothing listens at chat.test:", false},
		{"dropped", func(*office) scene { return scene{address: []string{"black.test"}} }, []Kind{Silent}, "no answer from black.test:443", false},
		{"proxy wants a login", func(o *office) scene {
			return scene{address: []string{"wss://chat.test:" + good(o)}, proxy: o.web(407, "text/html", login, 0, "Proxy-Authenticate", "Basic realm=x")}
		}, []Kind{ProxyLogin}, "wants a name and password (407)", false},
		{"proxy forbids", func(o *office) scene {
			return scene{address: []string{"wss://chat.test:" + good(o), "https://chat.test:" + good(o)}, proxy: o.web(403, "text/html", login, 0)}
		}, []Kind{ProxyForbid}, "refuses the server (403 Forbidden)", false},
		{"proxy down", func(o *office) scene {
			return scene{address: []string{"wss://chat.test:" + good(o)}, proxy: "http://127.0.0.1:" + o.nobody()}
		}, []Kind{ProxyForbid}, "can't be reached", false},
		{"portal", func(o *office) scene {
			return scene{address: []string{"tls://chat.test:" + good(o)}, plain: o.web(200, "text/html; charset=utf-8", login, 0), distrust: true}
		}, []Kind{Portal, Untrusted}, "answered by something else: answered 200 OK", false},
		{"portal that redirects", func(o *office) scene {
			return scene{address: []string{"tls://chat.test:" + o.nobody()}, plain: o.web(302, "text/html", "", 0, "Location", "http://login.hotel.test/")}
		}, []Kind{Portal, Refused}, "302 Found to http://login.hotel.test/", false},
		{"a web site beside the server", func(o *office) scene {
			return scene{address: []string{"tls://chat.test:" + good(o)}, plain: o.web(200, "text/html", login, 0)}
		}, nil, "all well", true},
		{"not TeamTalk", func(o *office) scene {
			return scene{address: []string{"tls://chat.test:" + o.secure("chat.test", 0, "")}}
		},
			[]Kind{Other}, "tls does not work at tls://chat.test:", false},
	}
}

func TestDiagnoses(t *testing.T) {
	for _, c := range diagnoses() {
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
	cfg := Config{Addresses: s.address, TLS: &tls.Config{RootCAs: o.roots}, Timeout: 2 * time.Second, Net: town{}, PlainURL: s.plain,
		Proxy: func(*url.URL) (*url.URL, error) {
			if s.proxy == "" {
				return nil, nil
			}
			return url.Parse(s.proxy)
		}}
	if s.plain == "" {
		cfg.PlainURL = "http://chat.test:" + o.nobody()
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
