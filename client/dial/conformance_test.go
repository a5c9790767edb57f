package dial

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"teamtalk/gateway/transport"
	"teamtalk/gateway/transport/longpoll"
	"teamtalk/gateway/transport/quicport"
	"teamtalk/gateway/transport/tlsport"
	"teamtalk/gateway/transport/ws"
	"teamtalk/protocol"
	"teamtalk/protocol/pdu"
)

// The halves of the server, each serving connections with handle, and the address that a client uses.

func realTCP(t testing.TB, handle func(transport.Conn)) string {
	p, err := transport.ListenTCP(transport.TCPConfig{Address: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	serving(t, func() error { return p.Serve(handle) }, p.Close)
	return "tcp://" + p.Addr().String()
}

func realTLS(t testing.TB, handle func(transport.Conn)) string {
	ln, err := transport.Listen(transport.ListenerConfig{Address: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	p := tlsport.New(tlsport.Config{Listener: ln, TLS: &tls.Config{Certificates: []tls.Certificate{testIdentity(t).cert}}, Log: slog.New(slog.DiscardHandler)})
	serving(t, func() error { return p.Serve(handle) }, func() { _ = p.Close() })
	return "tls://" + p.Addr().String()
}

func realQUIC(t testing.TB, handle func(transport.Conn)) string {
	p, err := quicport.Listen(quicport.Config{Address: "127.0.0.1:0", TLS: &tls.Config{Certificates: []tls.Certificate{testIdentity(t).cert}},
		Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	serving(t, func() error { return p.Serve(handle) }, p.Close)
	return "quic://" + p.Addr().String()
}

func realWebSocket(t testing.TB, handle func(transport.Conn)) string {
	h := ws.New(ws.Config{Handle: handle, Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(h.Close)
	return "wss://" + strings.TrimPrefix(serveHTTPS(t, h, false).URL, "https://")
}

func realLongPoll(t testing.TB, handle func(transport.Conn)) string {
	h := longpoll.New(longpoll.Config{Handle: handle, Log: slog.New(slog.DiscardHandler)})
	s := serveHTTPS(t, h, true)
	t.Cleanup(h.Close) // before the server, which waits for the polls
	return s.URL
}

func realLongPollPlain(t testing.TB, handle func(transport.Conn)) string {
	h := longpoll.New(longpoll.Config{Handle: handle, Log: slog.New(slog.DiscardHandler)})
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	t.Cleanup(h.Close)
	return s.URL
}

func serveHTTPS(t testing.TB, h http.Handler, http2 bool) *httptest.Server {
	s := httptest.NewUnstartedServer(h)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{testIdentity(t).cert}}
	s.EnableHTTP2 = http2
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func serving(t testing.TB, serve func() error, stop func()) {
	served := make(chan error, 1)
	go func() { served <- serve() }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

// Every transport keeps the promises of Conn, with the server's half of it [TT-SESS-23].
func TestConformance(t *testing.T) {
	for _, tr := range []struct {
		name  string
		serve func(testing.TB, func(transport.Conn)) string
		via   Transport
		codes bool // the transport has a place for the server's code
	}{
		{"TCP", realTCP, TCP, false},
		{"TLS", realTLS, TLS, false},
		{"QUIC", realQUIC, QUIC, true},
		{"WebSocket", realWebSocket, WebSocket, true},
		{"LongPoll", realLongPoll, LongPoll, false},
		{"LongPollPlain", realLongPollPlain, LongPoll, false},
	} {
		t.Run(tr.name, func(t *testing.T) {
			t.Run("Echo", func(t *testing.T) { conformEcho(t, connect(t, testOptions(t), tr.serve(t, echo)), tr.via) })
			t.Run("LargeDown", func(t *testing.T) { conformLargeDown(t, tr.serve) })
			t.Run("ServerEnds", func(t *testing.T) { conformServerEnds(t, tr.serve) })
			t.Run("ServerCloses", func(t *testing.T) { conformServerCloses(t, tr.serve, tr.codes) })
			t.Run("ClientCloses", func(t *testing.T) { conformClientCloses(t, tr.serve) })
			t.Run("CloseInterrupts", func(t *testing.T) { conformInterrupts(t, tr.serve) })
			t.Run("DialerCloses", func(t *testing.T) { conformDialerCloses(t, tr.serve) })
			t.Run("Alone", func(t *testing.T) { conformAlone(t, tr.serve) })
		})
	}
}

// echo answers every PDU with itself until the client ends.
func echo(c transport.Conn) {
	for {
		p, err := c.Read(pdu.MaxLen)
		if err != nil {
			return
		}
		if c.Write([][]byte{pdu.AppendRaw(nil, p.Header, p.Body)}) != nil {
			return
		}
	}
}

func conformEcho(t *testing.T, c Conn, via Transport) {
	if c.Via() != via || c.Route().Transport != via || c.RemoteAddr() == "" {
		t.Errorf("it says that it is %v, %v to %q", c.Via(), c.Route(), c.RemoteAddr())
	}
	at := c.LastHeard()
	var sent [][]byte
	for i := range 200 {
		sent = append(sent, frame(pdu.CmdHeartbeat, uint16(i), bytes.Repeat([]byte{byte(i)}, i*i%5000)))
	}
	sent = append(sent, frame(pdu.CmdMsgData, 1, bytes.Repeat([]byte("x"), 900<<10)), frame(pdu.CmdHeartbeat, 2, nil))
	done := make(chan error, 1)
	go func() {
		for rest := sent; len(rest) > 0; {
			n := min(len(rest), 1+len(rest)%37)
			if err := c.Write(rest[:n]); err != nil {
				done <- err
				return
			}
			rest = rest[n:]
		}
		done <- nil
	}()
	for _, f := range sent {
		expect(t, c, f)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if !c.LastHeard().After(at) {
		t.Error("nothing has been heard")
	}
}

type serveFunc func(testing.TB, func(transport.Conn)) string

func conformLargeDown(t *testing.T, serve serveFunc) {
	largest := frame(pdu.CmdMsgListRes, 7, bytes.Repeat([]byte("y"), pdu.MaxLen-pdu.HeaderLen))
	c := connect(t, testOptions(t), serve(t, func(s transport.Conn) {
		if _, err := s.Read(pdu.MaxLen); err == nil {
			_ = s.Write([][]byte{largest, frame(pdu.CmdHeartbeat, 8, nil)})
		}
		_, _ = s.Read(pdu.MaxLen)
	}))
	write(t, c, frame(pdu.CmdHeartbeat, 1, nil))
	expect(t, c, largest)
	expect(t, c, frame(pdu.CmdHeartbeat, 8, nil))
}

// What a server writes before it ends arrives, and then the end.
func conformServerEnds(t *testing.T, serve serveFunc) {
	c := connect(t, testOptions(t), serve(t, func(s transport.Conn) {
		if _, err := s.Read(pdu.MaxLen); err == nil {
			_ = s.Write([][]byte{frame(pdu.CmdBye, 0, []byte("bye"))})
			_ = s.CloseWrite()
			s.Discard(time.Now().Add(2 * time.Second))
		}
	}))
	write(t, c, frame(pdu.CmdHeartbeat, 1, nil))
	expect(t, c, frame(pdu.CmdBye, 0, []byte("bye")))
	err := expectEnd(t, c)
	if e := (*CloseError)(nil); !errors.Is(err, io.EOF) && !(errors.As(err, &e) && e.Code == protocol.CodeUnspecified) {
		t.Errorf("the end is %v", err)
	}
}

func conformServerCloses(t *testing.T, serve serveFunc, codes bool) {
	c := connect(t, testOptions(t), serve(t, func(s transport.Conn) {
		if _, err := s.Read(pdu.MaxLen); err == nil {
			_ = s.Close(protocol.CodeKicked)
		}
	}))
	write(t, c, frame(pdu.CmdHeartbeat, 1, nil))
	err := expectEnd(t, c)
	if e := (*CloseError)(nil); codes && !(errors.As(err, &e) && e.Code == protocol.CodeKicked) {
		t.Errorf("the end is %v", err)
	}
}

// What a client wrote before it closes arrives, whatever the server was sending at the time.
func conformClientCloses(t *testing.T, serve serveFunc) {
	got := make(chan error, 1)
	d := newTestDialer(t, testOptions(t), serve(t, func(s transport.Conn) {
		for i := 0; ; i++ {
			p, err := s.Read(pdu.MaxLen)
			switch {
			case err != nil && i == 40 && errors.Is(err, io.EOF):
				got <- nil
				return
			case err != nil:
				got <- fmt.Errorf("after %d: %w", i, err)
				return
			case int(p.Header.Seq) != i:
				got <- fmt.Errorf("number %d came as %d", p.Header.Seq, i)
				return
			}
			_ = s.Write([][]byte{frame(pdu.CmdHeartbeat, 0, make([]byte, 100))})
		}
	}))
	c, err := d.Race().Next(within(t))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		write(t, c, frame(pdu.CmdHeartbeat, uint16(i), make([]byte, 1000)))
	}
	began := time.Now()
	if err := c.Close(protocol.CodeUnspecified, "done"); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > goodbyeTime/2 {
		t.Errorf("Close took %v", took)
	}
	if err := c.Close(protocol.CodeUnspecified, ""); !isClosedErr(err) {
		t.Errorf("the second Close: %v", err)
	}
	if err := expectEnd(t, c); !isClosedErr(err) {
		t.Errorf("Read after Close: %v", err)
	}
	if err := c.Write([][]byte{frame(pdu.CmdHeartbeat, 1, nil)}); !isClosedErr(err) {
		t.Errorf("Write after Close: %v", err)
	}
	select {
	case err := <-got:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(testPatience):
		t.Error("the server saw no end")
	}
}

// Close ends a Read and a Write that wait for the server.
func conformInterrupts(t *testing.T, serve serveFunc) {
	hold := make(chan struct{})
	defer close(hold)
	c := connect(t, testOptions(t), serve(t, func(s transport.Conn) {
		_, _ = s.Read(pdu.MaxLen)
		<-hold
	}))
	write(t, c, frame(pdu.CmdHeartbeat, 1, nil))
	ended := make(chan error, 2)
	go func() {
		_, err := c.Read()
		ended <- err
	}()
	go func() {
		big := frame(pdu.CmdMsgData, 0, make([]byte, 1<<20-pdu.HeaderLen))
		for {
			if err := c.Write([][]byte{big}); err != nil {
				ended <- err
				return
			}
		}
	}()
	time.AfterFunc(50*time.Millisecond, func() { _ = c.Close(protocol.CodeUnspecified, "") }) // both may wait by then
	for range 2 {
		select {
		case err := <-ended:
			if !isClosedErr(err) {
				t.Errorf("got %v", err)
			}
		case <-time.After(testPatience):
			t.Fatal("still waiting")
		}
	}
}

// A Dialer that is closed breaks what is open.
func conformDialerCloses(t *testing.T, serve serveFunc) {
	d, err := New([]string{serve(t, echo)}, testOptions(t))
	if err != nil {
		t.Fatal(err)
	}
	c, err := d.Race().Next(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if err := expectEnd(t, c); !isClosedErr(err) {
		t.Errorf("got %v", err)
	}
	if _, err := d.Race().Next(within(t)); err == nil {
		t.Error("a closed Dialer connects")
	}
	if err := d.Close(); err != nil {
		t.Errorf("the second Close: %v", err)
	}
}

// A connection without a Dialer leaves nothing behind when it is closed.
func conformAlone(t *testing.T, serve serveFunc) {
	routes, err := Parse([]string{serve(t, echo)}, false)
	if err != nil {
		t.Fatal(err)
	}
	c, err := DialRoute(within(t), routes[0], testOptions(t))
	if err != nil {
		t.Fatal(err)
	}
	f := frame(pdu.CmdHeartbeat, 3, []byte("x"))
	write(t, c, f)
	expect(t, c, f)
	if err := c.Close(protocol.CodeUnspecified, ""); err != nil {
		t.Error(err)
	}
	if err := c.Close(protocol.CodeUnspecified, ""); !isClosedErr(err) {
		t.Errorf("the second Close: %v", err)
	}
}

// A QUIC connection moves to another socket and goes on.
func TestRebind(t *testing.T) {
	from := make(chan string, 1)
	c := connect(t, testOptions(t), realQUIC(t, func(s transport.Conn) {
		for {
			p, err := s.Read(pdu.MaxLen)
			if err != nil {
				return
			}
			_ = s.Write([][]byte{pdu.AppendRaw(nil, p.Header, p.Body)})
			from <- s.RemoteAddr().String()
		}
	}))
	say := func(seq uint16) string {
		f := frame(pdu.CmdHeartbeat, seq, nil)
		write(t, c, f)
		expect(t, c, f)
		return <-from
	}
	before := say(1)
	mover, ok := c.(Rebinder)
	if !ok {
		t.Fatal("QUIC can't move")
	}
	for i := range 2 { // servers may ignore more within seconds
		if err := mover.Rebind(within(t)); err != nil {
			t.Fatalf("move %d: %v", i, err)
		}
		_ = say(uint16(10 + 2*i)) // the server follows with the first packet
		after := say(uint16(11 + 2*i))
		if after == before {
			t.Errorf("still at %v", after)
		}
		before = after
	}
	_ = c.Close(protocol.CodeUnspecified, "")
	if err := mover.Rebind(within(t)); err == nil {
		t.Error("a closed connection moves")
	}
}

// A route that leads nowhere says so in the end, and a cancelled one at once.
func TestRebindFails(t *testing.T) {
	o := testOptions(t)
	net1 := &oneSocket{Network: newMachine()}
	o.Net = net1
	c := connect(t, o, realQUIC(t, echo))
	f := frame(pdu.CmdHeartbeat, 1, nil)
	write(t, c, f)
	expect(t, c, f)
	mover, _ := c.(Rebinder)
	if err := mover.Rebind(within(t)); !errors.Is(err, errFake) {
		t.Errorf("without a socket: %v", err)
	}
	net1.deaf = true
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := mover.Rebind(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("by a socket that hears nothing: %v", err)
	}
	write(t, c, f)
	expect(t, c, f)
}

// oneSocket is a network that gives out one UDP socket, and then none or deaf ones.
type oneSocket struct {
	Network
	given, deaf bool
}

func (n *oneSocket) ListenPacket(ctx context.Context) (net.PacketConn, error) {
	if n.given && !n.deaf {
		return nil, errFake
	}
	pc, err := n.Network.ListenPacket(ctx)
	if n.given && err == nil {
		return muted{pc}, nil
	}
	n.given = true
	return pc, err
}

type muted struct{ net.PacketConn }

func (m muted) WriteTo(b []byte, _ net.Addr) (int, error) { return len(b), nil }
