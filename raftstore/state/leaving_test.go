package state

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"teamtalk/protocol"
)

// TestLeaving follows a group from its making to its end, and compares what each of its members is told of it, at once and
// later. [TT-GROUP-4] [TT-GROUP-7] [TT-SESS-20]
func TestLeaving(t *testing.T) {
	n := newNode(t)
	n.people(4)
	n.events = nil
	leave := func(u protocol.UserID) {
		n.do(&protocol.ChangeMembers{Actor: u, Group: 1, Change: protocol.MembersDel, Members: users(u), Origin: 7})
	}
	creator := func(want protocol.UserID) {
		t.Helper()
		if g, err := n.GroupByID(1); err != nil || g.Creator != want || g.Closed != (want == 0) {
			t.Errorf("group %+v, %v, want the creator %d", g, err, want)
		}
	}
	n.do(&protocol.CreateGroup{Actor: 3, Type: protocol.GroupTemp, Name: "g", Members: users(3, 4)})
	n.do(&protocol.ChangeMembers{Actor: 4, Group: 1, Change: protocol.MembersAdd, Members: users(1)})
	n.do(&protocol.ChangeMembers{Actor: 3, Group: 1, Change: protocol.MembersAdd, Members: users(2)})
	leave(3)
	creator(4) // who was there before 1 and 2
	n.do(text(1, protocol.InGroup(1), "now 3 is gone"))
	n.refuse(no, &protocol.ChangeMembers{Actor: 3, Group: 1, Change: protocol.MembersDel, Members: users(3)})
	n.refuse(no, &protocol.ChangeMembers{Actor: 1, Group: 1, Change: protocol.MembersDel, Members: users(1, 2)})
	n.do(&protocol.ChangeMembers{Actor: 4, Group: 1, Change: protocol.MembersDel, Members: users(1), Origin: 7})
	leave(2) // no creator: nobody succeeds
	creator(4)
	leave(4)
	creator(0)
	n.refuse(none, &protocol.ChangeMembers{Actor: 4, Group: 1, Change: protocol.MembersAdd, Members: users(1)})

	changed := func(actor protocol.UserID, change protocol.MemberChange, current, changed []protocol.UserID) protocol.EventBody {
		return protocol.MembersChanged{Actor: actor, Group: 1, Change: change, Current: current, Changed: changed}
	}
	const add, del = protocol.MembersAdd, protocol.MembersDel
	made := protocol.EventBody(protocol.GroupCreated{Actor: 3, Group: 1, Members: users(3, 4)})
	said := protocol.EventBody(protocol.MessageSent{})
	edited := protocol.EventBody(protocol.GroupEdited{Group: 1})
	join1, join2 := changed(4, add, users(1, 3, 4), users(1)), changed(3, add, users(1, 2, 3, 4), users(2))
	gone3, gone1 := changed(3, del, users(1, 2, 4), users(3)), changed(4, del, users(2, 4), users(1))
	gone2, gone4 := changed(2, del, users(4), users(2)), changed(4, del, users(), users(4))
	want := map[protocol.UserID][]protocol.EventBody{
		0: {made, join1, join2, gone3, edited, said, gone1, gone2, gone4}, // as they happen
		1: {join1, join2, gone3, said, gone1},
		2: {join2, gone3, said, gone1, gone2},
		3: {made, join1, join2, gone3},
		4: {made, join1, join2, gone3, said, gone1, gone2, gone4},
	}
	for u, want := range want {
		events := n.events
		if u != 0 {
			var err error
			if events, _, err = n.EventsAfter(u, 0, 100); err != nil {
				t.Fatal(err)
			}
		}
		var got []protocol.EventBody
		for _, e := range events {
			switch b := e.Body.(type) {
			case protocol.MessageSent:
				e.Body = said
			case protocol.MembersChanged:
				if wantOrigin := b.Change == del && u == 0; (b.Origin == 7) != wantOrigin {
					t.Errorf("user %d: %+v", u, b)
				}
				b.Origin = 0
				e.Body = b
			}
			got = append(got, e.Body)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("user %d: %s", u, diff)
		}
	}
}
