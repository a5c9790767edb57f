package state

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"teamtalk/protocol"
)

// TestMessageStream reads all pieces of a conversation whose ends lie around the steps of the sparse index, after all
// positions around them.
func TestMessageStream(t *testing.T) {
	n := newNode(t)
	n.people(2)
	conv := protocol.WithUser(2).Conversation(1)
	for range 3*sparseStep + 2 {
		n.do(text(1, protocol.WithUser(2), "x"))
	}
	index := func(id protocol.MsgID) uint64 { return n.index - (3*sparseStep + 2) + uint64(id) } // of the message's entry
	edges := []protocol.MsgID{1, 2, 63, 64, 65, 66, 127, 128, 129, 191, 192, 193, 194}
	err := n.view(func(r *txn) error {
		h, err := r.head(conv)
		if err != nil {
			return err
		}
		for _, first := range edges {
			for _, last := range edges {
				for _, seen := range edges {
					p := &replay{txn: r, from: afterIndex(protocol.Cursor(index(seen)))}
					if err := p.collectMessages(conv, h, first, last); err != nil {
						return err
					}
					var got, want []protocol.MsgID
					_, more, err := p.page(1000, func(e protocol.Event) { got = append(got, e.Body.(protocol.MessageSent).Message.ID) })
					if err != nil || more {
						t.Fatalf("%d to %d after %d: more %v, %v", first, last, seen, more, err)
					}
					for id := max(first, seen+1); id <= last; id++ {
						want = append(want, id)
					}
					if !slices.Equal(got, want) {
						t.Fatalf("%d to %d after %d: %v", first, last, seen, got)
					}
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestReplayPages: a page never ends inside an entry, and a cursor beyond everything is kept.
func TestReplayPages(t *testing.T) {
	n := town(t)
	start := n.applied
	n.apply(slices.Repeat([]protocol.Command{text(1, protocol.WithUser(2), "x")}, 10)...)
	n.apply(slices.Repeat([]protocol.Command{text(1, protocol.WithUser(2), "y")}, 10)...)
	events, next, err := n.EventsAfter(2, start, 3)
	if err != nil || len(events) != 10 || next != start+1 {
		t.Errorf("%d events, next %d, %v; want the whole entry", len(events), next, err)
	}
	events, next, err = n.EventsAfter(2, next, 3)
	if err != nil || len(events) != 10 || next != n.applied {
		t.Errorf("%d events, next %d, %v; want the whole entry", len(events), next, err)
	}
	if events, next, err := n.EventsAfter(2, n.applied+100, 3); err != nil || len(events) != 0 || next != n.applied+100 {
		t.Errorf("%d events, next %d, %v after the future", len(events), next, err)
	}
	if events, _, err := n.EventsAfter(2, ^protocol.Cursor(0), 3); err != nil || len(events) != 0 {
		t.Errorf("%d events, %v after the largest cursor", len(events), err)
	}
}

// TestReplayBytes: a page ends with the entry that makes it 1 MiB.
func TestReplayBytes(t *testing.T) {
	n := town(t)
	start := n.applied
	big := text(1, protocol.WithUser(2), string(make([]byte, protocol.MaxTextData)))
	for range 12 {
		n.apply(big, big, big)
	}
	var pages []int
	for at := start; ; {
		events, next, err := n.EventsAfter(2, at, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(events) == 0 {
			if next != n.applied {
				t.Errorf("at the end next is %d, want %d", next, n.applied)
			}
			break
		}
		if next != protocol.Cursor(events[len(events)-1].At.Index) {
			t.Errorf("next is %d, but the page ends at %v", next, events[len(events)-1].At)
		}
		pages = append(pages, len(events))
		at = next
	}
	if want := []int{9, 9, 9, 9}; !slices.Equal(pages, want) { // 128 KiB each: the eighth makes it 1 MiB, its entry has three
		t.Errorf("pages of %v messages, want %v", pages, want)
	}
}

// TestReplayCollapses: of read positions, signatures and avatars only the last is told, at its place. [TT-SESS-20]
func TestReplayCollapses(t *testing.T) {
	n := town(t)
	start := n.applied
	n.do(&protocol.ChangeSign{User: 3, Sign: "a"})
	n.do(&protocol.MarkRead{User: 2, Session: protocol.WithUser(1), UpTo: 1})
	n.do(&protocol.ChangeAvatar{User: 3, Avatar: "old"})
	n.do(text(2, protocol.WithUser(1), "three"))
	n.do(&protocol.MarkRead{User: 2, Session: protocol.WithUser(1), UpTo: 3})
	n.do(&protocol.ChangeSign{User: 3, Sign: "b"})
	n.do(&protocol.EditUser{User: 3, Avatar: ptr("new")})
	n.do(&protocol.MarkRead{User: 1, Session: protocol.WithUser(2)})
	events, _, err := n.EventsAfter(2, start, 100)
	if err != nil {
		t.Fatal(err)
	}
	want := []protocol.EventBody{
		protocol.MessageSent{Message: n.events[len(n.events)-6].Body.(protocol.MessageSent).Message}, // his own [TT-SESS-13]
		protocol.ReadMoved{User: 2, Session: protocol.WithUser(1), UpTo: 3},
		protocol.SignChanged{User: 3, Sign: "b"},
		protocol.AvatarChanged{User: 3, Avatar: "new"},
	}
	var got []protocol.EventBody
	for _, e := range events {
		got = append(got, e.Body)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestReplayable has user 2 miss messages of a group and of another user, for long. [TT-SESS-5]
func TestReplayable(t *testing.T) {
	n := town(t)
	ask := func(what string, u protocol.UserID, after protocol.Cursor, want bool) {
		t.Helper()
		if ok, err := n.Replayable(u, after); err != nil || ok != want {
			t.Errorf("%s: %v, %v", what, ok, err)
		}
	}
	burst := func(to protocol.Session, count int) {
		for ; count > 0; count -= 1000 {
			n.apply(slices.Repeat([]protocol.Command{text(1, to, "x")}, min(count, 1000))...)
		}
	}
	start := n.applied
	ask("nothing missed", 2, start, true)
	burst(protocol.WithUser(2), 6000)
	burst(protocol.InGroup(1), 4000)
	middle := n.applied
	n.clock += replayKeep + 60_000
	ask("long ago, but the log's time stands still", 2, start, true)
	n.do(&protocol.ChangeSign{User: 4, Sign: "time goes on"})
	ask("long ago, 10,000 messages", 2, start, true)
	burst(protocol.InGroup(1), 200)
	ask("long ago, 10,200 messages", 2, start, false)
	ask("another user of the group", 3, start, true)
	ask("a stranger", 4, start, true)
	ask("a few seconds ago", 2, middle, true)
	ask("all of them", 2, 0, false)
	ask("the future", 2, n.applied+5, true)
	ask("nobody", 99, 0, true)
	n.do(&protocol.ChangeMembers{Actor: 1, Group: 1, Change: protocol.MembersDel, Members: users(2)})
	burst(protocol.InGroup(1), 11_000)
	n.clock += replayKeep + 60_000
	burst(protocol.InGroup(1), 1)
	ask("6,000 and 4,200 of his time", 2, start, false)
	ask("200 of his time, what the group said later does not count", 2, middle, true)
	ask("the other one stayed", 3, middle, false)
}
