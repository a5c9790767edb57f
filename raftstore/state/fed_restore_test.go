package state

import (
	"bytes"
	"fmt"
	"os"
	"testing"

	"go.etcd.io/bbolt"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// copyOf is a backup of an office.
type copyOf struct {
	office *office
	state  []byte
	index  uint64
}

func (o *office) backup() copyOf {
	o.Helper()
	var b bytes.Buffer
	if err := o.db.View(func(tx *bbolt.Tx) error { _, err := tx.WriteTo(&b); return err }); err != nil {
		o.Fatal(err)
	}
	return copyOf{o, b.Bytes(), o.index}
}

// restore has the office go on from a backup: its log counts on from there. Nothing goes abroad before resume.
func (c copyOf) restore() {
	o := c.office
	o.Helper()
	if err := o.db.Close(); err != nil {
		o.Fatal(err)
	}
	if err := os.WriteFile(o.path, c.state, 0o600); err != nil {
		o.Fatal(err)
	}
	db, err := bbolt.Open(o.path, 0o600, &bbolt.Options{NoSync: true})
	if err != nil {
		o.Fatal(err)
	}
	if err := db.Update(RenewCluster); err != nil {
		o.Fatal(err)
	}
	if err := db.Close(); err != nil {
		o.Fatal(err)
	}
	o.index = c.index + 1 // one entry is the log's own, as an election makes
	o.open()
}

// resume says that the former office is gone: a new epoch begins.
func (o *office) resume() {
	o.Helper()
	cluster, err := o.Cluster()
	if err != nil {
		o.Fatal(err)
	}
	id, err := o.FedIdentity()
	if err != nil {
		o.Fatal(err)
	}
	m, err := id.Manifest.Open()
	if err != nil {
		o.Fatal(err)
	}
	serial := m.Serial
	m.Serial++
	id.Epoch, id.History = uint64(o.clock), cluster.History
	id.Manifest = fed.SignManifest(&m, rootKey(o.id[0]))
	o.identity = *id
	o.do(&protocol.SetIdentity{Identity: mustCBOR(id), After: serial})
}

// answer has an office execute what another one sent on request: signed, checked, one command each.
func (w *world) answer(to, from *office, e fed.SignedEvent) {
	w.Helper()
	event, err := fed.DecodeEvent(e.Event)
	if err != nil {
		w.Fatal(err)
	}
	keys := to.keys
	if event.ID.Cluster == from.id {
		e, keys = from.signer.SignEvent(e.Event), from.keys
	}
	if err := e.Verify(event.ID.Cluster, keys); err != nil {
		w.Fatalf("%s → %s: %v of %v: %v", from.name, to.name, event.Type, event.ID, err)
	}
	res := to.apply(&protocol.ReceiveHistory{Cluster: from.id, Event: e.Event, Key: e.Signature.Key, Sig: e.Signature.Sig[:]})[0]
	if err, refused := res.(error); refused {
		w.Fatalf("%s → %s: %v of %v: %v", from.name, to.name, event.Type, event.ID, err)
	}
}

// fillGaps asks for what is missing of a hub's groups.
func (w *world) fillGaps(at, hub *office) {
	w.Helper()
	for range 10 {
		gaps, err := at.FedGaps(hub.id)
		if err != nil {
			w.Fatal(err)
		}
		if len(gaps) == 0 {
			return
		}
		for _, g := range gaps {
			w.getRange(at, hub, g)
			at.do(&protocol.ReceiveHistory{Cluster: hub.id, Group: g.Group.ID, Done: g.To})
		}
	}
	w.Fatal("gaps stay")
}

func (w *world) getRange(at, hub *office, g fed.Gap) {
	w.Helper()
	events, more, err := hub.FedRange(g.Group.ID, at.id, g.From, g.To, 1000, 1<<20)
	if protocol.CodeOf(err) == protocol.CodeForbidden {
		return
	}
	if err != nil || more {
		w.Fatal(err, more)
	}
	for _, e := range events {
		w.answer(at, hub, fed.SignedEvent{Event: e})
	}
}

// reconcile gives a restored office what the others have of it and for it.
func (w *world) reconcile(o *office) {
	w.Helper()
	for _, other := range w.offices {
		if other == o {
			continue
		}
		page := fed.History{More: true}
		for page.More {
			var err error
			if page, err = other.FedSince(o.id, 0, page.After, 7, 1<<20); err != nil {
				w.Fatal(err)
			}
			for _, e := range page.Events {
				w.answer(o, other, e)
			}
		}
		chains, err := o.FedChains(other.id)
		if err != nil {
			w.Fatal(err)
		}
		for _, g := range chains {
			w.getRange(o, other, g)
		}
	}
}

// TestRestoredOffice: an office loses what happened since its backup. What it had told others comes back from them, what others told it, too; its new events are not taken for those of
// before, though its log has the same places; and until somebody says that the former one is gone, nothing leaves it.
func TestRestoredOffice(t *testing.T) {
	w := newWorld(t, 3)
	a, b, c := w.offices[0], w.offices[1], w.offices[2]
	made, _ := a.do(&protocol.CreateGroup{Actor: 1, Type: protocol.GroupTemp, Name: "All", Members: []protocol.UserID{1, a.person(b, 1), a.person(c, 1)}}).(protocol.CreateGroupResult)
	w.settle()
	group := func(o *office) protocol.Session { return protocol.InGroup(o.group(a, made.Group)) }
	for i, o := range w.offices {
		t.Run(o.name, func(t *testing.T) {
			peer := w.offices[(i+1)%3]
			to, from := protocol.WithUser(o.person(peer, 2)), protocol.WithUser(peer.person(o, 2))
			o.say(2, to, fmt.Sprintf("%d before", i))
			o.say(1, group(o), fmt.Sprintf("%d before", i))
			w.settle()
			saved := o.backup()
			for n := range 5 {
				o.say(2, to, fmt.Sprintf("%d lost %d", i, n))
				o.say(1, group(o), fmt.Sprintf("%d lost %d", i, n))
				peer.say(2, from, fmt.Sprintf("%d answer %d", i, n))
				peer.say(1, group(peer), fmt.Sprintf("%d answer %d", i, n))
			}
			w.settle()
			want, mine := peer.texts(2, from), o.texts(2, to)
			wantGroup := sorted(peer.texts(1, group(peer)))
			saved.restore()
			o.do(&protocol.ChangeSign{User: 4, Sign: "back"})
			o.refuse(protocol.CodeForbidden, text(2, to, "too early"))
			o.resume()
			w.reconcile(o)
			o.say(2, to, fmt.Sprintf("%d after", i))
			o.say(1, group(o), fmt.Sprintf("%d after", i))
			if refused := w.settle(); refused != nil {
				t.Fatal(refused)
			}
			line := fmt.Sprintf("%s2: %d after", o.name, i)
			equal(t, "what the peer has", append(want, line), peer.texts(2, from))
			equal(t, "what came back", sorted(append(mine, line)), sorted(o.texts(2, to)))
			wantGroup = sorted(append(wantGroup, fmt.Sprintf("%s1: %d after", o.name, i)))
			for _, x := range w.offices {
				equal(t, "the group at "+x.name, wantGroup, sorted(x.texts(1, group(x))))
			}
			for _, x := range w.offices[1:] {
				equal(t, "the order at "+x.name, hubOrder(a, made.Group), hubOrder(x, x.group(a, made.Group)))
			}
		})
	}
}

// TestGroupMadeSinceTheBackup: a group that came to have members in an office after its backup is there again, with what was said in it; and no id that was given out since is given again.
func TestGroupMadeSinceTheBackup(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.offices[0], w.offices[1]
	b.say(1, protocol.WithUser(b.person(a, 1)), "hello")
	a.say(1, protocol.WithUser(a.person(b, 1)), "hello")
	w.settle()
	saved := b.backup()
	lost, _ := b.do(&protocol.AddUsers{Users: []protocol.NewUser{{User: protocol.User{Name: "lost"}}}}).(protocol.AddUsersResult)
	alias := b.person(a, 4)
	made, _ := a.do(&protocol.CreateGroup{Actor: 1, Type: protocol.GroupTemp, Name: "New", Members: []protocol.UserID{1, a.person(b, 1), 3}}).(protocol.CreateGroupResult)
	w.settle()
	b.say(1, protocol.InGroup(b.group(a, made.Group)), "from beijing")
	a.say(3, protocol.InGroup(made.Group), "from hangzhou")
	w.settle()
	a.clock += ackedKeep + 1
	a.do(&protocol.SweepFederation{})
	saved.restore()
	b.resume()
	w.reconcile(b)
	if no := w.settle(); no != nil {
		t.Fatal(no)
	}
	g := b.group(a, made.Group)
	if g == 0 {
		t.Fatal("the group is gone")
	}
	equal(t, "the group", sorted(a.texts(1, protocol.InGroup(made.Group))), sorted(b.texts(1, protocol.InGroup(g))))
	b.view(func(t *txn) error {
		row, err := t.user(b.person(a, 3))
		if row.User.Name != "hangzhou3@hangzhou.example" {
			w.Errorf("who has said something is %+v", row.User)
		}
		return err
	})
	again, _ := b.do(&protocol.AddUsers{Users: []protocol.NewUser{{User: protocol.User{Name: "new"}}}}).(protocol.AddUsersResult)
	if again.IDs[0] <= lost.IDs[0] || b.person(a, 2) <= alias {
		t.Errorf("user %d, alias %d", again.IDs[0], b.person(a, 2))
	}
}

// TestPostThatOnlyTheLostHubHad: a post that the hub acknowledged, and told nobody of before it was lost, is sent again, in its author's order, and has one place.
func TestPostThatOnlyTheLostHubHad(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.offices[0], w.offices[1]
	_, at := w.group()
	saved := a.backup()
	b.say(1, at(b), "one")
	w.carryAll(b, a) // and nothing comes back
	b.clock += ackedKeep + 1
	b.do(&protocol.SweepFederation{})
	b.say(1, at(b), "two")
	saved.restore()
	a.resume()
	w.reconcile(a)
	w.carryAll(a, b)
	if no := w.settle(); no != nil {
		t.Fatal(no)
	}
	want := []string{"beijing1: one", "beijing1: two"}
	equal(t, "the hub", want, a.texts(1, at(a)))
	equal(t, "the author's", want, b.texts(1, at(b)))
	msgs, err := b.History(1, at(b), 0, 9)
	for i, m := range msgs {
		if m.Fate != uint8(fed.StateSent) || m.HubSeq == 0 || i > 0 && m.HubSeq >= msgs[i-1].HubSeq {
			t.Errorf("%+v, %v", m, err)
		}
	}
}

// TestNothingIsLateAfterARestore: what a restored office sends again was delivered: nobody is told that it is delayed.
func TestNothingIsLateAfterARestore(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.offices[0], w.offices[1]
	_, at := w.group()
	bob := protocol.WithUser(a.person(b, 1))
	a.say(1, bob, "hello")
	a.say(1, at(a), "all")
	w.settle()
	a.backup().restore()
	a.resume()
	a.clock += delayedAfter + 1
	a.do(&protocol.SweepFederation{})
	for in, want := range map[protocol.Session]fed.MessageState{bob: fed.StateDelivered, at(a): fed.StateSent} {
		if msgs, err := a.History(1, in, 0, 1); err != nil || msgs[0].Fate != uint8(want) {
			t.Errorf("%+v: %+v, %v", in, msgs, err)
		}
	}
}
