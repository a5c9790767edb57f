package transport

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"

	"github.com/prometheus/client_golang/prometheus"
)

// TCPConfig says where to listen.
type TCPConfig struct {
	Address  string                // host:port; port 0 takes a free one
	Listener string                // the listener's name in logs and metrics; empty: "tcp"
	Trusted  func(netip.Addr) bool // as ListenerConfig.Trusted

	Log        *slog.Logger          // nil: slog.Default()
	Registerer prometheus.Registerer // nil: no metrics
}

func (c TCPConfig) listener() ListenerConfig {
	return ListenerConfig{Address: c.Address, Listener: c.Listener, Trusted: c.Trusted, Log: c.Log, Registerer: c.Registerer}
}

// TCP accepts native connections. Its accept loop only spawns, so that no client keeps another from being accepted.
type TCP struct {
	ln    *Listener
	conns *Tracker
}

// ListenTCP opens the port.
func ListenTCP(cfg TCPConfig) (*TCP, error) {
	ln, err := Listen(cfg.listener())
	if err != nil {
		return nil, err
	}
	return newTCP(ln), nil
}

func newTCP(ln *Listener) *TCP { return &TCP{ln: ln, conns: NewTracker(ln.log)} }

// Addr is the address listened on.
func (t *TCP) Addr() net.Addr { return t.ln.Addr() }

// Serve accepts until Stop or Close and gives each connection to handle, on a goroutine of its own; when handle returns the connection
// is closed. It returns nil after Stop.
func (t *TCP) Serve(handle func(Conn)) error {
	for {
		nc, err := t.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		t.conns.Spawn(NewStream(nc, KindTCP), handle)
	}
}

// Stop accepts no more connections and leaves those there are alone.
func (t *TCP) Stop() {
	if !t.conns.Stop() {
		return
	}
	if err := t.ln.Close(); err != nil {
		t.ln.log.Debug("close of the listener failed", "error", err)
	}
}

// Close stops, breaks every connection and waits until all handlers have returned.
func (t *TCP) Close() {
	t.Stop()
	t.conns.Close()
}
