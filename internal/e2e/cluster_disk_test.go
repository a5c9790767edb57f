//go:build linux

package e2e

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestFsyncErrorOnOneNode: a node whose disk fails at fsync says so and ends; the others go on without it and lose nothing, and repaired it catches up.
func TestFsyncErrorOnOneNode(t *testing.T) {
	together(t)
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("needs strace")
	}
	if err := exec.Command(strace, "-o", os.DevNull, "true").Run(); err != nil {
		t.Skipf("needs a strace that may trace: %v", err)
	}
	random := seed(t)
	c := StartCluster(t, 3, ClusterConfig{Args: quickPasswords()})
	ctx, cancel := limited(t, clusterPatience)
	defer cancel()
	sick := c.Followers(t)[0]
	if err := sick.Stop(); err != nil {
		t.Fatal(err)
	}
	sick.config.Wrap = []string{strace, "-f", "-qq", "-o", os.DevNull, "-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO:when=60+"}
	if err := sick.Run(t); err != nil {
		t.Fatal(err)
	}
	parties := []*party{c.pair(ctx, t, 1, 0), c.pair(ctx, t, 3, 1), c.pair(ctx, t, 5, 2)}
	for _, p := range parties {
		p.begin(ctx, random)
	}
	if err := sick.Wait(clusterPatience); err == nil || sick.Alive() {
		t.Fatalf("a node with a failing disk goes on, or ended with status 0: %v", err)
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
	sick.config.Wrap = nil
	if err := sick.Run(t); err != nil {
		t.Fatal(err)
	}
	total := c.checkHistories(ctx, t, parties...)
	t.Logf("%d messages, none lost, none twice", total)
}
