package client_test

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"teamtalk/client"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pb/sessionpb"
	"teamtalk/protocol/pdu"
)

func sign(text string) *pb.IMSignInfoChangedNotify {
	return &pb.IMSignInfoChangedNotify{ChangedUserId: u32(8), SignInfo: proto.String(text)}
}

func (r *rig) signed(text string) {
	r.t.Helper()
	if p, ok := r.event().(*client.ProfileChanged); !ok || *p.Sign != text {
		r.t.Errorf("%+v, want the signature %q", p, text)
	}
}

// A replay may collapse the changes of a profile to the last. The app ends with the right one, also when it was changed back [TT-SESS-20].
func TestCollapsedProfile(t *testing.T) {
	for _, c := range []struct {
		name         string
		seen, missed []string
		replayed     []string
		told         []string
	}{
		{"all seen", []string{"a", "b"}, nil, []string{"b"}, nil},
		{"all seen, all repeated", []string{"a", "b"}, nil, []string{"a", "b"}, nil},
		{"changed back", []string{"a", "b"}, []string{"a"}, []string{"a"}, []string{"a"}},
		{"changed back, all repeated", []string{"a", "b"}, []string{"a"}, []string{"a", "b", "a"}, []string{"a"}},
		{"same again", []string{"a"}, []string{"a"}, []string{"a", "a"}, []string{"a"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t)
				r.server.noCursor = true
				r.open()
				for _, text := range c.seen {
					r.server.event(pdu.CmdSignNotify, sign(text))
					r.signed(text)
				}
				r.server.do(func() {
					r.server.log = nil
					for _, text := range c.replayed {
						r.server.log = append(r.server.log, entry{cmd: pdu.CmdSignNotify, m: sign(text)})
					}
				})
				r.server.cut(true)
				for _, text := range c.told {
					r.signed(text)
				}
				r.nothing()
				r.server.event(pdu.CmdSignNotify, sign("new"))
				r.signed("new")
			})
		})
	}
}

// The connection breaks in the middle of a replay that repeats what the app has had: the next replay repeats the rest of it, which the app has had too.
func TestCutReplay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.server.noCursor = true
		r.open()
		for _, text := range []string{"a", "a", "b"} {
			r.server.event(pdu.CmdSignNotify, sign(text))
			r.signed(text)
		}
		cut := true
		r.server.hook = func(c *fakeConn, p pdu.PDU) bool {
			if p.Header.Command != pdu.CmdHello || !cut {
				return false
			}
			cut = false
			c.push(pdu.CmdWelcome, 0, &sessionpb.Welcome{Version: 1, Verdict: sessionpb.Verdict_RESUMED, HeartbeatS: 30})
			c.push(pdu.CmdSignNotify, 0, sign("a"))
			c.push(pdu.CmdCursor, 0, &sessionpb.Cursor{Cursor: 1})
			c.push(pdu.CmdSignNotify, 0, sign("a"))
			time.AfterFunc(time.Second, func() { c.breaks(&client.Error{}, false) })
			return true
		}
		r.server.cut(true)
		r.nothing()
		if s := r.c.Status(); s.State != client.Online {
			t.Errorf("%+v", s)
		}
	})
}

// The same, but the program ends in the middle of the replay, behind a cursor that the app's own state lies beyond.
func TestRestartInReplay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.server.noCursor = true
		r.cfg.Storage = &client.MemoryStorage{}
		r.open()
		for _, text := range []string{"a", "b"} {
			r.server.event(pdu.CmdSignNotify, sign(text))
			r.signed(text)
		}
		r.server.do(func() {
			r.server.hook = func(c *fakeConn, p pdu.PDU) bool {
				if p.Header.Command != pdu.CmdHello {
					return false
				}
				c.push(pdu.CmdWelcome, 0, &sessionpb.Welcome{Version: 1, Verdict: sessionpb.Verdict_RESUMED, HeartbeatS: 30})
				c.push(pdu.CmdSignNotify, 0, sign("a"))
				c.push(pdu.CmdCursor, 0, &sessionpb.Cursor{Cursor: 1})
				return true
			}
		})
		r.server.cut(true)
		r.state(client.Offline)
		r.state(client.Connecting)
		<-time.After(10 * time.Second)
		r.close()
		r.server.do(func() { r.server.hook = nil })
		r.open()
		r.nothing()
		r.server.cut(true) // and nothing older is asked for
		r.nothing()
		if s := r.c.Status(); s.State != client.Online || s.Reconnects != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// A cursor never goes back, whatever the server says.
func TestCursorGoesOn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.open()
		r.server.says("one")
		r.message("one")
		r.server.current().push(pdu.CmdCursor, 0, &sessionpb.Cursor{Cursor: 0})
		<-time.After(time.Second)
		r.server.cut(true)
		r.state(client.Online)
		r.server.do(func() {
			var hello sessionpb.Hello
			for _, p := range r.server.got {
				if p.Header.Command == pdu.CmdHello {
					if err := proto.Unmarshal(p.Body, &hello); err != nil {
						t.Error(err)
					}
				}
			}
			if hello.GetCursor() != 1 {
				t.Errorf("resumed from %d", hello.GetCursor())
			}
		})
	})
}

// That a file is ready is no repeat of its being offered, which a replay does not bring again [TT-SESS-13].
func TestOfferedThenReady(t *testing.T) {
	bubble(t, func(t *testing.T) {
		notify := func(ready uint32) *pb.IMFileNotify {
			return &pb.IMFileNotify{FromUserId: u32(uint32(aliceID)), ToUserId: u32(uint32(meID)), FileName: new("f"), FileSize: u32(3), TaskId: new("t"),
				TransMode: pb.TransferFileType_FILE_TYPE_OFFLINE.Enum(), OfflineReady: u32(ready)}
		}
		r := newRig(t)
		r.server.noCursor = true
		r.open()
		r.server.event(pdu.CmdFileNotify, notify(0))
		if m, ok := r.event().(*client.FileOffered); !ok || m.Ready {
			t.Fatalf("%+v", m)
		}
		r.server.do(func() { r.server.log = []entry{{cmd: pdu.CmdFileNotify, m: notify(1)}} })
		r.server.cut(true)
		if m, ok := r.event().(*client.FileOffered); !ok || !m.Ready {
			t.Fatalf("%+v", m)
		}
	})
}
