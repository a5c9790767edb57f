package gateway

import (
	"time"

	"teamtalk/protocol"
)

// reason names why a connection ended, in logs and metrics.
type reason string

const (
	reasonClient       reason = "client"           // the client closed
	reasonReadFailed   reason = "read_failed"      // the network broke
	reasonWriteFailed  reason = "write_failed"     // the network broke, or the client takes nothing
	reasonLoginTimeout reason = "login_timeout"    // [TT-LOGIN-2]
	reasonIdle         reason = "idle"             // [TT-HB-2]
	reasonLength       reason = "bad_length"       // [TT-FRAME-3]
	reasonTooLarge     reason = "too_large"        // [TT-FRAME-3]
	reasonNotLoggedIn  reason = "not_logged_in"    // [TT-LOGIN-1]
	reasonRefused      reason = "login_refused"    // [TT-LOGIN-3]
	reasonLogout       reason = "logout"           // [TT-LOGIN-8]
	reasonDuplicate    reason = "kicked_duplicate" // [TT-KICK-1]
	reasonByMobile     reason = "kicked_by_mobile" // [TT-KICK-3]
	reasonRevoked      reason = "access_revoked"   // left the company, or has another password
	reasonJumped       reason = "jumped"           // events are missing: come back and ask
	reasonOverloaded   reason = "overloaded"       // [TT-LIMIT-3]
	reasonHello        reason = "bad_hello"        // [TT-SESS-1]
	reasonReplaced     reason = "replaced"         // a newer connection of the same device [TT-SESS-3]
	reasonDevice       reason = "device_revoked"   // the device was logged out [TT-SESS-7]
	reasonDevices      reason = "too_many_devices" // [TT-SESS-8]
	reasonBehind       reason = "cannot_resume"    // not on this node, or not now [TT-SESS-5]
	reasonPanic        reason = "panic"            // our fault
	reasonDrained      reason = "drained"          // goes on on another node
	reasonShutdown     reason = "shutdown"
)

// ending says how a connection is to end. The zero linger and hurry let the requests already read be answered, everything be written, and the
// client close first for as long as the server's flush time.
type ending struct {
	reason reason
	code   protocol.Code
	now    bool          // close at once, unwritten frames are lost
	hurry  bool          // requests already read are not carried out
	linger time.Duration // stay silent for so long before closing, unless the client closes
	last   []byte        // the last frames, after which nothing is written
}

// end ends the session, once: reading stops, and ServeConn does the rest. It never blocks.
func (s *session) end(e ending) bool {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return false
	}
	if s.ext != nil {
		e = s.farewell(e)
	}
	s.ended, s.ending = true, e
	if e.last != nil && e.hurry { // else behind the last answer
		s.out.last(e.last)
	}
	// Interrupts a Read; a deadline long past, since some clocks stand still.
	_ = s.conn.SetReadDeadline(time.Unix(1, 0))
	s.mu.Unlock()

	s.giveUp()
	s.srv.depart(s)
	if e.now || e.hurry {
		s.parked.drop() // before the context ends, which would let what is parked go at once
		s.cancel()
	}
	if e.now {
		s.out.abort()
		_ = s.conn.Close(e.code)
	}
	return true
}

// kick ends the session with a last frame. From here on the client is neither read nor pushed to, but it is given time to read and to close
// by itself [TT-KICK-2] [TT-DIFF-5].
func (s *session) kick(why reason, last []byte) bool {
	return s.end(ending{reason: why, code: protocol.CodeKicked, hurry: true, linger: s.srv.timing.KickGrace, last: last})
}

func (s *session) hasEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// isHurried reports whether requests are no longer carried out. When a session ends without hurry, those that are already in memory are.
func (s *session) isHurried() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended && (s.ending.now || s.ending.hurry)
}

// alive moves the deadline of the next PDU, if it moves by more than a second [TT-HB-2].
func (s *session) alive(idle time.Duration) {
	by := time.Now().Add(idle)
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := by.Sub(s.readBy); s.ended || -time.Second < d && d < time.Second {
		return
	}
	s.readBy = by
	_ = s.conn.SetReadDeadline(by) // fails only on a closed connection, which Read notices
}
