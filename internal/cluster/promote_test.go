package cluster

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"teamtalk/protocol"
)

func TestVoteAfterCatchingUp(t *testing.T) {
	g := newGroup("n1")
	g.follower("n2", 1000-65)
	all := g.nodes(t, nil)
	lead := all["n1"].Manager
	g.lookFor(lead, 10*time.Second)
	wantHistory(t, g, "")
	g.apply("n2", 1000-64) // as far behind as is allowed
	g.lookFor(lead, 1900*time.Millisecond)
	wantHistory(t, g, "")
	g.apply("n2", 1000-65) // begins anew
	g.lookFor(lead, 250*time.Millisecond)
	g.apply("n2", 1000)
	g.lookFor(lead, 1900*time.Millisecond)
	wantHistory(t, g, "")
	all["n2"].look() // a follower decides nothing
	g.lookFor(lead, 500*time.Millisecond)
	wantHistory(t, g, "promote n2")
	g.kill("n2")
	lead.look()
	for name, want := range map[string]float64{"promotions_total": 1, `members{role="leader"}`: 1, `members{role="voter"}`: 1, `members{role="non-voter"}`: 0, `members{role="unreachable"}`: 1} {
		if got := all["n1"].metric(t, name); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

func TestOneVoteAtATimeAndSevenAtMost(t *testing.T) {
	g := newGroup("n1", "n2", "n3", "n4", "n5")
	for n := 6; n <= 9; n++ {
		g.follower(id(n), 1000)
	}
	all := g.nodes(t, nil)
	lead := all["n1"].Manager
	for range 12 { // until just before the settling time is over
		before := g.history()
		g.lookFor(lead, 250*time.Millisecond)
		if strings.Count(g.history(), "promote")-strings.Count(before, "promote") > 1 {
			t.Fatalf("two at once: %s", g.history())
		}
	}
	g.lookFor(lead, time.Minute)
	wantHistory(t, g, "promote n6, promote n7")
	if n := strings.Count(all["n1"].logs.String(), "voters enough"); n != 2 {
		t.Errorf("said %d times that n8 and n9 stay without a vote", n)
	}
}

func TestPromotionThatFailsIsTriedAgain(t *testing.T) {
	g := newGroup("n1")
	g.follower("n2", 1000)
	g.follower("n3", 1000)
	all := g.nodes(t, nil)
	g.kill("n3") // is not asked
	g.fail = protocol.Errorf(protocol.CodeUnavailable, "no")
	g.lookFor(all["n1"].Manager, 3*time.Second)
	wantHistory(t, g, "")
	g.lookFor(all["n1"].Manager, 3*time.Second)
	wantHistory(t, g, "promote n2")
	if all["n1"].metric(t, `changes_failed_total{change="promote"}`) != 1 {
		t.Error("not counted")
	}
}

// The loop by itself, in virtual time.
func TestLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup("n1")
		g.follower("n2", 1000)
		all := g.nodes(t, func(c *Config) { c.Clock = time.Now })
		m := all["n1"].Manager
		began := time.Now()
		m.Start(m.mesh, m.port)
		for g.history() == "" {
			time.Sleep(10 * time.Millisecond)
		}
		if took := time.Since(began); took < 2*time.Second || took > 3*time.Second {
			t.Errorf("a vote after %s", took)
		}
		m.Close()
	})
}

func TestDeadNodeIsRemovedByPolicy(t *testing.T) {
	policy := func(c *Config) { c.Policy.RemoveDeadAfter, c.Policy.Tick = time.Hour, time.Minute }
	for _, c := range []struct {
		name   string
		voters []protocol.NodeID
		change func(*group)
		policy func(*Config)
		after  time.Duration
		want   string
		log    string
	}{
		{name: "in time", voters: []protocol.NodeID{"n1", "n2", "n3"}, change: func(g *group) { g.kill("n3") }, policy: policy, after: 59 * time.Minute},
		{name: "too long", voters: []protocol.NodeID{"n1", "n2", "n3"}, change: func(g *group) { g.kill("n3") }, policy: policy, after: 2 * time.Hour, want: "remove n3", log: "nobody has reached"},
		{name: "no policy", voters: []protocol.NodeID{"n1", "n2", "n3"}, change: func(g *group) { g.kill("n3") }, after: 2 * time.Hour},
		{name: "one after the other", voters: []protocol.NodeID{"n1", "n2", "n3", "n4", "n5"}, change: func(g *group) { g.kill("n3", "n4") }, policy: policy, after: 3 * time.Hour, want: "remove n3, remove n4"},
		{name: "without a vote", voters: []protocol.NodeID{"n1"}, change: func(g *group) { g.follower("n2", 0); g.kill("n2") }, policy: policy, after: 2 * time.Hour, want: "remove n2"},
		{name: "reached by another", voters: []protocol.NodeID{"n1", "n2", "n3"}, change: func(g *group) {
			g.cut[[2]protocol.NodeID{"n1", "n3"}] = true
		}, policy: policy, after: 3 * time.Hour},
		{name: "the rest is no majority", voters: []protocol.NodeID{"n1", "n2", "n3"}, change: func(g *group) { g.kill("n2", "n3") }, policy: policy, after: 3 * time.Hour, log: "no majority"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGroup(c.voters...)
			c.change(g)
			all := g.nodes(t, c.policy)
			if c.name == "reached by another" {
				g.mu.Lock()
				long := g.now
				g.mu.Unlock()
				all["n1"].mesh = longCut{mesh{g, "n1"}, long}
			}
			g.lookFor(all["n1"].Manager, c.after)
			wantHistory(t, g, c.want)
			if !strings.Contains(all["n1"].logs.String(), c.log) {
				t.Errorf("log: %s", all["n1"].logs)
			}
		})
	}
}

func TestMajorities(t *testing.T) {
	for _, c := range []struct {
		voters, alive int // n1…; the first ones are alive
		without       int
		want          bool
	}{
		{1, 1, 9, true}, {2, 1, 2, true}, {2, 2, 2, true}, {2, 1, 1, false},
		{3, 3, 3, true}, {3, 2, 3, true}, {3, 2, 2, false}, {3, 1, 3, false}, {3, 1, 9, false},
		{4, 2, 4, true}, {4, 2, 9, false}, {5, 3, 1, false}, {5, 3, 5, true}, {5, 4, 1, true}, {1, 1, 1, false},
	} {
		var members []Member
		alive := map[protocol.NodeID]bool{}
		for n := 1; n <= c.voters; n++ {
			members = append(members, Member{ID: id(n), Voter: true})
			alive[id(n)] = n <= c.alive
		}
		members = append(members, Member{ID: "x"}) // has no vote
		alive["x"] = true
		if got := keepsMajority(members, alive, id(c.without)); got != c.want {
			t.Errorf("%d of %d without n%d: %t", c.alive, c.voters, c.without, got)
		}
	}
}

// Whatever happens, the manager never takes away the majority of living voters that there was, gives no more than seven votes, and changes
// one thing at a time.
func TestMembershipNeverBreaksTheMajority(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		g := newGroup("n1")
		next := 2
		policy := func(c *Config) { c.Policy.RemoveDeadAfter, c.Policy.Settle = time.Hour, time.Second }
		all := g.nodes(t, policy)
		ids := func() []protocol.NodeID {
			var out []protocol.NodeID
			for _, m := range g.members {
				out = append(out, m.ID)
			}
			return out
		}
		for range rapid.IntRange(1, 80).Draw(rt, "steps") {
			some := rapid.SampledFrom(ids()).Draw(rt, "node")
			before := len(g.changes)
			switch rapid.SampledFrom([]string{"join", "join", "join", "kill", "revive", "revive", "behind", "catch up", "catch up", "wait", "age", "remove"}).Draw(rt, "what") {
			case "join":
				if len(g.members) < 10 {
					g.follower(id(next), g.commit-protocol.Cursor(rapid.IntRange(0, 200).Draw(rt, "lag")))
					all[id(next)] = g.node(t, id(next), policy)
					next++
				}
			case "kill":
				g.kill(some)
			case "revive":
				delete(g.dead, some)
			case "behind":
				g.apply(some, g.commit-protocol.Cursor(rapid.IntRange(0, 200).Draw(rt, "lag")))
			case "age":
				g.pass(time.Hour)
			case "remove":
				if lead := all[g.leader]; lead != nil {
					_ = lead.Remove(t.Context(), some, false) // may be refused
				}
				before = len(g.changes)
			case "catch up":
				for _, id := range ids() {
					g.apply(id, g.commit)
				}
			case "wait":
			}
			g.elect()
			for range 6 {
				if lead := all[g.leader]; lead != nil {
					lead.look()
				}
				if len(g.changes) > before+2 { // a promotion, and a removal in the same look
					rt.Fatalf("more than one thing at a time: %v", g.changes)
				}
				before = len(g.changes)
				g.pass(250 * time.Millisecond)
			}
			if len(g.broken) > 0 {
				rt.Fatalf("took away the majority: %v of %v", g.broken, g.changes)
			}
			voters := 0
			for _, m := range g.members {
				if m.Voter {
					voters++
				}
			}
			if voters > 7 {
				rt.Fatalf("%d voters", voters)
			}
		}
	})
}

// elect makes a living voter the leader, if they are a majority.
func (g *group) elect() {
	_, dead := g.dead[g.leader]
	m := find(g.members, g.leader)
	if m != nil && !dead && g.majority() {
		return
	}
	g.leader = ""
	if !g.majority() {
		return
	}
	for _, m := range g.members {
		if _, dead := g.dead[m.ID]; m.Voter && !dead {
			g.leader = m.ID
			return
		}
	}
}
