package gateway

import (
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/pb/sessionpb"
	"teamtalk/protocol/pdu"
)

// reachPace is the least time between two changes of where the cluster is reached that sessions are told of: what changes faster is told as one.
const reachPace = 10 * time.Second

// reach is where clients reach the cluster. It outlives the nodes that a client was told of in WELCOME, so sessions that stay are told what has
// changed, each with a CURSOR that it is sent anyway: an idle one within a round of the ring, and nobody more often than the pace [TT-SESS-25].
type reach struct {
	endpoints func() []string // in an order of their own for each who asks; nil: none are told
	number    atomic.Uint32   // of the changes; changed by keepCursors

	// What follows is guarded by hub.delivering.
	known   []string  // what number stands for, sorted
	changed time.Time // when known did
	latest  []string  // what is told
}

// look asks where the cluster is reached now, and notes whether that has changed.
func (h *hub) look(log *slog.Logger) {
	r := &h.reach
	if r.endpoints == nil {
		return
	}
	latest := r.endpoints()
	now, sorted := time.Now(), slices.Sorted(slices.Values(latest))
	h.delivering.Lock()
	defer h.delivering.Unlock()
	r.latest = latest
	if slices.Equal(sorted, r.known) || now.Sub(r.changed) < reachPace {
		return
	}
	log.Info("clients are told where the cluster is reached now", "endpoints", sorted)
	r.known, r.changed = sorted, now
	r.number.Add(1)
}

// cursorFrames is one CURSOR for many sessions [TT-SESS-4], encoded once for those that know where the cluster is reached, and once for those that
// are told with it. delivering is held while it is used.
type cursorFrames struct {
	srv        *Server
	at         protocol.Cursor
	bare, full []byte // nil: not needed so far
}

// cursorFrames is the CURSOR for sessions that are live from before now.
func (srv *Server) cursorFrames() *cursorFrames {
	return &cursorFrames{srv: srv, at: protocol.Cursor(srv.hub.delivered.Load())}
}

// to is the frame for a session, which knows so much of where the cluster is reached once it has it.
func (f *cursorFrames) to(s *session) (frame []byte, number uint32) {
	r := &f.srv.hub.reach
	number = r.number.Load()
	if s.ext.reach == number || len(r.latest) == 0 {
		if f.bare == nil {
			f.bare = f.srv.cursorFrame(f.at)
		}
		return f.bare, number
	}
	if f.full == nil {
		f.full = f.srv.appendPush(nil, pdu.CmdCursor, &sessionpb.Cursor{Cursor: uint64(f.at), Endpoints: r.latest})
	}
	return f.full, number
}
