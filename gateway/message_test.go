package gateway

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"teamtalk/protocol"
	"teamtalk/protocol/crypt"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

func ack(user, session, id uint32, st pb.SessionType) *pb.IMMsgDataAck {
	return &pb.IMMsgDataAck{UserId: new(user), SessionId: new(session), MsgId: new(id), SessionType: st.Enum()}
}

func pushed(from, to, id uint32, m *pb.IMMsgData) *pb.IMMsgData {
	return &pb.IMMsgData{FromUserId: new(from), ToSessionId: new(to), MsgId: new(id), CreateTime: new(uint32(1000)), MsgType: m.MsgType, MsgData: m.MsgData}
}

// [TT-MSG-2] [TT-MSG-3] [TT-MSG-5] [TT-SEQ-1] [TT-SEQ-2] [TT-FRAME-7] [TT-DIFF-19]
func TestSingleMessage(t *testing.T) {
	play(t, nil, func(s *stage) {
		pc, phone, peerPC, peerPhone, other := s.login(1, windows), s.login(1, ios), s.login(2, mac), s.login(2, android), s.login(3, windows)
		s.settle(pc, phone, peerPC, peerPhone, other)
		m := text(2, "hello")
		m.FromUserId, m.MsgId, m.CreateTime, m.AttachData = new(uint32(77)), new(uint32(99)), new(uint32(5)), []byte("attached")
		pc.send(pdu.CmdMsgData, 0xff01, m)
		pc.expect(want{pdu.CmdMsgDataAck, 0xff01, ack(1, 2, 1, pb.SessionType_SESSION_TYPE_SINGLE)})
		for _, c := range []*client{phone, peerPC, peerPhone} {
			c.expect(want{pdu.CmdMsgData, 0, pushed(1, 2, 1, m)})
		}
		other.expect()
		phone.send(pdu.CmdMsgData, 0, text(2, "from the phone"))
		phone.expect(want{pdu.CmdMsgDataAck, 0, ack(1, 2, 2, pb.SessionType_SESSION_TYPE_SINGLE)})
		pc.expect(want{pdu.CmdMsgData, 0, nil})
	})
}

// [TT-MSG-5]
func TestGroupMessage(t *testing.T) {
	play(t, nil, func(s *stage) {
		a, a2, b, outsider := s.login(1, windows), s.login(1, ios), s.login(2, windows), s.login(4, windows)
		s.settle(a, a2, b, outsider)
		m := groupText(7, "hello")
		a.send(pdu.CmdMsgData, 3, m)
		a.expect(want{pdu.CmdMsgDataAck, 3, ack(1, 7, 1, pb.SessionType_SESSION_TYPE_GROUP)})
		a2.expect(want{pdu.CmdMsgData, 0, pushed(1, 7, 1, m)})
		b.expect(want{pdu.CmdMsgData, 0, pushed(1, 7, 1, m)})
		outsider.send(pdu.CmdMsgData, 4, groupText(7, "let me in")) // [TT-MSG-1]
		outsider.expect()
		a.expect()
		if s.metric("ignored_total", "forbidden") != 1 {
			t.Error("the refusal is not counted")
		}
	})
}

// [TT-MSG-1] [TT-MSG-3] [TT-DIFF-13] [TT-DIFF-16]: what is refused is neither acked nor delivered.
func TestRefusedMessages(t *testing.T) {
	play(t, nil, func(s *stage) {
		a, b := s.login(1, windows), s.login(2, windows)
		s.settle(a, b)
		a.send(pdu.CmdMsgData, 1, text(1, "to myself"))
		a.send(pdu.CmdMsgData, 2, text(2, ""))
		s.mu.Lock()
		s.result = func(protocol.SendMessage) error { return protocol.Errorf(protocol.CodeNotFound, "no such user") }
		s.mu.Unlock()
		a.send(pdu.CmdMsgData, 3, text(2, "refused by the store"))
		a.expect()
		b.expect()
		s.mu.Lock()
		s.result = nil
		s.mu.Unlock()
		a.send(pdu.CmdMsgData, 4, text(2, "goes on"))
		a.expect(want{pdu.CmdMsgDataAck, 4, ack(1, 2, 1, pb.SessionType_SESSION_TYPE_SINGLE)})
	})
}

// [TT-MSG-6] [TT-DIFF-14]
func TestResend(t *testing.T) {
	play(t, nil, func(s *stage) {
		a, b := s.login(1, windows), s.login(2, windows)
		s.settle(a, b)
		first := want{pdu.CmdMsgDataAck, 7, ack(1, 2, 1, pb.SessionType_SESSION_TYPE_SINGLE)}
		a.send(pdu.CmdMsgData, 7, text(2, "once"))
		a.expect(first)
		b.expect(want{pdu.CmdMsgData, 0, nil})
		pass(5 * time.Second) // as Windows does
		a.send(pdu.CmdMsgData, 7, text(2, "once"))
		a.expect(first)
		b.expect()

		n := uint32(1)
		fresh := func(why string, from *client, seq uint16, m *pb.IMMsgData) {
			t.Helper()
			n++
			from.send(pdu.CmdMsgData, seq, m)
			got := from.take()
			if len(got) != 1 || !proto.Equal(compare(t, got[0], want{pdu.CmdMsgDataAck, seq, nil}), ack(1, m.GetToSessionId(), n, pb.SessionType_SESSION_TYPE_SINGLE)) {
				t.Errorf("%s: not a message of its own", why)
			}
		}
		fresh("other data", a, 7, text(2, "twice"))
		fresh("other sequence number", a, 8, text(2, "once"))
		fresh("sequence number 0", a, 0, text(2, "once"))
		fresh("sequence number 0 again", a, 0, text(2, "once"))
		phone := s.login(1, ios)
		s.settle(phone, a)
		fresh("another connection", phone, 7, text(2, "once"))
		s.settle(a)
		pass(10 * time.Second)
		fresh("too late", a, 7, text(2, "once"))
		n = 0
		fresh("other target", a, 8, text(3, "once"))
	})
}

// However many messages there are, those of the last seconds are remembered and the memory stays bounded.
func TestResendMemory(t *testing.T) {
	play(t, nil, func(s *stage) {
		c := &session{srv: s.srv}
		ids := map[uint16]uint64{}
		for seq := uint16(1); seq <= 2000; seq++ {
			ids[seq] = c.sequenceOf(seq, &protocol.SendMessage{Data: []byte{1}})
			if back := seq - min(seq-1, 100); c.sequenceOf(back, &protocol.SendMessage{Data: []byte{1}}) != ids[back] {
				t.Fatalf("message %d forgotten at %d", back, seq)
			}
			if len(c.recent) > recentMost {
				t.Fatalf("%d remembered", len(c.recent))
			}
		}
		pass(11 * time.Second)
		if c.sequenceOf(2000, &protocol.SendMessage{Data: []byte{1}}) == ids[2000] {
			t.Error("remembered for too long")
		}
	})
}

// [TT-MSG-4] [TT-DIFF-15]: sixteen messages are on their way together, and their acks keep the order.
func TestPipelinedSends(t *testing.T) {
	play(t, nil, func(s *stage) {
		a := s.login(1, windows)
		s.settle(a)
		s.mu.Lock()
		s.hold = true
		s.mu.Unlock()
		for seq := uint16(1); seq <= 16; seq++ {
			a.send(pdu.CmdMsgData, seq, text(2, fmt.Sprint(seq)))
		}
		a.send(pdu.CmdUnreadReq, 50, &pb.IMUnreadMsgCntReq{UserId: new(uint32(0))}) // waits for them
		a.expect()
		a.write(pdu.AppendRaw(nil, pdu.Header{Command: pdu.CmdHeartbeat, Seq: 51, Version: 1, Service: 7}, nil)) // waits for nothing
		a.expect(want{pdu.CmdHeartbeat, 51, nil})
		s.mu.Lock()
		if len(s.held) != 16 {
			t.Errorf("%d messages on their way, want 16", len(s.held))
		}
		last := s.held[15]
		last.landLocked() // overtakes, which its ack may not
		s.held = s.held[:15]
		s.mu.Unlock()
		a.expect()
		s.release(-1)
		var wants []want
		for seq := uint16(1); seq <= 16; seq++ {
			wants = append(wants, want{pdu.CmdMsgDataAck, seq, nil})
		}
		a.expect(append(wants, want{pdu.CmdUnreadRes, 50, nil})...)
		for i, cmd := range s.allBegun() {
			if string(cmd.Data) != fmt.Sprint(i+1) {
				t.Errorf("message %d begun as number %d", i+1, i)
			}
		}
	})
}

// The window is bounded in messages and bytes.
func TestSendWindowIsBounded(t *testing.T) {
	for name, tc := range map[string]struct {
		size, fit int
	}{"messages": {1, 4}, "bytes": {600, 1}} {
		t.Run(name, func(t *testing.T) {
			play(t, func(c *Config) { c.Limits.InFlight, c.Limits.InFlightBytes = 4, 1000 }, func(s *stage) {
				a := s.login(1, windows)
				s.settle(a)
				s.mu.Lock()
				s.hold = true
				s.mu.Unlock()
				go func() {
					for seq := uint16(1); seq <= 6; seq++ {
						a.send(pdu.CmdMsgData, seq, text(2, strings.Repeat("x", tc.size)))
					}
				}()
				a.expect()
				for range 6 {
					s.mu.Lock()
					if len(s.held) > tc.fit {
						t.Errorf("%d messages on their way, want %d", len(s.held), tc.fit)
					}
					s.mu.Unlock()
					s.release(1)
					if got := a.take(); len(got) != 1 {
						t.Errorf("%d acks", len(got))
					}
				}
			})
		})
	}
}

// [TT-MSG-6]: while the outcome is unknown the same message is proposed again, under the same id, and nothing overtakes it.
func TestUnknownOutcome(t *testing.T) {
	play(t, nil, func(s *stage) {
		a, b := s.login(1, windows), s.login(2, windows)
		s.settle(a, b)
		fails := 2
		s.mu.Lock()
		s.result = func(protocol.SendMessage) error {
			if fails--; fails >= 0 {
				return protocol.OutcomeUnknownf("the leader was lost") // it is stored all the same
			}
			return nil
		}
		s.mu.Unlock()
		a.send(pdu.CmdMsgData, 1, text(2, "first"))
		a.expect()
		go a.send(pdu.CmdMsgData, 2, text(2, "second"))
		pass(time.Second)
		a.expect(
			want{pdu.CmdMsgDataAck, 1, ack(1, 2, 1, pb.SessionType_SESSION_TYPE_SINGLE)},
			want{pdu.CmdMsgDataAck, 2, ack(1, 2, 2, pb.SessionType_SESSION_TYPE_SINGLE)},
		)
		b.expect(want{pdu.CmdMsgData, 0, nil}, want{pdu.CmdMsgData, 0, nil})
		if s.metric("proposed_again_total") != 2 || s.allBegun()[0].ClientMsgID != s.allBegun()[1].ClientMsgID {
			t.Errorf("proposed: %v", s.allBegun())
		}
	})
}

// After a while it is given up, unacked: the client tries again.
func TestUnknownOutcomeGivenUp(t *testing.T) {
	play(t, nil, func(s *stage) {
		a := s.login(1, windows)
		s.settle(a)
		s.mu.Lock()
		s.result = func(protocol.SendMessage) error { return protocol.OutcomeUnknownf("no leader") }
		s.mu.Unlock()
		a.send(pdu.CmdMsgData, 1, text(2, "lost"))
		pass(time.Minute)
		a.expect()
		s.mu.Lock()
		s.result = nil
		s.mu.Unlock()
		a.send(pdu.CmdMsgData, 1, text(2, "lost"))
		if got := a.take(); len(got) != 1 || got[0].Header.Command != pdu.CmdMsgDataAck {
			t.Errorf("got %v", got)
		}
	})
}

// Whatever the order in which messages land and however they fail: they are proposed in the order read, and the acks of those stored
// come in that order, each once [TT-MSG-4].
func TestSendOrderProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 40).Draw(rt, "messages")
		refused := rapid.SliceOfN(rapid.Bool(), n, n).Draw(rt, "refused")
		window := rapid.IntRange(1, 8).Draw(rt, "window")
		order := rapid.SliceOfN(rapid.IntRange(0, 7), n, n).Draw(rt, "landing")
		play(t, func(c *Config) { c.Limits.InFlight = window }, func(s *stage) {
			a := s.login(1, windows)
			s.settle(a)
			s.mu.Lock()
			s.hold = true
			s.result = func(cmd protocol.SendMessage) error {
				var i int
				if _, err := fmt.Sscan(string(cmd.Data), &i); err != nil || refused[i] {
					return protocol.Errorf(protocol.CodeNotFound, "refused")
				}
				return nil
			}
			s.mu.Unlock()
			go func() {
				for i := range n {
					a.send(pdu.CmdMsgData, uint16(i+1), text(2, fmt.Sprint(i)))
				}
			}()
			var acks []uint16
			for _, pick := range order {
				for _, p := range a.take() {
					acks = append(acks, p.Header.Seq)
				}
				s.mu.Lock()
				i := pick % len(s.held)
				s.held[i].landLocked()
				s.held = append(s.held[:i], s.held[i+1:]...)
				s.mu.Unlock()
			}
			for _, p := range a.take() {
				acks = append(acks, p.Header.Seq)
			}
			var wanted []uint16
			begun := s.allBegun()
			for i, no := range refused {
				if string(begun[i].Data) != fmt.Sprint(i) {
					rt.Fatalf("begun out of order: %d is %s", i, begun[i].Data)
				}
				if !no {
					wanted = append(wanted, uint16(i+1))
				}
			}
			if fmt.Sprint(acks) != fmt.Sprint(wanted) {
				rt.Fatalf("acks %v, want %v", acks, wanted)
			}
		})
	})
}

// [TT-MSG-8] [TT-MSG-9] [TT-DIFF-18]
func TestReadAck(t *testing.T) {
	play(t, nil, func(s *stage) {
		pc, phone, peer := s.login(1, windows), s.login(1, ios), s.login(2, windows)
		peer.send(pdu.CmdMsgData, 1, text(1, "a"))
		peer.send(pdu.CmdMsgData, 2, text(1, "b"))
		s.settle(pc, phone, peer)
		read := func(id uint32) *pb.IMMsgDataReadAck {
			return &pb.IMMsgDataReadAck{UserId: new(uint32(0)), SessionId: new(uint32(2)), MsgId: new(id), SessionType: pb.SessionType_SESSION_TYPE_SINGLE.Enum()}
		}
		notify := func(id uint32) want {
			return want{pdu.CmdReadNotify, 0, &pb.IMMsgDataReadNotify{UserId: new(uint32(1)), SessionId: new(uint32(2)), MsgId: new(id), SessionType: pb.SessionType_SESSION_TYPE_SINGLE.Enum()}}
		}
		pc.send(pdu.CmdReadAck, 3, read(1))
		pc.expect()
		phone.expect(notify(1))
		phone.send(pdu.CmdReadAck, 4, read(1)) // as iOS does: it comes to rest
		pc.expect()
		phone.expect()
		phone.send(pdu.CmdReadAck, 5, read(0))
		pc.expect(notify(2))
		phone.expect()
		peer.expect()
	})
}

// [TT-MSG-7] [TT-MSG-13]
func TestReceiptAndTime(t *testing.T) {
	play(t, nil, func(s *stage) {
		c := s.login(1, windows)
		s.settle(c)
		c.send(pdu.CmdMsgDataAck, 1, ack(0, 1, 1, pb.SessionType_SESSION_TYPE_SINGLE))
		c.write(pdu.AppendRaw(nil, pdu.Header{Command: pdu.CmdTimeReq, Seq: 2}, []byte{0xff})) // [TT-FRAME-5]: the body is not looked at
		c.expect(want{pdu.CmdTimeRes, 2, &pb.IMClientTimeRsp{ServerTime: new(uint32(946684801))}})
		if s.metric("receipts_total") != 1 {
			t.Error("the receipt is not counted")
		}
	})
}

// [TT-MSG-10] [TT-MSG-14] [TT-BUDDY-1] [TT-DIFF-10]
func TestUnreadAndRecent(t *testing.T) {
	play(t, nil, func(s *stage) {
		a, b := s.login(1, windows), s.login(2, windows)
		a.send(pdu.CmdMsgData, 1, text(2, "one"))
		a.send(pdu.CmdMsgData, 2, msg(2, pb.MsgType_MSG_TYPE_SINGLE_AUDIO, "\x00\x00\x00\x03sound"))
		s.settle(a, b)
		cipher, err := crypt.New(crypt.DefaultKey)
		if err != nil {
			t.Fatal(err)
		}
		placeholder := cipher.Encrypt("[语音]")
		b.send(pdu.CmdUnreadReq, 3, &pb.IMUnreadMsgCntReq{UserId: new(uint32(0))})
		b.expect(want{pdu.CmdUnreadRes, 3, &pb.IMUnreadMsgCntRsp{UserId: new(uint32(2)), TotalCnt: new(uint32(2)), UnreadinfoList: []*pb.UnreadInfo{{
			SessionId: new(uint32(1)), SessionType: pb.SessionType_SESSION_TYPE_SINGLE.Enum(), UnreadCnt: new(uint32(2)), LatestMsgId: new(uint32(2)),
			LatestMsgData: placeholder, LatestMsgType: pb.MsgType_MSG_TYPE_SINGLE_AUDIO.Enum(), LatestMsgFromUserId: new(uint32(1)),
		}}}})
		a.send(pdu.CmdRecentSessionsReq, 4, &pb.IMRecentContactSessionReq{UserId: new(uint32(0)), LatestUpdateTime: new(uint32(0))})
		a.expect(want{pdu.CmdRecentSessionsRes, 4, &pb.IMRecentContactSessionRsp{UserId: new(uint32(1)), ContactSessionList: []*pb.ContactSessionInfo{{
			SessionId: new(uint32(2)), SessionType: pb.SessionType_SESSION_TYPE_SINGLE.Enum(), SessionStatus: pb.SessionStatusType_SESSION_STATUS_OK.Enum(),
			UpdatedTime: new(uint32(1000)), LatestMsgId: new(uint32(2)), LatestMsgData: placeholder, LatestMsgType: pb.MsgType_MSG_TYPE_SINGLE_AUDIO.Enum(),
			LatestMsgFromUserId: new(uint32(1)),
		}}}})
	})
}

// [TT-MSG-11] [TT-MSG-12]
func TestHistory(t *testing.T) {
	play(t, nil, func(s *stage) {
		a, stranger := s.login(1, windows), s.login(9, windows)
		for i := range 3 {
			a.send(pdu.CmdMsgData, uint16(i+1), groupText(7, fmt.Sprint(i+1)))
		}
		s.settle(a, stranger)
		info := func(id uint32) *pb.MsgInfo {
			return &pb.MsgInfo{MsgId: new(id), FromSessionId: new(uint32(1)), CreateTime: new(uint32(1000)), MsgType: pb.MsgType_MSG_TYPE_GROUP_TEXT.Enum(), MsgData: []byte(fmt.Sprint(id))}
		}
		group := pb.SessionType_SESSION_TYPE_GROUP.Enum()
		list := func(user uint32, begin, count uint32, msgs ...*pb.MsgInfo) (*pb.IMGetMsgListReq, *pb.IMGetMsgListRsp) {
			return &pb.IMGetMsgListReq{UserId: new(uint32(0)), SessionType: group, SessionId: new(uint32(7)), MsgIdBegin: new(begin), MsgCnt: new(count)},
				&pb.IMGetMsgListRsp{UserId: new(user), SessionType: group, SessionId: new(uint32(7)), MsgIdBegin: new(begin), MsgList: msgs}
		}
		ask := func(c *client, seq uint16, req *pb.IMGetMsgListReq, rsp *pb.IMGetMsgListRsp) {
			t.Helper()
			c.send(pdu.CmdMsgListReq, seq, req)
			c.expect(want{pdu.CmdMsgListRes, seq, rsp})
		}
		req, rsp := list(1, 0, 2, info(3), info(2))
		ask(a, 0xff01, req, rsp)
		req, rsp = list(1, 2, 4_000_000_000, info(2), info(1))
		ask(a, 0xff02, req, rsp)
		req, rsp = list(1, 0, 0)
		ask(a, 0xff03, req, rsp)
		req, rsp = list(9, 0, 20)
		ask(stranger, 0, req, rsp)

		a.send(pdu.CmdLatestMsgIDReq, 5, &pb.IMGetLatestMsgIdReq{UserId: new(uint32(0)), SessionType: group, SessionId: new(uint32(7))})
		a.expect(want{pdu.CmdLatestMsgIDRes, 5, &pb.IMGetLatestMsgIdRsp{UserId: new(uint32(1)), SessionType: group, SessionId: new(uint32(7)), LatestMsgId: new(uint32(3))}})
		stranger.send(pdu.CmdLatestMsgIDReq, 6, &pb.IMGetLatestMsgIdReq{UserId: new(uint32(0)), SessionType: group, SessionId: new(uint32(7))})
		stranger.expect(want{pdu.CmdLatestMsgIDRes, 6, &pb.IMGetLatestMsgIdRsp{UserId: new(uint32(9)), SessionType: group, SessionId: new(uint32(7)), LatestMsgId: new(uint32(0))}})
		byID := &pb.IMGetMsgByIdReq{UserId: new(uint32(0)), SessionType: group, SessionId: new(uint32(7)), MsgIdList: []uint32{1, 3, 99}}
		a.send(pdu.CmdMsgByIDReq, 7, byID)
		a.expect(want{pdu.CmdMsgByIDRes, 7, &pb.IMGetMsgByIdRsp{UserId: new(uint32(1)), SessionType: group, SessionId: new(uint32(7)), MsgList: []*pb.MsgInfo{info(3), info(1)}}})
		stranger.send(pdu.CmdMsgByIDReq, 8, byID)
		stranger.expect(want{pdu.CmdMsgByIDRes, 8, &pb.IMGetMsgByIdRsp{UserId: new(uint32(9)), SessionType: group, SessionId: new(uint32(7))}})
	})
}

// [TT-LIMIT-4] [TT-DIFF-12]: a history too long for Android is cut, newest first, at least one message; other clients get it whole.
func TestLongHistoryIsCut(t *testing.T) {
	play(t, nil, func(s *stage) {
		phone, pc := s.login(1, android), s.login(1, windows)
		big := bytes.Repeat([]byte("x"), 60_000)
		c := protocol.WithUser(2).Conversation(1)
		s.mu.Lock()
		for id := range protocol.MsgID(10) {
			s.stored[c] = append(s.stored[c], protocol.Message{Conversation: c, ID: id + 1, From: 2, Type: protocol.MsgSingleText, Data: big, Time: 1_000_000})
		}
		s.mu.Unlock()
		s.settle(phone, pc)
		req := &pb.IMGetMsgListReq{UserId: new(uint32(0)), SessionType: pb.SessionType_SESSION_TYPE_SINGLE.Enum(), SessionId: new(uint32(2)), MsgIdBegin: new(uint32(0)), MsgCnt: new(uint32(20))}
		for c, n := range map[*client]int{phone: 6, pc: 10} {
			c.send(pdu.CmdMsgListReq, 1, req)
			got := c.take()
			if len(got) != 1 {
				t.Fatalf("%d answers", len(got))
			}
			list := compare(t, got[0], want{pdu.CmdMsgListRes, 1, nil}).(*pb.IMGetMsgListRsp).GetMsgList()
			if len(list) != n || list[0].GetMsgId() != 10 {
				t.Errorf("%d messages, want %d", len(list), n)
			}
			if c == phone && got[0].Header.Length >= 400<<10 {
				t.Errorf("a frame of %d bytes to Android", got[0].Header.Length)
			}
		}
	})
}
