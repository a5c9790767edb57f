package client_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"teamtalk/client"
	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pb/chatpb"
	"teamtalk/protocol/pb/sessionpb"
	"teamtalk/protocol/pdu"
)

// refuse answers the next messages with an ERROR.
func (r *rig) refuse(code sessionpb.Code, afterMs uint32, times int) {
	r.server.do(func() {
		r.server.hook = func(c *fakeConn, p pdu.PDU) bool {
			refuse := false
			r.server.do(func() {
				if refuse = p.Header.Command == pdu.CmdMsgData && times > 0; refuse {
					times--
				}
			})
			if refuse {
				c.push(pdu.CmdError, 0, &sessionpb.Error{
					Command: uint32(p.Header.Command), Seq: uint32(p.Header.Seq), Code: code, Message: "so", RetryAfterMs: afterMs,
				})
			}
			return refuse
		}
	})
}

// What is refused for good fails at once, with a way to try again; what is not is kept and repeated when the server says [TT-SESS-14] [TT-SESS-18].
func TestRefusals(t *testing.T) {
	for code, final := range map[sessionpb.Code]bool{
		sessionpb.Code_INVALID: true, sessionpb.Code_FORBIDDEN: true, sessionpb.Code_TOO_LARGE: true, sessionpb.Code_NOT_FOUND: true,
		sessionpb.Code_UNAVAILABLE: false, sessionpb.Code_RATE_LIMITED: false,
	} {
		t.Run(code.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t)
				r.open()
				r.drain()
				r.refuse(code, 3000, 1)
				began := time.Now()
				o := r.send("one")
				err := o.Wait(t.Context())
				if !final {
					if err != nil || time.Since(began) != 3*time.Second {
						t.Errorf("%v after %v", err, time.Since(began))
					}
					return
				}
				var refused *client.Error
				if !errors.As(err, &refused) || refused.Code != protocol.Code(code) || protocol.CodeOf(err) != refused.Code {
					t.Errorf("%v", err)
				}
				if d := o.State(); d.Phase != client.PhaseFailed || time.Since(began) != 0 {
					t.Errorf("%+v", d)
				}
				if err := o.Retry(); err != nil {
					t.Fatal(err)
				}
				r.sent(o)
				if err := o.Retry(); err == nil {
					t.Error("what was sent is tried again")
				}
				if got := r.server.texts(); !slices.Equal(got, []string{"one"}) {
					t.Errorf("%v", got)
				}
			})
		})
	}
}

// SendWait has one message on its way, Pipelined 64.
func TestWindow(t *testing.T) {
	for mode, want := range map[client.Mode]int{client.SendWait: 1, client.Pipelined: 64} {
		bubble(t, func(t *testing.T) {
			r := newRig(t)
			r.cfg.Mode = mode
			r.open()
			r.drain()
			held := map[uint16]func(){}
			most := 0
			r.server.hook = func(c *fakeConn, p pdu.PDU) bool { // late acks
				if p.Header.Command != pdu.CmdMsgData {
					return false
				}
				r.server.do(func() {
					held[p.Header.Seq] = func() {}
					most = max(most, len(held))
				})
				time.AfterFunc(time.Second, func() {
					r.server.do(func() {
						delete(held, p.Header.Seq)
						r.server.handle(c, p)
					})
				})
				return true
			}
			var list []*client.Outgoing
			for range 200 {
				list = append(list, r.send("x"))
			}
			for _, o := range list {
				r.sent(o)
			}
			r.server.do(func() {
				if most != want {
					t.Errorf("mode %d: %d on their way, want %d", mode, most, want)
				}
			})
		})
	}
}

// The outbox is bounded, and so are messages.
func TestOutboxBounds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.OutboxSize = 3
		c := r.open()
		r.drain()
		r.net.setDown(true, dialTLS)
		r.server.cut(true)
		for range 3 {
			r.send("x")
		}
		_, err := c.Send(t.Context(), inAlice(), client.Text("x"))
		is(t, err, client.ErrOutboxFull)
		if n := c.Status().Queued; n != 3 {
			t.Errorf("%d queued", n)
		}
		for name, bad := range map[string]struct {
			to   protocol.Session
			what client.Content
			code protocol.Code
		}{
			"to nobody": {protocol.Session{}, client.Text("x"), protocol.CodeInvalid},
			"nothing":   {inAlice(), nil, protocol.CodeInvalid},
			"too long":  {inAlice(), client.Text(make([]byte, 100<<10)), protocol.CodeTooLarge},
			"too loud":  {inAlice(), client.Voice{Sound: make([]byte, 300<<10)}, protocol.CodeTooLarge},
		} {
			if _, err := c.Send(t.Context(), bad.to, bad.what); protocol.CodeOf(err) != bad.code {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// MARK tells how far a message has got [TT-SESS-17].
func TestMarks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.open()
		one, two := r.send("one"), r.send("two")
		r.sent(two)
		r.message("one")
		r.message("two")
		mark := func(delivered, read uint32) {
			r.server.current().push(pdu.CmdMark, 0, &chatpb.Mark{
				SessionType: 1, SessionId: uint32(aliceID), UserId: uint32(aliceID), DeliveredMsgId: delivered, ReadMsgId: read,
			})
			if m, ok := r.event().(*client.Mark); !ok || m.Session != inAlice() || m.Delivered != protocol.MsgID(delivered) {
				t.Errorf("%+v", m)
			}
		}
		mark(2, 0)
		if one.State().Phase != client.PhaseDelivered || two.State().Phase != client.PhaseDelivered {
			t.Errorf("%v, %v", one.State(), two.State())
		}
		mark(2, 1)
		mark(1, 0)
		if one.State().Phase != client.PhaseRead || two.State().Phase != client.PhaseDelivered || two.State().ID != 2 {
			t.Errorf("%v, %v", one.State(), two.State())
		}
	})
}

// What a message says beside its text travels; voice and what is no text come as they are.
func TestContents(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.Mode = client.SendWait
		c := r.open()
		group := protocol.InGroup(9)
		o, err := c.Send(t.Context(), group, client.Rich{Text: "# hi", ContentType: "text/markdown", ReplyTo: 4, BurnAfter: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		m := r.message("# hi")
		if m.Session != group || m.Type != protocol.MsgGroupText || m.ContentType != "text/markdown" || m.ReplyTo != 4 || m.BurnAfter != time.Minute {
			t.Errorf("%+v", m)
		}
		if o.Session() != group {
			t.Errorf("%v", o.Session())
		}
		for _, raw := range []*pb.IMMsgData{
			{MsgType: pb.MsgType_MSG_TYPE_SINGLE_TEXT.Enum(), MsgData: []byte("not encrypted")},
			{MsgType: pb.MsgType_MSG_TYPE_SINGLE_AUDIO.Enum(), MsgData: []byte{0, 0, 0, 2, 9}},
		} {
			raw.FromUserId, raw.ToSessionId, raw.CreateTime = u32(uint32(aliceID)), u32(uint32(meID)), u32(1)
			r.server.do(func() {
				r.server.ids[inAlice()]++
				raw.MsgId = u32(uint32(r.server.ids[inAlice()]))
				r.server.append(entry{cmd: pdu.CmdMsgData, m: raw})
			})
			m, ok := r.event().(*client.Message)
			if !ok || m.Raw != (raw.GetMsgType() == pb.MsgType_MSG_TYPE_SINGLE_TEXT) || !slices.Equal(m.Data, raw.GetMsgData()) || m.Text != "" {
				t.Errorf("%+v", m)
			}
		}
	})
}

// Closing leaves what waits to whoever opens the storage next; waiting for it ends.
func TestOutboxSurvives(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.Storage = &client.MemoryStorage{}
		r.open()
		r.drain()
		r.net.setDown(true, dialTLS)
		r.server.cut(true)
		o := r.send("one")
		r.send("two")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		is(t, o.Wait(ctx), context.DeadlineExceeded)
		r.close()
		is(t, o.Wait(t.Context()), client.ErrClosed)
		c := r.open()
		r.drain()
		list := c.Outbox() // while there is no connection: they would go at once
		if len(list) != 2 || list[0].ClientMsgID() != o.ClientMsgID() {
			t.Fatalf("%d messages", len(list))
		}
		r.net.setDown(false, dialTLS)
		three := r.send("three")
		r.sent(three)
		if got := r.server.texts(); !slices.Equal(got, []string{"one", "two", "three"}) {
			t.Errorf("%v", got)
		}
	})
}

// Nothing is said before the replay is through [TT-SESS-3]; a pause that the server asked for outlasts the connection.
func TestNotBeforeLive(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.open()
		r.drain()
		r.refuse(sessionpb.Code_RATE_LIMITED, 20_000, 1)
		began := time.Now()
		o := r.send("x")
		<-time.After(time.Second)
		r.server.do(func() {
			r.server.hook = func(c *fakeConn, p pdu.PDU) bool {
				if p.Header.Command != pdu.CmdHello {
					if p.Header.Command != pdu.CmdHeartbeat && !c.in {
						t.Errorf("%v during the replay", p.Header.Command)
					}
					return false
				}
				c.push(pdu.CmdWelcome, 0, &sessionpb.Welcome{Version: 1, Verdict: sessionpb.Verdict_RESUMED, HeartbeatS: 30})
				time.AfterFunc(25*time.Second, func() {
					r.server.do(func() {
						r.server.enter(c)
						r.server.credential(c)
					})
				})
				return true
			}
		})
		r.server.cut(true)
		<-time.After(22 * time.Second)
		two := r.send("y")
		r.sent(two)
		r.sent(o)
		if took := time.Since(began); took < 26*time.Second {
			t.Errorf("sent after %v", took)
		}
		if got := r.server.texts(); !slices.Equal(got, []string{"x", "y"}) {
			t.Errorf("%v", got)
		}
	})
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.open()
		r.drain()
		r.refuse(sessionpb.Code_RATE_LIMITED, 20_000, 1)
		began := time.Now()
		o := r.send("x")
		<-time.After(time.Second)
		r.server.cut(true)
		r.sent(o)
		if took := time.Since(began); took != 20*time.Second {
			t.Errorf("repeated after %v", took)
		}
	})
}

// gate is a storage whose saves wait.
type gate struct {
	client.MemoryStorage
	open chan struct{}
}

func (g *gate) Save(s client.Saved) error {
	<-g.open
	return g.MemoryStorage.Save(s)
}

// A message is sent, and Send returns, when the storage has it, and those behind it wait.
func TestSavedFirst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		storage := &gate{open: make(chan struct{})}
		r.cfg.Storage = storage
		c := r.open()
		r.drain()
		done := make(chan error, 2)
		for _, text := range []string{"one", "two"} {
			go func() { // ends when the storage is open
				_, err := c.Send(t.Context(), inAlice(), client.Text(text))
				done <- err
			}()
			<-time.After(time.Second)
		}
		<-time.After(time.Minute)
		if n := r.server.count(pdu.CmdMsgData); n != 0 || len(done) != 0 || c.Status().State != client.Online {
			t.Errorf("%d sent, %d returned", n, len(done))
		}
		close(storage.open)
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		<-time.After(time.Second)
		if got := r.server.texts(); !slices.Equal(got, []string{"one", "two"}) {
			t.Errorf("%v", got)
		}
	})
}
