package ws

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"

	"teamtalk/gateway/transport"
	"teamtalk/gateway/transport/transporttest"
	"teamtalk/protocol"
	"teamtalk/protocol/pdu"
)

const patience = 20 * time.Second

func frame(seq uint16, size int) []byte {
	return transporttest.Frame(pdu.CmdMsgData, seq, bytes.Repeat([]byte{byte(seq)}, size))
}

// counted is the value of a counter, by reason if the metric has one.
func counted(t *testing.T, r *prometheus.Registry, name, reason string) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (reason == "" || m.GetLabel()[0].GetValue() == reason) {
				return m.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("no counter %s{%s}", name, reason)
	return 0
}

// closed reads on to the server's close and answers it; -1: there was none.
func closed(t *testing.T, c *transporttest.WebSocket) int {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	for {
		op, payload, err := c.Next()
		if err != nil {
			return -1
		}
		if op != transporttest.OpClose {
			continue
		}
		if err := c.Send(true, transporttest.OpClose, payload); err != nil {
			t.Error(err)
		}
		if len(payload) < 2 {
			return 1005
		}
		return int(binary.BigEndian.Uint16(payload))
	}
}

// Handshakes and their answers [TT-WS-1] [TT-WS-2] [TT-WS-7].
func TestHandshakes(t *testing.T) {
	const offer = "Sec-WebSocket-Protocol: chat, teamtalk.v1"
	for _, tc := range []struct {
		name   string
		extra  []string
		status int
		reason refusal // counted
		code   int     // of the close that follows; 0: the connection is open
	}{
		{name: "plain", extra: []string{offer}, status: 101},
		{name: "host itself", extra: []string{offer, "Origin: https://teamtalk.test"}, status: 101},
		{name: "allowed", extra: []string{offer, "Origin: https://Chat.example"}, status: 101},
		{name: "stranger", extra: []string{offer, "Origin: https://evil.example"}, status: 403, reason: refusedOrigin},
		{name: "null", extra: []string{offer, "Origin: null"}, status: 403, reason: refusedOrigin},
		{name: "two origins", extra: []string{offer, "Origin: https://teamtalk.test", "Origin: null"}, status: 403, reason: refusedOrigin},
		{name: "other port", extra: []string{offer, "Origin: https://teamtalk.test:8443"}, status: 403, reason: refusedOrigin},
		{name: "no subprotocol", status: 101, reason: refusedSubprotocol, code: 1002},
		{name: "other subprotocol", extra: []string{"Sec-WebSocket-Protocol: teamtalk.v2"}, status: 101, reason: refusedSubprotocol, code: 1002},
		{name: "no handshake", extra: []string{offer, "Sec-WebSocket-Key: again"}, status: 400, reason: refusedHandshake},
	} {
		t.Run(tc.name, func(t *testing.T) {
			reg := prometheus.NewRegistry()
			desk := transporttest.NewDesk(t)
			_, srv := serve(t, Config{Handle: desk.Handle, Origins: []string{"https://chat.example"}, Registerer: reg}, false)
			t.Cleanup(desk.Release)
			nc, err := net.Dial("tcp", srv.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			c, res, err := transporttest.Upgrade(nc, tc.extra...)
			if err != nil || res.StatusCode != tc.status {
				t.Fatalf("answer %+v, %v", res, err)
			}
			if tc.code != 0 {
				if code := closed(t, c); code != tc.code {
					t.Errorf("close %d", code)
				}
			}
			if tc.reason != "" {
				srv.Close() // waits for the handler
				if counted(t, reg, "teamtalk_ws_refused_total", string(tc.reason)) != 1 {
					t.Error("not counted")
				}
				return
			}
			if got := res.Header.Get("Sec-WebSocket-Protocol"); got != subprotocol {
				t.Errorf("subprotocol %q", got)
			}
			if desk.Next(t); counted(t, reg, "teamtalk_transport_accepted_total", "") != 1 {
				t.Error("not counted as accepted")
			}
		})
	}
}

// Whoever is no WebSocket client over HTTP/1.1 is told so [TT-WS-7].
func TestOtherRequests(t *testing.T) {
	h, srv := serve(t, Config{Handle: func(transport.Conn) { t.Error("a connection was handed over") }}, true)
	get := func(version int) int {
		t.Helper()
		tr := srv.Client().Transport.(*http.Transport).Clone()
		defer tr.CloseIdleConnections()
		if version == 1 {
			tr.TLSClientConfig.NextProtos, tr.ForceAttemptHTTP2 = []string{"http/1.1"}, false
		}
		res, err := (&http.Client{Transport: tr}).Get(srv.URL + "/ws")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil || res.ProtoMajor != version || len(text) < 10 {
			t.Errorf("HTTP/%d: %q, %v", res.ProtoMajor, text, err)
		}
		return res.StatusCode
	}
	if status := get(2); status != http.StatusHTTPVersionNotSupported {
		t.Errorf("HTTP/2: status %d", status)
	}
	if status := get(1); status != http.StatusUpgradeRequired {
		t.Errorf("HTTP/1.1: status %d", status)
	}
	h.Stop()
	if status := get(2); status != http.StatusServiceUnavailable {
		t.Errorf("stopped: status %d", status)
	}
}

// What breaks the rules of messages ends the connection with the status for it [TT-WS-3] [TT-WS-4].
func TestBadMessages(t *testing.T) {
	one := frame(1, 100)
	short := frame(1, 0)
	short[3] = 15
	whole := func(op byte, payload []byte) []byte { return transporttest.AppendFrame(nil, true, op, payload) }
	part := func(op byte, payload []byte) []byte { return transporttest.AppendFrame(nil, false, op, payload) }
	unmasked := append([]byte{0x82, byte(len(short))}, short...)
	reserved := whole(transporttest.OpBinary, one)
	reserved[0] |= 0x40
	huge := []byte{0x82, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}
	for _, tc := range []struct {
		name string
		send []byte
		err  error
		code int
		read int // PDUs before it
	}{
		{name: "text", send: whole(transporttest.OpText, one), err: ErrText, code: 1003},
		{name: "text after a PDU", send: append(whole(transporttest.OpBinary, one), whole(transporttest.OpText, []byte("hello"))...), err: ErrText, code: 1003, read: 1},
		{name: "cut in the header", send: whole(transporttest.OpBinary, one[:15]), err: ErrCut, code: 1007},
		{name: "cut in the body", send: whole(transporttest.OpBinary, one[:115]), err: ErrCut, code: 1007},
		{name: "cut before the body", send: whole(transporttest.OpBinary, one[:16]), err: ErrCut, code: 1007},
		{name: "second cut", send: whole(transporttest.OpBinary, append(bytes.Clone(one), one[:20]...)), err: ErrCut, code: 1007, read: 1},
		{name: "cut fragments", send: append(part(transporttest.OpBinary, one[:20]), whole(transporttest.OpContinuation, nil)...), err: ErrCut, code: 1007},
		{name: "empty", send: whole(transporttest.OpBinary, nil), err: ErrCut, code: 1007},
		{name: "continuation of nothing", send: whole(transporttest.OpContinuation, one), err: ErrFrame, code: 1002},
		{name: "message inside a message", send: append(part(transporttest.OpBinary, one[:20]), whole(transporttest.OpBinary, one)...), err: ErrFrame, code: 1002},
		{name: "fragment of a ping", send: part(transporttest.OpPing, nil), err: ErrFrame, code: 1002},
		{name: "long ping", send: whole(transporttest.OpPing, make([]byte, 126)), err: ErrFrame, code: 1002},
		{name: "unknown opcode", send: whole(0x3, one), err: ErrFrame, code: 1002},
		{name: "unmasked", send: unmasked, err: ErrFrame, code: 1002},
		{name: "compressed", send: reserved, err: ErrFrame, code: 1002},
		{name: "negative length", send: huge, err: ErrFrame, code: 1002},
		{name: "length below the header", send: whole(transporttest.OpBinary, short), err: pdu.ErrLength, code: 4001},
		{name: "large PDU", send: whole(transporttest.OpBinary, frame(1, 8<<10)), err: pdu.ErrTooLarge, code: 4001},
		{name: "large message", send: whole(transporttest.OpBinary, append(frame(1, 5<<10), frame(2, 5<<10)...)), err: pdu.ErrTooLarge, code: 4001, read: 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			reg := prometheus.NewRegistry()
			p := overPipe(t, Config{Registerer: reg})
			defer p.end()
			go func() { _, _ = p.client.Conn.Write(tc.send) }()
			read := make(chan error, 1)
			go func() {
				for range tc.read {
					if got, err := p.server.Read(pdu.MaxLenBeforeLogin); err != nil || got.Header.Seq != 1 {
						t.Errorf("PDU %+v, %v", got.Header, err)
					}
				}
				_, err := p.server.Read(pdu.MaxLenBeforeLogin)
				_ = p.server.Close(protocol.CodeInvalid) // as the session does
				read <- err
			}()
			if code := closed(t, p.client); code != tc.code {
				t.Errorf("close %d, want %d", code, tc.code)
			}
			if err := <-read; !errors.Is(err, tc.err) {
				t.Errorf("Read: %v, want %v", err, tc.err)
			}
			for err, why := range map[error]refusal{ErrText: refusedText, ErrCut: refusedCut, ErrFrame: refusedFrame} {
				if n := counted(t, reg, "teamtalk_ws_refused_total", string(why)); (n == 1) != (tc.err == err) {
					t.Errorf("%s counted %v times", why, n)
				}
			}
		})
	}
}

// PDUs come out as they went in, however they are spread over messages and fragments, with pings between [TT-WS-3].
func TestAnySpread(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := overPipe(t, Config{})
		defer p.end()
		sizes := rapid.SliceOfN(rapid.IntRange(0, 9000), 1, 12).Draw(rt, "bodies")
		var wire []byte
		for i := 0; i < len(sizes); {
			var message []byte
			for n := rapid.IntRange(1, 4).Draw(rt, "PDUs in a message"); n > 0 && i < len(sizes); n-- {
				message = append(message, frame(uint16(i), sizes[i])...)
				i++
			}
			op := byte(transporttest.OpBinary)
			for final := false; !final; op = transporttest.OpContinuation {
				n := rapid.IntRange(0, len(message)).Draw(rt, "fragment")
				final = n == len(message) && rapid.Bool().Draw(rt, "final")
				wire = transporttest.AppendFrame(wire, final, op, message[:n])
				if message = message[n:]; rapid.Bool().Draw(rt, "ping") {
					wire = transporttest.AppendFrame(wire, true, transporttest.OpPing, []byte("still there?"))
				}
			}
		}
		go func() { _, _ = io.Copy(io.Discard, p.client.Conn) }() // pongs
		go func() { _, _ = p.client.Conn.Write(wire) }()
		for i, n := range sizes {
			got, err := p.server.Read(pdu.MaxLen)
			if err != nil || got.Header.Seq != uint16(i) || len(got.Body) != n {
				rt.Fatalf("PDU %d of %d bytes: %+v, %v", i, n, got.Header, err)
			}
		}
	})
}

// A PDU does not wait for the rest of its message [TT-WS-3].
func TestPDUsBeforeTheirMessageIsWhole(t *testing.T) {
	p := overPipe(t, Config{})
	defer p.end()
	message := append(frame(1, 10), frame(2, 10)...)
	wire := transporttest.AppendFrame(nil, true, transporttest.OpBinary, message)
	go func() { _, _ = p.client.Conn.Write(wire[:len(wire)-1]) }()
	if got, err := p.server.Read(pdu.MaxLen); err != nil || got.Header.Seq != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
}

// Clients may send before the handshake's answer has come: what came with the request is not lost.
func TestEarlyBytes(t *testing.T) {
	desk := transporttest.NewDesk(t)
	_, srv := serve(t, Config{Handle: desk.Handle}, false)
	t.Cleanup(desk.Release)
	for _, n := range []int{1, 30, 60} { // net/http's buffer holds 4 KiB, ours 512 bytes
		nc, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		var wire []byte
		for i := range n {
			wire = transporttest.AppendFrame(wire, true, transporttest.OpBinary, frame(uint16(i), 60))
		}
		request := "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: teamtalk.v1\r\n" +
			"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
		if _, err := nc.Write(append([]byte(request), wire...)); err != nil {
			t.Fatal(err)
		}
		c := desk.Next(t)
		_ = c.SetReadDeadline(time.Now().Add(patience))
		for i := range n {
			if got, err := c.Read(pdu.MaxLen); err != nil || got.Header.Seq != uint16(i) {
				t.Fatalf("PDU %d of %d: %+v, %v", i, n, got.Header, err)
			}
		}
		_ = nc.Close()
	}
}

// countingConn counts system calls of writing.
type countingConn struct {
	net.Conn
	writes atomic.Int64
}

func (c *countingConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// The frames of a Write are one message and, where the socket has no vectors, one write too [TT-WS-3].
func TestOneMessagePerWrite(t *testing.T) {
	p := overPipe(t, Config{})
	defer p.end()
	counting := &countingConn{Conn: p.server.(*conn).sock.Conn}
	p.server.(*conn).sock.Conn = counting
	for _, n := range []int{1, 2, 64} {
		before := counting.writes.Load()
		var frames [][]byte
		for i := range n {
			frames = append(frames, frame(uint16(i), 200))
		}
		want := bytes.Join(frames, nil)
		failed := make(chan error, 1)
		go func() { failed <- p.server.Write(frames) }()
		op, payload, err := p.client.Next()
		if err != nil || op != transporttest.OpBinary || !bytes.Equal(payload, want) {
			t.Fatalf("%d frames: opcode %x, %d bytes, %v", n, op, len(payload), err)
		}
		if err := <-failed; err != nil {
			t.Fatal(err)
		}
		if got := counting.writes.Load() - before; got != 1 {
			t.Errorf("%d frames: %d writes", n, got)
		}
	}
}

// More than a PDU may hold takes another message [TT-WS-3].
func TestMessagesAreBounded(t *testing.T) {
	p := overPipe(t, Config{})
	defer p.end()
	big := frame(1, pdu.MaxLen-pdu.HeaderLen)
	go func() { _ = p.server.Write([][]byte{frame(0, 0), big, frame(2, 0)}) }()
	for _, want := range []int{pdu.HeaderLen, pdu.MaxLen, pdu.HeaderLen} {
		if _, payload, err := p.client.Next(); err != nil || len(payload) != want {
			t.Fatalf("a message of %d bytes, %v", len(payload), err)
		}
	}
}
