package gateway

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"teamtalk/gateway/transport"
	"teamtalk/protocol"
	"teamtalk/protocol/pdu"
)

// session is one client's connection. Fields without a note belong to whoever carries out its requests: the goroutine of ServeConn, or
// for a while that of the parked requests.
type session struct {
	srv    *Server
	conn   transport.Conn
	id     protocol.ConnID // fixed
	addr   netip.Addr      // fixed
	ctx    context.Context // of requests; ends when their answers are of no use
	cancel context.CancelFunc

	user   protocol.UserID     // 0 before login; fixed when the registry has it
	client protocol.ClientType // like user
	ext    *extension          // nil: a legacy session. Set once, by HELLO, under mu

	out    outQueue
	sends  sends
	parked park

	limiter  *rate.Limiter // made with the first message
	recent   []recentSend
	sequence uint64 // of client message ids

	entrance entrance

	mu     sync.Mutex // guards what follows
	ended  bool
	ending ending
	readBy time.Time
}

// ServeConn is the whole life of a connection. It returns when everything that belongs to it has ended; the caller closes the connection.
// Shutdown, not ctx, ends it early: ctx is only handed on to the requests.
func (srv *Server) ServeConn(ctx context.Context, conn transport.Conn) {
	s := srv.newSession(ctx, conn)
	if refusal := srv.admit(s); refusal != "" {
		srv.metrics.refused.WithLabelValues(string(refusal)).Inc()
		return
	}
	defer srv.dismiss(s)

	s.readLoop()

	end := s.endingOf()
	if end.now || end.hurry {
		s.parked.drop() // whoever called end may not have come to it yet
	}
	s.parked.finish(end.reason != reasonClient) // what was read is carried out
	s.stopped()
	s.sends.wait() // and answered,
	if end.last != nil {
		s.out.last(end.last)
	}
	s.out.close() // then written,
	flush := time.AfterFunc(srv.timing.Flush, func() { _ = conn.Close(end.code) })
	s.out.drain()
	flush.Stop()
	s.linger(end) // and the client may read it before the connection closes.
	s.cancel()
	_ = conn.Close(end.code)
}

func (srv *Server) newSession(ctx context.Context, conn transport.Conn) *session {
	s := &session{srv: srv, conn: conn, id: newConnID(), addr: conn.RemoteAddr().Addr(), sequence: newSequence()}
	s.ctx, s.cancel = context.WithCancel(ctx)
	s.out.init(srv.limits.QueueBytes, s.write)
	s.sends.init(s)
	s.parked.init(s)
	return s
}

// linger lets the client read the last frames: closing while it still sends would destroy them.
func (s *session) linger(e ending) {
	if e.now || e.reason == reasonClient {
		return
	}
	if e.linger > 0 {
		s.conn.Discard(time.Now().Add(e.linger))
		return
	}
	if s.conn.CloseWrite() == nil {
		s.conn.Discard(time.Now().Add(s.srv.timing.Flush))
	}
}

// readLoop reads and carries out requests, one after the other, until the session ends.
func (s *session) readLoop() {
	s.alive(s.srv.timing.Login)
	for s.out.waitRoom() { // answers that the client does not read stop its requests [TT-LIMIT-3]
		if !s.readOne() {
			return
		}
	}
	s.end(ending{reason: reasonWriteFailed, now: true}) // unless it has ended already, which is what closes a queue
}

// readOne reads a request and carries it out, or has it carried out in its turn; false: the session has ended.
func (s *session) readOne() bool {
	queued := s.isQueued()
	p, err := s.conn.Read(s.readLimit(queued))
	switch {
	case queued && errors.Is(err, pdu.ErrTooLarge): // for somebody unknown: it is read again when that has changed
		return s.awaitLogin()
	case err != nil:
		s.end(s.readEnding(err))
		return false
	case queued && s.passQueue(p):
		return true
	case queued && !s.awaitLogin(), s.isHurried():
		return false
	}
	if s.user != 0 {
		s.alive(s.idleTime()) // heartbeats do not prolong the time for the login [TT-LOGIN-2]
	}
	s.dispatch(p)
	return true
}

func (s *session) readLimit(queued bool) int {
	if queued || s.user == 0 {
		return pdu.MaxLenBeforeLogin
	}
	return pdu.MaxLen
}

func (s *session) idleTime() time.Duration { return s.idleTimeOf(s.client) }

// idleTimeOf is how long a client may send nothing [TT-HB-2].
func (s *session) idleTimeOf(c protocol.ClientType) time.Duration {
	switch {
	case c.IsMobile():
		return s.srv.timing.IdleMobile
	case s.ext != nil:
		return silentBeats * heartbeat
	}
	return s.srv.timing.IdlePC
}

func (s *session) readEnding(err error) ending {
	switch {
	case errors.Is(err, io.EOF):
		return ending{reason: reasonClient}
	case errors.Is(err, pdu.ErrLength): // [TT-FRAME-3] [TT-DIFF-2]
		return ending{reason: reasonLength, code: protocol.CodeInvalid, now: true}
	case errors.Is(err, pdu.ErrTooLarge): // [TT-FRAME-3]
		return ending{reason: reasonTooLarge, code: protocol.CodeTooLarge, now: true}
	case errors.Is(err, os.ErrDeadlineExceeded) && s.entrance.ticket == nil && s.user == 0:
		return ending{reason: reasonLoginTimeout, code: protocol.CodeUnauthenticated, now: true}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ending{reason: reasonIdle, now: true}
	}
	return ending{reason: reasonReadFailed, now: true}
}

func (s *session) endingOf() ending {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ending
}

// dispatch finds the row of a request. What needs no order is answered at once, the rest in the order read.
func (s *session) dispatch(p pdu.PDU) {
	r, ok := s.srv.table[p.Header.Command] // the command id alone decides [TT-FRAME-2]
	ok = ok && r.isFor(s)
	switch {
	case s.user == 0 && (!ok || !r.beforeLogin): // [TT-LOGIN-1]
		s.end(ending{reason: reasonNotLoggedIn, code: protocol.CodeUnauthenticated, now: true})
		return
	case !ok: // [TT-FRAME-6]
		s.srv.metrics.ignored.WithLabelValues("unknown_command").Inc()
		s.refuse(p.Header, errUnknownCommand)
		return
	}
	r.received.Inc()
	if s.ext != nil && !r.anytime && !r.beforeLogin {
		s.ext.asked.Store(time.Now().UnixMilli())
		s.srv.presence.Touched(s.user, s.id)
	}
	switch {
	case r.anytime:
		s.run(r, p)
	case r.beforeLogin: // what follows needs to know who the client is
		s.await(r, p)
	case s.parked.follow(p):
	case !r.isSend:
		s.parked.occupy(func() { s.execute(r, p) })
	case s.withinRate():
		s.run(r, p)
	default:
		s.parked.begin(p)
	}
}

// await carries out a request before more is read, on a goroutine of its own: a stack that grew under the service and the store would otherwise
// stay with the connection while it idles.
func (s *session) await(r *row, p pdu.PDU) {
	done := make(chan struct{})
	go func() { // ends with the handler; waited for below
		defer close(done)
		s.run(r, p)
	}()
	<-done
}

// execute carries out a request when it is its turn, on the goroutine of the parked ones. Messages may be on their way together; all else waits for
// them, so that it sees them.
func (s *session) execute(r *row, p pdu.PDU) {
	if r.isSend {
		s.run(r, p)
		return
	}
	s.sends.wait()
	if s.ext == nil {
		s.run(r, p)
		return
	}
	s.runBounded(r, p)
}

// run calls the handler. A panic in it ends this session and no other.
func (s *session) run(r *row, p pdu.PDU) {
	defer func() { s.survive(p.Header.Command, recover()) }()
	if err := r.handle(s, p); err != nil {
		s.srv.metrics.ignored.WithLabelValues(ignoredFor(err)).Inc()
		s.srv.log.Debug("request not carried out", "command", p.Header.Command, "user", s.user, "conn", s.id, "error", err)
		s.refuse(p.Header, err)
	}
}

// survive takes what was recovered from something done for a request.
func (s *session) survive(cmd pdu.Command, v any) {
	if v != nil {
		s.srv.metrics.panics.Inc()
		s.srv.log.Error("handler panicked", "command", cmd, "user", s.user, "panic", v, "stack", string(debug.Stack()))
		s.end(ending{reason: reasonPanic, code: protocol.CodeInternal, now: true})
	}
}

// requestContext is that of the request being carried out.
func (s *session) requestContext() context.Context {
	if s.ext != nil && s.ext.request != nil {
		return s.ext.request
	}
	return s.ctx
}

// withinRate reports whether a message is within the rate, and counts it [TT-LIMIT-1].
func (s *session) withinRate() bool {
	limiter := s.rate()
	return limiter == nil || limiter.Allow()
}

// rate bounds the messages of this session; nil: they have no bound.
func (s *session) rate() *rate.Limiter {
	if s.limiter == nil && s.srv.limits.SendsPerSecond > 0 {
		s.limiter = rate.NewLimiter(rate.Limit(s.srv.limits.SendsPerSecond), s.srv.limits.SendBurst)
	}
	return s.limiter
}

// clientMsgID is the next id for a message of this session: the connection's and a number. It makes a repeat recognisable, and the event
// that comes back.
func (s *session) clientMsgID(sequence uint64) (id protocol.ClientMsgID) {
	binary.BigEndian.PutUint64(id[:8], uint64(s.id))
	binary.BigEndian.PutUint64(id[8:], sequence)
	return id
}

// wrote reports whether a message's id was given by this session.
func (s *session) wrote(m *protocol.Message) bool {
	return m.From == s.user && binary.BigEndian.Uint64(m.ClientMsgID[:8]) == uint64(s.id)
}
