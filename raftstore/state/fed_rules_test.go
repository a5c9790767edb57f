package state

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// group makes one of the first office's user 1 and the user 1 of each of the others.
func (w *world) group() (g protocol.GroupID, at func(*office) protocol.Session) {
	a := w.offices[0]
	members := users(1)
	for _, o := range w.offices[1:] {
		members = append(members, a.person(o, 1))
	}
	made, _ := a.do(&protocol.CreateGroup{Actor: 1, Type: protocol.GroupTemp, Name: "All", Members: members}).(protocol.CreateGroupResult)
	w.settle()
	return made.Group, func(o *office) protocol.Session { return protocol.InGroup(o.group(a, made.Group)) }
}

// deliver has an office receive an event as the next one of a lane, as a peer would send it, and returns what it answers.
func (o *office) deliver(from *office, lane fed.Lane, event []byte) any {
	e := from.signer.SignEvent(event)
	return o.apply(&protocol.ReceiveEvent{Cluster: from.id, Epoch: from.m.abroad.epoch, Lane: uint8(lane), Sequence: o.cursor(from, lane) + 1, Event: event,
		Key: e.Signature.Key, Sig: e.Signature.Sig[:]})[0]
}

// refused is why an event was not accepted; 0 if it was.
func refused(t testing.TB, result any) protocol.Code {
	t.Helper()
	res, ok := result.(protocol.ReceiveResult)
	if !ok {
		t.Fatal(result)
	}
	if res.Refused == nil {
		return 0
	}
	return res.Refused.Code
}

// TestFork: a hub that signs two events for one place can't be trusted with the group: it is stopped, both entries are the proof, nothing goes in or comes out, and
// other conversations go on [FED-SIG-3].
func TestFork(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.offices[0], w.offices[1]
	g, at := w.group()
	a.say(1, at(a), "said to all")
	w.settle()
	lane := fed.LaneOf(protocol.InGroup(g).Conversation(0))
	name := fed.GroupRef{Cluster: a.id, ID: g}
	inner := fed.Event{ID: fed.NewEventID(a.id, 0, protocol.Position{Index: 999}), Time: 1, Author: fed.UserRef{Cluster: a.id, ID: 1}, Group: name}
	post := inner.Encode(fed.TypePost, fed.Message{Type: protocol.MsgGroupText, Data: []byte("said to you")})
	chain := hubOrder(a, g)
	var previous [32]byte
	b.view(func(t *txn) error {
		var row hubRow
		key := hubKey(at(b).Group(), 1)
		_, err := t.readRow(bHub, key[:], &row)
		previous = row.Previous
		return err
	})
	outer := fed.Event{ID: fed.NewEventID(a.id, 0, protocol.Position{Index: 1000}), Time: 1, Group: name}
	fork := outer.Encode(fed.TypeHubPost, fed.HubPost{Seq: 1, Previous: previous, Inner: fed.SignedEvent{Event: post}, Hash: sha(post)})
	b.events = nil
	if code := refused(t, b.deliver(a, lane, fork)); code != protocol.CodeForbidden {
		t.Errorf("the second entry: %v", code)
	}
	if !slices.ContainsFunc(b.events, func(e protocol.Event) bool {
		alarm, ok := e.Body.(protocol.FederationAlarm)
		return ok && alarm.Group == at(b).Group() && fed.ClusterID(alarm.Cluster) == a.id
	}) {
		t.Error("nobody is alarmed")
	}
	forks, err := b.Forks()
	if err != nil || len(forks) != 1 || forks[0].Group != name || forks[0].Seq != 1 {
		t.Fatalf("%+v, %v", forks, err)
	}
	for i, e := range []fed.SignedEvent{forks[0].First, forks[0].Second} {
		if err := e.Verify(a.id, a.keys); err != nil {
			t.Errorf("entry %d proves nothing: %v", i, err)
		}
	}
	if sha(post) == chain[0] || !bytes.Contains(forks[0].First.Event, []byte("said to all")) || !bytes.Contains(forks[0].Second.Event, []byte("said to you")) {
		t.Error("the entries are not those two")
	}
	b.refuse(protocol.CodeForbidden, text(1, at(b), "hello?"))
	a.say(1, at(a), "more") // in the place of the lane that the lie has taken
	a.say(1, at(a), "more")
	if no := w.settle(); len(no) != 1 || no[0].Code != protocol.CodeForbidden {
		t.Errorf("the next post: %+v", no)
	}
	b.say(1, protocol.WithUser(b.person(a, 1)), "your hub lies")
	if no := w.settle(); no != nil {
		t.Error(no)
	}
	equal(t, "the group", []string{"hangzhou1: said to all"}, b.texts(1, at(b)))
}

// TestGap: places that are missing are noted, found again after a restart, and come by asking; those that came meanwhile are not lost.
func TestGap(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.offices[0], w.offices[1]
	g, at := w.group()
	lane := fed.LaneOf(protocol.InGroup(g).Conversation(0))
	k := laneKey{b.id, lane}
	first := a.m.abroad.lanes[k].sent + 1
	for n := range 5 {
		a.say(1, at(a), fmt.Sprint(n))
	}
	rows := a.waiting(k, first, 5)
	if rows[0].typ != fed.TypeHubPost {
		rows = a.waiting(k, first+1, 5)
	}
	for _, i := range []int{2, 4} { // 0, 1 and 3 are lost
		res, _ := b.deliver(a, lane, rows[i].event).(protocol.ReceiveResult)
		if res.Refused != nil || res.Gap == nil || res.Gap.From != 1 || res.Gap.To != uint64(i)+1 || res.Gap.Group != g {
			t.Fatalf("place %d: %+v, %+v", i+1, res, res.Gap)
		}
	}
	b.reopen()
	gaps, err := b.FedGaps(a.id)
	if err != nil || len(gaps) != 1 || gaps[0].From != 1 || gaps[0].To != 5 || gaps[0].Group != (fed.GroupRef{Cluster: a.id, ID: g}) {
		t.Fatalf("%+v, %v", gaps, err)
	}
	w.fillGaps(b, a)
	equal(t, "the group", a.texts(1, at(a)), b.texts(1, at(b)))
	equal(t, "the order", hubOrder(a, g), hubOrder(b, at(b).Group()))
}

// TestRangeIsForMembers: what is asked for is given to clusters that are in, from when they were in [FED-GET-1] [FED-HUB-2].
func TestRangeIsForMembers(t *testing.T) {
	w := newWorld(t, 3)
	a, b, c := w.offices[0], w.offices[1], w.offices[2]
	made, _ := a.do(&protocol.CreateGroup{Actor: 1, Type: protocol.GroupTemp, Name: "G", Members: []protocol.UserID{1, a.person(b, 1)}}).(protocol.CreateGroupResult)
	a.say(1, protocol.InGroup(made.Group), "before")
	if _, _, err := a.FedRange(made.Group, c.id, 1, 0, 10, 1e6); protocol.CodeOf(err) != protocol.CodeForbidden {
		t.Errorf("a stranger: %v", err)
	}
	a.do(&protocol.ChangeMembers{Actor: 1, Group: made.Group, Change: protocol.MembersAdd, Members: users(a.person(c, 1))})
	a.say(1, protocol.InGroup(made.Group), "after")
	for _, tt := range []struct {
		of   *office
		want []string
	}{{b, []string{"before", "after"}}, {c, []string{"after"}}} {
		events, _, err := a.FedRange(made.Group, tt.of.id, 1, 0, 10, 1e6)
		if err != nil {
			t.Fatal(err)
		}
		all := string(bytes.Join(events, nil))
		for _, what := range []string{"before", "after"} {
			if strings.Contains(all, what) != slices.Contains(tt.want, what) {
				t.Errorf("%s gets %q: %v", tt.of.name, what, strings.Contains(all, what))
			}
		}
	}
	a.do(&protocol.ChangeMembers{Actor: 1, Group: made.Group, Change: protocol.MembersDel, Members: users(a.person(c, 1))})
	if _, _, err := a.FedRange(made.Group, c.id, 1, 0, 10, 1e6); protocol.CodeOf(err) != protocol.CodeForbidden {
		t.Errorf("one who was removed: %v", err)
	}
}

// TestVia: what came through this cluster before, on its way over bridges, ends quietly [FED-AUTH-2].
func TestVia(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.offices[0], w.offices[1]
	e := fed.Event{ID: fed.NewEventID(a.id, 0, protocol.Position{Index: 900}), Time: 1, Author: fed.UserRef{Cluster: a.id, ID: 1}, To: fed.UserRef{Cluster: b.id, ID: 1}}
	for _, via := range []string{b.id.String(), "elsewhere"} {
		e.Via = []string{via}
		e.ID.Index++
		if code := refused(t, b.deliver(a, 1, e.Encode(fed.TypeMessage, fed.Message{Type: protocol.MsgSingleText, Data: []byte(via)}))); code != 0 {
			t.Errorf("via %s: %v", via, code)
		}
	}
	if got := b.texts(1, protocol.WithUser(b.person(a, 1))); len(got) != 1 || !strings.HasSuffix(got[0], "elsewhere") {
		t.Errorf("%v", got)
	}
}

// TestAliasFlood: a peer can't bring more than so many new people an hour, unless it shares its directory; a group with too many is refused as a whole, and told again
// when there is room [FED-AUTH-3].
func TestAliasFlood(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.offices[0], w.offices[1]
	profile := func(u int) []byte {
		e := fed.Event{ID: fed.NewEventID(a.id, 0, protocol.Position{Index: uint64(u)}), Time: 1, Author: fed.UserRef{Cluster: a.id, ID: protocol.UserID(u)}}
		return e.Encode(fed.TypeProfile, fed.Profile{Login: fmt.Sprintf("p%d", u), Updated: 1})
	}
	b.deliver(a, 0, profile(1))
	if b.m.abroad.peers[a.id].In != fed.AllowAll {
		t.Fatal("the directory is not shared")
	}
	if b.rate(a) != 0 {
		t.Error("people of a shared directory are counted")
	}
	b.do(&protocol.SetPeer{Cluster: a.id, After: b.m.abroad.peers[a.id].Version,
		Peer: mustCBOR(fed.Peer{Manifest: a.signed, State: fed.PeerConfirmed, In: fed.AllowDirect | fed.AllowGroups, Out: fed.AllowAll})})
	for u := 2; u < 12; u++ {
		if code := refused(t, b.deliver(a, 0, profile(u))); code != 0 {
			t.Fatal(code)
		}
	}
	if b.rate(a) != 10 {
		t.Errorf("%d are counted", b.rate(a))
	}
	b.setRate(a, aliasesPerHour-1)
	if code := refused(t, b.deliver(a, 0, profile(100))); code != 0 {
		t.Errorf("the last one: %v", code)
	}
	if code := refused(t, b.deliver(a, 0, profile(101))); code != protocol.CodeRateLimited {
		t.Errorf("one too many: %v", code)
	}
	if code := refused(t, b.deliver(a, 0, profile(100))); code != 0 {
		t.Errorf("one who is known: %v", code)
	}
	b.clock += anHour
	if code := refused(t, b.deliver(a, 0, profile(101))); code != 0 {
		t.Errorf("an hour later: %v", code)
	}
}

// TestGroupAboveTheLimit: a group with too many new people is refused as a whole, and told again when there is room.
func TestGroupAboveTheLimit(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.offices[0], w.offices[1]
	b.do(&protocol.SetPeer{Cluster: a.id, After: b.m.abroad.peers[a.id].Version,
		Peer: mustCBOR(fed.Peer{Manifest: a.signed, State: fed.PeerConfirmed, In: fed.AllowDirect | fed.AllowGroups, Out: fed.AllowAll})})
	b.setRate(a, aliasesPerHour-1)
	made, _ := a.do(&protocol.CreateGroup{Actor: 1, Type: protocol.GroupTemp, Name: "G", Members: []protocol.UserID{1, 2, 3, a.person(b, 1)}}).(protocol.CreateGroupResult)
	no := w.settle()
	if len(no) == 0 || b.rate(a) != aliasesPerHour-1 || b.group(a, made.Group) != 0 {
		t.Fatalf("refused: %+v, %d are counted", no, b.rate(a))
	}
	a.clock, b.clock = a.clock+anHour, b.clock+anHour
	if no := w.settle(); no != nil {
		t.Error(no)
	}
	if members, err := b.Members(b.group(a, made.Group)); err != nil || len(members) != 4 {
		t.Errorf("%v, %v", members, err)
	}
}

func (o *office) rate(of *office) (n uint64) {
	o.view(func(t *txn) (err error) {
		_, n, err = (&step{txn: t, now: protocol.Time(o.clock)}).rateOf(of.id[:])
		return err
	})
	return n
}

func (o *office) setRate(of *office, n uint64) {
	o.change(func(s *step) error {
		row := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(s.now)), n)
		return s.put(bRate, of.id[:], row)
	})
}

// TestProfileAbroad: what a user changes about himself is seen by those who have met him, and by nobody else.
func TestProfileAbroad(t *testing.T) {
	w := newWorld(t, 3)
	a, b, c := w.offices[0], w.offices[1], w.offices[2]
	a.say(1, protocol.WithUser(a.person(b, 1)), "hello")
	w.settle()
	a.do(&protocol.ChangeSign{User: 1, Sign: "away"})
	w.settle()
	b.view(func(t *txn) error {
		row, err := t.user(b.person(a, 1))
		if row.User.Sign != "away" {
			w.Errorf("she is shown as %+v", row.User)
		}
		return err
	})
	a.do(&protocol.ChangeAvatar{User: 1, Avatar: "a.png"})
	a.do(&protocol.EditUser{User: 1, Nick: ptr("Ann")})
	w.settle()
	b.view(func(t *txn) error {
		row, err := t.user(b.person(a, 1))
		if u := row.User; u.Sign != "away" || u.Avatar != "a.png" || u.Nick != "Ann (hangzhou)" {
			w.Errorf("she is shown as %+v", u)
		}
		return err
	})
	a.do(&protocol.EditUser{User: 1, Status: ptr(protocol.StatusLeft)})
	w.settle()
	b.refuse(protocol.CodeNotFound, text(1, protocol.WithUser(b.person(a, 1)), "gone?"))
	if a.m.abroad.lanes[laneKey{c.id, 0}].sent != 0 {
		t.Error("an office that has not met her is told")
	}
}

// TestRename: an office and its domain get other names: its people are shown under the new ones, in steps.
func TestRename(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.offices[0], w.offices[1]
	for u := range protocol.UserID(4) {
		b.person(a, u+1)
	}
	m, err := a.signed.Open()
	if err != nil {
		t.Fatal(err)
	}
	m.Serial, m.Office, m.Domain = 2, "West Lake", "westlake.example"
	a.signed = fed.SignManifest(&m, rootKey(1))
	p := *b.m.abroad.peers[a.id]
	p.Manifest = a.signed
	b.do(&protocol.SetPeer{Cluster: a.id, After: p.Version, Peer: mustCBOR(p)})
	b.work()
	b.view(func(t *txn) error {
		for u := range protocol.UserID(4) {
			row, err := t.user(b.person(a, u+1))
			if err != nil {
				return err
			}
			if want := fmt.Sprintf("hangzhou%d@westlake.example", u+1); row.User.Address != want || row.User.Name != want || row.User.Nick != "? (West Lake)" {
				w.Errorf("%+v", row.User)
			}
		}
		d, err := t.department(b.m.abroad.peers[a.id].Department)
		if d.Name != "West Lake" {
			w.Errorf("the department is %+v", d)
		}
		return err
	})
}

// TestRemoval: a peer that is removed leaves nothing that waits for it, nobody in groups, no group of its own; its people are shown as left, what was said stays; and there can be a
// link again.
func TestRemoval(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.offices[0], w.offices[1]
	_, at := w.group()
	bob := protocol.WithUser(a.person(b, 1))
	a.say(1, at(a), "said")
	a.say(1, bob, "said")
	w.settle()
	lost := a.say(1, bob, "too late")
	for _, o := range []struct {
		*office
		of *office
	}{{a, b}, {b, a}} {
		p := *o.m.abroad.peers[o.of.id]
		p.State = fed.PeerRemoved
		o.do(&protocol.SetPeer{Cluster: o.of.id, After: p.Version, Peer: mustCBOR(p)})
		o.work()
	}
	if n := a.m.abroad.waiting(b.id); n != 0 {
		t.Errorf("%d bytes wait", n)
	}
	a.view(func(t *txn) error {
		return t.scan(bOut, nil, nil, func(key, _ []byte) (bool, error) { w.Errorf("%x is in the outbox", key); return false, nil })
	})
	if got := a.states(lost); !slices.Contains(got, uint8(fed.StateUndeliverable)) {
		t.Errorf("the author was told %v", got)
	}
	if members, err := a.Members(at(a).Group()); err != nil || !slices.Equal(members, users(1)) {
		t.Errorf("members of the hub's group: %v, %v", members, err)
	}
	if g, err := b.GroupByID(at(b).Group()); err != nil || !g.Closed {
		t.Errorf("the group abroad: %+v, %v", g, err)
	}
	a.refuse(protocol.CodeNotFound, text(1, bob, "hello?"))
	equal(t, "what was said", []string{"hangzhou1: said", "hangzhou1: too late"}, a.texts(1, bob))
	for _, o := range []struct {
		*office
		of *office
	}{{a, b}, {b, a}} {
		p := *o.m.abroad.peers[o.of.id]
		p.State = fed.PeerConfirmed
		o.do(&protocol.SetPeer{Cluster: o.of.id, After: p.Version, Peer: mustCBOR(p)})
		o.work()
		if _, err := o.departmentOf(o.of); err != nil {
			t.Error(err)
		}
	}
	b.say(1, protocol.WithUser(b.person(a, 2)), "again")
	w.settle()
	a.say(1, bob, "again")
	if no := w.settle(); no != nil {
		t.Error(no)
	}
	b.say(1, protocol.WithUser(b.person(a, 1)), "you are back")
	equal(t, "what is said again", []string{"hangzhou1: said", "hangzhou1: again", "beijing1: you are back"}, b.texts(1, protocol.WithUser(b.person(a, 1))))
}

func (o *office) departmentOf(of *office) (d protocol.Department, err error) {
	o.view(func(t *txn) error {
		d, err = t.department(o.m.abroad.peers[of.id].Department)
		return nil
	})
	return d, err
}

// TestNewKeys: a cluster's new manifest reaches those that are in a group with it before what its new keys have signed, though they have no link with it.
func TestNewKeys(t *testing.T) {
	w := newWorld(t, 3)
	a, b, c := w.offices[0], w.offices[1], w.offices[2]
	w.group()
	m, err := b.signed.Open()
	if err != nil {
		t.Fatal(err)
	}
	m.Serial = 2
	m.Keys = append(m.Keys, fed.LinkKey{Public: [ed25519.PublicKeySize]byte{9}, Purpose: fed.KeyNext})
	p := *a.m.abroad.peers[b.id]
	p.Manifest = fed.SignManifest(&m, rootKey(2))
	a.do(&protocol.SetPeer{Cluster: b.id, After: p.Version, Peer: mustCBOR(p)})
	if no := w.settle(); no != nil {
		t.Fatal(no)
	}
	if got, err := c.m.abroad.peers[b.id].Manifest.Open(); err != nil || got.Serial != 2 {
		t.Errorf("manifest %d is known, %v", got.Serial, err)
	}
}

// TestStateWhileAway: what became of a message while its author was away is told when he comes back, the last of each, and history shows it.
func TestStateWhileAway(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.offices[0], w.offices[1]
	_, at := w.group()
	bob := protocol.WithUser(a.person(b, 1))
	a.say(1, bob, "hello")
	b.say(1, at(b), "in the group")
	cursorA, cursorB := a.applied, b.applied
	msgs, err := a.History(1, bob, 0, 1)
	if err != nil || msgs[0].Fate != uint8(fed.StatePending) {
		t.Fatalf("%+v, %v", msgs, err)
	}
	w.settle()
	for _, tt := range []struct {
		*office
		after protocol.Cursor
		in    protocol.Session
		state fed.MessageState
		seq   uint64
	}{{a, cursorA, bob, fed.StateDelivered, 0}, {b, cursorB, at(b), fed.StateSent, 1}} {
		events, _, err := tt.EventsAfter(1, tt.after, 100)
		if err != nil {
			t.Fatal(err)
		}
		var states []protocol.MessageStateChanged
		for _, e := range events {
			if c, ok := e.Body.(protocol.MessageStateChanged); ok {
				states = append(states, c)
			}
		}
		want := []protocol.MessageStateChanged{{Conversation: tt.in.Conversation(1), ID: 1, From: 1, State: uint8(tt.state), HubSeq: tt.seq}}
		equal(t, tt.name, want, states)
		events, _, err = tt.EventsAfter(2, tt.after, 100)
		if err != nil || slices.ContainsFunc(events, func(e protocol.Event) bool { _, is := e.Body.(protocol.MessageStateChanged); return is }) {
			t.Errorf("somebody else is told: %v, %v", events, err)
		}
		msgs, err := tt.History(1, tt.in, 0, 1)
		if err != nil || msgs[0].Fate != uint8(tt.state) || msgs[0].HubSeq != tt.seq {
			t.Errorf("history shows %+v, %v", msgs, err)
		}
	}
}

// TestQuotaAlarm: beyond 80 % of the quota an operator is told, once; at 100 % what goes there is refused, and only that [FED-OUT-3].
func TestQuotaAlarm(t *testing.T) {
	w := newWorld(t, 3)
	a, b, c := w.offices[0], w.offices[1], w.offices[2]
	p := *a.m.abroad.peers[b.id]
	p.Quota = 10_000
	a.do(&protocol.SetPeer{Cluster: b.id, After: p.Version, Peer: mustCBOR(p)})
	bob, carl := protocol.WithUser(a.person(b, 1)), protocol.WithUser(a.person(c, 1))
	alarms, full := 0, false
	for range 100 {
		a.events = nil
		err, no := a.apply(text(1, bob, strings.Repeat("x", 300)))[0].(error)
		for _, e := range a.events {
			if alarm, ok := e.Body.(protocol.FederationAlarm); ok && fed.ClusterID(alarm.Cluster) == b.id {
				alarms++
			}
		}
		if no {
			full = protocol.CodeOf(err) == protocol.CodeQuota
			break
		}
	}
	if alarms != 1 || !full {
		t.Errorf("%d alarms, refused: %v", alarms, full)
	}
	a.say(1, carl, "you still hear me")
}

// TestGroupOfAFullPeer: a group goes on though too much is waiting for one of its offices; that one asks for what it was not sent.
func TestGroupOfAFullPeer(t *testing.T) {
	w := newWorld(t, 3)
	a, b, c := w.offices[0], w.offices[1], w.offices[2]
	g, at := w.group()
	p := *a.m.abroad.peers[b.id]
	p.Quota = 2000
	a.do(&protocol.SetPeer{Cluster: b.id, After: p.Version, Peer: mustCBOR(p)})
	for n := range 20 {
		a.say(1, at(a), fmt.Sprintf("%d %s", n, strings.Repeat("x", 300)))
		c.say(1, at(c), fmt.Sprint("c", n))
		w.carryAll(c, a)
	}
	if n := a.m.abroad.waiting(b.id); n > 2000+2000/4+500 {
		t.Errorf("%d bytes wait", n)
	}
	for range 2 { // one more, when it is looked whether there is room
		if no := w.settle(); no != nil {
			t.Fatal(no)
		}
		a.clock += roomAgain
	}
	equal(t, "the group", sorted(a.texts(1, at(a))), sorted(b.texts(1, at(b))))
	equal(t, "the order", hubOrder(a, g), hubOrder(b, at(b).Group()))
}

// carryAll brings all that waits from one office to another, and acknowledges it.
func (w *world) carryAll(from, to *office) {
	w.Helper()
	for lane := fed.LaneControl; lane <= fed.LaneLast; lane++ {
		committed, no := w.carry(from, to, lane, to.cursor(from, lane)+1, 1000)
		w.ack(from, to, lane, committed, no)
	}
}

// TestExpiry: after seven days without a link its authors know that messages were given up; places of a group are got by asking, and deletions still arrive.
func TestExpiry(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.offices[0], w.offices[1]
	_, at := w.group()
	bob := protocol.WithUser(a.person(b, 1))
	recalled := a.say(1, bob, "a mistake")
	w.settle()
	a.do(&protocol.DeleteMessage{Actor: 1, Session: bob, ID: recalled, Deletion: protocol.Recalled, Within: 1 << 40})
	lost := a.say(1, bob, "never arrives")
	a.say(1, at(a), "arrives")
	pending := b.say(1, at(b), "is given up")
	for _, o := range w.offices {
		o.clock += delayedAfter
		o.do(&protocol.SweepFederation{})
		o.clock += expiredAfter
		o.do(&protocol.SweepFederation{})
	}
	want := []uint8{uint8(fed.StatePending), uint8(fed.StateDelayed), uint8(fed.StateUndeliverable)}
	equal(t, "the author was told", want, a.states(lost)[len(a.states(lost))-3:])
	equal(t, "the author of the post was told", want, b.states(pending))
	if no := w.settle(); no != nil {
		t.Error(no)
	}
	equal(t, "one to one", []string{"hangzhou1: (deleted)"}, b.texts(1, protocol.WithUser(b.person(a, 1))))
	equal(t, "the group at the hub", []string{"hangzhou1: arrives"}, a.texts(1, at(a)))
	equal(t, "the group", []string{"beijing1: is given up", "hangzhou1: arrives"}, sorted(b.texts(1, at(b))))
}

// TestLeavingMeetsState: who has left a group of another office while that could not be reached is not put back by what it said before it knew.
func TestLeavingMeetsState(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.offices[0], w.offices[1]
	made, _ := a.do(&protocol.CreateGroup{Actor: 1, Type: protocol.GroupTemp, Name: "G", Members: []protocol.UserID{1, a.person(b, 1), a.person(b, 2)}}).(protocol.CreateGroupResult)
	w.settle()
	g := b.group(a, made.Group)
	b.do(&protocol.ChangeMembers{Actor: 1, Group: g, Change: protocol.MembersDel, Members: users(1)})
	a.do(&protocol.ChangeMembers{Actor: 1, Group: made.Group, Change: protocol.MembersAdd, Members: users(2)})
	b.events = nil
	w.settle()
	for _, e := range b.events {
		if c, ok := e.Body.(protocol.MembersChanged); ok && slices.Contains(c.Changed, 1) {
			t.Errorf("%+v", c)
		}
	}
	if members, err := a.Members(made.Group); err != nil || len(members) != 3 {
		t.Errorf("%v, %v", members, err)
	}
	if members, err := b.Members(g); err != nil || len(members) != 3 {
		t.Errorf("%v, %v", members, err)
	}
	a.do(&protocol.ChangeMembers{Actor: 1, Group: made.Group, Change: protocol.MembersAdd, Members: users(a.person(b, 1))})
	w.settle()
	if members, err := b.Members(g); err != nil || len(members) != 4 {
		t.Errorf("let in again: %v, %v", members, err)
	}
}
