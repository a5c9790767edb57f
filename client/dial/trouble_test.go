package dial

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/quic-go/quic-go"

	"teamtalk/protocol"
	"teamtalk/protocol/pdu"
)

// listenQUIC opens a UDP port and serves the session streams that come.
func listenQUIC(t testing.TB, id identity, conf *quic.Config, serve func(*quic.Conn, *quic.Stream)) net.Addr {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tr := &quic.Transport{Conn: pc}
	ln, err := tr.Listen(&tls.Config{Certificates: []tls.Certificate{id.cert}, NextProtos: []string{native}}, conf)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			qc, err := ln.Accept(ctx)
			if err != nil {
				return
			}
			wait.Go(func() {
				defer func() { _ = qc.CloseWithError(0, "") }()
				if str, err := qc.AcceptStream(ctx); err == nil {
					serve(qc, str)
				}
			})
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = ln.Close()
		_ = tr.Close() // and its connections
		_ = pc.Close()
		wait.Wait()
	})
	return ln.Addr()
}

func echoQUIC(_ *quic.Conn, str *quic.Stream) {
	_, _ = io.Copy(str, str)
	_ = str.Close()
}

// What is wrong with a certificate can be told from the error, whatever the transport.
func TestCertificateErrors(t *testing.T) {
	now := time.Now()
	good := testIdentity(t)
	other, err1 := makeIdentity(now.Add(-time.Hour), now.Add(time.Hour), "other.example")
	old, err2 := makeIdentity(now.Add(-2*time.Hour), now.Add(-time.Hour))
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		id    identity
		roots *x509.CertPool
		is    func(error) bool
	}{
		{"unknown authority", good, x509.NewCertPool(), func(err error) bool { return errors.As(err, new(x509.UnknownAuthorityError)) }},
		{"another host", other, other.roots, func(err error) bool { return errors.As(err, new(x509.HostnameError)) }},
		{"expired, or our clock is wrong", old, old.roots, func(err error) bool {
			var e x509.CertificateInvalidError
			return errors.As(err, &e) && e.Reason == x509.Expired
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			over := listen(t, serveTLS(c.id, "", echoBytes)).String()
			udp := listenQUIC(t, c.id, nil, echoQUIC).String()
			o := testOptions(t)
			o.TLS = &tls.Config{RootCAs: c.roots}
			d := newTestDialer(t, o, "quic://"+udp, "tls://"+over, "wss://"+over, "https://"+over)
			_, err := d.Race().Next(within(t))
			e := (*Error)(nil)
			if !errors.As(err, &e) || len(e.Attempts) != 4 || !c.is(err) {
				t.Fatalf("got %v", err)
			}
			for _, a := range e.Attempts {
				if !c.is(a.Err) {
					t.Errorf("%v: %v", a.Route, a.Err)
				}
			}
		})
	}
}

// A web server that opens TLS to everybody is no chat server.
func TestWrongProtocol(t *testing.T) {
	at := listen(t, serveTLS(testIdentity(t), "", echoBytes)).String()
	_, err := newTestDialer(t, testOptions(t), "tls://"+at).Race().Next(within(t))
	if err == nil || !strings.Contains(err.Error(), "does not speak") {
		t.Errorf("got %v", err)
	}
}

// A server whose queue is full for a moment is asked again.
func TestQUICRefused(t *testing.T) {
	for _, c := range []struct {
		times int32
		ok    bool
	}{{2, true}, {100, false}} {
		var asked atomic.Int32
		at := listenQUIC(t, testIdentity(t), &quic.Config{GetConfigForClient: func(*quic.ClientInfo) (*quic.Config, error) {
			if asked.Add(1) <= c.times {
				return nil, errFake // which it answers with CONNECTION_REFUSED
			}
			return &quic.Config{}, nil
		}}, echoQUIC)
		conn, err := newTestDialer(t, testOptions(t), "quic://"+at.String()).Race().Next(within(t))
		if (err == nil) != c.ok {
			t.Errorf("refused %d times: %v", c.times, err)
		}
		if err == nil {
			roundTrip(t, conn)
		}
	}
}

// Each QUIC connection has a socket to itself, and gives it back.
func TestQUICSockets(t *testing.T) {
	at := listenQUIC(t, testIdentity(t), nil, echoQUIC)
	o := testOptions(t)
	n := &countingNet{Network: newMachine()}
	o.Net = n
	d := newTestDialer(t, o, "quic://"+at.String())
	for want := 1; want <= 2; want++ {
		c, err := d.Race().Next(within(t))
		if err != nil {
			t.Fatal(err)
		}
		roundTrip(t, c)
		if n.sockets != want {
			t.Errorf("%d sockets for %d connections", n.sockets, want)
		}
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if _, err := n.last.WriteTo([]byte("x"), at); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the socket is still open: %v", err)
	}
}

type countingNet struct {
	Network
	sockets int
	last    net.PacketConn
}

func (n *countingNet) ListenPacket(ctx context.Context) (net.PacketConn, error) {
	pc, err := n.Network.ListenPacket(ctx)
	n.sockets++
	n.last = pc
	return pc, err
}

// Of several addresses of a host one that answers is enough.
func TestQUICAddresses(t *testing.T) {
	at := listenQUIC(t, testIdentity(t), nil, echoQUIC).(*net.UDPAddr)
	o := testOptions(t)
	o.Net = named{Network: newMachine(), addrs: []netip.Addr{netip.MustParseAddr("::1"), netip.MustParseAddr("127.0.0.1")}}
	o.Stagger = 20 * time.Millisecond
	o.TLS.ServerName = "localhost"
	c := connect(t, o, "quic://chat.example:"+strings.TrimPrefix(at.AddrPort().String(), "127.0.0.1:"))
	roundTrip(t, c)
	if !strings.HasPrefix(c.RemoteAddr(), "127.0.0.1:") {
		t.Errorf("connected to %v", c.RemoteAddr())
	}
	o.Net = named{Network: newMachine()}
	if _, err := newTestDialer(t, o, "quic://chat.example").Race().Next(within(t)); err == nil {
		t.Error("a host without an address")
	}
}

type named struct {
	Network
	addrs []netip.Addr
}

func (n named) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return n.addrs, nil
}

// badSocket is a WebSocket server of the test's own.
func badSocket(t testing.TB, subprotocols []string, serve func(context.Context, *websocket.Conn)) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: subprotocols})
		if err != nil {
			return
		}
		defer ws.CloseNow()
		ctx, cancel := context.WithTimeout(r.Context(), testPatience)
		defer cancel()
		serve(ctx, ws)
	}))
	t.Cleanup(s.Close)
	return "ws" + strings.TrimPrefix(s.URL, "http")
}

// How a WebSocket may end, and as what Read tells it.
func TestWebSocketEnds(t *testing.T) {
	f := frame(pdu.CmdHeartbeat, 1, []byte("abc"))
	for _, c := range []struct {
		name string
		do   func(context.Context, *websocket.Conn)
		is   func(error) bool
	}{
		{"normal", func(_ context.Context, ws *websocket.Conn) { _ = ws.Close(websocket.StatusNormalClosure, "") }, isEOF},
		{"4000", func(_ context.Context, ws *websocket.Conn) { _ = ws.Close(4000, "") }, isEOF},
		{"kicked", func(_ context.Context, ws *websocket.Conn) { _ = ws.Close(4009, "by the phone") }, closedWith(protocol.CodeKicked, "by the phone")},
		{"a code we don't know", func(_ context.Context, ws *websocket.Conn) { _ = ws.Close(4900, "") }, closedWith(protocol.CodeUnspecified, "")},
		{"too big", func(_ context.Context, ws *websocket.Conn) { _ = ws.Close(websocket.StatusMessageTooBig, "") },
			closedWith(protocol.CodeUnspecified, "WebSocket status 1009 ")},
		{"broken", func(_ context.Context, ws *websocket.Conn) { _ = ws.CloseNow() }, func(err error) bool { return err != nil }},
		{"text", func(ctx context.Context, ws *websocket.Conn) { _ = ws.Write(ctx, websocket.MessageText, f) }, func(err error) bool { return errors.Is(err, errText) }},
		{"cut", func(ctx context.Context, ws *websocket.Conn) {
			_ = ws.Write(ctx, websocket.MessageBinary, f[:17])
			_ = ws.Write(ctx, websocket.MessageBinary, f[17:])
		}, func(err error) bool { return errors.Is(err, errCut) }},
		{"too short", func(ctx context.Context, ws *websocket.Conn) {
			_ = ws.Write(ctx, websocket.MessageBinary, make([]byte, 16))
		},
			func(err error) bool { return errors.Is(err, pdu.ErrLength) }},
		{"too long", func(ctx context.Context, ws *websocket.Conn) {
			_ = ws.Write(ctx, websocket.MessageBinary, append([]byte{0xff}, make([]byte, 15)...))
		},
			func(err error) bool { return errors.Is(err, pdu.ErrTooLarge) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := connect(t, testOptions(t), badSocket(t, []string{subprotocol}, func(ctx context.Context, ws *websocket.Conn) {
				_ = ws.Write(ctx, websocket.MessageBinary, append(append([]byte(nil), f...), f...))
				c.do(ctx, ws)
				_, _, _ = ws.Read(ctx)
			}))
			expect(t, conn, f)
			expect(t, conn, f)
			if err := expectEnd(t, conn); !c.is(err) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func isEOF(err error) bool { return errors.Is(err, io.EOF) }

func closedWith(code protocol.Code, message string) func(error) bool {
	return func(err error) bool {
		e := (*CloseError)(nil)
		return errors.As(err, &e) && e.Code == code && e.Message == message
	}
}

// What is no WebSocket of ours is left alone.
func TestWebSocketRefused(t *testing.T) {
	at := badSocket(t, nil, func(ctx context.Context, ws *websocket.Conn) { _, _, _ = ws.Read(ctx) })
	if _, err := newTestDialer(t, testOptions(t), at).Race().Next(within(t)); err == nil || !strings.Contains(err.Error(), "does not speak") {
		t.Errorf("another subprotocol: %v", err)
	}
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	_, err := newTestDialer(t, testOptions(t), "ws"+strings.TrimPrefix(s.URL, "http")).Race().Next(within(t))
	if e := (*StatusError)(nil); !errors.As(err, &e) || e.Status != http.StatusNotFound {
		t.Errorf("no WebSocket at all: %v", err)
	}
}

// Pings are heard, though no PDU comes.
func TestWebSocketHearsPings(t *testing.T) {
	ping := make(chan struct{})
	pinged := make(chan error, 1)
	c := connect(t, testOptions(t), badSocket(t, []string{subprotocol}, func(ctx context.Context, ws *websocket.Conn) {
		ctx = ws.CloseRead(ctx)
		<-ping
		pinged <- ws.Ping(ctx)
		<-ctx.Done()
	}))
	at := c.LastHeard()
	close(ping)
	if err := <-pinged; err != nil {
		t.Fatal(err)
	}
	if !c.LastHeard().After(at) {
		t.Error("the ping was not heard")
	}
}

// The code and the reason of Close reach a server by the transports that have a place for them.
func TestCloseTells(t *testing.T) {
	told := make(chan error, 1)
	c := connect(t, testOptions(t), badSocket(t, []string{subprotocol}, func(ctx context.Context, ws *websocket.Conn) {
		_, _, err := ws.Read(ctx)
		told <- err
	}))
	long := strings.Repeat("é", 100)
	_ = c.Close(protocol.CodeDraining, long)
	var closed websocket.CloseError
	if err := <-told; !errors.As(err, &closed) || closed.Code != 4010 || !strings.HasPrefix(long, closed.Reason) {
		t.Errorf("WebSocket: %v", err)
	}
	at := listenQUIC(t, testIdentity(t), nil, func(qc *quic.Conn, str *quic.Stream) {
		_, _ = io.Copy(io.Discard, str)
		_ = str.Close()
		<-qc.Context().Done()
		told <- context.Cause(qc.Context())
	})
	c = connect(t, testOptions(t), "quic://"+at.String())
	write(t, c, frame(pdu.CmdHeartbeat, 1, nil))
	_ = c.Close(protocol.CodeDraining, "moving on")
	var app *quic.ApplicationError
	if err := <-told; !errors.As(err, &app) || app.ErrorCode != 10 || app.ErrorMessage != "moving on" {
		t.Errorf("QUIC: %v", err)
	}
}

// A server that ignores a goodbye does not hold up who says it.
func TestGoodbyeIsBounded(t *testing.T) {
	hold := make(chan struct{})
	deaf := func(nc net.Conn) { <-hold }
	quicAt := listenQUIC(t, testIdentity(t), nil, func(*quic.Conn, *quic.Stream) { <-hold })
	addresses := []string{
		"tcp://" + listen(t, deaf).String(),
		"tls://" + listen(t, serveTLS(testIdentity(t), native, deaf)).String(),
		"quic://" + quicAt.String(),
		badSocket(t, []string{subprotocol}, func(context.Context, *websocket.Conn) { <-hold }),
	}
	t.Cleanup(func() { close(hold) }) // before the servers are waited for
	for _, at := range addresses {
		t.Run(at[:4], func(t *testing.T) {
			t.Parallel()
			d := newTestDialer(t, testOptions(t), at)
			c, err := d.Race().Next(within(t))
			if err != nil {
				t.Fatal(err)
			}
			write(t, c, frame(pdu.CmdHeartbeat, 1, nil))
			began := time.Now()
			_ = c.Close(protocol.CodeUnspecified, "")
			if err := d.Close(); err != nil {
				t.Error(err)
			}
			if took := time.Since(began); took < goodbyeTime/2 || took > 5*goodbyeTime {
				t.Errorf("took %v", took)
			}
		})
	}
}

// The race with real sockets: where UDP goes nowhere TLS wins, and then is remembered.
func TestRealRace(t *testing.T) {
	hole, err := net.ListenPacket("udp", "127.0.0.1:0") // swallows everything
	if err != nil {
		t.Fatal(err)
	}
	defer hole.Close()
	o := testOptions(t)
	d := newTestDialer(t, o, "quic://"+hole.LocalAddr().String(), realTLS(t, echo), realLongPoll(t, echo))
	c, err := d.Race().Next(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if c.Via() != TLS {
		t.Errorf("connected by %v", c.Route())
	}
	roundTrip(t, c)
	d.Remember(c.Route())
	began := time.Now()
	c, err = d.Race().Next(within(t))
	if err != nil || c.Via() != TLS {
		t.Fatal(c, err)
	}
	if took := time.Since(began); took > defaultStagger {
		t.Logf("slow: %v", took)
	}
	roundTrip(t, c)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if better, err := d.Better(ctx, c.Route()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, %v", better, err)
	}
}
