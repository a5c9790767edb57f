package gateway

import (
	"context"
	"slices"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/pdu"
)

// How much is delivered before a session that waits to become live gets its turn.
const (
	deliverEventsAtOnce = 256
	deliverPushesAtOnce = 20_000
)

// deliverEvents pushes what happens to the sessions of this node that it concerns, in log order.
func (srv *Server) deliverEvents(ctx context.Context) error {
	var to []*session
	for {
		events, err := srv.inputs.events.Next(ctx)
		if err != nil {
			return err
		}
		for len(events) > 0 {
			var n int
			to, n = srv.deliverSome(events, to)
			events = events[n:]
		}
		if cap(to) > 10_000 {
			to = nil
		}
	}
}

// deliverSome handles events of whole log entries, up to where a CURSOR is due, and returns their number. No session becomes live meanwhile; when it
// returns, CURSOR may name them [TT-SESS-4].
func (srv *Server) deliverSome(events []protocol.Event, to []*session) ([]*session, int) {
	srv.hub.delivering.Lock()
	defer srv.hub.delivering.Unlock()
	n, pushes := 0, 0
	for n < len(events) {
		to = srv.deliver(&events[n], to[:0])
		pushes += len(to)
		clear(to)
		n++
		isWhole := n == len(events) || events[n].At.Index != events[n-1].At.Index
		if isWhole && (n >= deliverEventsAtOnce || pushes >= deliverPushesAtOnce || len(srv.hub.due) > 0) {
			break
		}
	}
	srv.deliveredUpToLocked(events[n-1].At.Index)
	return to, n
}

// deliver handles one event; to is scratch space, returned for the next one.
func (srv *Server) deliver(ev *protocol.Event, to []*session) []*session {
	switch e := ev.Body.(type) {
	case protocol.MessageSent:
		return srv.deliverMessage(&e, to)
	case protocol.MessageDeleted:
		return srv.deliverDeleted(ev.At, &e, to)
	case protocol.MessageStateChanged: // to its author [TT-FED-4]
		to = srv.extendedOf(to, []protocol.UserID{e.From})
		srv.pushEvent(to, ev.At, 0, pdu.CmdState, func() message { return stateToWire(&e) })
	case protocol.DirectoryChanged:
		srv.hub.abroad.forget()
	case protocol.ReadMoved: // to the reader's other connections [TT-MSG-9] [TT-DIFF-18]
		srv.pushEvent(srv.sessions.of(e.User), ev.At, e.Origin, pdu.CmdReadNotify, func() message { return readNotify(e) })
		srv.noteProgress(progress{user: e.User, conversation: e.Session.Conversation(e.User), read: e.UpTo})
	case protocol.SessionRemoved: // to the user's other connections; for single sessions only [TT-BUDDY-3]
		if e.Session.Type == protocol.SessionSingle {
			srv.pushEvent(srv.sessions.of(e.User), ev.At, e.Origin, pdu.CmdRemoveSessionNotify, func() message { return removeNotify(e) })
		}
	case protocol.MembersChanged: // once to each connection of those who are and those who were members [TT-GROUP-6] [TT-DIFF-23]
		concerned := slices.Concat(e.Current, e.Changed)
		slices.Sort(concerned)
		to = srv.sessions.ofAll(to, slices.Compact(concerned))
		srv.pushEvent(to, ev.At, e.Origin, pdu.CmdGroupChangeNotify, func() message { return membersNotify(e) })
	case protocol.GroupCreated: // legacy clients learn with the first message [TT-SESS-19]
		to = slices.DeleteFunc(srv.sessions.ofAll(to, e.Members), func(s *session) bool { return s.ext == nil })
		srv.pushEvent(to, ev.At, 0, pdu.CmdGroupChangeNotify, func() message { return createdNotify(e) })
	case protocol.SignChanged: // [TT-BUDDY-8]
		to = srv.sessions.everybody(to, nil)
		srv.pushEvent(to, ev.At, 0, pdu.CmdSignNotify, func() message { return signNotify(e) })
	case protocol.AvatarChanged: // [TT-BUDDY-7] [TT-DIFF-8]
		to = srv.sessions.everybody(to, nil)
		srv.pushEvent(to, ev.At, 0, pdu.CmdAvatarNotify, func() message { return avatarNotify(e) })
	case protocol.OfflineFileAdded: // [TT-FILE-3]
		srv.pushEvent(srv.sessions.of(e.File.To), ev.At, 0, pdu.CmdFileNotify, func() message { return srv.fileNotify(e.File) })
	case protocol.AccessRevoked:
		srv.revoke(ev.At, e)
	case protocol.Jumped:
		srv.jump(e)
	}
	return to
}

// jump lets all sessions end. What follows must not be pushed to the extended ones: they would take it for all there was [TT-SESS-4].
func (srv *Server) jump(e protocol.Jumped) {
	srv.log.Warn("events are missing: ending all sessions, so that they ask for what they missed", "from", e.From, "to", e.To)
	srv.tellAllLocked()
	for _, s := range srv.sessions.everybody(nil, func(s *session) bool { return s.ext != nil }) {
		if !s.ext.phase.CompareAndSwap(catchingUp, gone) { // in this order: it may be becoming live
			s.ext.phase.CompareAndSwap(live, gone)
		}
	}
	select {
	case srv.jumped <- struct{}{}:
	default:
	}
}

// pushEvent encodes a durable event once, if anybody is to get it, and queues the bytes for each session but the one excepted; 0 excepts none.
// delivering is held.
func (srv *Server) pushEvent(to []*session, at protocol.Position, except protocol.ConnID, cmd pdu.Command, make func() message) {
	var b []byte
	n := 0
	for _, s := range to {
		if s.id == except || !s.takes(at) {
			continue
		}
		if b == nil {
			b = srv.appendPush(nil, cmd, make())
		}
		if srv.pushDurableLocked(s, b) {
			n++
		}
	}
	srv.metrics.out(cmd, n)
}

// pushDurableLocked is pushFrame for what counts for CURSOR. delivering is held.
func (srv *Server) pushDurableLocked(s *session, b []byte) bool {
	if s.ext != nil {
		srv.hub.notedLocked(s)
	}
	return srv.pushFrame(s, b)
}

// push encodes a message once and queues the bytes for each session but the one excepted; 0 excepts none. Pushes carry sequence number 0
// [TT-SEQ-2].
func (srv *Server) push(to []*session, except protocol.ConnID, cmd pdu.Command, m message) {
	if len(to) == 0 {
		return
	}
	b := srv.appendPush(nil, cmd, m)
	n := 0
	for _, s := range to {
		if s.id != except && srv.pushFrame(s, b) {
			n++
		}
	}
	srv.metrics.out(cmd, n)
}

// pushFrame queues a frame; a session that has no room for it ends, so that its client comes back and asks [TT-LIMIT-3].
func (srv *Server) pushFrame(s *session, b []byte) bool {
	switch s.out.push(b, 1) {
	case queued:
		return true
	case full:
		waiting := s.out.waiting()
		if s.end(ending{reason: reasonOverloaded, code: protocol.CodeOverloaded, now: true}) {
			srv.metrics.queueBytes.Observe(float64(waiting))
			srv.log.Warn("session ended: it does not take what it is sent", "user", s.user, "client", s.client, "conn", s.id, "bytes", waiting)
		}
	case closed:
	}
	return false
}

// appendPush adds a PDU with sequence number 0 [TT-SEQ-2] [TT-DIFF-19]. One that cannot be encoded is our mistake and left out.
func (srv *Server) appendPush(dst []byte, cmd pdu.Command, m message) []byte {
	b, err := pdu.Append(dst, cmd, 0, m)
	if err != nil {
		srv.log.Error("push not sent", "command", cmd, "error", err)
		return dst
	}
	return b
}

// deliverMessage sends 0x0301 to all concerned: of the sender's connections not to the sending one, if it is a legacy one [TT-MSG-5]; extended ones
// get their own as well, which also serves as the ack [TT-SESS-13].
func (srv *Server) deliverMessage(e *protocol.MessageSent, to []*session) []*session {
	m := &e.Message
	target := m.Conversation.Seen(m.From)
	if target.Type == protocol.SessionGroup {
		to = srv.sessions.ofAll(to, e.Members)
	} else {
		to = append(to, srv.sessions.of(m.From)...)
		to = append(to, srv.sessions.of(target.Peer())...)
	}
	var frames messageFrames
	n := 0
	for _, s := range to {
		if s.ext == nil && s.wrote(m) || !s.takes(m.At) {
			continue
		}
		if s.ext != nil {
			s.remember(e)
		}
		if srv.pushDurableLocked(s, frames.of(s, m)) {
			n++
		}
	}
	srv.metrics.out(pdu.CmdMsgData, n)
	srv.metrics.delivery.Observe(time.Since(m.Time.Std()).Seconds())
	return to
}

// endAfterJumps ends all sessions when events are missing, one after the other, so that they do not all come back in the same moment.
func (srv *Server) endAfterJumps(ctx context.Context) error {
	for {
		select {
		case <-srv.jumped:
		case <-ctx.Done():
			return ctx.Err()
		}
		for _, s := range srv.sessions.everybody(nil, nil) {
			s.end(ending{reason: reasonJumped, code: protocol.CodeUnavailable})
			select {
			case <-time.After(srv.timing.JumpPace):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

// deliverSignals passes ephemeral signals on.
func (srv *Server) deliverSignals(ctx context.Context) error {
	for {
		signals, err := srv.inputs.signals.Next(ctx)
		if err != nil {
			return err
		}
		for _, sig := range signals {
			switch sig := sig.(type) {
			case protocol.PresenceChanged:
				srv.presenceChanged(sig)
			case protocol.P2PSent:
				srv.deliverP2P(sig)
			case protocol.FileOffered: // [TT-FILE-5] [TT-DIFF-30]
				srv.push(srv.sessions.of(sig.To), 0, pdu.CmdFileNotify, fileOffer(sig))
			case protocol.Delivered:
				srv.noteProgress(progress{user: sig.User, conversation: sig.Conversation, delivered: sig.UpTo, authors: sig.Authors})
			}
		}
	}
}
