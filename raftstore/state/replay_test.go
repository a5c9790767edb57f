package state

import (
	"slices"
	"testing"

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
					s := &messageStream{txn: r, conv: conv, head: h, from: afterIndex(protocol.Cursor(index(seen))), next: first, last: last}
					if err := s.seek(); err != nil {
						return err
					}
					var got, want []protocol.MsgID
					for {
						ok, err := s.fill()
						if err != nil {
							return err
						}
						if !ok {
							break
						}
						got = append(got, s.peek().Body.(protocol.MessageSent).Message.ID)
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
