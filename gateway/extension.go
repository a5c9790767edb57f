package gateway

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"teamtalk/protocol"
	"teamtalk/protocol/pdu"
)

const (
	heartbeat   = 30 * time.Second // as WELCOME tells the client
	silentBeats = 3                // without a PDU a session of the PC class is dead
)

// phase is how far an extended session has come.
type phase = uint32

const (
	joining    phase = iota // what is durable is not pushed to it
	catchingUp              // all that happens after extension.from is, held back: not all up to there has been sent
	live                    // what is pushed follows all that was sent
	gone                    // nothing durable is pushed any more
)

// extension is what a session has beyond a legacy one, from its HELLO on.
type extension struct {
	device  protocol.DeviceID   // fixed
	client  protocol.ClientType // as HELLO says; fixed
	version string              // of the client, for the log; fixed
	plays   []string            // types of sound and film, as plainType has them; fixed
	epoch   protocol.Epoch      // of the session's tokens; fixed when the registry has the session
	stopped chan struct{}       // closed when no request is carried out any more

	phase   atomic.Uint32 // becomes gone before the registry forgets the session
	from    atomic.Uint64 // a Cursor: everything up to there was sent before it was live
	asked   atomic.Int64  // unix milliseconds of the last request that was no heartbeat
	leaving atomic.Bool   // is logging out by itself

	behind  int       // events since the last CURSOR; guarded by hub.delivering
	listed  bool      // in hub.dirty; guarded by hub.delivering
	reach   uint32    // of hub.reach, what it was told last; from the WELCOME on guarded by hub.delivering
	slot    int       // of the ring; guarded by its mutex
	renewed time.Time // when the last CREDENTIAL was sent; belongs to keepCursors once the session is live

	request context.Context // of the request being carried out, or nil; belongs to whoever does
	stale   atomic.Bool     // the answers to it are of a node without a leader
	search  *rate.Limiter   // belongs to whoever carries out requests

	mu      sync.Mutex // guards what follows
	unacked []sentMessage
}

func newExtension() *extension {
	x := &extension{stopped: make(chan struct{}), search: rate.NewLimiter(rate.Every(searchEvery), 1)}
	x.asked.Store(time.Now().UnixMilli())
	return x
}

// hub is what the extended sessions of a node share.
type hub struct {
	replica Replica
	replay  Replay
	node    string
	domain  func() string
	reach   reach

	// delivered is the log index up to which every event has been queued for every live session that it concerns. Whoever loads it and finds a
	// session live afterwards may tell it so [TT-SESS-4].
	delivered atomic.Uint64

	delivering sync.Mutex // held while a few entries are delivered; guards what follows
	dirty      []*session // had an event, and may have had no CURSOR after it
	due        []*session // have had so many that one is due

	ring    ring
	watch   watch
	formers formers
	marks   chan progress
	abroad  addressBook
}

func newHub(cfg *Config) *hub {
	h := &hub{replica: cfg.Replica, replay: cfg.Replay, node: cfg.Node, domain: cfg.Domain, marks: make(chan progress, marksWaiting)}
	if h.domain == nil {
		h.domain = func() string { return "" }
	}
	h.reach.endpoints = cfg.Endpoints
	h.abroad.users, h.abroad.known = cfg.Services.Buddies, make(map[protocol.UserID]string)
	// The subscription exists: what happens after this index will be delivered, and what came before can be read.
	h.delivered.Store(uint64(cfg.Replica.Applied()))
	h.formers.by = make(map[deviceName][]*session)
	h.watch.by = make(map[protocol.UserID]map[*session]struct{})
	h.watch.who = make(map[*session]map[protocol.UserID]struct{})
	return h
}

// takes reports whether a session is pushed the events of an entry. A legacy one gets all.
func (s *session) takes(at protocol.Position) bool {
	return s.ext == nil || s.ext.isPushed() && at.Index > s.ext.from.Load()
}

// isPushed reports whether the session is pushed what is durable. While it is catching up the pushes are held back, CURSORs among them.
func (x *extension) isPushed() bool {
	p := x.phase.Load()
	return p == live || p == catchingUp
}

// enliven makes a session live that needs no event up to next, and none before the index that is returned, which may be further on; false: it has ended.
func (h *hub) enliven(s *session, next protocol.Cursor) (from protocol.Cursor, ok bool) {
	return h.tap(s, next, live)
}

// catchUp is enliven for a session that has to be sent the events after next first, up to the index that is returned; caughtUp follows.
func (h *hub) catchUp(s *session, next protocol.Cursor) (from protocol.Cursor, ok bool) {
	return h.tap(s, next, catchingUp)
}

// caughtUp makes a session live that has been sent all there was; false: it has ended.
func (s *session) caughtUp() bool { return s.ext.phase.CompareAndSwap(catchingUp, live) }

// tap lets a joining session be pushed what happens from here on.
func (h *hub) tap(s *session, next protocol.Cursor, p phase) (from protocol.Cursor, ok bool) {
	h.delivering.Lock()
	defer h.delivering.Unlock()
	from = max(protocol.Cursor(h.delivered.Load()), next)
	s.ext.from.Store(uint64(from))
	s.ext.renewed = time.Now()
	h.ring.add(s)
	if !s.ext.phase.CompareAndSwap(joining, p) {
		h.ring.remove(s)
		return 0, false
	}
	return from, true
}

// forget is called when the registry has forgotten a session; false: nothing of it is carried out any more.
func (h *hub) forget(s *session) bool {
	h.ring.remove(s)
	h.watch.forget(s)
	return h.formers.add(s)
}

// runBounded runs a handler of an extended session: a write that finds no leader fails in time, and a read without one says so [TT-SESS-18].
func (s *session) runBounded(r *row, p pdu.PDU) {
	ctx, cancel := context.WithTimeout(s.ctx, unavailableAfter)
	defer cancel()
	s.ext.request = ctx
	s.ext.stale.Store(r.reads && s.srv.hub.replica.Ready() != nil)
	s.run(r, p)
	s.ext.stale.Store(false)
	s.ext.request = nil
}
