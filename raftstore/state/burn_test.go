package state

import (
	"testing"

	"go.etcd.io/bbolt"

	"teamtalk/protocol"
)

// burning is a message that burns some seconds after it was read.
func burning(from, to protocol.UserID, after uint32) *protocol.SendMessage {
	c := text(from, protocol.WithUser(to), "burn me")
	c.Extras.BurnAfter = after
	return c
}

func wantBurned(t testing.TB, result any, burned int, more bool) {
	t.Helper()
	if result != (protocol.BurnDueResult{Burned: burned, More: more}) {
		t.Errorf("%+v, want %d burned, more: %v", result, burned, more)
	}
}

// wantNext wants the next time in milliseconds; 0: none.
func wantNext(t testing.TB, n *node, want int64) {
	t.Helper()
	at, ok, err := n.NextBurn()
	if err != nil || int64(at) != want || ok != (want != 0) {
		t.Errorf("next burn is %d, %v, %v, want %d", at, ok, err, want)
	}
}

// pair is a node on which burning has begun, with users 1 and 2.
func pair(t testing.TB) *node {
	n := newNode(t)
	n.people(3)
	wantBurned(t, n.do(&protocol.BurnDue{Limit: 1}), 0, false)
	wantNext(t, n, 0)
	return n
}

// deleted lists what became of the messages of 1 and 2, the oldest first.
func (n *node) deleted() []protocol.Deletion {
	n.Helper()
	msgs, err := n.History(1, protocol.WithUser(2), 0, 100_000)
	if err != nil {
		n.Fatal(err)
	}
	all := make([]protocol.Deletion, len(msgs))
	for _, m := range msgs {
		all[m.ID-1] = m.Deleted
	}
	return all
}

// burnAt has a node burn at a time, and wants this many burned.
func (n *node) burnAt(ms int64, want int) {
	n.Helper()
	n.index++
	n.clock = ms
	wantBurned(n, n.applyAt(n.index, ms, &protocol.BurnDue{Limit: 1000})[0], want, false)
}

// TestCountdown: it starts with what the reader reads, whatever moves his position, and a restart changes nothing.
// [TT-DEL-3]
func TestCountdown(t *testing.T) {
	for _, tt := range []struct {
		name  string
		read  protocol.Command
		start bool
	}{
		{"read", &protocol.MarkRead{User: 2, Session: protocol.WithUser(1), UpTo: 2}, true},
		{"read all", &protocol.MarkRead{User: 2, Session: protocol.WithUser(1)}, true},
		{"session removed", &protocol.RemoveSession{User: 2, Session: protocol.WithUser(1)}, true},
		{"read what is before", &protocol.MarkRead{User: 2, Session: protocol.WithUser(1), UpTo: 1}, false},
		{"read by the author", &protocol.MarkRead{User: 1, Session: protocol.WithUser(2)}, false},
		{"read of another", &protocol.MarkRead{User: 3, Session: protocol.WithUser(1)}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := pair(t)
			n.do(text(1, protocol.WithUser(2), "stays"))
			n.do(burning(1, 2, 5))
			n.do(text(2, protocol.WithUser(1), "stays"))
			wantNext(t, n, 0)
			n.do(tt.read)
			n.reopen()
			read := n.clock
			if !tt.start {
				wantNext(t, n, 0)
				n.burnAt(read+1_000_000, 0)
				return
			}
			wantNext(t, n, read+5000)
			n.do(&protocol.MarkRead{User: 2, Session: protocol.WithUser(1), UpTo: 3}) // again: nothing starts anew
			n.burnAt(read+4999, 0)
			told := len(n.events)
			n.reopen()
			n.burnAt(read+5000, 1)
			want := protocol.MessageDeleted{Conversation: protocol.WithUser(2).Conversation(1), ID: 2, Kind: protocol.Burned}
			if len(n.events) != told+1 || n.events[told].Body.(protocol.MessageDeleted).By != 0 || n.events[told].Body.(protocol.MessageDeleted).ID != want.ID {
				t.Errorf("events %+v, want %+v", n.events[told:], want)
			}
			if d := n.deleted(); d[0] != 0 || d[1] != protocol.Burned || d[2] != 0 {
				t.Errorf("deleted: %v", d)
			}
			wantNext(t, n, 0)
			n.burnAt(read+1_000_000, 0)
		})
	}
}

// TestBurnOrder: the earliest first, as many as are asked for.
func TestBurnOrder(t *testing.T) {
	n := pair(t)
	for _, after := range []uint32{9, 3, 6, 3, 604_800} {
		n.do(burning(1, 2, after))
	}
	n.refuse(bad, &protocol.BurnDue{})
	n.do(&protocol.MarkRead{User: 2, Session: protocol.WithUser(1)})
	read := n.clock
	n.clock = read + 8999
	wantBurned(t, n.do(&protocol.BurnDue{Limit: 1}), 1, true)
	wantBurned(t, n.do(&protocol.BurnDue{Limit: 2}), 2, true)
	if d := n.deleted(); d[0] != 0 || d[2] != protocol.Burned {
		t.Errorf("deleted: %v", d)
	}
	wantBurned(t, n.do(&protocol.BurnDue{Limit: 1}), 1, false)
	wantNext(t, n, read+604_800_000)
	n.do(&protocol.DeleteMessage{Actor: 2, Session: protocol.WithUser(1), ID: 5, Deletion: protocol.Burned})
	told := len(n.events)
	n.burnAt(read+604_800_000, 0) // it is gone already [TT-DEL-6]
	if len(n.events) != told {
		t.Errorf("burned twice: %+v", n.events[told:])
	}
	wantNext(t, n, 0)
	if n.rows(bDue)+n.rows(bUnburned) != 0 || n.rows(bDeletion) != 5 {
		t.Errorf("%d due, %d unread, %d deletions", n.rows(bDue), n.rows(bUnburned), n.rows(bDeletion))
	}
}

// rows counts a bucket's rows.
func (n *node) rows(id bucketID) (count int) {
	n.Helper()
	err := n.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte(id.name())).ForEach(func(_, _ []byte) error {
			count++
			return nil
		})
	})
	if err != nil {
		n.Fatal(err)
	}
	return count
}

// TestReadManyAtOnce: what one command can't move is moved later, with the time of reading. [TT-DEL-3]
func TestReadManyAtOnce(t *testing.T) {
	n := pair(t)
	const count = 3000
	for range count / 500 {
		cmds := make([]protocol.Command, 500)
		for i := range cmds {
			cmds[i] = burning(1, 2, uint32(20+i%3))
		}
		n.apply(cmds...)
	}
	n.do(&protocol.MarkRead{User: 2, Session: protocol.WithUser(1), UpTo: count - 100})
	read := n.clock
	if moved := n.rows(bDue); moved != burnStep+1 {
		t.Errorf("%d rows in due, want %d and one for the others", moved, burnStep)
	}
	wantNext(t, n, read) // at once
	n.do(&protocol.DeleteMessage{Actor: 1, Session: protocol.WithUser(2), ID: 2000, Deletion: protocol.Burned})
	n.do(&protocol.MarkRead{User: 2, Session: protocol.WithUser(1), UpTo: count - 50}) // its own countdown
	second := n.clock
	n.reopen()
	commands := 0
	for more := true; more; commands++ {
		result := n.do(&protocol.BurnDue{Limit: 10}).(protocol.BurnDueResult)
		more = result.More
		if result.Burned != 0 {
			t.Fatalf("%+v before anything was due", result)
		}
	}
	if commands < 2 || commands > count/burnMost+2 {
		t.Errorf("%d commands", commands)
	}
	if due, unread := n.rows(bDue), n.rows(bUnburned); due != count-51 || unread != 50 {
		t.Errorf("%d due, %d unread", due, unread)
	}
	wantNext(t, n, read+20_000)
	total := 0
	for _, at := range []int64{read + 19_999, read + 20_000, read + 21_000, read + 22_000, second + 22_000} {
		n.clock = at
		for more := true; more; {
			n.index++
			result := n.applyAt(n.index, at, &protocol.BurnDue{Limit: 1 << 30})[0].(protocol.BurnDueResult)
			if total, more = total+result.Burned, result.More; result.Burned > burnMost {
				t.Fatalf("%d burned by one command", result.Burned)
			}
		}
		if at == read+19_999 && total != 0 {
			t.Errorf("%d burned too early", total)
		}
		if at == read+22_000 && total < count-101 {
			t.Errorf("%d burned, want all that were read at first", total)
		}
	}
	if total != count-51 || n.rows(bDue) != 0 {
		t.Errorf("%d burned, want %d; %d are left", total, count-51, n.rows(bDue))
	}
}

// TestOlderMessages: what was sent before burning began is found, some at a time, while life goes on. [TT-DEL-3]
func TestOlderMessages(t *testing.T) {
	n := newNode(t)
	n.people(3)
	send := func(count int, c protocol.Command) {
		for ; count > 0; count -= 1000 {
			cmds := make([]protocol.Command, min(count, 1000))
			for i := range cmds {
				cmds[i] = c
			}
			n.apply(cmds...)
		}
	}
	n.do(burning(1, 2, 5)) // 1, read
	n.do(&protocol.MarkRead{User: 2, Session: protocol.WithUser(1)})
	send(burnScan+10, text(1, protocol.WithUser(3), "x"))
	n.do(burning(1, 2, 5)) // 2, read between two steps
	n.do(burning(1, 2, 5)) // 3, unread
	n.do(burning(1, 2, 5)) // 4, deleted between two steps
	if at, ok, err := n.NextBurn(); at != 0 || !ok || err != nil {
		t.Errorf("next burn is %d, %v, %v, want at once", at, ok, err)
	}
	if n.rows(bDue)+n.rows(bUnburned) != 0 {
		t.Error("rows that an older program would not write")
	}
	wantBurned(t, n.do(&protocol.BurnDue{Limit: 1}), 0, true)
	first := n.clock
	n.reopen()
	if at, ok, err := n.NextBurn(); at != 0 || !ok || err != nil {
		t.Errorf("next burn is %d, %v, %v, want at once", at, ok, err)
	}
	n.do(burning(1, 2, 5)) // 5, of the new time, unread
	n.do(&protocol.MarkRead{User: 2, Session: protocol.WithUser(1), UpTo: 2})
	n.do(&protocol.DeleteMessage{Actor: 1, Session: protocol.WithUser(2), ID: 4, Deletion: protocol.Burned})
	wantBurned(t, n.do(&protocol.BurnDue{Limit: 1}), 0, false)
	found := n.clock
	wantNext(t, n, first+5000)
	if n.rows(bDue) != 2 || n.rows(bUnburned) != 2 {
		t.Errorf("%d due, %d unread", n.rows(bDue), n.rows(bUnburned))
	}
	n.burnAt(first+5000, 1)
	n.burnAt(found+5000, 1)
	n.do(&protocol.MarkRead{User: 2, Session: protocol.WithUser(1)})
	n.burnAt(n.clock+5000, 2)
	for id, d := range n.deleted() {
		if d != protocol.Burned {
			t.Errorf("message %d is %d", id+1, d)
		}
	}
}

// TestBurnTime: a leader whose clock is behind does not burn earlier than the last message was sent. [TT-DEL-3]
func TestBurnTime(t *testing.T) {
	n := pair(t)
	n.do(burning(1, 2, 1))
	now := n.clock
	n.index++
	n.applyAt(n.index, now-3_600_000, &protocol.MarkRead{User: 2, Session: protocol.WithUser(1)})
	wantNext(t, n, now+1000)
}
