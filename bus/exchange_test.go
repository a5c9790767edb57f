package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"teamtalk/protocol"
)

const anna, ben protocol.UserID = 7, 8

func pc(u protocol.UserID, c protocol.ConnID) Session {
	return Session{User: u, Conn: c, Client: protocol.ClientWindows}
}

func phone(u protocol.UserID, c protocol.ConnID) Session {
	return Session{User: u, Conn: c, Client: protocol.ClientIOS}
}

func device(u protocol.UserID, c protocol.ConnID, d protocol.DeviceID) Session {
	return Session{User: u, Conn: c, Client: protocol.ClientWeb, Device: d}
}

// [TT-PRES-1]: on whichever node.
func TestPresenceOfOtherNodes(t *testing.T) {
	inCluster(t, Config{}, func(t *testing.T, n *network, a, b, c *testNode) {
		a.Presence().Join(pc(anna, 1))
		b.Presence().Join(phone(anna, 1)) // connection ids are those of a node
		pass(5 * time.Millisecond)
		for _, node := range []*testNode{a, b, c} {
			if p := node.Presence(); !p.PCOnline(anna) || !p.MobileOnline(anna) || p.PCOnline(ben) {
				t.Errorf("node %s: %+v", node.id, node.all())
			}
		}
		a.Presence().Leave(anna, 1)
		pass(5 * time.Millisecond)
		if p := c.Presence(); p.PCOnline(anna) || !p.MobileOnline(anna) {
			t.Errorf("%+v", c.all())
		}
		if c.value("teamtalk_bus_sessions", "b") != 1 {
			t.Error("the sessions of b are not counted")
		}
	})
}

// A signal reaches every node once, and nobody passes it on.
func TestSignalsReachEveryNodeOnce(t *testing.T) {
	inCluster(t, Config{}, func(t *testing.T, n *network, a, b, c *testNode) {
		want := []protocol.Signal{
			protocol.P2PSent{From: anna, To: ben, Data: "\xff not text", Origin: 5},
			protocol.P2PSent{From: ben, To: anna},
		}
		for _, sig := range want {
			a.Signal(sig)
		}
		delivered := protocol.Delivered{User: anna, Conversation: protocol.Conversation{Type: protocol.SessionSingle, A: 7, B: 8}, UpTo: 3, Authors: []protocol.UserID{ben}}
		a.Signal(delivered)
		pass(3 * time.Second)
		for _, node := range []*testNode{a, b, c} {
			got := node.signalsHeard()
			if len(got) != 3 || got[0] != want[0] || got[1] != want[1] || fmt.Sprint(got[2]) != fmt.Sprint(delivered) {
				t.Errorf("node %s heard %+v", node.id, got)
			}
		}
		for way, p := range n.pipes { // a tick each second, and one payload with the signals
			if want := 3 + 1; way[0] != "a" && p.sent > want {
				t.Errorf("%v: %d payloads", way, p.sent)
			}
		}
	})
}

func TestSlowNodeMissesSignalsAndIsCounted(t *testing.T) {
	inCluster(t, Config{PeerItems: 10}, func(t *testing.T, n *network, a, b, c *testNode) {
		resume := n.pause("a", "b")
		pass(8 * time.Second) // ticks fill the way: the queue behind it does not move
		for i := range 100 {
			a.Signal(protocol.P2PSent{From: protocol.UserID(i)})
			pass(2 * time.Millisecond)
		}
		for i := range protocol.UserID(50) {
			a.Presence().Join(phone(100+i, 1))
			pass(2 * time.Millisecond)
		}
		if got := len(c.signalsHeard()); got != 100 {
			t.Errorf("the node that is not slow heard %d", got)
		}
		if got := a.value("teamtalk_bus_peer_dropped_total", "signal"); got != 90 {
			t.Errorf("%v signals dropped, want 90", got)
		}
		if got := a.value("teamtalk_bus_peer_dropped_total", "change"); got != 50 {
			t.Errorf("%v changes dropped, want 50", got)
		}
		resume()
		pass(3 * time.Second)
		if got := len(b.signalsHeard()); got != 10 {
			t.Errorf("the slow node heard %d", got)
		}
		if err := n.checkTables(); err != nil { // what it missed of the table it has asked for
			t.Error(err)
		}
	})
}

// A node that dies: its users are shown offline within 5 s, whether the link notices at once or after its own 3 s.
func TestUsersOfADeadNodeAreShownOffline(t *testing.T) {
	for _, noticedAfter := range []time.Duration{0, 3500 * time.Millisecond} {
		t.Run(noticedAfter.String(), func(t *testing.T) {
			inCluster(t, Config{}, func(t *testing.T, n *network, a, b, c *testNode) {
				for _, s := range []Session{pc(anna, 1), pc(ben, 2), phone(9, 3)} {
					a.Presence().Join(s)
				}
				a.Signal(protocol.PresenceChanged{User: anna, Online: true})
				a.Signal(protocol.PresenceChanged{User: ben, Online: true})
				pass(1500 * time.Millisecond)
				n.kill("a", false)
				died := time.Now()
				pass(noticedAfter)
				b.Link("a", false)
				c.Link("a", false)
				b.Presence().Join(pc(ben, 1)) // he came back in time
				took := await(t, "anna is shown offline", func() bool {
					return !b.Presence().Shown(anna) && !c.Presence().Shown(anna)
				})
				if all := time.Since(died); all > 5*time.Second || noticedAfter == 0 && all < 2*time.Second {
					t.Errorf("shown offline after %v (%v after the link was down)", all, took)
				}
				pass(time.Minute)
				for _, node := range []*testNode{b, c} {
					if !slices.Equal(node.shownOf(anna), []bool{true, false}) || !slices.Equal(node.shownOf(ben), []bool{true}) || node.shownOf(9) != nil {
						t.Errorf("node %s published %v", node.id, node.shown)
					}
				}
				if err := n.checkTables(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// What a node died with before it could announce it, the others announce.
func TestUnannouncedChangesAreCorrected(t *testing.T) {
	inCluster(t, Config{}, func(t *testing.T, n *network, a, b, c *testNode) {
		a.Presence().Join(pc(anna, 1))
		a.Signal(protocol.PresenceChanged{User: anna, Online: true})
		pass(time.Second)
		a.Presence().Leave(anna, 1) // its gateway would say so after 3 s
		pass(100 * time.Millisecond)
		n.kill("a", true)
		pass(5 * time.Second)
		if got := b.shownOf(anna); !slices.Equal(got, []bool{true, false}) {
			t.Errorf("published %v", got)
		}
		if got := b.value("teamtalk_bus_presence_corrected_total", ""); got != 1 {
			t.Errorf("%v corrected", got)
		}
	})
}

// An announcement that was overtaken by the truth on another node is put right there.
func TestCrossedAnnouncements(t *testing.T) {
	inCluster(t, Config{}, func(t *testing.T, n *network, a, b, c *testNode) {
		b.Presence().Join(pc(anna, 1))
		b.Signal(protocol.PresenceChanged{User: anna, Online: true})
		a.Signal(protocol.PresenceChanged{User: anna, Online: false}) // it had not heard yet; nothing was shown on a either, so that a drops it itself
		pass(100 * time.Millisecond)
		c.Receive("a", signalFrom(t, a, protocol.PresenceChanged{User: anna, Online: false}))
		pass(100 * time.Millisecond)
		if c.Presence().Shown(anna) {
			t.Fatal("the announcement was not passed on")
		}
		pass(5 * time.Second)
		if err := n.checkShown([]protocol.UserID{anna}, false); err != nil {
			t.Error(err)
		}
	})
}

func signalFrom(t *testing.T, node *testNode, sig protocol.Signal) []byte {
	t.Helper()
	payload, err := newPayload(node.presence.here.generation)
	if err != nil {
		t.Fatal(err)
	}
	item, err := encodeSignal(sig)
	if err != nil {
		t.Fatal(err)
	}
	return append(payload, item...)
}

func TestWholeTableOnLinkUpAndAfterAHole(t *testing.T) {
	inCluster(t, Config{}, func(t *testing.T, n *network, a, b, c *testNode) {
		for i := range protocol.UserID(3 * tableSessions) {
			a.Presence().Join(device(1+i, 1, "d"))
		}
		pass(100 * time.Millisecond)
		n.swallow("a", "b", 1)
		a.Presence().Join(pc(5000, 1))
		pass(10 * time.Millisecond)
		if b.Presence().PCOnline(5000) {
			t.Fatal("nothing vanished")
		}
		pass(2 * time.Second) // the tick shows it
		if !b.Presence().PCOnline(5000) || b.value("teamtalk_bus_exchanges_total", "received") != 1 {
			t.Error("the hole was not filled by a whole table")
		}
		d := n.start("d")
		pass(100 * time.Millisecond)
		if !d.Presence().PCOnline(5000) || len(d.all()) != 3*tableSessions+1 {
			t.Errorf("a new node knows of %d sessions", len(d.all()))
		}
		n.cut("a", "b", false, true)
		pass(500 * time.Millisecond)
		n.link("a", "b", true)
		pass(3 * time.Second)
		if got := b.value("teamtalk_bus_exchanges_total", "received"); got != 1 {
			t.Errorf("a short cut without a change costs whole tables: %v", got)
		}
		if err := n.checkTables(); err != nil {
			t.Error(err)
		}
	})
}

func TestFormerLifeIsOver(t *testing.T) {
	inCluster(t, Config{}, func(t *testing.T, n *network, a, b, c *testNode) {
		a.Presence().Join(pc(anna, 1))
		a.Signal(protocol.PresenceChanged{User: anna, Online: true})
		pass(10 * time.Millisecond)
		late := signalFrom(t, a, protocol.P2PSent{From: anna})
		late, err := appendItem(late, kindJoined, change{Number: 2, Session: wireSession{User: ben, Conn: 2, Client: protocol.ClientMac}})
		if err != nil {
			t.Fatal(err)
		}
		n.kill("a", true)
		pass(time.Second)
		n.start("a")
		pass(100 * time.Millisecond)
		if b.Presence().PCOnline(anna) {
			t.Error("a session of the former life is still there")
		}
		b.Receive("a", late)
		pass(100 * time.Millisecond)
		if b.Presence().PCOnline(ben) || len(b.signalsHeard()) != 0 || b.value("teamtalk_bus_skipped_total", "former_life") != 1 {
			t.Error("what the former life said counted")
		}
		pass(4 * time.Second)
		if got := b.shownOf(anna); !slices.Equal(got, []bool{true, false}) {
			t.Errorf("published %v", got)
		}
	})
}

// A node whose generation is less than before, since its clock was set back, is heard again when what is known of it has been dropped.
func TestClockSetBack(t *testing.T) {
	inCluster(t, Config{}, func(t *testing.T, n *network, a, b, c *testNode) {
		n.lives = 100
		n.start("d")
		pass(10 * time.Millisecond)
		n.kill("d", true)
		n.lives = 50
		d := n.start("d")
		d.Presence().Join(pc(anna, 1))
		await(t, "the node is heard", func() bool { return b.Presence().PCOnline(anna) && c.Presence().PCOnline(anna) })
	})
}

func TestDisplacedOnOtherNodes(t *testing.T) {
	inCluster(t, Config{Devices: 2}, func(t *testing.T, n *network, a, b, c *testNode) {
		subs := map[protocol.NodeID]*DisplacedSubscription{}
		for _, node := range []*testNode{a, b, c} {
			subs[node.id] = node.Presence().Displaced()
			t.Cleanup(subs[node.id].Close)
		}
		expect := func(what string, node *testNode, c protocol.ConnID, why protocol.Displacement, by protocol.NodeID) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			got, err := subs[node.id].Next(ctx)
			if err != nil || len(got) != 1 || got[0].Session.Conn != c || got[0].Why != why || got[0].By.Node != by {
				t.Errorf("%s: %+v, %v", what, got, err)
				return
			}
			node.Presence().Leave(got[0].Session.User, c)
		}
		a.Presence().Join(pc(anna, 1))
		a.Presence().Join(phone(anna, 2))
		a.Presence().Join(device(anna, 3, "x"))
		pass(10 * time.Millisecond)
		b.Presence().Join(pc(anna, 1))
		expect("legacy of the same class", a, 1, protocol.DisplacedByNewer, "b")
		b.Presence().Join(device(anna, 2, "x"))
		expect("the same device", a, 3, protocol.DisplacedByOwn, "b")
		c.Presence().Join(device(anna, 1, "y"))
		pass(6 * time.Minute)
		b.Presence().Touched(anna, 2)
		pass(10 * time.Millisecond)
		a.Presence().Join(device(anna, 4, "z"))
		expect("the idle one of too many", c, 1, protocol.DisplacedByMany, "a")
		pass(time.Minute)
		for id, s := range subs {
			if n := s.queue.length(); n != 0 {
				t.Errorf("node %s: %d more must go", id, n)
			}
		}
		if err := n.checkTables(); err != nil {
			t.Error(err)
		}
	})
}

// Two logins on both sides of a cut: when the nodes meet again, the later one stays.
func TestDisplacedAfterACut(t *testing.T) {
	inCluster(t, Config{}, func(t *testing.T, n *network, a, b, c *testNode) {
		sa, sb := a.Presence().Displaced(), b.Presence().Displaced()
		n.cut("a", "b", false, true)
		pass(10 * time.Second)
		a.Presence().Join(pc(anna, 1))
		pass(time.Second)
		b.Presence().Join(pc(anna, 1))
		pass(10 * time.Second)
		n.link("a", "b", true)
		got, err := sa.Next(t.Context())
		if err != nil || len(got) != 1 || got[0].By.Node != "b" {
			t.Errorf("%+v, %v", got, err)
		}
		if sb.queue.length() != 0 {
			t.Error("the later one must go too")
		}
	})
}

func TestAwaitFormer(t *testing.T) {
	inCluster(t, Config{}, func(t *testing.T, n *network, a, b, c *testNode) {
		wait := func(c protocol.ConnID) error {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			return b.Presence().AwaitFormer(ctx, anna, "x", c)
		}
		a.Presence().Join(device(anna, 1, "x"))
		a.Presence().Join(device(anna, 2, "other"))
		pass(10 * time.Millisecond)
		b.Presence().Join(device(anna, 3, "x"))
		if err := wait(3); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the former session is there: %v", err)
		}
		begin := time.Now()
		stop := time.AfterFunc(time.Second, func() { a.Presence().Leave(anna, 1) })
		defer stop.Stop()
		if err := wait(3); err != nil || time.Since(begin) > 1100*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		a.Presence().Join(device(anna, 4, "x")) // a later one
		pass(10 * time.Millisecond)
		if err := wait(3); err != nil {
			t.Errorf("waits for its successor: %v", err)
		}
		b.Presence().Join(device(anna, 5, "x"))
		stop = time.AfterFunc(time.Second, func() { n.cut("a", "b", false, true) })
		defer stop.Stop()
		if err := wait(5); err != nil { // its node cannot be reached [TT-SESS-3]
			t.Errorf("waits for a node that cannot be reached: %v", err)
		}
		if len(b.Presence().waiting) != 0 {
			t.Errorf("left behind: %v", b.Presence().waiting)
		}
	})
}

// Many users of a dead node are announced no faster than the subscriber reads: none is lost.
func TestManyUsersAtOnce(t *testing.T) {
	const users = 2000
	inCluster(t, Config{QueueSignals: 64}, func(t *testing.T, n *network, a, b, c *testNode) {
		for u := range protocol.UserID(users) {
			a.Presence().Join(pc(1+u, 1))
		}
		await(t, "all are shown online", func() bool { return b.Presence().Shown(1) && b.Presence().Shown(users) })
		pass(10 * time.Second)
		n.kill("a", true)
		pass(20 * time.Second)
		if got := b.value("teamtalk_bus_dropped_total", ""); got != 0 {
			t.Errorf("%v dropped", got)
		}
		for u := range protocol.UserID(users) {
			if got := b.shownOf(1 + u); !slices.Equal(got, []bool{true, false}) {
				t.Fatalf("user %d: %v", u, got)
			}
		}
	})
}

func TestReplacedInOneMoment(t *testing.T) {
	inCluster(t, Config{}, func(t *testing.T, n *network, a, b, c *testNode) {
		sub := a.Presence().Displaced()
		a.Presence().Join(pc(anna, 1))
		a.Presence().Join(pc(anna, 2), 1)
		pass(10 * time.Millisecond)
		if got := c.Presence().Sessions(anna); len(got) != 1 || got[0].Conn != 2 {
			t.Errorf("%+v", got)
		}
		if sub.queue.length() != 0 {
			t.Error("one that has left must go")
		}
	})
}

func TestServeNeedsANode(t *testing.T) {
	b := New(Config{})
	if err := b.Serve(t.Context(), nil); !errors.Is(err, ErrAlone) {
		t.Fatal(err)
	}
	b.Link("x", true)
	b.Receive("x", []byte{1})
}
