package gateway

import (
	"teamtalk/protocol"
	"teamtalk/protocol/pb/sessionpb"
	"teamtalk/protocol/pdu"
)

const (
	replayEvents = 256 // read at once; the rest of their last entry comes with them
	replayShare  = 2   // a replay may fill this part of the room for answers: the rest is for heartbeats
)

// resume takes a session up where its client says it was; why is empty if that can be done [TT-SESS-3] [TT-SESS-5].
func (s *session) resume(h pdu.Header, grant protocol.Grant, cursor protocol.Cursor, why string) error {
	done := s.srv.admission.resume()
	cred, err := s.rejoin(h, grant, why)
	if err != nil || why != "" {
		done()
	}
	switch {
	case protocol.CodeOf(err) == protocol.CodeUnauthenticated:
		s.end(ending{reason: reasonRevoked, code: protocol.CodeUnauthenticated, hurry: true})
		return err
	case err != nil:
		return s.cannotResume(err)
	}
	s.srv.log.Info("resumed", "user", s.user, "client", s.client, "device", s.ext.device, "version", s.ext.version, "remote", s.addr, "conn", s.id, "gap", why)
	if why == "" {
		s.parked.occupy(func() {
			defer done()
			s.replay(cursor, cred)
		})
	}
	return nil
}

// rejoin makes the session known and answers. Pushes wait until it has, and after a gap that is all.
func (s *session) rejoin(h pdu.Header, grant protocol.Grant, why string) (protocol.Credential, error) {
	s.out.hold()
	defer s.out.release()
	cred, err := s.join(grant.Device.User, grant.Epoch)
	if err != nil {
		return cred, err
	}
	s.alive(s.idleTime())
	if why == "" {
		s.answerHello(h, sessionpb.Verdict_RESUMED, s.srv.hub.head(), "")
		return cred, nil
	}
	if from, ok := s.srv.hub.enliven(s, 0); ok {
		s.answerHello(h, sessionpb.Verdict_GAP, from, why)
		s.answer(pdu.Header{}, pdu.CmdCredential, credentialToWire(cred, from))
	}
	return cred, nil
}

// replay sends what happened after a cursor, at the speed at which the client takes it, and makes the session live [TT-SESS-20]. What is durable and
// happens meanwhile is read like the rest. It ends with the session.
func (s *session) replay(next protocol.Cursor, cred protocol.Credential) {
	defer func() { s.survive(pdu.CmdHello, recover()) }()
	r := &replaying{session: s}
	for {
		applied := s.srv.hub.replica.Applied()
		upTo, ok := r.resend(next, 0)
		if !ok {
			return
		}
		if next = upTo; next >= applied {
			break
		}
	}
	r.catchUp(next, cred)
}

// catchUp ends a replay of which all has been sent but what happened while the end was read. Pushes wait behind that, for as long as it takes to be read;
// should it not be sent, neither are they: they come again, in their order, when the client does.
func (r *replaying) catchUp(next protocol.Cursor, cred protocol.Credential) {
	s, sent := r.session, false
	s.out.hold()
	defer func() {
		if !sent {
			s.out.dropHeld()
		}
		s.out.release()
	}()
	from, ok := s.srv.hub.catchUp(s, next)
	for ok && next < from {
		next, ok = r.resend(next, from)
	}
	if sent = ok && s.caughtUp(); !sent {
		return
	}
	s.answer(pdu.Header{}, pdu.CmdCursor, &sessionpb.Cursor{Cursor: uint64(from)})
	s.answer(pdu.Header{}, pdu.CmdCredential, credentialToWire(cred, from))
}

// replaying is a replay under way.
type replaying struct {
	*session
	behind int // events since the last CURSOR
}

// resend reads and sends some of the events after a cursor, those after last excepted, if last is not 0, and returns where to go on; false: the session
// has ended.
func (r *replaying) resend(after, last protocol.Cursor) (next protocol.Cursor, ok bool) {
	events, next, err := r.srv.hub.replay.EventsAfter(r.user, after, replayEvents)
	if err == nil && next < after {
		err = protocol.Errorf(protocol.CodeInternal, "events after %d go on at %d", after, next)
	}
	if err != nil {
		r.srv.log.Error("replay broken off", "user", r.user, "conn", r.id, "after", after, "error", err)
		_ = r.cannotResume(err)
		return 0, false
	}
	for i := range events {
		e := &events[i]
		if last != 0 && protocol.Cursor(e.At.Index) > last {
			break // will be pushed
		}
		if !r.out.waitShare(replayShare) || r.hasEnded() {
			return 0, false
		}
		if !r.resendEvent(e) {
			continue
		}
		if r.behind++; r.behind >= cursorEvents && (i+1 == len(events) || events[i+1].At.Index != e.At.Index) {
			r.behind = 0
			r.answer(pdu.Header{}, pdu.CmdCursor, &sessionpb.Cursor{Cursor: e.At.Index})
		}
	}
	return next, !r.hasEnded()
}

// resendEvent sends one event as it would have been pushed; false: there is nothing to send.
func (r *replaying) resendEvent(e *protocol.Event) bool {
	cmd, m := r.eventToWire(e.Body)
	if m == nil {
		return false
	}
	if sent, ok := e.Body.(protocol.MessageSent); ok {
		r.remember(&sent)
	}
	r.answer(pdu.Header{}, cmd, m)
	return true
}

// eventToWire is an event as an extended session is told it; nil: it is not.
func (s *session) eventToWire(body protocol.EventBody) (pdu.Command, message) {
	me := s.user
	switch e := body.(type) {
	case protocol.MessageSent:
		return pdu.CmdMsgData, s.extendedMsgData(&e.Message)
	case protocol.MessageStateChanged:
		if e.From == me {
			return pdu.CmdState, stateToWire(&e)
		}
	case protocol.MessageDeleted:
		return pdu.CmdDeleted, deletedToWire(me, &e)
	case protocol.ReadMoved:
		if e.User == me {
			return pdu.CmdReadNotify, readNotify(e)
		}
	case protocol.SessionRemoved:
		if e.User == me && e.Session.Type == protocol.SessionSingle {
			return pdu.CmdRemoveSessionNotify, removeNotify(e)
		}
	case protocol.MembersChanged:
		return pdu.CmdGroupChangeNotify, membersNotify(e)
	case protocol.GroupCreated:
		return pdu.CmdGroupChangeNotify, createdNotify(e)
	case protocol.SignChanged:
		return pdu.CmdSignNotify, signNotify(e)
	case protocol.AvatarChanged:
		return pdu.CmdAvatarNotify, avatarNotify(e)
	case protocol.OfflineFileAdded:
		if e.File.To == me {
			return pdu.CmdFileNotify, s.srv.fileNotify(e.File)
		}
	}
	return 0, nil
}
