package longpoll

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"teamtalk/gateway/transport"
	"teamtalk/gateway/transport/transporttest"
)

// What holds for every transport holds here too, over HTTP/1.1 with polls parked at once and never, over TLS and HTTP/2, behind servers with
// deadlines of their own.
func TestConformance(t *testing.T) {
	for _, c := range []struct {
		name       string
		tls, http2 bool
		park       time.Duration
	}{{"HTTP1", false, false, time.Hour}, {"Parked", false, false, 1}, {"ParkedTLS", true, false, 1}, {"HTTP2", true, true, 1}} {
		t.Run(c.name, func(t *testing.T) {
			transporttest.Run(t, transporttest.Transport{
				Kind: transport.KindLongPoll, MaxPDU: maxBody, WholeOnly: true, HalfClose: true,
				Dial: func(t testing.TB) (transporttest.Client, transport.Conn) {
					desk := transporttest.NewDesk(t)
					h := New(Config{Handle: desk.Handle, Log: slog.New(slog.DiscardHandler), Timing: Timing{Park: c.park}})
					srv := startServer(t, h, c.tls, c.http2, 30*time.Second)
					t.Cleanup(func() {
						desk.Release()
						h.Close()
					})
					c, err := dialClient(t.Context(), srv.Client(), srv.URL)
					if err != nil {
						t.Fatal(err)
					}
					return c, desk.Next(t)
				},
			})
		})
	}
}

func startServer(t testing.TB, h http.Handler, useTLS, http2 bool, deadline time.Duration) *httptest.Server {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ReadTimeout, srv.Config.WriteTimeout = deadline, deadline
	srv.EnableHTTP2 = http2
	if useTLS {
		srv.TLS = &tls.Config{MinVersion: tls.VersionTLS13}
		srv.StartTLS()
	} else {
		srv.Start()
	}
	srv.Client().Transport.(*http.Transport).MaxIdleConnsPerHost = 16
	t.Cleanup(srv.Close)
	return srv
}
