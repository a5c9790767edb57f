package gateway

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"teamtalk/gateway/transport"
	"teamtalk/gateway/transport/transporttest"
	"teamtalk/gateway/transport/ws"
	"teamtalk/protocol"
	"teamtalk/protocol/pdu"
)

// listenWS serves the stage's server at /ws on loopback.
func listenWS(t testing.TB, s *stage) (address string, stop func()) {
	t.Helper()
	h := ws.New(ws.Config{Handle: func(c transport.Conn) { s.srv.ServeConn(context.Background(), c) }})
	mux := http.NewServeMux()
	mux.Handle("GET /ws", h)
	server := httptest.NewServer(mux)
	return server.Listener.Addr().String(), func() {
		h.Stop()
		if err := s.srv.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		server.Close()
		h.Close()
	}
}

func dialWS(t testing.TB, address string) *transporttest.WebSocket {
	t.Helper()
	c, err := transporttest.DialWebSocket(address)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(2 * time.Minute))
	return c
}

// A conversation over WebSocket: every message is acked and delivered in order, and a kicked client learns it and why its connection closes [TT-WS-6].
func TestOverWebSocket(t *testing.T) {
	s, stop := newStage(t, nil)
	defer stop()
	address, stopListening := listenWS(t, s)
	defer stopListening()
	a, b := logIn(t, dialWS(t, address), 1, false), logIn(t, dialWS(t, address), 2, true)
	defer a.Close()
	defer b.Close()
	const n = 500
	if err := sendWindow(t, a, 2, n, 50); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		got, err := b.next(pdu.CmdMsgData)
		if err != nil {
			t.Fatal(err)
		}
		m, err := pdu.Decode(got, pdu.ServerToClient)
		if err != nil || m.(interface{ GetMsgId() uint32 }).GetMsgId() != uint32(i+1) {
			t.Fatalf("message %d: %v, %v", i, m, err)
		}
	}
	again := logIn(t, dialWS(t, address), 1, false)
	defer again.Close()
	if _, err := a.next(pdu.CmdKickUser); err != nil {
		t.Fatal(err)
	}
	conn := a.Conn.(*transporttest.WebSocket)
	if err := conn.Send(true, transporttest.OpClose, []byte{3, 232}); err != nil { // as browsers do
		t.Fatal(err)
	}
	if op, _, err := conn.Next(); err != nil || op != transporttest.OpClose {
		t.Fatalf("opcode %x, %v", op, err)
	}
}

// An extended session that goes on elsewhere says so in its last PDU and in the closing handshake [TT-SESS-15] [TT-WS-6].
func TestByeOverWebSocket(t *testing.T) {
	s, stop := newStage(t, nil)
	defer stop()
	address, stopListening := listenWS(t, s)
	defer stopListening()
	hello := encode(t, pdu.CmdHello, 1, helloOf("laptop", web))
	var conns []*transporttest.WebSocket
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	for range 2 {
		c := dialWS(t, address)
		conns = append(conns, c)
		if _, err := c.Write(append(slices.Clone(hello), encode(t, pdu.CmdLoginReq, 2, loginReq("user1", web))...)); err != nil {
			t.Fatal(err)
		}
		p := &peer{c, pdu.NewReader(c)}
		if _, err := p.next(pdu.CmdCredential); err != nil {
			t.Fatal(err)
		}
	}
	var last []byte
	for {
		op, payload, err := conns[0].Next()
		if err != nil {
			t.Fatal(err)
		}
		if op != transporttest.OpClose {
			last = payload
			continue
		}
		if status := int(payload[0])<<8 | int(payload[1]); status != 4000+int(protocol.CodeReplaced) {
			t.Errorf("closed with %d", status)
		}
		break
	}
	r := pdu.NewReader(bytes.NewReader(last))
	for {
		p, err := r.Read(pdu.MaxLen)
		if err != nil {
			t.Fatal("no BYE")
		}
		if p.Header.Command == pdu.CmdBye {
			break
		}
	}
}

// BenchmarkPairsWebSocket is BenchmarkPairs over WebSocket.
func BenchmarkPairsWebSocket(b *testing.B) {
	benchmarkPairs(b, listenWS, func(address string) net.Conn { return dialWS(b, address) })
}
