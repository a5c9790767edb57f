package raftstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"

	"go.etcd.io/bbolt"

	"teamtalk/protocol"
)

func TestDiskFull(t *testing.T) {
	var free atomic.Uint64
	free.Store(1 << 40)
	cfg := single(t, dataPath(t))
	cfg.FreeSpace = func() (uint64, error) { return free.Load(), nil }
	s := open(t, cfg)
	propose(t, s, "before")
	free.Store(cfg.Tuning.DiskReserve + 32<<20)
	wantRefused(t, s, "small")
	free.Store(80 << 20)
	propose(t, s, "small")
	wantRefused(t, s, string(make([]byte, 30<<20)))
	free.Store(1 << 40)
	propose(t, s, "after")
	if _, values := rows(t, s); len(values) != 3 {
		t.Errorf("%d rows", len(values))
	}
}

// wantRefused wants a refusal that is sure and says why, and reads that go on.
func wantRefused(t *testing.T, s *Store, cmd string) {
	t.Helper()
	_, err := s.Propose(context.Background(), []byte(cmd))
	if protocol.CodeOf(err) != protocol.CodeUnavailable || protocol.IsOutcomeUnknown(err) || !errors.Is(err, errDiskFull) {
		t.Errorf("got %v", err)
	}
	if err := s.View(func(*bbolt.Tx) error { return nil }); err != nil {
		t.Errorf("reads ended: %v", err)
	}
}

// On a real small disk: refused in time, reads go on, it can even start again, and it recovers by itself.
func TestSmallDisk(t *testing.T) {
	disk := t.TempDir()
	if os.Getuid() != 0 {
		t.Skip("needs root to mount a tmpfs")
	}
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=96m"); err != nil {
		t.Skipf("can't mount a tmpfs here: %v", err)
	}
	defer func() { _ = syscall.Unmount(disk, syscall.MNT_DETACH) }()
	cfg := single(t, filepath.Join(disk, "data"))
	cfg.Tuning.DiskReserve = 24 << 20
	s := open(t, cfg)
	var acked int
	for {
		if _, err := s.Propose(t.Context(), fmt.Appendf(nil, "%d%65536d", acked, 0)); err != nil {
			break
		}
		acked++
	}
	if acked < 100 {
		t.Errorf("only %d commands fitted", acked)
	}
	wantRefused(t, s, string(make([]byte, 65536)))
	ballast := filepath.Join(disk, "ballast")
	fillDisk(t, ballast)
	wantRefused(t, s, "on a disk that others filled")
	closeStore(t, s)

	s = open(t, cfg2(t, cfg))
	if _, values := rows(t, s); len(values) != acked {
		t.Errorf("%d rows, acknowledged were %d", len(values), acked)
	}
	eventually(t, "a leader on the full disk", s.IsLeader)
	wantRefused(t, s, "after a restart on a full disk")
	if s.Ready() == nil {
		t.Error("ready on a full disk")
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", disk, "tmpfs", syscall.MS_REMOUNT, "size=400m"); err != nil {
		t.Fatal(err)
	}
	propose(t, s, "space returned")
}

func fillDisk(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := f.Write(make([]byte, 4096)); errors.Is(err, syscall.ENOSPC) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
