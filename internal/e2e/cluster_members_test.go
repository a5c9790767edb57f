//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"teamtalk/client"
	"teamtalk/protocol"
)

// lonely is a conversation of which one side listens only: what it holds is known to the last message.
func (c *Cluster) lonely(ctx context.Context, t *testing.T, user, place int, cfg client.Config) *party {
	t.Helper()
	return &party{stop: make(chan struct{}), guests: []*guest{c.enter(ctx, t, user, place, protocol.WithUser(protocol.UserID(user+1)), cfg)}}
}

// sayMany has the first guest say so many things, all of them acked.
func (p *party) sayMany(ctx context.Context, t *testing.T, n int) {
	t.Helper()
	g := p.guests[0]
	for range n {
		s, err := g.say(ctx, len(g.said)+1)
		if err == nil {
			err = g.await(ctx, []saying{s})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestJoinAndRemove: a third node joins while people talk, gets all there was before it and takes part; removed, it says so and ends, and it does not come
// back with its old data.
func TestJoinAndRemove(t *testing.T) {
	together(t)
	random := seed(t)
	c := StartCluster(t, 2, ClusterConfig{Args: quickPasswords()})
	ctx, cancel := limited(t, clusterPatience)
	defer cancel()
	before := c.lonely(ctx, t, 3, 1, client.Config{})
	before.sayMany(ctx, t, 300)
	if out, err := c.Leader(t).Ctl(t, t.TempDir(), "cluster", "snapshot"); err != nil { // what the new node gets is not in the log only
		t.Fatalf("%v: %s", err, out)
	}
	p := c.pair(ctx, t, 1, 0)
	p.begin(ctx, random)
	began := time.Now()
	third := c.Join(t)
	t.Logf("node %s votes after %s", third.ID, time.Since(began).Round(time.Millisecond))
	if err := p.ackedAfter(ctx, time.Now()); err != nil {
		t.Fatal(err)
	}
	c.checkHistories(ctx, t, before, p)

	if out, err := c.Nodes[0].Ctl(t, t.TempDir(), "cluster", "remove", third.ID); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	err := third.Wait(Patience)
	if err == nil || third.Alive() {
		t.Errorf("the removed node ended with %v", err)
	}
	if log := third.Log(3000); !strings.Contains(log, "was removed from its cluster") {
		t.Errorf("the removed node does not say why it ended:\n%s", log)
	}
	c.WaitHealthy(t)
	began = time.Now()
	if err = third.Run(t); err == nil { // it may start before it learns that it is not wanted
		if err = third.Wait(Patience); third.Alive() {
			t.Errorf("a removed node runs again with its old data: %v", err)
		}
	}
	t.Logf("started again with its old data it ended after %s: %s", time.Since(began).Round(time.Millisecond), lastLine(third.Log(2000)))
	if log := third.Log(1 << 20); strings.Contains(log, "the other nodes refuse it") { // which it believes after ten seconds only
		t.Errorf("a removed node that is started again does not find out by itself:\n%s", log)
	}
	for _, n := range c.live() {
		if s := n.ask(t); len(s.Members) != 2 {
			t.Errorf("node %s knows %d members", n.ID, len(s.Members))
		}
	}
}

func lastLine(log string) string {
	log = strings.TrimSpace(log)
	return log[strings.LastIndex(log, "\n")+1:]
}

// TestDrain: a node that is drained sends its people away; they miss nothing, and then it can be stopped and leaves nothing behind [TT-SESS-24].
func TestDrain(t *testing.T) {
	together(t)
	random := seed(t)
	c := StartCluster(t, 3, ClusterConfig{Args: quickPasswords()})
	ctx, cancel := limited(t, clusterPatience)
	defer cancel()
	parties := []*party{c.pair(ctx, t, 1, 0), c.pair(ctx, t, 3, 0), c.pair(ctx, t, 5, 0)}
	for _, p := range parties {
		p.begin(ctx, random)
	}
	node := c.Nodes[0]
	on := func() (n int) {
		for _, p := range parties {
			for _, g := range p.guests {
				if c.nodeOf(t, g) == node {
					n++
				}
			}
		}
		return n
	}
	if on() == 0 {
		t.Fatal("nobody is on the node that is to be drained")
	}
	began := time.Now()
	if out, err := c.Nodes[1].Ctl(t, t.TempDir(), "cluster", "drain", node.ID); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	Eventually(t, "everybody to be elsewhere", func() bool { return on() == 0 })
	t.Logf("drained after %s", time.Since(began).Round(time.Millisecond))
	if err := node.Stop(); err != nil {
		t.Errorf("the drained node ended with %v", err)
	}
	stopped := time.Now()
	for _, p := range parties {
		if err := p.ackedAfter(ctx, stopped); err != nil {
			t.Fatal(err)
		}
	}
	if err := node.Run(t); err != nil {
		t.Fatal(err)
	}
	total := c.checkHistories(ctx, t, parties...)
	t.Logf("%d messages, none lost, none twice", total)
}

// TestBackupAndRestore: a backup that is made while people talk becomes a cluster of its own elsewhere, with a prefix of the conversation that has all that
// was acked before the backup began; a client of the former cluster that comes with its cursor is told that it missed something.
func TestBackupAndRestore(t *testing.T) {
	together(t)
	random := seed(t)
	c := StartCluster(t, 3, ClusterConfig{Args: quickPasswords()})
	ctx, cancel := limited(t, clusterPatience)
	defer cancel()
	kept := &client.MemoryStorage{}
	p := &party{stop: make(chan struct{}), guests: []*guest{
		c.enter(ctx, t, 1, 0, protocol.WithUser(2), client.Config{Storage: kept}),
		c.enter(ctx, t, 2, 1, protocol.WithUser(1), client.Config{}),
	}}
	p.begin(ctx, random)
	if err := p.ackedAfter(ctx, time.Now().Add(1500*time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	acked := p.acked()
	dir := t.TempDir()
	file := filepath.Join(dir, "backup")
	if out, err := c.Followers(t)[0].Ctl(t, dir, "backup", file); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := p.ackedAfter(ctx, time.Now()); err != nil {
		t.Fatal(err)
	}
	log, err := p.end(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.guests[0].sdk.Close(); err != nil {
		t.Fatal(err)
	}
	before := savedCursor(t, kept)

	restored := c.alone(t, filepath.Join(dir, "restored"), func(data string) {
		if out, err := operate(t, nil, dir, "restore", "--data", data, file); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	})
	got := restored.history(ctx, t, restored.Nodes[0], 1, protocol.WithUser(2))
	if len(got) < acked || len(got) > len(log) {
		t.Fatalf("%d messages were restored; %d were acked before the backup began, %d are there in all", len(got), acked, len(log))
	}
	if err := sameLines(got, log[:len(got)]); err != nil {
		t.Error(err)
	}
	t.Logf("%d messages restored, at least %d were due, %d were said in all", len(got), acked, len(log))
	restored.expectGap(ctx, t, 1, kept, before)
}

// TestRecoverFromLostQuorum: two of three nodes are lost for good. The one that is left serves reads only, until an operator makes it a cluster of its own:
// then it has all that it had, with a new history, takes messages, and lets new nodes join.
func TestRecoverFromLostQuorum(t *testing.T) {
	together(t)
	c := StartCluster(t, 3, ClusterConfig{Args: quickPasswords()})
	ctx, cancel := limited(t, clusterPatience)
	defer cancel()
	kept := &client.MemoryStorage{}
	p := c.lonely(ctx, t, 1, 0, client.Config{Storage: kept})
	p.sayMany(ctx, t, 50)
	log, err := p.end(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.guests[0].sdk.Close(); err != nil {
		t.Fatal(err)
	}
	before := savedCursor(t, kept)
	c.WaitEqual(t) // the node that is left has all, which in life is luck
	left := c.Followers(t)[0]
	for _, n := range c.Nodes {
		n.Kill()
	}
	dir := t.TempDir()
	if out, err := operate(t, nil, dir, "cluster", "recover", "--data", left.Dir); err == nil || !strings.Contains(out, "Never again") {
		t.Fatalf("it recovers without being told twice, or without a warning: %v: %s", err, out)
	}
	recovered := c.alone(t, left.Dir, func(data string) {
		out, err := operate(t, nil, dir, "cluster", "recover", "--data", data, "--yes", "--json")
		var r struct{ Members []string }
		if err != nil || json.Unmarshal([]byte(out), &r) != nil || len(r.Members) != 3 {
			t.Fatalf("%v: %s", err, out)
		}
	})
	if err := sameLines(recovered.history(ctx, t, recovered.Nodes[0], 1, protocol.WithUser(2)), log); err != nil {
		t.Error(err)
	}
	recovered.expectGap(ctx, t, 1, kept, before)
	recovered.Join(t)
	again := recovered.lonely(ctx, t, 3, 1, client.Config{})
	again.sayMany(ctx, t, 5)
	recovered.checkHistories(ctx, t, again)
}

// acked is how many messages of all guests are acked.
func (p *party) acked() (n int) {
	for _, g := range p.guests {
		g.mu.Lock()
		n += len(g.acks)
		g.mu.Unlock()
	}
	return n
}

// alone makes a cluster of one node out of a data directory, on a host that was not used so far.
func (c *Cluster) alone(t *testing.T, dir string, rebuild func(dir string)) *Cluster {
	t.Helper()
	rebuild(dir)
	other := &Cluster{config: c.config, hosts: c.hosts[len(c.Nodes):]}
	n := other.prepare(t, 0, dir)
	if err := n.Run(t); err != nil {
		t.Fatal(err)
	}
	n.ID = n.ask(t).Asked
	other.Nodes = append(other.Nodes, n)
	other.WaitHealthy(t)
	return other
}

// savedCursor is how far a stored session has come.
func savedCursor(t *testing.T, s client.Storage) protocol.Cursor {
	t.Helper()
	saved, err := s.Load()
	if err != nil || saved.Cursor == 0 || len(saved.Token) == 0 {
		t.Fatalf("nothing to resume with: cursor %d, %v", saved.Cursor, err)
	}
	return saved.Cursor
}

// expectGap has a session of another history come back.
func (c *Cluster) expectGap(ctx context.Context, t *testing.T, user int, kept client.Storage, before protocol.Cursor) {
	t.Helper()
	g := c.enter(ctx, t, user, 0, protocol.WithUser(protocol.UserID(user+1)), client.Config{Storage: kept})
	if err := g.until(ctx, "a gap", func() bool { return len(g.gaps) > 0 }); err != nil {
		t.Fatalf("a session with cursor %d of another history: %v", before, err)
	}
	t.Logf("the session of the former history was told: %s", g.gaps[0])
}
