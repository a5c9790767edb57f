package gateway

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"teamtalk/gateway/transport"
	"teamtalk/gateway/transport/transporttest"
	"teamtalk/gateway/transport/ws"
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

// BenchmarkPairsWebSocket is BenchmarkPairs over WebSocket.
func BenchmarkPairsWebSocket(b *testing.B) {
	benchmarkPairs(b, listenWS, func(address string) net.Conn { return dialWS(b, address) })
}
