// Package ws carries PDUs over WebSocket: binary messages of whole PDUs, as docs/PROTOCOL.md says under Transports. A Handler answers GET /ws of
// any http.Server for HTTP/1.1, plain or TLS, and hands each connection over.
//
// An idle connection is meant to be cheap. The HTTP handler returns at once, so that its goroutine and its buffers go; small buffers take
// their place, and a timer, not a goroutine, keeps proxies from forgetting the connection.
package ws

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"

	"teamtalk/gateway/transport"
)

const (
	// subprotocol is what both sides speak inside the messages [TT-WS-1].
	subprotocol = "teamtalk.v1"

	defaultFlush = 2 * time.Second
	defaultPing  = 25 * time.Second // half of what common proxies wait: the silence lasts up to twice as long
	maxClosing   = 4096             // closing handshakes under way; beyond it clients are not waited for

	readBuffer  = 512 // lets a small message cost one read
	writeBuffer = 16  // only a close goes through it
)

// Config says whom to serve, and how.
type Config struct {
	Handle     func(transport.Conn)               // serves a connection, on a goroutine of its own; the connection is closed when it returns
	Origins    []string                           // web pages that may connect besides those of the host itself, such as "https://chat.example"
	RemoteAddr func(*http.Request) netip.AddrPort // the client's address; nil: that of the connection
	Flush      time.Duration                      // for the last bytes, and for the peer to close; 0: 2 s
	Ping       time.Duration                      // after at most twice this time without a message to the client it gets a ping; 0: 25 s, below 0: none
	Log        *slog.Logger                       // nil: slog.Default()
	Registerer prometheus.Registerer              // nil: no metrics
}

// Handler answers GET /ws. It may serve several http.Servers.
type Handler struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	tracker *transport.Tracker
	vectors sync.Pool // of *vector

	closers sync.WaitGroup // closing handshakes, each a goroutine
	mu      sync.Mutex     // guards what follows
	closing int            // closing handshakes
	closed  bool           // nobody is waited for any more
}

// New makes a Handler.
func New(cfg Config) *Handler {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.RemoteAddr == nil {
		cfg.RemoteAddr = remoteAddr
	}
	if cfg.Flush <= 0 {
		cfg.Flush = defaultFlush
	}
	if cfg.Ping == 0 {
		cfg.Ping = defaultPing
	}
	return &Handler{
		cfg:     cfg,
		log:     cfg.Log.With("listener", "websocket"),
		metrics: newMetrics(cfg.Registerer),
		tracker: transport.NewTracker(cfg.Log),
	}
}

func remoteAddr(r *http.Request) netip.AddrPort {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// ServeHTTP makes a WebSocket of the request's connection and returns; from then on the connection belongs to Config.Handle.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case h.tracker.Stopped():
		h.refuse(w, r, refusedStopping, http.StatusServiceUnavailable, "shutting down")
		return
	case r.ProtoMajor > 1: // [TT-WS-7]
		h.refuse(w, r, refusedVersion, http.StatusHTTPVersionNotSupported, "WebSocket is served over HTTP/1.1 only")
		return
	case !transport.OriginAllowed(r, h.cfg.Origins): // [TT-WS-2]
		h.refuse(w, r, refusedOrigin, http.StatusForbidden, "this origin may not connect")
		return
	}
	// What stays with the connection must not be a part of what the client sent: it would keep all of it in memory.
	offered := offers(r)
	r.Header["Sec-Websocket-Protocol"] = []string{subprotocol}
	if !offered {
		delete(r.Header, "Sec-Websocket-Protocol")
	}
	c, err := h.accept(w, r)
	if err != nil { // coder/websocket has answered
		h.metrics.refused(refusedHandshake)
		h.log.Debug("no WebSocket handshake", "remote", r.RemoteAddr, "error", err)
		return
	}
	if !offered { // [TT-WS-1]
		h.metrics.refused(refusedSubprotocol)
		_ = c.end(websocket.StatusProtocolError, "subprotocol "+subprotocol+" expected") // fails if the client has gone
		return
	}
	h.metrics.accepts.Inc()
	h.tracker.Spawn(c, h.cfg.Handle)
}

// offers reports whether the client offers our subprotocol.
func offers(r *http.Request) bool {
	for _, line := range r.Header.Values("Sec-WebSocket-Protocol") {
		for p := range strings.SplitSeq(line, ",") {
			if strings.TrimSpace(p) == subprotocol {
				return true
			}
		}
	}
	return false
}

func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, why refusal, status int, text string) {
	h.metrics.refused(why)
	h.log.Debug("WebSocket refused", "remote", r.RemoteAddr, "reason", why)
	http.Error(w, text, status)
}

// accept does the handshake. Nothing of the request may stay with the connection.
func (h *Handler) accept(w http.ResponseWriter, r *http.Request) (*conn, error) {
	c := &conn{h: h, addr: h.cfg.RemoteAddr(r)}
	ws, err := websocket.Accept(&hijacker{ResponseWriter: w, conn: c}, r, &websocket.AcceptOptions{
		Subprotocols:       []string{subprotocol},
		InsecureSkipVerify: true, // the origin has been checked
		CompressionMode:    websocket.CompressionDisabled,
		OnPingReceived:     c.pinged,
	})
	if err != nil {
		if c.sock.Conn != nil {
			_ = c.sock.Conn.Close() // it is of no use to anybody
		}
		return nil, fmt.Errorf("ws: %w", err)
	}
	ws.SetReadLimit(-1) // Read limits, by what the client is allowed at the time
	c.ws = ws
	c.in.Reset(&c.sock) // without the layer that Accept puts between
	c.startTimer(h.cfg.Ping)
	return c, nil
}

// hijacker puts small buffers in the place of net/http's.
type hijacker struct {
	http.ResponseWriter
	conn *conn
}

// Hijack takes the connection over, with the bytes that net/http has already read: clients do not wait for the answer.
func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	nc, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	early, err := rw.Reader.Peek(rw.Reader.Buffered())
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("bytes read early: %w", err), nc.Close())
	}
	s := &h.conn.sock
	*s = socket{Conn: nc, conn: h.conn, early: bytes.Clone(early)}
	h.conn.in = bufio.NewReaderSize(s, readBuffer)
	return s, bufio.NewReadWriter(h.conn.in, bufio.NewWriterSize(s, writeBuffer)), nil
}

// Stop accepts no more connections and leaves those there are alone.
func (h *Handler) Stop() { h.tracker.Stop() }

// Close stops, closes every connection and waits until all have ended, which takes clients that do not close Config.Flush.
func (h *Handler) Close() {
	h.tracker.Close()
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.closers.Wait()
}

// farewell runs a closing handshake on a goroutine of its own, which is joined by Close. It tells it whether there is time to wait for the client.
func (h *Handler) farewell(shake func(wait bool)) {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		shake(false)
		return
	}
	defer h.mu.Unlock()
	wait := h.closing < maxClosing
	if !wait {
		h.metrics.hasty.Inc()
	}
	h.closing++
	h.closers.Go(func() { // ends with the client's close, or when Config.Flush is over
		shake(wait)
		h.mu.Lock()
		h.closing--
		h.mu.Unlock()
	})
}
