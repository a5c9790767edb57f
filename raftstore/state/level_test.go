package state

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"teamtalk/protocol"
	"teamtalk/raftstore"
)

func isLevel(err error) bool { return errors.As(err, new(*LevelError)) }

// ofLevel2 are the commands that came with level 2, on what town has.
func ofLevel2() []protocol.Command {
	return []protocol.Command{
		&protocol.DeleteMessage{Actor: 1, Session: protocol.WithUser(2), ID: 1, Deletion: protocol.Recalled, Within: 1e6},
		burning(1, 2, 5),
		&protocol.BurnDue{Limit: 1},
	}
}

// TestLevels: what came with a level is refused before, without a trace, and works from the entry on that raised it; a restart keeps that.
func TestLevels(t *testing.T) {
	n := newNodeAt(t, dedupeSpan, 1)
	n.people(3)
	n.do(text(1, protocol.WithUser(2), "one"))
	plain := text(1, protocol.WithUser(2), "two")
	plain.Extras = protocol.Extras{ContentType: "text/markdown", ReplyTo: 1} // are older than levels
	n.do(plain)
	for range 2 {
		for _, c := range ofLevel2() {
			n.refuse(protocol.CodeForbidden, c)
		}
		n.refuse(protocol.CodeInvalid, &protocol.RaiseLevel{})
		n.do(&protocol.RaiseLevel{To: 1})
		if at, ok, err := n.NextBurn(); ok || err != nil || n.level() != 1 {
			t.Errorf("level %d, next burn %d, %v, %v", n.level(), at, ok, err)
		}
		n.reopen()
	}
	results := n.apply(slices.Concat(ofLevel2(), []protocol.Command{&protocol.RaiseLevel{To: 2}}, ofLevel2())...) // one entry
	for i, r := range results {
		if err, refused := r.(error); refused != (i < 3) || refused && protocol.CodeOf(err) != protocol.CodeForbidden {
			t.Errorf("command %d: %v", i, r)
		}
	}
	n.do(&protocol.RaiseLevel{To: 1}) // never lowers
	n.reopen()
	if n.level() != 2 {
		t.Errorf("level %d after a restart", n.level())
	}
	n.do(ofLevel2()[1])
}

// TestLevelOfBurning: a state that burned before there were levels goes on doing so, on each node alike.
func TestLevelOfBurning(t *testing.T) {
	n := town(t)
	n.do(&protocol.BurnDue{Limit: 1})
	if err := n.db.Update(func(tx *bbolt.Tx) error { return (&txn{tx: tx}).drop(bMeta, []byte(metaLevel)) }); err != nil {
		t.Fatal(err)
	}
	n.reopen()
	if n.level() != 2 {
		t.Fatalf("level %d", n.level())
	}
	for _, c := range ofLevel2() {
		n.do(c)
	}
}

// TestLevelAboveTheProgram: a node stops at the entry that raises the level above what it may use, and does not start on a state, or take over
// one, that uses it.
func TestLevelAboveTheProgram(t *testing.T) {
	for name, tt := range map[string]struct {
		highest, to protocol.Level
		want        string
	}{
		"a newer program's":  {0, Level + 1, `level 5, and version "test" knows up to level 4: run the newer version`},
		"an older program's": {1, 2, "level 2, and this node is held at level 1: let it use level 2"},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNodeAt(t, dedupeSpan, 1)
			n.highest = tt.highest
			n.reopen()
			n.people(2)
			before := n.contents()
			b, err := encodeCommand(&protocol.RaiseLevel{To: tt.to})
			if err != nil {
				t.Fatal(err)
			}
			tx, err := n.db.Begin(true)
			if err != nil {
				t.Fatal(err)
			}
			_, err = n.m.Apply(tx, protocol.Position{Index: 9}, 1, b)
			if !isLevel(err) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("the entry: %v", err)
			}
			if err := tx.Rollback(); err != nil || !sameContents(before, n.contents()) || n.level() != 1 {
				t.Errorf("a trace, or %v", err)
			}
			if err := n.db.Update(func(tx *bbolt.Tx) error { return (&txn{tx: tx}).setNumber(metaLevel, uint64(tt.to)) }); err != nil {
				t.Fatal(err)
			}
			err = n.db.Update(newMachine("test", n.span, HighestLevel(tt.highest)).Open)
			if !isLevel(err) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("the state: %v", err)
			}
		})
	}
}

// TestHeldNode: a node that is held at level 1 plays one of the version before: it knows nothing of level 2, and keeps it out of the log.
func TestHeldNode(t *testing.T) {
	dir := t.TempDir()
	open := func(highest protocol.Level) (*Store, error) {
		return Open(t.Context(), Config{HighestLevel: highest, Config: raftstore.Config{Dir: dir, NodeID: "n1", Version: "test",
			Fatal: func(err error) { t.Errorf("fatal: %v", err) }, Tuning: raftstore.Tuning{MapSize: 1 << 28}}})
	}
	s, err := open(1)
	if err != nil {
		t.Fatal(err)
	}
	people := &protocol.AddUsers{Users: []protocol.NewUser{{User: protocol.User{Name: "a"}}, {User: protocol.User{Name: "b"}}}}
	for _, c := range []protocol.Command{people, text(1, protocol.WithUser(2), "one")} {
		if _, err := s.Execute(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	before, _ := s.Head()
	for _, c := range append(ofLevel2(), &protocol.RaiseLevel{To: 2}) {
		if _, err := s.Start(t.Context(), c); protocol.CodeOf(err) != protocol.CodeForbidden && protocol.CodeOf(err) != protocol.CodeInvalid {
			t.Errorf("%T: %v", c, err)
		}
	}
	if now, _ := s.Head(); now != before {
		t.Errorf("the log grew from %d to %d", before, now)
	}
	if s.Level() != 1 || s.HighestLevel() != 1 {
		t.Errorf("level %d of %d", s.Level(), s.HighestLevel())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	if s, err = open(0); err != nil {
		t.Fatal(err)
	}
	if s.Level() != 1 || s.HighestLevel() != Level {
		t.Errorf("level %d of %d", s.Level(), s.HighestLevel())
	}
	if err := s.RaiseLevel(t.Context(), Level); err != nil || s.Level() != Level {
		t.Errorf("level %d, %v", s.Level(), err)
	}
	for _, c := range ofLevel2() {
		if _, err := s.Execute(t.Context(), c); err != nil {
			t.Errorf("%T: %v", c, err)
		}
	}
	if err := s.RaiseLevel(t.Context(), Level+1); protocol.CodeOf(err) != protocol.CodeInvalid {
		t.Errorf("a level that nobody knows: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err := open(1); !isLevel(err) {
		t.Errorf("held back afterwards: %v", err)
		_ = s.Close()
	}
}
