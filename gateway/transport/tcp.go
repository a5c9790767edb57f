package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"teamtalk/protocol"
)

const (
	acceptRetryMin = 5 * time.Millisecond
	acceptRetryMax = time.Second
)

// TCPConfig says where to listen.
type TCPConfig struct {
	Address  string // host:port; port 0 takes a free one
	Listener string // the listener's name in logs and metrics; empty: "tcp"

	Log        *slog.Logger          // nil: slog.Default()
	Registerer prometheus.Registerer // nil: no metrics
}

// TCP accepts native connections. Its accept loop only spawns, so that no client keeps another from being accepted.
type TCP struct {
	ln      net.Listener
	log     *slog.Logger
	accepts prometheus.Counter
	retries prometheus.Counter

	handlers sync.WaitGroup
	quit     chan struct{} // closed by Stop

	mu      sync.Mutex // guards conns and stopped
	conns   map[Conn]struct{}
	stopped bool
}

// ListenTCP opens the port. Connections get TCP_NODELAY, and TCP keep-alive, which finds hosts that are gone.
func ListenTCP(cfg TCPConfig) (*TCP, error) {
	lc := net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 15 * time.Second, Count: 4}}
	ln, err := lc.Listen(context.Background(), "tcp", cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("transport: %w", err)
	}
	return newTCP(ln, cfg), nil
}

func newTCP(ln net.Listener, cfg TCPConfig) *TCP {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Listener == "" {
		cfg.Listener = "tcp"
	}
	labels := prometheus.Labels{"listener": cfg.Listener}
	t := &TCP{
		ln:    ln,
		log:   cfg.Log.With("listener", cfg.Listener),
		conns: make(map[Conn]struct{}),
		quit:  make(chan struct{}),
		accepts: prometheus.NewCounter(prometheus.CounterOpts{Name: "teamtalk_transport_accepted_total",
			Help: "Connections accepted.", ConstLabels: labels}),
		retries: prometheus.NewCounter(prometheus.CounterOpts{Name: "teamtalk_transport_accept_errors_total",
			Help: "Failed accepts, tried again after a pause; mostly for want of file descriptors.", ConstLabels: labels}),
	}
	if cfg.Registerer != nil {
		cfg.Registerer.MustRegister(t.accepts, t.retries)
	}
	return t
}

// Addr is the address listened on.
func (t *TCP) Addr() net.Addr { return t.ln.Addr() }

// Serve accepts until Stop or Close and gives each connection to handle, on a goroutine of its own; when handle returns the connection
// is closed. It returns nil after Stop.
func (t *TCP) Serve(handle func(Conn)) error {
	retry := acceptRetryMin
	for {
		nc, err := t.ln.Accept()
		if err != nil {
			if t.isStopped() || errors.Is(err, net.ErrClosed) {
				return nil
			}
			// No descriptors, or a client that was gone before we came: it passes, and must not become a busy loop.
			t.retries.Inc()
			t.log.Warn("accept failed, trying again", "error", err, "after", retry)
			select {
			case <-time.After(retry):
			case <-t.quit:
				return nil
			}
			retry = min(2*retry, acceptRetryMax)
			continue
		}
		retry = acceptRetryMin
		t.accepts.Inc()
		t.spawn(NewStream(nc, KindTCP), handle)
	}
}

// spawn tracks the connection, so that Close can break it and wait for its handler.
func (t *TCP) spawn(c Conn, handle func(Conn)) {
	t.mu.Lock()
	if t.stopped {
		t.mu.Unlock()
		t.close(c)
		return
	}
	t.conns[c] = struct{}{}
	t.handlers.Add(1)
	t.mu.Unlock()
	go func() { // ends with its connection; joined by Close
		defer t.handlers.Done()
		defer t.forget(c)
		handle(c)
	}()
}

func (t *TCP) forget(c Conn) {
	t.mu.Lock()
	delete(t.conns, c)
	t.mu.Unlock()
	t.close(c)
}

func (t *TCP) close(c Conn) {
	if err := c.Close(protocol.CodeUnspecified); err != nil && !errors.Is(err, net.ErrClosed) {
		t.log.Debug("close failed", "remote", c.RemoteAddr(), "error", err)
	}
}

func (t *TCP) isStopped() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stopped
}

// Stop accepts no more connections and leaves those there are alone.
func (t *TCP) Stop() {
	t.mu.Lock()
	was := t.stopped
	t.stopped = true
	t.mu.Unlock()
	if was {
		return
	}
	close(t.quit)
	if err := t.ln.Close(); err != nil {
		t.log.Debug("close of the listener failed", "error", err)
	}
}

// Close stops, breaks every connection and waits until all handlers have returned.
func (t *TCP) Close() {
	t.Stop()
	t.mu.Lock()
	open := make([]Conn, 0, len(t.conns))
	for c := range t.conns {
		open = append(open, c)
	}
	t.mu.Unlock()
	for _, c := range open {
		t.close(c)
	}
	t.handlers.Wait()
}
