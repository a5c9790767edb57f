package client_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"teamtalk/client"
	"teamtalk/client/dial"
	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pb/sessionpb"
	"teamtalk/protocol/pdu"
)

// Attempts are spaced by full jitter that doubles up to 30 s [TT-SESS-22] [TT-SESS-23].
func TestBackoff(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		c := r.open()
		r.drain()
		r.net.setDown(true, dial.TLS)
		r.server.cut(true)
		<-time.After(30 * time.Minute)
		var longest, sum time.Duration
		shortest := time.Minute
		var races []time.Time
		r.net.look(func() { races = slices.Clone(r.net.races)[1:] })
		for i := 1; i < len(races); i++ {
			gap := races[i].Sub(races[i-1])
			if most := 200 * time.Millisecond << min(i, 8); gap > min(most, 30*time.Second) {
				t.Errorf("attempt %d after %v", i, gap)
			}
			longest, sum = max(longest, gap), sum+gap
			if i > 8 {
				shortest = min(shortest, gap)
			}
		}
		if mean := sum / time.Duration(len(races)-1); shortest > 5*time.Second || longest < 20*time.Second || mean < 8*time.Second || mean > 22*time.Second {
			t.Errorf("%d attempts, mean %v, longest %v", len(races), mean, longest)
		}
		// With a network there is no waiting.
		r.net.setDown(false, dial.TLS)
		began := time.Now()
		for c.Status().State != client.Offline {
			<-time.After(time.Millisecond)
		}
		c.NetworkChanged()
		if err := c.WaitOnline(t.Context()); err != nil || time.Since(began) > time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		// After a stable minute the next break begins anew.
		<-time.After(time.Minute)
		r.server.cut(true)
		<-time.After(time.Second)
		if c.Status().State != client.Online {
			t.Errorf("%+v", c.Status())
		}
	})
}

// Heartbeats go as the server says, and measure the round trip.
func TestHeartbeats(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.server.heartbeat = 10
		var beats []time.Time
		r.server.hook = func(c *fakeConn, p pdu.PDU) bool {
			if p.Header.Command != pdu.CmdHeartbeat {
				return false
			}
			r.server.do(func() { beats = append(beats, time.Now()) })
			time.AfterFunc(70*time.Millisecond, func() { c.push(pdu.CmdHeartbeat, p.Header.Seq, &pb.IMHeartBeat{}) })
			return true
		}
		c := r.open()
		r.drain()
		began := time.Now()
		<-time.After(61 * time.Second)
		r.server.do(func() {
			if len(beats) != 6 || !beats[5].Equal(began.Add(time.Minute)) {
				t.Errorf("%v", beats)
			}
		})
		if rtt := c.Status().RoundTrip; rtt != 70*time.Millisecond {
			t.Errorf("round trip %v", rtt)
		}
	})
}

// A path that goes silent is left after two heartbeats; a QUIC one for another transport [TT-SESS-23].
func TestSilentPath(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, dial.QUIC, dial.TLS)
		r.open()
		if r.state(client.Online).Route.Transport != dial.QUIC {
			t.Error("not by QUIC")
		}
		<-time.After(time.Second)
		began := time.Now()
		r.server.current().silence()
		online := r.state(client.Online)
		if took := time.Since(began); took < 59*time.Second || took > 62*time.Second {
			t.Errorf("left after %v", took)
		}
		if online.Route.Transport != dial.TLS || !online.Resumed {
			t.Errorf("%+v", online)
		}
	})
}

// After a change of network the path has two seconds to show that it works.
func TestNetworkChanged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		c := r.open()
		r.state(client.Online)
		c.NetworkChanged()
		<-time.After(10 * time.Second)
		if s := c.Status(); s.State != client.Online || s.Reconnects != 0 {
			t.Errorf("left a path that works: %+v", s)
		}
		r.server.current().silence()
		began := time.Now()
		c.NetworkChanged()
		r.state(client.Offline)
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("left after %v", took)
		}
		r.state(client.Online)
	})
}

// While it idles on a lesser transport, the client looks for a better one: after 5 s, then at most once a minute, then once an hour; what it finds
// is moved to by resume, with nothing lost [TT-SESS-23].
func TestUpgrade(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, dial.QUIC, dial.TLS)
		r.net.setDown(true, dial.QUIC)
		c := r.open()
		r.drain()
		began := time.Now()
		<-time.After(3 * time.Hour)
		var at []time.Duration
		r.net.look(func() {
			for _, b := range r.net.better {
				at = append(at, b.Sub(began).Round(time.Minute))
			}
		})
		if want := []time.Duration{0, 1, 2, 3, 4, 64, 124}; len(at) != len(want) || at[4] != 4*time.Minute || at[6] != 124*time.Minute {
			t.Errorf("looked at %v", at)
		}
		r.net.setDown(false, dial.QUIC)
		r.server.do(func() { r.server.noCursor = true })
		r.server.says("before")
		c.NetworkChanged()
		<-time.After(6 * time.Second)
		if s := c.Status(); s.Route.Transport != dial.QUIC || s.Reconnects != 1 || s.State != client.Online {
			t.Errorf("%+v", s)
		}
		if n := r.server.count(pdu.CmdLoginReq); n != 1 {
			t.Errorf("%d logins", n)
		}
		for _, conn := range r.server.conns[:len(r.server.conns)-1] {
			if !conn.closed {
				t.Error("a former connection is open")
			}
		}
	})
}

// Nobody moves in the middle of something: while a conversation goes on, nothing better is looked for.
func TestNoUpgradeWhileBusy(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, dial.QUIC, dial.TLS)
		r.net.setDown(true, dial.QUIC)
		r.open()
		r.drain()
		r.net.setDown(false, dial.QUIC)
		for range 30 {
			r.server.says("talk")
			<-time.After(4 * time.Second)
		}
		r.net.look(func() {
			if len(r.net.better) > 0 {
				t.Errorf("looked %d times", len(r.net.better))
			}
		})
	})
}

// A node that drains is left in time, for the endpoints it names [TT-SESS-22].
func TestDrain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		c := r.open()
		r.state(client.Online)
		r.server.says("one")
		r.message("one")
		first := r.server.current()
		first.push(pdu.CmdDrain, 0, &sessionpb.Drain{WithinS: 20, Endpoints: []string{"tls://n2"}})
		began := time.Now()
		if ev := r.state(client.Online); !ev.Resumed {
			t.Errorf("%+v", ev)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("moved after %v", took)
		}
		r.net.look(func() {
			if len(r.net.preferred) != 1 && len(r.net.preferred) != 0 {
				t.Errorf("preferred %v", r.net.preferred)
			}
			if len(r.net.avoided) != 1 {
				t.Errorf("avoided %v", r.net.avoided)
			}
		})
		if first.code != protocol.CodeReplaced || c.Status().Reconnects != 1 {
			t.Errorf("closed with %v, %+v", first.code, c.Status())
		}
		r.server.says("two")
		r.message("two")
		r.nothing()
	})
}

// The endpoints of a CURSOR take the place of those of WELCOME; a CURSOR without any says nothing of them [TT-SESS-25].
func TestCursorNamesEndpoints(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.server.endpoints = []string{"tls://n1", "tls://n2"}
		r.open()
		r.state(client.Online)
		preferred := func(want ...string) {
			t.Helper()
			synctest.Wait()
			r.net.look(func() {
				if !slices.Equal(r.net.preferred, want) {
					t.Errorf("preferred %q, want %q", r.net.preferred, want)
				}
			})
		}
		preferred("tls://n1", "tls://n2")
		first := r.server.current()
		first.push(pdu.CmdCursor, 0, &sessionpb.Cursor{})
		preferred("tls://n1", "tls://n2")
		first.push(pdu.CmdCursor, 0, &sessionpb.Cursor{Endpoints: []string{"tls://n1", "tls://n3"}})
		preferred("tls://n1", "tls://n3")
		first.push(pdu.CmdCursor, 0, &sessionpb.Cursor{})
		preferred("tls://n1", "tls://n3")
		r.server.says("one")
		r.message("one")
		r.nothing()
	})
}

// Status tells which way is being tried, until it is online: also while a server is asked that does not answer.
func TestStatusTells(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, dial.QUIC, dial.TLS)
		r.cfg.Storage = &client.MemoryStorage{}
		c := r.open()
		if got := c.Status().Trying; got != nil {
			t.Errorf("online, and trying %v", got)
		}
		r.drain()
		r.server.do(func() { r.server.deaf["quic"] = true })
		r.server.cut(true)
		trying := func(want ...dial.Transport) {
			t.Helper()
			var got []dial.Transport
			for _, route := range c.Status().Trying {
				got = append(got, route.Transport)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%v: trying %v, want %v", c.Status().State, got, want)
			}
		}
		for c.Status().State != client.Connecting {
			<-time.After(10 * time.Millisecond)
		}
		<-time.After(time.Second)
		trying(dial.QUIC)
		r.server.do(func() { r.server.deaf["tls"] = true })
		<-time.After(2 * time.Second)
		trying(dial.TLS)
		r.server.do(func() { clear(r.server.deaf) })
		if err := c.WaitOnline(within(t)); err != nil {
			t.Fatal(err)
		}
		trying()
	})
}

// ACKs are sent for what the app has had, at most once a second [TT-SESS-4].
func TestAcks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.open()
		r.state(client.Online)
		for range 10 {
			r.server.says("x")
		}
		<-time.After(10 * time.Second)
		if acks := r.server.acked(); len(acks) != 0 {
			t.Errorf("acked what nobody has read: %v", acks)
		}
		for range 10 {
			r.message("x")
			<-time.After(100 * time.Millisecond)
		}
		r.nothing()
		if acks := r.server.acked(); len(acks) != 2 || acks[1] != 10 {
			t.Errorf("%v", acks)
		}
	})
}

// An app that does not take events stops the reading, but not the heartbeats; none is lost.
func TestBackPressure(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		c := r.open()
		const many = 1000
		for range many {
			r.server.says("x")
		}
		<-time.After(10 * time.Minute)
		if s := c.Status(); s.Events > 300 || s.State != client.Online || s.Reconnects != 0 {
			t.Errorf("%+v", s)
		}
		conn := r.server.current()
		conn.mu.Lock()
		left := len(conn.down)
		conn.mu.Unlock()
		if left < many/2 {
			t.Errorf("%d PDUs not read", left)
		}
		// A call gets its answer from behind them.
		if _, err := c.Users(t.Context(), aliceID); err != nil {
			t.Error(err)
		}
		for i := range many {
			if m := r.message("x"); m.ID != protocol.MsgID(i+1) {
				t.Fatalf("message %d is number %d", i+1, m.ID)
			}
		}
		r.nothing()
		if n := c.Status().Reconnects; n != 0 {
			t.Errorf("%d reconnects", n)
		}
	})
}

// A replay that does not go on is left like a silent path.
func TestStuckReplay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.open()
		r.state(client.Online)
		stuck := true
		r.server.hook = func(c *fakeConn, p pdu.PDU) bool {
			if p.Header.Command != pdu.CmdHello || !stuck {
				return false
			}
			stuck = false
			c.push(pdu.CmdWelcome, 0, &sessionpb.Welcome{Version: 1, Verdict: sessionpb.Verdict_RESUMED, HeartbeatS: 30})
			return true
		}
		r.server.cut(true)
		began := time.Now()
		r.state(client.Online)
		if took := time.Since(began); took < time.Minute || took > 65*time.Second {
			t.Errorf("after %v", took)
		}
	})
}

// A move waits for the answers that are due, so that no call is interrupted by it; a node that drains is left in time all the same.
func TestMoveWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		c := r.open()
		r.drain()
		var held pdu.PDU
		r.server.do(func() {
			r.server.hook = func(_ *fakeConn, p pdu.PDU) bool {
				if p.Header.Command != pdu.CmdGroupCreateReq {
					return false
				}
				r.server.do(func() { held = p })
				return true
			}
		})
		first := r.server.current()
		done := make(chan error, 1)
		create := func() {
			go func() { // ends with the answer
				_, err := c.CreateGroup(t.Context(), "team", aliceID)
				done <- err
			}()
			<-time.After(time.Second)
		}
		create()
		first.push(pdu.CmdDrain, 0, &sessionpb.Drain{WithinS: 100})
		<-time.After(70 * time.Second)
		if r.server.current() != first || len(done) != 0 {
			t.Error("moved from under a call")
		}
		r.server.do(func() { r.server.handle(first, held) })
		if err := <-done; err != nil {
			t.Error(err)
		}
		<-time.After(time.Second)
		second := r.server.current()
		if second == first {
			t.Error("not moved")
		}
		create()
		second.push(pdu.CmdDrain, 0, &sessionpb.Drain{WithinS: 10})
		<-time.After(11 * time.Second)
		if r.server.current() == second {
			t.Error("still on a node that has gone")
		}
		is(t, <-done, client.ErrInterrupted)
	})
}
