package gateway

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

const (
	windows = pb.ClientType_CLIENT_TYPE_WINDOWS
	mac     = pb.ClientType_CLIENT_TYPE_MAC
	ios     = pb.ClientType_CLIENT_TYPE_IOS
	android = pb.ClientType_CLIENT_TYPE_ANDROID
)

// [TT-LOGIN-4]
func TestLogin(t *testing.T) {
	play(t, nil, func(s *stage) {
		c := s.dial()
		req := loginReq("user1", windows)
		req.OnlineStatus = pb.UserStatType_USER_STATUS_LEAVE.Enum()
		c.send(pdu.CmdLoginReq, 0xff03, req)
		pass(time.Second)
		c.expect(
			want{pdu.CmdLoginRes, 0xff03, &pb.IMLoginRes{
				ServerTime:   new(uint32(946684800)),
				ResultCode:   pb.ResultType_REFUSE_REASON_NONE.Enum(),
				ResultString: new("成功"),
				OnlineStatus: pb.UserStatType_USER_STATUS_LEAVE.Enum(),
				UserInfo:     userToWire(testUser(1)),
			}},
			want{pdu.CmdUserStatusNotify, 0, &pb.IMUserStatNotify{UserStat: userStat(1, true)}},
		)
		c.send(pdu.CmdLoginReq, 5, loginReq("user2", windows)) // [TT-LOGIN-5]
		c.expect()
		if s.metric("sessions", "pc") != 1 || s.metric("logins_total", "REFUSE_REASON_NONE") != 1 {
			t.Error("the login is not counted")
		}
	})
}

// A push that is sent while the login is being answered comes, and after the answer [TT-LOGIN-4].
func TestPushDuringLogin(t *testing.T) {
	var srv *Server
	during := &duringLogin{push: func(u protocol.UserID) {
		srv.deliverP2P(protocol.P2PSent{From: 2, To: u, Data: "x"})
	}}
	play(t, func(c *Config) { during.Presence, c.Presence = c.Presence, during }, func(s *stage) {
		srv = s.srv
		c := s.dial()
		c.send(pdu.CmdLoginReq, 7, loginReq("user1", android))
		synctest.Wait()
		c.expect(
			want{pdu.CmdLoginRes, 7, &pb.IMLoginRes{
				ServerTime:   new(uint32(946684800)),
				ResultCode:   pb.ResultType_REFUSE_REASON_NONE.Enum(),
				ResultString: new("成功"),
				OnlineStatus: pb.UserStatType_USER_STATUS_ONLINE.Enum(),
				UserInfo:     userToWire(testUser(1)),
			}},
			want{pdu.CmdP2P, 0, &pb.IMP2PCmdMsg{FromUserId: new(uint32(2)), ToUserId: new(uint32(1)), CmdMsgData: new("x")}},
		)
	})
}

// duringLogin is a presence table that does something at the moment in which a session becomes known.
type duringLogin struct {
	Presence
	push func(protocol.UserID)
}

func (d *duringLogin) Join(s protocol.LiveSession, instead ...protocol.ConnID) {
	d.Presence.Join(s, instead...)
	d.push(s.User)
}

// [TT-LOGIN-3] [TT-LOGIN-6] [TT-LOGIN-7] [TT-LOGIN-12] [TT-DIFF-3] [TT-DIFF-4] [TT-DIFF-26]
func TestLoginRefused(t *testing.T) {
	wrongPassword := loginReq("user1", windows)
	wrongPassword.Password = new("x")
	for name, tc := range map[string]struct {
		req    *pb.IMLoginReq
		fail   error
		result pb.ResultType
		text   string
	}{
		"wrong password": {wrongPassword, nil, pb.ResultType_REFUSE_REASON_DB_VALIDATE_FAILED, "用户名/密码错误"},
		"unknown name":   {loginReq("nobody", windows), nil, pb.ResultType_REFUSE_REASON_DB_VALIDATE_FAILED, "用户名/密码错误"},
		"injection":      {loginReq("user6' or '1'='1", windows), nil, pb.ResultType_REFUSE_REASON_DB_VALIDATE_FAILED, "用户名/密码错误"},
		"throttled": {loginReq("user1", windows), protocol.Errorf(protocol.CodeRateLimited, "用户名/密码错误次数太多"),
			pb.ResultType_REFUSE_REASON_DB_VALIDATE_FAILED, "用户名/密码错误次数太多"},
		"no leader": {loginReq("user1", windows), protocol.Errorf(protocol.CodeUnavailable, "no leader"),
			pb.ResultType_REFUSE_REASON_NO_DB_SERVER, textUnavailable},
		"our fault": {loginReq("user1", windows), protocol.Errorf(protocol.CodeInternal, "secret"),
			pb.ResultType_REFUSE_REASON_NO_DB_SERVER, textUnavailable},
		"web":      {loginReq("user1", pb.ClientType_CLIENT_TYPE_WEB), nil, pb.ResultType_REFUSE_REASON_DB_VALIDATE_FAILED, textClient},
		"terminal": {loginReq("user1", pb.ClientType_CLIENT_TYPE_TERMINAL), nil, pb.ResultType_REFUSE_REASON_DB_VALIDATE_FAILED, textClient},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, nil, func(s *stage) {
				s.failWith(tc.fail)
				c := s.dial()
				began := time.Now()
				c.send(pdu.CmdLoginReq, 9, tc.req)
				c.expect(want{pdu.CmdLoginRes, 9, &pb.IMLoginRes{ServerTime: new(uint32(946684800)), ResultCode: tc.result.Enum(), ResultString: new(tc.text)}})
				if !c.expectEnd().Equal(began) {
					t.Error("the connection did not end at once")
				}
				if strings.Contains(s.log.String(), tc.req.GetPassword()+"\n") || strings.Contains(s.log.String(), "password="+tc.req.GetPassword()) {
					t.Error("the password is in the log")
				}
			})
		})
	}
}

// [TT-LOGIN-1] [TT-DIFF-1]
func TestBeforeLogin(t *testing.T) {
	for _, cmd := range []pdu.Command{pdu.CmdTimeReq, pdu.CmdLogoutReq, pdu.CmdP2P, pdu.CmdMsgData, pdu.CmdUnreadReq, pdu.CmdDelOfflineFile, pdu.CmdWelcome, pdu.CmdAck, pdu.CmdBye, 0x0a01, 0} {
		play(t, nil, func(s *stage) {
			victim := s.login(2, windows)
			s.settle(victim)
			c := s.dial()
			c.write(pdu.AppendRaw(nil, pdu.Header{Command: pdu.CmdHeartbeat, Seq: 4, Version: 1, Service: 7}, nil))
			c.expect(want{pdu.CmdHeartbeat, 4, nil})
			c.write(pdu.AppendRaw(nil, pdu.Header{Command: cmd}, []byte("\x08\x01\x10\x02\x1a\x01x")))
			c.expectEnd()
			c.expect()
			victim.expect()
			if s.metric("closed_total", string(reasonNotLoggedIn)) != 1 {
				t.Errorf("%v: not counted", cmd)
			}
		})
	}
}

// [TT-LOGIN-2]
func TestLoginDeadline(t *testing.T) {
	play(t, nil, func(s *stage) {
		began := time.Now()
		c := s.dial()
		for range 14 {
			pass(time.Second)
			c.write(pdu.AppendRaw(nil, pdu.Header{Command: pdu.CmdHeartbeat}, nil)) // does not help
		}
		pass(2 * time.Second)
		if d := c.expectEnd().Sub(began); d != 15*time.Second {
			t.Errorf("closed after %v", d)
		}
	})
}

// [TT-HB-2] [TT-DIFF-2]
func TestIdleDeadlines(t *testing.T) {
	for ct, limit := range map[pb.ClientType]time.Duration{windows: 120 * time.Second, android: 300 * time.Second} {
		play(t, nil, func(s *stage) {
			c := s.login(1, ct)
			pass(100 * time.Second)
			c.write(pdu.AppendRaw(nil, pdu.Header{Command: pdu.CmdHeartbeat}, nil))
			began := time.Now()
			for range 10 { // bytes of a PDU that never ends are no sign of life
				pass(time.Second)
				c.write([]byte{0})
			}
			pass(limit - 11*time.Second)
			if !c.isOpen() {
				t.Fatalf("%v closed too early", ct)
			}
			pass(2 * time.Second)
			if d := c.expectEnd().Sub(began); d != limit {
				t.Errorf("%v closed after %v", ct, d)
			}
			if s.metric("closed_total", string(reasonIdle)) != 1 {
				t.Error("not counted")
			}
		})
	}
}

// [TT-KICK-1] [TT-KICK-2] [TT-DIFF-5]
func TestDuplicateLoginKicks(t *testing.T) {
	play(t, nil, func(s *stage) {
		old, phone, other := s.login(1, windows), s.login(1, ios), s.login(2, windows)
		s.settle(old, phone, other)
		began := time.Now()
		young := s.login(1, mac) // Windows and Mac are one class
		old.expect(want{pdu.CmdKickUser, 0, &pb.IMKickUser{UserId: new(uint32(1)), KickReason: pb.KickReasonType_KICK_REASON_DUPLICATE_USER.Enum()}})
		if !old.isOpen() || !phone.isOpen() {
			t.Fatal("closed without grace, or the wrong one")
		}
		s.settle(young, phone, other)
		old.send(pdu.CmdMsgData, 3, text(2, "from the kicked one")) // neither carried out nor answered
		other.send(pdu.CmdMsgData, 4, text(1, "to user 1"))
		other.expect(want{pdu.CmdMsgDataAck, 4, nil})
		young.expect(want{pdu.CmdMsgData, 0, nil})
		phone.expect(want{pdu.CmdMsgData, 0, nil})
		pass(3 * time.Second)
		old.expect()
		if d := old.expectEnd().Sub(began); d != 3*time.Second {
			t.Errorf("closed after %v", d)
		}
		if !young.isOpen() || s.metric("sessions", "pc") != 2 || s.metric("closed_total", string(reasonDuplicate)) != 1 {
			t.Error("the newer session suffered, or the counts are wrong")
		}
	})
}

// [TT-KICK-2]: a client that closes is not waited for.
func TestKickedClientCloses(t *testing.T) {
	play(t, nil, func(s *stage) {
		old := s.login(1, windows)
		s.login(1, windows)
		old.close()
		old.mu.Lock()
		defer old.mu.Unlock()
		if !old.served {
			t.Error("still served")
		}
	})
}

// [TT-KICK-3]
func TestKickPC(t *testing.T) {
	play(t, nil, func(s *stage) {
		pc, phone := s.login(1, windows), s.login(1, android)
		s.settle(pc, phone)
		pc.send(pdu.CmdKickPCReq, 5, &pb.IMKickPCClientReq{UserId: new(uint32(0))})
		pc.expect() // ignored from a PC
		answer := &pb.IMKickPCClientRsp{UserId: new(uint32(1)), ResultCode: new(uint32(0))}
		phone.send(pdu.CmdKickPCReq, 6, &pb.IMKickPCClientReq{UserId: new(uint32(0))})
		phone.expect(want{pdu.CmdKickPCRes, 6, answer})
		pc.expect(want{pdu.CmdKickUser, 0, &pb.IMKickUser{UserId: new(uint32(1)), KickReason: pb.KickReasonType_KICK_REASON_MOBILE_KICK.Enum()}})
		phone.send(pdu.CmdKickPCReq, 7, &pb.IMKickPCClientReq{UserId: new(uint32(0))})
		phone.expect(want{pdu.CmdKickPCRes, 7, answer}) // nobody there
	})
}

// [TT-LOGIN-8] [TT-DIFF-6]
func TestLogout(t *testing.T) {
	for ct, left := range map[pb.ClientType]string{windows: "token", ios: ""} {
		play(t, nil, func(s *stage) {
			s.tokens[1] = "token"
			c := s.login(1, ct)
			s.settle(c)
			c.write(append(encode(t, pdu.CmdLogoutReq, 8, nil), encode(t, pdu.CmdMsgData, 9, text(2, "too late"))...))
			c.expect(want{pdu.CmdLogoutRes, 8, &pb.IMLogoutRsp{ResultCode: new(uint32(0))}})
			c.expectEnd()
			if len(s.allBegun()) != 0 {
				t.Error("a message behind the logout was carried out")
			}
			if s.tokens[1] != left {
				t.Errorf("%v: the token is now %q", ct, s.tokens[1])
			}
		})
	}
}

// [TT-LOGIN-9] [TT-DIFF-6]
func TestDeviceToken(t *testing.T) {
	play(t, nil, func(s *stage) {
		pc, phone := s.login(1, windows), s.login(1, ios)
		s.settle(pc, phone)
		req := &pb.IMDeviceTokenReq{UserId: new(uint32(77)), DeviceToken: new("abc")}
		pc.send(pdu.CmdDeviceTokenReq, 1, req)
		pc.expect()
		phone.send(pdu.CmdDeviceTokenReq, 2, req)
		phone.expect(want{pdu.CmdDeviceTokenRes, 2, &pb.IMDeviceTokenRsp{UserId: new(uint32(1))}})
		if len(s.tokens) != 1 || s.tokens[1] != "abc" {
			t.Errorf("tokens: %v", s.tokens)
		}
	})
}

// [TT-LOGIN-10]
func TestPushShield(t *testing.T) {
	play(t, nil, func(s *stage) {
		c := s.login(1, ios)
		c.send(pdu.CmdPushShieldReq, 1, &pb.IMPushShieldReq{UserId: new(uint32(0)), ShieldStatus: new(uint32(1))})
		c.send(pdu.CmdQueryPushShieldReq, 2, &pb.IMQueryPushShieldReq{UserId: new(uint32(0))})
		c.expect(
			want{pdu.CmdPushShieldRes, 1, &pb.IMPushShieldRsp{UserId: new(uint32(1)), ResultCode: new(uint32(0)), ShieldStatus: new(uint32(1))}},
			want{pdu.CmdQueryPushShieldRes, 2, &pb.IMQueryPushShieldRsp{UserId: new(uint32(1)), ResultCode: new(uint32(0)), ShieldStatus: new(uint32(1))}},
		)
		s.failWith(protocol.Errorf(protocol.CodeUnavailable, "no leader"))
		c.send(pdu.CmdPushShieldReq, 3, &pb.IMPushShieldReq{UserId: new(uint32(0)), ShieldStatus: new(uint32(0))})
		c.send(pdu.CmdQueryPushShieldReq, 4, &pb.IMQueryPushShieldReq{UserId: new(uint32(0))})
		c.expect(
			want{pdu.CmdPushShieldRes, 3, &pb.IMPushShieldRsp{UserId: new(uint32(1)), ResultCode: new(uint32(1))}},
			want{pdu.CmdQueryPushShieldRes, 4, &pb.IMQueryPushShieldRsp{UserId: new(uint32(1)), ResultCode: new(uint32(1))}},
		)
	})
}

// [TT-LIMIT-2]: whoever has a network of IPv6 addresses is one.
func TestStrangersOfANetwork(t *testing.T) {
	r, l := newRegistry(), &Limits{UnauthenticatedPerAddress: 1, Unauthenticated: 10}
	from := func(a string) *session { return &session{addr: netip.MustParseAddr(a)} }
	first, second := from("2001:db8::1"), from("2001:db8::2")
	for _, c := range []struct {
		s    *session
		want refusal
	}{{first, ""}, {second, refusedAddress}, {from("2001:db8:0:1::1"), ""}, {from("192.0.2.1"), ""}, {from("192.0.2.2"), ""}} {
		if got := r.open(c.s, l); got != c.want {
			t.Errorf("%v: %q, want %q", c.s.addr, got, c.want)
		}
	}
	r.vouch(first)
	if got := r.open(second, l); got != "" {
		t.Errorf("no place for the next one: %q", got)
	}
}

// [TT-LIMIT-2] and the limits of all together.
func TestConnectionLimits(t *testing.T) {
	limits := func(c *Config) {
		c.Limits.UnauthenticatedPerAddress = 2
		c.Limits.Connections = 2
	}
	play(t, limits, func(s *stage) {
		a, b := s.dial(), s.dial() // pipes all have the same, invalid, address
		if !a.isOpen() || !b.isOpen() {
			t.Fatal("refused although there is room")
		}
		a.close()
		if a = s.dial(); !a.isOpen() {
			t.Fatal("those that have gone still count")
		}
		c := s.dial()
		c.expectEnd()
		a.send(pdu.CmdLoginReq, 1, loginReq("user1", windows))
		if !a.isOpen() {
			t.Fatal("refused")
		}
		d := s.dial() // a logged-in one does not count
		d.send(pdu.CmdLoginReq, 1, loginReq("user2", windows))
		if !b.isOpen() || !d.isOpen() || s.metric("refused_total", string(refusedAddress)) != 1 {
			t.Fatal("refused although there is room")
		}
		b.send(pdu.CmdLoginReq, 1, loginReq("user3", windows)) // [TT-LOGIN-12]
		got := b.take()
		if len(got) != 1 {
			t.Fatalf("got %v", got)
		}
		m := compare(t, got[0], want{pdu.CmdLoginRes, 1, nil})
		if r := m.(*pb.IMLoginRes); r.GetResultCode() != pb.ResultType_REFUSE_REASON_MSG_SERVER_FULL || r.GetResultString() == "" {
			t.Errorf("got %v", m)
		}
		b.expectEnd()
		s.login(1, windows) // in place of the older one
	})
}

// A password that takes its time holds up nobody else.
func TestSlowLogin(t *testing.T) {
	play(t, nil, func(s *stage) {
		s.authWait = make(chan struct{})
		slow := s.dial()
		slow.send(pdu.CmdLoginReq, 1, loginReq("slow", windows))
		s.login(1, windows)
		slow.expect()
		close(s.authWait)
		if got := slow.take(); len(got) == 0 || got[0].Header.Command != pdu.CmdLoginRes {
			t.Errorf("got %v", got)
		}
	})
}

// The sessions of a user whose access ends are closed, after what they have to get.
func TestAccessRevoked(t *testing.T) {
	play(t, nil, func(s *stage) {
		pc, phone, other := s.login(1, windows), s.login(1, ios), s.login(2, windows)
		s.settle(pc, phone, other)
		s.publish(protocol.AccessRevoked{User: 1, Reason: "password changed"})
		pc.expectEnd()
		phone.expectEnd()
		if !other.isOpen() || s.metric("closed_total", string(reasonRevoked)) != 2 {
			t.Error("wrong sessions ended")
		}
	})
}

func text(to uint32, s string) *pb.IMMsgData {
	return msg(to, pb.MsgType_MSG_TYPE_SINGLE_TEXT, s)
}

func groupText(to uint32, s string) *pb.IMMsgData {
	return msg(to, pb.MsgType_MSG_TYPE_GROUP_TEXT, s)
}

func msg(to uint32, kind pb.MsgType, s string) *pb.IMMsgData {
	return &pb.IMMsgData{FromUserId: new(uint32(0)), ToSessionId: new(to), MsgId: new(uint32(0)), CreateTime: new(uint32(0)), MsgType: kind.Enum(), MsgData: []byte(s)}
}
