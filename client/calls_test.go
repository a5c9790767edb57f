package client_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"teamtalk/client"
	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pb/chatpb"
	"teamtalk/protocol/pdu"
)

func TestReads(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		c := r.open()
		ctx := t.Context()
		r.server.says("one")
		r.message("one")
		check := func(what string, ok bool, err error) {
			t.Helper()
			if err != nil || !ok {
				t.Errorf("%s: %v", what, err)
			}
		}
		history, err := c.History(ctx, inAlice(), 0, 10)
		check("history", len(history.Items) == 1 && history.Items[0].Text == "one" && !history.Stale, err)
		byID, err := c.MessagesByID(ctx, inAlice(), 1)
		check("by id", len(byID.Items) == 1 && byID.Items[0].From == aliceID, err)
		recent, err := c.Recent(ctx, time.Time{})
		check("recent", len(recent.Items) == 1 && recent.Items[0].Latest.Text == "latest" && recent.Items[0].Latest.Mine, err)
		unread, err := c.Unread(ctx)
		check("unread", len(unread.Items) == 1 && unread.Items[0].Latest.Text == "[语音]" && unread.Items[0].Session == protocol.InGroup(9), err)
		users, err := c.Users(ctx, aliceID)
		check("users", len(users.Items) == 1 && users.Items[0].Name == "alice", err)
		all, err := c.AllUsers(ctx, time.Unix(1, 0))
		check("all users", len(all.Items) == 1 && all.Latest.Equal(time.Unix(50, 0)), err)
		if more, ok := r.event().(*client.More); !ok || len(more.Users) != 1 || more.Users[0].ID != aliceID {
			t.Errorf("%+v", more)
		}
		depts, err := c.Departments(ctx, time.Time{})
		check("departments", len(depts.Items) == 1 && depts.Items[0].Deleted && depts.Items[0].Name == "sales", err)
		list, err := c.Groups(ctx)
		check("groups", len(list.Items) == 1 && list.Items[0].ID == 9 && list.Stale, err) // [TT-SESS-18]
		info, err := c.GroupInfo(ctx, list.Items...)
		check("group info", len(info.Items) == 1 && info.Items[0].Shielded && len(info.Items[0].Members) == 2, err)
	})
}

func TestWrites(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		c := r.open()
		ctx := t.Context()
		g, err := c.CreateGroup(ctx, "team", aliceID)
		if err != nil || g != 9 {
			t.Errorf("%d, %v", g, err)
		}
		members, err := c.ChangeMembers(ctx, g, protocol.MembersAdd, 12)
		if err != nil || !slices.Equal(members, []protocol.UserID{7}) {
			t.Errorf("%v, %v", members, err)
		}
		for what, err := range map[string]error{
			"leave": c.Leave(ctx, g), "shield": c.ShieldGroup(ctx, g, true), "remove": c.RemoveSession(ctx, inAlice()), "kick": c.KickPC(ctx),
			"sign": c.Sign(ctx, "hi"), "avatar": c.Avatar(ctx, "https://a/b.png"), "signal": c.Signal(ctx, aliceID, "{}"),
		} {
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
		if err := c.Sign(ctx, string(make([]byte, 200))); protocol.CodeOf(err) != protocol.CodeForbidden {
			t.Errorf("long signature: %v", err)
		}
		if _, err := c.ChangeMembers(ctx, 404, protocol.MembersAdd, 12); protocol.CodeOf(err) != protocol.CodeNotFound {
			t.Errorf("no such group: %v", err) // [TT-SESS-14]
		}
		<-time.After(time.Second)
		if r.server.count(pdu.CmdP2P) != 1 {
			t.Error("no signal")
		}
	})
}

// A read is asked again when the connection breaks under it; a write that may have happened is not.
func TestInterrupted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		c := r.open()
		r.drain()
		var armed atomic.Bool
		armed.Store(true)
		r.server.hook = func(c *fakeConn, p pdu.PDU) bool {
			if (p.Header.Command != pdu.CmdMsgListReq && p.Header.Command != pdu.CmdGroupCreateReq) || !armed.Swap(false) {
				return false
			}
			c.breaks(io.ErrUnexpectedEOF, true) // for all the client knows, it was carried out
			return true
		}
		if _, err := c.History(t.Context(), inAlice(), 0, 1); err != nil {
			t.Error(err)
		}
		if n := r.server.count(pdu.CmdMsgListReq); n != 2 {
			t.Errorf("asked %d times", n)
		}
		armed.Store(true)
		_, err := c.CreateGroup(t.Context(), "team", aliceID)
		is(t, err, client.ErrInterrupted)
		if n := r.server.count(pdu.CmdGroupCreateReq); n != 1 {
			t.Errorf("asked %d times", n)
		}
		// Without a connection calls wait for one, as long as they may.
		r.net.setDown(true, dialTLS)
		r.server.cut(true)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err = c.CreateGroup(ctx, "team", aliceID)
		is(t, err, context.DeadlineExceeded)
		time.AfterFunc(5*time.Second, func() { r.net.setDown(false, dialTLS) })
		if _, err = c.CreateGroup(t.Context(), "team", aliceID); err != nil {
			t.Error(err)
		}
		if n := r.server.count(pdu.CmdGroupCreateReq); n != 2 {
			t.Errorf("asked %d times: one that had been given up was sent", n)
		}
	})
}

// Presence is asked for again on each connection, and only changes are told [TT-SESS-10].
func TestPresence(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		c := r.open()
		list, err := c.Presence(t.Context(), aliceID)
		if err != nil || len(list.Items) != 1 || !list.Items[0].Online {
			t.Errorf("%v, %v", list, err)
		}
		r.server.current().push(pdu.CmdUserStatusNotify, 0, &pb.IMUserStatNotify{
			UserStat: &pb.UserStat{UserId: u32(uint32(aliceID)), Status: pb.UserStatType_USER_STATUS_OFFLINE.Enum()},
		})
		if p, ok := r.event().(*client.Presence); !ok || p.Online || p.User != aliceID {
			t.Errorf("%+v", p)
		}
		r.server.cut(true)
		if p, ok := r.event().(*client.Presence); !ok || !p.Online {
			t.Errorf("%+v", p)
		}
		r.server.cut(true)
		r.nothing()
		many := make([]protocol.UserID, 1000)
		for i := range many {
			many[i] = protocol.UserID(100 + i)
		}
		if _, err := c.Presence(t.Context(), many...); protocol.CodeOf(err) != protocol.CodeQuota {
			t.Errorf("1,001 users: %v", err)
		}
	})
}

// A read position is sent, and again after a break until it can be taken for known.
func TestMarkRead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		c := r.open()
		r.drain()
		for _, id := range []protocol.MsgID{3, 5, 4} {
			if err := c.MarkRead(t.Context(), inAlice(), id); err != nil {
				t.Error(err)
			}
			<-time.After(time.Millisecond)
		}
		r.server.cut(true)
		<-time.After(time.Minute)
		c.NetworkChanged() // wakes it
		<-time.After(time.Minute)
		r.server.cut(true)
		<-time.After(time.Minute)
		var got []uint32
		r.server.do(func() {
			for _, p := range r.server.got {
				if m := new(pb.IMMsgDataReadAck); p.Header.Command == pdu.CmdReadAck && proto.Unmarshal(p.Body, m) == nil {
					got = append(got, m.GetMsgId())
				}
			}
		})
		if !slices.Equal(got, []uint32{3, 5, 5}) {
			t.Errorf("%v", got)
		}
		if err := c.MarkRead(t.Context(), inAlice(), 0); err == nil {
			t.Error("read up to nothing")
		}
	})
}

// Logout revokes the token and forgets the session, but not the device.
func TestLogout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		storage := &client.MemoryStorage{}
		r.cfg.Storage = storage
		c := r.open()
		r.drain()
		r.server.says("x")
		device := c.Device()
		if err := c.Logout(t.Context()); err != nil {
			t.Fatal(err)
		}
		is(t, c.Err(), client.ErrLoggedOut)
		s, err := storage.Load()
		if err != nil || len(s.Token) > 0 || s.User != 0 || s.Name != "" || s.Cursor != 0 || len(s.Handed) > 0 || s.Device != device {
			t.Errorf("%+v", s)
		}
		if n := len(r.server.conns); n != 1 {
			t.Errorf("%d connections", n)
		}
		r.net.closed = false
		c = r.open()
		r.drain()
		if c.Device() != device || r.server.count(pdu.CmdLoginReq) != 2 {
			t.Error("another device, or no login")
		}
	})
}

// A logout that the server refuses, as without a leader, is none: its token is still good [TT-SESS-7].
func TestLogoutRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		storage := &client.MemoryStorage{}
		r.cfg.Storage = storage
		c := r.open()
		r.drain()
		refuses := true
		r.server.do(func() {
			r.server.hook = func(c *fakeConn, p pdu.PDU) bool {
				if p.Header.Command != pdu.CmdLogoutReq || !refuses {
					return false
				}
				c.push(pdu.CmdLogoutRes, p.Header.Seq, &pb.IMLogoutRsp{ResultCode: u32(1)})
				return true
			}
		})
		if err := c.Logout(t.Context()); err == nil || c.Err() != nil {
			t.Fatalf("logged out: %v, %v", err, c.Err())
		}
		<-time.After(time.Minute) // it is not written at once
		if s, err := storage.Load(); err != nil || len(s.Token) == 0 {
			t.Errorf("forgotten: %+v, %v", s, err)
		}
		r.server.do(func() { refuses = false })
		if err := c.Logout(t.Context()); err != nil {
			t.Error(err)
		}
		is(t, c.Err(), client.ErrLoggedOut)
	})
}

// OnEvent may make calls, and gets the events in order.
func TestOnEvent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		got := make(chan string, 10)
		r.cfg.OnEvent = func(c *client.Client, ev client.Event) {
			m, ok := ev.(*client.Message)
			if !ok || m.Mine {
				return
			}
			o, err := c.Send(t.Context(), m.Session, client.Text("re: "+m.Text))
			if err == nil {
				err = o.Wait(t.Context())
			}
			if err == nil {
				_, err = c.Users(t.Context(), m.From)
			}
			if err != nil {
				t.Error(err)
			}
			got <- m.Text
		}
		r.open()
		for _, text := range []string{"one", "two"} {
			r.server.says(text)
		}
		for _, text := range []string{"one", "two"} {
			if m := <-got; m != text {
				t.Errorf("%q, want %q", m, text)
			}
		}
		if got := r.server.texts(); !slices.Equal(got, []string{"re: one", "re: two"}) {
			t.Errorf("%v", got)
		}
	})
}

// A handler's calls get their answers even when more events wait than the queue may hold.
func TestCallsFromABusyHandler(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		done := make(chan error, 1)
		asked := false
		r.cfg.OnEvent = func(c *client.Client, ev client.Event) {
			if _, ok := ev.(*client.Message); !ok || asked {
				return
			}
			asked = true
			<-time.After(time.Minute) // many events come
			_, err := c.Users(t.Context(), aliceID)
			done <- err
		}
		r.open()
		for range 1000 {
			r.server.says("x")
		}
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(10 * time.Minute):
			t.Error("stuck")
		}
	})
}

// Events of all kinds arrive as what they are.
func TestEvents(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.open()
		single := pb.SessionType_SESSION_TYPE_SINGLE.Enum()
		for _, c := range []struct {
			cmd  pdu.Command
			m    proto.Message
			want func(client.Event) bool
		}{
			{pdu.CmdReadNotify, &pb.IMMsgDataReadNotify{UserId: u32(7), SessionId: u32(8), MsgId: u32(5), SessionType: single},
				func(ev client.Event) bool {
					m, ok := ev.(*client.ReadMoved)
					return ok && m.UpTo == 5 && m.Session == inAlice()
				}},
			{pdu.CmdRemoveSessionNotify, &pb.IMRemoveSessionNotify{UserId: u32(7), SessionId: u32(8), SessionType: single},
				func(ev client.Event) bool { m, ok := ev.(*client.SessionRemoved); return ok && m.Session == inAlice() }},
			{pdu.CmdAvatarNotify, &pb.IMAvatarChangedNotify{ChangedUserId: u32(8), AvatarUrl: proto.String("u")},
				func(ev client.Event) bool {
					m, ok := ev.(*client.ProfileChanged)
					return ok && m.Sign == nil && *m.Avatar == "u"
				}},
			{pdu.CmdSignNotify, &pb.IMSignInfoChangedNotify{ChangedUserId: u32(8), SignInfo: proto.String("s")},
				func(ev client.Event) bool {
					m, ok := ev.(*client.ProfileChanged)
					return ok && m.Avatar == nil && *m.Sign == "s"
				}},
			{pdu.CmdPCStatusNotify, &pb.IMPCLoginStatusNotify{UserId: u32(7), LoginStat: pb.UserStatType_USER_STATUS_ONLINE.Enum()},
				func(ev client.Event) bool { m, ok := ev.(*client.OwnPC); return ok && m.Online }},
			{pdu.CmdP2P, &pb.IMP2PCmdMsg{FromUserId: u32(8), ToUserId: u32(7), CmdMsgData: proto.String("{}")},
				func(ev client.Event) bool { m, ok := ev.(*client.P2P); return ok && m.From == 8 && m.Data == "{}" }},
			{pdu.CmdFileNotify, &pb.IMFileNotify{
				FromUserId: u32(8), ToUserId: u32(7), FileName: proto.String("f"), FileSize: u32(3), TaskId: proto.String("t"),
				TransMode: pb.TransferFileType_FILE_TYPE_OFFLINE.Enum(), OfflineReady: u32(1),
			}, func(ev client.Event) bool {
				m, ok := ev.(*client.FileOffered)
				return ok && m.Ready && m.Size == 3 && m.Task == "t"
			}},
			{pdu.CmdDeleted, &chatpb.Deleted{SessionType: 2, SessionId: 9, MsgId: 3, Kind: 1, ByUserId: 8}, func(ev client.Event) bool {
				m, ok := ev.(*client.MessageDeleted)
				return ok && *m == client.MessageDeleted{Session: protocol.InGroup(9), ID: 3, Kind: protocol.Recalled, By: 8}
			}},
			{pdu.CmdGroupChangeNotify, &pb.IMGroupChangeMemberNotify{
				UserId: u32(8), ChangeType: pb.GroupModifyType_GROUP_MODIFY_TYPE_DEL.Enum(), GroupId: u32(9), ChgUserIdList: []uint32{1}, CurUserIdList: []uint32{7, 8},
			}, func(ev client.Event) bool {
				m, ok := ev.(*client.GroupChanged)
				return ok && m.Change == protocol.MembersDel && len(m.Members) == 2 && m.Changed[0] == 1
			}},
		} {
			r.server.event(c.cmd, c.m)
			if ev := r.event(); !c.want(ev) {
				t.Errorf("%v: %s", c.cmd, show(ev))
			}
		}
	})
}

var errDisk = errors.New("disk full")
