package state

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"

	"teamtalk/protocol"
)

// node is a machine on a database of its own, without an engine.
type node struct {
	testing.TB
	*Queries
	path    string
	span    int            // of the dedupe window
	highest protocol.Level // what its program may use; 0: all it knows
	db      *bbolt.DB
	m       *machine
	index   uint64
	clock   int64
	applied protocol.Cursor
	events  []protocol.Event
	forget  uint64 // what the engine was told last
}

func newNode(t testing.TB) *node { return newNodeSpan(t, dedupeSpan) }

func newNodeSpan(t testing.TB, span int) *node { return newNodeAt(t, span, Level) }

// newNodeAt is a node of a cluster that uses a level.
func newNodeAt(t testing.TB, span int, level protocol.Level) *node {
	n := &node{TB: t, path: filepath.Join(t.TempDir(), "state"), span: span, clock: 1_700_000_000_000}
	n.open()
	t.Cleanup(n.close)
	if level > 1 {
		n.raised(level)
	}
	return n
}

// raised has the level be what a RaiseLevel would make it, without an entry of the log.
func (n *node) raised(to protocol.Level) {
	n.Helper()
	if err := n.db.Update(func(tx *bbolt.Tx) error {
		return n.m.raiseLevel(&step{txn: &txn{tx: tx}}, &protocol.RaiseLevel{To: to})
	}); err != nil {
		n.Fatal(err)
	}
}

// close may be called before the test's end, by tests that open many.
func (n *node) close() {
	if n.db == nil {
		return
	}
	if err := errors.Join(n.db.Close(), os.Remove(n.path)); err != nil {
		n.Errorf("close: %v", err)
	}
	n.db = nil
}

func (n *node) open() {
	n.Helper()
	db, err := bbolt.Open(n.path, 0o600, &bbolt.Options{
		NoSync: true, NoGrowSync: true, FreelistType: bbolt.FreelistMapType, InitialMmapSize: 1 << 28,
	})
	if err != nil {
		n.Fatal(err)
	}
	n.db = db
	n.m = newMachine("test", n.span, HighestLevel(n.highest))
	if err := db.Update(n.m.Open); err != nil {
		n.Fatal(err)
	}
	n.Queries = &Queries{members: n.m.members, read: db.View, applied: func() protocol.Cursor { return n.applied }}
}

// level is what its cluster uses, which the database and the machine agree on.
func (n *node) level() (l protocol.Level) {
	n.Helper()
	err := n.db.View(func(tx *bbolt.Tx) error {
		l = (&txn{tx: tx}).level()
		return nil
	})
	if known := protocol.Level(n.m.level.Load()); err != nil || known != l {
		n.Fatalf("level %d on disk, %d in memory, %v", l, known, err)
	}
	return l
}

func (n *node) reopen() {
	n.Helper()
	if err := n.db.Close(); err != nil {
		n.Fatal(err)
	}
	n.open()
}

// apply executes the commands as one log entry in one transaction and returns a result, or a refusal, for each.
func (n *node) apply(cmds ...protocol.Command) []any {
	n.Helper()
	n.clock += 1000
	n.index++
	return n.applyAt(n.index, n.clock, cmds...)
}

func (n *node) applyAt(index uint64, ms int64, cmds ...protocol.Command) []any {
	n.Helper()
	results := make([]any, 0, len(cmds))
	err := n.db.Update(func(tx *bbolt.Tx) error {
		for i, c := range cmds {
			b, err := encodeCommand(c)
			if err != nil {
				return err
			}
			a, err := n.m.Apply(tx, protocol.Position{Index: index, Sub: uint16(i)}, ms, b)
			if err != nil {
				return err
			}
			results = append(results, a.Result)
			n.events = append(n.events, a.Events...)
			n.forget = a.Forget
		}
		return nil
	})
	if err != nil {
		n.Fatalf("apply: %v", err)
	}
	n.applied = protocol.Cursor(index)
	return results
}

// do executes one command that must not be refused.
func (n *node) do(c protocol.Command) any {
	n.Helper()
	res := n.apply(c)[0]
	if err, refused := res.(error); refused {
		n.Fatalf("%T refused: %v", c, err)
	}
	return res
}

// refuse executes one command that must be refused with the code, and checks that it leaves no trace.
func (n *node) refuse(code protocol.Code, c protocol.Command) {
	n.Helper()
	before, events := n.contents(), len(n.events)
	var refusal *protocol.Error
	err, _ := n.apply(c)[0].(error)
	if !errors.As(err, &refusal) || refusal.Code != code {
		n.Errorf("%+v: %v, want %v", c, err, code)
	}
	if len(n.events) != events {
		n.Errorf("%+v: refused, but made an event", c)
	}
	if now := n.contents(); !sameContents(before, now) {
		n.Errorf("%+v: refused, but changed the state", c)
	}
}

// contents is all that is in the database: bucket and key → row.
func (n *node) contents() map[string]string {
	n.Helper()
	all := make(map[string]string)
	err := n.db.View(func(tx *bbolt.Tx) error {
		for id := range numBuckets {
			err := tx.Bucket([]byte(id.name())).ForEach(func(k, v []byte) error {
				all[id.name()+"/"+string(k)] = string(v)
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		n.Fatal(err)
	}
	return all
}

func sameContents(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if w, ok := b[k]; !ok || v != w {
			return false
		}
	}
	return true
}

// people adds users 1 … count.
func (n *node) people(count int) {
	n.Helper()
	var c protocol.AddUsers
	for i := 1; i <= count; i++ {
		c.Users = append(c.Users, protocol.NewUser{User: protocol.User{Name: "u" + itoa(i)}})
	}
	n.do(&c)
}

func itoa(i int) string {
	if i < 10 {
		return string(rune('0' + i))
	}
	return itoa(i/10) + itoa(i%10)
}

func text(from protocol.UserID, to protocol.Session, data string) *protocol.SendMessage {
	typ := protocol.MsgSingleText
	if to.Type == protocol.SessionGroup {
		typ = protocol.MsgGroupText
	}
	return &protocol.SendMessage{From: from, To: to, Type: typ, Data: []byte(data)}
}

func keyed(c *protocol.SendMessage, id byte) *protocol.SendMessage {
	c.ClientMsgID[15] = id
	return c
}

func users(ids ...protocol.UserID) []protocol.UserID { return ids }
