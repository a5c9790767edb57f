package raftstore

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

func testLogs(t *testing.T, durable func() uint64) *logStore {
	t.Helper()
	b, err := openBolt(filepath.Join(t.TempDir(), logName))
	if err != nil {
		t.Fatal(err)
	}
	l := &logStore{bolt: b, fail: func(err error) { t.Errorf("fatal: %v", err) }, durable: durable, leading: func() bool { return true },
		space: noSpaceLimit(), clock: time.Now, limit: 1 << 40, large: make(chan struct{}, 1), holds: make(map[*logHold]struct{})}
	t.Cleanup(func() {
		if err := l.close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// fill writes entries of term 2.
func fill(t *testing.T, l *logStore, first, last uint64, size int) {
	t.Helper()
	for i := first; i <= last; i++ {
		data := encodeEntry(1, [][]byte{make([]byte, size)})
		if err := l.StoreLog(&raft.Log{Index: i, Term: 2, Type: raft.LogCommand, Data: data}); err != nil {
			t.Fatal(err)
		}
	}
}

func bounds(t *testing.T, l *logStore) [2]uint64 {
	t.Helper()
	first, err := l.FirstIndex()
	if err != nil {
		t.Fatal(err)
	}
	last, err := l.LastIndex()
	if err != nil {
		t.Fatal(err)
	}
	// Nothing may be left over inside or outside.
	for i := uint64(1); i < 60; i++ {
		var got raft.Log
		err := l.GetLog(i, &got)
		if in := i >= first && i <= last && first > 0; in && err != nil || !in && !errors.Is(err, raft.ErrLogNotFound) {
			t.Errorf("entry %d of %d to %d: %v", i, first, last, err)
		}
	}
	return [2]uint64{first, last}
}

func TestDeleteRange(t *testing.T) {
	const durable = 20
	tests := map[string]struct {
		low, high uint64
		want      [2]uint64
		fails     bool
	}{
		"prefix":                       {1, 10, [2]uint64{11, 50}, false},
		"prefix beyond the state":      {1, 30, [2]uint64{20, 50}, false},
		"suffix":                       {40, 50, [2]uint64{1, 39}, false},
		"suffix and further":           {40, 99, [2]uint64{1, 39}, false},
		"suffix that was executed":     {20, 50, [2]uint64{1, 50}, true},
		"everything, after an install": {1, 50, [2]uint64{0, 0}, false},
		"the middle":                   {10, 20, [2]uint64{1, 50}, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := testLogs(t, func() uint64 { return durable })
			l.fail = func(error) {}
			fill(t, l, 1, 50, 100)
			if err := l.DeleteRange(tt.low, tt.high); (err != nil) != tt.fails {
				t.Errorf("got %v", err)
			}
			if got := bounds(t, l); got != tt.want {
				t.Errorf("left is %d, want %d", got, tt.want)
			}
			var sum int64
			for _, s := range l.sizes {
				sum += s.bytes
			}
			if sum != l.bytes {
				t.Errorf("%d bytes are counted, %d are there", l.bytes, sum)
			}
		})
	}
}

func TestHoldKeepsTheLog(t *testing.T) {
	now := time.Unix(1000, 0)
	l := testLogs(t, func() uint64 { return 50 })
	l.clock = func() time.Time { return now }
	fill(t, l, 1, 50, 100)
	step := func(what string, want [2]uint64) {
		t.Helper()
		if err := l.DeleteRange(1, 40); err != nil {
			t.Fatal(err)
		}
		if got := bounds(t, l); got != want {
			t.Errorf("%s: left is %d, want %d", what, got, want)
		}
	}
	a, b := l.hold(), l.hold()
	l.setHold(a, 10)
	step("one index unknown", [2]uint64{1, 50})
	l.setHold(b, 20)
	step("both known", [2]uint64{10, 50})
	l.release(a, 0)
	step("one released", [2]uint64{20, 50})
	l.release(b, time.Minute)
	step("released, lingering", [2]uint64{20, 50})
	now = now.Add(2 * time.Minute)
	step("time is over", [2]uint64{41, 50})
}

func TestTrimByBytes(t *testing.T) {
	l := testLogs(t, func() uint64 { return 48 })
	l.limit = 20 << 10
	fill(t, l, 1, 50, 1<<10)
	select {
	case <-l.large:
	default:
		t.Fatal("nobody was told that the log is large")
	}
	if err := l.trim(); err != nil {
		t.Fatal(err)
	}
	got := bounds(t, l)
	if got[0] <= 30 || got[1] != 50 || got[0] > 50-keptLogs+1 {
		t.Errorf("left is %d", got)
	}
}

// A follower refuses entries before the disk is full, but not between a truncation and the append that belongs to it.
func TestFollowerRefusesWhenTheDiskFills(t *testing.T) {
	l := testLogs(t, func() uint64 { return 5 })
	fill(t, l, 1, 10, 100)
	free := uint64(1 << 40)
	l.space = &spaceGuard{free: func() (uint64, error) { return free, nil }, reserve: 1 << 20}
	l.leading = func() bool { return false }
	entry := &raft.Log{Index: 11, Term: 2, Data: []byte("x")}
	if err := l.DeleteRange(9, 10); err != nil {
		t.Fatal(err)
	}
	free = 0
	if err := l.StoreLog(&raft.Log{Index: 9, Term: 3}); err != nil {
		t.Errorf("refused the other half of a replacement: %v", err)
	}
	entry.Index = 10
	if err := l.StoreLog(entry); !errors.Is(err, errDiskFull) {
		t.Errorf("got %v", err)
	}
	if err := l.DeleteRange(9, 9); !errors.Is(err, errDiskFull) {
		t.Errorf("got %v", err)
	}
	free = 1 << 40
	if err := l.StoreLog(entry); err != nil {
		t.Errorf("did not recover: %v", err)
	}
}

func TestFailedWriteIsFatal(t *testing.T) {
	l := testLogs(t, func() uint64 { return 0 })
	var got []error
	l.fail = func(err error) { got = append(got, err) }
	good := l.bolt
	closed, err := openBolt(filepath.Join(t.TempDir(), logName))
	if err != nil {
		t.Fatal(err)
	}
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	l.bolt = closed
	if l.StoreLog(&raft.Log{Index: 1}) == nil || l.SetUint64([]byte("x"), 1) == nil || l.Set([]byte("x"), nil) == nil {
		t.Error("written into a closed file")
	}
	if len(got) != 3 || !strings.Contains(got[0].Error(), "write raft log") {
		t.Errorf("told were %v", got)
	}
	l.bolt = good
}

func TestLogCacheIsTransparent(t *testing.T) {
	l := testLogs(t, func() uint64 { return 0 })
	fill(t, l, 1, 2*cachedLogs, 10)
	if err := l.DeleteRange(2*cachedLogs-3, 2*cachedLogs); err != nil {
		t.Fatal(err)
	}
	for i := uint64(1); i <= 2*cachedLogs; i++ {
		var got raft.Log
		err := l.GetLog(i, &got)
		if i < 2*cachedLogs-3 && (err != nil || got.Index != i) || i >= 2*cachedLogs-3 && !errors.Is(err, raft.ErrLogNotFound) {
			t.Errorf("entry %d: %d, %v", i, got.Index, err)
		}
	}
}

// A damaged entry stops the node that has it, not the follower that it would be sent to; what is no grouped entry is not judged here.
func TestDamagedEntryIsNotHandedOut(t *testing.T) {
	for name, c := range map[string]struct {
		hurt func(b []byte) []byte
		want bool
	}{
		"whole":       {func(b []byte) []byte { return b }, false},
		"flipped bit": {func(b []byte) []byte { b[len(b)-1] ^= 4; return b }, true},
		"newer":       {func(b []byte) []byte { b[0] = entryVersion + 1; return b }, false},
		"empty":       {func([]byte) []byte { return nil }, false},
	} {
		t.Run(name, func(t *testing.T) {
			d := &dataDir{path: t.TempDir()}
			b, err := openLog(d)
			if err != nil {
				t.Fatal(err)
			}
			var failed error
			l := &logStore{bolt: b, fail: func(err error) { failed = err }}
			defer func() { _ = l.close() }()
			if err := b.StoreLog(&raft.Log{Index: 1, Term: 1, Type: raft.LogCommand, Data: c.hurt(encodeEntry(1, [][]byte{[]byte("x")}))}); err != nil {
				t.Fatal(err)
			}
			var got raft.Log
			if err := l.GetLog(1, &got); (err != nil) != c.want || (failed != nil) != c.want {
				t.Errorf("got %v, failed with %v", err, failed)
			}
		})
	}
}
