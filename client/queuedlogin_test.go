package client_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"teamtalk/client"
	"teamtalk/protocol/pb/sessionpb"
	"teamtalk/protocol/pdu"
)

// place puts a login in a queue: its answer comes when the last position has been said.
func place(r *rig, every time.Duration, positions ...uint32) {
	began := time.Now()
	r.server.hook = func(c *fakeConn, p pdu.PDU) bool {
		if p.Header.Command != pdu.CmdLoginReq || time.Since(began) > 0 {
			return false
		}
		for i, n := range positions {
			time.AfterFunc(time.Duration(i)*every, func() { c.push(pdu.CmdQueue, 0, &sessionpb.Queue{Position: n, EtaS: n * 2}) })
		}
		time.AfterFunc(time.Duration(len(positions))*every, func() { r.server.received(c, p) })
		return true
	}
}

// The place in the queue is seen in Status and in events while the login waits, which has no deadline then but that of a dead
// connection [TT-QUEUE-2].
func TestQueuePosition(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.Storage = &client.MemoryStorage{}
		r.open()
		r.close()
		r.net.closed = false
		r.server.do(func() { clear(r.server.tokens) })
		place(r, 15*time.Second, 30, 20, 10, 1)
		began := time.Now()
		c := r.open() // at once: there is a session
		if first := r.state(client.Connecting); first.Position != 0 {
			t.Errorf("%+v", first)
		}
		for i, want := range []uint32{30, 20, 10, 1} {
			ev := r.state(client.Connecting)
			if ev.Position != want || ev.ETA != time.Duration(2*want)*time.Second || time.Since(began) != time.Duration(i)*15*time.Second {
				t.Errorf("%+v after %v", ev, time.Since(began))
			}
			<-time.After(5 * time.Second)
			s := c.Status()
			if s.State != client.Connecting || s.Position != want || s.ETA != max(0, ev.ETA-5*time.Second) || !s.Since.Equal(began) {
				t.Errorf("%+v", s)
			}
		}
		if ev := r.state(client.Online); ev.Position != 0 || time.Since(began) != time.Minute {
			t.Errorf("%+v after %v", ev, time.Since(began))
		}
		if s := c.Status(); s.Position != 0 || s.ETA != 0 || s.State != client.Online {
			t.Errorf("%+v", s)
		}
	})
}

// The server hears of a login that waits as often as of everybody.
func TestQueueHeartbeats(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		positions := make([]uint32, 62)
		for i := range positions {
			positions[i] = uint32(len(positions) - i)
		}
		place(r, 2*time.Second, positions...)
		queued, beats := r.server.hook, 0
		r.server.hook = func(c *fakeConn, p pdu.PDU) bool {
			if p.Header.Command == pdu.CmdHeartbeat {
				beats++ // all are written by one goroutine
			}
			return queued(c, p)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		c, err := client.Open(ctx, r.cfg)
		if err != nil {
			t.Fatal(err)
		}
		r.c = c
		r.close()
		if beats != 4 {
			t.Errorf("%d heartbeats in 124 s", beats)
		}
	})
}

// While nothing changes in the queue, the answers to heartbeats show that the login still waits; the app has the last position only.
func TestStandingQueue(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		place(r, 7*time.Minute, 3, 2)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		c, err := client.Open(ctx, r.cfg)
		if err != nil {
			t.Fatal(err)
		}
		r.c = c
		defer r.close()
		if n := r.conns(); n != 1 {
			t.Errorf("%d connections", n)
		}
		for i, want := range []uint32{0, 2} {
			if ev := r.state(client.Connecting); ev.Position != want {
				t.Errorf("event %d: %+v", i, ev)
			}
		}
		r.state(client.Online)
	})
}

// A connection on which nothing is heard any more is left, in the queue too; and who gives up is told where he stood.
func TestDeadQueue(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.server.hook = func(c *fakeConn, p pdu.PDU) bool {
			if p.Header.Command == pdu.CmdLoginReq {
				c.push(pdu.CmdQueue, 0, &sessionpb.Queue{Position: 12})
				return true
			}
			return p.Header.Command == pdu.CmdHeartbeat && r.conns() == 1 // unanswered on the first
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		_, err := client.Open(ctx, r.cfg)
		if err == nil || !strings.Contains(err.Error(), "position 12") || r.conns() != 1 {
			t.Errorf("%v, %d connections", err, r.conns())
		}
		r = newRig(t)
		began := time.Now()
		r.server.hook = func(c *fakeConn, p pdu.PDU) bool {
			switch first := r.conns() == 1; {
			case first && p.Header.Command == pdu.CmdLoginReq:
				c.push(pdu.CmdQueue, 0, &sessionpb.Queue{Position: 12})
				return true
			default:
				return first && p.Header.Command == pdu.CmdHeartbeat
			}
		}
		ctx, cancel = context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		c, err := client.Open(ctx, r.cfg)
		if err != nil {
			t.Fatal(err)
		}
		r.c = c
		defer r.close()
		if took := time.Since(began); r.conns() != 2 || took < time.Minute || took > 90*time.Second {
			t.Errorf("%d connections, %v", len(r.server.conns), took)
		}
	})
}
