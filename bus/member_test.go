package bus

import (
	"testing"
	"testing/synctest"
	"time"

	"teamtalk/protocol"
)

// What comes in parts counts in order and whole only, and nothing that is older than what is known.
func TestTableInParts(t *testing.T) {
	session := func(u protocol.UserID) wireSession {
		return wireSession{User: u, Conn: 1, Client: protocol.ClientMac}
	}
	part := func(number uint64, part int, isLast bool, users ...protocol.UserID) tablePart {
		p := tablePart{Number: number, Part: part, IsLast: isLast}
		for _, u := range users {
			p.Sessions = append(p.Sessions, session(u))
		}
		return p
	}
	joined := func(number uint64, u protocol.UserID) change {
		return change{Number: number, Session: session(u), kind: kindJoined}
	}
	cases := map[string]struct {
		items  []any
		number uint64
		online []protocol.UserID // of 1 to 5
	}{
		"whole":                      {[]any{part(5, 0, false, 1), part(5, 1, true, 2)}, 5, []protocol.UserID{1, 2}},
		"others are forgotten":       {[]any{joined(1, 3), part(5, 0, false, 1), part(5, 1, true, 2)}, 5, []protocol.UserID{1, 2}},
		"older than what is known":   {[]any{joined(1, 3), joined(2, 4), part(1, 0, true, 3, 5)}, 2, []protocol.UserID{3, 4}},
		"a part is missing":          {[]any{joined(1, 3), part(5, 0, false, 1), part(5, 2, true, 2)}, 1, []protocol.UserID{1, 3}},
		"parts of two tables":        {[]any{joined(1, 3), part(5, 0, false, 1), part(6, 1, true, 2)}, 1, []protocol.UserID{1, 3}},
		"begun anew":                 {[]any{part(5, 0, false, 1), part(6, 0, false, 2), part(6, 1, true, 3)}, 6, []protocol.UserID{2, 3}},
		"a late change between":      {[]any{part(5, 0, false, 1), joined(1, 3), part(5, 1, true, 2)}, 5, []protocol.UserID{1, 2}},
		"changes after it, one late": {[]any{part(5, 0, true, 1), joined(4, 3), joined(6, 2), joined(8, 4)}, 6, []protocol.UserID{1, 2}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := New(Config{Node: "a"}).Presence()
				if !p.hear("b", 1, c.items) {
					t.Fatal("not heard")
				}
				p.sweepAll()
				if got := p.remote["b"].number; got != c.number {
					t.Errorf("known up to %d, want %d", got, c.number)
				}
				want := map[protocol.UserID]bool{}
				for _, u := range c.online {
					want[u] = true
				}
				for u := range protocol.UserID(6) {
					if p.PCOnline(u) != want[u] {
						t.Errorf("user %d is online: %v", u, !want[u])
					}
				}
			})
		})
	}
}

// Nobody is said to have gone twice, nor who was never there; a login may be announced again [TT-PRES-2].
func TestOfflineIsPublishedOnce(t *testing.T) {
	inCluster(t, Config{}, func(t *testing.T, n *network, a, b, c *testNode) {
		for _, on := range []bool{false, true, true, false, false} {
			a.Signal(protocol.PresenceChanged{User: anna, Online: on})
			pass(time.Millisecond)
		}
		pass(100 * time.Millisecond)
		for _, node := range []*testNode{a, b} {
			if got := node.shownOf(anna); len(got) != 3 || !got[0] || !got[1] || got[2] {
				t.Errorf("node %s published %v", node.id, got)
			}
		}
	})
}
