//go:build linux

package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// TestDrainToEnd: a node that leads is drained to stop, and another one to leave the cluster: both end with status 0 when their people are elsewhere, and
// nobody misses anything. The one that stopped is still a member and comes back; the one that left is none.
func TestDrainToEnd(t *testing.T) {
	together(t)
	random := seed(t)
	c := StartCluster(t, 3, ClusterConfig{Args: quickPasswords()})
	ctx, cancel := limited(t, clusterPatience)
	defer cancel()
	parties := []*party{c.pair(ctx, t, 1, 0), c.pair(ctx, t, 3, 1), c.pair(ctx, t, 5, 2)}
	for _, p := range parties {
		p.begin(ctx, random)
	}
	goOn := func() {
		t.Helper()
		now := time.Now()
		for _, p := range parties {
			if err := p.ackedAfter(ctx, now); err != nil {
				t.Fatal(err)
			}
		}
	}
	drain := func(n *ClusterNode, by *ClusterNode, how string) {
		t.Helper()
		began := time.Now()
		out, err := by.Ctl(t, t.TempDir(), "cluster", "drain", n.ID, how)
		if err != nil || !strings.Contains(out, "it has left") {
			t.Fatalf("%v: %s", err, out)
		}
		if err := n.Wait(Patience); err != nil {
			t.Fatalf("node %s ended with %v:\n%s", n.ID, err, n.Log(2000))
		}
		t.Logf("drain %s: node %s has ended after %s", how, n.ID, time.Since(began).Round(time.Millisecond))
	}
	stopped := c.Leader(t)
	goOn()
	drain(stopped, stopped, "--stop")
	goOn()
	if s := c.live()[0].ask(t); len(s.Members) != 3 {
		t.Errorf("%d members after a node stopped", len(s.Members))
	}
	if err := stopped.Run(t); err != nil {
		t.Fatal(err)
	}
	c.WaitHealthy(t)
	left := c.Leader(t)
	by := c.Followers(t)[0]
	drain(left, by, "--remove")
	goOn()
	if s := by.ask(t); len(s.Members) != 2 || slices.ContainsFunc(s.Members, func(m ClusterMember) bool { return m.ID == left.ID }) {
		t.Errorf("members after a node left: %+v", s.Members)
	}
	if log := left.Log(1 << 20); !strings.Contains(log, "drained and removed from the cluster") {
		t.Errorf("the node that left says:\n%s", left.Log(3000))
	}
	c.WaitHealthy(t)
	total := c.checkHistories(ctx, t, parties...)
	t.Logf("%d messages, none lost, none twice", total)
}
