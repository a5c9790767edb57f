package ws

import (
	"bufio"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"go.uber.org/goleak"

	"teamtalk/gateway/transport"
	"teamtalk/gateway/transport/transporttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve serves /ws until the test ends, as the node does: the sessions end, then the servers, then the handler.
func serve(t testing.TB, cfg Config, useTLS bool) (*Handler, *httptest.Server) {
	t.Helper()
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	h := New(cfg)
	mux := http.NewServeMux()
	mux.Handle("GET /ws", h)
	srv := httptest.NewUnstartedServer(mux)
	srv.EnableHTTP2 = true
	if useTLS {
		srv.StartTLS()
	} else {
		srv.Start()
	}
	t.Cleanup(func() {
		h.Stop()
		srv.Close()
		h.Close()
	})
	return h, srv
}

func tlsConn(t testing.TB, srv *httptest.Server, protocols ...string) net.Conn {
	t.Helper()
	cfg := srv.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	cfg.NextProtos = protocols
	c, err := tls.Dial("tcp", srv.Listener.Addr().String(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// recorder is the ResponseWriter of a request whose connection is one end of a pipe.
type recorder struct {
	*httptest.ResponseRecorder
	nc net.Conn
}

func (r recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return r.nc, bufio.NewReadWriter(bufio.NewReader(r.nc), bufio.NewWriter(r.nc)), nil
}

// piped is a connection without a network, which works in synctest bubbles.
type piped struct {
	h      *Handler
	client *transporttest.WebSocket
	server transport.Conn
	end    func() // ends everything and waits
}

func overPipe(t testing.TB, cfg Config) piped {
	t.Helper()
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	got := make(chan transport.Conn, 1)
	done := make(chan struct{})
	cfg.Handle = func(c transport.Conn) {
		got <- c
		<-done
	}
	h := New(cfg)
	a, b := net.Pipe()
	r := httptest.NewRequest(http.MethodGet, "/ws", nil)
	for k, v := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
		"Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==", "Sec-WebSocket-Protocol": subprotocol} {
		r.Header.Set(k, v)
	}
	h.ServeHTTP(recorder{httptest.NewRecorder(), b}, r)
	return piped{h: h, client: transporttest.NewWebSocket(a), server: <-got, end: func() {
		_ = a.Close()
		close(done)
		h.Close()
	}}
}

func pack(useTLS bool) transporttest.Transport {
	return transporttest.Transport{Kind: transport.KindWebSocket, Dial: func(t testing.TB) (transporttest.Client, transport.Conn) {
		desk := transporttest.NewDesk(t)
		// Long, because a farewell that is not over by then is cut off, and yet over before a test gives up.
		_, srv := serve(t, Config{Handle: desk.Handle, Flush: patience / 2}, useTLS)
		t.Cleanup(desk.Release)
		var c *transporttest.WebSocket
		var err error
		if useTLS {
			c, _, err = transporttest.Upgrade(tlsConn(t, srv, "http/1.1"), "Sec-WebSocket-Protocol: "+subprotocol)
		} else {
			c, err = transporttest.DialWebSocket(srv.Listener.Addr().String())
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c, desk.Next(t)
	}}
}

func TestConformance(t *testing.T) { transporttest.Run(t, pack(false)) }

func TestConformanceOverTLS(t *testing.T) { transporttest.Run(t, pack(true)) }
