package state

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"

	"teamtalk/protocol"
)

func recall(actor protocol.UserID, s protocol.Session, id protocol.MsgID) *protocol.DeleteMessage {
	return &protocol.DeleteMessage{Actor: actor, Session: s, ID: id, Deletion: protocol.Recalled, Within: 120_000}
}

func burnNow(actor protocol.UserID, s protocol.Session, id protocol.MsgID) *protocol.DeleteMessage {
	return &protocol.DeleteMessage{Actor: actor, Session: s, ID: id, Deletion: protocol.Burned}
}

// holding lists where a piece of text is: in all keys and rows of all buckets, of whatever name.
func (n *node) holding(piece string) (places []string) {
	n.Helper()
	err := n.db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			c := b.Cursor()
			for k, v := c.First(); k != nil; k, v = c.Next() {
				if strings.Contains(string(k), piece) || strings.Contains(string(v), piece) {
					places = append(places, fmt.Sprintf("%s/%x", name, k))
				}
			}
			return nil
		})
	})
	if err != nil {
		n.Fatal(err)
	}
	return places
}

// TestNothingIsKept looks for the content of deleted messages in everything that the state has. [TT-DEL-4] [TT-DEL-7]
func TestNothingIsKept(t *testing.T) {
	n := newNodeSpan(t, 16)
	n.people(4)
	n.do(&protocol.BurnDue{Limit: 1})
	n.do(&protocol.CreateGroup{Actor: 3, Type: protocol.GroupTemp, Name: "g", Members: users(1, 2, 3)})
	const piece = "SECRET"
	content := func(c *protocol.SendMessage, id byte, after uint32) *protocol.SendMessage {
		c.Data = []byte("....x" + piece + strings.Repeat("x", 300))
		c.Extras = protocol.Extras{ContentType: "text/" + piece, BurnAfter: after}
		return keyed(c, id)
	}
	sound := &protocol.SendMessage{From: 1, To: protocol.WithUser(2), Type: protocol.MsgSingleAudio}
	sends := []*protocol.SendMessage{content(text(1, protocol.WithUser(2), ""), 1, 0), content(sound, 2, 0), content(text(1, protocol.InGroup(1), ""), 3, 0),
		content(text(1, protocol.WithUser(2), ""), 4, 7), content(text(1, protocol.WithUser(2), ""), 5, 7), content(text(2, protocol.WithUser(1), ""), 6, 7)}
	for _, c := range sends {
		n.do(c)
	}
	if len(n.holding(piece)) != len(sends) {
		t.Fatalf("the content is in %v: the test tests nothing, or there are copies", n.holding(piece))
	}
	n.do(recall(1, protocol.WithUser(2), 1))
	n.do(recall(1, protocol.WithUser(2), 2))
	n.do(recall(3, protocol.InGroup(1), 1))
	n.do(burnNow(2, protocol.WithUser(1), 3))
	n.do(burnNow(2, protocol.WithUser(1), 5))
	n.do(&protocol.MarkRead{User: 2, Session: protocol.WithUser(1)})
	n.clock += 10_000
	wantBurned(t, n.do(&protocol.BurnDue{Limit: 9}), 1, false)
	if n.forget != n.index {
		t.Errorf("the engine was told to forget up to %d, want %d", n.forget, n.index)
	}
	for range 40 { // so that the dedupe window rolls and is written
		n.do(keyed(text(3, protocol.WithUser(4), "x"), byte(n.index)))
	}
	for _, restart := range []bool{false, true} {
		if restart {
			n.reopen()
		}
		if places := n.holding(piece); len(places) > 0 {
			t.Errorf("the content is still in %v", places)
		}
		events, _, err := n.EventsAfter(2, 0, 1000)
		if s := fmt.Sprintf("%s", events); err != nil || strings.Contains(s, piece) {
			t.Errorf("the content is in a replay: %s, %v", s, err)
		}
		for i, c := range sends {
			c.Data, c.Extras = []byte("....xother"), protocol.Extras{}
			res := n.do(c).(protocol.SendResult)
			if !res.Repeated || n.forget != n.index {
				t.Errorf("message %d repeated: %+v; forget up to %d of %d", i, res, n.forget, n.index)
			}
		}
		n.refuse(bad, keyed(text(1, protocol.WithUser(3), "other target"), 1))
		n.refuse(bad, keyed(text(1, protocol.WithUser(2), "other type"), 2))
	}
	if n.do(keyed(text(3, protocol.WithUser(4), "new"), 250)); n.forget != 0 {
		t.Errorf("an ordinary message makes the log forget up to %d", n.forget)
	}
}

// TestDeletedForm: what stays, wherever it is read, and the counts do not change. [TT-DEL-4]
func TestDeletedForm(t *testing.T) {
	n := pair(t)
	n.do(text(1, protocol.WithUser(2), "one"))
	c := keyed(burning(1, 2, 7), 9)
	c.Extras.ContentType, c.Extras.ReplyTo = "text/markdown", 1
	n.do(c)
	sent := n.clock
	unread, err := n.Unread(2)
	if err != nil || len(unread) != 1 || unread[0].Count != 2 {
		t.Fatalf("unread: %+v, %v", unread, err)
	}
	n.do(burnNow(1, protocol.WithUser(2), 2))
	want := protocol.Message{Conversation: protocol.WithUser(2).Conversation(1), ID: 2, From: 1, Time: protocol.Time(sent), Type: protocol.MsgSingleText,
		ClientMsgID: c.ClientMsgID, Extras: protocol.Extras{BurnAfter: 7}, Deleted: protocol.Burned, At: unread[0].Latest.At}
	got := make(map[string]protocol.Message)
	after, err := n.Unread(2)
	if err != nil || len(after) != 1 || after[0].Count != 2 {
		t.Fatalf("unread: %+v, %v", after, err)
	}
	got["unread"] = after[0].Latest
	recent, err := n.RecentSessions(2, 0, 9)
	if err != nil || len(recent) != 1 {
		t.Fatalf("recent: %+v, %v", recent, err)
	}
	got["recent"] = recent[0].Latest
	history, err := n.History(2, protocol.WithUser(1), 0, 9)
	if err != nil || len(history) != 2 {
		t.Fatalf("history: %+v, %v", history, err)
	}
	got["history"] = history[0]
	byID, err := n.MessagesByID(2, protocol.WithUser(1), []protocol.MsgID{2})
	if err != nil || len(byID) != 1 {
		t.Fatalf("by id: %+v, %v", byID, err)
	}
	got["by id"] = byID[0]
	events, _, err := n.EventsAfter(2, 0, 9)
	if err != nil || len(events) != 3 {
		t.Fatalf("events: %+v, %v", events, err)
	}
	got["replay"] = events[1].Body.(protocol.MessageSent).Message
	for where, m := range got {
		if diff := cmp.Diff(want, m); diff != "" {
			t.Errorf("%s: %s", where, diff)
		}
	}
	gone := protocol.Event{At: protocol.Position{Index: n.index}, Body: protocol.MessageDeleted{Conversation: want.Conversation, ID: 2, Kind: protocol.Burned, By: 1}}
	if diff := cmp.Diff(gone, events[2]); diff != "" {
		t.Error(diff)
	}
	if id, err := n.LatestMsgID(2, protocol.WithUser(1)); id != 2 || err != nil {
		t.Errorf("latest id %d, %v", id, err)
	}
}

func TestDeleteIsRefused(t *testing.T) { // [TT-DEL-1] [TT-DEL-2] [TT-DEL-8]
	n := town(t)
	n.do(burning(2, 1, 5))                             // 3
	n.do(text(2, protocol.InGroup(1), "in the group")) // 1
	n.do(text(1, protocol.InGroup(1), "his own"))      // 2
	n.do(text(4, protocol.InGroup(2), "the company's"))
	n.do(&protocol.ChangeMembers{Actor: 1, Group: 1, Change: protocol.MembersAdd, Members: users(5)})
	n.do(&protocol.ChangeMembers{Actor: 3, Group: 1, Change: protocol.MembersDel, Members: users(3)})
	single, group := protocol.WithUser(2), protocol.InGroup(1)
	for _, tt := range []refusal{
		{"unknown kind", bad, &protocol.DeleteMessage{Actor: 1, Session: single, ID: 1, Deletion: 3, Within: 1e9}},
		{"no kind", bad, &protocol.DeleteMessage{Actor: 1, Session: single, ID: 1, Within: 1e9}},
		{"no session", bad, recall(1, protocol.Session{}, 1)},
		{"burn in a group", bad, burnNow(2, group, 1)},
		{"burn what does not burn", bad, burnNow(1, single, 1)},
		{"the peer recalls", no, recall(2, protocol.WithUser(1), 1)},
		{"a member recalls another's", no, recall(2, group, 2)},
		{"of a group of the company nobody is the creator", no, recall(1, protocol.InGroup(2), 1)},
		{"the operator", none, recall(0, single, 1)},
		{"nobody", none, recall(99, single, 1)},
		{"who has left the company", none, recall(6, single, 1)},
		{"id 0", none, recall(1, single, 0)},
		{"id beyond", none, recall(1, single, 4)},
		{"largest id", none, burnNow(1, single, ^protocol.MsgID(0))},
		{"strangers", none, recall(4, protocol.WithUser(5), 1)},
		{"oneself", none, recall(1, protocol.WithUser(1), 1)},
		{"no group", none, recall(1, protocol.InGroup(77), 1)},
		{"closed group", none, recall(1, protocol.InGroup(3), 1)},
		{"no member", none, recall(4, group, 1)},
		{"who left the group", none, recall(3, group, 1)},
		{"before he joined", none, recall(5, group, 1)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n.TB = t
			n.refuse(tt.code, tt.cmd)
			if n.forget != 0 {
				t.Errorf("forget up to %d", n.forget)
			}
		})
	}
}

// TestRecallWindow: to the millisecond, of the command's time, which does not move back. The creator of a group always may.
// [TT-DEL-1]
func TestRecallWindow(t *testing.T) {
	n := town(t)
	for _, tt := range []struct {
		name   string
		actor  protocol.UserID
		to     protocol.Session
		late   int64
		within int64
		code   protocol.Code
	}{
		{"at once", 2, protocol.WithUser(1), 0, 120_000, 0},
		{"just in time", 2, protocol.WithUser(1), 120_000, 120_000, 0},
		{"too late", 2, protocol.WithUser(1), 120_001, 120_000, no},
		{"another window", 2, protocol.WithUser(1), 5000, 4000, no},
		{"no window", 2, protocol.WithUser(1), 1, 0, no},
		{"no window, but the same time", 2, protocol.WithUser(1), 0, 0, 0},
		{"a clock that is behind", 2, protocol.WithUser(1), -3_600_000, 10, 0},
		{"author in a group", 2, protocol.InGroup(1), 120_001, 120_000, no},
		{"creator of the group", 1, protocol.InGroup(1), 1e12, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n.TB = t
			res := n.do(text(2, tt.to, "x")).(protocol.SendResult)
			c := recall(tt.actor, tt.to, res.ID)
			c.Within = tt.within
			n.index++
			err, _ := n.applyAt(n.index, n.clock+tt.late, c)[0].(error)
			if protocol.CodeOf(err) != tt.code {
				t.Errorf("%v, want %v", err, tt.code)
			}
		})
	}
}

// TestDeletedOnce: the second one has nothing to do, whoever asks for whatever. [TT-DEL-6]
func TestDeletedOnce(t *testing.T) {
	n := pair(t)
	n.do(burning(1, 2, 5))
	n.do(text(1, protocol.WithUser(2), "x"))
	n.do(burnNow(2, protocol.WithUser(1), 1))
	n.do(recall(1, protocol.WithUser(2), 2))
	n.clock += 1e9
	before, told := n.contents(), len(n.events)
	for _, c := range []*protocol.DeleteMessage{burnNow(2, protocol.WithUser(1), 1), burnNow(1, protocol.WithUser(2), 1), recall(1, protocol.WithUser(2), 1),
		recall(1, protocol.WithUser(2), 2), recall(2, protocol.WithUser(1), 2), burnNow(1, protocol.WithUser(2), 2)} {
		n.do(c)
	}
	if len(n.events) != told || !sameContents(before, n.contents()) {
		t.Errorf("deleted again: %+v", n.events[told:])
	}
	if d := n.deleted(); d[0] != protocol.Burned || d[1] != protocol.Recalled {
		t.Errorf("deleted: %v", d)
	}
}

// TestDeletionIsToldToMembers: to those of the moment, also in a replay, and also of messages from before their time.
// [TT-DEL-6]
func TestDeletionIsToldToMembers(t *testing.T) {
	n := town(t)
	n.do(text(2, protocol.InGroup(1), "x"))
	n.do(text(2, protocol.InGroup(1), "y"))
	n.do(&protocol.ChangeMembers{Actor: 1, Group: 1, Change: protocol.MembersDel, Members: users(3)})
	n.do(&protocol.ChangeMembers{Actor: 1, Group: 1, Change: protocol.MembersAdd, Members: users(5)})
	n.do(recall(2, protocol.InGroup(1), 1))
	live := n.events[len(n.events)-1].Body.(protocol.MessageDeleted)
	if !slices.Equal(live.Members, users(1, 2, 5)) || live.By != 2 {
		t.Errorf("told %+v", live)
	}
	n.do(&protocol.ChangeMembers{Actor: 1, Group: 1, Change: protocol.MembersAdd, Members: users(3)})
	n.do(&protocol.ChangeMembers{Actor: 1, Group: 1, Change: protocol.MembersDel, Members: users(5)})
	n.do(recall(1, protocol.InGroup(1), 2))
	for u, want := range map[protocol.UserID][]protocol.MsgID{1: {1, 2}, 2: {1, 2}, 3: {2}, 4: nil, 5: {1}} {
		events, _, err := n.EventsAfter(u, 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		var got []protocol.MsgID
		for _, e := range events {
			if d := asDeletion(e); d != nil {
				got = append(got, d.ID)
				if d.Members != nil || d.Kind != protocol.Recalled || d.Conversation != protocol.InGroup(1).Conversation(u) {
					t.Errorf("user %d is replayed %+v", u, d)
				}
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("user %d is replayed the deletions of %v, want %v", u, got, want)
		}
	}
}

// FuzzUnpackDeletion reads the rows of deletions and of what is due.
func FuzzUnpackDeletion(f *testing.F) {
	row, due := deletionRow{protocol.Burned, 7}, dueRow{1, 2, 3, 4}
	b := make([]byte, deletionLen)
	row.pack(b)
	f.Add(b)
	b = make([]byte, dueLong)
	due.pack(b)
	f.Add(b)
	f.Add([]byte{rowVersion})
	f.Fuzz(func(t *testing.T, b []byte) {
		again := make([]byte, len(b))
		if row, err := unpackDeletion(b); err == nil {
			if row.pack(again); string(again) != string(b) || !row.kind.Valid() {
				t.Fatalf("%x became %x, %+v", b, again, row)
			}
		}
		if due, single, err := unpackDue(b); err == nil && !single {
			if due.pack(again); string(again) != string(b) {
				t.Fatalf("%x became %x", b, again)
			}
		}
		_, _, _ = unpackBurning(b)
	})
}
