package gateway

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pb/chatpb"
	"teamtalk/protocol/pb/sessionpb"
	"teamtalk/protocol/pdu"
)

// People and a group of another office, and the largest id there may be.
const (
	lin      protocol.UserID  = protocol.MaxLocalID
	last     protocol.UserID  = 1<<31 - 1
	tearoom  protocol.GroupID = protocol.MaxLocalID
	officeOf                  = "hangzhou.example"
)

// offices are what a world knows of others; guarded by its mutex.
type offices struct {
	moved  string          // the domain after a move
	asked  int             // for users of other offices
	found  []protocol.User // by Search
	search func(text string, limit int) error
	hub    func(context.Context) error // called by ChangeMembers of a group of another office
}

func (w *world) remoteUser(id protocol.UserID) protocol.User {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	u := testUser(id)
	domain := officeOf
	if w.moved != "" {
		domain = w.moved
	}
	u.Nick, u.Remote, u.Address = fmt.Sprintf("nick%d (Office)", id), true, fmt.Sprintf("user%d@%s", id, domain)
	u.Name = u.Address
	return u
}

func (w *world) Search(_ context.Context, me protocol.UserID, text string, limit int) ([]protocol.User, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.search != nil {
		if err := w.search(text, limit); err != nil {
			return nil, err
		}
	}
	return w.found, nil
}

// hubs are groups whose members another office changes.
type hubs struct {
	Groups
	w *world
}

func (h hubs) Info(_ context.Context, _ protocol.UserID, want []protocol.GroupVersion) (list []protocol.GroupInfo, err error) {
	for _, v := range want {
		g := protocol.GroupInfo{Group: protocol.Group{ID: v.ID, Name: "tea", Creator: lin, Type: protocol.GroupTemp, Version: 3}, Members: []protocol.UserID{1, 2, lin, last}}
		if v.ID >= protocol.MaxLocalID {
			g.Domain = officeOf
		}
		list = append(list, g)
	}
	return list, nil
}

func (h hubs) ChangeMembers(ctx context.Context, cmd protocol.ChangeMembers) (protocol.ChangeMembersResult, error) {
	if err := h.w.hub(ctx); err != nil {
		return protocol.ChangeMembersResult{}, err
	}
	return protocol.ChangeMembersResult{Current: []protocol.UserID{1, 2, lin, last}, Changed: cmd.Members}, nil
}

// arrives stores a message of somebody of another office.
func (s *stage) arrives(m protocol.Message, members ...protocol.UserID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index++
	m.ID, m.Time, m.At = protocol.MsgID(len(s.stored[m.Conversation])+1), 1_000_000, protocol.Position{Index: s.index}
	s.stored[m.Conversation] = append(s.stored[m.Conversation], m)
	e := protocol.Event{At: m.At, Body: protocol.MessageSent{Message: m, Members: members}}
	s.ledger.note(e)
	s.events.put(e)
}

func (s *stage) tell(body protocol.EventBody) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.world.publish(body)
}

func listReq(with protocol.Session) *pb.IMGetMsgListReq {
	return &pb.IMGetMsgListReq{UserId: new(uint32(0)), SessionType: sessionTypeToWire(with.Type), SessionId: new(with.ID), MsgIdBegin: new(uint32(0)), MsgCnt: new(uint32(10))}
}

// [TT-FED-1] [TT-FED-2]: a legacy client talks with somebody of another office as with a colleague, whatever the number, and sees nothing of the extension.
func TestLegacyWithOtherOffice(t *testing.T) {
	for _, peer := range []protocol.UserID{lin, last} {
		play(t, func(c *Config) { c.Domain = func() string { return "berlin.example" } }, func(s *stage) {
			pc, phone := s.login(1, windows), s.login(1, android)
			s.settle(pc, phone)
			id := uint32(peer)
			m := text(id, "hello")
			pc.send(pdu.CmdMsgData, 1, m)
			pc.expect(want{pdu.CmdMsgDataAck, 1, ack(1, id, 1, pb.SessionType_SESSION_TYPE_SINGLE)})
			phone.expect(want{pdu.CmdMsgData, 0, pushed(1, id, 1, m)})
			s.tell(protocol.MessageStateChanged{Conversation: protocol.WithUser(peer).Conversation(1), ID: 1, From: 1, State: 3})
			back := text(1, "back")
			s.arrives(protocol.Message{Conversation: protocol.WithUser(peer).Conversation(1), From: peer, Type: protocol.MsgSingleText, Data: back.MsgData, HubSeq: 9})
			pc.expect(want{pdu.CmdMsgData, 0, pushed(id, 1, 2, back)})
			phone.expect(want{pdu.CmdMsgData, 0, pushed(id, 1, 2, back)})

			pc.send(pdu.CmdUnreadReq, 2, &pb.IMUnreadMsgCntReq{UserId: new(uint32(0))})
			unread := decoded[*pb.IMUnreadMsgCntRsp](pc, pc.next()).GetUnreadinfoList()
			if len(unread) != 1 || unread[0].GetSessionId() != id || unread[0].GetLatestMsgFromUserId() != id {
				t.Errorf("unread: %v", unread)
			}
			pc.send(pdu.CmdReadAck, 3, &pb.IMMsgDataReadAck{UserId: new(uint32(0)), SessionId: new(id), MsgId: new(uint32(2)), SessionType: pb.SessionType_SESSION_TYPE_SINGLE.Enum()})
			phone.expect(want{pdu.CmdReadNotify, 0, &pb.IMMsgDataReadNotify{UserId: new(uint32(1)), SessionId: new(id), MsgId: new(uint32(2)), SessionType: pb.SessionType_SESSION_TYPE_SINGLE.Enum()}})
			pc.send(pdu.CmdMsgListReq, 4, listReq(protocol.WithUser(peer)))
			list := decoded[*pb.IMGetMsgListRsp](pc, pc.next()).GetMsgList()
			if len(list) != 2 || !proto.Equal(list[0], &pb.MsgInfo{MsgId: new(uint32(2)), FromSessionId: new(id), CreateTime: new(uint32(1000)), MsgType: back.MsgType, MsgData: back.MsgData}) {
				t.Errorf("history: %v", list)
			}
			pc.send(pdu.CmdUserInfoReq, 5, &pb.IMUsersInfoReq{UserId: new(uint32(0)), UserIdList: []uint32{2, id}})
			pc.expect(want{pdu.CmdUserInfoRes, 5, &pb.IMUsersInfoRsp{UserId: new(uint32(1)), UserInfoList: []*pb.UserInfo{userToWire(testUser(2)), userToWire(s.remoteUser(peer))}}})
			pc.send(pdu.CmdSearchReq, 6, &chatpb.SearchReq{Text: "lin"})
			pc.expect()
			if !pc.isOpen() || s.metric("ignored_total", "unknown_command") != 1 {
				t.Error("a search of a legacy client is more than ignored")
			}
		})
	}
}

// [TT-FED-1] [TT-FED-7]: presence and P2P commands of people of other offices.
func TestTalkWithOtherOffice(t *testing.T) {
	play(t, nil, func(s *stage) {
		pc, d := s.login(1, windows), s.enter(2, "laptop", windows)
		s.settle(pc, d.client)
		d.send(pdu.CmdUsersStatusReq, 1, &pb.IMUsersStatReq{UserId: new(uint32(0)), UserIdList: []uint32{uint32(lin)}})
		d.expect(want{pdu.CmdUsersStatusRes, 1, &pb.IMUsersStatRsp{UserId: new(uint32(2)), UserStatList: []*pb.UserStat{userStat(lin, false)}}})
		s.world.Join(protocol.LiveSession{User: lin, Conn: 77, Client: protocol.ClientWindows})
		s.Signal(protocol.PresenceChanged{User: lin, Online: true})
		pass(time.Second)
		pc.expect(online(uint32(lin), true))
		d.expect(online(uint32(lin), true))
		pc.send(pdu.CmdUsersStatusReq, 2, &pb.IMUsersStatReq{UserId: new(uint32(0)), UserIdList: []uint32{uint32(lin)}})
		pc.expect(want{pdu.CmdUsersStatusRes, 2, &pb.IMUsersStatRsp{UserId: new(uint32(1)), UserStatList: []*pb.UserStat{userStat(lin, true)}}})

		own := s.login(1, ios)
		own.take()
		pc.send(pdu.CmdP2P, 3, &pb.IMP2PCmdMsg{FromUserId: new(uint32(0)), ToUserId: new(uint32(lin)), CmdMsgData: new("typing")})
		own.expect(want{pdu.CmdP2P, 0, &pb.IMP2PCmdMsg{FromUserId: new(uint32(1)), ToUserId: new(uint32(lin)), CmdMsgData: new("typing")}})
		pc.expect()
		s.Signal(protocol.P2PSent{From: lin, To: 1, Data: "typing back"})
		for _, c := range []*client{pc, own} {
			c.expect(want{pdu.CmdP2P, 0, &pb.IMP2PCmdMsg{FromUserId: new(uint32(lin)), ToUserId: new(uint32(1)), CmdMsgData: new("typing back")}})
		}
	})
}

// [TT-FED-2] [TT-FED-3]: extended clients are told who writes from where, and the place in the group.
func TestFromAbroad(t *testing.T) {
	play(t, func(c *Config) { c.Domain = func() string { return "berlin.example" } }, func(s *stage) {
		d, legacy := s.enter(1, "laptop", windows), s.login(2, mac)
		s.settle(d.client, legacy)
		members, group := []protocol.UserID{1, 2, lin}, protocol.InGroup(tearoom)
		s.mu.Lock()
		s.members[tearoom] = members
		s.mu.Unlock()
		say := func(from protocol.UserID, seq uint64, what string) *pb.IMMsgData {
			m := protocol.Message{Conversation: group.Conversation(0), From: from, Type: protocol.MsgGroupText, Data: []byte(what), HubSeq: seq}
			s.arrives(m, members...)
			return &pb.IMMsgData{FromUserId: new(uint32(from)), ToSessionId: new(uint32(tearoom)), MsgId: new(uint32(len(s.stored[m.Conversation]))), CreateTime: new(uint32(1000)),
				MsgType: msgTypeToWire(m.Type), MsgData: m.Data}
		}
		plain := say(lin, 4711, "one")
		legacy.expect(want{pdu.CmdMsgData, 0, plain})
		plain.CreateTimeMs, plain.FromAddress, plain.HubSeq = new(uint64(1_000_000)), new("user1073741824@"+officeOf), new(uint64(4711))
		d.expect(want{pdu.CmdMsgData, 0, plain})
		say(lin, 4712, "two")
		if d.take(); s.asked != 1 {
			t.Errorf("asked %d times for an address", s.asked)
		}
		local := say(2, 0, "three")
		local.CreateTimeMs = new(uint64(1_000_000))
		d.expect(want{pdu.CmdMsgData, 0, local})

		s.mu.Lock()
		s.moved = "west-lake.example"
		s.mu.Unlock()
		s.tell(protocol.DirectoryChanged{})
		say(lin, 4713, "four")
		got := d.take()
		if m := decoded[*pb.IMMsgData](d.client, got[len(got)-1]); m.GetFromAddress() != "user1073741824@west-lake.example" {
			t.Errorf("after a move: %v", m)
		}
		d.send(pdu.CmdMsgListReq, 4, listReq(group))
		list := decoded[*pb.IMGetMsgListRsp](d.client, d.next()).GetMsgList()
		for i, want := range []struct {
			address string
			seq     uint64
		}{{"user1073741824@west-lake.example", 4713}, {"", 0}, {"user1073741824@west-lake.example", 4712}, {"user1073741824@west-lake.example", 4711}} {
			if m := list[i]; m.GetFromAddress() != want.address || m.GetHubSeq() != want.seq || (m.FromAddress == nil) != (want.address == "") || (m.HubSeq == nil) != (want.seq == 0) {
				t.Errorf("history %d: %v", i, m)
			}
		}
		d.send(pdu.CmdUserInfoReq, 5, &pb.IMUsersInfoReq{UserId: new(uint32(0)), UserIdList: []uint32{2, uint32(lin)}})
		users := decoded[*pb.IMUsersInfoRsp](d.client, d.next()).GetUserInfoList()
		if users[0].GetAddress() != "user2@berlin.example" || users[0].Remote != nil || users[1].GetAddress() != "user1073741824@west-lake.example" || !users[1].GetRemote() {
			t.Errorf("users: %v", users)
		}
	})
}

// [TT-FED-2]: without a domain nobody has an address here; a login is told its own.
func TestOwnAddress(t *testing.T) {
	domain := ""
	play(t, func(c *Config) { c.Domain = func() string { return domain } }, func(s *stage) {
		for _, domain = range []string{"", "berlin.example"} {
			d := s.dial()
			d.send(pdu.CmdHello, 1, helloOf("laptop", windows))
			d.send(pdu.CmdLoginReq, 2, loginReq("user1", windows))
			got := d.take()
			info := decoded[*pb.IMLoginRes](d, got[1]).GetUserInfo()
			if w := decoded[*sessionpb.Welcome](d, got[0]); w.GetDomain() != domain || (info.Address != nil) != (domain != "") || domain != "" && info.GetAddress() != "user1@"+domain {
				t.Errorf("%q: %v, %v", domain, w, info)
			}
			d.close()
		}
	})
}

// [TT-FED-4]: what becomes of a message that goes to other offices is told to its author's extended sessions, once live and once more after a resume.
func TestState(t *testing.T) {
	play(t, nil, func(s *stage) {
		a, a2, b, legacy := s.enter(1, "laptop", windows), s.enter(1, "phone", ios), s.enter(2, "laptop", windows), s.login(1, mac)
		s.settle(a.client, a2.client, b.client, legacy)
		single, group := protocol.WithUser(lin), protocol.InGroup(tearoom)
		s.tell(protocol.MessageStateChanged{Conversation: single.Conversation(1), ID: 5, From: 1, State: 1})
		s.tell(protocol.MessageStateChanged{Conversation: group.Conversation(0), ID: 6, From: 1, HubSeq: 4711})
		s.tell(protocol.MessageStateChanged{Conversation: group.Conversation(0), ID: 7, From: lin, State: 1}) // whoever sent it, not ours
		told := []want{
			{pdu.CmdState, 0, &chatpb.State{SessionType: 1, SessionId: uint32(lin), MsgId: 5, State: 1}},
			{pdu.CmdState, 0, &chatpb.State{SessionType: 2, SessionId: uint32(tearoom), MsgId: 6, HubSeq: 4711}},
		}
		a.expect(told...)
		a2.expect(told...)
		pass(2 * time.Second) // it counts for CURSOR
		if got := a.expectCommands(pdu.CmdCursor); cursors(a.client, got)[0] != 3 {
			t.Errorf("got %v", got)
		}
		b.expect()
		legacy.expect()

		a.close()
		s.tell(protocol.MessageStateChanged{Conversation: single.Conversation(1), ID: 5, From: 1, State: 4, Reason: "nobody there"})
		s.tell(protocol.MessageStateChanged{Conversation: single.Conversation(1), ID: 6, From: 2, State: 4})
		a.again()
		got := a.take()
		i := slices.IndexFunc(got, func(p pdu.PDU) bool {
			return p.Header.Command == pdu.CmdState && decoded[*chatpb.State](a.client, p).GetState() == 4
		})
		if i < 0 || !proto.Equal(decoded[*chatpb.State](a.client, got[i]), &chatpb.State{SessionType: 1, SessionId: uint32(lin), MsgId: 5, State: 4, Reason: "nobody there"}) {
			t.Errorf("replayed: %v", commandsOf(got))
		}
		for _, p := range got {
			if p.Header.Command == pdu.CmdState && decoded[*chatpb.State](a.client, p).GetMsgId() == 6 && decoded[*chatpb.State](a.client, p).GetSessionType() == 1 {
				t.Error("another author's state is replayed")
			}
		}
		if _, m := (&session{srv: s.srv, user: 1, ext: newExtension()}).eventToWire(protocol.MessageStateChanged{Conversation: single.Conversation(2), ID: 6, From: 2}); m != nil {
			t.Errorf("of another author's message: %v", m)
		}
	})
}

// [TT-FED-4]: histories say it too, to the author alone.
func TestDeliveryInHistory(t *testing.T) {
	play(t, nil, func(s *stage) {
		a, b := s.enter(1, "laptop", windows), s.enter(2, "laptop", windows)
		group := protocol.InGroup(7)
		for _, fate := range []uint8{0, 2, 4} {
			s.arrives(protocol.Message{Conversation: group.Conversation(0), From: 1, Type: protocol.MsgGroupText, Data: []byte("x"), Fate: fate}, 1, 2)
		}
		s.settle(a.client, b.client)
		for _, d := range []*device{a, b} {
			d.send(pdu.CmdMsgListReq, 1, listReq(group))
			list := decoded[*pb.IMGetMsgListRsp](d.client, d.next()).GetMsgList()
			var got []uint32
			for _, m := range list {
				if m.Delivery != nil {
					got = append(got, m.GetDelivery())
				}
			}
			if want := []uint32{4, 2}; d == a && !slices.Equal(got, want) || d == b && got != nil {
				t.Errorf("user %d: %v", d.user, got)
			}
		}
	})
}

// [TT-FED-5]: the members of a group of another office. Its office has more time than a write here.
func TestGroupOfOtherOffice(t *testing.T) {
	took := 3 * time.Second
	var err error
	play(t, func(c *Config) {
		w := c.Services.Groups.(*world)
		c.Services.Groups = hubs{c.Services.Groups, w}
		w.hub = func(ctx context.Context) error {
			select {
			case <-time.After(took):
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}, func(s *stage) {
		d, legacy := s.enter(1, "laptop", windows), s.login(1, mac)
		s.settle(d.client, legacy)
		add := pb.GroupModifyType_GROUP_MODIFY_TYPE_ADD.Enum()
		req := &pb.IMGroupChangeMemberReq{UserId: new(uint32(0)), ChangeType: add, GroupId: new(uint32(tearoom)), MemberIdList: []uint32{uint32(last)}}
		for _, err = range []error{nil, protocol.Errorf(protocol.CodeUnavailable, "the office can't be reached")} {
			res := &pb.IMGroupChangeMemberRsp{UserId: new(uint32(1)), ChangeType: add, ResultCode: new(uint32(0)), GroupId: req.GroupId,
				CurUserIdList: []uint32{1, 2, uint32(lin), uint32(last)}, ChgUserIdList: []uint32{uint32(last)}}
			if err != nil {
				res.ResultCode, res.CurUserIdList, res.ChgUserIdList = new(uint32(1)), nil, nil
			}
			for _, c := range []*client{d.client, legacy} {
				c.send(pdu.CmdGroupChangeReq, 4, req)
				pass(took)
				c.expect(want{pdu.CmdGroupChangeRes, 4, res})
			}
		}
		s.tell(protocol.MembersChanged{Group: tearoom, Change: protocol.MembersAdd, Current: []protocol.UserID{1, lin, last}, Changed: []protocol.UserID{last}})
		for _, c := range []*client{d.client, legacy} {
			c.expect(want{pdu.CmdGroupChangeNotify, 0, &pb.IMGroupChangeMemberNotify{UserId: new(uint32(0)), ChangeType: add, GroupId: req.GroupId,
				CurUserIdList: []uint32{1, uint32(lin), uint32(last)}, ChgUserIdList: []uint32{uint32(last)}}})
		}
		ask := &pb.IMGroupInfoListReq{UserId: new(uint32(0)), GroupVersionList: []*pb.GroupVersionInfo{{GroupId: new(uint32(tearoom)), Version: new(uint32(0))}, {GroupId: new(uint32(7)), Version: new(uint32(0))}}}
		for _, c := range []*client{d.client, legacy} {
			c.send(pdu.CmdGroupInfoReq, 5, ask)
			list := decoded[*pb.IMGroupInfoListRsp](c, c.next()).GetGroupInfoList()
			if !slices.Equal(list[0].GetGroupMemberList(), []uint32{1, 2, uint32(lin), uint32(last)}) || list[0].GetGroupCreatorId() != uint32(lin) {
				t.Errorf("group: %v", list[0])
			}
			extended := c == d.client
			if (list[0].GetAddress() == "tea@"+officeOf) != extended || list[0].GetRemote() != extended || list[1].Address != nil || list[1].Remote != nil {
				t.Errorf("groups: %v", list)
			}
		}
	})
}

// [TT-FED-6]: a search in a second, answers as of the directory, refusals by ERROR.
func TestSearch(t *testing.T) {
	play(t, func(c *Config) { c.Domain = func() string { return "berlin.example" } }, func(s *stage) {
		d, other := s.enter(1, "laptop", windows), s.enter(1, "phone", ios)
		s.settle(d.client, other.client)
		remote := s.remoteUser(lin)
		var limits []int
		s.mu.Lock()
		s.found = []protocol.User{testUser(2), remote}
		s.search = func(text string, limit int) error {
			limits = append(limits, limit)
			if text == "" {
				return protocol.Errorf(protocol.CodeInvalid, "search text is empty")
			}
			return nil
		}
		s.mu.Unlock()
		here, there := userToWire(testUser(2)), userToWire(remote)
		here.Address, there.Address, there.Remote = new("user2@berlin.example"), new(remote.Address), new(true)
		found := &pb.IMUsersInfoRsp{UserId: new(uint32(1)), UserInfoList: []*pb.UserInfo{here, there}}
		d.send(pdu.CmdSearchReq, 1, &chatpb.SearchReq{Text: "user"})
		d.expect(want{pdu.CmdSearchRsp, 1, found})
		d.send(pdu.CmdSearchReq, 2, &chatpb.SearchReq{Text: "user"})
		if e := d.expectError(pdu.CmdSearchReq, 2, protocol.CodeRateLimited); e.GetRetryAfterMs() == 0 {
			t.Errorf("got %v", e)
		}
		other.send(pdu.CmdSearchReq, 3, &chatpb.SearchReq{Text: "user", Limit: 5}) // a session of its own
		other.expect(want{pdu.CmdSearchRsp, 3, found})
		pass(time.Second)
		d.send(pdu.CmdSearchReq, 4, &chatpb.SearchReq{Text: "user", Limit: 1 << 31})
		d.expect(want{pdu.CmdSearchRsp, 4, found})
		pass(time.Second)
		d.send(pdu.CmdSearchReq, 5, &chatpb.SearchReq{})
		d.expectError(pdu.CmdSearchReq, 5, protocol.CodeInvalid)
		if want := []int{20, 5, 50, 20}; !slices.Equal(limits, want) {
			t.Errorf("limits %v, want %v", limits, want)
		}
	})
}
