//go:build linux

package e2e

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"teamtalk/protocol"
)

// TestFullDiskOnOneNode: the disk of the leader is nearly full: it hands the lead over. Then it is full: that node takes no entries any more and sends its
// people to the others, where everybody goes on; with space again it catches up and takes people, and nothing acked is lost [TT-MSG-3].
func TestFullDiskOnOneNode(t *testing.T) {
	together(t)
	const reserve = 8 << 20 // below it a leader refuses writes, below half of it a follower takes none
	random := seed(t)
	c, d := startOnDisks(t, 3, "--store-min-free", "8MiB")
	ctx, cancel := limited(t, clusterPatience)
	defer cancel()
	parties := []*party{c.pair(ctx, t, 1, 0), c.pair(ctx, t, 3, 1), c.pair(ctx, t, 5, 2)}
	for _, p := range parties {
		p.begin(ctx, random)
	}
	ackedByAll(ctx, t, parties)
	full := c.Leader(t)
	disk := d[c.placeOf(full)]
	disk.Limit(disk.Used() + reserve + reserve/8)
	began := time.Now()
	next := c.Leader(t, full)
	t.Logf("node %s leads %s after the disk of node %s was nearly full", next.ID, time.Since(began).Round(time.Millisecond), full.ID)
	full.awaitGivenUp(ctx, t, "disk_full")
	ackedByAll(ctx, t, parties)

	disk.Limit(disk.Used() + reserve/4)
	now := time.Now()
	elsewhere := c.guestsNotOn(t, full, parties)
	awaitGuests(ctx, t, elsewhere, now)
	t.Logf("%d people on other nodes go on", len(elsewhere))
	Eventually(t, "the full node to be empty", func() bool {
		s, err := full.Metrics(ctx, `teamtalk_gateway_sessions`)
		return err == nil && s == 0
	})
	t.Logf("node %s has sent its people away %s after its disk was full", full.ID, time.Since(now).Round(time.Millisecond))
	ackedByAll(ctx, t, parties)
	disk.Limit(0)
	c.WaitHealthy(t)
	ackedByAll(ctx, t, parties)
	Eventually(t, "the node to take people again", func() bool { return strings.Contains(full.Log(1<<20), "clients are taken again") })
	if got := c.history(ctx, t, full, 1, protocol.WithUser(2)); len(got) == 0 {
		t.Error("the node that was full shows nothing")
	}
	total := c.checkHistories(ctx, t, parties...)
	t.Logf("%d messages, none lost, none twice; disks: %s", total, d)
}

// awaitGivenUp waits until a node says that it has handed over the lead for a reason.
func (n *ClusterNode) awaitGivenUp(ctx context.Context, t *testing.T, reason string) {
	t.Helper()
	Eventually(t, "the node to have handed over the lead: "+reason, func() bool {
		times, err := n.Metrics(ctx, `teamtalk_raftstore_leadership_given_up_total{reason="`+reason+`"}`)
		return err == nil && times >= 1 // a busy machine may have it lead again, and give up again
	})
}

// guestsNotOn are those who are connected to other nodes.
func (c *Cluster) guestsNotOn(t *testing.T, n *ClusterNode, parties []*party) (others []*guest) {
	t.Helper()
	for _, p := range parties {
		for _, g := range p.guests {
			if c.nodeOf(t, g) != n {
				others = append(others, g)
			}
		}
	}
	return others
}

// awaitGuests waits until each of some has said something after a moment that was acked.
func awaitGuests(ctx context.Context, t *testing.T, guests []*guest, moment time.Time) {
	t.Helper()
	for _, g := range guests {
		alone := &party{guests: []*guest{g}}
		if err := alone.ackedAfter(ctx, moment); err != nil {
			t.Fatalf("%s: %v", g.name, err)
		}
	}
}

// TestSlowDisk: a follower whose fsync is slow holds up nobody on other nodes. A leader's does, and so it hands the lead over; a leader of which a write
// hangs is replaced.
func TestSlowDisk(t *testing.T) {
	if os.Getenv("TT_SOAK") == "" {
		t.Skip("half a minute of slow disks: TT_SOAK=1 has it")
	}
	const slow, hangs = 400 * time.Millisecond, 8 * time.Second // a write has two fsyncs
	random := seed(t)
	c, d := startOnDisks(t, 3)
	ctx, cancel := limited(t, clusterPatience)
	defer cancel()
	parties := []*party{c.pair(ctx, t, 1, 0), c.pair(ctx, t, 3, 1), c.pair(ctx, t, 5, 2)}
	for _, p := range parties {
		p.begin(ctx, random)
	}
	ackedByAll(ctx, t, parties)
	t.Logf("healthy: %s to an ack (median)", c.medianAck(ctx, t, parties, nil))

	follower := c.Followers(t)[0]
	d[c.placeOf(follower)].SlowSync(slow)
	median := c.medianAck(ctx, t, parties, follower)
	t.Logf("follower %s syncs in %s: %s to an ack on the other nodes", follower.ID, slow, median)
	if median > slow*3/2 { // it would be two fsyncs of the log at least, and two of the state
		t.Errorf("a slow follower holds up the others: %s", median)
	}
	d[c.placeOf(follower)].SlowSync(diskSync)
	c.WaitHealthy(t)

	leader := c.Leader(t)
	d[c.placeOf(leader)].SlowSync(slow)
	began := time.Now()
	next := c.Leader(t, leader)
	t.Logf("leader %s syncs in %s: node %s leads after %s", leader.ID, slow, next.ID, time.Since(began).Round(time.Millisecond))
	leader.awaitGivenUp(ctx, t, "disk_slow")
	t.Logf("%s to an ack on the other nodes", c.medianAck(ctx, t, parties, leader))
	d[c.placeOf(leader)].SlowSync(diskSync)
	c.WaitHealthy(t)

	leader = c.Leader(t)
	d[c.placeOf(leader)].SlowSync(hangs)
	began = time.Now()
	awaitGuests(ctx, t, c.guestsNotOn(t, leader, parties), began.Add(time.Second))
	next = c.Leader(t, leader)
	t.Logf("a write of leader %s hangs: node %s leads, everybody elsewhere goes on after %s at most", leader.ID, next.ID, time.Since(began).Round(time.Millisecond))
	if time.Since(began) > 2*hangs {
		t.Errorf("the others waited until the write had ended, for %s", time.Since(began))
	}
	d[c.placeOf(leader)].SlowSync(diskSync)
	c.WaitHealthy(t)
	ackedByAll(ctx, t, parties)
	total := c.checkHistories(ctx, t, parties...)
	t.Logf("%d messages, none lost, none twice", total)
}

// medianAck is how long acks take for people on other nodes than one, over what is said from now on for a second.
func (c *Cluster) medianAck(ctx context.Context, t *testing.T, parties []*party, except *ClusterNode) time.Duration {
	t.Helper()
	from := time.Now()
	guests := c.guestsNotOn(t, except, parties)
	awaitGuests(ctx, t, guests, from.Add(time.Second))
	var took []time.Duration
	for _, g := range guests {
		g.mu.Lock()
		for _, a := range g.acks {
			if a.said.After(from) {
				took = append(took, a.acked.Sub(a.said))
			}
		}
		g.mu.Unlock()
	}
	slices.Sort(took)
	return took[len(took)/2].Round(100 * time.Microsecond)
}

// TestFsyncErrorOnLeader: a leader of which an fsync fails says so and ends; the others choose another one and lose nothing.
func TestFsyncErrorOnLeader(t *testing.T) {
	together(t)
	random := seed(t)
	c, d := startOnDisks(t, 3)
	ctx, cancel := limited(t, clusterPatience)
	defer cancel()
	parties := []*party{c.pair(ctx, t, 1, 0), c.pair(ctx, t, 3, 1), c.pair(ctx, t, 5, 2)}
	for _, p := range parties {
		p.begin(ctx, random)
	}
	ackedByAll(ctx, t, parties)
	sick := c.Leader(t)
	d[c.placeOf(sick)].FailSync(true)
	if err := sick.Wait(Patience); err == nil || sick.Alive() {
		t.Fatalf("a leader with a failing disk goes on, or ended with status 0: %v", err)
	}
	dead := time.Now()
	if log := sick.Log(4000); !strings.Contains(log, "input/output error") {
		t.Errorf("the log does not say what happened:\n%s", log)
	} else if strings.Contains(log, "goroutine ") {
		t.Errorf("it ended in a panic, not in a clear line:\n%s", log)
	}
	for _, p := range parties {
		if err := p.ackedAfter(ctx, dead); err != nil {
			t.Fatalf("without node %s: %v", sick.ID, err)
		}
	}
	t.Logf("everybody goes on %s after the node ended", time.Since(dead).Round(time.Millisecond))
	d[c.placeOf(sick)].FailSync(false)
	if err := sick.Run(t); err != nil {
		t.Fatal(err)
	}
	c.WaitHealthy(t)
	total := c.checkHistories(ctx, t, parties...)
	t.Logf("%d messages, none lost, none twice", total)
}
