package federation

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// port is one number on loopback where a site takes connections over TLS, and over QUIC unless that is blocked.
func (s *site) port(t *testing.T, blockUDP bool) string {
	t.Helper()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.serve(tcp)
	udp, err := net.ListenPacket("udp", tcp.Addr().String())
	if err != nil {
		t.Skipf("the UDP port of the same number is taken: %v", err)
	}
	if blockUDP { // it takes datagrams and answers none
		t.Cleanup(func() { _ = udp.Close() })
	} else {
		s.serveQUIC(t, udp)
	}
	t.Cleanup(func() { _ = tcp.Close() })
	return tcp.Addr().String()
}

func (s *site) serveQUIC(t *testing.T, udp net.PacketConn) {
	conf := &tls.Config{MinVersion: tls.VersionTLS13, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.m.ServerTLS() }}
	transport := &quic.Transport{Conn: udp}
	l, err := transport.Listen(conf, QUICConfig())
	if err != nil {
		t.Fatal(err)
	}
	s.running.Go(func() { // ends with the listener
		for {
			c, err := l.Accept(context.Background())
			if err != nil {
				return
			}
			s.running.Go(func() { s.m.Accept(context.Background(), NewLanes(c), c.ConnectionState().TLS.PeerCertificates) }) // ends with its connection
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		_ = transport.Close()
		_ = udp.Close()
	})
}

// A pairing is two branches on loopback, in real time: a dials b at an endpoint, by way of a proxy unless that is empty.
type pairing struct {
	a, b *branch
	x, y *site
}

func newReal(t *testing.T) *pairing {
	t.Helper()
	quick := func(c *Config) {
		c.Dialer = nil
		c.Timing = Timing{Tick: 20 * time.Millisecond, RetryLeast: 20 * time.Millisecond, RetryMost: 200 * time.Millisecond}
	}
	r := &pairing{a: newBranch(t, nil, 1), b: newBranch(t, nil, 2)}
	r.x, r.y = r.a.open("", false, quick), r.b.open("", false, quick)
	return r
}

func (r *pairing) meet(endpoint, proxy string) {
	r.b.publish(fed.Manifest{Endpoints: []string{endpoint}})
	r.a.rule(r.b, func(p *fed.Peer) { p.Proxy = proxy }) // from the beginning: a link that is up without one stays
	r.b.rule(r.a, func(*fed.Peer) {})
}

// talk has both say something, and checks by which transport it went.
func (r *pairing) talk(t *testing.T, via string) {
	t.Helper()
	r.a.until("a link", func() bool { l := r.x.m.linkOf(r.b.id); return l != nil && l.wire.Via() == via && r.y.up(r.a) })
	const messages = 50
	for _, m := range numbered("m", messages) {
		r.a.say(1, r.b, 2, m)
		r.b.say(2, r.a, 1, m)
	}
	r.a.until("all is there", func() bool { return r.a.acked(r.b) && r.b.acked(r.a) })
	if got := fromAuthor(t, r.b, 2, 0, r.a, 1); len(got) != messages || got[messages-1] != "m49" {
		t.Errorf("b has %q", got)
	}
	if got := fromAuthor(t, r.a, 1, 0, r.b, 2); len(got) != messages || got[0] != "m0" {
		t.Errorf("a has %q", got)
	}
}

// TestQUIC links two offices over QUIC [FED-TR-1], which wins although TLS is there.
func TestQUIC(t *testing.T) {
	r := newReal(t)
	r.meet(r.y.port(t, false), "")
	r.talk(t, "quic")
	before := r.x.m.linkOf(r.b.id)
	r.y.follows.Store(true)
	r.a.until("a was told", func() bool { return strings.Contains(r.x.m.linkViews()[r.b.id].Error, "lead") })
	r.y.follows.Store(false)
	r.a.until("a link again", func() bool { l := r.x.m.linkOf(r.b.id); return l != nil && l != before && r.y.up(r.a) })
}

// TestBlockedUDP links them over TLS if UDP does not come through [F10] [FED-TR-2].
func TestBlockedUDP(t *testing.T) {
	r := newReal(t)
	r.meet(r.y.port(t, true), "")
	r.talk(t, "tls")
}

// TestProxied links them through an HTTP proxy [F10]; one that refuses is named in the error.
func TestProxied(t *testing.T) {
	r := newReal(t)
	p := newConnectProxy(t)
	p.refuse.Lock()
	r.meet(r.y.port(t, false), p.address)
	r.a.until("a knows", func() bool {
		return strings.Contains(r.x.m.linkViews()[r.b.id].Error, "proxy "+p.address+": it answers CONNECT with 407")
	})
	p.refuse.Unlock()
	r.talk(t, "tls")
}

// connectProxy is an HTTP proxy that knows CONNECT only. It sends what the server says first together with its answer.
type connectProxy struct {
	address string
	refuse  sync.Mutex // held: it wants a password
	running sync.WaitGroup
	closed  chan struct{}
}

func newConnectProxy(t *testing.T) *connectProxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &connectProxy{address: l.Addr().String(), closed: make(chan struct{})}
	p.running.Go(func() { // ends with the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.running.Go(func() { p.serve(c) }) // ends with its connection
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		close(p.closed)
		p.running.Wait()
	})
	return p
}

func (p *connectProxy) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	in := bufio.NewReader(c)
	req, err := http.ReadRequest(in)
	if err != nil || req.Method != http.MethodConnect {
		return
	}
	if !p.refuse.TryLock() {
		_, _ = io.WriteString(c, "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
		return
	}
	p.refuse.Unlock()
	there, err := net.Dial("tcp", req.Host)
	if err != nil {
		return
	}
	defer func() { _ = there.Close() }()
	_, _ = io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n")
	p.pass(c, there, in)
}

// pass copies both ways until either side, or the test, ends.
func (p *connectProxy) pass(c, there net.Conn, in io.Reader) {
	var both sync.WaitGroup
	ended := make(chan struct{}, 2)
	both.Go(func() { _, _ = io.Copy(there, in); ended <- struct{}{} })
	both.Go(func() { _, _ = io.Copy(c, there); ended <- struct{}{} })
	select {
	case <-ended:
	case <-p.closed:
	}
	_ = c.Close()
	_ = there.Close()
	both.Wait()
}

// TestIntercepted has somebody in between who looks into TLS: with a certificate of an authority, as proxies of companies do, or with a key of the right kind. Both
// are told from the peer, with a clear reason [F10] [FED-TR-2].
func TestIntercepted(t *testing.T) {
	authority, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, link, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, cert := range map[string]tls.Certificate{"authority": selfSigned(t, authority.Public(), authority), "ed25519": selfSigned(t, link.Public(), link)} {
		t.Run(name, func(t *testing.T) {
			r := newReal(t)
			r.meet(interceptor(t, r.y.port(t, true), cert), "")
			r.a.say(1, r.b, 2, "secret")
			r.a.until("a knows", func() bool { return strings.Contains(r.x.m.linkViews()[r.b.id].Error, "the connection is intercepted") })
			if r.x.up(r.b) || r.y.up(r.a) || r.a.acked(r.b) {
				t.Error("a link stands")
			}
		})
	}
}

func selfSigned(t *testing.T, public, private any) tls.Certificate {
	t.Helper()
	form := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "b"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, form, form, public, private)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}
}

// interceptor ends TLS with a certificate of its own and passes everything on over another connection.
func interceptor(t *testing.T, to string, cert tls.Certificate) string {
	t.Helper()
	conf := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13, NextProtos: []string{fed.ALPN}, ClientAuth: tls.RequireAnyClientCert}
	l, err := tls.Listen("tcp", "127.0.0.1:0", conf)
	if err != nil {
		t.Fatal(err)
	}
	p := &connectProxy{closed: make(chan struct{})}
	p.running.Go(func() { // ends with the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.running.Go(func() {
				defer func() { _ = c.Close() }()
				there, err := tls.Dial("tcp", to, &tls.Config{Certificates: conf.Certificates, InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, NextProtos: []string{fed.ALPN}})
				if err == nil {
					p.pass(c, there, c)
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		close(p.closed)
		p.running.Wait()
	})
	return l.Addr().String()
}

// TestDialNobody says what became of both attempts.
func TestDialNobody(t *testing.T) {
	b := newBranch(t, nil, 1)
	own, err := selfOf(&b.identity)
	if err != nil {
		t.Fatal(err)
	}
	var papers certificates
	conf, err := papers.client(own)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_, _, err = NewDialer(time.Millisecond).Dial(ctx, address, "", conf)
	if err == nil || !strings.Contains(err.Error(), "tls: ") || !strings.Contains(err.Error(), "quic: ") {
		t.Errorf("nobody there: %v", err)
	}
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = plain.Close() }()
	other := tls.NewListener(plain, &tls.Config{Certificates: conf.Certificates, MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}})
	done := make(chan struct{})
	go func() { // ends with the listener
		defer close(done)
		for {
			c, err := other.Accept()
			if err != nil {
				return
			}
			_ = c.(*tls.Conn).Handshake()
			_ = c.Close()
		}
	}()
	ctx, cancel = context.WithTimeout(context.Background(), time.Second) // QUIC has no answer
	defer cancel()
	_, _, err = NewDialer(time.Millisecond).Dial(ctx, plain.Addr().String(), "", conf)
	if err == nil || !strings.Contains(err.Error(), "nobody speaks "+fed.ALPN) {
		t.Errorf("somebody else there: %v", err)
	}
	_ = plain.Close()
	<-done
}

// TestCertificates makes one for each key, keeps it, and renews it in time.
func TestCertificates(t *testing.T) {
	b := newBranch(t, nil, 1)
	own, err := selfOf(&b.identity)
	if err != nil {
		t.Fatal(err)
	}
	var papers certificates
	first, err := papers.of(own)
	if err != nil {
		t.Fatal(err)
	}
	if key, ok := first.Leaf.PublicKey.(ed25519.PublicKey); !ok || !key.Equal(own.signer.Key.Public()) {
		t.Error("the certificate has another key")
	}
	if again, _ := papers.of(own); again != first {
		t.Error("another certificate for the same key")
	}
	papers.current.Leaf.NotAfter = time.Now().Add(29 * 24 * time.Hour)
	if again, _ := papers.of(own); again == first {
		t.Error("the certificate is not renewed")
	}
	b.identity.Keys[0].Purpose, b.identity.Keys[1].Purpose = fed.KeyVerify, fed.KeyActive
	next, err := selfOf(&b.identity)
	if err != nil {
		t.Fatal(err)
	}
	if other, _ := papers.of(next); !other.Leaf.PublicKey.(ed25519.PublicKey).Equal(next.signer.Key.Public()) {
		t.Error("the certificate has the former key")
	}
	var empty Manager
	empty.cfg.State = noIdentity{}
	if _, err := empty.ServerTLS(); protocol.CodeOf(err) != protocol.CodeUnavailable {
		t.Errorf("without an identity: %v", err)
	}
}

type noIdentity struct{ State }

func (noIdentity) FedIdentity() (*fed.Identity, error) { return nil, nil }
