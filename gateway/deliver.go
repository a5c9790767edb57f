package gateway

import (
	"context"
	"slices"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

// deliverEvents pushes what happens to the sessions of this node that it concerns, in log order.
func (srv *Server) deliverEvents(ctx context.Context) error {
	var to []*session
	for {
		events, err := srv.events.Next(ctx)
		if err != nil {
			return err
		}
		for i := range events {
			to = srv.deliver(events[i].Body, to[:0])
			clear(to)
		}
		if cap(to) > 10_000 {
			to = nil
		}
	}
}

// deliver handles one event; to is scratch space, returned for the next one.
func (srv *Server) deliver(body protocol.EventBody, to []*session) []*session {
	switch e := body.(type) {
	case protocol.MessageSent:
		return srv.deliverMessage(&e, to)
	case protocol.ReadMoved:
		srv.deliverRead(e)
	case protocol.SessionRemoved:
		srv.deliverRemoval(e)
	case protocol.MembersChanged:
		return srv.deliverMembers(e, to)
	case protocol.SignChanged: // [TT-BUDDY-8]
		to = srv.sessions.everybody(to, nil)
		srv.push(to, 0, pdu.CmdSignNotify, &pb.IMSignInfoChangedNotify{ChangedUserId: new(uint32(e.User)), SignInfo: new(e.Sign)})
	case protocol.AvatarChanged: // [TT-BUDDY-7] [TT-DIFF-8]
		to = srv.sessions.everybody(to, nil)
		srv.push(to, 0, pdu.CmdAvatarNotify, &pb.IMAvatarChangedNotify{ChangedUserId: new(uint32(e.User)), AvatarUrl: new(e.Avatar)})
	case protocol.OfflineFileAdded:
		srv.deliverOfflineFile(e.File)
	case protocol.AccessRevoked:
		for _, s := range srv.sessions.of(e.User) {
			srv.log.Info("session ended: access revoked", "user", e.User, "conn", s.id, "reason", e.Reason)
			s.end(ending{reason: reasonRevoked, code: protocol.CodeUnauthenticated, hurry: true})
		}
	case protocol.Jumped:
		srv.log.Warn("events are missing: ending all sessions, so that they ask for what they missed", "from", e.From, "to", e.To)
		select {
		case srv.jumped <- struct{}{}:
		default:
		}
	}
	return to
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

// deliverMessage sends 0x0301 to all concerned but the sending connection [TT-MSG-5].
func (srv *Server) deliverMessage(e *protocol.MessageSent, to []*session) []*session {
	m := &e.Message
	target := m.Conversation.Seen(m.From)
	if target.Type == protocol.SessionGroup {
		to = srv.sessions.ofAll(to, e.Members)
	} else {
		to = append(to, srv.sessions.of(m.From)...)
		to = append(to, srv.sessions.of(target.Peer())...)
	}
	to = slices.DeleteFunc(to, func(s *session) bool { return s.wrote(m) })
	srv.push(to, 0, pdu.CmdMsgData, &pb.IMMsgData{
		FromUserId:  new(uint32(m.From)),
		ToSessionId: new(target.ID),
		MsgId:       new(uint32(m.ID)),
		CreateTime:  new(m.Time.Unix()),
		MsgType:     msgTypeToWire(m.Type),
		MsgData:     m.Data,
	})
	srv.metrics.delivery.Observe(time.Since(m.Time.Std()).Seconds())
	return to
}

// deliverRead sends 0x0304 to the reader's other connections [TT-MSG-9] [TT-DIFF-18].
func (srv *Server) deliverRead(e protocol.ReadMoved) {
	srv.push(srv.sessions.of(e.User), e.Origin, pdu.CmdReadNotify, &pb.IMMsgDataReadNotify{
		UserId:      new(uint32(e.User)),
		SessionId:   new(e.Session.ID),
		MsgId:       new(uint32(e.UpTo)),
		SessionType: sessionTypeToWire(e.Session.Type),
	})
}

// deliverRemoval sends 0x020f to the user's other connections; for single sessions only [TT-BUDDY-3].
func (srv *Server) deliverRemoval(e protocol.SessionRemoved) {
	if e.Session.Type != protocol.SessionSingle {
		return
	}
	srv.push(srv.sessions.of(e.User), e.Origin, pdu.CmdRemoveSessionNotify, &pb.IMRemoveSessionNotify{
		UserId:      new(uint32(e.User)),
		SessionType: sessionTypeToWire(e.Session.Type),
		SessionId:   new(e.Session.ID),
	})
}

// deliverMembers sends 0x040b once to each connection of those who are and those who were members [TT-GROUP-6] [TT-DIFF-23].
func (srv *Server) deliverMembers(e protocol.MembersChanged, to []*session) []*session {
	concerned := slices.Concat(e.Current, e.Changed)
	slices.Sort(concerned)
	to = srv.sessions.ofAll(to, slices.Compact(concerned))
	srv.push(to, e.Origin, pdu.CmdGroupChangeNotify, &pb.IMGroupChangeMemberNotify{
		UserId:        new(uint32(e.Actor)),
		ChangeType:    memberChangeToWire(e.Change),
		GroupId:       new(uint32(e.Group)),
		CurUserIdList: userIDsToWire(e.Current),
		ChgUserIdList: userIDsToWire(e.Changed),
	})
	return to
}

// deliverOfflineFile sends 0x0508 to the receiver's connections [TT-FILE-3].
func (srv *Server) deliverOfflineFile(f protocol.OfflineFile) {
	srv.push(srv.sessions.of(f.To), 0, pdu.CmdFileNotify, &pb.IMFileNotify{
		FromUserId:   new(uint32(f.From)),
		ToUserId:     new(uint32(f.To)),
		FileName:     new(f.Name),
		FileSize:     new(f.Size),
		TaskId:       new(f.TaskID),
		IpAddrList:   fileAddressesToWire(srv.files),
		TransMode:    pb.TransferFileType_FILE_TYPE_OFFLINE.Enum(),
		OfflineReady: new(uint32(1)),
	})
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
		signals, err := srv.signals.Next(ctx)
		if err != nil {
			return err
		}
		for _, sig := range signals {
			switch sig := sig.(type) {
			case protocol.PresenceChanged:
				srv.presenceChanged(sig)
			case protocol.P2PSent:
				srv.deliverP2P(sig)
			}
		}
	}
}
