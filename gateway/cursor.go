package gateway

import (
	"context"
	"sync"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/pb/sessionpb"
	"teamtalk/protocol/pdu"
)

const (
	cursorEvery  = time.Second // how far a CURSOR may lag behind the events, in time
	cursorEvents = 64          // and in events
	ringSlots    = 60          // an idle session gets a CURSOR once a round, which takes so many cursorEvery
	renewAfter   = 24 * time.Hour
)

// cursorFrame is a CURSOR [TT-SESS-4].
func (srv *Server) cursorFrame(c protocol.Cursor) []byte {
	return srv.appendPush(nil, pdu.CmdCursor, &sessionpb.Cursor{Cursor: uint64(c)})
}

// cursor is what a live session may be told now; false: it isn't live, or not any more.
func (s *session) cursor() (protocol.Cursor, bool) {
	c := s.srv.hub.delivered.Load() // first, see there
	if s.ext.phase.Load() != live {
		return 0, false
	}
	return protocol.Cursor(max(c, s.ext.from.Load())), true
}

// notedLocked counts an event queued for a session. delivering is held.
func (h *hub) notedLocked(s *session) {
	x := s.ext
	if x.behind++; x.behind == cursorEvents {
		h.due = append(h.due, s)
	}
	if !x.listed {
		x.listed = true
		h.dirty = append(h.dirty, s)
	}
}

// deliveredUpTo ends a round of delivery. delivering is held.
func (srv *Server) deliveredUpToLocked(index uint64) {
	h := srv.hub
	if index > h.delivered.Load() {
		h.delivered.Store(index)
	}
	if len(h.due) == 0 {
		return
	}
	frames := srv.cursorFrames()
	for _, s := range h.due {
		srv.tellLocked(s, frames)
	}
	clear(h.due)
	h.due = h.due[:0]
}

// tellLocked queues a CURSOR for a session, if it is pushed to and has room; false: it has to be told later. delivering is held.
func (srv *Server) tellLocked(s *session, frames *cursorFrames) bool {
	if !s.ext.isPushed() {
		return true
	}
	frame, reach := frames.to(s)
	if s.out.push(frame, 1) == full {
		return false
	}
	s.ext.behind, s.ext.reach = 0, reach
	srv.metrics.out(pdu.CmdCursor, 1)
	return true
}

// keepCursors sends what is due by time: a CURSOR to the sessions that had events, every second, and to the others and with it a new CREDENTIAL a day,
// once a round of the ring.
func (srv *Server) keepCursors(ctx context.Context) error {
	tick := time.NewTicker(cursorEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		srv.hub.look(srv.log)
		srv.tellDirty()
		for _, s := range srv.tellIdle(srv.hub.ring.next()) {
			srv.renew(s)
		}
	}
}

func (srv *Server) tellDirty() {
	h := srv.hub
	h.delivering.Lock()
	defer h.delivering.Unlock()
	srv.tellAllLocked()
}

func (srv *Server) tellAllLocked() {
	h := srv.hub
	if len(h.dirty) == 0 {
		return
	}
	frames := srv.cursorFrames()
	var later []*session
	for _, s := range h.dirty {
		if s.ext.behind > 0 && !srv.tellLocked(s, frames) {
			later = append(later, s)
			continue
		}
		s.ext.listed = false
	}
	h.dirty = later
}

// tellIdle sends the sessions of a slot a CURSOR each, and returns those that need a new CREDENTIAL.
func (srv *Server) tellIdle(slot []*session) (old []*session) {
	if len(slot) == 0 {
		return nil
	}
	h := srv.hub
	h.delivering.Lock()
	defer h.delivering.Unlock()
	delivered, frames := h.delivered.Load(), srv.cursorFrames()
	for _, s := range slot {
		if from := s.ext.from.Load(); from > delivered {
			srv.tellLocked(s, &cursorFrames{srv: srv, at: protocol.Cursor(from)})
		} else {
			srv.tellLocked(s, frames)
		}
		if time.Since(s.ext.renewed) >= renewAfter {
			old = append(old, s)
		}
	}
	return old
}

// renew gives a session that has lived for a day a token that lasts for longer [TT-SESS-6].
func (srv *Server) renew(s *session) {
	c, ok := s.cursor()
	if !ok {
		return
	}
	cred, err := srv.services.Sessions.Issue(s.device(), s.ext.epoch)
	if err != nil {
		srv.log.Warn("resume token not renewed", "user", s.user, "conn", s.id, "error", err)
		return
	}
	if srv.pushFrame(s, srv.appendPush(nil, pdu.CmdCredential, credentialToWire(cred, c))) {
		s.ext.renewed = time.Now()
		srv.metrics.out(pdu.CmdCredential, 1)
	}
}

// ring holds the live sessions in slots, one of which is looked at every second.
type ring struct {
	mu    sync.Mutex // guards all
	slots [ringSlots]map[*session]struct{}
	at    int // the slot looked at last
}

// add puts a session into the slot that comes last.
func (r *ring) add(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.ext.slot = r.at
	if r.slots[r.at] == nil {
		r.slots[r.at] = make(map[*session]struct{})
	}
	r.slots[r.at][s] = struct{}{}
}

func (r *ring) remove(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.slots[s.ext.slot], s)
}

// next goes on to the next slot and returns who is in it.
func (r *ring) next() []*session {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at = (r.at + 1) % ringSlots
	sessions := make([]*session, 0, len(r.slots[r.at]))
	for s := range r.slots[r.at] {
		sessions = append(sessions, s)
	}
	return sessions
}
