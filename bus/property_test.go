package bus

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"teamtalk/protocol"
)

// step is something that happens to the cluster; what it is about is drawn beforehand, as what runs in virtual time cannot.
type step struct {
	what string
	node protocol.NodeID
	peer protocol.NodeID
	user protocol.UserID
	kind int
	wait time.Duration
	says bool // gateways announce as well
}

func (s step) String() string {
	return fmt.Sprintf("%s %s-%s u%d k%d wait %v says %v", s.what, s.node, s.peer, s.user, s.kind, s.wait, s.says)
}

func drawSteps(t *rapid.T, announces bool) []step {
	nodes := rapid.SampledFrom([]protocol.NodeID{"a", "b", "c"})
	waits := rapid.SampledFrom([]time.Duration{0, 0, time.Millisecond, 50 * time.Millisecond, 700 * time.Millisecond, 3 * time.Second, 6 * time.Second})
	whats := rapid.SampledFrom([]string{"join", "join", "join", "join", "leave", "leave", "leave", "touch", "cut", "cut late", "cut unnoticed", "link", "swallow", "kill", "kill unnoticed", "start"})
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
		return step{
			what: whats.Draw(t, "what"), node: nodes.Draw(t, "node"), peer: nodes.Draw(t, "peer"), user: protocol.UserID(rapid.IntRange(1, 4).Draw(t, "user")),
			kind: rapid.IntRange(0, 5).Draw(t, "kind"), wait: waits.Draw(t, "wait"), says: announces && rapid.Bool().Draw(t, "says"),
		}
	}), 1, 40).Draw(t, "steps")
}

// carryOut does a step.
func (n *network) carryOut(i int, s step) {
	node := n.node(s.node)
	switch {
	case s.what == "start":
		if node == nil {
			n.start(s.node)
		}
	case node == nil:
	case s.what == "join":
		kinds := []Session{pc(s.user, 0), phone(s.user, 0), device(s.user, 0, "x"), device(s.user, 0, "y"), device(s.user, 0, "z"), pc(s.user, 0)}
		who := kinds[s.kind]
		who.Conn = protocol.ConnID(i + 1)
		node.Presence().Join(who)
		if s.says && !who.Client.IsMobile() {
			node.Signal(protocol.PresenceChanged{User: s.user, Online: true})
		}
	case s.what == "leave":
		own := node.own()
		if len(own) == 0 {
			return
		}
		who := own[s.kind%len(own)]
		node.Presence().Leave(who.User, who.Conn)
		if s.says && !node.Presence().PCOnline(who.User) {
			node.Signal(protocol.PresenceChanged{User: who.User})
		}
	case s.what == "touch":
		for _, who := range node.own() {
			node.Presence().Touched(who.User, who.Conn)
		}
	case s.what == "cut", s.what == "cut late", s.what == "cut unnoticed":
		n.cut(s.node, s.peer, s.what == "cut late", s.what != "cut unnoticed")
	case s.what == "link":
		n.link(s.node, s.peer, true)
	case s.what == "swallow":
		n.swallow(s.node, s.peer, s.kind)
	case s.what == "kill", s.what == "kill unnoticed":
		n.kill(s.node, s.what == "kill")
	}
}

// tryOut runs the steps, lets the links stand and be quiet, and checks what all nodes know and have published.
func tryOut(t *testing.T, steps []step, announces bool) (err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, Config{Devices: 2, TouchEvery: 500 * time.Millisecond})
		defer n.stopAll()
		for _, id := range []protocol.NodeID{"a", "b", "c"} {
			n.start(id)
		}
		for i, s := range steps {
			n.carryOut(i, s)
			if s.wait > 0 {
				pass(max(s.wait, 2*time.Millisecond)) // of two logins in one moment either may stay
			}
		}
		live := n.live()
		for _, a := range live {
			for _, b := range live {
				n.link(a, b, true)
			}
			for _, b := range []protocol.NodeID{"a", "b", "c"} {
				if n.node(b) == nil {
					n.node(a).Link(b, false)
				}
			}
		}
		pass(25 * time.Second) // payloads of a tick each may vanish, five at most a step
		pass(time.Duration(len(steps)) * 5 * time.Second)
		if err = n.checkTables(); err == nil {
			err = n.checkShown([]protocol.UserID{1, 2, 3, 4}, !announces)
		}
		for _, id := range n.live() {
			if left := len(n.node(id).presence.settling.due); left != 0 && err == nil {
				err = fmt.Errorf("node %s: %d users are unsettled", id, left)
			}
		}
	})
	return err
}

// [TT-PRES-1] [TT-PRES-2]: whatever happened to links and nodes, when the links are quiet every node knows exactly the sessions of the live nodes, and has
// published every change of a user's presence, and nothing that was none.
func TestTablesBecomeEqual(t *testing.T) {
	for _, announces := range []bool{false, true} {
		t.Run(fmt.Sprintf("gateways announce %v", announces), func(tt *testing.T) {
			rapid.Check(tt, func(t *rapid.T) {
				if err := tryOut(tt, drawSteps(t, announces), announces); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// Who must go goes, on all nodes: when it is quiet, nobody has more sessions than the rules allow.
func TestRulesHoldWhenQuiet(tt *testing.T) {
	rapid.Check(tt, func(t *rapid.T) {
		steps := slices.DeleteFunc(drawSteps(t, false), func(s step) bool { return s.what == "leave" || s.what == "kill" || s.what == "kill unnoticed" })
		latest := -1
		for i, s := range steps {
			if s.what == "join" {
				latest = i
			}
		}
		var err error
		synctest.Test(tt, func(t *testing.T) {
			n := newNetwork(t, Config{Devices: 2})
			defer n.stopAll()
			for _, id := range []protocol.NodeID{"a", "b", "c"} {
				node := n.start(id)
				sub := node.Presence().Displaced()
				t.Cleanup(sub.Close)
				go func() { // ends with the subscription
					for {
						gone, err := sub.Next(t.Context())
						if err != nil {
							return
						}
						for _, d := range gone {
							node.Presence().Leave(d.Session.User, d.Session.Conn)
						}
					}
				}()
			}
			for i, s := range steps {
				n.carryOut(i, s)
				pass(max(s.wait, 2*time.Millisecond)) // of two logins in one moment either may stay
			}
			for _, way := range [][2]protocol.NodeID{{"a", "b"}, {"b", "c"}, {"a", "c"}} {
				n.link(way[0], way[1], true)
			}
			pass(time.Duration(5+len(steps)) * 5 * time.Second)
			node := n.node("b")
			for u := range protocol.UserID(5) {
				if gone := mustGo(node.Presence().Sessions(u), 2); len(gone) > 0 {
					err = fmt.Errorf("not gone: %q", told(gone))
				}
			}
			if latest >= 0 && !slices.ContainsFunc(node.all(), func(s Session) bool { return s.Conn == protocol.ConnID(latest+1) }) {
				err = fmt.Errorf("the latest login, %v, has gone", steps[latest])
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}
