package gateway

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pb/sessionpb"
	"teamtalk/protocol/pdu"
)

// [TT-SESS-8]: ten live devices; one more ends the one that has asked for nothing for the longest time, heartbeats not counted; legacy sessions have a rule
// of their own.
func TestDevices(t *testing.T) {
	play(t, nil, func(s *stage) {
		legacy, phone := s.login(1, windows), s.login(1, ios)
		var all []*device
		for i := range 10 {
			all = append(all, s.enter(1, fmt.Sprint("device ", i), windows))
			pass(time.Second)
		}
		all[0].send(pdu.CmdTimeReq, 1, &pb.IMClientTimeReq{})
		all[1].write(beat(1)) // is no use
		synctest.Wait()
		for _, d := range all {
			d.take()
		}
		newest := s.enter(1, "one more", mac)
		b := all[1].expectBye(protocol.CodeKicked)
		if b.GetMessage() != byeTexts[reasonDevices] {
			t.Errorf("got %v", b)
		}
		all[1].expectEnd()
		for _, c := range append([]*client{legacy, phone, newest.client, all[0].client}, all[2].client, all[9].client) {
			if !c.isOpen() {
				t.Errorf("a session of user %d ended", c.user)
			}
		}
		again := s.login(1, mac) // kicks the legacy one only
		pass(4 * time.Second)
		if legacy.isOpen() || !again.isOpen() || !all[2].isOpen() || !newest.isOpen() {
			t.Error("the legacy rule")
		}
		if n := s.metric("sessions"); n != 12 {
			t.Errorf("%v sessions", n)
		}
	})
}

// [TT-SESS-9] [TT-SESS-7]: the user's phone ends all sessions of the PC class, and their tokens.
func TestKickPCExtended(t *testing.T) {
	for name, extended := range map[string]bool{"from a legacy phone": false, "from an extended one": true} {
		t.Run(name, func(t *testing.T) {
			play(t, nil, func(s *stage) {
				laptop, tab, tablet := s.enter(1, "laptop", terminal), s.enter(1, "tab", web), s.enter(1, "tablet", android)
				legacy := s.login(1, windows)
				phone := s.login(1, ios)
				if extended {
					phone = s.enter(1, "phone", ios).client
				}
				s.settle(laptop.client, tab.client, tablet.client, legacy, phone)
				phone.send(pdu.CmdKickPCReq, 3, &pb.IMKickPCClientReq{UserId: new(uint32(1))})
				laptop.expectBye(protocol.CodeKicked)
				tab.expectBye(protocol.CodeKicked)
				legacy.expect(want{pdu.CmdKickUser, 0, &pb.IMKickUser{UserId: new(uint32(1)), KickReason: pb.KickReasonType_KICK_REASON_MOBILE_KICK.Enum()}})
				got := phone.take()
				if len(got) == 0 || got[0].Header.Command != pdu.CmdKickPCRes || got[0].Header.Seq != 3 {
					t.Errorf("got %v", commandsOf(got))
				}
				if !legacy.isOpen() || !tablet.isOpen() {
					t.Error("ended at once, or a mobile one")
				}
				pass(4 * time.Second)
				legacy.expectEnd()
				laptop.again()
				if w := decoded[*sessionpb.Welcome](laptop.client, laptop.next()); w.GetVerdict() != sessionpb.Verdict_REFUSED {
					t.Errorf("got %v", w)
				}
				tab = s.enter(1, "tab", web) // and it may log in again
				if !tab.isOpen() {
					t.Error("cannot log in")
				}
			})
		})
	}
}

// [TT-SESS-9]: a kick that can't be committed says so and ends nothing.
func TestKickPCFails(t *testing.T) {
	play(t, nil, func(s *stage) {
		pc, phone := s.login(1, windows), s.login(1, ios)
		s.settle(pc, phone)
		s.failWith(protocol.Errorf(protocol.CodeUnavailable, "no leader"))
		phone.send(pdu.CmdKickPCReq, 3, &pb.IMKickPCClientReq{UserId: new(uint32(1))})
		phone.expect(want{pdu.CmdKickPCRes, 3, &pb.IMKickPCClientRsp{UserId: new(uint32(1)), ResultCode: new(uint32(1))}})
		pc.expect()
	})
}

// [TT-SESS-7]: logging out makes the device's tokens useless, and leaves other devices alone.
func TestExtendedLogout(t *testing.T) {
	play(t, nil, func(s *stage) {
		d, other := s.enter(1, "laptop", windows), s.enter(1, "other", windows)
		s.settle(d.client, other.client)
		s.failWith(protocol.Errorf(protocol.CodeUnavailable, "no leader"))
		d.send(pdu.CmdLogoutReq, 1, &pb.IMLogoutReq{})
		d.expect(want{pdu.CmdLogoutRes, 1, &pb.IMLogoutRsp{ResultCode: new(uint32(1))}})
		s.failWith(nil)
		d.send(pdu.CmdLogoutReq, 2, &pb.IMLogoutReq{})
		got := d.expectCommands(pdu.CmdLogoutRes, pdu.CmdCursor, pdu.CmdBye)
		compare(t, got[0], want{pdu.CmdLogoutRes, 2, &pb.IMLogoutRsp{ResultCode: new(uint32(0))}})
		d.expectEnd()
		d.again()
		if w := decoded[*sessionpb.Welcome](d.client, d.next()); w.GetVerdict() != sessionpb.Verdict_REFUSED {
			t.Errorf("got %v", w)
		}
		if !other.isOpen() {
			t.Error("another device was logged out")
		}
	})
}

// [TT-SESS-7]: a new password ends all sessions, on whatever node it was set; a session that began after it stays.
func TestRevokeAll(t *testing.T) {
	play(t, nil, func(s *stage) {
		d, legacy := s.enter(1, "laptop", windows), s.login(1, ios)
		s.settle(d.client, legacy)
		if err := s.Revoke(t.Context(), protocol.RevokeSessions{User: 1, Scope: protocol.RevokeAll}); err != nil {
			t.Fatal(err)
		}
		d.expectBye(protocol.CodeUnauthenticated)
		legacy.expectEnd()
		fresh := s.enter(2, "laptop", windows)
		fresh.take()
		s.mu.Lock()
		e := protocol.Event{At: protocol.Position{Index: 0}, Body: protocol.AccessRevoked{User: 2, Scope: protocol.RevokeAll}}
		s.mu.Unlock()
		s.events.put(e)
		fresh.expect()
		if !fresh.isOpen() {
			t.Error("ended by what came before it")
		}
	})
}

// [TT-SESS-8]: a full server takes an extended session only in place of the same device's.
func TestExtendedFull(t *testing.T) {
	play(t, func(c *Config) { c.Limits.Connections = 1 }, func(s *stage) {
		d := s.enter(1, "laptop", windows)
		c := s.dial()
		c.send(pdu.CmdHello, 1, helloOf("other", windows))
		c.next()
		c.send(pdu.CmdLoginReq, 2, loginReq("user1", windows))
		got := c.expectCommands(pdu.CmdLoginRes, pdu.CmdBye)
		if r := decoded[*pb.IMLoginRes](c, got[0]); r.GetResultCode() != pb.ResultType_REFUSE_REASON_MSG_SERVER_FULL {
			t.Errorf("got %v", r)
		}
		d.again()
		d.take()
		if !d.isOpen() {
			t.Error("the same device was refused")
		}
	})
}
