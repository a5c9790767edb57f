//go:build linux

package e2e

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"teamtalk/federation"
)

// TestFederationF4: an office loses its only node and comes back from a backup that is older than much of what it had acknowledged. Its links stay down until
// an operator says that what it was before is gone; then it gets back from the other office all that had got there, its own people's messages included, and
// what was said there meanwhile; and what it says from then on is taken for new [FED-EP-1] [FED-ID-4] [FED-GET-1].
func TestFederationF4(t *testing.T) {
	together(t)
	random := seed(t)
	c := newCompany(t, random, 1, 1)
	c.introduce(t)
	restores := 1
	if soak() {
		restores = 6
	}
	ctx, cancel := limited(t, time.Duration(restores+1)*abroadPatience)
	defer cancel()
	all := c.talkOf(ctx, t, random)
	for round := range restores {
		c.loseAndRestore(ctx, t, all, c.offices[round%2], random)
	}
	t.Logf("%d restores, %d messages, none lost, none twice", restores, c.checkAll(ctx, t, all))
	c.report(t)
}

// loseAndRestore takes an office back to a backup and has it catch up. Everybody talks before and afterwards.
func (c *company) loseAndRestore(ctx context.Context, t *testing.T, all []*correspondence, hurt *office, random *rand.Rand) {
	t.Helper()
	allArrived(ctx, t, all)
	passphrase, file := filepath.Join(t.TempDir(), "passphrase"), filepath.Join(t.TempDir(), "backup")
	if err := os.WriteFile(passphrase, []byte("correct horse battery staple\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	hurt.operate(t, "backup", "--passphrase-file", passphrase, file)
	saved := 0
	for _, k := range all {
		saved += sum(k.said())
	}
	<-time.After(2 * time.Second)
	for _, k := range all {
		k.silence(t)
	}
	allArrived(ctx, t, all)
	c.waitSent(t) // what had not got away when an office burns down is gone
	for _, k := range all {
		k.leave(t, hurt)
	}
	node := hurt.Nodes[0]
	node.Kill()
	var others []*office
	for _, o := range c.offices {
		if o != hurt {
			others = append(others, o)
		}
	}
	lost := -saved
	for _, k := range all {
		lost += sum(k.said())
		k.begin(ctx, random, others...)
	}
	dir := filepath.Join(t.TempDir(), "restored")
	if out, err := operate(t, hurt.host.Wrap(), filepath.Dir(dir), "restore", "--passphrase-file", passphrase, "--data", dir, file); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	hurt.replace(t, dir)
	hurt.wantRestored(ctx, t)
	for _, k := range all {
		k.silence(t)
	}
	resumed := time.Now()
	hurt.operate(t, "federation", "resume", "--restored")
	for _, k := range all {
		k.comeBack(ctx, t, hurt)
	}
	t.Logf("%s was restored from a backup that at least %d messages were missing of; it had them all %s after it went on", hurt.name, lost, time.Since(resumed).Round(time.Millisecond))
	c.waitLinked(t)
	for _, k := range all {
		k.begin(ctx, random)
	}
}

func sum(of map[string]int) (n int) {
	for _, m := range of {
		n += m
	}
	return n
}

// replace starts a node with other data in the place of the office's only one.
func (o *office) replace(t *testing.T, dir string) {
	t.Helper()
	o.Nodes = nil
	n := o.prepare(t, 0, dir)
	if err := n.Run(t); err != nil {
		t.Fatal(err)
	}
	n.ID = n.ask(t).Asked
	o.Nodes = []*ClusterNode{n}
	o.WaitHealthy(t)
}

// wantRestored wants an office that was restored to keep no links, and to say why.
func (o *office) wantRestored(ctx context.Context, t *testing.T) {
	t.Helper()
	var s federation.Status
	if err := o.Nodes[0].get(ctx, "/api/v1/federation", &s); err != nil {
		t.Fatal(err)
	}
	if !s.Self.Restored || len(s.Links) != 1 || s.Links[0].Up {
		t.Errorf("%s was restored, and says: %+v, %s", o.name, s.Self, describe(s.Links))
	}
}

// leave has those of an office close their clients.
func (k *correspondence) leave(t *testing.T, at *office) {
	t.Helper()
	for _, s := range k.sides {
		if s.office != at {
			continue
		}
		if err := s.guest.sdk.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// comeBack waits until an office has all that was said so far, and has those who left come back.
func (k *correspondence) comeBack(ctx context.Context, t *testing.T, at *office) {
	t.Helper()
	limit, cancel := context.WithTimeout(ctx, abroadPatience)
	defer cancel()
	for _, s := range k.sides {
		if s.office != at {
			continue
		}
		said := k.said()
		before := map[string]int{}
		waitFor(limit, t, k.name+" to be in "+at.name+" as it was", func() bool {
			clear(before)
			for _, l := range at.history(ctx, t, at.Nodes[0], s.user, s.session) {
				who, _, _ := strings.Cut(l.text, " ")
				before[who]++
			}
			for who, n := range said {
				if before[who] < n {
					return false
				}
			}
			return true
		})
		former := s.guest
		k.enterAt(ctx, t, s, 0)
		s.guest.said, s.before = former.said, before
	}
}
