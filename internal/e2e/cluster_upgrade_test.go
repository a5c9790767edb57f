//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"teamtalk/client"
	"teamtalk/protocol"
)

// The version before is played by this one, held at the level before: it knows nothing of what came since, such as recalling and burning.
const (
	levelBefore = "--cluster-highest-level=1"
	levelWords  = "works once every node of the cluster runs a version that knows it"
)

// upgrade has a node run as the new version from its next start on.
func (n *ClusterNode) upgrade() {
	n.config.Args = slices.DeleteFunc(n.config.Args, func(a string) bool { return a == levelBefore })
}

// downgrade has it run as the version before.
func (n *ClusterNode) downgrade() { n.config.Args = append(n.config.Args, levelBefore) }

// restart stops a node politely and starts it again.
func (n *ClusterNode) restart(t *testing.T) {
	t.Helper()
	if err := n.Stop(); err != nil {
		t.Fatalf("node %s leaves: %v", n.ID, err)
	}
	if err := n.Run(t); err != nil {
		t.Fatalf("node %s comes back: %v", n.ID, err)
	}
}

// levelOf is what a node says of the level, as the command shows it.
func levelOf(t *testing.T, n *ClusterNode) (level, highest int, held []string) {
	t.Helper()
	out, err := n.Ctl(t, t.TempDir(), "cluster", "status", "--json")
	if err != nil {
		t.Fatal(err)
	}
	var s struct {
		Level        int                          `json:"level"`
		HighestLevel int                          `json:"highest_level"`
		HeldBack     []struct{ Node, Why string } `json:"held_back"`
	}
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	for _, h := range s.HeldBack {
		held = append(held, h.Node+": "+h.Why)
	}
	return s.Level, s.HighestLevel, held
}

// awaitLevel waits until all nodes use a level.
func (c *Cluster) awaitLevel(t *testing.T, want int) {
	t.Helper()
	began := time.Now()
	Eventually(t, fmt.Sprintf("level %d", want), func() bool {
		for _, n := range c.live() {
			if level, _, _ := levelOf(t, n); level != want {
				return false
			}
		}
		return true
	})
	t.Logf("level %d after %s", want, time.Since(began).Round(time.Millisecond))
}

// recalls has a guest send a message and take it back; the error is that of taking it back.
func (g *guest) recalls(ctx context.Context, t *testing.T) error {
	t.Helper()
	out, err := g.sdk.Send(ctx, g.with, client.Text("to be taken back"))
	if err == nil {
		err = out.Wait(ctx)
	}
	if err != nil {
		t.Fatalf("%s: %v", g.name, err)
	}
	return g.sdk.Recall(ctx, g.with, out.State().ID)
}

// wantNoRecall wants users of each node to be told why what is new does not work yet.
func (c *Cluster) wantNoRecall(ctx context.Context, t *testing.T, guests []*guest) {
	t.Helper()
	for _, g := range guests {
		var refusal *client.Error
		if err := g.recalls(ctx, t); !errors.As(err, &refusal) || refusal.Code != protocol.CodeForbidden || !strings.Contains(err.Error(), "recalling and burning "+levelWords) {
			t.Errorf("%s recalls: %v", g.name, err)
		}
		out, err := g.sdk.Send(ctx, g.with, client.Rich{Text: "to be burned", BurnAfter: 5 * time.Second})
		if err == nil {
			err = out.Wait(ctx)
		}
		if err == nil || !strings.Contains(err.Error(), "burning "+levelWords) {
			t.Errorf("%s sends what is to be burned: %v", g.name, err)
		}
	}
}

// TestLevels: three nodes of which at last one is of the version before. What is new is refused on each of them, in words, and everything else works;
// once the last one is upgraded it works everywhere within seconds, and no node goes back.
func TestLevels(t *testing.T) {
	together(t)
	c := StartCluster(t, 3, ClusterConfig{Args: append(quickPasswords(), levelBefore)})
	ctx, cancel := limited(t, 2*clusterPatience)
	defer cancel()
	if level, highest, held := levelOf(t, c.Nodes[0]); level != 1 || highest != 1 || held != nil {
		t.Errorf("the version before: level %d of %d, %v", level, highest, held)
	}
	for _, n := range c.Nodes[1:] {
		n.upgrade()
		n.restart(t)
		c.WaitHealthy(t)
	}
	last := c.Nodes[0]
	guests := []*guest{
		c.enter(ctx, t, 1, 0, protocol.WithUser(2), client.Config{}),
		c.enter(ctx, t, 3, 1, protocol.WithUser(4), client.Config{}),
		c.enter(ctx, t, 5, 2, protocol.WithUser(6), client.Config{}),
	}
	c.wantNoRecall(ctx, t, guests)
	_, newest, _ := levelOf(t, c.Nodes[1])
	if newest < 3 { // which brought federation
		t.Errorf("the newest level is %d", newest)
	}
	for _, n := range c.Nodes {
		level, highest, held := levelOf(t, n)
		if level != 1 || highest != newest || len(held) != 1 || !strings.HasPrefix(held[0], last.ID+": version") {
			t.Errorf("node %s says: level %d of %d, held back by %v", n.ID, level, highest, held)
		}
	}
	last.upgrade()
	if err := last.Stop(); err != nil { // while it is away nobody knows what it will know
		t.Fatal(err)
	}
	c.Leader(t)
	c.wantNoRecall(ctx, t, guests)
	if err := last.Run(t); err != nil {
		t.Fatal(err)
	}
	c.awaitLevel(t, newest)
	c.WaitEqual(t)
	for _, g := range guests {
		if err := g.recalls(ctx, t); err != nil {
			t.Errorf("%s recalls: %v", g.name, err)
		}
		out, err := g.sdk.Send(ctx, g.with, client.Rich{Text: "to be burned", BurnAfter: 5 * time.Second})
		if err == nil {
			err = out.Wait(ctx)
		}
		if err != nil {
			t.Errorf("%s sends what is to be burned: %v", g.name, err)
		}
	}
	c.WaitEqual(t)
	c.wantNoWayBack(t, last, newest)
}

// wantNoWayBack wants a node of the version before to be refused: by its own data, and as a newcomer.
func (c *Cluster) wantNoWayBack(t *testing.T, n *ClusterNode, newest int) {
	t.Helper()
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	n.downgrade()
	if err := n.Run(t); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("this node is held at level 1: let it use level %d", newest)) ||
		!strings.Contains(err.Error(), "cluster.highest_level is 1, remove it") || strings.Contains(err.Error(), "damaged") {
		t.Errorf("back to the version before: %v", err)
	}
	n.upgrade()
	if err := n.Run(t); err != nil {
		t.Fatal(err)
	}
	c.WaitHealthy(t)
	newcomer := c.prepare(t, len(c.Nodes), "") // the arguments are those of the version before
	if err := newcomer.Run(t); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("the cluster uses level %d, and the new node can't", newest)) {
		t.Errorf("a newcomer of the version before: %v", err)
	}
	newcomer.upgrade()
	if err := newcomer.Run(t); err != nil { // the token is as good as before
		t.Fatalf("the newcomer as the new version: %v", err)
	}
	newcomer.ID = newcomer.ask(t).Asked
	c.Nodes = append(c.Nodes, newcomer)
	c.WaitHealthy(t)
	if level, highest, held := levelOf(t, newcomer); level != newest || highest != newest || held != nil {
		t.Errorf("the newcomer says: level %d of %d, %v", level, highest, held)
	}
}

// TestRollingUpgrade: each node is stopped politely and comes back as the new version while people talk on all of them. Nothing is lost, nothing comes
// twice, and at the end the cluster uses what is new [TT-SESS-3] [TT-SESS-11] [TT-MSG-3].
func TestRollingUpgrade(t *testing.T) {
	together(t)
	random := seed(t)
	c := StartCluster(t, 3, ClusterConfig{Args: append(quickPasswords(), levelBefore)})
	ctx, cancel := limited(t, 3*clusterPatience)
	defer cancel()
	parties := []*party{c.pair(ctx, t, 1, 0), c.pair(ctx, t, 3, 1), c.pair(ctx, t, 5, 2), c.crowd(ctx, t, 7)}
	for _, p := range parties {
		p.begin(ctx, random)
	}
	var moments []time.Time
	for _, n := range c.Nodes {
		<-time.After(time.Duration(300+random.IntN(700)) * time.Millisecond)
		n.upgrade()
		moments = append(moments, time.Now())
		leads := c.Leader(t) == n
		n.restart(t)
		back := time.Now()
		c.WaitHealthy(t)
		for _, p := range parties {
			if err := p.ackedAfter(ctx, time.Now()); err != nil {
				t.Fatalf("after node %s (leader: %v): %v", n.ID, leads, err)
			}
		}
		t.Logf("node %s (leader: %v) was away for %s", n.ID, leads, back.Sub(moments[len(moments)-1]).Round(time.Millisecond))
	}
	_, newest, _ := levelOf(t, c.Nodes[0])
	c.awaitLevel(t, newest) // while they talk
	total := c.checkHistories(ctx, t, parties...)
	t.Logf("%d messages, none lost, none twice", total)
	if total < 150 {
		t.Errorf("only %d messages: that was no load", total)
	}
	if err := parties[0].guests[0].recalls(ctx, t); err != nil {
		t.Errorf("a recall at the end: %v", err)
	}
	reportFailovers(t, moments, parties)
}
