package state

import (
	"slices"
	"strings"
	"testing"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// TestIntroducedAgain: a peer that was restored is told anew who somebody is, whom it had heard of since its backup.
func TestIntroducedAgain(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.offices[0], w.offices[1]
	a.say(1, protocol.WithUser(a.person(b, 1)), "hello")
	b.say(1, protocol.WithUser(b.person(a, 1)), "hello")
	w.settle()
	saved := b.backup()
	bob := protocol.WithUser(a.person(b, 1))
	id := a.say(4, bob, "a mistake")
	w.settle()
	a.do(&protocol.DeleteMessage{Actor: 4, Session: bob, ID: id, Deletion: protocol.Recalled, Within: 1 << 40})
	w.settle()
	a.clock += ackedKeep + 1
	a.do(&protocol.SweepFederation{})
	saved.restore()
	b.resume()
	w.reconcile(b)
	w.settle()
	a.say(4, bob, "it is me")
	w.settle()
	b.view(func(t *txn) error {
		row, err := t.user(b.person(a, 4))
		if row.User.Name != "hangzhou4@hangzhou.example" {
			w.Errorf("he is %+v", row.User)
		}
		return err
	})
}

// TestPlacesThatOneMemberHas: what a lost hub had told one office only, the others get when the restored one has it again.
func TestPlacesThatOneMemberHas(t *testing.T) {
	w := newWorld(t, 3)
	a, b, c := w.offices[0], w.offices[1], w.offices[2]
	_, at := w.group()
	saved := a.backup()
	a.say(1, at(a), "one")
	a.say(1, at(a), "two")
	w.carryAll(a, b)
	saved.restore()
	a.resume()
	w.carryAll(a, c) // which asks for what it has not got, too early
	w.reconcile(a)
	if no := w.settle(); no != nil {
		t.Fatal(no)
	}
	for _, o := range []*office{a, b, c} {
		equal(t, o.name, []string{"hangzhou1: one", "hangzhou1: two"}, o.texts(1, at(o)))
	}
}

// TestBothRestored: a member that goes on from before its hub was restored, and whose outbox has nothing of that any more, finds the chain again.
func TestBothRestored(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.offices[0], w.offices[1]
	g, at := w.group()
	a.say(1, at(a), "one")
	w.settle()
	saved := b.backup()
	a.backup().restore()
	a.resume()
	w.settle()
	a.say(1, at(a), "two")
	w.settle()
	a.clock += ackedKeep + 1
	a.do(&protocol.SweepFederation{})
	saved.restore()
	b.resume()
	w.reconcile(b)
	a.say(1, at(a), "three")
	if no := w.settle(); no != nil {
		t.Fatal(no)
	}
	equal(t, "the group", a.texts(1, at(a)), b.texts(1, at(b)))
	equal(t, "the order", hubOrder(a, g), hubOrder(b, at(b).Group()))
}

// TestRecalledBeforeItCameBack: what its author had recalled does not come back from somebody who had not heard of that.
func TestRecalledBeforeItCameBack(t *testing.T) {
	w := newWorld(t, 3)
	a, b := w.offices[0], w.offices[1]
	_, at := w.group()
	saved := a.backup()
	id := b.say(1, at(b), "a mistake")
	w.settle()
	b.do(&protocol.DeleteMessage{Actor: 1, Session: at(b), ID: id, Deletion: protocol.Recalled, Within: 1 << 40})
	w.carryAll(b, a)
	b.clock += ackedKeep + 1
	b.do(&protocol.SweepFederation{})
	saved.restore()
	a.resume()
	w.reconcile(a)
	if no := w.settle(); no != nil {
		t.Fatal(no)
	}
	for _, o := range w.offices {
		if holds(o, "mistake") {
			t.Errorf("%s has it", o.name)
		}
	}
}

// TestOutboxNumberedAnew: a deletion takes its own message out of the outbox, not what has its number now.
func TestOutboxNumberedAnew(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.offices[0], w.offices[1]
	bob := protocol.WithUser(a.person(b, 1))
	first := a.say(1, bob, "first")
	w.settle()
	a.clock += ackedKeep + 1
	a.do(&protocol.SweepFederation{})
	a.backup().restore()
	a.resume()
	for _, what := range []string{"a", "b", "c"} {
		a.say(1, bob, what)
	}
	a.do(&protocol.DeleteMessage{Actor: 1, Session: bob, ID: first, Deletion: protocol.Recalled, Within: 1 << 40})
	w.settle()
	equal(t, "the peer", []string{"hangzhou1: (deleted)", "hangzhou1: a", "hangzhou1: b", "hangzhou1: c"}, b.texts(1, protocol.WithUser(b.person(a, 1))))
}

// TestNamesThroughAHub: people of a third office are shown in a group as their own office calls them, and by what that is called.
func TestNamesThroughAHub(t *testing.T) {
	w := newWorld(t, 3)
	a, b, c := w.offices[0], w.offices[1], w.offices[2]
	b.say(1, protocol.WithUser(b.person(a, 1)), "hello") // so that the hub knows him
	w.settle()
	w.group()
	c.view(func(t *txn) error {
		row, err := t.user(c.person(b, 1))
		if u := row.User; u.Nick != "Nick1 (beijing)" || u.Address != "beijing1@beijing.example" {
			w.Errorf("he is %+v", u)
		}
		return err
	})
}

// TestHubSaysWhatIsNotItsOwn: a hub can neither refuse what was not said in its group, nor give a place to it.
func TestHubSaysWhatIsNotItsOwn(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.offices[0], w.offices[1]
	g, at := w.group()
	id := b.say(1, protocol.WithUser(b.person(a, 1)), "between us")
	w.settle()
	msgs, err := b.History(1, protocol.WithUser(b.person(a, 1)), 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	target, name := fed.NewEventID(b.id, 0, msgs[0].At), fed.GroupRef{Cluster: a.id, ID: g}
	lane := fed.LaneOf(protocol.InGroup(g).Conversation(0))
	e := fed.Event{ID: fed.NewEventID(a.id, 0, protocol.Position{Index: 7000}), Time: 1, Group: name}
	if code := refused(t, b.deliver(a, lane, e.Encode(fed.TypeHubReject, fed.HubReject{Target: target, Code: protocol.CodeForbidden}))); code == 0 {
		t.Error("the refusal is accepted")
	}
	inner := fed.Event{ID: target, Time: 1, Author: fed.UserRef{Cluster: b.id, ID: 1}, Group: name}
	post := inner.Encode(fed.TypePost, fed.Message{Type: protocol.MsgGroupText, Data: []byte("between us")})
	if code := refused(t, b.deliver(a, lane, e.Encode(fed.TypeHubPost, fed.HubPost{Seq: 1, Previous: b.chainOf(at(b).Group()).hash, Inner: fed.SignedEvent{Event: post}, Hash: sha(post)}))); code != protocol.CodeForbidden {
		t.Errorf("the place: %v", code)
	}
	if got := b.states(id); slices.Contains(got, uint8(fed.StateUndeliverable)) || slices.Contains(got, uint8(fed.StateSent)) {
		t.Errorf("the author was told %v", got)
	}
}

func (o *office) chainOf(g protocol.GroupID) (row chainRow) {
	o.view(func(t *txn) (err error) {
		row, err = t.chain(g)
		return err
	})
	return row
}

// TestPlaceThatIsNotAccepted: a post that this version can't take stays out; the group goes on behind it.
func TestPlaceThatIsNotAccepted(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.offices[0], w.offices[1]
	g, at := w.group()
	name, lane := fed.GroupRef{Cluster: a.id, ID: g}, fed.LaneOf(protocol.InGroup(g).Conversation(0))
	previous := b.chainOf(at(b).Group()).hash
	for i, tt := range []struct {
		typ  protocol.MsgType
		code protocol.Code
	}{{0x77, protocol.CodeInvalid}, {protocol.MsgGroupText, 0}} {
		at := protocol.Position{Index: uint64(8000 + i)}
		inner := fed.Event{ID: fed.NewEventID(a.id, 0, at), Time: 1, Author: fed.UserRef{Cluster: a.id, ID: 1}, Group: name}
		post := inner.Encode(fed.TypePost, fed.Message{Type: tt.typ, Data: []byte("hello")})
		link := fed.Link{Group: name, Seq: uint64(i) + 1, Previous: previous, Inner: sha(post)}
		outer := fed.Event{ID: fed.NewEventID(a.id, 0, at), Time: 1, Group: name}
		if code := refused(t, b.deliver(a, lane, outer.Encode(fed.TypeHubPost, fed.HubPost{Seq: link.Seq, Previous: previous, Inner: fed.SignedEvent{Event: post}, Hash: link.Inner}))); code != tt.code {
			t.Errorf("place %d: %v", link.Seq, code)
		}
		previous = link.Hash()
	}
	if got := b.texts(1, at(b)); len(got) != 1 || !strings.HasSuffix(got[0], "hello") {
		t.Errorf("%v", got)
	}
	if gaps, err := b.FedGaps(a.id); err != nil || gaps != nil {
		t.Errorf("%+v, %v", gaps, err)
	}
}

// TestExpiredAndDeleted: a place that was given up, and whose content was deleted then, is still one that has to be there.
func TestExpiredAndDeleted(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.offices[0], w.offices[1]
	g, at := w.group()
	id := a.say(1, at(a), "a mistake")
	a.clock += expiredAfter + 1
	a.do(&protocol.SweepFederation{})
	a.do(&protocol.DeleteMessage{Actor: 1, Session: at(a), ID: id, Deletion: protocol.Recalled, Within: 1 << 40})
	a.clock += expiredAfter + 1
	a.do(&protocol.SweepFederation{})
	if no := w.settle(); no != nil {
		t.Fatal(no)
	}
	equal(t, "the order", hubOrder(a, g), hubOrder(b, at(b).Group()))
}

// TestDeadLettersAreBounded: whoever sends nonsense fills nobody's disk.
func TestDeadLettersAreBounded(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.offices[0], w.offices[1]
	b.change(func(s *step) error {
		if err := s.putDead(a.id, deadRow{Text: "first"}); err != nil {
			return err
		}
		return s.putNumber(bRate, append(slices.Clone(a.id[:]), 'd'), maxDead)
	})
	if code := refused(t, b.deliver(a, 1, []byte("nonsense"))); code != protocol.CodeInvalid {
		t.Fatal(code)
	}
	letters, err := b.DeadLetters(a.id, 10)
	if err != nil || len(letters) != 1 || letters[0].Text == "first" {
		t.Errorf("%+v, %v", letters, err)
	}
}

// TestDeadLettersOfOneAck: each of what a peer refuses at once is kept, of all lanes.
func TestDeadLettersOfOneAck(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.offices[0], w.offices[1]
	bob := a.person(b, 1)
	lane := fed.LaneOf(protocol.WithUser(bob).Conversation(1))
	w.settle()
	const said = 20
	for range said {
		a.say(1, protocol.WithUser(bob), "hello")
	}
	l := a.m.abroad.lanes[laneKey{b.id, lane}]
	var no []protocol.Refusal
	for seq := l.acked + 1; seq <= l.sent; seq++ {
		no = append(no, protocol.Refusal{Sequence: seq, Code: protocol.CodeForbidden, Text: "no"})
	}
	if len(no) < said {
		t.Fatalf("%d events wait", len(no))
	}
	a.do(&protocol.AckEvents{Cluster: b.id, Epoch: a.m.abroad.epoch, Lane: uint8(lane), Sequence: l.sent, Refused: no})
	letters, err := a.DeadLetters(b.id, 100)
	if err != nil || len(letters) != len(no) {
		t.Fatalf("%d of %d are kept, %v", len(letters), len(no), err)
	}
	for i, letter := range letters {
		if want := no[len(no)-1-i].Sequence; letter.Sequence != want {
			t.Errorf("letter %d is of event %d, not %d", i, letter.Sequence, want)
		}
	}
}

// TestManifestFromAnotherHub: a hub that hears of a member's new manifest from another hub tells those who are in its own groups, too, once.
func TestManifestFromAnotherHub(t *testing.T) {
	w := newWorld(t, 4)
	hub, member, other, third := w.offices[0], w.offices[1], w.offices[2], w.offices[3]
	hub.do(&protocol.CreateGroup{Actor: 1, Type: protocol.GroupTemp, Name: "G", Members: append(users(1), hub.person(member, 1), hub.person(third, 1))})
	other.do(&protocol.CreateGroup{Actor: 1, Type: protocol.GroupTemp, Name: "Other", Members: append(users(1), other.person(hub, 1), other.person(member, 1))})
	w.settle()
	p := *other.m.abroad.peers[member.id]
	p.Manifest = member.renamed(7, "westlake.example")
	other.do(&protocol.SetPeer{Cluster: member.id, After: p.Version, Peer: mustCBOR(p)})
	if no := w.settle(); no != nil {
		t.Fatal(no)
	}
	for _, o := range []*office{hub, third} {
		if m, err := o.m.abroad.peers[member.id].Manifest.Open(); err != nil || m.Serial != 7 {
			t.Errorf("%s knows manifest %d, %v", o.name, m.Serial, err)
		}
	}
}
