package client_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"teamtalk/client"
	"teamtalk/client/dial"
	"teamtalk/protocol"
	"teamtalk/protocol/pdu"
)

// HELLO is first, then the login; what is sent is stored, acked, and comes back as an event [TT-SESS-2] [TT-SESS-11] [TT-SESS-13].
func TestLoginAndSend(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		c := r.open()
		if online := r.state(client.Online); online.Node != "n1" || online.Resumed {
			t.Errorf("%+v", online)
		}
		if c.Me() != meID || c.Device() == "" {
			t.Errorf("user %d, device %q", c.Me(), c.Device())
		}
		o := r.send("hello")
		r.sent(o)
		if d := o.State(); d.Phase != client.PhaseSent || d.ID != 1 || !d.Time.Equal(time.UnixMilli(1000)) {
			t.Errorf("%+v", d)
		}
		m := r.message("hello")
		if !m.Mine || m.Session != inAlice() || m.ClientMsgID != o.ClientMsgID() || m.ID != 1 {
			t.Errorf("%+v", m)
		}
		r.server.says("hi")
		if m := r.message("hi"); m.Mine || m.From != aliceID || m.Session != inAlice() || m.ID != 2 {
			t.Errorf("%+v", m)
		}
		if got := r.server.commands(); !slices.Equal(got[:3], []pdu.Command{pdu.CmdHello, pdu.CmdLoginReq, pdu.CmdMsgData}) {
			t.Errorf("%v", got)
		}
		r.close()
		if err := c.Err(); err == nil {
			t.Error("closed, and no error")
		}
		is(t, c.Err(), client.ErrClosed)
		if _, err := c.Send(t.Context(), inAlice(), client.Text("late")); err == nil {
			t.Error("sent after Close")
		}
		if conn := r.server.conns[0]; !conn.bye {
			t.Error("no BYE")
		}
	})
}

// After a break the session is resumed: nothing is lost, nothing comes twice [TT-SESS-3].
func TestResume(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.server.noCursor = true
		c := r.open()
		r.server.says("one")
		r.message("one")
		for _, lose := range []bool{true, false} {
			r.server.cut(lose)
			r.server.says("while away")
			r.message("while away")
			if online := r.state(client.Online); !online.Resumed {
				t.Error("not resumed")
			}
		}
		r.nothing()
		if n := c.Status().Reconnects; n != 2 {
			t.Errorf("%d reconnects", n)
		}
		if n := r.server.count(pdu.CmdLoginReq); n != 1 {
			t.Errorf("%d logins", n)
		}
	})
}

// What was sent while there was no connection goes first, in order, and once, though acks were lost [TT-SESS-11].
func TestRepeats(t *testing.T) {
	for _, mode := range []client.Mode{client.Pipelined, client.SendWait} {
		bubble(t, func(t *testing.T) {
			r := newRig(t)
			r.cfg.Mode = mode
			r.open()
			r.drain()
			cuts := 0
			r.server.after = func(c *fakeConn, p pdu.PDU) {
				if p.Header.Command == pdu.CmdMsgData && cuts < 5 {
					cuts++
					r.server.cut(true) // the ack is lost
				}
			}
			var want []string
			var list []*client.Outgoing
			for i := range 20 {
				text := string(rune('a' + i))
				want = append(want, text)
				list = append(list, r.send(text))
			}
			for _, o := range list {
				r.sent(o)
			}
			if got := r.server.texts(); !slices.Equal(got, want) {
				t.Errorf("mode %d: %v", mode, got)
			}
		})
	}
}

// Wrong credentials end Open at once.
func TestWrongPassword(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.Password = "2"
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := client.Open(ctx, r.cfg)
		is(t, err, client.ErrCredentials)
		if !r.net.closed {
			t.Error("dialer left open")
		}
	})
}

func TestConfig(t *testing.T) {
	for name, cfg := range map[string]client.Config{
		"no address":   {Name: "me", Password: "1"},
		"nobody":       {Addresses: []string{"x"}},
		"no password":  {Addresses: []string{"x"}, Name: "me"},
		"long device":  {Addresses: []string{"x"}, Name: "me", Password: "1", Device: protocol.DeviceID(make([]byte, 65))},
		"negative":     {Addresses: []string{"x"}, Name: "me", Password: "1", OutboxSize: -1},
		"mode":         {Addresses: []string{"x"}, Name: "me", Password: "1", Mode: 9},
		"key":          {Addresses: []string{"x"}, Name: "me", Password: "1", TextKey: "short"},
		"address":      {Addresses: []string{"ftp://x"}, Name: "me", Password: "1"},
		"nothing kept": {Addresses: []string{"x"}, Storage: &client.MemoryStorage{}},
	} {
		if _, err := client.Open(t.Context(), cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// Whose time is up is told what has failed until then.
func TestOpenTimesOut(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.net.setDown(true, dialTLS)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := client.Open(ctx, r.cfg)
		is(t, err, context.DeadlineExceeded)
		is(t, err, errUnreachable)
	})
	failed := dial.Attempt{Route: dial.Route{Transport: dial.TLS, URL: "tls://fake:1"}, Err: errUnreachable}
	bubble(t, func(t *testing.T) { // in the middle of the first race
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := client.Open(ctx, client.Config{Name: "me", Password: "1", Dialer: slowNet{newFakeNet(newFakeServer()), failed}})
		is(t, err, context.DeadlineExceeded)
		is(t, err, errUnreachable)
	})
}

// slowNet's races never end.
type slowNet struct {
	*fakeNet
	failed dial.Attempt
}

func (n slowNet) Race(...dial.Route) client.Race { return n }

func (n slowNet) Next(ctx context.Context) (dial.Conn, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (n slowNet) Attempts() []dial.Attempt { return []dial.Attempt{n.failed} }
