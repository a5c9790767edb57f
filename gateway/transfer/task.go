package transfer

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

// side is one of the two of a task.
type side int

const (
	sending side = iota
	receiving
)

// task is a file on its way.
type task struct {
	id       string
	from, to protocol.UserID
	name     string
	size     uint32
	online   bool
	limit    int       // bytes between the two sides
	kept     time.Time // of a stored one: until when it is known; guarded by the Engine's mu

	mu      sync.Mutex // guards what follows
	sides   [2]*party  // who is connected; an offline task has a sender only
	over    bool
	expires time.Time // when it is forgotten unless its sender is connected
	relay   relay     // of an online task
	draft   Draft     // of an offline task: what has come so far. Of the sending side as long as there is one, which needs no mu
}

// party is whoever is connected on one side of a task.
type party struct {
	kick     func()        // breaks the connection; from any goroutine
	finish   func()        // lets it end when it has taken what waits for it; from any goroutine
	left     chan struct{} // closed when it is done with the task
	replaced atomic.Bool   // the same side has come back by another connection
	link     *link         // nil: HTTP, which carries no online task
}

// user is who may be on a side.
func (t *task) user(s side) protocol.UserID {
	if s == sending {
		return t.from
	}
	return t.to
}

// sideOf is where a user with a role belongs [TT-FILE-7]. For the receiver of an offline task there is none: what waits is not a task any more.
func (t *task) sideOf(u protocol.UserID, r pb.ClientFileRole) (side, bool) {
	switch {
	case t.online && r == pb.ClientFileRole_CLIENT_REALTIME_SENDER, !t.online && r == pb.ClientFileRole_CLIENT_OFFLINE_UPLOAD:
		return sending, u == t.from
	case t.online && r == pb.ClientFileRole_CLIENT_REALTIME_RECVER:
		return receiving, u == t.to
	}
	return 0, false
}

func (t *task) mode() string {
	if t.online {
		return "online"
	}
	return "offline"
}

// enter makes p the one on a side, in place of another connection, which is broken first, and calls entered before anything else is sent to it. False: the
// task is over, or ctx.
func (t *task) enter(ctx context.Context, s side, p *party, entered func()) bool {
	for {
		old, over := t.tryEnter(s, p, entered)
		switch {
		case over:
			return false
		case old == nil:
			return true
		}
		old.replaced.Store(true)
		old.kick()
		select { // two at a time must not write to one draft
		case <-old.left:
		case <-ctx.Done():
			return false
		}
	}
}

// tryEnter makes p the one on a side unless somebody is there, or the task is over.
func (t *task) tryEnter(s side, p *party, entered func()) (old *party, over bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if old := t.sides[s]; old != nil || t.over {
		return old, t.over
	}
	t.sides[s] = p
	entered()
	t.metLocked(s)
	return nil, false
}

// leave takes p off its side. COMPAT: existing clients know only by the end of their own connection that the other one's has broken; both may come back
// [TT-FILE-8] [TT-DIFF-31].
func (e *Engine) leave(t *task, s side, p *party) {
	t.mu.Lock()
	t.sides[s] = nil
	if s == sending {
		t.expires = time.Now().Add(e.timing.Resume)
	}
	t.partedLocked(s)
	t.discardLocked()
	other := t.sides[1-s]
	t.mu.Unlock()
	if other != nil && !p.replaced.Load() {
		other.finish()
	}
}

// finish ends a task, once, and lets those who are connected to it go. Logins for it fail from now on.
func (e *Engine) finish(t *task, how string) {
	t.mu.Lock()
	if t.over {
		t.mu.Unlock()
		return
	}
	sides := t.endLocked()
	t.mu.Unlock()
	e.ended(t, how, sides)
}

// expire ends a task whose sender has been away for too long.
func (e *Engine) expire(t *task, now time.Time) {
	t.mu.Lock()
	if t.over || t.sides[sending] != nil || now.Before(t.expires) {
		t.mu.Unlock()
		return
	}
	sides := t.endLocked()
	t.mu.Unlock()
	e.ended(t, endedExpired, sides)
}

func (t *task) endLocked() [2]*party {
	t.over = true
	t.discardLocked()
	return t.sides
}

// discardLocked gives up what was uploaded of a task that is over, once nobody writes any more.
func (t *task) discardLocked() {
	if t.over && t.draft != nil && t.sides[sending] == nil {
		t.draft.Abort()
		t.draft = nil
	}
}

// tellLocked sends a PDU to whoever is on a side; false: he does not take it, or nobody is there.
func (t *task) tellLocked(s side, cmd pdu.Command, seq uint16, m message) bool {
	p := t.sides[s]
	return p != nil && p.link != nil && p.link.send(cmd, seq, m)
}
