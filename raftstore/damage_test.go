package raftstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
)

// among is a node of two members that leads without the other one's answers being needed: the other one has no vote.
func among(t *testing.T, cfg Config) *Store {
	t.Helper()
	s := open(t, cfg)
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	eventually(t, "it leads", s.IsLeader)
	if err := s.AddNonvoter(ctx, Member{"n2", "n2"}); err != nil {
		t.Fatal(err)
	}
	return s
}

// copied is a copy of a data directory.
func copied(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copied")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

// hurt does something to a file of a running node.
func hurt(t *testing.T, path string, with func(f *os.File, size int64) error) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	fi, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if err := with(f, fi.Size()); err != nil {
		t.Fatal(err)
	}
}

const metaPages = 2 * 4096

func garbage(f *os.File, size int64) error {
	_, err := f.WriteAt(bytes.Repeat([]byte{0xa5}, int(size-metaPages)), metaPages)
	return err
}

func zeros(f *os.File, size int64) error {
	_, err := f.WriteAt(make([]byte, size-metaPages), metaPages)
	return err
}

func cutOff(f *os.File, _ int64) error { return f.Truncate(metaPages) }

func readAll(s *Store) error {
	return s.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(toyBucket).ForEach(func(_, _ []byte) error { return nil })
	})
}

// Damage that shows while a node among others runs ends it with a reason, whoever comes upon it, and it does not start with that again.
func TestDamageWhileRunning(t *testing.T) {
	read := func(_ *testing.T, s *Store) { _ = readAll(s) }
	execute := func(_ *testing.T, s *Store) {
		ctx, cancel := context.WithTimeout(context.Background(), wait)
		defer cancel()
		_, _ = s.Propose(ctx, []byte("more")) // what it says depends on who is first
	}
	stream := func(_ *testing.T, s *Store) { _, _ = s.Backup(context.Background(), new(bytes.Buffer)) }
	oldEntry := func(t *testing.T, s *Store) {
		first, err := s.logs.FirstIndex()
		if err != nil {
			return // that was it
		}
		s.logs.mu.Lock()
		s.logs.recent = [cachedLogs]*raft.Log{}
		s.logs.mu.Unlock()
		var l raft.Log
		if s.logs.GetLog(first+3, &l) == nil {
			t.Error("the entry could be read")
		}
	}
	whole := used(t, 60)
	for name, tt := range map[string]struct {
		file string
		with func(*os.File, int64) error
		who  func(*testing.T, *Store)
	}{
		"garbage in the state, read":      {stateName(1), garbage, read},
		"zeros in the state, read":        {stateName(1), zeros, read},
		"state cut off, read":             {stateName(1), cutOff, read},
		"garbage in the state, executed":  {stateName(1), garbage, execute},
		"state cut off, executed":         {stateName(1), cutOff, execute},
		"garbage in the state, backed up": {stateName(1), garbage, stream},
		"garbage in the log, read":        {logName, garbage, oldEntry},
		"log cut off, read":               {logName, cutOff, oldEntry},
	} {
		t.Run(name, func(t *testing.T) {
			dir := copied(t, whole)
			f := newFatals()
			cfg := single(t, dir)
			cfg.Fatal = f.call
			s := among(t, cfg)
			hurt(t, filepath.Join(dir, tt.file), tt.with)
			tt.who(t, s)
			err := f.wait(t)
			for _, want := range []string{tt.file, "was damaged while this node ran", "join anew"} {
				if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), want) {
					t.Errorf("the reason does not say %q: %v", want, err)
				}
			}
			if err := s.Ready(); err == nil {
				t.Error("the node counts as ready")
			}
			_ = s.Close()          // after damage it need not end well,
			left := copied(t, dir) // and files may stay open until the process ends
			openFails(t, single(t, left), tt.file, "join anew")
			openFails(t, single(t, left), tt.file, "join anew")
		})
	}
}

// What was damaged only for a while, as after an error of reading, keeps no node from starting; what is still there does, even if nothing of it is
// needed for a start.
func TestRecheck(t *testing.T) {
	dir := used(t, 60)
	write(t, filepath.Join(dir, damagedName), "a page could not be read\n")
	s := open(t, single(t, dir))
	propose(t, s, "goes on")
	closeStore(t, s)
	if exists(filepath.Join(dir, damagedName)) {
		t.Error("the note is still there")
	}

	hurt(t, filepath.Join(dir, stateName(1)), leafOf(t, filepath.Join(dir, stateName(1))))
	s = open(t, single(t, dir)) // nobody has noticed
	closeStore(t, s)
	write(t, filepath.Join(dir, damagedName), "a page could not be read\n")
	openFails(t, single(t, dir), stateName(1), "a page could not be read", "join anew")
}

// leafOf overwrites a page with rows of the toy.
func leafOf(t *testing.T, path string) func(*os.File, int64) error {
	t.Helper()
	return func(f *os.File, size int64) error {
		content := make([]byte, size)
		if _, err := f.ReadAt(content, 0); err != nil {
			return err
		}
		pages := 0
		for at := int64(metaPages); at+4096 <= size; at += 4096 {
			const leaf = 2
			if page := content[at : at+4096]; page[8] == leaf && bytes.Contains(page, []byte("row ")) {
				if _, err := f.WriteAt(bytes.Repeat([]byte{0xa5}, 4096), at); err != nil {
					return err
				}
				pages++
			}
		}
		if pages == 0 {
			return fmt.Errorf("%s has no page with rows", path)
		}
		return nil
	}
}

// Pages that nobody asks for are looked at, too.
func TestPatrol(t *testing.T) {
	dir := used(t, 60)
	f := newFatals()
	cfg := single(t, dir)
	cfg.Fatal = f.call
	cfg.Tuning.CheckEvery = time.Millisecond
	s := among(t, cfg)
	if err := s.failed(); err != nil {
		t.Fatal(err)
	}
	hurt(t, filepath.Join(dir, stateName(1)), leafOf(t, filepath.Join(dir, stateName(1))))
	if err := f.wait(t); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), stateName(1)) {
		t.Errorf("the reason is %v", err)
	}
	_ = s.Close()
}

// A round of the patrol reads every row once, whatever the size of its pieces.
func TestPatrolReadsAll(t *testing.T) {
	s := open(t, single(t, dataPath(t)))
	const n = 3
	for range n {
		propose(t, s, strings.Repeat("x", patrolBytes)) // each fills a piece
	}
	propose(t, s, "small")
	at, want := round{}, 0
	err := s.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(_ []byte, b *bbolt.Bucket) error {
			return b.ForEach(func(_, _ []byte) error { want++; return nil })
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	pieces := 0
	for ; !at.done; pieces++ {
		if err := s.View(at.read); err != nil {
			t.Fatal(err)
		}
	}
	if at.rows != want || pieces != n+1 {
		t.Errorf("%d rows in %d pieces, want %d in %d", at.rows, pieces, want, n+1)
	}
}

// A node alone goes on with what can be read and executed.
func TestDamageAlone(t *testing.T) {
	dir := used(t, 60)
	s := open(t, single(t, dir)) // whose Fatal fails the test
	err := s.View(func(tx *bbolt.Tx) error {
		hurt(t, filepath.Join(dir, stateName(1)), leafOf(t, filepath.Join(dir, stateName(1))))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := readAll(s); !errors.Is(err, ErrDamaged) {
		t.Errorf("reading says %v", err)
	}
	if err := s.View(func(tx *bbolt.Tx) error { _, err := readMeta(tx); return err }); err != nil {
		t.Errorf("what is whole can't be read: %v", err)
	}
	if err := s.failed(); err != nil {
		t.Error(err)
	}
}

// A mistake in what reads is no damage: it goes on to whoever called, and costs the node nothing.
func TestPanicIsNoDamage(t *testing.T) {
	s := among(t, single(t, used(t, 10)))
	for name, fn := range map[string]func(*bbolt.Tx) error{
		"own":     func(*bbolt.Tx) error { panic("a mistake") },
		"runtime": func(*bbolt.Tx) error { none := make([]int, 1); _ = none[len(beyond())]; return nil },
		"bbolt's": func(tx *bbolt.Tx) error { tx.Bucket([]byte("none")).Get([]byte("x")); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("it did not go on")
				}
				if err := s.failed(); err != nil {
					t.Error(err)
				}
			}()
			_ = s.View(fn)
		})
	}
	propose(t, s, "goes on")
}

// beyond keeps the compiler from knowing.
func beyond() string { return "x" }
