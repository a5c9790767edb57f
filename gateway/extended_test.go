package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pb/chatpb"
	"teamtalk/protocol/pb/sessionpb"
	"teamtalk/protocol/pdu"
)

func extendedText(to uint32, id byte, s string) *pb.IMMsgData {
	m := text(to, s)
	m.ClientMsgId = bytes.Repeat([]byte{id}, 16)
	return m
}

func (c *client) expectError(cmd pdu.Command, seq uint16, code protocol.Code) *sessionpb.Error {
	c.s.t.Helper()
	p := c.next()
	e := decoded[*sessionpb.Error](c, p)
	if pdu.Command(e.GetCommand()) != cmd || e.GetSeq() != uint32(seq) || p.Header.Seq != seq || e.GetCode() != sessionpb.Code(code) || e.GetMessage() == "" {
		c.s.t.Fatalf("got %v, want %v for %v seq %d", e, code, cmd, seq)
	}
	return e
}

// [TT-SESS-11] [TT-SESS-12] [TT-SESS-13]
func TestExtendedMessage(t *testing.T) {
	play(t, nil, func(s *stage) {
		a, a2, b, legacy, legacyA := s.enter(1, "laptop", windows), s.enter(1, "phone", ios), s.enter(2, "laptop", windows), s.login(2, mac), s.login(1, mac)
		s.settle(a.client, a2.client, b.client, legacy, legacyA)
		m := extendedText(2, 7, "hello")
		m.ContentType, m.ReplyToMsgId, m.FromAddress = new("text/markdown"), new(uint32(1)), new("forged@example.com")
		a.send(pdu.CmdMsgData, 4, m)
		ext := pushed(1, 2, 1, m)
		ext.ClientMsgId, ext.CreateTimeMs, ext.ContentType, ext.ReplyToMsgId = m.ClientMsgId, new(uint64(1_000_000)), m.ContentType, m.ReplyToMsgId
		got := a.take()
		var acks, own int
		for _, p := range got {
			switch p.Header.Command {
			case pdu.CmdMsgDataAck:
				acks++
				want := ack(1, 2, 1, pb.SessionType_SESSION_TYPE_SINGLE)
				want.ClientMsgId, want.CreateTimeMs = m.ClientMsgId, new(uint64(1_000_000))
				if r := decoded[*pb.IMMsgDataAck](a.client, p); !proto.Equal(r, want) || p.Header.Seq != 4 {
					t.Errorf("got %v", r)
				}
			case pdu.CmdMsgData:
				own++
				compare(t, p, want{pdu.CmdMsgData, 0, ext})
			}
		}
		if acks != 1 || own != 1 || len(got) != 2 {
			t.Errorf("the sender got %v", commandsOf(got))
		}
		for _, d := range []*device{a2, b} {
			d.expect(want{pdu.CmdMsgData, 0, ext})
		}
		legacy.expect(want{pdu.CmdMsgData, 0, pushed(1, 2, 1, text(2, "hello"))})
		legacyA.expect(want{pdu.CmdMsgData, 0, pushed(1, 2, 1, text(2, "hello"))})

		a.send(pdu.CmdMsgData, 5, m) // a repeat is acked again and not delivered again
		if r := decoded[*pb.IMMsgDataAck](a.client, a.next()); r.GetMsgId() != 1 {
			t.Errorf("got %v", r)
		}
		b.expect()
		a.send(pdu.CmdMsgData, 6, extendedText(2, 7, "other data"))
		a.expectError(pdu.CmdMsgData, 6, protocol.CodeInvalid)

		req := &pb.IMGetMsgListReq{UserId: new(uint32(0)), SessionType: pb.SessionType_SESSION_TYPE_SINGLE.Enum(), SessionId: new(uint32(1)), MsgIdBegin: new(uint32(0)), MsgCnt: new(uint32(10))}
		b.send(pdu.CmdMsgListReq, 6, req)
		info := decoded[*pb.IMGetMsgListRsp](b.client, b.next()).GetMsgList()[0]
		if !bytes.Equal(info.GetClientMsgId(), m.ClientMsgId) || info.GetCreateTimeMs() != 1_000_000 || info.GetContentType() != "text/markdown" || info.GetReplyToMsgId() != 1 || info.State == nil {
			t.Errorf("got %v", info)
		}
		legacy.send(pdu.CmdMsgListReq, 6, req)
		info = decoded[*pb.IMGetMsgListRsp](legacy, legacy.next()).GetMsgList()[0]
		if info.ClientMsgId != nil || info.CreateTimeMs != nil || info.ContentType != nil || info.ReplyToMsgId != nil || info.State != nil {
			t.Errorf("a legacy client got %v", info)
		}
	})
}

// [TT-SESS-14]: ERROR for what the legacy protocol leaves unanswered, and for nothing else.
func TestErrors(t *testing.T) {
	play(t, nil, func(s *stage) {
		d, legacy := s.enter(1, "laptop", windows), s.login(2, windows)
		s.settle(d.client, legacy)
		short := text(2, "x")
		short.ClientMsgId = []byte("short")
		zero := text(2, "x")
		zero.ClientMsgId = make([]byte, 16)
		for i, m := range []*pb.IMMsgData{short, zero, text(1, "to oneself"), text(2, "")} {
			d.send(pdu.CmdMsgData, uint16(10+i), m)
			d.expectError(pdu.CmdMsgData, uint16(10+i), protocol.CodeInvalid)
		}
		d.send(pdu.CmdMsgData, 20, msg(70, pb.MsgType_MSG_TYPE_GROUP_TEXT, "not a member"))
		d.expectError(pdu.CmdMsgData, 20, protocol.CodeForbidden)
		d.write(pdu.AppendRaw(nil, pdu.Header{Command: 0x0a7f, Seq: 21}, nil))
		d.expectError(0x0a7f, 21, protocol.CodeInvalid)
		d.write(pdu.AppendRaw(nil, pdu.Header{Command: pdu.CmdMsgListReq, Seq: 22}, []byte("garbage")))
		d.expectError(pdu.CmdMsgListReq, 22, protocol.CodeInvalid)
		d.send(pdu.CmdGroupCreateReq, 23, &pb.IMGroupCreateReq{UserId: new(uint32(1)), GroupType: pb.GroupType_GROUP_TYPE_NORMAL.Enum(), GroupName: new("x"), GroupAvatar: new("")})
		d.expectError(pdu.CmdGroupCreateReq, 23, protocol.CodeForbidden)
		d.send(pdu.CmdLoginReq, 24, loginReq("user1", windows))
		d.expectError(pdu.CmdLoginReq, 24, protocol.CodeInvalid)

		s.failWith(errors.New("secret"))
		d.send(pdu.CmdReadAck, 25, &pb.IMMsgDataReadAck{UserId: new(uint32(1)), SessionId: new(uint32(2)), MsgId: new(uint32(1)), SessionType: pb.SessionType_SESSION_TYPE_SINGLE.Enum()})
		if e := d.expectError(pdu.CmdReadAck, 25, protocol.CodeInternal); e.GetMessage() != textInternal {
			t.Errorf("got %v", e)
		}
		d.send(pdu.CmdChangeSignReq, 26, &pb.IMChangeSignInfoReq{UserId: new(uint32(1)), SignInfo: new("x")})
		d.expectCommands(pdu.CmdChangeSignRes) // says so itself
		legacy.write(pdu.AppendRaw(nil, pdu.Header{Command: 0x0a7f, Seq: 21}, nil))
		legacy.expect()
	})
}

// A message that has been given up while it waited for a leader is answered, also when there is a leader again by then: it would never be
// otherwise [TT-SESS-18].
func TestGivenUpWaitingForALeader(t *testing.T) {
	play(t, nil, func(s *stage) {
		d := s.enter(1, "laptop", windows)
		s.settle(d.client)
		s.mu.Lock()
		s.hold, s.queue = true, true
		s.mu.Unlock()
		d.send(pdu.CmdMsgData, 1, extendedText(2, 1, "waits for a leader"))
		pass(2 * time.Second)
		d.expectError(pdu.CmdMsgData, 1, protocol.CodeUnavailable)
	})
}

// A message that may have gone with its leader is proposed again, under the same id, as soon as there is another: its client need not
// repeat it. What comes meanwhile does not overtake it [TT-MSG-4] [TT-SESS-18].
func TestProposedAgainForExtended(t *testing.T) {
	play(t, nil, func(s *stage) {
		d := s.enter(1, "laptop", windows)
		s.settle(d.client)
		fails := 2
		s.mu.Lock()
		s.result = func(protocol.SendMessage) error {
			if fails--; fails >= 0 {
				return protocol.OutcomeUnknownf("the leader was lost") // it is stored all the same
			}
			return nil
		}
		s.hold = true
		s.mu.Unlock()
		d.send(pdu.CmdMsgData, 1, extendedText(2, 1, "first"))
		pass(10 * time.Millisecond)
		s.ledger.change(func(l *ledger) { l.noLeader = protocol.Errorf(protocol.CodeUnavailable, "no leader") })
		go d.send(pdu.CmdMsgData, 2, extendedText(2, 2, "second"))
		pass(time.Second)
		if n := len(s.allBegun()); n != 1 {
			t.Errorf("%d messages proposed while the first is in doubt", n)
		}
		s.ledger.change(func(l *ledger) { l.noLeader = nil })
		s.mu.Lock()
		s.hold = false
		s.mu.Unlock()
		s.release(-1)
		pass(retryFirst)
		acks := slices.DeleteFunc(d.take(), func(p pdu.PDU) bool { return p.Header.Command == pdu.CmdMsgData }) // he hears it from the first time
		if len(acks) != 2 {
			t.Fatalf("got %v", acks)
		}
		for i, p := range acks {
			if p.Header.Command != pdu.CmdMsgDataAck || p.Header.Seq != uint16(i+1) || decoded[*pb.IMMsgDataAck](d.client, p).GetMsgId() != uint32(i+1) {
				t.Errorf("ack %d: %v", i+1, p.Header)
			}
		}
		begun := s.allBegun()
		if s.metric("proposed_again_total") != 2 || len(begun) != 4 || begun[0].ClientMsgID != begun[1].ClientMsgID || begun[1].ClientMsgID != begun[2].ClientMsgID {
			t.Errorf("proposed: %v", begun)
		}
	})
}

// [TT-SESS-18]: without a leader writes fail in time and reads say that they may be old.
func TestWithoutLeader(t *testing.T) {
	play(t, nil, func(s *stage) {
		d, legacy := s.enter(1, "laptop", windows), s.login(1, mac)
		s.settle(d.client, legacy)
		s.mu.Lock()
		s.hold = true
		s.mu.Unlock()
		d.send(pdu.CmdMsgData, 1, extendedText(2, 1, "on its way"))
		pass(5 * time.Second)
		d.expect() // there is a leader, and it may take its time
		s.ledger.change(func(l *ledger) { l.noLeader = protocol.Errorf(protocol.CodeUnavailable, "no leader") })
		pass(2 * time.Second)
		if e := d.expectError(pdu.CmdMsgData, 1, protocol.CodeUnavailable); e.GetRetryAfterMs() < 200 {
			t.Errorf("got %v", e)
		}
		began := time.Now()
		d.send(pdu.CmdMsgData, 2, extendedText(2, 2, "too late"))
		pass(2 * time.Second)
		d.expectError(pdu.CmdMsgData, 2, protocol.CodeUnavailable)
		if time.Since(began) > 2*time.Second {
			t.Error("too late")
		}
		req := &pb.IMUnreadMsgCntReq{UserId: new(uint32(0))}
		for _, c := range []*client{d.client, legacy} {
			c.send(pdu.CmdUnreadReq, 3, req)
			if flag := c.next().Header.Flag; (flag == staleFlag) != (c == d.client) {
				t.Errorf("flag %d", flag)
			}
		}
		d.send(pdu.CmdTimeReq, 4, &pb.IMClientTimeReq{})
		if p := d.next(); p.Header.Flag != 0 {
			t.Error("the time is not from the log")
		}
		s.ledger.change(func(l *ledger) { l.noLeader = nil })
		d.send(pdu.CmdUnreadReq, 3, req)
		if p := d.next(); p.Header.Flag != 0 {
			t.Error("still flagged")
		}
		s.release(-1)
	})
}

// [TT-SESS-10]
func TestPresenceOfThoseAskedFor(t *testing.T) {
	play(t, nil, func(s *stage) {
		d, legacy := s.enter(1, "laptop", windows), s.login(9, windows)
		s.settle(d.client, legacy)
		five := s.enter(5, "pc", web) // counts as a PC
		pass(time.Second)
		d.expect()
		legacy.expect(want{pdu.CmdUserStatusNotify, 0, &pb.IMUserStatNotify{UserStat: userStat(5, true)}})
		d.send(pdu.CmdUsersStatusReq, 1, &pb.IMUsersStatReq{UserId: new(uint32(1)), UserIdList: []uint32{5, 6}})
		d.expect(want{pdu.CmdUsersStatusRes, 1, &pb.IMUsersStatRsp{UserId: new(uint32(1)), UserStatList: []*pb.UserStat{userStat(5, true), userStat(6, false)}}})
		five.close()
		s.login(6, windows)
		s.login(7, windows)
		pass(5 * time.Second)
		got := d.expectCommands(pdu.CmdUserStatusNotify, pdu.CmdUserStatusNotify)
		compare(t, got[0], want{pdu.CmdUserStatusNotify, 0, &pb.IMUserStatNotify{UserStat: userStat(6, true)}})
		compare(t, got[1], want{pdu.CmdUserStatusNotify, 0, &pb.IMUserStatNotify{UserStat: userStat(5, false)}})

		many := make([]uint32, 999)
		for i := range many {
			many[i] = uint32(1000 + i)
		}
		d.send(pdu.CmdUsersStatusReq, 2, &pb.IMUsersStatReq{UserId: new(uint32(1)), UserIdList: many})
		d.expectError(pdu.CmdUsersStatusReq, 2, protocol.CodeQuota)
		d.send(pdu.CmdUsersStatusReq, 3, &pb.IMUsersStatReq{UserId: new(uint32(1)), UserIdList: append(many[:998], 5, 5)})
		d.expectCommands(pdu.CmdUsersStatusRes)
		d.close()
		if n := len(s.srv.hub.watch.by) + len(s.srv.hub.watch.who); n != 0 {
			t.Errorf("%d left of the session that ended", n)
		}
	})
}

// A session that comes back before its user was said to have gone is no news; one that comes back later is [TT-PRES-2].
func TestResumeIsNoNews(t *testing.T) {
	play(t, nil, func(s *stage) {
		watcher := s.login(9, windows)
		d := s.enter(1, "laptop", web)
		s.settle(watcher, d.client)
		d.close()
		pass(time.Second)
		d.again()
		pass(10 * time.Second)
		watcher.expect()
		d.close()
		pass(10 * time.Second)
		d.again()
		pass(time.Second)
		watcher.expect(want{pdu.CmdUserStatusNotify, 0, &pb.IMUserStatNotify{UserStat: userStat(1, false)}},
			want{pdu.CmdUserStatusNotify, 0, &pb.IMUserStatNotify{UserStat: userStat(1, true)}})
	})
}

// [TT-SESS-17]: what was stored and read is told to the other side, in single chats and small groups.
func TestMarks(t *testing.T) {
	play(t, nil, func(s *stage) {
		a, b, legacy := s.enter(1, "laptop", windows), s.enter(2, "laptop", windows), s.login(1, mac)
		other := s.enter(3, "laptop", windows)
		s.settle(a.client, b.client, legacy, other.client)
		s.say(1, 2, "one")
		s.say(1, 2, "two")
		s.say(2, 1, "back")
		synctest.Wait()
		for _, d := range []*device{a, b} {
			d.take()
		}
		legacy.take()
		b.send(pdu.CmdAck, 0, &sessionpb.Ack{Cursor: 1})
		a.expect(want{pdu.CmdMark, 0, &chatpb.Mark{SessionType: 1, SessionId: 2, UserId: 2, DeliveredMsgId: 1}})
		b.send(pdu.CmdAck, 0, &sessionpb.Ack{Cursor: 1}) // again
		a.expect()
		b.send(pdu.CmdAck, 0, &sessionpb.Ack{Cursor: 100})
		a.expect(want{pdu.CmdMark, 0, &chatpb.Mark{SessionType: 1, SessionId: 2, UserId: 2, DeliveredMsgId: 2}})
		b.expect()
		b.send(pdu.CmdReadAck, 1, &pb.IMMsgDataReadAck{UserId: new(uint32(2)), SessionId: new(uint32(1)), MsgId: new(uint32(2)), SessionType: pb.SessionType_SESSION_TYPE_SINGLE.Enum()})
		a.expect(want{pdu.CmdMark, 0, &chatpb.Mark{SessionType: 1, SessionId: 2, UserId: 2, ReadMsgId: 2}})

		b.send(pdu.CmdMsgData, 2, msg(7, pb.MsgType_MSG_TYPE_GROUP_TEXT, "to all"))
		for _, d := range []*device{a, b, other} {
			d.take()
		}
		a.send(pdu.CmdAck, 0, &sessionpb.Ack{Cursor: 100})
		// message "back" too, and of the group its author only
		b.expect(want{pdu.CmdMark, 0, &chatpb.Mark{SessionType: 1, SessionId: 1, UserId: 1, DeliveredMsgId: 3}},
			want{pdu.CmdMark, 0, &chatpb.Mark{SessionType: 2, SessionId: 7, UserId: 1, DeliveredMsgId: 1}})
		other.expect()
		a.send(pdu.CmdReadAck, 3, &pb.IMMsgDataReadAck{UserId: new(uint32(1)), SessionId: new(uint32(7)), MsgId: new(uint32(1)), SessionType: pb.SessionType_SESSION_TYPE_GROUP.Enum()})
		for _, d := range []*device{b, other} {
			d.expect(want{pdu.CmdMark, 0, &chatpb.Mark{SessionType: 2, SessionId: 7, UserId: 1, ReadMsgId: 1}})
		}
		legacy.take()

		s.mu.Lock()
		for u := protocol.UserID(100); len(s.members[7]) <= markMembers; u++ {
			s.members[7] = append(s.members[7], u)
		}
		s.mu.Unlock()
		b.send(pdu.CmdMsgData, 4, msg(7, pb.MsgType_MSG_TYPE_GROUP_TEXT, "to very many"))
		for _, d := range []*device{a, b, other} {
			d.take()
		}
		a.send(pdu.CmdAck, 0, &sessionpb.Ack{Cursor: 1000})
		a.send(pdu.CmdReadAck, 5, &pb.IMMsgDataReadAck{UserId: new(uint32(1)), SessionId: new(uint32(7)), MsgId: new(uint32(2)), SessionType: pb.SessionType_SESSION_TYPE_GROUP.Enum()})
		b.expect()
		for _, p := range legacy.take() {
			if p.Header.Command.IsExtension() { // [TT-SESS-12]
				t.Errorf("a legacy client got %v", p.Header.Command)
			}
		}
	})
}

// What a client never says that it has stored is forgotten in time.
func TestUnackedIsBounded(t *testing.T) {
	s := &session{user: 1, ext: newExtension()}
	for i := range 10_000 {
		m := protocol.Message{ID: protocol.MsgID(i + 1), From: 2, At: protocol.Position{Index: uint64(i)}}
		s.remember(&protocol.MessageSent{Message: m})
	}
	if n := len(s.ext.unacked); n == 0 || n > unackedMost {
		t.Errorf("%d remembered", n)
	}
	if all := s.stored(9_998); len(all) != 1 || all[0].UpTo != 9_999 || fmt.Sprint(all[0].Authors) != "[2]" || len(s.ext.unacked) != 1 {
		t.Errorf("got %v, left %d", all, len(s.ext.unacked))
	}
}

// [TT-SESS-19]: a new group is told to the members' extended sessions; legacy clients learn with the first message.
func TestGroupCreatedIsTold(t *testing.T) {
	play(t, nil, func(s *stage) {
		a, b, legacy, outsider := s.enter(1, "laptop", windows), s.enter(2, "laptop", windows), s.login(2, mac), s.enter(3, "laptop", windows)
		s.settle(a.client, b.client, legacy, outsider.client)
		s.mu.Lock()
		s.world.publish(protocol.GroupCreated{Actor: 1, Group: 9, Members: []protocol.UserID{1, 2}})
		s.mu.Unlock()
		for _, d := range []*device{a, b} {
			d.expect(want{pdu.CmdGroupChangeNotify, 0, &pb.IMGroupChangeMemberNotify{UserId: new(uint32(1)), ChangeType: pb.GroupModifyType_GROUP_MODIFY_TYPE_ADD.Enum(),
				GroupId: new(uint32(9)), CurUserIdList: []uint32{1, 2}, ChgUserIdList: []uint32{1, 2}}})
		}
		legacy.expect()
		outsider.expect()
	})
}

// [TT-HB-1]: a heartbeat is answered while a request takes its time, and the requests behind it keep their order.
func TestHeartbeatPassesSlowRequest(t *testing.T) {
	slow := &slowDevices{}
	play(t, func(c *Config) { slow.Devices, c.Services.Devices = c.Services.Devices, slow }, func(s *stage) {
		slow.gate = make(chan struct{}) // of this bubble
		c := s.login(1, windows)
		s.settle(c)
		c.send(pdu.CmdQueryPushShieldReq, 1, &pb.IMQueryPushShieldReq{UserId: new(uint32(0))})
		c.send(pdu.CmdMsgData, 2, text(2, "behind it"))
		c.write(beat(3))
		c.expectCommands(pdu.CmdHeartbeat)
		close(slow.gate)
		c.expectCommands(pdu.CmdQueryPushShieldRes, pdu.CmdMsgDataAck)
	})
}

// slowDevices answers when its gate is opened.
type slowDevices struct {
	Devices
	gate chan struct{}
}

func (d *slowDevices) PushShield(ctx context.Context, me protocol.UserID) (bool, error) {
	<-d.gate
	return d.Devices.PushShield(ctx, me)
}
