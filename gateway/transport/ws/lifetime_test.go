package ws

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"

	"teamtalk/gateway/transport"
	"teamtalk/gateway/transport/transporttest"
	"teamtalk/protocol"
	"teamtalk/protocol/pdu"
)

// Idle connections get pings, those that are written to do not [TT-WS-5].
func TestPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		p := overPipe(t, Config{Ping: 25 * time.Second, Registerer: reg})
		began := time.Now()
		go func() {
			<-time.After(30 * time.Second)
			_ = p.server.Write([][]byte{frame(1, 0)})
		}()
		for _, want := range []struct {
			op byte
			at time.Duration
		}{{transporttest.OpPing, 25 * time.Second}, {transporttest.OpBinary, 30 * time.Second}, {transporttest.OpPing, 75 * time.Second}, {transporttest.OpPing, 100 * time.Second}} {
			op, _, err := p.client.Next()
			if err != nil || op != want.op || time.Since(began) != want.at {
				t.Fatalf("opcode %x after %v, %v; want %+v", op, time.Since(began), err, want)
			}
		}
		if n := counted(t, reg, "teamtalk_ws_pings_total", ""); n != 3 {
			t.Errorf("%v pings counted", n)
		}
		p.end()
	})
}

// A client that does not take a ping in time is given up.
func TestPingNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := overPipe(t, Config{Ping: 25 * time.Second})
		began := time.Now()
		if _, err := p.server.Read(pdu.MaxLen); err == nil || time.Since(began) != 25*time.Second+writeTimeout {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		p.end()
	})
}

// A client's ping is answered, after the Write under way, and does not make Read wait [TT-WS-5].
func TestPong(t *testing.T) {
	for _, every := range []time.Duration{-1, time.Hour} {
		p := overPipe(t, Config{Ping: every})
		read := make(chan error, 1)
		go func() {
			_, err := p.server.Read(pdu.MaxLen)
			read <- err
		}()
		for range 3 {
			if err := p.client.Send(true, transporttest.OpPing, []byte("there?")); err != nil {
				t.Fatal(err)
			}
			if op, payload, err := p.client.Next(); err != nil || op != transporttest.OpPong || string(payload) != "there?" {
				t.Fatalf("opcode %x, %q, %v", op, payload, err)
			}
		}
		go func() { _ = p.server.Write([][]byte{frame(1, 5)}) }()
		first, err := bufio.NewReaderSize(p.client.Conn, 16).ReadByte() // the Write is under way
		if err != nil || first != 0x82 {
			t.Fatalf("%x, %v", first, err)
		}
		_ = first
		for _, text := range []string{"one", "two"} {
			if err := p.client.Send(true, transporttest.OpPing, []byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		_ = p.server.SetReadDeadline(time.Unix(1, 0))
		if err := <-read; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("Read: %v", err)
		}
		p.end()
	}
}

// Close says why, after the last PDU, and waits for the client, but not for ever [TT-WS-6].
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, answers := range []bool{true, false} {
			p := overPipe(t, Config{})
			go func() {
				_ = p.server.Write([][]byte{frame(1, 5)})
				_ = p.server.Close(protocol.CodeKicked)
			}()
			if op, _, err := p.client.Next(); err != nil || op != transporttest.OpBinary {
				t.Fatalf("opcode %x, %v", op, err)
			}
			op, payload, err := p.client.Next()
			if err != nil || op != transporttest.OpClose || !bytes.Equal(payload, []byte{4009 >> 8, 4009 & 0xff}) {
				t.Fatalf("opcode %x, %x, %v", op, payload, err)
			}
			began, want := time.Now(), defaultFlush
			if answers {
				want = 0
				if err := p.client.Send(true, transporttest.OpBinary, frame(2, 5)); err != nil { // it crossed
					t.Fatal(err)
				}
				if err := p.client.Send(true, transporttest.OpClose, payload); err != nil {
					t.Fatal(err)
				}
			}
			if _, _, err := p.client.Next(); err == nil || time.Since(began) != want {
				t.Errorf("answered %v: closed after %v with %v", answers, time.Since(began), err)
			}
			p.end()
		}
	})
}

// A Read that was interrupted inside a frame does not keep the close from being said and the last PDU from arriving [TT-WS-6].
func TestCloseInsideAFrame(t *testing.T) {
	p := overPipe(t, Config{Flush: 50 * time.Millisecond})
	defer p.end()
	wire := transporttest.AppendFrame(nil, true, transporttest.OpBinary, frame(1, 100))
	go func() { _, _ = p.client.Conn.Write(wire[:40]) }()
	_ = p.server.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := p.server.Read(pdu.MaxLen); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	go func() {
		_ = p.server.Write([][]byte{frame(1, 5)})
		_ = p.server.Close(protocol.CodeKicked)
	}()
	if op, _, err := p.client.Next(); err != nil || op != transporttest.OpBinary {
		t.Fatalf("opcode %x, %v", op, err)
	}
	go func() { _, _ = p.client.Conn.Write(wire[40:]) }()
	if code := closed(t, p.client); code != 4009 {
		t.Errorf("close %d", code)
	}
}

// The client's close is answered, and is an orderly end; one inside a message is not.
func TestClientCloses(t *testing.T) {
	for _, inside := range []bool{false, true} {
		p := overPipe(t, Config{})
		go func() {
			if inside {
				_ = p.client.Send(false, transporttest.OpBinary, frame(1, 100)[:50])
			}
			_ = p.client.Send(true, transporttest.OpClose, []byte{3, 233})
		}()
		read := make(chan error, 1)
		go func() {
			_, err := p.server.Read(pdu.MaxLen)
			read <- err
		}()
		op, payload, err := p.client.Next()
		if err != nil || op != transporttest.OpClose || !bytes.Equal(payload, []byte{3, 233}) {
			t.Fatalf("opcode %x, %x, %v", op, payload, err)
		}
		if err := <-read; inside != errors.Is(err, io.ErrUnexpectedEOF) || inside == errors.Is(err, io.EOF) {
			t.Errorf("inside %v: Read: %v", inside, err)
		}
		if err := p.server.Write([][]byte{frame(1, 1)}); err == nil {
			t.Error("Write succeeds")
		}
		p.end()
	}
}

// Stop leaves connections alone, Close says that the node is going, and waits for the goodbyes [TT-WS-6].
func TestStopAndClose(t *testing.T) {
	began, ended := make(chan struct{}), make(chan error, 1)
	h, srv := serve(t, Config{Handle: func(c transport.Conn) {
		close(began)
		_, err := c.Read(pdu.MaxLen)
		if err == nil {
			_, err = c.Read(pdu.MaxLen)
		}
		ended <- err
	}}, false)
	c, err := transporttest.DialWebSocket(srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Conn.Close()
	<-began
	h.Stop()
	if _, err := transporttest.DialWebSocket(srv.Listener.Addr().String()); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("after Stop: %v", err)
	}
	if err := c.Send(true, transporttest.OpBinary, frame(1, 1)); err != nil {
		t.Fatal(err)
	}
	closing := make(chan struct{})
	go func() {
		defer close(closing)
		h.Close()
	}()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read: %v", err)
	}
	if code := closed(t, c); code != 4010 {
		t.Errorf("close %d", code)
	}
	<-closing
}

// Another implementation: the library's client, which offers compression.
func TestLibraryClient(t *testing.T) {
	_, srv := serve(t, Config{Handle: func(c transport.Conn) {
		for {
			p, err := c.Read(pdu.MaxLen)
			if err != nil {
				return
			}
			raw := pdu.AppendRaw(nil, p.Header, p.Body)
			if err := c.Write([][]byte{raw, raw}); err != nil {
				t.Error(err)
			}
		}
	}}, true)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, res, err := websocket.Dial(ctx, srv.URL+"/ws", &websocket.DialOptions{HTTPClient: srv.Client(), Subprotocols: []string{subprotocol},
		CompressionMode: websocket.CompressionContextTakeover})
	if err != nil {
		t.Fatal(err)
	}
	if ext := res.Header.Get("Sec-WebSocket-Extensions"); ext != "" {
		t.Errorf("extensions %q", ext)
	}
	c.SetReadLimit(-1)
	for _, n := range []int{0, 100, 1000, 70_000} {
		f := frame(7, n)
		if err := c.Write(ctx, websocket.MessageBinary, f); err != nil {
			t.Fatal(err)
		}
		if kind, got, err := c.Read(ctx); err != nil || kind != websocket.MessageBinary || !bytes.Equal(got, append(bytes.Clone(f), f...)) {
			t.Fatalf("%v, %d bytes, %v", kind, len(got), err)
		}
	}
	if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Error(err)
	}
}

// FuzzClient sends anything after the handshake: Read ends, and what it returns was sent.
func FuzzClient(f *testing.F) {
	f.Add(transporttest.AppendFrame(nil, true, transporttest.OpBinary, frame(1, 10)))
	f.Add(transporttest.AppendFrame(transporttest.AppendFrame(nil, false, transporttest.OpBinary, frame(1, 10)), true, transporttest.OpContinuation, frame(2, 0)))
	f.Add(transporttest.AppendFrame(transporttest.AppendFrame(nil, true, transporttest.OpPing, []byte("x")), true, transporttest.OpText, []byte("y")))
	f.Add(transporttest.AppendFrame(nil, true, transporttest.OpClose, []byte{3, 232}))
	f.Add([]byte{0x82, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4})
	f.Fuzz(func(t *testing.T, sent []byte) {
		p := overPipe(t, Config{Flush: time.Millisecond})
		go func() { _, _ = io.Copy(io.Discard, p.client.Conn) }() // ends with the connection
		go func() {
			_, _ = p.client.Conn.Write(sent)
			_ = p.client.Conn.Close()
		}()
		got := 0
		for {
			one, err := p.server.Read(pdu.MaxLenBeforeLogin)
			if err != nil {
				break
			}
			if got += pdu.HeaderLen + len(one.Body); int(one.Header.Length) != pdu.HeaderLen+len(one.Body) || got > len(sent) {
				t.Fatalf("%+v with %d bytes, %d of %d", one.Header, len(one.Body), got, len(sent))
			}
		}
		_ = p.server.Close(protocol.CodeInvalid)
		if _, err := p.server.Read(pdu.MaxLenBeforeLogin); err == nil {
			t.Fatal("there is more after Close")
		}
		p.end()
	})
}
