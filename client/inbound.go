package client

import (
	"errors"
	"time"

	"google.golang.org/protobuf/proto"

	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pb/chatpb"
	"teamtalk/protocol/pb/sessionpb"
	"teamtalk/protocol/pdu"
)

// flagStale marks an answer of a node that may not know the newest [TT-SESS-18].
const flagStale = 0x0001

// handle takes one PDU of a live session. An error ends the connection.
func (s *session) handle(p pdu.PDU) error {
	now := time.Now()
	if p.Header.Command == pdu.CmdHeartbeat {
		if took, ok := s.beat.answered(p.Header.Seq, now); ok {
			s.e.status.roundTrip(took)
		}
		return nil
	}
	s.l.spoke = now
	m, err := pdu.Decode(p, pdu.ServerToClient)
	if err != nil {
		s.unreadable(p, err)
		return nil
	}
	if s.answered(p, m) {
		return nil
	}
	if done, err := s.about(m, now); done {
		return err
	}
	if ev := s.e.codec.event(m, s.e.keeper.me()); ev != nil {
		s.happened(ev)
	}
	return nil
}

// unreadable fails the request that is answered so. Commands that this program does not know are none of its business.
func (s *session) unreadable(p pdu.PDU, err error) {
	if errors.Is(err, pdu.ErrNoMessage) {
		s.e.log.Debug("unknown command", "command", p.Header.Command)
		return
	}
	s.e.log.Warn("unreadable PDU", "command", p.Header.Command, "error", err)
	if r, ok := s.l.asked[p.Header.Seq].(*request); ok && r.answer == p.Header.Command {
		delete(s.l.asked, p.Header.Seq)
		s.e.requests.finish(r, nil, false, err)
	}
}

// answered reports whether m answers something that was asked.
func (s *session) answered(p pdu.PDU, m proto.Message) bool {
	if p.Header.Seq == 0 {
		return false
	}
	switch of := s.l.asked[p.Header.Seq].(type) {
	case *request:
		if of.answer != p.Header.Command {
			return false
		}
		delete(s.l.asked, p.Header.Seq)
		s.e.requests.finish(of, m, p.Header.Flag&flagStale != 0, nil)
		return true
	case *Outgoing:
		ack, ok := m.(*pb.IMMsgDataAck)
		if !ok {
			return false
		}
		delete(s.l.asked, p.Header.Seq)
		id := of.queued.ID
		if named := clientMsgID(ack.GetClientMsgId()); !named.IsZero() {
			id = named // what the server says it has stored, whatever it was the answer to
		}
		s.sent = time.Time{}
		s.e.outbox.acked(id, protocol.MsgID(ack.GetMsgId()), ackTime(ack))
		return true
	}
	return false
}

func ackTime(a *pb.IMMsgDataAck) time.Time {
	if ms := a.GetCreateTimeMs(); ms != 0 {
		return wireTime(0, ms)
	}
	return time.Now().UTC() // COMPAT: a legacy server does not say
}

// about handles what is said about the session itself; an error ends the connection.
func (s *session) about(m proto.Message, now time.Time) (done bool, err error) {
	switch m := m.(type) {
	case *sessionpb.Cursor:
		s.e.prefer(m.GetEndpoints()) // [TT-SESS-25]
		s.completed(protocol.Cursor(m.GetCursor()))
	case *sessionpb.Credential:
		s.e.newToken(m)
		if s.replaying {
			s.goLive()
		}
	case *sessionpb.Drain:
		s.mover.drain(m, now)
	case *sessionpb.Bye:
		return true, byeOf(m)
	case *sessionpb.Error:
		s.refused(m, now)
	case *pb.IMKickUser:
		return true, &byeError{Code: protocol.CodeKicked, Message: "a newer login, or the user's mobile"}
	case *pb.IMMsgDataAck:
		s.e.outbox.acked(clientMsgID(m.GetClientMsgId()), protocol.MsgID(m.GetMsgId()), ackTime(m))
	case *sessionpb.Welcome, *sessionpb.Hello, *sessionpb.Ack, *pb.IMLoginRes:
	default:
		return false, nil
	}
	return true, nil
}

// completed notes that every event up to a cursor was sent here [TT-SESS-4].
func (s *session) completed(at protocol.Cursor) {
	if at < s.e.cursor {
		return
	}
	s.e.cursor = at
	s.e.events.put(item{cursor: &cursorMark{at: at, beyond: s.e.seen.atCursor()}})
}

// happened hands an event to the app, unless it has had it.
func (s *session) happened(ev Event) {
	switch ev := ev.(type) {
	case *Message:
		if ev.Mine {
			s.e.outbox.acked(ev.ClientMsgID, ev.ID, ev.Time) // serves as the ack [TT-SESS-13]
		}
	case *Mark:
		s.e.outbox.marked(ev)
	case *MessageStateChanged:
		s.e.outbox.stated(ev)
	case *ReadMoved:
		s.e.reads.confirmed(ev.Session, ev.UpTo)
	case *Presence:
		s.e.watch.told(ev)
	}
	if s.legacy || s.e.seen.fresh(ev) {
		s.e.events.put(item{event: ev})
	}
}

// refused takes an ERROR: the legacy protocol is silent there [TT-SESS-14].
func (s *session) refused(m *sessionpb.Error, now time.Time) {
	why := &Error{Code: protocol.Code(m.GetCode()), Message: m.GetMessage(), RetryAfter: millis(m.GetRetryAfterMs())}
	seq := uint16(m.GetSeq())
	of := s.l.asked[seq]
	delete(s.l.asked, seq)
	switch of := of.(type) {
	case *request:
		s.e.requests.finish(of, nil, false, why)
	case *Outgoing:
		if forGood(why.Code) {
			s.e.outbox.refused(of, why)
			return
		}
		s.e.outbox.putOff(of, now, why.RetryAfter)
	case protocol.Session:
		if forGood(why.Code) {
			s.e.reads.refused(of)
		}
	}
	s.e.log.Debug("refused", "command", pdu.Command(m.GetCommand()), "code", why.Code, "retry_after", why.RetryAfter)
}

// forGood reports whether repeating a message would come to the same.
func forGood(c protocol.Code) bool {
	switch c {
	case protocol.CodeInvalid, protocol.CodeForbidden, protocol.CodeNotFound, protocol.CodeTooLarge, protocol.CodeQuota:
		return true
	default:
		return false
	}
}

// event is what a push of the server tells the app; nil for nothing.
func (c codec) event(m proto.Message, me protocol.UserID) Event {
	switch m := m.(type) {
	case *pb.IMMsgData:
		return c.pushed(m, me)
	case *pb.IMMsgDataReadNotify:
		return &ReadMoved{Session: wireSession(m.GetSessionType(), m.GetSessionId()), UpTo: protocol.MsgID(m.GetMsgId())}
	case *pb.IMRemoveSessionNotify:
		return &SessionRemoved{Session: wireSession(m.GetSessionType(), m.GetSessionId())}
	case *pb.IMGroupChangeMemberNotify:
		return &GroupChanged{
			Group: protocol.GroupID(m.GetGroupId()), By: protocol.UserID(m.GetUserId()), Change: protocol.MemberChange(m.GetChangeType()),
			Changed: userIDs(m.GetChgUserIdList()), Members: userIDs(m.GetCurUserIdList()),
		}
	case *pb.IMAvatarChangedNotify:
		return &ProfileChanged{User: protocol.UserID(m.GetChangedUserId()), Avatar: proto.String(m.GetAvatarUrl())}
	case *pb.IMSignInfoChangedNotify:
		return &ProfileChanged{User: protocol.UserID(m.GetChangedUserId()), Sign: proto.String(m.GetSignInfo())}
	case *pb.IMUserStatNotify:
		return presenceOf(m.GetUserStat())
	case *pb.IMPCLoginStatusNotify:
		return &OwnPC{Online: m.GetLoginStat() == pb.UserStatType_USER_STATUS_ONLINE}
	case *chatpb.Mark:
		return &Mark{
			Session: protocol.Session{Type: protocol.SessionType(m.GetSessionType()), ID: m.GetSessionId()}, User: protocol.UserID(m.GetUserId()),
			Delivered: protocol.MsgID(m.GetDeliveredMsgId()), Read: protocol.MsgID(m.GetReadMsgId()),
		}
	case *chatpb.Deleted:
		return &MessageDeleted{
			Session: protocol.Session{Type: protocol.SessionType(m.GetSessionType()), ID: m.GetSessionId()}, ID: protocol.MsgID(m.GetMsgId()),
			Kind: protocol.Deletion(min(m.GetKind(), 255)), By: protocol.UserID(m.GetByUserId()),
		}
	case *chatpb.State:
		return &MessageStateChanged{
			Session: protocol.Session{Type: protocol.SessionType(m.GetSessionType()), ID: m.GetSessionId()}, ID: protocol.MsgID(m.GetMsgId()),
			State: MessageState(min(m.GetState(), 255)), Reason: m.GetReason(), HubSeq: m.GetHubSeq(),
		}
	case *pb.IMFileNotify:
		return &FileOffered{
			From: protocol.UserID(m.GetFromUserId()), Task: m.GetTaskId(), Name: m.GetFileName(), Size: m.GetFileSize(), Ready: m.GetOfflineReady() == 1,
		}
	case *pb.IMP2PCmdMsg:
		return &P2P{From: protocol.UserID(m.GetFromUserId()), Data: m.GetCmdMsgData()}
	}
	if more := c.more(m, me); more != nil {
		return more
	}
	return nil
}

// more is the rest of a list that was too large for one PDU [TT-LIMIT-4]; nil for anything else.
func (c codec) more(m proto.Message, me protocol.UserID) *More {
	switch m := m.(type) {
	case *pb.IMAllUserRsp:
		return &More{Users: users(m.GetUserList())}
	case *pb.IMUsersInfoRsp:
		return &More{Users: users(m.GetUserInfoList())}
	case *pb.IMDepartmentRsp:
		return &More{Departments: departments(m.GetDeptList())}
	case *pb.IMRecentContactSessionRsp:
		return &More{Recent: c.recents(m.GetContactSessionList(), me)}
	case *pb.IMUnreadMsgCntRsp:
		return &More{Unread: c.unreads(m.GetUnreadinfoList(), me)}
	case *pb.IMGroupInfoListRsp:
		return &More{Groups: groups(m.GetGroupInfoList())}
	}
	return nil
}

func wireSession(t pb.SessionType, id uint32) protocol.Session {
	return protocol.Session{Type: protocol.SessionType(t), ID: id}
}

func presenceOf(u *pb.UserStat) *Presence {
	return &Presence{User: protocol.UserID(u.GetUserId()), Online: u.GetStatus() == pb.UserStatType_USER_STATUS_ONLINE}
}

func userIDs(list []uint32) []protocol.UserID {
	ids := make([]protocol.UserID, len(list))
	for i, id := range list {
		ids[i] = protocol.UserID(id)
	}
	return ids
}
