package state

import (
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"

	"teamtalk/protocol"
)

// oldNode is a node on a database that an older program wrote, with that many entries.
func oldNode(t *testing.T, name string, entries uint64) *node {
	f, err := os.Open(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{TB: t, path: filepath.Join(t.TempDir(), "state"), span: dedupeSpan, clock: 1_700_000_100_000, index: entries, applied: protocol.Cursor(entries)}
	if err := os.WriteFile(n.path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return n
}

// rawContents is all that is in a database, of whatever format.
func rawContents(t *testing.T, path string) map[string]string {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	err = db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			return b.ForEach(func(k, v []byte) error {
				all[string(name)+"/"+string(k)] = string(v)
				return nil
			})
		})
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	return all
}

// migrated opens an old database twice, and sees that its rows stay.
func migrated(t *testing.T, n *node) {
	t.Helper()
	before := rawContents(t, n.path)
	if len(before) < 40 {
		t.Fatalf("only %d rows", len(before))
	}
	n.open()
	t.Cleanup(n.close)
	now := n.contents()
	for _, name := range []string{metaFormat, metaProgram} {
		delete(before, bMeta.name()+"/"+name)
		delete(now, bMeta.name()+"/"+name)
	}
	if !sameContents(before, now) {
		t.Error("the migration changed rows")
	}
	n.reopen() // as the new format
}

// TestFormat1 opens a database of the first format: it keeps its content, and everything works on it. In it is what town
// does, then a password and a signature of user 1, a message of user 2 to group 1, his reading and leaving, a file and a
// device for him.
func TestFormat1(t *testing.T) {
	n := oldNode(t, "format1.db.gz", 16)
	migrated(t, n)
	u, hash, err := n.Login("u1")
	if err != nil || hash != "h" || u.Sign != "s" || u.Revoked != 0 {
		t.Errorf("user %+v, %q, %v", u, hash, err)
	}
	msgs, err := n.History(2, protocol.WithUser(1), 0, 10)
	if err != nil || len(msgs) != 2 || string(msgs[1].Data) != "one" || msgs[1].Extras != (protocol.Extras{}) {
		t.Errorf("history %+v, %v", msgs, err)
	}
	events, next, err := n.EventsAfter(2, 0, 100)
	if err != nil || next != 16 || len(events) != 8 {
		t.Errorf("%d events up to %d, %v: %+v", len(events), next, err, events)
	}
	if again := n.do(keyed(text(1, protocol.WithUser(2), "one"), 1)).(protocol.SendResult); !again.Repeated || again.ID != 1 {
		t.Errorf("a repeat across the versions: %+v", again)
	}
	c := text(1, protocol.WithUser(2), "three")
	c.Extras.ReplyTo = 2
	if res := n.do(c).(protocol.SendResult); res.ID != 3 {
		t.Errorf("a new message: %+v", res)
	}
	n.do(&protocol.FoundCluster{Cluster: testCluster(1)})
	n.do(&protocol.SetPassword{User: 1, Hash: "h2"})
	n.do(&protocol.RevokeSessions{User: 2, Scope: protocol.RevokeDevice, Device: "d"})
	if e, err := n.Revoked(1, "d", protocol.ClientIOS); err != nil || e != n.applied-1 {
		t.Errorf("epoch of 1: %d, %v", e, err)
	}
	if e, err := n.Revoked(2, "d", protocol.ClientIOS); err != nil || e != n.applied {
		t.Errorf("epoch of 2: %d, %v", e, err)
	}
}

// TestFormat2 opens a database with messages to be burned, that nothing burned: they burn now. In it is what town does, then
// of user 1 to user 2 the messages 3, which he has read, and 5, of him 4; all burn after 5 s. [TT-DEL-3]
func TestFormat2(t *testing.T) {
	n := oldNode(t, "format2.db.gz", 15)
	migrated(t, n)
	if n.level() != 1 {
		t.Errorf("level %d before there were levels", n.level())
	}
	if _, ok, err := n.NextBurn(); ok || err != nil {
		t.Errorf("burning of itself: %v, %v", ok, err)
	}
	n.do(&protocol.RaiseLevel{To: Level})
	if at, ok, err := n.NextBurn(); at != 0 || !ok || err != nil {
		t.Errorf("next burn is %d, %v, %v, want at once", at, ok, err)
	}
	wantBurned(t, n.do(&protocol.BurnDue{Limit: 10}), 0, false)
	read := n.clock
	wantNext(t, n, read+5000)
	n.do(&protocol.MarkRead{User: 2, Session: protocol.WithUser(1), UpTo: 5})
	n.clock = read + 5000
	wantBurned(t, n.do(&protocol.BurnDue{Limit: 10}), 2, false)
	msgs, err := n.History(2, protocol.WithUser(1), 0, 10)
	if err != nil || len(msgs) != 5 || msgs[0].Deleted != protocol.Burned || msgs[1].Deleted != 0 || msgs[2].Deleted != protocol.Burned {
		t.Errorf("history %+v, %v", msgs, err)
	}
	n.do(&protocol.MarkRead{User: 1, Session: protocol.WithUser(2)})
	wantNext(t, n, n.clock+5000)
	if again := n.do(keyed(burning(1, 2, 9), 7)).(protocol.SendResult); !again.Repeated || again.ID != 3 {
		t.Errorf("a repeat of a burned message: %+v", again)
	}
}
