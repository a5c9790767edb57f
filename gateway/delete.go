package gateway

import (
	"math"

	"teamtalk/protocol"
	"teamtalk/protocol/crypt"
	"teamtalk/protocol/pb/chatpb"
	"teamtalk/protocol/pdu"
)

// What stands for data that is not shown.
const (
	audioPlaceholder    = "[语音]"               // a voice message in a list of conversations [TT-MSG-14]
	burnPlaceholder     = "[阅后即焚消息，请用新版客户端查看]" // a message to be burned, or burned, for legacy sessions [TT-DEL-5]
	recalledPlaceholder = "[消息已撤回]"            // a recalled message, for legacy sessions [TT-DEL-5]
)

// placeholders are encrypted as any text, since clients decrypt what they show.
type placeholders struct {
	audio, burn, recalled []byte

	cipher *crypt.Cipher
	urls   localURLs // in texts of other offices
}

func newPlaceholders(c *crypt.Cipher, m Media) placeholders {
	return placeholders{cipher: c, urls: newLocalURLs(m), audio: c.Encrypt(audioPlaceholder), burn: c.Encrypt(burnPlaceholder), recalled: c.Encrypt(recalledPlaceholder)}
}

// legacy is a message as legacy sessions are given it. COMPAT: they know neither recall nor burning, and keep what they have once been sent: content
// that is to go never reaches them, and what has gone is a text that says so [TT-DEL-5].
func (p *placeholders) legacy(m protocol.Message) protocol.Message {
	switch {
	case m.Deleted == protocol.Recalled:
		m.Data = p.recalled
	case m.Deleted != 0, m.Extras.BurnAfter != 0:
		m.Data = p.burn
	default:
		return p.here(m)
	}
	m.Deleted = 0 // to them it is like any other
	m.Type = protocol.MsgSingleText
	if m.Conversation.Type == protocol.SessionGroup {
		m.Type = protocol.MsgGroupText
	}
	return m
}

// content is a message's data as on the wire. Of a deleted one nothing is left, but the field is required [TT-DEL-4] [TT-FRAME-7].
func content(m *protocol.Message) []byte {
	if m.Deleted != 0 {
		return []byte{}
	}
	return m.Data
}

// deleteReq is 0x0a01 [TT-DEL-8].
func (s *session) deleteReq(h pdu.Header, m *chatpb.DeleteReq) error {
	cmd, err := deletionFromWire(s.user, m)
	if err == nil {
		err = s.srv.services.Messages.Delete(s.requestContext(), cmd)
	}
	rsp := new(chatpb.DeleteRsp)
	if err != nil {
		rsp.Code, rsp.Message = uint32(refusalCode(err)), errorText(err)
	}
	s.answer(h, pdu.CmdDeleteRsp, rsp)
	return wasAnswered(err)
}

// deletionFromWire refuses what no deletion can be; the rest is for the rules.
func deletionFromWire(me protocol.UserID, m *chatpb.DeleteReq) (protocol.DeleteMessage, error) {
	cmd := protocol.DeleteMessage{
		Actor:    me,
		Session:  protocol.Session{Type: protocol.SessionType(oneByte(m.GetSessionType())), ID: m.GetSessionId()},
		ID:       protocol.MsgID(m.GetMsgId()),
		Deletion: protocol.Deletion(oneByte(m.GetKind())),
	}
	switch {
	case !cmd.Deletion.Valid():
		return cmd, protocol.Errorf(protocol.CodeInvalid, "kind %d: 1 recalls, 2 burns", m.GetKind())
	case !cmd.Session.Valid():
		return cmd, protocol.Errorf(protocol.CodeInvalid, "no conversation: type %d, id %d", m.GetSessionType(), m.GetSessionId())
	}
	return cmd, nil
}

// oneByte keeps a number that is too large for its type from becoming another.
func oneByte(n uint32) uint8 { return uint8(min(n, math.MaxUint8)) }

// deletedToWire is 0x0a03, to one user's sessions.
func deletedToWire(me protocol.UserID, e *protocol.MessageDeleted) *chatpb.Deleted {
	seen := e.Conversation.Seen(me)
	return &chatpb.Deleted{
		SessionType: uint32(seen.Type),
		SessionId:   seen.ID,
		MsgId:       uint32(e.ID),
		Kind:        uint32(e.Kind),
		ByUserId:    uint32(e.By),
	}
}

// deliverDeleted sends 0x0a03 to the extended sessions of all in the conversation, each as it sees it [TT-DEL-6]; to is scratch space. Legacy ones would
// not know what to do with it [TT-DEL-5]. delivering is held.
func (srv *Server) deliverDeleted(at protocol.Position, e *protocol.MessageDeleted, to []*session) []*session {
	if e.Conversation.Type == protocol.SessionGroup { // seen alike by all
		to = srv.extendedOf(to, e.Members)
		srv.pushEvent(to, at, 0, pdu.CmdDeleted, func() message { return deletedToWire(0, e) })
		return to
	}
	for _, u := range []protocol.UserID{protocol.UserID(e.Conversation.A), protocol.UserID(e.Conversation.B)} {
		others := len(to)
		to = srv.extendedOf(to, []protocol.UserID{u})
		srv.pushEvent(to[others:], at, 0, pdu.CmdDeleted, func() message { return deletedToWire(u, e) })
	}
	return to
}

// extendedOf appends the extended sessions of users to dst.
func (srv *Server) extendedOf(dst []*session, users []protocol.UserID) []*session {
	for _, u := range users {
		for _, s := range srv.sessions.of(u) {
			if s.ext != nil {
				dst = append(dst, s)
			}
		}
	}
	return dst
}
