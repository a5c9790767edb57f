package gateway

import (
	"context"
	"hash/maphash"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

// Messages keeps conversations.
type Messages interface {
	// Begin hands a message on; those of one caller keep their order. Wait of what it returns gives a protocol.SendResult.
	Begin(ctx context.Context, cmd protocol.SendMessage) (protocol.Pending, error)
	MarkRead(ctx context.Context, cmd protocol.MarkRead) (protocol.MarkReadResult, error)
	// History returns messages from begin downwards, newest first; begin 0 is the newest.
	History(ctx context.Context, me protocol.UserID, with protocol.Session, begin protocol.MsgID, count uint32) ([]protocol.Message, error)
	ByID(ctx context.Context, me protocol.UserID, with protocol.Session, ids []protocol.MsgID) ([]protocol.Message, error)
	LatestID(ctx context.Context, me protocol.UserID, with protocol.Session) (protocol.MsgID, error)
	Unread(ctx context.Context, me protocol.UserID) ([]protocol.Unread, error)
	// Delete takes the content of a message away; a message that has none any more is no failure.
	Delete(ctx context.Context, cmd protocol.DeleteMessage) error
}

const (
	historyMost = 1_000 // messages of one 0x0309 [TT-MSG-11]
	byIDMost    = 100   // messages of one 0x030d [TT-MSG-12]
	recentMost  = 256   // messages remembered for repeats
)

// recentSend is what makes a repeated message recognisable [TT-MSG-6].
type recentSend struct {
	seq      uint16
	content  uint64 // hash of target, type and data
	at       time.Time
	sequence uint64 // of the client message id
}

// msgData is 0x0301. Sender and time are the server's [TT-MSG-2]; the ack is sent when the message is stored.
func (s *session) msgData(h pdu.Header, m *pb.IMMsgData) error {
	kind := protocol.MsgType(m.GetMsgType())
	cmd := protocol.SendMessage{
		From: s.user,
		To:   protocol.Session{Type: kind.SessionType(), ID: m.GetToSessionId()},
		Type: kind,
		Data: m.GetMsgData(),
	}
	ok, err := s.extend(&cmd, m)
	if err != nil {
		return err
	}
	if !ok {
		cmd.ClientMsgID = s.clientMsgID(s.sequenceOf(h.Seq, &cmd))
	}
	return s.sends.start(h, cmd)
}

// extend adds to a message what only extended clients may say, and reports whether they gave it an id of their own [TT-SESS-11] [TT-SESS-12].
func (s *session) extend(cmd *protocol.SendMessage, m *pb.IMMsgData) (hasID bool, err error) {
	if s.ext == nil {
		return false, nil
	}
	if m.BurnAfterReadS != nil && m.GetBurnAfterReadS() == 0 { // who says so means to have it burned [TT-DEL-2]
		return false, protocol.Errorf(protocol.CodeInvalid, "burn after 0 seconds: at least 1")
	}
	cmd.Extras = protocol.Extras{ContentType: m.GetContentType(), ReplyTo: protocol.MsgID(m.GetReplyToMsgId()), BurnAfter: m.GetBurnAfterReadS()}
	switch id := m.GetClientMsgId(); len(id) {
	case 0:
		return false, nil
	case len(cmd.ClientMsgID):
		copy(cmd.ClientMsgID[:], id)
		if cmd.ClientMsgID.IsZero() {
			return false, protocol.Errorf(protocol.CodeInvalid, "a client_msg_id of nothing but zeros")
		}
		return true, nil
	default:
		return false, protocol.Errorf(protocol.CodeInvalid, "a client_msg_id of %d bytes: it has %d", len(id), len(cmd.ClientMsgID))
	}
}

// sequenceOf numbers a message; a repeat on this connection gets the number it had, and is so the same message [TT-MSG-6] [TT-DIFF-14].
func (s *session) sequenceOf(seq uint16, cmd *protocol.SendMessage) uint64 {
	if seq == 0 {
		s.sequence++
		return s.sequence
	}
	now := time.Now()
	content := s.srv.contentHash(cmd)
	old := 0
	for old < len(s.recent) && now.Sub(s.recent[old].at) > s.srv.timing.ResendWindow {
		old++
	}
	if old == len(s.recent) {
		s.recent = s.recent[:0]
	} else if old > recentMost/2 || len(s.recent) == recentMost {
		s.recent = s.recent[:copy(s.recent, s.recent[max(old, 1):])]
		old = 0
	}
	for i := len(s.recent) - 1; i >= old; i-- {
		if r := &s.recent[i]; r.seq == seq && r.content == content && now.Sub(r.at) <= s.srv.timing.ResendWindow {
			return r.sequence
		}
	}
	s.sequence++
	s.recent = append(s.recent, recentSend{seq: seq, content: content, at: now, sequence: s.sequence})
	return s.sequence
}

func (srv *Server) contentHash(cmd *protocol.SendMessage) uint64 {
	var h maphash.Hash
	h.SetSeed(srv.seed)
	id := cmd.To.ID
	_, _ = h.Write([]byte{byte(cmd.Type), byte(id), byte(id >> 8), byte(id >> 16), byte(id >> 24)})
	_, _ = h.Write(cmd.Data)
	return h.Sum64()
}

// receipt is 0x0302 from a client. COMPAT: its fields differ from client to client, so it is only counted [TT-MSG-7].
func (s *session) receipt(pdu.PDU) error {
	s.srv.metrics.receipts.Inc()
	return nil
}

// readAck is 0x0303; it has no answer [TT-MSG-8].
func (s *session) readAck(_ pdu.Header, m *pb.IMMsgDataReadAck) error {
	_, err := s.srv.services.Messages.MarkRead(s.requestContext(), protocol.MarkRead{
		User:    s.user,
		Session: sessionFromWire(m.GetSessionType(), m.GetSessionId()),
		UpTo:    protocol.MsgID(m.GetMsgId()),
		Origin:  s.id,
	})
	return err
}

// time is 0x0305 [TT-MSG-13].
func (s *session) time(p pdu.PDU) error {
	s.answer(p.Header, pdu.CmdTimeRes, &pb.IMClientTimeRsp{ServerTime: new(protocol.TimeOf(time.Now()).Unix())})
	return nil
}

// unread is 0x0307 [TT-MSG-10].
func (s *session) unread(h pdu.Header, _ *pb.IMUnreadMsgCntReq) error {
	unread, err := s.srv.services.Messages.Unread(s.requestContext(), s.user)
	if err != nil {
		return err
	}
	total := uint32(0)
	for _, u := range unread {
		total += u.Count
	}
	for i, part := range split(convert(unread, s.unreadToWire), frameLimit(s.client)) {
		s.answer(follows(h, i), pdu.CmdUnreadRes, &pb.IMUnreadMsgCntRsp{UserId: new(uint32(s.user)), TotalCnt: new(total), UnreadinfoList: part})
	}
	return nil
}

// msgList is 0x0309. What does not fit a frame is asked for again by the client, from where the answer ends [TT-MSG-11] [TT-LIMIT-4].
func (s *session) msgList(h pdu.Header, m *pb.IMGetMsgListReq) error {
	with := sessionFromWire(m.GetSessionType(), m.GetSessionId())
	var list []protocol.Message
	if count := min(m.GetMsgCnt(), historyMost); count > 0 {
		var err error
		if list, err = s.srv.services.Messages.History(s.requestContext(), s.user, with, protocol.MsgID(m.GetMsgIdBegin()), count); err != nil && !isHidden(err) {
			return err
		}
	}
	s.answer(h, pdu.CmdMsgListRes, &pb.IMGetMsgListRsp{
		UserId:      new(uint32(s.user)),
		SessionType: m.SessionType,
		SessionId:   m.SessionId,
		MsgIdBegin:  m.MsgIdBegin,
		MsgList:     split(convert(list, s.messageToWire), frameLimit(s.client))[0],
	})
	return nil
}

// isHidden reports whether a conversation is one that the asker may not see, or none: both look empty.
func isHidden(err error) bool {
	code := protocol.CodeOf(err)
	return code == protocol.CodeForbidden || code == protocol.CodeNotFound
}

// latestMsgID is 0x030b [TT-MSG-12].
func (s *session) latestMsgID(h pdu.Header, m *pb.IMGetLatestMsgIdReq) error {
	id, err := s.srv.services.Messages.LatestID(s.requestContext(), s.user, sessionFromWire(m.GetSessionType(), m.GetSessionId()))
	if err != nil && !isHidden(err) {
		return err
	}
	s.answer(h, pdu.CmdLatestMsgIDRes, &pb.IMGetLatestMsgIdRsp{
		UserId:      new(uint32(s.user)),
		SessionType: m.SessionType,
		SessionId:   m.SessionId,
		LatestMsgId: new(uint32(id)),
	})
	return nil
}

// msgByID is 0x030d [TT-MSG-12].
func (s *session) msgByID(h pdu.Header, m *pb.IMGetMsgByIdReq) error {
	ids := convert(m.GetMsgIdList(), func(id uint32) protocol.MsgID { return protocol.MsgID(id) })
	list, err := s.srv.services.Messages.ByID(s.requestContext(), s.user, sessionFromWire(m.GetSessionType(), m.GetSessionId()), ids[:min(len(ids), byIDMost)])
	if err != nil && !isHidden(err) {
		return err
	}
	s.answer(h, pdu.CmdMsgByIDRes, &pb.IMGetMsgByIdRsp{
		UserId:      new(uint32(s.user)),
		SessionType: m.SessionType,
		SessionId:   m.SessionId,
		MsgList:     split(convert(list, s.messageToWire), frameLimit(s.client))[0],
	})
	return nil
}
