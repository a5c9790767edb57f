package client

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"teamtalk/client/dial"
	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pb/sessionpb"
	"teamtalk/protocol/pdu"
)

const (
	defaultBeat = 30 * time.Second // also towards legacy servers
	ackEvery    = time.Second      // [TT-SESS-4]
	proofTime   = 2 * time.Second  // for the path to show that it works after the network has changed
)

// session is a connection on which the client is logged in, from WELCOME to its end. It is run by the engine's goroutine.
type session struct {
	e *engine
	l *link

	legacy    bool
	replaying bool // events of the past come; nothing is asked before they are through
	resumed   bool
	node      string
	most      int // bytes of a PDU that the server accepts
	began     time.Time
	live      time.Time // since when; zero while replaying

	beat    beat
	paused  bool            // not reading, because the app does not
	open    time.Time       // reading since
	acked   protocol.Cursor // told the server
	ackFrom time.Time       // not before
	sent    time.Time       // legacy: the message that waits for its ack
	mover   mover
}

func newSession(e *engine, l *link, g *greeted, began time.Time) *session {
	now := time.Now()
	s := &session{
		e: e, l: l, legacy: g.welcome == nil, replaying: g.replaying, resumed: g.resumed, most: pdu.MaxLen, began: began, open: now,
		beat: beat{every: beatOf(g.welcome), heard: l.conn.LastHeard},
	}
	if w := g.welcome; w != nil {
		s.node = w.GetNode()
		if n := w.GetMaxPduBytes(); n >= pdu.MaxLenBeforeLogin && n < pdu.MaxLen {
			s.most = int(n)
		}
		e.prefer(w.GetEndpoints())
		e.home.moved(w.GetEndpoints(), l.conn.Route())
	}
	s.beat.due = now.Add(s.beat.every)
	s.mover.s = s
	return s
}

// held is for how long the session was live.
func (s *session) held() time.Duration {
	if s.live.IsZero() {
		return 0
	}
	return time.Since(s.live)
}

// run lives until the connection ends; next is the one to move to, if there is one.
func (s *session) run(ctx context.Context) (next dial.Conn, err error) {
	if !s.replaying {
		s.goLive()
	}
	defer s.mover.stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := time.Now()
		if err := s.due(ctx, now); err != nil {
			return nil, err
		}
		if next := s.mover.ready(now); next != nil {
			return next, nil
		}
		s.fill(now)
		timer.Reset(time.Until(s.wakeAt(now)))
		select {
		case p, ok := <-s.incoming(now):
			if !ok {
				return nil, brokenBy(s.l.err)
			}
			if err := s.handle(p); err != nil {
				return nil, err
			}
		case s.l.pending() <- s.l.out:
			s.l.written()
		case err := <-s.l.bad:
			return nil, s.lastWords(err)
		case conn := <-s.mover.results():
			s.mover.found(conn, time.Now())
		case <-s.e.hint:
			s.networkChanged(ctx, time.Now())
		case <-s.e.events.room:
		case <-s.e.wake:
		case <-timer.C:
		case <-ctx.Done():
			s.farewell()
			return nil, context.Cause(ctx)
		}
	}
}

// incoming is where PDUs come from; nil while the app does not take what has come.
func (s *session) incoming(now time.Time) <-chan pdu.PDU {
	if s.e.events.full() {
		s.paused = true
		return nil
	}
	if s.paused {
		s.paused, s.open = false, now
	}
	return s.l.in
}

// goLive begins what waits for the replay's end.
func (s *session) goLive() {
	now := time.Now()
	s.replaying, s.live = false, now
	for _, missed := range s.e.seen.live() {
		s.e.events.put(item{event: missed})
	}
	s.e.home.online(s.l.conn) // before anybody is told
	route := s.l.conn.Route()
	s.e.log.Info("online", "transport", route.Transport, "route", route, "node", s.node, "resumed", s.resumed, "took", now.Sub(s.began))
	s.e.status.set(s.e.events, &StateChanged{State: Online, Route: route, Node: s.node, Resumed: s.resumed, Took: now.Sub(s.began)})
	s.e.watch.again(s.e)
	s.e.tries.probes.online(now)
}

// due does what time has come for.
func (s *session) due(ctx context.Context, now time.Time) error {
	if !s.paused && s.beat.silent(now, s.open) {
		if route := s.l.conn.Route(); route.Transport == dial.QUIC {
			s.e.tries.avoid = []dial.Route{route} // it opens, and then nothing passes: the next transport may do better
		}
		return &lostError{cause: errSilent}
	}
	if s.replaying && !s.paused && now.Sub(later(s.l.spoke, s.open)) >= 2*s.beat.every {
		return &lostError{cause: errSilent} // heartbeats are answered, and the replay does not go on
	}
	if s.beat.turn(now) {
		seq := s.l.number(nil)
		delete(s.l.asked, seq)
		s.beat.seq = seq
		s.l.send(pdu.CmdHeartbeat, seq, &pb.IMHeartBeat{})
	}
	if at := s.e.keeper.ackable(); !s.legacy && !s.replaying && at > s.acked && !now.Before(s.ackFrom) {
		s.acked, s.ackFrom = at, now.Add(ackEvery)
		s.l.send(pdu.CmdAck, 0, &sessionpb.Ack{Cursor: uint64(at)})
	}
	if s.legacy && !s.sent.IsZero() && now.Sub(s.sent) >= legacyAckTime {
		s.e.outbox.lost(ErrInterrupted)
		s.sent = time.Time{}
	}
	s.mover.turn(ctx, now)
	return nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// wakeAt is when due has something to do.
func (s *session) wakeAt(now time.Time) time.Time {
	at := s.beat.next(s.open)
	earlier := func(t time.Time) {
		if !t.IsZero() && t.Before(at) {
			at = t
		}
	}
	if s.paused {
		at = now.Add(s.beat.every)
		earlier(s.beat.due)
	}
	if s.replaying {
		if !s.paused {
			earlier(later(s.l.spoke, s.open).Add(2 * s.beat.every))
		}
		return at
	}
	if !s.legacy && s.e.keeper.ackable() > s.acked {
		earlier(s.ackFrom)
	}
	if s.legacy && !s.sent.IsZero() {
		earlier(s.sent.Add(legacyAckTime))
	}
	if hold := s.e.outbox.heldUntil(); hold.After(now) {
		earlier(hold)
	}
	earlier(s.mover.next())
	return at
}

// fill gathers what may be sent: first messages, in order, those not acked on the former connection before all others [TT-SESS-3].
func (s *session) fill(now time.Time) {
	if s.replaying {
		return
	}
	for !s.l.full() {
		o := s.e.outbox.next(now, s.window())
		if o == nil {
			break
		}
		s.message(o, now)
	}
	for !s.l.full() {
		r := s.e.requests.next()
		if r == nil {
			break
		}
		s.request(r)
	}
	s.e.reads.each(now, func(in protocol.Session, upTo protocol.MsgID) {
		s.l.send(pdu.CmdReadAck, s.l.number(in), &pb.IMMsgDataReadAck{
			UserId: proto.Uint32(uint32(s.e.keeper.me())), SessionId: proto.Uint32(in.ID), MsgId: proto.Uint32(uint32(upTo)),
			SessionType: pb.SessionType(in.Type).Enum(),
		})
	})
}

func (s *session) request(r *request) {
	switch {
	case r.extends && s.legacy:
		s.e.requests.finish(r, nil, false, ErrLegacyServer)
	case !s.l.send(r.command, s.l.number(r), r.body):
		s.e.requests.finish(r, nil, false, &Error{Code: protocol.CodeInvalid, Message: "the request can't be encoded"})
	case r.answer == 0:
		s.e.requests.finish(r, nil, false, nil) // nothing comes back
	}
}

func (s *session) window() int {
	if s.legacy {
		return 1
	}
	return s.e.cfg.window()
}

func (s *session) message(o *Outgoing, now time.Time) {
	m := o.queued.wire(s.e.keeper.me(), s.legacy)
	if pdu.HeaderLen+proto.Size(m) > s.most {
		s.e.outbox.refused(o, &Error{Code: protocol.CodeTooLarge, Message: "the message is larger than this server accepts"})
		return
	}
	if !s.l.send(pdu.CmdMsgData, s.l.number(o), m) {
		s.e.outbox.refused(o, &Error{Code: protocol.CodeInvalid, Message: "the message can't be encoded"})
		return
	}
	if s.legacy {
		s.sent = now
		s.e.outbox.pace(now.Add(legacyPace))
	}
}

// quiet reports whether nothing is lost, or has to be sent again, if the connection ends now.
func (s *session) quiet() bool {
	return !s.replaying && s.e.outbox.sending() == 0 && s.e.requests.outstanding() == 0 && len(s.l.out) == 0
}

// networkChanged has the path prove that it still works.
func (s *session) networkChanged(ctx context.Context, now time.Time) {
	s.e.tries.probes = probes{}
	s.beat.prove(now, s.l.conn.LastHeard())
	s.mover.rebind(ctx)
}

// lastWords reads what the server said before it stopped taking anything.
func (s *session) lastWords(wrote error) error {
	timer := time.NewTimer(partingTime)
	defer timer.Stop()
	for !s.e.events.full() {
		select {
		case p, ok := <-s.l.in:
			if !ok {
				return brokenBy(s.l.err)
			}
			if err := s.handle(p); err != nil {
				return err
			}
		case <-timer.C:
			return &lostError{cause: wrote}
		}
	}
	return &lostError{cause: wrote}
}

// farewell ends the connection; the token stays good [TT-SESS-15].
func (s *session) farewell() {
	if !s.legacy {
		s.l.send(pdu.CmdBye, 0, &sessionpb.Bye{})
	}
	s.l.part()
}
