//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"teamtalk/internal/simdisk"
	"teamtalk/protocol/pb"
)

// diskSync is how long an fsync takes: so a cut finds most nodes in the middle of one, with writes that are not synced.
const diskSync = 3 * time.Millisecond

// disks are those of a cluster's nodes, by their places.
type disks []*simdisk.Disk

// folder mounts a disk for the node of a place; it goes with the test.
func (d *disks) folder(tb testing.TB, place int) string {
	tb.Helper()
	dir := tb.TempDir()
	disk, err := simdisk.New(dir)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		limit := time.After(Patience)
		again := time.NewTicker(50 * time.Millisecond)
		defer again.Stop()
		for err := disk.Close(); err != nil; err = disk.Close() { // it may be busy for a moment: what is mounted is copied for each host that another test makes
			select {
			case <-again.C:
			case <-limit:
				tb.Error(err)
				return
			}
		}
	})
	*d = append((*d)[:place], disk)
	return dir
}

// startOnDisks starts a cluster each node of which has a disk that can lose power.
func startOnDisks(t *testing.T, nodes int, args ...string) (*Cluster, disks) {
	t.Helper()
	if err := simdisk.Available(); err != nil {
		t.Skip(err)
	}
	var d disks
	c := StartCluster(t, nodes, ClusterConfig{Args: append(quickPasswords(), args...), Folder: d.folder})
	for _, n := range c.Nodes { // the authority for clients was copied by the test, which has to sync it itself
		syncAll(t, filepath.Join(n.Dir, "tls"))
	}
	for _, disk := range d {
		disk.SlowSync(diskSync)
	}
	return c, d
}

// syncAll makes a directory durable with the files in it.
func syncAll(t *testing.T, dir string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(names, dir) {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// cutPower takes the power from some nodes at the same instant, and what processes do after that is undone with what they had not synced.
func (c *Cluster) cutPower(d disks, random *rand.Rand, places ...int) {
	for _, place := range places {
		d[place].Cut(random)
	}
	for _, place := range places {
		c.Nodes[place].Kill()
	}
}

// powerOn starts the nodes with what their disks still have.
func (c *Cluster) powerOn(t *testing.T, d disks, places ...int) {
	t.Helper()
	var all sync.WaitGroup
	for _, place := range places {
		if err := d[place].PowerOn(); err != nil {
			t.Fatal(err)
		}
		all.Go(func() { // ends when the node is ready or has failed
			if err := c.Nodes[place].Run(t); err != nil {
				t.Errorf("node %s: %v", c.Nodes[place].ID, err)
			}
		})
	}
	if all.Wait(); t.Failed() {
		t.FailNow()
	}
}

// survivors says what is left of writes that were not synced: nothing in one round, a part in the next.
func survivors(round int, random *rand.Rand) *rand.Rand {
	if round%2 == 0 {
		return nil
	}
	return rand.New(rand.NewPCG(random.Uint64(), random.Uint64()))
}

// TestPowerLossOfOneNode: the power of one node, the leader or another, fails under load. Whatever it had not synced is gone, all or in part; it comes back
// and has what the others have, and nothing acked is lost [TT-MSG-3] [TT-MSG-4] [TT-SESS-11].
func TestPowerLossOfOneNode(t *testing.T) {
	together(t)
	cuts := rounds(1)
	random := seed(t)
	c, d := startOnDisks(t, 3)
	ctx, cancel := limited(t, time.Duration(cuts)*clusterPatience)
	defer cancel()
	parties := []*party{c.pair(ctx, t, 1, 0), c.pair(ctx, t, 3, 1), c.pair(ctx, t, 5, 2)}
	for _, p := range parties {
		p.begin(ctx, random)
	}
	for round := range cuts {
		ackedByAll(ctx, t, parties)
		<-time.After(time.Duration(random.IntN(500)) * time.Millisecond)
		victim := c.placeOf(c.Leader(t))
		if round%2 > 0 {
			victim = random.IntN(3)
		}
		c.cutPower(d, survivors(random.IntN(2), random), victim)
		ackedByAll(ctx, t, parties)
		c.powerOn(t, d, victim)
		c.WaitHealthy(t)
	}
	ackedByAll(ctx, t, parties)
	total := c.checkHistories(ctx, t, parties...)
	t.Logf("%d cuts, %d messages, none lost, none twice; disks: %s", cuts, total, d)
}

// TestPowerLossOfAllNodes: the power of all three nodes fails at the same instant under load: what was acked was synced on most of them, so all of it is
// there when they are back, once and in order [TT-MSG-3] [TT-MSG-4] [TT-SESS-11].
func TestPowerLossOfAllNodes(t *testing.T) {
	together(t)
	cuts := rounds(2)
	random := seed(t)
	c, d := startOnDisks(t, 3)
	ctx, cancel := limited(t, time.Duration(cuts)*clusterPatience)
	defer cancel()
	parties := []*party{c.pair(ctx, t, 1, 0), c.pair(ctx, t, 3, 1), c.crowd(ctx, t, 5)}
	for _, p := range parties {
		p.begin(ctx, random)
	}
	for round := range cuts {
		ackedByAll(ctx, t, parties)
		<-time.After(time.Duration(random.IntN(500)) * time.Millisecond)
		c.cutPower(d, survivors(round, random), 0, 1, 2)
		c.powerOn(t, d, 0, 1, 2)
		c.WaitHealthy(t)
	}
	ackedByAll(ctx, t, parties)
	total := c.checkHistories(ctx, t, parties...)
	t.Logf("%d cuts of all, %d messages, none lost, none twice; disks: %s", cuts, total, d)
}

// ackedByAll waits until everybody has said something from now on that was acked.
func ackedByAll(ctx context.Context, t *testing.T, parties []*party) {
	t.Helper()
	now := time.Now()
	for _, p := range parties {
		if err := p.ackedAfter(ctx, now); err != nil {
			t.Fatal(err)
		}
	}
}

func (c *Cluster) placeOf(n *ClusterNode) int {
	for place, other := range c.Nodes {
		if other == n {
			return place
		}
	}
	return -1
}

// String is what the disks were asked to do.
func (d disks) String() string {
	var s string
	for i, disk := range d {
		n := disk.Counts()
		s += fmt.Sprintf("%d: %d writes, %d syncs (%d of directories), %d pages and changes lost; ", i+1, n.Writes, n.Syncs, n.DirectorySyncs, n.Lost)
	}
	return strings.TrimSuffix(s, "; ")
}

// TestPowerLossAlone: the same for a server that is alone. With a disk whose fsync lies, what was acked is gone: so these tests can fail.
func TestPowerLossAlone(t *testing.T) {
	for name, lies := range map[string]bool{"honest disk": false, "lying disk": true} {
		t.Run(name, func(t *testing.T) {
			random := seed(t)
			if err := simdisk.Available(); err != nil {
				t.Skip(err)
			}
			var d disks
			s := New(t, ServerConfig{Dir: filepath.Join(d.folder(t, 0), "n1"), Args: append(quickPasswords(), "--users", "8", "--password", "123456")})
			if err := s.Run(t); err != nil {
				t.Fatal(err)
			}
			syncAll(t, filepath.Join(s.Dir, "tls"))
			d[0].SlowSync(diskSync)
			talkers := []*talker{{user: 1, chat: Single(2), acked: map[string]uint32{}}, {user: 3, chat: Single(4), acked: map[string]uint32{}}}
			for round := range rounds(2) {
				d[0].LieSync(lies)
				loadUntil(t, s, talkers, time.Duration(500+random.IntN(500))*time.Millisecond, func() { d[0].Cut(survivors(round, random)) })
				if err := d[0].PowerOn(); err != nil {
					t.Fatal(err)
				}
				if err := s.Run(t); err != nil {
					t.Fatal(err)
				}
				if lies {
					if missing := s.missing(t, talkers); missing == 0 {
						t.Error("a disk that lost all writes since the start lost no message that was acked")
					}
					return
				}
				checkTalkers(t, s, talkers)
			}
			t.Logf("%d and %d messages acked; disk %s", len(talkers[0].acked), len(talkers[1].acked), d)
		})
	}
}

// loadUntil has talkers talk for a while until something happens to the server, which ends then.
func loadUntil(t *testing.T, s *Server, talkers []*talker, after time.Duration, happens func()) {
	t.Helper()
	ctx, cancel := limited(t, Patience)
	defer cancel()
	var all sync.WaitGroup
	for _, k := range talkers {
		all.Go(func() { // ends when the server is killed
			if err := k.talk(ctx, s.Addr.TCP); err != nil {
				t.Error(err)
			}
		})
	}
	before := talkers[0].acks.Load()
	Eventually(t, "acks", func() bool { return talkers[0].acks.Load() > before }) // else there is nothing to lose
	<-time.After(after)
	happens()
	s.Kill()
	all.Wait()
}

// missing is how many messages were acked that the server does not have.
func (s *Server) missing(t *testing.T, talkers []*talker) (n int) {
	t.Helper()
	ctx, cancel := limited(t, Patience)
	defer cancel()
	for _, k := range talkers {
		history, err := logIn(t, ctx, s, fmt.Sprintf("user%d", k.user), pb.ClientType_CLIENT_TYPE_WINDOWS).History(ctx, k.chat)
		if err != nil {
			t.Fatal(err)
		}
		n += max(0, len(k.acked)-len(history))
	}
	return n
}
