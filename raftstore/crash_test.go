package raftstore

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// The crash test starts this test binary again with these set: it then proposes as fast as it can and says what was
// answered, until it is killed.
const (
	childDir   = "RAFTSTORE_CHILD_DIR"
	childRound = "RAFTSTORE_CHILD_ROUND"
	workers    = 8
)

// churn makes log truncation happen all the time.
var churn = Tuning{TrimInterval: 5 * time.Millisecond, TrailingLogs: 8, Window: 2}

func childMain(dir string) int {
	_, trans := raft.NewInmemTransport("n1")
	s, err := Open(context.Background(), Config{Dir: dir, NodeID: "n1", Transport: trans, Bootstrap: []Member{{"n1", "n1"}},
		Machine: &toy{}, Tuning: churn,
		FreeSpace: func() (uint64, error) { return 1 << 50, nil }, // the disk is to fill up
		Fatal: func(err error) {
			fmt.Fprintln(os.Stderr, "fatal:", err)
			os.Exit(3)
		}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := 0; ; i++ {
				cmd := fmt.Sprintf("%s/%d %d", os.Getenv(childRound), w, i)
				if _, err := s.Propose(context.Background(), []byte(cmd)); err != nil {
					fmt.Fprintln(os.Stderr, err)
					<-time.After(wait) // Fatal, which has the reason, ends the process first
					os.Exit(4)
				}
				fmt.Println(cmd) // one write, so whole or not at all
			}
		})
	}
	wg.Wait()
	return 0
}

// Whatever was answered before kill -9 is there afterwards, once and in order; what was not answered is there once or not.
func TestKillNine(t *testing.T) {
	rounds := 10
	if testing.Short() {
		rounds = 3
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	dir := dataPath(t)
	var acked []string
	for round := range rounds {
		life := time.Duration(20+rnd.IntN(800)) * time.Millisecond
		acked = append(acked, runChild(t, dir, round, life)...)
		if round%3 == 2 {
			verify(t, dir, acked)
		}
	}
	if len(acked) == 0 {
		t.Error("nothing was acknowledged: the test tests nothing")
	}
	verify(t, dir, acked)
	t.Logf("%d commands acknowledged over %d kills", len(acked), rounds)
}

// runChild lets a child work until life is over and returns what it had answered.
func runChild(t *testing.T, dir string, round int, life time.Duration) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), life) // its end is kill -9
	defer cancel()
	acked, stderr, err := child(ctx, dir, round)
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.Exited()) {
		t.Fatalf("round %d ended by itself: %v: %s", round, err, stderr)
	}
	return acked
}

// child runs this binary as a node, under wrap if given.
func child(ctx context.Context, dir string, round int, wrap ...string) (acked []string, stderr string, err error) {
	args := slices.Concat(wrap, []string{os.Args[0], "-test.run=^$"})
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), childDir+"="+dir, fmt.Sprintf("%s=%d", childRound, round))
	var buf bytes.Buffer
	cmd.Stderr = &buf
	out, err := cmd.Output()
	for sc := bufio.NewScanner(bytes.NewReader(out)); sc.Scan(); {
		acked = append(acked, sc.Text())
	}
	if n := len(out); n > 0 && out[n-1] != '\n' {
		acked = acked[:len(acked)-1]
	}
	return acked, buf.String(), err
}

// fatally runs a child that is to end by itself, by Fatal, and wants the reason to be named.
func fatally(t *testing.T, dir string, round int, reason string, wrap ...string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*wait)
	defer cancel()
	acked, stderr, err := child(ctx, dir, round, wrap...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 || !strings.Contains(stderr, reason) {
		t.Fatalf("ended with %v, want exit status 3 and %q: %s", err, reason, stderr)
	}
	return acked
}

// An fsync that fails ends the process; what was answered before is there afterwards.
func TestFailingSyncEndsTheProcess(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("needs strace")
	}
	if err := exec.Command(strace, "-qq", "-o", "/dev/null", "true").Run(); err != nil {
		t.Skipf("strace can't trace here: %v", err)
	}
	dir := dataPath(t)
	var acked []string
	for round, when := range []int{101, 102, 103, 104} { // log and state, pages and meta: each in turn
		acked = append(acked, fatally(t, dir, round, "input/output error", strace, "-f", "-qq", "-o", "/dev/null",
			"-e", "trace=fdatasync", "-e", fmt.Sprintf("inject=fdatasync:error=EIO:when=%d+", when))...)
		verify(t, dir, acked)
	}
	if len(acked) == 0 {
		t.Error("nothing was acknowledged: the test tests nothing")
	}
}

// Without a reserve the disk does fill up: the process ends, and goes on when there is space.
func TestNoSpaceAtAllEndsTheProcess(t *testing.T) {
	disk := t.TempDir()
	if os.Getuid() != 0 {
		t.Skip("needs root to mount a tmpfs")
	}
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=3m"); err != nil {
		t.Skipf("can't mount a tmpfs here: %v", err)
	}
	defer func() { _ = syscall.Unmount(disk, syscall.MNT_DETACH) }()
	dir := filepath.Join(disk, "data")
	acked := fatally(t, dir, 0, "no space left on device")
	if err := syscall.Mount("tmpfs", disk, "tmpfs", syscall.MS_REMOUNT, "size=200m"); err != nil {
		t.Fatal(err)
	}
	if len(acked) == 0 {
		t.Error("nothing was acknowledged: the test tests nothing")
	}
	verify(t, dir, acked)
}

func verify(t *testing.T, dir string, acked []string) {
	t.Helper()
	s := open(t, single(t, dir))
	_, values := rows(t, s) // before there is a leader: what was answered is in the state already
	closeStore(t, s)
	stored := make(map[string]bool)
	next := make(map[string]int)
	for _, v := range values {
		cmd := string(v)
		if stored[cmd] {
			t.Errorf("%q is there twice", cmd)
		}
		stored[cmd] = true
		worker, seq, _ := strings.Cut(cmd, " ")
		if seq != fmt.Sprint(next[worker]) {
			t.Errorf("%q comes where %d was due", cmd, next[worker])
		}
		next[worker]++
	}
	for _, cmd := range acked {
		if !stored[cmd] {
			t.Errorf("%q was acknowledged and is lost", cmd)
		}
	}
}
