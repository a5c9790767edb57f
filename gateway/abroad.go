package gateway

import (
	"context"
	"sync"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pb/chatpb"
	"teamtalk/protocol/pdu"
)

const (
	searchEvery = time.Second     // for a session [TT-FED-6]
	searchUsual = 20              // people, unless the client says otherwise
	searchMost  = 50              // people
	addressMost = 10_000          // addresses remembered
	hubPatience = 4 * time.Second // for another office to change its group, which gives up by itself before [TT-FED-5]
)

// addressBook remembers the addresses of people of other offices, who write more often than they move.
type addressBook struct {
	users Buddies

	mu    sync.Mutex // guards what follows
	known map[protocol.UserID]string
	round uint64 // how often all was forgotten
}

// of is somebody's address; empty if it can't be found out.
func (b *addressBook) of(u protocol.UserID) string {
	b.mu.Lock()
	address, ok := b.known[u]
	round := b.round
	b.mu.Unlock()
	if ok {
		return address
	}
	found, err := b.users.Users(context.Background(), u, []protocol.UserID{u}) // of this node's own state: it does not wait
	if err != nil || len(found) != 1 {
		return ""
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.known) >= addressMost {
		clear(b.known)
	}
	if b.round == round { // else it may be what was true before
		b.known[u] = found[0].Address
	}
	return found[0].Address
}

// forget is for when the directory has changed.
func (b *addressBook) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.round++
	clear(b.known)
}

// fromAbroad is what an extended client is told of a message beyond this office: the address of an author of another one, and the place in a group of
// several [TT-FED-2] [TT-FED-3].
func (h *hub) fromAbroad(m *protocol.Message) (address *string, hubSeq *uint64) {
	if m.From >= protocol.MaxLocalID {
		if a := h.abroad.of(m.From); a != "" {
			address = &a
		}
	}
	if m.HubSeq != 0 {
		hubSeq = new(m.HubSeq)
	}
	return address, hubSeq
}

// userToWire makes directory entries for this session's client: to a legacy one people of other offices are like any other [TT-FED-1] [TT-FED-2].
func (s *session) userToWire() func(protocol.User) *pb.UserInfo {
	if s.ext == nil {
		return s.srv.texts.person
	}
	domain := s.srv.hub.domain()
	return func(u protocol.User) *pb.UserInfo {
		info := userToWire(u)
		info.Address = addressOf(u.Name, domain)
		if u.ID >= protocol.MaxLocalID {
			info.Address, info.Remote = new(u.Address), new(true)
		}
		return info
	}
}

// groupToWire makes groups for this session's client [TT-FED-2].
func (s *session) groupToWire() func(protocol.GroupInfo) *pb.GroupInfo {
	if s.ext == nil {
		return groupToWire
	}
	domain := s.srv.hub.domain()
	return func(g protocol.GroupInfo) *pb.GroupInfo {
		info := groupToWire(g)
		info.Address = addressOf(g.Name, domain)
		if g.ID >= protocol.MaxLocalID {
			info.Address, info.Remote = addressOf(g.Name, g.Domain), new(true)
		}
		return info
	}
}

func addressOf(name, domain string) *string {
	if domain == "" {
		return nil
	}
	return new(name + "@" + domain)
}

// stateToWire is 0x0a05 [TT-FED-4].
func stateToWire(e *protocol.MessageStateChanged) *chatpb.State {
	seen := e.Conversation.Seen(e.From)
	return &chatpb.State{
		SessionType: uint32(seen.Type),
		SessionId:   seen.ID,
		MsgId:       uint32(e.ID),
		State:       uint32(e.State),
		Reason:      e.Reason,
		HubSeq:      e.HubSeq,
	}
}

// groupContext is that of a change of a group's members: another office takes its time.
func (s *session) groupContext(g protocol.GroupID) (context.Context, context.CancelFunc) {
	if g < protocol.MaxLocalID {
		return s.requestContext(), func() {}
	}
	return context.WithTimeout(s.ctx, hubPatience)
}

// searchReq is 0x0a06 [TT-FED-6].
func (s *session) searchReq(h pdu.Header, m *chatpb.SearchReq) error {
	if !s.ext.search.Allow() {
		return protocol.Errorf(protocol.CodeRateLimited, "one search in %v", searchEvery)
	}
	limit := int(min(m.GetLimit(), searchMost))
	if limit == 0 {
		limit = searchUsual
	}
	found, err := s.srv.services.Buddies.Search(s.requestContext(), s.user, m.GetText(), limit)
	if err != nil {
		return err
	}
	s.answer(h, pdu.CmdSearchRsp, &pb.IMUsersInfoRsp{UserId: new(uint32(s.user)), UserInfoList: convert(found, s.userToWire())})
	return nil
}
