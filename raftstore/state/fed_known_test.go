package state

import (
	"slices"
	"testing"

	"teamtalk/protocol"
)

// TestKnownTo: a peer knows whom it was told of, and who shares a conversation with somebody of it; of nobody else it may ask whether he is there.
func TestKnownTo(t *testing.T) {
	w := newWorld(t, 3)
	a, b, c := w.offices[0], w.offices[1], w.offices[2]
	known := func(at, to *office) []protocol.UserID {
		got, err := at.KnownTo(to.id, []protocol.UserID{1, 2, 3, 4, 99, protocol.MaxLocalID, a.person(b, 1)})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := known(a, b); got != nil {
		t.Errorf("before a word was said: %v", got)
	}
	a.say(1, protocol.WithUser(a.person(b, 1)), "hello")
	if got := known(a, b); !slices.Equal(got, []protocol.UserID{1}) {
		t.Errorf("who has said something: %v", got)
	}
	b.say(2, protocol.WithUser(b.person(a, 2)), "hello")
	w.settle()
	if got := known(a, b); !slices.Equal(got, []protocol.UserID{1, 2}) {
		t.Errorf("and whom something was said to: %v", got)
	}
	made, _ := a.do(&protocol.CreateGroup{Actor: 3, Type: protocol.GroupTemp, Name: "Lunch", Members: []protocol.UserID{3, a.person(b, 3), a.person(c, 3)}}).(protocol.CreateGroupResult)
	w.settle()
	if got := known(a, b); !slices.Equal(got, []protocol.UserID{1, 2, 3}) {
		t.Errorf("and who is in a group with somebody: %v", got)
	}
	if got := known(b, c); !slices.Equal(got, []protocol.UserID{3}) {
		t.Errorf("the group's hub is elsewhere: %v", got)
	}
	a.do(&protocol.ChangeMembers{Actor: 3, Group: made.Group, Change: protocol.MembersDel, Members: []protocol.UserID{a.person(c, 3)}})
	w.settle()
	if got := known(b, c); got != nil {
		t.Errorf("nobody of it is in the group any more: %v", got)
	}
}
