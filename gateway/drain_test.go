package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"teamtalk/bus"
	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pb/sessionpb"
	"teamtalk/protocol/pdu"
)

// draining is a Drain under way.
type draining struct {
	err  chan error
	stop context.CancelFunc
}

func (s *stage) drain(pace float64, endpoints ...string) *draining {
	ctx, cancel := context.WithCancel(context.Background())
	d := &draining{err: make(chan error, 1), stop: cancel}
	go func() { d.err <- s.srv.Drain(ctx, pace, func() []string { return endpoints }) }()
	synctest.Wait()
	return d
}

func (d *draining) wait(t *testing.T) {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-d.err:
		if err != nil {
			t.Errorf("Drain: %v", err)
		}
	default:
		t.Error("not drained")
	}
	d.stop()
}

// mover is a client that obeys: told to, it goes on on another node. It keeps what it was sent.
type mover struct {
	*device
	got   []string
	moved bool
}

// collect takes what has come, and goes to another node if that is asked for. It reports how often it was asked.
func (m *mover) collect(t *testing.T, to *node, endpoints []string) (asked int) {
	t.Helper()
	for _, p := range m.take() {
		switch body, err := pdu.Decode(p, pdu.ServerToClient); b := body.(type) {
		case *pb.IMMsgData:
			if text := string(b.GetMsgData()); !slices.Contains(m.got, text) {
				m.got = append(m.got, text)
			}
		case *sessionpb.Cursor:
			m.cursor = b.GetCursor()
		case *sessionpb.Credential:
			m.keep(b)
		case *sessionpb.Drain:
			asked++
			if b.GetWithinS() != 10 || !slices.Equal(slices.Sorted(slices.Values(b.GetEndpoints())), endpoints) {
				t.Errorf("got %v", b)
			}
		case nil:
			t.Error(err)
		}
	}
	if asked > 0 {
		m.moved = true
		m.againOn(to)
	}
	return asked
}

// [TT-SESS-24]: a client that obeys loses nothing, no more are sent away at a time than the pace allows, and nobody is told that somebody has gone.
func TestDrainMovesClients(t *testing.T) {
	inCluster(t, 3, nil, func(c *cluster) {
		a, b, x := c.nodes[0], c.nodes[1], c.nodes[2]
		endpoints := []string{"tls://b", "tls://c", "tls://d"}
		watcher := x.login(99, windows)
		var movers []*mover
		var senders []*device
		for i := range protocol.UserID(20) {
			movers = append(movers, &mover{device: a.enter(1+i, "laptop", windows)})
			senders = append(senders, x.enter(51+i, "phone", android))
		}
		x.settle(watcher)
		for _, m := range movers {
			m.take()
		}
		done := a.drain(5, endpoints...)
		asked := 0
		for tick := range 60 { // 200 ms each
			for i, s := range senders {
				m := extendedText(uint32(1+i), byte(1+tick), fmt.Sprint(tick))
				m.ClientMsgId[0] = byte(i)
				s.send(pdu.CmdMsgData, uint16(tick), m)
			}
			before := asked
			for _, m := range movers {
				asked += m.collect(t, b, endpoints)
			}
			if asked-before > 1 {
				t.Errorf("%d asked at once", asked-before)
			}
			if want := 20 - a.srv.Sessions(); want != asked && want != before {
				t.Errorf("%d left after %d were asked", a.srv.Sessions(), asked)
			}
			pass(200 * time.Millisecond)
		}
		done.wait(t)
		for i, m := range movers {
			m.collect(t, b, endpoints)
			if len(m.got) != 60 || !m.moved || !m.isOpen() {
				t.Errorf("user %d got %d messages: %v, moved: %v", i+1, len(m.got), m.got, m.moved)
			}
			for k, text := range m.got {
				if text != fmt.Sprint(k) {
					t.Fatalf("user %d got %v", i+1, m.got)
				}
			}
		}
		watcher.expect()
		if asked != 20 || a.srv.Sessions() != 0 || b.srv.Sessions() != 20 {
			t.Errorf("%d asked, %d left, %d arrived", asked, a.srv.Sessions(), b.srv.Sessions())
		}
		if n := a.metric("closed_total", string(reasonDrained)); n != 0 {
			t.Errorf("%v had to be ended", n)
		}
	})
}

// [TT-SESS-24]: those that do not go get BYE in the end; legacy clients are closed, not kicked, after what they asked has been answered.
func TestDrainEndsTheOthers(t *testing.T) {
	play(t, slow, func(s *stage) {
		d, idle := s.enter(1, "laptop", windows), s.enter(2, "laptop", windows)
		legacy, phone := s.login(3, windows), s.login(4, ios)
		s.settle(d.client, idle.client, legacy, phone)
		s.mu.Lock()
		s.hold = true
		s.mu.Unlock()
		for seq := range uint16(63) { // more than the rate lets through at once
			legacy.send(pdu.CmdMsgData, seq, text(1, "x"))
		}
		synctest.Wait()
		began := time.Now()
		done := s.drain(0, "tls://b")
		pass(time.Second)
		if n := s.srv.Sessions(); n != 2 {
			t.Errorf("%d sessions left", n)
		}
		d.expectCommands(pdu.CmdDrain)
		idle.expectCommands(pdu.CmdDrain)
		phone.expect()
		phone.expectEnd()
		legacy.expect()
		s.release(-1)
		if got := legacy.take(); len(got) != 63 || got[62].Header.Command != pdu.CmdMsgDataAck || got[62].Header.Seq != 62 {
			t.Errorf("got %v", commandsOf(got))
		}
		legacy.expectEnd()
		pass(8900 * time.Millisecond)
		for _, o := range []*device{d, idle} {
			if !o.isOpen() {
				t.Error("ended too soon")
			}
		}
		pass(200 * time.Millisecond)
		for _, o := range []*device{d, idle} {
			if b := o.expectBye(protocol.CodeDraining); b.GetRetryAfterMs() == 0 {
				t.Errorf("got %v", b)
			}
			if took := o.expectEnd().Sub(began); took < 10*time.Second || took > 11*time.Second {
				t.Errorf("ended after %v", took)
			}
		}
		pass(200 * time.Millisecond)
		done.wait(t)
		if n := s.metric("closed_total", string(reasonDrained)); n != 4 {
			t.Errorf("%v ended", n)
		}
	})
}

// [TT-SESS-24] [TT-QUEUE-4]: meanwhile, and after, nobody is let in or sent here.
func TestDrainLetsNobodyIn(t *testing.T) {
	play(t, func(c *Config) { c.Limits.ConcurrentLogins = 1 }, func(s *stage) {
		s.authWait = make(chan struct{})
		d, gone := s.enter(1, "laptop", windows), s.enter(2, "laptop", windows)
		gone.close()
		slow, queued := s.dial(), s.dial()
		slow.send(pdu.CmdLoginReq, 1, loginReq("slow", windows))
		synctest.Wait()
		queued.send(pdu.CmdHello, 1, helloOf("q", windows))
		queued.send(pdu.CmdLoginReq, 2, loginReq("user5", windows))
		queued.expectCommands(pdu.CmdWelcome, pdu.CmdQueue)
		s.settle(d.client)

		done := s.drain(0)
		refused := func(when string) {
			t.Helper()
			legacy := s.dial()
			legacy.send(pdu.CmdLoginReq, 1, loginReq("user3", windows))
			if r := decoded[*pb.IMLoginRes](legacy, legacy.next()); r.GetResultCode() != pb.ResultType_REFUSE_REASON_MSG_SERVER_FULL || r.GetResultString() != textUnavailable {
				t.Errorf("%s: got %v", when, r)
			}
			legacy.expectEnd()
			gone.again()
			gone.expectCommands(pdu.CmdBye)
			fresh := s.dial()
			fresh.send(pdu.CmdHello, 1, helloOf("fresh", windows))
			fresh.expectBye(protocol.CodeDraining)
			if s.srv.Availability() != NotReady {
				t.Errorf("%s: available", when)
			}
		}
		refused("while draining")
		s.failWith(protocol.Errorf(protocol.CodeInternal, "a password was checked for nothing"))
		close(s.authWait)
		for _, c := range []*client{slow, queued} { // they were under way when it began
			if r := decoded[*pb.IMLoginRes](c, c.take()[0]); r.GetResultCode() != pb.ResultType_REFUSE_REASON_MSG_SERVER_FULL {
				t.Errorf("got %v", r)
			}
			c.expectEnd()
		}
		d.close()
		pass(time.Second)
		done.wait(t)
		refused("when drained")
		done = s.drain(0) // is at once
		done.wait(t)
	})
}

// An operator who gives up has the node back as it was, but for those who have gone.
func TestDrainGivenUp(t *testing.T) {
	play(t, nil, func(s *stage) {
		var all []*client
		for i := range protocol.UserID(4) {
			all = append(all, s.login(1+i, windows))
		}
		s.settle(all...)
		done := s.drain(1)
		if err := s.srv.Drain(t.Context(), 1, nil); protocol.CodeOf(err) != protocol.CodeInvalid {
			t.Errorf("a second one at the same time: %v", err)
		}
		pass(2100 * time.Millisecond)
		done.stop()
		synctest.Wait()
		if err := <-done.err; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		pass(10 * time.Second)
		if n := s.srv.Sessions(); n != 2 || s.srv.Availability() != Available {
			t.Errorf("%d sessions", n)
		}
		s.login(9, windows)
	})
}

// The order of the endpoints differs from client to client: not all go to the same node.
func TestDrainSpreads(t *testing.T) {
	inCluster(t, 1, func(cfg *Config, _ *bus.Config) { cfg.Timing.Drain = 1500 * time.Millisecond }, func(c *cluster) {
		a := c.nodes[0]
		var all []*device
		for i := range protocol.UserID(200) {
			all = append(all, a.enter(1+i, "laptop", windows))
		}
		done := a.drain(0, "tls://b", "tls://c")
		pass(time.Second)
		first := map[string]int{}
		for _, d := range all {
			got := d.take()
			m := decoded[*sessionpb.Drain](d.client, got[len(got)-1])
			first[m.GetEndpoints()[0]]++
			if m.GetWithinS() != 2 {
				t.Fatalf("got %v", m)
			}
		}
		if first["tls://b"] < 50 || first["tls://c"] < 50 { // chance does not do that
			t.Errorf("first are %v", first)
		}
		pass(time.Minute)
		done.wait(t)
	})
}

// [TT-QUEUE-4]
func TestLoad(t *testing.T) {
	play(t, func(c *Config) { c.Limits.Connections = 4 }, func(s *stage) {
		s.dial() // a stranger does not count
		for _, want := range []float64{0, 0.25, 0.5} {
			if got := s.srv.Load(); got != want {
				t.Errorf("load %v, want %v", got, want)
			}
			s.login(protocol.UserID(1+want*4), windows)
		}
	})
}
