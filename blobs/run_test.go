package blobs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"teamtalk/protocol"
)

// work has a site of a town work, and hear of what happens.
func (w *town) work(t *testing.T, n protocol.NodeID, l *ledger, change func(*Config)) *site {
	t.Helper()
	s := w.add(t, n, l, func(c *Config) {
		c.Events = l.events()
		if change != nil {
			change(c)
		}
	})
	s.run(t)
	return s
}

// TestCopies: what is brought to one of three nodes is soon on two.
func TestCopies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, w := newLedger(), newTown(t)
		sites := map[protocol.NodeID]*site{}
		for _, n := range []protocol.NodeID{"n1", "n2", "n3"} {
			sites[n] = w.work(t, n, l, nil)
		}
		var ids []protocol.BlobID
		for i := range 30 {
			ids = append(ids, sites["n1"].bring(t, fmt.Append(nil, "picture", i)).ID)
		}
		time.Sleep(7 * time.Hour) // a comparison makes no more
		second := map[protocol.NodeID]int{}
		for i, id := range ids {
			holders := l.holders(id)
			if len(holders) != 2 || holders[0] != "n1" {
				t.Fatalf("%v have it", holders)
			}
			second[holders[1]]++
			for n, s := range sites {
				content, err := os.ReadFile(s.disk.path(id))
				if has := err == nil; has != slices.Contains(holders, n) || has && !bytes.Equal(content, fmt.Append(nil, "picture", i)) {
					t.Errorf("%s has %q, recorded are %v", n, content, holders)
				}
			}
		}
		if second["n2"] < 5 || second["n3"] < 5 {
			t.Errorf("the copies are not spread: %v", second)
		}
	})
}

// TestCopiesLater: what could not be copied when it came is copied when there is somebody; a node that has left no longer counts.
func TestCopiesLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, w := newLedger(), newTown(t)
		a := w.work(t, "n1", l, nil)
		id, gone := a.bring(t, []byte("alone")).ID, a.bring(t, []byte("with n9")).ID
		l.record(of([]byte("with n9")), "n1", "n9")
		time.Sleep(time.Second)
		b := w.work(t, "n2", l, nil)
		time.Sleep(time.Second)
		if !slices.Equal(l.holders(id), []protocol.NodeID{"n1", "n2"}) || !slices.Equal(l.holders(gone), []protocol.NodeID{"n1", "n2", "n9"}) {
			t.Errorf("after a start: %v, %v", l.holders(id), l.holders(gone))
		}
		w.cut("n1", true)
		w.cut("n2", true)
		id = a.bring(t, []byte("cut off")).ID
		time.Sleep(time.Hour)
		if got := l.holders(id); len(got) != 1 {
			t.Errorf("copied from where nobody is: %v", got)
		}
		w.cut("n1", false)
		w.cut("n2", false)
		time.Sleep(30 * time.Second)
		if got, err := os.ReadFile(b.disk.path(id)); len(l.holders(id)) != 2 || string(got) != "cut off" {
			t.Errorf("after the cut: %v, %v", l.holders(id), err)
		}
	})
}

// TestNodeLeaves: what a node had that was removed from the cluster is soon on two others.
func TestNodeLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, w := newLedger(), newTown(t)
		a := w.work(t, "n1", l, nil)
		w.work(t, "n2", l, nil)
		id := a.bring(t, []byte("picture")).ID
		time.Sleep(time.Second)
		w.work(t, "n3", l, nil)
		time.Sleep(time.Hour)
		if got := l.holders(id); !slices.Equal(got, []protocol.NodeID{"n1", "n2"}) {
			t.Errorf("before: %v", got)
		}
		w.mu.Lock()
		delete(w.sites, "n2")
		w.mu.Unlock()
		time.Sleep(30 * time.Second)
		if got := l.holders(id); !slices.Contains(got, "n3") {
			t.Errorf("after: %v", got)
		}
	})
}

// TestBlobsOfOthersAreNotCopied: they stay at their office, but for those who read them.
func TestBlobsOfOthersAreNotCopied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, w := newLedger(), newTown(t)
		a := w.work(t, "n1", l, nil)
		b := of(nil)
		b.Peer = [16]byte{9}
		l.record(b)
		a.bring(t, nil)
		w.work(t, "n2", l, nil)
		time.Sleep(time.Hour)
		if got := l.holders(b.ID); !slices.Equal(got, []protocol.NodeID{"n1"}) {
			t.Errorf("%v have it", got)
		}
	})
}

// TestDroppedVanishes: what is dropped is gone on all nodes, one that was down included.
func TestDroppedVanishes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, w := newLedger(), newTown(t)
		a, b := w.work(t, "n1", l, nil), w.work(t, "n2", l, nil)
		deaf := w.add(t, "n3", l, nil) // it does not hear of it, as if it were down
		content := random(t, 1000)
		id := a.bring(t, content).ID
		deaf.bring(t, content)
		stays := a.bring(t, []byte("this one stays")).ID
		time.Sleep(time.Second)
		if _, err := b.read(t.Context(), id); err != nil {
			t.Error(err)
		}
		if _, err := l.Execute(t.Context(), &protocol.DropBlobs{IDs: []protocol.BlobID{id}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		for _, s := range []*site{a, b} {
			if slices.Contains(s.files(t), id.String()) {
				t.Errorf("%s still has it", s.cfg.Node)
			}
			if _, err := s.Open(t.Context(), id); protocol.CodeOf(err) != protocol.CodeNotFound {
				t.Errorf("opened at %s: %v", s.cfg.Node, err)
			}
		}
		if !slices.Contains(a.files(t), stays.String()) {
			t.Error("another one is gone, too")
		}
		if !slices.Contains(deaf.files(t), id.String()) {
			t.Error("it was not there")
		}
		old := time.Now().Add(-8 * 24 * time.Hour)
		if err := os.Chtimes(deaf.disk.path(id), old, old); err != nil {
			t.Fatal(err)
		}
		deaf.run(t)
		time.Sleep(time.Second)
		if slices.Contains(deaf.files(t), id.String()) {
			t.Error("the one that was down still has it")
		}
	})
}

// TestComparison: content without a record goes, if it is old; what is here is recorded to be here, and
// what is not is not.
func TestComparison(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, w := newLedger(), newTown(t)
		a := w.add(t, "n1", l, nil)
		old := time.Now().Add(-8 * 24 * time.Hour)
		place := func(content string, at time.Time) protocol.BlobID {
			put(t, a.disk, []byte(content))
			id := of([]byte(content)).ID
			if err := os.Chtimes(a.disk.path(id), at, at); err != nil {
				t.Fatal(err)
			}
			return id
		}
		stray, fresh, unrecorded := place("stray", old), place("fresh", time.Now()), place("here", old)
		l.record(of([]byte("here")), "n2")
		lost := of([]byte("lost"))
		l.record(lost, "n1", "n2")
		a.run(t)
		time.Sleep(time.Second)
		files := a.files(t)
		for id, want := range map[protocol.BlobID]bool{stray: false, fresh: true, unrecorded: true} {
			if got := slices.Contains(files, id.String()); got != want {
				t.Errorf("%s is there: %v", id, got)
			}
		}
		if got := l.holders(unrecorded); !slices.Equal(got, []protocol.NodeID{"n1", "n2"}) {
			t.Errorf("of what is here is recorded: %v", got)
		}
		if got := l.holders(lost.ID); !slices.Equal(got, []protocol.NodeID{"n2"}) {
			t.Errorf("of what is lost is recorded: %v", got)
		}
	})
}

// TestRestoredFolder: a node with the state of a backup, and a folder that was copied at another time, takes up what the state records, whoever is recorded to
// have it; what the state does not know yet stays for a while, for there may be a newer backup.
func TestRestoredFolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, w := newLedger(), newTown(t)
		s := w.add(t, "n9", l, func(c *Config) { c.Unused = 3 * 24 * time.Hour })
		ages := map[string]time.Duration{"recorded": 300 * 24 * time.Hour, "newer than the backup": 2 * 24 * time.Hour, "of no backup": 4 * 24 * time.Hour}
		for content, age := range ages {
			put(t, s.disk, []byte(content))
			at := time.Now().Add(-age)
			if err := os.Chtimes(s.disk.path(of([]byte(content)).ID), at, at); err != nil {
				t.Fatal(err)
			}
		}
		recorded := of([]byte("recorded"))
		l.record(recorded, "n1", "n2") // which are no more
		l.rows[recorded.ID].shown = true
		s.run(t)
		time.Sleep(time.Second)
		files := s.files(t)
		for content, want := range map[string]bool{"recorded": true, "newer than the backup": true, "of no backup": false} {
			if got := slices.Contains(files, of([]byte(content)).ID.String()); got != want {
				t.Errorf("%s: it is there: %v", content, got)
			}
		}
		if got := l.holders(recorded.ID); !slices.Contains(got, "n9") {
			t.Errorf("recorded to have it: %v", got)
		}
		newer := of([]byte("newer than the backup"))
		l.record(newer, "n1")
		time.Sleep(7 * time.Hour)
		if got := l.holders(newer.ID); !slices.Contains(got, "n9") {
			t.Errorf("after the newer backup: %v", got)
		}
	})
}

// TestBehind: nothing is removed that is recorded by what this node has not seen yet of the log: it may hold the only copy.
func TestBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := of([]byte("picture"))
		s := open(t, "n1", &late{ledger: newLedger(), blob: b}, nil)
		put(t, s.disk, []byte("picture"))
		old := time.Now().Add(-8 * 24 * time.Hour)
		if err := os.Chtimes(s.disk.path(b.ID), old, old); err != nil {
			t.Fatal(err)
		}
		s.run(t)
		time.Sleep(24 * time.Hour)
		if got, err := s.read(t.Context(), b.ID); err != nil || string(got) != "picture" {
			t.Errorf("%q %v", got, err)
		}
	})
}

// late is a node that learns of a blob only when it takes part in the log again.
type late struct {
	*ledger
	blob protocol.Blob
}

// Execute brings it up to date.
func (s *late) Execute(ctx context.Context, cmd protocol.Command) (any, error) {
	s.record(s.blob, "n1")
	return s.ledger.Execute(ctx, cmd)
}

// TestLostIsCopiedAgain: a file that is gone is got anew.
func TestLostIsCopiedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, w := newLedger(), newTown(t)
		a, b := w.work(t, "n1", l, nil), w.work(t, "n2", l, nil)
		id := a.bring(t, []byte("picture")).ID
		time.Sleep(time.Second)
		if err := os.Remove(b.disk.path(id)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(7 * time.Hour)
		if got, err := os.ReadFile(b.disk.path(id)); string(got) != "picture" || !slices.Equal(l.holders(id), []protocol.NodeID{"n1", "n2"}) {
			t.Errorf("%q %v, recorded %v", got, err, l.holders(id))
		}
	})
}

// TestJump: a node that has missed events looks at once.
func TestJump(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, w := newLedger(), newTown(t)
		a := w.work(t, "n1", l, nil)
		put(t, a.disk, []byte("picture"))
		time.Sleep(time.Second)
		l.record(of([]byte("picture")), "n2")
		l.mu.Lock()
		l.tell(protocol.Jumped{From: 1, To: 2})
		l.mu.Unlock()
		time.Sleep(time.Second)
		if got := l.holders(of([]byte("picture")).ID); !slices.Contains(got, "n1") {
			t.Errorf("recorded: %v", got)
		}
	})
}

// TestSweep: the node that leads has dropped what is too old, and what nothing shows for too long.
func TestSweep(t *testing.T) {
	for name, leads := range map[string]bool{"leader": true, "follower": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, w := newLedger(), newTown(t)
				a := w.add(t, "n1", led{l, leads}, func(c *Config) {
					c.Retention, c.Unused, c.Events = 20*time.Hour, 5*time.Hour, l.events()
				})
				a.sync = func(*os.File) error { return nil } // so many files
				a.disk.sync = a.sync
				a.run(t)
				var shown, unused []protocol.BlobID
				for i := range 2*page + 10 {
					shown = append(shown, a.bring(t, fmt.Append(nil, "shown", i)).ID)
					l.rows[shown[i]].shown = true
				}
				for i := range 10 {
					unused = append(unused, a.bring(t, fmt.Append(nil, "unused", i)).ID)
				}
				check := func(when string, wantShown, wantUnused bool) {
					t.Helper()
					files := a.files(t)
					for _, id := range shown {
						if got := slices.Contains(files, id.String()); got != (wantShown || !leads) {
							t.Fatalf("%s: what is shown is there: %v", when, got)
						}
					}
					for _, id := range unused {
						if got := slices.Contains(files, id.String()); got != (wantUnused || !leads) {
							t.Fatalf("%s: what is not shown is there: %v", when, got)
						}
					}
				}
				time.Sleep(4 * time.Hour)
				check("after 4 h", true, true)
				time.Sleep(2 * time.Hour)
				check("after 6 h", true, false)
				time.Sleep(13 * time.Hour)
				check("after 19 h", true, false)
				time.Sleep(2 * time.Hour)
				check("after 21 h", false, false)
			})
		})
	}
}

// led is a ledger at a node that leads, or does not.
type led struct {
	*ledger
	leads bool
}

// Head says which.
func (l led) Head() (protocol.Cursor, bool) { return 1, l.leads }

// TestSharedStore: all nodes read what one has stored, nothing is copied, and the one that leads removes at once.
func TestSharedStore(t *testing.T) {
	l, w := newLedger(), newTown(t)
	store := newFakeS3(t)
	shared := func(leads bool) func(*Config) {
		return func(c *Config) {
			c.Backend, c.State, c.Tuning.Young, c.Tuning.Notice = store, led{l, leads}, time.Nanosecond, time.Hour
		}
	}
	a, b := w.work(t, "n1", l, shared(false)), w.work(t, "n2", l, shared(true))
	content := random(t, 100_000)
	id := a.bring(t, content).ID
	if got, err := b.read(t.Context(), id); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if got := append(a.files(t), b.files(t)...); len(got) > 0 || w.dialled("n1") > 0 {
		t.Errorf("left on the disks: %v", got)
	}
	a.removeDropped(t.Context(), []protocol.BlobID{id}) // a mistake: it is recorded
	b.removeDropped(t.Context(), []protocol.BlobID{id})
	if _, err := store.Stat(t.Context(), id); err != nil {
		t.Errorf("removed though it is recorded: %v", err)
	}
	left := of([]byte("not recorded"))
	put(t, store, []byte("not recorded"))
	for _, s := range []*site{a, b} {
		s.removeDropped(t.Context(), []protocol.BlobID{left.ID})
		if _, err := store.Stat(t.Context(), left.ID); errors.Is(err, ErrMissing) != (s == b) {
			t.Errorf("after %s has heard of it: %v", s.cfg.Node, err)
		}
	}
	if _, err := l.Execute(t.Context(), &protocol.DropBlobs{IDs: []protocol.BlobID{id}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is gone from the store", func() bool {
		_, err := store.Stat(t.Context(), id)
		return err != nil
	})
}
