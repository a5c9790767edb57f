package transport

import (
	"errors"
	"log/slog"
	"net"
	"sync"

	"teamtalk/protocol"
)

// Tracker runs the handlers of a transport's connections and knows which are open, so that all transports stop alike.
type Tracker struct {
	log      *slog.Logger
	handlers sync.WaitGroup

	mu      sync.Mutex // guards conns and stopped
	conns   map[Conn]struct{}
	stopped bool
}

// NewTracker makes a Tracker without connections; a nil log is slog.Default().
func NewTracker(log *slog.Logger) *Tracker {
	if log == nil {
		log = slog.Default()
	}
	return &Tracker{log: log, conns: make(map[Conn]struct{})}
}

// Spawn gives a connection to handle, on a goroutine of its own, and closes it when handle returns. False: the Tracker has been stopped, and the
// connection closed.
func (t *Tracker) Spawn(c Conn, handle func(Conn)) bool {
	t.mu.Lock()
	if t.stopped {
		t.mu.Unlock()
		t.close(c, protocol.CodeDraining)
		return false
	}
	t.conns[c] = struct{}{}
	t.handlers.Add(1)
	t.mu.Unlock()
	go func() { // ends with its connection; joined by Close
		defer t.handlers.Done()
		defer t.forget(c)
		handle(c)
	}()
	return true
}

func (t *Tracker) forget(c Conn) {
	t.mu.Lock()
	delete(t.conns, c)
	t.mu.Unlock()
	t.close(c, protocol.CodeUnspecified)
}

func (t *Tracker) close(c Conn, code protocol.Code) {
	if err := c.Close(code); err != nil && !errors.Is(err, net.ErrClosed) {
		t.log.Debug("close failed", "remote", c.RemoteAddr(), "error", err)
	}
}

// Stop takes no more connections and leaves those there are alone. It reports whether this was the first call.
func (t *Tracker) Stop() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	was := t.stopped
	t.stopped = true
	return !was
}

// Stopped reports whether Stop or Close has been called.
func (t *Tracker) Stopped() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stopped
}

// Close stops, breaks every connection and waits until all handlers have returned.
func (t *Tracker) Close() {
	t.Stop()
	t.mu.Lock()
	open := make([]Conn, 0, len(t.conns))
	for c := range t.conns {
		open = append(open, c)
	}
	t.mu.Unlock()
	for _, c := range open {
		t.close(c, protocol.CodeDraining)
	}
	t.handlers.Wait()
}
