//go:build linux

package e2e

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// damages are what happens to files of a node while it is stopped.
func damages() []damage {
	return []damage{
		{"log cut off", "raft.db", func(f *os.File, _ *rand.Rand) error { return f.Truncate(3 * 4096) }},
		{"log with pages of zeros", "raft.db", func(f *os.File, _ *rand.Rand) error {
			_, err := f.WriteAt(make([]byte, 16*4096), 2*4096)
			return err
		}},
		{"log emptied", "raft.db", func(f *os.File, _ *rand.Rand) error { return f.Truncate(0) }},
		{"state with flipped bits", "state-*.db", func(f *os.File, random *rand.Rand) error {
			for _, page := range []int64{0, 1} { // both pages that say where all is
				if err := flip(f, page*4096+16+int64(random.IntN(40))); err != nil {
					return err
				}
			}
			return nil
		}},
		{"state cut off", "state-*.db", func(f *os.File, _ *rand.Rand) error { return f.Truncate(3 * 4096) }},
		{"state gone", "state-*.db", func(f *os.File, _ *rand.Rand) error { return os.Remove(f.Name()) }},
	}
}

type damage struct {
	name, file string
	hurt       func(f *os.File, random *rand.Rand) error
}

func flip(f *os.File, at int64) error {
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		return err
	}
	b[0] ^= 0x10
	_, err := f.WriteAt(b, at)
	return err
}

func (d damage) apply(t *testing.T, dir string, random *rand.Rand) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, d.file))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: %v, %v", d.file, found, err)
	}
	f, err := os.OpenFile(found[0], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := d.hurt(f, random); err != nil {
		t.Fatal(err)
	}
}

// TestDamagedNode: a node whose log or state was damaged while it was stopped says so in one line, with what to do, and ends; it does not come back under
// its id. Removed and emptied, it joins anew and gets all there is.
func TestDamagedNode(t *testing.T) {
	together(t)
	random := seed(t)
	all := damages()
	random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	if !soak() {
		all = all[:1]
	}
	c := StartCluster(t, 3, ClusterConfig{Args: quickPasswords()})
	ctx, cancel := limited(t, time.Duration(len(all))*clusterPatience)
	defer cancel()
	p := c.pair(ctx, t, 1, 0)
	p.begin(ctx, random)
	for round, d := range all {
		ackedByAll(ctx, t, []*party{p})
		place := (round + 1) % 3
		victim := c.Nodes[place]
		if err := victim.Stop(); err != nil {
			t.Fatal(err)
		}
		d.apply(t, victim.Dir, random)
		if err := victim.Run(t); err == nil {
			t.Fatalf("%s: node %s runs", d.name, victim.ID)
		}
		said := lastLine(victim.Log(4000))
		t.Logf("%s: %s", d.name, said)
		for _, want := range []string{victim.Dir, "teamtalkd cluster remove " + victim.ID, "cluster token", "--join"} {
			if !strings.Contains(said, want) {
				t.Errorf("%s: the last line of the log does not say %q", d.name, want)
			}
		}
		other := c.Nodes[(place+1)%3]
		for _, m := range other.ask(t).Members {
			if m.ID == victim.ID && m.Reachable {
				t.Errorf("%s: node %s is reachable", d.name, m.ID)
			}
		}
		if out, err := other.Ctl(t, t.TempDir(), "cluster", "remove", victim.ID); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		c.rejoin(t, place)
		if c.Nodes[place].ID == victim.ID {
			t.Errorf("%s: it has its old id %s again", d.name, victim.ID)
		}
	}
	ackedByAll(ctx, t, []*party{p})
	total := c.checkHistories(ctx, t, p)
	t.Logf("%d damaged nodes replaced, %d messages, none lost, none twice", len(all), total)
}

// TestDamagedWhileRunning: the pages of a running node's state are overwritten. It says so in one line, with what to do, and ends; it does not come back
// under its id, and the others go on.
func TestDamagedWhileRunning(t *testing.T) {
	together(t)
	random := seed(t)
	c := StartCluster(t, 3, ClusterConfig{Args: quickPasswords()})
	ctx, cancel := limited(t, clusterPatience)
	defer cancel()
	p := c.pair(ctx, t, 1, 0)
	p.begin(ctx, random)
	ackedByAll(ctx, t, []*party{p})
	victim := c.Nodes[1+random.IntN(2)]
	damage{"running", "state-*.db", func(f *os.File, _ *rand.Rand) error {
		const first = 2 // the pages before say where all is, and are not read again
		info, err := f.Stat()
		if err != nil {
			return err
		}
		_, err = f.WriteAt(make([]byte, info.Size()-first*4096), first*4096)
		return err
	}}.apply(t, victim.Dir, random)
	if err := victim.Wait(clusterPatience); err == nil || victim.Alive() {
		t.Fatalf("the node goes on, or ended with status 0: %v", err)
	}
	log := victim.Log(1 << 20)
	if strings.Contains(log, "goroutine ") {
		t.Errorf("it ended in a panic, not in a clear line:\n%s", log)
	}
	said := lastLine(log)
	if !strings.Contains(said, "was damaged while this node ran") {
		t.Error("it does not say what happened")
	}
	for range 2 {
		t.Log(said)
		for _, want := range []string{victim.Dir, "teamtalkd cluster remove " + victim.ID, "cluster token", "--join"} {
			if !strings.Contains(said, want) {
				t.Errorf("the last line of the log does not say %q", want)
			}
		}
		if err := victim.Run(t); err == nil {
			t.Fatalf("node %s runs", victim.ID)
		}
		said = lastLine(victim.Log(1 << 20))
	}
	ackedByAll(ctx, t, []*party{p})
	if out, err := c.Leader(t).Ctl(t, t.TempDir(), "cluster", "remove", victim.ID); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	c.rejoin(t, c.placeOf(victim))
	ackedByAll(ctx, t, []*party{p})
	total := c.checkHistories(ctx, t, p)
	t.Logf("%d messages, none lost, none twice", total)
}

// rejoin starts a new node in the place of one that was removed.
func (c *Cluster) rejoin(t *testing.T, place int) {
	t.Helper()
	n := c.prepare(t, place, "")
	if err := n.Run(t); err != nil {
		t.Fatal(err)
	}
	n.ID = n.ask(t).Asked
	c.Nodes[place] = n
	c.WaitHealthy(t)
}
