package quicport

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/webtransport-go"

	"teamtalk/gateway/transport"
)

const maxHeaderBytes = 32 << 10

// web serves HTTP/3, and WebTransport over it, on connections that the port has accepted.
type web struct {
	server   *webtransport.Server
	origins  []string
	sessions *transport.Tracker
	timing   Timing
	log      *slog.Logger
	handle   func(transport.Conn) // of sessions; set before the first connection
	requests count
	conns    count
}

func newWeb(cfg Config, sessions *transport.Tracker, log *slog.Logger) *web {
	w := &web{origins: cfg.Origins, sessions: sessions, timing: cfg.Timing, log: log}
	rest := withDeadlines(cfg.HTTP, cfg.Timing.HTTPRequest)
	w.server = &webtransport.Server{
		H3: &http3.Server{
			Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodConnect && r.URL.Path == webTransportPath {
					w.upgrade(rw, r)
					return
				}
				w.requests.begin()
				defer w.requests.end()
				rest.ServeHTTP(rw, r)
			}),
			MaxHeaderBytes: maxHeaderBytes,
			IdleTimeout:    cfg.Timing.HTTPIdle,
			Logger:         log,
		},
		CheckOrigin: func(*http.Request) bool { return true }, // has been checked
	}
	return w
}

// withDeadlines gives a request the time that a request over TCP has. The handler may set other deadlines in the same way.
func withDeadlines(next http.Handler, within time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		by := time.Now().Add(within)
		c := http.NewResponseController(w)
		_ = c.SetReadDeadline(by) // fails only on a stream that is closed
		_ = c.SetWriteDeadline(by)
		next.ServeHTTP(w, r)
	})
}

// serve returns when the connection has ended, with all its requests.
func (w *web) serve(qc *quic.Conn) {
	w.conns.begin()
	defer w.conns.end()
	_ = w.server.ServeQUICConn(qc)                                             // tells how the client left
	_ = qc.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "") // has no errors to tell
}

// shutdown waits for the requests under way, and then ends the connections: sessions are not requests, and have been ended before.
func (w *web) shutdown(ctx context.Context) error {
	defer w.close()
	if err := w.requests.wait(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, w.timing.Flush) // closing a connection destroys what the client has not got yet
	defer cancel()
	_ = w.conns.wait(ctx)
	return nil
}

// close breaks what is left.
func (w *web) close() {
	_ = w.server.Close() // of listeners of its own, of which there are none
}
