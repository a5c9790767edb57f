package quicport

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

const maxHeaderBytes = 32 << 10

// web serves HTTP/3 on connections that the port has accepted.
type web struct {
	server *http3.Server

	starting sync.WaitGroup // connections given to the server that it has not counted yet
	mu       sync.Mutex     // guards closing
	closing  bool
}

func newWeb(handler http.Handler, timing Timing, log *slog.Logger) *web {
	w := &web{}
	w.server = &http3.Server{
		Handler:        withDeadlines(handler, timing.HTTPRequest),
		MaxHeaderBytes: maxHeaderBytes,
		IdleTimeout:    timing.HTTPIdle,
		Logger:         log,
		ConnContext: func(ctx context.Context, _ *quic.Conn) context.Context {
			w.starting.Done() // the server counts a connection before it asks for its context
			return ctx
		},
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
	defer func() { _ = qc.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "") }() // has no errors to tell
	if !w.begin() {
		return
	}
	_ = w.server.ServeQUICConn(qc) // tells how the client left
}

// begin sees to it that no connection comes to the server while it counts how many are left: it would not survive that.
func (w *web) begin() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closing {
		return false
	}
	w.starting.Add(1)
	return true
}

func (w *web) stop() {
	w.mu.Lock()
	w.closing = true
	w.mu.Unlock()
	w.starting.Wait()
}

func (w *web) shutdown(ctx context.Context) error {
	w.stop()
	return w.server.Shutdown(ctx)
}

func (w *web) close() {
	w.stop()
	_ = w.server.Close() // of its own listeners, of which there are none
}
