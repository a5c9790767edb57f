package gateway

import (
	"testing"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

// [TT-BUDDY-2] [TT-BUDDY-4] [TT-BUDDY-5]
func TestDirectory(t *testing.T) {
	play(t, nil, func(s *stage) {
		c := s.login(1, windows)
		s.settle(c)
		c.send(pdu.CmdUserInfoReq, 1, &pb.IMUsersInfoReq{UserId: new(uint32(0)), UserIdList: []uint32{2, 3, 5000}})
		c.expect(want{pdu.CmdUserInfoRes, 1, &pb.IMUsersInfoRsp{UserId: new(uint32(1)), UserInfoList: []*pb.UserInfo{userToWire(testUser(2)), userToWire(testUser(3))}}})
		c.send(pdu.CmdAllUsersReq, 2, &pb.IMAllUserReq{UserId: new(uint32(0)), LatestUpdateTime: new(uint32(0))})
		c.expect(want{pdu.CmdAllUsersRes, 2, &pb.IMAllUserRsp{UserId: new(uint32(1)), LatestUpdateTime: new(uint32(5)),
			UserList: []*pb.UserInfo{userToWire(testUser(1)), userToWire(testUser(2)), userToWire(testUser(3))}}})
		c.send(pdu.CmdAllUsersReq, 3, &pb.IMAllUserReq{UserId: new(uint32(0)), LatestUpdateTime: new(uint32(12345))})
		c.expect(want{pdu.CmdAllUsersRes, 3, &pb.IMAllUserRsp{UserId: new(uint32(1)), LatestUpdateTime: new(uint32(12345))}})
		c.send(pdu.CmdDepartmentsReq, 4, &pb.IMDepartmentReq{UserId: new(uint32(0)), LatestUpdateTime: new(uint32(0))})
		c.expect(want{pdu.CmdDepartmentsRes, 4, &pb.IMDepartmentRsp{UserId: new(uint32(1)), LatestUpdateTime: new(uint32(6)), DeptList: []*pb.DepartInfo{
			{DeptId: new(uint32(1)), Priority: new(uint32(0)), DeptName: new("Engineering"), ParentDeptId: new(uint32(0)), DeptStatus: pb.DepartmentStatusType_DEPT_STATUS_OK.Enum()},
			{DeptId: new(uint32(2)), Priority: new(uint32(2)), DeptName: new("Sales"), ParentDeptId: new(uint32(1)), DeptStatus: pb.DepartmentStatusType_DEPT_STATUS_DELETE.Enum()},
		}}})
		s.failWith(protocol.Errorf(protocol.CodeUnavailable, "closing")) // no result field: no answer
		c.send(pdu.CmdAllUsersReq, 5, &pb.IMAllUserReq{UserId: new(uint32(0)), LatestUpdateTime: new(uint32(0))})
		c.expect()
	})
}

// [TT-LIMIT-4] [TT-DIFF-12]: a directory too long for Android comes in parts; the first answers, the others are pushes.
func TestLongDirectoryIsSplit(t *testing.T) {
	play(t, nil, func(s *stage) {
		s.mu.Lock()
		s.users = 20_000
		s.mu.Unlock()
		for _, ct := range []pb.ClientType{android, ios, windows} {
			c := s.login(1, ct)
			s.settle(c)
			c.send(pdu.CmdAllUsersReq, 9, &pb.IMAllUserReq{UserId: new(uint32(0)), LatestUpdateTime: new(uint32(0))})
			got := c.take()
			if (len(got) > 1) != (ct == android) {
				t.Errorf("%v: %d parts", ct, len(got))
			}
			next := uint32(1)
			for i, p := range got {
				seq := uint16(0)
				if i == 0 {
					seq = 9
				}
				m := compare(t, p, want{pdu.CmdAllUsersRes, seq, nil}).(*pb.IMAllUserRsp)
				if m.GetLatestUpdateTime() != 5 || ct == android && p.Header.Length >= 400<<10 {
					t.Errorf("part %d: time %d, %d bytes", i, m.GetLatestUpdateTime(), p.Header.Length)
				}
				for _, u := range m.GetUserList() {
					if u.GetUserId() != next {
						t.Fatalf("user %d, want %d", u.GetUserId(), next)
					}
					next++
				}
			}
			if next != 20_001 {
				t.Errorf("%v: %d users", ct, next-1)
			}
		}
	})
}

// [TT-BUDDY-3] [TT-DIFF-9]
func TestRemoveSession(t *testing.T) {
	play(t, nil, func(s *stage) {
		pc, phone := s.login(1, windows), s.login(1, ios)
		s.settle(pc, phone)
		single, group := pb.SessionType_SESSION_TYPE_SINGLE.Enum(), pb.SessionType_SESSION_TYPE_GROUP.Enum()
		req := func(st *pb.SessionType, id uint32) *pb.IMRemoveSessionReq {
			return &pb.IMRemoveSessionReq{UserId: new(uint32(0)), SessionType: st, SessionId: new(id)}
		}
		rsp := func(result uint32, st *pb.SessionType, id uint32) *pb.IMRemoveSessionRsp {
			return &pb.IMRemoveSessionRsp{UserId: new(uint32(1)), ResultCode: new(result), SessionType: st, SessionId: new(id)}
		}
		phone.send(pdu.CmdRemoveSessionRes, 3, req(single, 2)) // as iOS asks
		phone.expect(want{pdu.CmdRemoveSessionRes, 3, rsp(0, single, 2)})
		pc.expect(want{pdu.CmdRemoveSessionNotify, 0, &pb.IMRemoveSessionNotify{UserId: new(uint32(1)), SessionType: single, SessionId: new(uint32(2))}})
		pc.send(pdu.CmdRemoveSessionReq, 4, req(single, 2)) // gone already
		pc.expect(want{pdu.CmdRemoveSessionRes, 4, rsp(1, single, 2)})
		phone.expect()
		pc.send(pdu.CmdRemoveSessionReq, 5, req(group, 7)) // not told to the others
		pc.expect(want{pdu.CmdRemoveSessionRes, 5, rsp(0, group, 7)})
		phone.expect()
	})
}

// [TT-BUDDY-7] [TT-BUDDY-8] [TT-DIFF-8]
func TestProfileChanges(t *testing.T) {
	play(t, nil, func(s *stage) {
		pc, phone, other := s.login(1, windows), s.login(1, ios), s.login(2, android)
		s.settle(pc, phone, other)
		pc.send(pdu.CmdChangeSignReq, 1, &pb.IMChangeSignInfoReq{UserId: new(uint32(0)), SignInfo: new("hi")})
		told := want{pdu.CmdSignNotify, 0, &pb.IMSignInfoChangedNotify{ChangedUserId: new(uint32(1)), SignInfo: new("hi")}}
		wantBoth(t, pc, want{pdu.CmdChangeSignRes, 1, &pb.IMChangeSignInfoRsp{UserId: new(uint32(1)), ResultCode: new(uint32(0)), SignInfo: new("hi")}}, told)
		phone.expect(told)
		other.expect(told)
		pc.send(pdu.CmdChangeAvatarReq, 2, &pb.IMChangeAvatarReq{UserId: new(uint32(0)), AvatarUrl: new("http://a/b.png")})
		told = want{pdu.CmdAvatarNotify, 0, &pb.IMAvatarChangedNotify{ChangedUserId: new(uint32(1)), AvatarUrl: new("http://a/b.png")}}
		wantBoth(t, pc, want{pdu.CmdChangeAvatarRes, 2, &pb.IMChangeAvatarRsp{UserId: new(uint32(1)), ResultCode: new(uint32(0))}}, told)
		phone.expect(told)
		other.expect(told)
		s.failWith(protocol.Errorf(protocol.CodeTooLarge, "too long"))
		pc.send(pdu.CmdChangeSignReq, 3, &pb.IMChangeSignInfoReq{UserId: new(uint32(0)), SignInfo: new("hi")})
		pc.send(pdu.CmdChangeAvatarReq, 4, &pb.IMChangeAvatarReq{UserId: new(uint32(0)), AvatarUrl: new("")})
		pc.expect(
			want{pdu.CmdChangeSignRes, 3, &pb.IMChangeSignInfoRsp{UserId: new(uint32(1)), ResultCode: new(uint32(1))}},
			want{pdu.CmdChangeAvatarRes, 4, &pb.IMChangeAvatarRsp{UserId: new(uint32(1)), ResultCode: new(uint32(1))}},
		)
	})
}

// wantBoth expects two PDUs whose order is not promised.
func wantBoth(t *testing.T, c *client, a, b want) {
	t.Helper()
	got := c.take()
	if len(got) != 2 {
		t.Fatalf("%d PDUs", len(got))
	}
	if got[0].Header.Command != a.cmd {
		a, b = b, a
	}
	compare(t, got[0], a)
	compare(t, got[1], b)
}

func online(u uint32, is bool) want {
	return want{pdu.CmdUserStatusNotify, 0, &pb.IMUserStatNotify{UserStat: userStat(protocol.UserID(u), is)}}
}

func pcStatus(u uint32, is bool) want {
	return want{pdu.CmdPCStatusNotify, 0, &pb.IMPCLoginStatusNotify{UserId: new(u), LoginStat: statusToWire(is)}}
}

// [TT-PRES-1]
func TestUsersStatus(t *testing.T) {
	play(t, nil, func(s *stage) {
		pc := s.login(1, windows)
		s.login(2, android)
		s.settle(pc)
		pc.send(pdu.CmdUsersStatusReq, 6, &pb.IMUsersStatReq{UserId: new(uint32(0)), UserIdList: []uint32{5000, 2, 1}})
		pc.expect(want{pdu.CmdUsersStatusRes, 6, &pb.IMUsersStatRsp{UserId: new(uint32(1)),
			UserStatList: []*pb.UserStat{userStat(5000, false), userStat(2, false), userStat(1, true)}}})
	})
}

// [TT-PRES-2] [TT-PRES-3] [TT-DIFF-7]
func TestPresence(t *testing.T) {
	play(t, nil, func(s *stage) {
		watcher, phone := s.login(1, windows), s.login(2, ios)
		s.settle(watcher, phone)
		second := time.Second

		pc := s.login(2, windows)
		pass(second)
		watcher.expect(online(2, true))
		phone.expect(pcStatus(2, true))
		phone2 := s.dial() // another mobile learns that the PC is there
		phone2.send(pdu.CmdLoginReq, 1, loginReq("user2", android))
		phone2.expect(want{pdu.CmdLoginRes, 1, nil}, pcStatus(2, true))
		watcher.expect() // nobody else hears of mobiles

		pc.close() // comes back within the grace
		pass(2 * second)
		pc = s.login(2, mac)
		pass(10 * second)
		watcher.expect(online(2, true))
		phone2.expect(pcStatus(2, true))

		pc.close()
		pass(2900 * time.Millisecond)
		watcher.expect()
		pass(200 * time.Millisecond)
		watcher.expect(online(2, false))
		phone2.expect(pcStatus(2, false))

		s.login(2, windows).close() // the grace counts from the last time
		pass(2 * second)
		s.login(2, windows).close()
		watcher.expect(online(2, true), online(2, true))
		pass(2900 * time.Millisecond)
		watcher.expect()
		pass(200 * time.Millisecond)
		watcher.expect(online(2, false))

		pc = s.login(2, windows)
		s.settle(watcher, phone2)
		pc.send(pdu.CmdLogoutReq, 1, nil) // at once
		pass(200 * time.Millisecond)
		watcher.expect(online(2, false))
		phone2.expect(pcStatus(2, false))
		pass(10 * second)
		watcher.expect()
	})
}

// [TT-PRES-2]: between two rounds only the last state of a user counts.
func TestPresenceIsCoalesced(t *testing.T) {
	play(t, nil, func(s *stage) {
		watcher := s.login(1, windows)
		s.settle(watcher)
		s.Signal(protocol.PresenceChanged{User: 9, Online: true}) // the first goes out at once
		watcher.expect(online(9, true))
		for range 10 {
			s.Signal(protocol.PresenceChanged{User: 3, Online: true})
			s.Signal(protocol.PresenceChanged{User: 2, Online: true})
			s.Signal(protocol.PresenceChanged{User: 3, Online: false})
		}
		watcher.expect()
		pass(200 * time.Millisecond)
		watcher.expect(online(2, true), online(3, false))
	})
}

// Presence is dropped where it finds no room, and ends no session.
func TestPresenceIsDroppedFirst(t *testing.T) {
	play(t, func(c *Config) { c.Limits.QueueBytes = 1000 }, func(s *stage) {
		watcher := s.login(1, windows)
		s.settle(watcher)
		resume := watcher.stopReading()
		for u := range protocol.UserID(100) {
			s.Signal(protocol.PresenceChanged{User: u + 10, Online: true})
		}
		pass(time.Second)
		resume()
		n := len(watcher.take())
		if !watcher.isOpen() {
			t.Fatal("presence ended the session")
		}
		if dropped := s.metric("dropped_total", "presence"); n == 0 || dropped == 0 || float64(n)+dropped != 100 {
			t.Errorf("%d came, %v dropped", n, dropped)
		}
	})
}

func TestPresenceBoardIsBounded(t *testing.T) {
	b := newPresenceBoard(256 << 10)
	for u := range protocol.UserID(boardUsers) {
		if !b.add(u, true) {
			t.Fatalf("no room for user %d", u)
		}
	}
	if b.add(boardUsers, true) || !b.add(0, false) {
		t.Error("a full board takes a new user, or no news of an old one")
	}
}

// A node with very many users dies: a session that reads is told of each, in rounds that it has room for.
func TestPresenceOfVeryMany(t *testing.T) {
	play(t, func(c *Config) { c.Limits.QueueBytes = 16 << 10 }, func(s *stage) {
		watcher := s.login(1, windows)
		s.settle(watcher)
		const gone = 50_000
		for u := range protocol.UserID(gone) {
			s.Signal(protocol.PresenceChanged{User: 1000 + u})
		}
		pass(2 * time.Minute)
		if n := len(watcher.take()); n != gone || s.metric("dropped_total", "*") != 0 {
			t.Errorf("%d came, %v dropped", n, s.metric("dropped_total", "*"))
		}
	})
}
