package state

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// TestOneToOneAbroad: what is said arrives once, in order, under the author's name, and he learns of it.
func TestOneToOneAbroad(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.offices[0], w.offices[1]
	bob := a.person(b, 2)
	if bob < protocol.MaxLocalID || bob > maxAlias {
		t.Fatalf("an alias is %d", bob)
	}
	first := a.say(1, protocol.WithUser(bob), "hello")
	a.say(1, protocol.WithUser(bob), "again")
	if refused := w.settle(); refused != nil {
		t.Fatal(refused)
	}
	ann := b.person(a, 1)
	want := []string{"hangzhou1: hello", "hangzhou1: again"}
	if diff := cmp.Diff(want, b.texts(2, protocol.WithUser(ann))); diff != "" {
		t.Fatal(diff)
	}
	if got := a.states(first); !slices.Equal(got, []uint8{uint8(fed.StatePending), uint8(fed.StateDelivered)}) {
		t.Errorf("the author was told %v", got)
	}
	b.view(func(t *txn) error {
		row, err := t.user(ann)
		if u := row.User; u.Nick != "Nick1 (hangzhou)" || u.Address != "hangzhou1@hangzhou.example" || !u.Remote || u.Department == 0 {
			w.Errorf("she is shown as %+v", u)
		}
		return err
	})
	b.say(2, protocol.WithUser(ann), "hi")
	w.settle()
	want = append(want, "beijing2: hi")
	for _, o := range []struct {
		*office
		me, peer protocol.UserID
	}{{a, 1, bob}, {b, 2, ann}} {
		if diff := cmp.Diff(want, o.texts(o.me, protocol.WithUser(o.peer))); diff != "" {
			t.Error(o.name, diff)
		}
	}
}

// TestReadAbroad: a read position travels, named by the message.
func TestReadAbroad(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.offices[0], w.offices[1]
	bob := a.person(b, 2)
	a.say(1, protocol.WithUser(bob), "one")
	a.say(1, protocol.WithUser(bob), "two")
	w.settle()
	b.do(&protocol.MarkRead{User: 2, Session: protocol.WithUser(b.person(a, 1)), UpTo: 2})
	w.settle()
	if !slices.ContainsFunc(a.events, func(e protocol.Event) bool {
		m, ok := e.Body.(protocol.ReadMoved)
		return ok && m.User == bob && m.UpTo == 2 && m.Session == protocol.WithUser(1)
	}) {
		t.Error("the author does not learn that it was read")
	}
}

// TestDeletedAbroad: a recalled message is gone at the other office, and from the outbox before it was ever sent.
func TestDeletedAbroad(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.offices[0], w.offices[1]
	bob := protocol.WithUser(a.person(b, 2))
	sent := a.say(1, bob, "a mistake")
	w.settle()
	unsent := a.say(1, bob, "another mistake")
	for _, id := range []protocol.MsgID{sent, unsent} {
		a.do(&protocol.DeleteMessage{Actor: 1, Session: bob, ID: id, Deletion: protocol.Recalled, Within: 1 << 40})
	}
	for _, o := range w.offices[:1] {
		if holds(o, "mistake") {
			t.Errorf("%s still has the content", o.name)
		}
	}
	w.settle()
	if holds(b, "mistake") {
		t.Error("the other office still has the content")
	}
	if diff := cmp.Diff([]string{"hangzhou1: (deleted)"}, b.texts(2, protocol.WithUser(b.person(a, 1)))); diff != "" {
		t.Error(diff)
	}
}

func holds(o *office, what string) bool {
	for _, row := range o.contents() {
		if strings.Contains(row, what) {
			return true
		}
	}
	return false
}

// TestGroupAbroad: three offices, one order; each office gets a post once.
func TestGroupAbroad(t *testing.T) {
	w := newWorld(t, 3)
	a, b, c := w.offices[0], w.offices[1], w.offices[2]
	made, _ := a.do(&protocol.CreateGroup{Actor: 1, Type: protocol.GroupTemp, Name: "Lunch",
		Members: []protocol.UserID{1, 2, a.person(b, 1), a.person(b, 2), a.person(c, 3)}}).(protocol.CreateGroupResult)
	w.settle()
	there := func(o *office) protocol.Session { return protocol.InGroup(o.group(a, made.Group)) }
	pending := b.say(1, there(b), "from beijing")
	b.say(2, there(b), "and me")
	c.say(3, there(c), "from singapore")
	a.say(2, there(a), "from the hub")
	if refused := w.settle(); refused != nil {
		t.Fatal(refused)
	}
	if got := b.states(pending); !slices.Equal(got, []uint8{uint8(fed.StatePending), uint8(fed.StateSent)}) {
		t.Errorf("the author of a post was told %v", got)
	}
	order := hubOrder(a, made.Group)
	if len(order) != 4 {
		t.Fatalf("%d posts are ordered", len(order))
	}
	for _, o := range []*office{b, c} {
		if diff := cmp.Diff(order, hubOrder(o, o.group(a, made.Group))); diff != "" {
			t.Error(o.name, diff)
		}
	}
	for _, o := range []struct {
		*office
		me protocol.UserID
	}{{a, 1}, {b, 2}, {c, 3}} {
		got := o.texts(o.me, there(o.office))
		slices.Sort(got)
		if diff := cmp.Diff([]string{"beijing1: from beijing", "beijing2: and me", "hangzhou2: from the hub", "singapore3: from singapore"}, got); diff != "" {
			t.Error(o.name, diff)
		}
	}
}

// hubOrder is the chain of a group as an office has it.
func hubOrder(o *office, g protocol.GroupID) (hashes [][32]byte) {
	o.view(func(t *txn) error {
		prefix := idKey(g)
		return t.scan(bHub, prefix[:], prefix[:], func(_, b []byte) (bool, error) {
			var row hubRow
			err := decodeRow(b, &row)
			hashes = append(hashes, row.Inner)
			return false, err
		})
	})
	return hashes
}

// TestMembersAbroad: who joins is let in, who leaves or is removed is out, everywhere; the last one of an office closes the group there.
func TestMembersAbroad(t *testing.T) {
	w := newWorld(t, 3)
	a, b, c := w.offices[0], w.offices[1], w.offices[2]
	made, _ := a.do(&protocol.CreateGroup{Actor: 1, Type: protocol.GroupTemp, Name: "Lunch", Members: []protocol.UserID{1, a.person(b, 1), a.person(b, 2)}}).(protocol.CreateGroupResult)
	w.settle()
	at := func(o *office) protocol.GroupID { return o.group(a, made.Group) }
	a.do(&protocol.ChangeMembers{Actor: 1, Group: made.Group, Change: protocol.MembersAdd, Members: []protocol.UserID{a.person(c, 4)}})
	b.do(&protocol.ChangeMembers{Actor: 2, Group: at(b), Change: protocol.MembersDel, Members: []protocol.UserID{2}})
	b.refuse(protocol.CodeForbidden, &protocol.ChangeMembers{Actor: 1, Group: at(b), Change: protocol.MembersAdd, Members: []protocol.UserID{3}})
	w.settle()
	for _, o := range w.offices {
		members, err := o.Members(at(o))
		if err != nil || len(members) != 3 {
			t.Errorf("%s has members %v, %v", o.name, members, err)
		}
	}
	c.say(4, protocol.InGroup(at(c)), "hello")
	a.do(&protocol.ChangeMembers{Actor: 1, Group: made.Group, Change: protocol.MembersDel, Members: []protocol.UserID{a.person(c, 4)}})
	w.settle() // the post came after the removal: it is refused by the hub
	if got := c.states(1); !slices.Contains(got, uint8(fed.StateUndeliverable)) {
		t.Errorf("the author of a post that came too late was told %v", got)
	}
	c.refuse(protocol.CodeNotFound, text(4, protocol.InGroup(at(c)), "anybody?"))
}
