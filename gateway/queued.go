package gateway

import (
	"context"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pb/sessionpb"
	"teamtalk/protocol/pdu"
)

// COMPAT: a legacy client has its answer 4 s after its 0x0103 [TT-QUEUE-3]. What is left after the wait is for checking the password.
const (
	legacyWait  = 3 * time.Second
	legacyCheck = 3800 * time.Millisecond // from the arrival too
)

// textCrowd is what a legacy client shows that is not let in because too many log in.
const textCrowd = "登录的人太多，正在排队的有%d人，请稍后再试"

// entrance is what a session is until it is logged in.
type entrance struct {
	counted bool          // among those that have not logged in; guarded by the registry's mutex
	ticket  *ticket       // of the login that has to wait, or had to; nil: none had. Set once, under the session's mutex, while its reader waits for it
	idle    time.Duration // without a PDU, while the login waits; set with the ticket
	settled bool          // that login has been decided; belongs to the reader
	due     atomic.Int64  // when QUEUE that is being written had to be told, in ns since 1970; 0: none is
}

// queueUp has a login carried out when it is its turn [TT-QUEUE-1]: at once, before more is read, if there is room; otherwise on the goroutine of
// the parked requests, while reading goes on, so that heartbeats are answered and the end of the connection is noticed.
func (s *session) queueUp(h pdu.Header, m *pb.IMLoginReq) error {
	a, arrived := s.srv.admission, time.Now()
	if a.mustWait() {
		if err := s.srv.services.Accounts.Throttled(m.GetUserName(), s.addr); err != nil { // there is nothing to wait for
			s.refuseCredentials(h, m, err)
			return nil
		}
	}
	patience := time.Duration(0)
	if s.ext == nil {
		patience = legacyWait
	}
	t, p, why := a.arrive(patience)
	switch {
	case why != "":
		s.refuseCrowd(h, why, p.position-1)
		return nil
	case t.called == nil:
		return s.authenticate(h, m, t, arrived)
	}
	s.waitFor(t, protocol.ClientType(m.GetClientType()))
	s.tellPlace(p)
	s.inTurn(t, func() {
		if s.awaitTurn(h, t) {
			s.run(&row{handle: func(*session, pdu.PDU) error { return s.authenticate(h, m, t, arrived) }}, pdu.PDU{Header: h})
		}
	})
	return nil
}

// inTurn has a login that waits carried out behind what is parked. If the session has ended meanwhile, whatever the login was given goes back.
func (s *session) inTurn(t *ticket, login func()) {
	taken := s.parked.occupy(func() {
		defer close(t.over)
		login()
	})
	if !taken {
		s.srv.admission.abandon(t)
		close(t.over)
	}
}

// waitFor notes that the session's login waits. From here on it lives as long as its client shows that it does: the time for the login stands still
// [TT-QUEUE-2], and it is no longer one of those that may have nothing to say [TT-LIMIT-2].
func (s *session) waitFor(t *ticket, c protocol.ClientType) {
	s.mu.Lock()
	s.entrance.ticket, s.entrance.idle = t, s.idleTimeOf(c)
	ended := s.ended
	s.mu.Unlock()
	if ended {
		s.srv.admission.leave(t)
		return
	}
	s.srv.sessions.vouch(s)
	s.alive(s.entrance.idle)
}

// giveUp takes an ended session's login out of the queue.
func (s *session) giveUp() {
	s.mu.Lock()
	t := s.entrance.ticket
	s.mu.Unlock()
	if t != nil {
		s.srv.admission.leave(t)
	}
}

// awaitTurn tells an extended client how far its login has come until it is its turn; false: it does not get one.
func (s *session) awaitTurn(h pdu.Header, t *ticket) bool {
	var late <-chan time.Time
	if s.ext == nil { // [TT-QUEUE-3]
		timer := time.NewTimer(legacyWait)
		defer timer.Stop()
		late = timer.C
	}
	for {
		select {
		case <-t.called:
			if s.srv.admission.runs(t) {
				return true
			}
			if s.srv.sessions.isStopped() {
				s.refuseFull(h)
			}
			return false
		case p := <-t.news:
			s.tellPlace(p)
		case <-late:
			if s.srv.admission.leave(t) { // else it has been called in this moment
				s.refuseCrowd(h, refusedWaited, s.srv.admission.crowd())
				return false
			}
		}
	}
}

// tellPlace is QUEUE, for those who understand it [TT-QUEUE-2].
func (s *session) tellPlace(p place) {
	if s.ext != nil {
		s.entrance.due.Store(p.due.UnixNano())
		s.answer(pdu.Header{}, pdu.CmdQueue, &sessionpb.Queue{Position: uint32(p.position), EtaS: uint32(math.Ceil(p.eta.Seconds()))})
	}
}

// noteNews measures how late QUEUE was, when something has been written.
func (s *session) noteNews() {
	if s.entrance.due.Load() == 0 { // as nearly always
		return
	}
	if due := s.entrance.due.Swap(0); due != 0 {
		s.srv.admission.late.Observe(time.Since(time.Unix(0, due)).Seconds())
	}
}

// refuseCrowd is said to a login that would come too late or has no place to wait [TT-QUEUE-3].
func (s *session) refuseCrowd(h pdu.Header, why refusal, waiting int) {
	s.srv.metrics.refused.WithLabelValues(string(why)).Inc()
	s.refuseLogin(h, pb.ResultType_REFUSE_REASON_MSG_SERVER_FULL, fmt.Sprintf(textCrowd, waiting))
}

// loginContext is that of a login that arrived at a time. A legacy client does not wait longer for an answer.
func (s *session) loginContext(arrived time.Time) (context.Context, context.CancelFunc) {
	if s.ext == nil {
		return context.WithDeadline(s.ctx, arrived.Add(legacyCheck))
	}
	return context.WithCancel(s.ctx)
}

// isQueued reports, to the reader, whether a login of this session waits or is being decided on another goroutine. Until it is not, nothing that
// belongs to whoever carries out requests may be looked at.
func (s *session) isQueued() bool {
	e := &s.entrance
	if e.ticket == nil || e.settled {
		return false
	}
	select {
	case <-e.ticket.over:
		e.settled = true
		return false
	default:
		return true
	}
}

// passQueue carries out what needs neither order nor login, while one waits; false: it is something else.
func (s *session) passQueue(p pdu.PDU) bool {
	s.alive(s.entrance.idle)
	r, ok := s.srv.table[p.Header.Command]
	if !ok || !r.anytime || !r.beforeLogin || !r.isFor(s) {
		return false
	}
	r.received.Inc()
	s.run(r, p)
	return true
}

// awaitLogin holds up the reader until a login that waits has been decided, as if it had not had to wait: what the client sent behind it needs to know
// who the client is. False: the session has ended.
func (s *session) awaitLogin() bool {
	idle := time.NewTimer(s.entrance.idle)
	defer idle.Stop()
	select {
	case <-s.entrance.ticket.over:
		return true
	case <-s.ctx.Done():
	case <-idle.C: // nobody has read whether the client is still there
		s.end(ending{reason: reasonIdle, now: true})
	}
	return false
}

// tellQueue keeps those that wait informed, until ctx ends.
func (srv *Server) tellQueue(ctx context.Context) error {
	for {
		select {
		case <-srv.admission.crowded:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := srv.tellUntilEmpty(ctx); err != nil {
			return err
		}
	}
}

func (srv *Server) tellUntilEmpty(ctx context.Context) error {
	tick := time.NewTicker(queueTick)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			if !srv.admission.tell(now) {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
