// Package longpoll carries the native protocol in plain requests and complete responses, for networks where nothing else passes. The wire is
// section "Long-poll" of docs/PROTOCOL.md.
//
// A session is a transport.Conn without a connection. Its two halves are numbered apart: the client numbers its POSTs, the server the batches
// that it answers polls with; each side repeats what the other has not confirmed and ignores what it has had. At most one batch is sent and not
// acknowledged, so a session remembers no more than that batch and what waits behind it.
//
// Nothing is remembered of a session that has ended: the token is a MAC of the id, so a right one shows that the session once was.
package longpoll

import (
	"context"
	"hash/maphash"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"teamtalk/gateway/transport"
)

// Config is what a Handler is made of. Handle is required; zero values mean the default given.
type Config struct {
	Handle     func(transport.Conn)               // serves a session; it ends when Handle returns
	Node       string                             // the number of this node, which ids begin with; "1"
	Origins    []string                           // other sites whose pages may connect, such as "https://chat.example"
	RemoteAddr func(*http.Request) netip.AddrPort // nil: the connection's
	Peers      Peers                              // nil: this node is alone
	Key        []byte                             // of the tokens, 32 bytes that all nodes share; nil: one of this process

	Poll    time.Duration // how long a poll is held, whole seconds, 25 s
	Silence time.Duration // without a poll until a session ends, 60 s [TT-LP-7]
	Timing  Timing
	Limits  Limits

	Log        *slog.Logger          // nil: slog.Default()
	Registerer prometheus.Registerer // nil: no metrics
}

// Timing bounds what waits.
type Timing struct {
	Queue time.Duration // how long a POST waits for the session to read those before, 10 s
	Body  time.Duration // for the first bytes of a body or an answer; the rest has a second for each 16 KiB, 30 s
	Last  time.Duration // how long the last batch of a closed session is kept, 10 s
	Park  time.Duration // how long a poll is held before its connection is taken from the HTTP server, 100 ms
	Hurry time.Duration // what Close leaves for the answers that are being written, 2 s
}

// Limits bound what clients may use.
type Limits struct {
	Sessions   int     // at once, those closed and not yet told so included, 130,000
	OpenRate   float64 // new sessions a second from one address (IPv6: /64), 200
	OpenBurst  int     // at once, 1,000
	QueueBytes int     // either way and session: what waits before a POST or a Write does; an empty queue takes anything, 256 KiB
	BodyBytes  int     // all bodies above 8 KiB, received or waiting to be read; a quarter for those not logged in, 64 MiB
	Posts      int     // of one session at once, repeats of one another; 4
	Held       int     // polls that other nodes hold for this one; the clients of more look once a second, 256
}

// Handler serves the requests below /lp. It works behind any HTTP server, several at once too.
type Handler struct {
	cfg     Config
	tickets tickets
	tracker *transport.Tracker
	metrics *metrics
	opening opening
	bodies  bodies
	holding chan struct{} // as many as there are polls that other nodes hold for this one

	answering sync.WaitGroup  // polls that were parked
	closing   context.Context // ends when Close waits for answering
	hurry     context.CancelFunc

	mu       sync.RWMutex // guards sessions
	sessions map[ident]*session
}

// New makes a Handler.
func New(cfg Config) *Handler {
	cfg.complete()
	h := &Handler{
		cfg:      cfg,
		tickets:  newTickets(cfg.Node, cfg.Key),
		tracker:  transport.NewTracker(cfg.Log),
		opening:  newOpening(cfg.Limits),
		holding:  make(chan struct{}, cfg.Limits.Held),
		sessions: make(map[ident]*session),
	}
	h.bodies.known.left.Store(int64(cfg.Limits.BodyBytes))
	h.bodies.strangers.left.Store(int64(cfg.Limits.BodyBytes / 4))
	h.closing, h.hurry = context.WithCancel(context.Background())
	h.metrics = newMetrics(cfg.Registerer, func() float64 { return float64(h.open()) })
	return h
}

func (c *Config) complete() {
	if c.Node == "" {
		c.Node = "1"
	}
	if c.RemoteAddr == nil {
		c.RemoteAddr = remoteAddr
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	orDefault(&c.Poll, 25*time.Second)
	orDefault(&c.Silence, time.Minute)
	orDefault(&c.Timing.Queue, 10*time.Second)
	orDefault(&c.Timing.Body, 30*time.Second)
	orDefault(&c.Timing.Last, 10*time.Second)
	orDefault(&c.Timing.Park, 100*time.Millisecond)
	orDefault(&c.Timing.Hurry, 2*time.Second)
	orDefault(&c.Limits.Sessions, 130_000)
	orDefault(&c.Limits.OpenRate, 200)
	orDefault(&c.Limits.OpenBurst, 1000)
	orDefault(&c.Limits.QueueBytes, 256<<10)
	orDefault(&c.Limits.BodyBytes, 64<<20)
	orDefault(&c.Limits.Posts, 4)
	orDefault(&c.Limits.Held, 256)
}

func orDefault[T int | float64 | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

func remoteAddr(r *http.Request) netip.AddrPort {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// Stop opens no more sessions and leaves those there are alone.
func (h *Handler) Stop() { h.tracker.Stop() }

// Close stops, ends every session, answers the polls that are held and waits until all sessions have been left by who serves them.
func (h *Handler) Close() {
	h.tracker.Close()
	h.mu.RLock()
	rest := make([]*session, 0, len(h.sessions))
	for _, s := range h.sessions {
		rest = append(rest, s)
	}
	h.mu.RUnlock()
	for _, s := range rest {
		s.leave(net.ErrClosed, endShutdown)
	}
	h.hurry()
	h.answering.Wait()
}

// open is the number of sessions.
func (h *Handler) open() int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return len(h.sessions)
}

func (h *Handler) find(id ident) *session {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.sessions[id]
}

// add files a new session; false: there are too many.
func (h *Handler) add(s *session) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.sessions) >= h.cfg.Limits.Sessions {
		return false
	}
	h.sessions[s.id] = s
	return true
}

func (h *Handler) forget(s *session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.sessions, s.id)
}

// openingSlots is how many addresses are told apart, at random, when new sessions are counted: a fixed room, which no flood can widen.
const openingSlots = 512

// opening bounds how fast sessions are opened.
type opening struct {
	seed  maphash.Seed
	slots [openingSlots]*rate.Limiter
}

func newOpening(l Limits) opening {
	o := opening{seed: maphash.MakeSeed()}
	for i := range o.slots {
		o.slots[i] = rate.NewLimiter(rate.Limit(l.OpenRate), l.OpenBurst)
	}
	return o
}

func (o *opening) allow(a netip.Addr) bool {
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil { // whoever has one address of a network has them all
			a = p.Addr()
		}
	}
	return o.slots[maphash.Comparable(o.seed, a)%openingSlots].Allow()
}
