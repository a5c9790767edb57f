package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	acceptRetryMin = 5 * time.Millisecond
	acceptRetryMax = time.Second
)

// ListenerConfig says where to listen.
type ListenerConfig struct {
	Address     string // host:port; port 0 takes a free one
	Listener    string // the listener's name in logs and metrics; empty: "tcp"
	Connections int    // open at once, one more is closed on arrival; 0: no limit
	// Trusted tells the proxies whose connections may begin with a header of the PROXY protocol, which names the client; nil: nobody's.
	Trusted func(netip.Addr) bool

	Log        *slog.Logger          // nil: slog.Default()
	Registerer prometheus.Registerer // nil: no metrics
}

// Listener is a TCP port whose Accept fails only when it is closed.
type Listener struct {
	ln       net.Listener
	log      *slog.Logger
	accepts  prometheus.Counter
	retries  prometheus.Counter
	overfull prometheus.Counter
	badProxy prometheus.Counter
	slots    chan struct{} // one token for each open connection; nil: no limit
	doorman  *doorman      // nil: no proxy is trusted

	once sync.Once
	quit chan struct{} // closed by Close
}

// Listen opens the port. Connections get TCP_NODELAY, and TCP keep-alive, which finds hosts that are gone.
func Listen(cfg ListenerConfig) (*Listener, error) {
	lc := net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 15 * time.Second, Count: 4}}
	ln, err := lc.Listen(context.Background(), "tcp", cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("transport: %w", err)
	}
	return NewListener(ln, cfg), nil
}

// NewListener is a Listener over a port that is open already; cfg.Address is not looked at.
func NewListener(ln net.Listener, cfg ListenerConfig) *Listener {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Listener == "" {
		cfg.Listener = "tcp"
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "teamtalk_transport_" + name, Help: help,
			ConstLabels: prometheus.Labels{"listener": cfg.Listener}})
	}
	l := &Listener{
		ln:       ln,
		log:      cfg.Log.With("listener", cfg.Listener),
		quit:     make(chan struct{}),
		accepts:  counter("accepted_total", "Connections accepted."),
		retries:  counter("accept_errors_total", "Failed accepts, tried again after a pause; mostly for want of file descriptors."),
		overfull: counter("full_total", "Connections closed on arrival because as many as there may be were open."),
		badProxy: counter("proxy_header_errors_total", "Connections of trusted proxies closed because their PROXY header was malformed or late."),
	}
	if cfg.Connections > 0 {
		l.slots = make(chan struct{}, cfg.Connections)
	}
	if cfg.Registerer != nil {
		cfg.Registerer.MustRegister(l.accepts, l.retries, l.overfull, l.badProxy)
	}
	if cfg.Trusted != nil {
		l.doorman = newDoorman(l, cfg.Trusted)
	}
	return l
}

// Addr is the address listened on.
func (l *Listener) Addr() net.Addr { return l.ln.Addr() }

// Accept waits for a connection. Its only error is net.ErrClosed, after Close: others pass, and are waited out.
func (l *Listener) Accept() (net.Conn, error) {
	if l.doorman == nil {
		return l.acceptDirect()
	}
	select {
	case nc := <-l.doorman.admitted:
		return nc, nil
	case <-l.quit:
		return nil, net.ErrClosed
	}
}

func (l *Listener) acceptDirect() (net.Conn, error) {
	retry := acceptRetryMin
	for {
		nc, err := l.ln.Accept()
		if err == nil {
			boundRTO(nc)
			if admitted := l.admit(nc); admitted != nil {
				return admitted, nil
			}
			retry = acceptRetryMin
			continue
		}
		if l.isClosed() || errors.Is(err, net.ErrClosed) {
			return nil, net.ErrClosed
		}
		// No descriptors, or a client that was gone before we came: it passes, and must not become a busy loop.
		l.retries.Inc()
		l.log.Warn("accept failed, trying again", "error", err, "after", retry)
		select {
		case <-time.After(retry):
		case <-l.quit:
			return nil, net.ErrClosed
		}
		retry = min(2*retry, acceptRetryMax)
	}
}

// admit counts a connection; nil: it has been closed, for there are too many.
func (l *Listener) admit(nc net.Conn) net.Conn {
	if l.slots == nil {
		l.accepts.Inc()
		return nc
	}
	tc, ok := nc.(*net.TCPConn)
	if !ok {
		l.accepts.Inc()
		return nc
	}
	select {
	case l.slots <- struct{}{}:
		l.accepts.Inc()
		return &slottedConn{TCPConn: tc, listener: l}
	default:
		l.overfull.Inc()
		if err := nc.Close(); err != nil {
			l.log.Debug("close failed", "remote", nc.RemoteAddr(), "error", err)
		}
		return nil
	}
}

// Close closes the port and leaves connections alone.
func (l *Listener) Close() error {
	err := net.ErrClosed
	l.once.Do(func() {
		close(l.quit)
		err = l.ln.Close()
		if l.doorman != nil {
			l.doorman.close()
		}
	})
	return err
}

func (l *Listener) isClosed() bool {
	select {
	case <-l.quit:
		return true
	default:
		return false
	}
}

// slottedConn gives its slot back when it is closed.
type slottedConn struct {
	*net.TCPConn
	listener *Listener
	once     sync.Once
}

func (c *slottedConn) Close() error {
	c.once.Do(func() { <-c.listener.slots })
	return c.TCPConn.Close()
}
