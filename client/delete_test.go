package client_test

import (
	"io"
	"sync/atomic"
	"testing"
	"time"

	"teamtalk/client"
	"teamtalk/client/dial"
	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pb/sessionpb"
	"teamtalk/protocol/pdu"
)

// deleted waits for the event that tells of a message in the conversation with alice.
func (r *rig) deleted(want client.MessageDeleted) {
	r.t.Helper()
	want.Session = inAlice()
	if ev, ok := r.event().(*client.MessageDeleted); !ok || *ev != want {
		r.t.Fatalf("got %+v, want %+v", ev, want)
	}
}

// A recalled message is told of by one event, and is empty in histories [TT-DEL-1] [TT-DEL-4] [TT-DEL-6].
func TestRecall(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		c := r.open()
		o := r.send("oops")
		r.sent(o)
		r.message("oops")
		for range 2 { // the second time it is gone already
			if err := c.Recall(t.Context(), inAlice(), o.State().ID); err != nil {
				t.Error(err)
			}
		}
		r.deleted(client.MessageDeleted{ID: 1, Kind: protocol.Recalled, By: meID})
		list, err := c.History(t.Context(), inAlice(), 0, 1)
		if err != nil || len(list.Items) != 1 {
			t.Fatalf("%v, %v", list, err)
		}
		if m := list.Items[0]; !m.Gone || m.Deleted != protocol.Recalled || m.Text != "" || m.Raw || m.Data != nil || m.ID != 1 || !m.Mine {
			t.Errorf("%+v", m)
		}
		r.server.cut(true)
		r.nothing() // of what the replay brings
		if n := r.conns(); n != 2 {
			t.Errorf("%d connections", n)
		}
	})
}

// A message to be burned says after how long; what was deleted meanwhile comes without its content, and then what became of it
// [TT-DEL-2] [TT-DEL-4].
func TestBurn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.server.burnAfter = u32(90)
		c := r.open()
		r.server.says("one")
		if m := r.message("one"); m.BurnAfter != 90*time.Second || m.Gone || m.Deleted != 0 {
			t.Errorf("%+v", m)
		}
		if err := c.Burn(t.Context(), inAlice(), 1); err != nil {
			t.Error(err)
		}
		r.deleted(client.MessageDeleted{ID: 1, Kind: protocol.Burned, By: meID})
		r.net.setDown(true, dialTLS)
		r.server.cut(true)
		r.state(client.Offline)
		r.server.says("two")
		r.server.do(func() { r.server.remove(2, protocol.Burned, 0) })
		r.net.setDown(false, dialTLS)
		if m := r.message(""); m.ID != 2 || !m.Gone || m.Raw || m.Deleted != 0 || m.BurnAfter != 90*time.Second {
			t.Errorf("%+v", m)
		}
		r.deleted(client.MessageDeleted{ID: 2, Kind: protocol.Burned})
		r.nothing()
	})
}

// A deletion that the app has had is not told again by a replay, not after a restart either [TT-SESS-20] [TT-DEL-6].
func TestDeletionOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.Storage = &client.MemoryStorage{}
		r.server.noCursor = true
		r.open()
		r.server.says("one")
		r.server.says("two")
		r.message("one")
		r.message("two")
		r.server.do(func() { r.server.remove(0, protocol.Recalled, aliceID) })
		r.deleted(client.MessageDeleted{ID: 1, Kind: protocol.Recalled, By: aliceID})
		r.server.cut(true)
		r.nothing() // of what the replay brings
		if n := r.conns(); n != 2 {
			t.Errorf("%d connections", n)
		}
		r.close()
		r.net.closed = false
		r.server.do(func() { r.server.remove(1, protocol.Recalled, aliceID) })
		r.open()
		r.deleted(client.MessageDeleted{ID: 2, Kind: protocol.Recalled, By: aliceID})
		r.nothing()
	})
}

// What the server says no to, and by which code [TT-DEL-8].
func TestDeleteRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		c := r.open()
		r.server.says("hers")
		r.message("hers")
		ctx := t.Context()
		for what, x := range map[string]struct {
			err  error
			want protocol.Code
		}{
			"no such message":      {c.Recall(ctx, inAlice(), 9), protocol.CodeNotFound},
			"no such conversation": {c.Burn(ctx, protocol.WithUser(99), 1), protocol.CodeNotFound},
			"of another":           {c.Recall(ctx, inAlice(), 1), protocol.CodeForbidden},
			"not to be burned":     {c.Burn(ctx, inAlice(), 1), protocol.CodeInvalid},
			"no message":           {c.Recall(ctx, inAlice(), 0), protocol.CodeInvalid},
			"no conversation":      {c.Burn(ctx, protocol.Session{}, 1), protocol.CodeInvalid},
		} {
			if got := protocol.CodeOf(x.err); x.err == nil || got != x.want {
				t.Errorf("%s: %v, want %v", what, x.err, x.want)
			}
		}
		r.server.do(func() {
			r.server.hook = func(c *fakeConn, p pdu.PDU) bool {
				if p.Header.Command != pdu.CmdDeleteReq {
					return false
				}
				c.push(pdu.CmdError, 0, &sessionpb.Error{Command: uint32(p.Header.Command), Seq: uint32(p.Header.Seq), Code: sessionpb.Code_RATE_LIMITED})
				return true
			}
		})
		if err := c.Recall(ctx, inAlice(), 1); protocol.CodeOf(err) != protocol.CodeRateLimited {
			t.Error(err)
		}
		r.nothing()
	})
}

// A deletion whose answer is lost is asked for again: a second one changes nothing [TT-DEL-6].
func TestDeleteAskedAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		c := r.open()
		o := r.send("oops")
		r.sent(o)
		r.message("oops")
		var cut atomic.Bool
		r.server.do(func() {
			r.server.after = func(c *fakeConn, p pdu.PDU) {
				if p.Header.Command == pdu.CmdDeleteReq && !cut.Swap(true) {
					c.breaks(io.ErrUnexpectedEOF, true)
				}
			}
		})
		if err := c.Recall(t.Context(), inAlice(), o.State().ID); err != nil {
			t.Error(err)
		}
		r.deleted(client.MessageDeleted{ID: 1, Kind: protocol.Recalled, By: meID})
		if n := r.server.count(pdu.CmdDeleteReq); n != 2 {
			t.Errorf("asked %d times", n)
		}
		r.nothing()
	})
}

// Lists say that the content of the latest message has gone, and not how.
func TestLatestGone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		c := r.open()
		r.server.hook = func(c *fakeConn, p pdu.PDU) bool {
			if p.Header.Command != pdu.CmdUnreadReq {
				return false
			}
			c.push(pdu.CmdUnreadRes, p.Header.Seq, &pb.IMUnreadMsgCntRsp{UserId: u32(7), TotalCnt: u32(1), UnreadinfoList: []*pb.UnreadInfo{{
				SessionId: u32(8), SessionType: pb.SessionType_SESSION_TYPE_SINGLE.Enum(), UnreadCnt: u32(1), LatestMsgId: u32(4),
				LatestMsgData: []byte{}, LatestMsgType: pb.MsgType_MSG_TYPE_SINGLE_TEXT.Enum(), LatestMsgFromUserId: u32(uint32(aliceID)),
			}}})
			return true
		}
		list, err := c.Unread(t.Context())
		if err != nil || len(list.Items) != 1 {
			t.Fatalf("%v, %v", list, err)
		}
		if m := list.Items[0].Latest; !m.Gone || m.Raw || m.Text != "" || m.Deleted != 0 || m.ID != 4 {
			t.Errorf("%+v", m)
		}
	})
}

// The legacy protocol has no deletions.
func TestLegacyDelete(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, dial.TCP)
		r.cfg.Legacy = client.LegacyOnly
		c := r.open()
		is(t, c.Recall(t.Context(), inAlice(), 1), client.ErrLegacyServer)
		is(t, c.Burn(t.Context(), inAlice(), 1), client.ErrLegacyServer)
		r.sent(r.send("goes on")) // and the session with it
		if r.server.count(pdu.CmdDeleteReq) != 0 {
			t.Error("the server was asked")
		}
	})
}
