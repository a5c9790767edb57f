//go:build linux

package e2e

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// rounds is how often a test does a thing in CI; TT_SOAK=1 has it done ten times as often.
func rounds(n int) int {
	if soak() {
		return 10 * n
	}
	return n
}

// TestLeaderKilledUnderLoad: the leader dies by kill -9, again and again, while people on all nodes talk in pairs and in a group. Whatever was acked is
// there, once, with dense ids and in each author's order, and all nodes have the same [TT-SESS-3] [TT-SESS-11] [TT-MSG-3] [TT-MSG-4].
func TestLeaderKilledUnderLoad(t *testing.T) {
	together(t)
	kills := rounds(3)
	random := seed(t)
	c := StartCluster(t, 3, ClusterConfig{Args: quickPasswords()})
	ctx, cancel := limited(t, time.Duration(kills)*clusterPatience)
	defer cancel()
	parties := []*party{c.pair(ctx, t, 1, 0), c.pair(ctx, t, 3, 1), c.pair(ctx, t, 5, 2), c.crowd(ctx, t, 7)}
	for _, p := range parties {
		p.begin(ctx, random)
	}
	var moments []time.Time
	for round := range kills {
		begin := time.Now()
		<-time.After(time.Duration(300+random.IntN(1500)) * time.Millisecond)
		for _, p := range parties { // nobody is still on his way back from the kill before
			if err := p.ackedAfter(ctx, begin); err != nil {
				t.Fatalf("before kill %d: %v", round+1, err)
			}
		}
		victim := c.Leader(t)
		victim.Kill()
		moments = append(moments, time.Now())
		c.Leader(t)
		if err := victim.Run(t); err != nil {
			t.Fatalf("node %s after kill %d: %v", victim.ID, round+1, err)
		}
		c.WaitHealthy(t)
	}
	last := time.Now()
	for _, p := range parties {
		if err := p.ackedAfter(ctx, last); err != nil {
			t.Fatalf("after the last kill: %v", err)
		}
	}
	total := c.checkHistories(ctx, t, parties...)
	t.Logf("%d kills of the leader, %d messages, none lost, none twice", kills, total)
	if total < kills*50 {
		t.Errorf("only %d messages: that was no load", total)
	}
	reportFailovers(t, moments, parties)
}

// reportFailovers tells how long nobody's messages were acked around each of some moments, and how long the slowest had to wait.
func reportFailovers(t *testing.T, moments []time.Time, parties []*party) {
	t.Helper()
	var all []ack
	for _, p := range parties {
		for _, g := range p.guests {
			all = append(all, g.acks...)
		}
	}
	var anybody, slowest []time.Duration
	for i, at := range moments {
		until := at.Add(10 * time.Second)
		if i+1 < len(moments) && moments[i+1].Add(-lull).Before(until) {
			until = moments[i+1].Add(-lull) // what begins later is of the next one
		}
		anybody = append(anybody, silence(all, at, until).Round(time.Millisecond))
		worst := time.Duration(0)
		for _, p := range parties {
			for _, g := range p.guests {
				worst = max(worst, silence(g.acks, at, until))
			}
		}
		slowest = append(slowest, worst.Round(time.Millisecond))
	}
	slices.Sort(anybody)
	slices.Sort(slowest)
	t.Logf("from the last ack before to the first after: %v (anybody's), %v (the slowest author's)", anybody, slowest)
}

// lull is longer than anybody's usual time from one ack to the next.
const lull = 250 * time.Millisecond

// silence is the longest time without an ack that began within a lull before a moment, or after it until another.
func silence(acks []ack, at, until time.Time) (longest time.Duration) {
	sorted := slices.SortedFunc(slices.Values(acks), func(a, b ack) int { return a.acked.Compare(b.acked) })
	for i := 1; i < len(sorted); i++ {
		if from := sorted[i-1].acked; from.After(at.Add(-lull)) && from.Before(until) {
			longest = max(longest, sorted[i].acked.Sub(from))
		}
	}
	return longest
}

// TestResumeOnAnotherNode: the node that people are on dies, whichever it is; they go on at another one, where they left off, and miss nothing
// [TT-SESS-3] [TT-SESS-4] [TT-SESS-11].
func TestResumeOnAnotherNode(t *testing.T) {
	together(t)
	kills := rounds(3)
	random := seed(t)
	c := StartCluster(t, 3, ClusterConfig{Args: quickPasswords()})
	ctx, cancel := limited(t, time.Duration(kills)*clusterPatience)
	defer cancel()
	p := c.pair(ctx, t, 1, 0)
	mover := p.guests[0]
	p.begin(ctx, random)
	for range kills {
		begin := time.Now()
		if err := p.ackedAfter(ctx, begin.Add(time.Duration(random.IntN(500))*time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		before := mover.sdk.Status().Reconnects
		victim := c.nodeOf(t, mover)
		victim.Kill()
		dead := time.Now()
		if err := p.ackedAfter(ctx, dead, mover); err != nil {
			t.Fatal(err)
		}
		if c.nodeOf(t, mover) == victim {
			t.Errorf("%s is still on node %s, which is dead", mover.name, victim.ID)
		}
		t.Logf("%s acked on node %s %s after node %s died, %d reconnects", mover.name, c.nodeOf(t, mover).ID,
			time.Since(dead).Round(time.Millisecond), victim.ID, mover.sdk.Status().Reconnects-before)
		if err := victim.Run(t); err != nil {
			t.Fatal(err)
		}
		c.WaitHealthy(t)
	}
	total := c.checkHistories(ctx, t, p)
	t.Logf("%d messages, none lost, none twice, in order, no gap", total)
}

// TestLeaderPaused: the leader stands still for 10 s (SIGSTOP) and then goes on as if nothing had happened: nothing acked is lost, and it does not lead
// beside the one that was chosen meanwhile.
func TestLeaderPaused(t *testing.T) {
	together(t)
	const pause = 10 * time.Second
	pauses := rounds(1)
	random := seed(t)
	c := StartCluster(t, 3, ClusterConfig{Args: quickPasswords()})
	ctx, cancel := limited(t, time.Duration(pauses)*clusterPatience)
	defer cancel()
	parties := []*party{c.pair(ctx, t, 1, 0), c.pair(ctx, t, 3, 1), c.pair(ctx, t, 5, 2)}
	for _, p := range parties {
		p.begin(ctx, random)
	}
	for range pauses {
		playPause(t, c, parties, random, pause)
	}
	if err := parties[0].ackedAfter(ctx, time.Now()); err != nil {
		t.Fatal(err)
	}
	total := c.checkHistories(ctx, t, parties...)
	t.Logf("%d pauses of the leader, %d messages, none lost, none twice", pauses, total)
}

func playPause(t *testing.T, c *Cluster, parties []*party, random *rand.Rand, pause time.Duration) {
	t.Helper()
	ctx, cancel := limited(t, clusterPatience)
	defer cancel()
	<-time.After(time.Duration(random.IntN(500)) * time.Millisecond)
	old := c.Leader(t)
	if err := old.Pause(); err != nil {
		t.Fatal(err)
	}
	paused := time.Now()
	over := time.After(pause)
	next := c.Leader(t, old)
	var elsewhere []*guest
	for _, p := range parties {
		for _, g := range p.guests {
			if c.nodeOf(t, g) != old {
				elsewhere = append(elsewhere, g)
			}
		}
	}
	for _, p := range parties {
		of := slices.DeleteFunc(slices.Clone(elsewhere), func(g *guest) bool { return !slices.Contains(p.guests, g) })
		if len(of) == 0 {
			continue
		}
		if err := p.ackedAfter(ctx, time.Now(), of...); err != nil {
			t.Fatalf("while node %s is paused: %v", old.ID, err)
		}
	}
	t.Logf("node %s leads after node %s was paused, everybody elsewhere goes on after %s", next.ID, old.ID, time.Since(paused).Round(time.Millisecond))
	<-over
	if err := old.Continue(); err != nil {
		t.Fatal(err)
	}
	c.WaitHealthy(t)
	if leader := c.Leader(t); leader == old {
		t.Logf("node %s leads again", old.ID)
	}
	for _, p := range parties {
		if err := p.ackedAfter(ctx, time.Now()); err != nil {
			t.Fatalf("after the pause: %v", err)
		}
	}
}

// nodeOf is the node that a guest is connected to, or was last.
func (c *Cluster) nodeOf(t *testing.T, g *guest) *ClusterNode {
	t.Helper()
	route := g.sdk.Status().Route.URL
	for _, n := range c.Nodes {
		if isAt(route, n.Host.IP) {
			return n
		}
	}
	t.Fatalf("%s is at %q, where no node is", g.name, route)
	return nil
}
