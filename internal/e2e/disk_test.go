package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"teamtalk/protocol/pb"
)

// smallDisk mounts a tmpfs of the given size and returns its folder; the test is skipped where that is not allowed.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("needs to mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestDiskFull: with the disk full, writes are refused with a clear error and reads go on; with space again, writes do, without a
// restart. Nothing that was acked is lost [TT-MSG-3] [TT-DIFF-13].
func TestDiskFull(t *testing.T) {
	disk := smallDisk(t, "256m")
	data := filepath.Join(disk, "data")
	s := New(t, ServerConfig{Dir: data, Args: []string{"--users", "8", "--password", "123456", "--store-min-free", "32MiB"}})
	if err := s.Run(t); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*Patience)
	defer cancel()
	c := logIn(t, ctx, s, "user1", pb.ClientType_CLIENT_TYPE_WINDOWS)
	acked := map[string]uint32{}
	say := func(text string, limit time.Duration) error {
		one, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		id, err := c.Say(one, Single(2), text)
		if err == nil {
			acked[text] = id
		}
		return err
	}
	for i := range 20 {
		if err := say(fmt.Sprintf("before %d", i), Patience); err != nil {
			t.Fatal(err)
		}
	}
	ballast := filepath.Join(disk, "ballast")
	fill(t, ballast, disk, 8<<20)
	refused := 0
	Eventually(t, "writes to be refused", func() bool {
		err := say(fmt.Sprintf("full %d", refused), 500*time.Millisecond)
		refused++
		return err != nil
	})
	if out, err := s.Ctl(t, data, "user", "add", "late", "--password", "x"); err == nil {
		t.Error("an operator's write was accepted while the disk is full")
	} else if !strings.Contains(out, "disk") && !strings.Contains(out, "space") {
		t.Errorf("the refusal does not say why: %s", out)
	}
	if _, err := c.History(ctx, Single(2)); err != nil {
		t.Errorf("reading while the disk is full: %v", err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	Eventually(t, "writes to go on", func() bool { return say("after", time.Second) == nil })
	checkAcked(t, ctx, c, acked)
	if err := s.Restart(t); err != nil {
		t.Fatal(err)
	}
	checkAcked(t, ctx, logIn(t, ctx, s, "user1", pb.ClientType_CLIENT_TYPE_WINDOWS), acked)
}

// fill writes a file until only so many bytes are left.
func fill(t *testing.T, path, disk string, left uint64) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	chunk := make([]byte, 1<<20)
	for {
		var st syscall.Statfs_t
		if err := syscall.Statfs(disk, &st); err != nil {
			t.Fatal(err)
		}
		if st.Bavail*uint64(st.Bsize) <= left+uint64(len(chunk)) {
			return
		}
		if _, err := f.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
}

func checkAcked(t *testing.T, ctx context.Context, c *Client, acked map[string]uint32) {
	t.Helper()
	history, err := c.History(ctx, Single(2))
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckDense(history); err != nil {
		t.Error(err)
	}
	for text, id := range acked {
		if int(id) > len(history) || string(history[id-1].GetMsgData()) != text {
			t.Errorf("%q was acked as %d and is not there", text, id)
		}
	}
}

// TestFsyncError: after a failed fsync nothing is certain, so the process says so and ends; what was acked is there after the restart.
func TestFsyncError(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("needs strace")
	}
	if err := exec.Command(strace, "-o", os.DevNull, "true").Run(); err != nil {
		t.Skipf("needs a strace that may trace: %v", err)
	}
	s := New(t, ServerConfig{Args: []string{"--users", "8", "--password", "123456"}})
	if err := s.Run(t); err != nil { // the directory is made without the faults
		t.Fatal(err)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	s.config.Wrap = []string{strace, "-f", "-qq", "-o", os.DevNull, "-e", "trace=fsync,fdatasync",
		"-e", "inject=fsync,fdatasync:error=EIO:when=40+"}
	if err := s.Run(t); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*Patience)
	defer cancel()
	c := logIn(t, ctx, s, "user1", pb.ClientType_CLIENT_TYPE_WINDOWS)
	acked := map[string]uint32{}
	for i := range 1000 {
		text := fmt.Sprintf("message %d", i)
		id, err := c.Say(ctx, Single(2), text)
		if err != nil {
			break
		}
		acked[text] = id
	}
	if len(acked) == 1000 {
		t.Fatal("no fsync failed")
	}
	if err := s.Wait(Patience); err == nil {
		t.Error("the process ended with status 0 after a failed fsync")
	} else if s.Alive() {
		t.Fatalf("the process goes on after a failed fsync: %v", err)
	}
	if log := s.Log(3000); !strings.Contains(log, "input/output error") {
		t.Errorf("the log does not say what happened:\n%s", log)
	} else if strings.Contains(log, "goroutine ") {
		t.Errorf("it ended in a panic, not in a clear line:\n%s", log)
	}
	s.config.Wrap = nil
	if err := s.Run(t); err != nil {
		t.Fatal(err)
	}
	checkAcked(t, ctx, logIn(t, ctx, s, "user1", pb.ClientType_CLIENT_TYPE_WINDOWS), acked)
	t.Logf("%d messages were acked before the failure, all are there", len(acked))
}
