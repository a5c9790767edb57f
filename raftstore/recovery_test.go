package raftstore

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
)

// used makes a data directory with n rows in it and returns its path.
func used(t *testing.T, n int) string {
	t.Helper()
	dir := dataPath(t)
	s := open(t, single(t, dir))
	for i := range n {
		propose(t, s, fmt.Sprint("row ", i))
	}
	closeStore(t, s)
	return dir
}

// openFails opens and wants an error that says all of that.
func openFails(t *testing.T, cfg Config, says ...string) {
	t.Helper()
	s, err := Open(t.Context(), cfg)
	if err == nil {
		closeStore(t, s)
		t.Fatalf("opened, want an error with %q", says)
	}
	for _, w := range says {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("the error does not say %q: %v", w, err)
		}
	}
}

func TestSecondProcess(t *testing.T) {
	dir := used(t, 1)
	s := open(t, single(t, dir))
	openFails(t, single(t, dir), dir, "in use by another process", fmt.Sprint(os.Getpid()))
	propose(t, s, "the first one goes on")
}

func TestOtherNodesDirectory(t *testing.T) {
	cfg := single(t, used(t, 1))
	cfg.NodeID = "n2"
	openFails(t, cfg, `belongs to node "n1"`)
}

func TestNewerFormats(t *testing.T) {
	tests := map[string]struct {
		change func(t *testing.T, dir string)
		says   []string
	}{
		"directory": {func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, versionName), "format 2\nprogram 9.9\nnode n1\n")
		}, []string{"format 2", "9.9", "run the newer version"}},
		"state file": {func(t *testing.T, dir string) {
			edit(t, filepath.Join(dir, stateName(1)), func(tx *bbolt.Tx) error {
				return tx.Bucket(engineBucket()).Put(keyFormat(), []byte{stateFormat + 1})
			})
		}, []string{stateName(1), "format 2", "run the newer version"}},
		"machine": {func(t *testing.T, dir string) {
			edit(t, filepath.Join(dir, stateName(1)), func(tx *bbolt.Tx) error {
				return tx.Bucket(toyMeta).Put([]byte("format"), []byte{1})
			})
		}, []string{"the toy has format 1"}},
		"log entry": {func(t *testing.T, dir string) {
			e := encodeEntry(1, [][]byte{[]byte("x")})
			e[0]++
			appendLog(t, dir, e)
		}, []string{"newer version", "log entry"}},
		"damaged version file": {func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, versionName), "")
		}, []string{versionName, "damaged"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := used(t, 2)
			tt.change(t, dir)
			openFails(t, single(t, dir), tt.says...)
		})
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func edit(t *testing.T, path string, fn func(tx *bbolt.Tx) error) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(fn); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// appendLog writes an entry at the log's end.
func appendLog(t *testing.T, dir string, data []byte) {
	t.Helper()
	b, err := openBolt(filepath.Join(dir, logName))
	if err != nil {
		t.Fatal(err)
	}
	last, err := b.LastIndex()
	if err != nil {
		t.Fatal(err)
	}
	var l raft.Log
	if err := b.GetLog(last, &l); err != nil {
		t.Fatal(err)
	}
	if err := b.StoreLog(&raft.Log{Index: last + 1, Term: l.Term, Type: raft.LogCommand, Data: data}); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
}

// An entry that was written and not executed is executed at the next start.
func TestTailIsExecuted(t *testing.T) {
	dir := used(t, 2)
	appendLog(t, dir, encodeEntry(5, [][]byte{[]byte("tail")}))
	s := open(t, single(t, dir))
	propose(t, s, "next")
	if _, values := rows(t, s); len(values) != 4 || string(values[2]) != "tail" {
		t.Errorf("rows are %q", values)
	}
}

func TestGarbageInTheTail(t *testing.T) {
	dir := used(t, 2)
	e := encodeEntry(5, [][]byte{[]byte("tail")})
	e[len(e)-1] ^= 1
	appendLog(t, dir, e)
	openFails(t, single(t, dir), "is damaged", "checksum")
}

// A newer entry that comes from a leader while the node runs stops it before anything is executed.
func TestNewerEntryAtRunTime(t *testing.T) {
	f := newFatals()
	cfg := single(t, dataPath(t))
	cfg.Fatal = f.call
	s := open(t, cfg)
	propose(t, s, "x")
	at := s.Applied()
	e := encodeEntry(1, [][]byte{[]byte("from the future")})
	e[0]++
	if err := s.raft.Apply(e, 0).Error(); err != nil {
		t.Fatal(err)
	}
	if err := f.wait(t); !strings.Contains(err.Error(), "newer version") {
		t.Errorf("reason is %v", err)
	}
	if s.Applied() != at {
		t.Errorf("applied went from %d to %d", at, s.Applied())
	}
}

func TestDamagedFiles(t *testing.T) {
	whole := func(f *os.File, size int64) error {
		_, err := f.WriteAt(bytes.Repeat([]byte{0xa5}, int(size)), 0)
		return err
	}
	pages := func(f *os.File, size int64) error {
		_, err := f.WriteAt(bytes.Repeat([]byte{0xa5}, int(min(size, 1<<20)-8192)), 8192)
		return err
	}
	half := func(f *os.File, size int64) error { return f.Truncate(4096 * 3) }
	empty := func(f *os.File, size int64) error { return f.Truncate(0) }
	tests := map[string]struct {
		file string
		hurt func(f *os.File, size int64) error
		says string
	}{
		"state overwritten":           {stateName(1), whole, stateName(1)},
		"state all but its meta":      {stateName(1), pages, stateName(1)},
		"state cut off":               {stateName(1), half, stateName(1)},
		"state emptied":               {stateName(1), empty, stateName(1)},
		"raft log overwritten":        {logName, whole, logName},
		"raft log all but its meta":   {logName, pages, logName},
		"raft log cut off":            {logName, half, logName},
		"raft log emptied (no votes)": {logName, empty, logName},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := used(t, 60)
			f, err := os.OpenFile(filepath.Join(dir, tt.file), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			fi, err := f.Stat()
			if err != nil {
				t.Fatal(err)
			}
			if err := tt.hurt(f, fi.Size()); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			openFails(t, single(t, dir), tt.says, "join anew")
		})
	}
}

// A page of garbage anywhere: either it is noticed, or it was one that nobody needs to start; never a panic.
func TestDamageAnywhereIsNoPanic(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	dir := used(t, 60)
	rounds := 40
	if testing.Short() {
		rounds = 12
	}
	for i := range rounds {
		copied := filepath.Join(t.TempDir(), "data")
		if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		name := []string{stateName(1), logName}[i%2]
		f, err := os.OpenFile(filepath.Join(copied, name), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		page := make([]byte, 4096)
		for j := range page {
			page[j] = byte(rnd.Uint32())
		}
		if _, err := f.WriteAt(page, int64(i/2)*4096); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		cfg := single(t, copied)
		cfg.Fatal = func(error) {}
		s, err := Open(t.Context(), cfg)
		if err == nil {
			closeStore(t, s)
		}
	}
}

// The last transaction's meta page is torn: bbolt falls back to the one before, and the state still has all that was answered.
func TestTornLog(t *testing.T) {
	dir := used(t, 20)
	path := filepath.Join(dir, logName)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(bytes.Repeat([]byte{0xff}, 2048), newerMeta(t, path)*4096); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	s := open(t, single(t, dir))
	propose(t, s, "after")
	if _, values := rows(t, s); len(values) != 21 {
		t.Errorf("%d rows, want 21", len(values))
	}
}

// newerMeta is which of bbolt's two meta pages the last transaction wrote.
func newerMeta(t *testing.T, path string) (page int64) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	err = db.View(func(tx *bbolt.Tx) error {
		page = int64(tx.ID() % 2)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return page
}

func TestMissingFiles(t *testing.T) {
	remove := func(t *testing.T, dir, name string) {
		t.Helper()
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("raft log", func(t *testing.T) {
		dir := used(t, 2)
		remove(t, dir, logName)
		openFails(t, single(t, dir), logName, "is missing", "join anew")
		openFails(t, single(t, dir), logName, "is missing") // and it must not be there the second time
	})
	t.Run("version", func(t *testing.T) {
		dir := used(t, 2)
		remove(t, dir, versionName)
		openFails(t, single(t, dir), versionName)
	})
	t.Run("state", func(t *testing.T) { // also with a log from which it could be made anew: whoever lost one file may have lost more
		dir := used(t, 3)
		remove(t, dir, stateName(1))
		openFails(t, single(t, dir), stateName(1), "is missing", "join anew")
		openFails(t, single(t, dir), stateName(1), "is missing")
	})
}

// Leftovers of a crash in the middle of an install go away.
func TestLeftoversOfAnInstall(t *testing.T) {
	dir := used(t, 3)
	b, err := os.ReadFile(filepath.Join(dir, stateName(1)))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, installName), "half of a snapshot")
	write(t, filepath.Join(dir, stateName(2)), string(b)) // the rename was done, the rest not
	edit(t, filepath.Join(dir, stateName(2)), func(tx *bbolt.Tx) error {
		m, err := readMeta(tx)
		if err != nil {
			return err
		}
		m.index += 100 // far ahead of the log, which is void then
		return writePosition(tx, &m)
	})
	s := open(t, single(t, dir))
	if at := propose(t, s, "after"); at.Index < 100 {
		t.Errorf("went on at %s", at)
	}
	if first, _ := s.logs.FirstIndex(); first < 100 {
		t.Errorf("the void log is still there, from %d", first)
	}
	for _, gone := range []string{installName, stateName(1)} {
		if exists(filepath.Join(dir, gone)) {
			t.Errorf("%s is still there", gone)
		}
	}
	closeStore(t, s)
	s = open(t, single(t, dir))
	if _, values := rows(t, s); len(values) != 4 {
		t.Errorf("rows are %q", values)
	}
}

func TestReconcile(t *testing.T) {
	tests := map[string]struct {
		first, last uint64 // the log, all of term 2
		index, term uint64 // the state
		stored      uint64 // raft's term
		left        uint64 // first index afterwards
		says        string
	}{
		"both empty":                   {0, 0, 0, 0, 0, 0, ""},
		"new log, empty state":         {1, 5, 0, 0, 2, 1, ""},
		"state inside":                 {1, 9, 5, 2, 2, 1, ""},
		"state at the end":             {1, 9, 9, 2, 2, 1, ""},
		"log behind the state":         {1, 9, 10, 2, 2, 0, ""},
		"another term at the state":    {1, 9, 5, 3, 3, 0, ""},
		"log begins right after":       {6, 9, 5, 2, 2, 6, ""},
		"log begins too late":          {7, 9, 5, 2, 2, 7, "begins at entry 7"},
		"no log after an install":      {0, 0, 5, 2, 2, 0, ""},
		"term is older than the state": {1, 9, 5, 3, 2, 1, "old copy"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := testLogs(t, func() uint64 { return tt.index })
			if tt.stored > 0 {
				if err := l.SetUint64([]byte(keyCurrentTerm), tt.stored); err != nil {
					t.Fatal(err)
				}
			}
			if tt.first > 0 {
				fill(t, l, tt.first, tt.last, 10)
			}
			err := reconcile(l, stateMeta{index: tt.index, term: tt.term})
			if tt.says == "" && err != nil || tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
				t.Errorf("got %v, want %q", err, tt.says)
			}
			if first, _ := l.FirstIndex(); first != tt.left {
				t.Errorf("the log begins at %d, want %d", first, tt.left)
			}
		})
	}
}

func TestGapInTheTail(t *testing.T) {
	l := testLogs(t, func() uint64 { return 2 })
	fill(t, l, 1, 9, 10)
	if err := l.SetUint64([]byte(keyCurrentTerm), 2); err != nil {
		t.Fatal(err)
	}
	if err := l.bolt.DeleteRange(5, 5); err != nil {
		t.Fatal(err)
	}
	l.recent = [cachedLogs]*raft.Log{}
	if err := reconcile(l, stateMeta{index: 2, term: 2}); err == nil || !strings.Contains(err.Error(), "entry 5") {
		t.Errorf("got %v", err)
	}
}

func TestReadOnlyDirectory(t *testing.T) {
	dir := used(t, 1)
	if os.Getuid() != 0 {
		t.Skip("needs root to mount")
	}
	if err := syscall.Mount(dir, dir, "", syscall.MS_BIND, ""); err != nil {
		t.Skipf("can't mount here: %v", err)
	}
	defer func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) }()
	if err := syscall.Mount("", dir, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Skipf("can't remount read-only here: %v", err)
	}
	openFails(t, single(t, dir), dir, "can't be written")
}
