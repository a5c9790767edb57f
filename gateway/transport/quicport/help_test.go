package quicport

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
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/quic-go/quic-go"
	"go.uber.org/goleak"

	"teamtalk/gateway/transport"
	"teamtalk/protocol"
	"teamtalk/protocol/pdu"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// identity is a server's certificate and what its clients trust.
type identity struct {
	cert  tls.Certificate
	roots *x509.CertPool
}

var newIdentity = sync.OnceValues(func() (identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return identity{}, err
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
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
})

func start(t testing.TB, cfg Config, handle func(transport.Conn)) *Port {
	t.Helper()
	id, err := newIdentity()
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Address == "" {
		cfg.Address = "127.0.0.1:0"
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.TLS = &tls.Config{Certificates: []tls.Certificate{id.cert}}
	p, err := Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- p.Serve(handle) }()
	t.Cleanup(func() {
		p.Close()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return p
}

// client is a socket that connections are made from.
type client struct {
	*quic.Transport
	tls *tls.Config
	cfg *quic.Config
}

func newClient(t testing.TB) *client {
	t.Helper()
	id, err := newIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return &client{
		Transport: newSocket(t),
		tls:       &tls.Config{RootCAs: id.roots, ServerName: "localhost", NextProtos: []string{ALPN}},
		cfg:       &quic.Config{MaxIdleTimeout: time.Minute},
	}
}

func newSocket(t testing.TB) *quic.Transport {
	t.Helper()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tr := &quic.Transport{Conn: udp}
	t.Cleanup(func() {
		_ = tr.Close()
		_ = udp.Close()
	})
	return tr
}

func (c *client) tryDial(t testing.TB, to net.Addr) (*quic.Conn, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return c.Dial(ctx, to, c.tls, c.cfg)
}

func (c *client) dial(t testing.TB, to net.Addr) *quic.Conn {
	t.Helper()
	qc, err := c.tryDial(t, to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = qc.CloseWithError(0, "") })
	return qc
}

// open opens the session stream.
func (c *client) open(t testing.TB, to net.Addr) (*quic.Conn, *quic.Stream) {
	t.Helper()
	qc := c.dial(t, to)
	str, err := qc.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	return qc, str
}

func frame(cmd pdu.Command, seq uint16, body []byte) []byte {
	return pdu.AppendRaw(nil, pdu.Header{Version: 1, Command: cmd, Seq: seq}, body)
}

// echo answers every PDU with itself until the client has ended, and lets it read the last answer.
func echo(c transport.Conn) {
	for {
		p, err := c.Read(pdu.MaxLen)
		if err != nil {
			return
		}
		if err := c.Write([][]byte{pdu.AppendRaw(nil, p.Header, p.Body)}); err != nil {
			return
		}
	}
}

func send(t testing.TB, w io.Writer, raw []byte) {
	t.Helper()
	if _, err := w.Write(raw); err != nil {
		t.Fatal(err)
	}
}

func expect(t testing.TB, r *quic.Stream, want []byte) {
	t.Helper()
	_ = r.SetReadDeadline(time.Now().Add(patience))
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Fatalf("got %x, want %x", got, want)
	}
}

// roundTrip sends a PDU and reads its echo.
func roundTrip(t testing.TB, str *quic.Stream, seq uint16) {
	t.Helper()
	f := frame(pdu.CmdHeartbeat, seq, []byte("ping"))
	send(t, str, f)
	expect(t, str, f)
}

// await waits for a value that metrics or the like reach.
func await(t testing.TB, what string, reached func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	timeout := time.After(patience)
	for !reached() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// counted is what a counter or gauge says.
func counted(c prometheus.Collector) int {
	reg := prometheus.NewRegistry()
	reg.MustRegister(c)
	families, err := reg.Gather()
	if err != nil || len(families) != 1 {
		return -1
	}
	m := families[0].GetMetric()[0]
	return int(m.GetCounter().GetValue() + m.GetGauge().GetValue())
}

// closedBy waits until the server has closed the connection, and returns its code.
func closedBy(t testing.TB, qc *quic.Conn) protocol.Code {
	t.Helper()
	select {
	case <-qc.Context().Done():
	case <-time.After(patience):
		t.Fatal("the connection is still open")
	}
	var app *quic.ApplicationError
	if err := context.Cause(qc.Context()); !asApplication(err, &app) || !app.Remote {
		t.Fatalf("the connection ended with %v", err)
	}
	return protocol.Code(app.ErrorCode)
}

// relay passes datagrams between clients and a server, as a NAT does.
type relay struct {
	front  *net.UDPConn
	server *net.UDPAddr
	lossy  func() bool // whether to lose the next datagram

	mu   sync.Mutex
	back *net.UDPConn
	from netip.AddrPort
	wait sync.WaitGroup
}

func newRelay(t testing.TB, server net.Addr) *relay {
	t.Helper()
	front, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{front: front, server: server.(*net.UDPAddr), lossy: func() bool { return false }}
	r.rebind(t)
	r.wait.Go(r.forward) // ends with the socket
	t.Cleanup(func() {
		_ = front.Close()
		r.mu.Lock()
		_ = r.back.Close()
		r.mu.Unlock()
		r.wait.Wait()
	})
	return r
}

// rebind gives the relay another port towards the server, as a NAT does that has forgotten a client.
func (r *relay) rebind(t testing.TB) netip.AddrPort {
	t.Helper()
	back, err := net.DialUDP("udp", nil, r.server)
	if err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.back != nil {
		_ = r.back.Close()
	}
	r.back = back
	r.wait.Go(func() { r.backward(back) }) // ends with the socket
	return back.LocalAddr().(*net.UDPAddr).AddrPort()
}

// lose says which datagrams to lose from now on.
func (r *relay) lose(lossy func() bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lossy = lossy
}

func (r *relay) forward() {
	buf := make([]byte, 2048)
	for {
		n, from, err := r.front.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		r.mu.Lock()
		r.from = from
		if !r.lossy() {
			_, _ = r.back.Write(buf[:n])
		}
		r.mu.Unlock()
	}
}

func (r *relay) backward(back *net.UDPConn) {
	buf := make([]byte, 2048)
	for {
		n, err := back.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // the server's port was closed for a moment
			continue
		}
		r.mu.Lock()
		to, lost := r.from, r.lossy() || r.back != back // too late
		r.mu.Unlock()
		if !lost && to.IsValid() {
			_, _ = r.front.WriteToUDPAddrPort(buf[:n], to)
		}
	}
}
