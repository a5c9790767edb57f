package gateway

import (
	"cmp"
	"context"
	"slices"

	"teamtalk/protocol"
	"teamtalk/protocol/pb/chatpb"
	"teamtalk/protocol/pb/sessionpb"
	"teamtalk/protocol/pdu"
)

const (
	unackedMost  = 1024 // messages whose ACK a session may owe; beyond it the oldest has no delivered mark
	marksWaiting = 4096 // marks to be told; beyond it they are dropped
	markMembers  = 100  // of the largest group with marks [TT-SESS-17]
)

// sentMessage is a message that a session was sent, until the client says that it has stored it.
type sentMessage struct {
	index        uint64
	conversation protocol.Conversation
	id           protocol.MsgID
	from         protocol.UserID
}

// remember notes a message from somebody else.
func (s *session) remember(e *protocol.MessageSent) {
	m := &e.Message
	if m.From == s.user || len(e.Members) > markMembers {
		return
	}
	s.ext.mu.Lock()
	defer s.ext.mu.Unlock()
	if len(s.ext.unacked) == unackedMost {
		s.ext.unacked = append(s.ext.unacked[:0], s.ext.unacked[unackedMost/4:]...)
	}
	s.ext.unacked = append(s.ext.unacked, sentMessage{index: m.At.Index, conversation: m.Conversation, id: m.ID, from: m.From})
}

// ack is 0x0905: the client has stored everything up to a cursor. It has no answer [TT-SESS-17].
func (s *session) ack(_ pdu.Header, m *sessionpb.Ack) error {
	for _, d := range s.stored(m.GetCursor()) {
		s.srv.signaler.Signal(d)
	}
	return nil
}

// stored takes the messages up to an index and returns what they come to, one signal for each conversation.
func (s *session) stored(upTo uint64) []protocol.Delivered {
	s.ext.mu.Lock()
	n, _ := slices.BinarySearchFunc(s.ext.unacked, upTo, func(m sentMessage, upTo uint64) int {
		if m.index <= upTo {
			return -1
		}
		return 1
	})
	taken := slices.Clone(s.ext.unacked[:n])
	if s.ext.unacked = s.ext.unacked[n:]; len(s.ext.unacked) == 0 {
		s.ext.unacked = nil
	}
	s.ext.mu.Unlock()
	var all []protocol.Delivered
	at := make(map[protocol.Conversation]int)
	for _, m := range taken {
		i, ok := at[m.conversation]
		if !ok {
			i = len(all)
			at[m.conversation] = i
			all = append(all, protocol.Delivered{User: s.user, Conversation: m.conversation})
		}
		d := &all[i]
		d.UpTo = max(d.UpTo, m.id)
		if j, found := slices.BinarySearch(d.Authors, m.from); !found {
			d.Authors = slices.Insert(d.Authors, j, m.from)
		}
	}
	return all
}

// progress is how far a user has come in a conversation; 0 is unknown.
type progress struct {
	user            protocol.UserID
	conversation    protocol.Conversation
	delivered, read protocol.MsgID
	authors         []protocol.UserID // whom it may interest; nil: all
}

// noteProgress lets it be told to the others; never waits.
func (srv *Server) noteProgress(p progress) {
	if !srv.sessions.hasExtended() {
		return
	}
	select {
	case srv.hub.marks <- p:
	default:
		srv.metrics.dropped.WithLabelValues("mark").Inc()
	}
}

// tellProgress sends MARK to the extended sessions of those whom it concerns. It is not part of delivery, as it looks at who is in a group.
func (srv *Server) tellProgress(ctx context.Context) error {
	for {
		select {
		case p := <-srv.hub.marks:
			srv.mark(ctx, p)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// mark is 0x0a04 [TT-SESS-17].
func (srv *Server) mark(ctx context.Context, p progress) {
	for _, u := range srv.concerned(ctx, p) {
		var b []byte
		for _, s := range srv.sessions.of(u) {
			if s.ext == nil {
				continue
			}
			if b == nil {
				seen := p.conversation.Seen(u)
				b = srv.appendPush(nil, pdu.CmdMark, &chatpb.Mark{
					SessionType:    uint32(seen.Type),
					SessionId:      seen.ID,
					UserId:         uint32(p.user),
					DeliveredMsgId: uint32(p.delivered),
					ReadMsgId:      uint32(p.read),
				})
			}
			switch s.out.push(b, passingRoom) {
			case queued:
				srv.metrics.out(pdu.CmdMark, 1)
			case full:
				srv.metrics.dropped.WithLabelValues("mark").Inc()
			case closed:
			}
		}
	}
}

// concerned are the users who are told of a progress: the other one, or the members of a small group.
func (srv *Server) concerned(ctx context.Context, p progress) []protocol.UserID {
	seen := p.conversation.Seen(p.user)
	if seen.Type == protocol.SessionSingle {
		return []protocol.UserID{seen.Peer()}
	}
	groups, err := srv.services.Groups.Info(ctx, p.user, []protocol.GroupVersion{{ID: seen.Group()}})
	if err != nil {
		srv.log.Debug("mark not sent", "group", seen.Group(), "user", p.user, "error", err)
		return nil
	}
	if len(groups) != 1 || len(groups[0].Members) > markMembers {
		return nil
	}
	members := groups[0].Members
	return slices.DeleteFunc(slices.Clone(members), func(u protocol.UserID) bool {
		if u == p.user {
			return true
		}
		_, isAuthor := slices.BinarySearchFunc(p.authors, u, cmp.Compare[protocol.UserID])
		return p.authors != nil && !isAuthor
	})
}
