package state

import (
	"testing"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// wear gives a user a picture, which shows a blob of his cluster.
func (o *office) wear(u protocol.UserID, b byte) {
	o.Helper()
	o.do(put(testBlob(b), u))
	o.do(&protocol.ChangeAvatar{User: u, Avatar: avatarOf(testBlob(b))})
}

// avatarAt is what a user's picture is at an office.
func (o *office) avatarAt(u protocol.UserID) (text string) {
	o.Helper()
	o.view(func(t *txn) error {
		row, err := t.user(u)
		text = row.User.Avatar
		return err
	})
	return text
}

// withoutDirectory has no office of a world share its directory.
func (w *world) withoutDirectory() {
	w.Helper()
	for _, a := range w.offices {
		for _, b := range w.offices {
			if a != b {
				a.allow(b, fed.AllowAll, fed.AllowAll&^fed.AllowDirectory)
			}
		}
	}
}

// TestPicturesInGroupsAbroad: the picture of a group, and those of all its members, can be had by each cluster that has members in it, from the hub; also those of people who never said
// a word, and of those of a third office. Who is in it no more has no right to them, and who never was has none [FED-FILE-4] [FED-FILE-7].
func TestPicturesInGroupsAbroad(t *testing.T) {
	w := newWorld(t, 4)
	w.withoutDirectory()
	hub, b, c, stranger := w.offices[0], w.offices[1], w.offices[2], w.offices[3]
	hub.wear(1, 1)
	b.wear(1, 2)
	c.wear(1, 3)
	hub.do(put(testBlob(4), 1))
	b.say(1, protocol.WithUser(b.person(hub, 2)), "who I am") // the hub knows his picture by that
	c.say(1, protocol.WithUser(c.person(hub, 2)), "who I am")
	w.settle()
	hub.wantMay(b, 1, false)
	hub.wantMay(c, 2, false)
	made, _ := hub.do(&protocol.CreateGroup{Actor: 1, Type: protocol.GroupTemp, Name: "All", Avatar: avatarOf(testBlob(4)), Members: []protocol.UserID{1, hub.person(b, 1), hub.person(c, 1)}}).(protocol.CreateGroupResult)
	if refused := w.settle(); refused != nil {
		t.Fatal(refused)
	}
	for _, o := range []*office{b, c} {
		o.wantAt(1, hub.id, 0)
		o.wantAt(4, hub.id, 0)
		hub.wantMay(o, 1, true)
		hub.wantMay(o, 4, true)
		hub.wantMay(stranger, 1, false)
		hub.wantMay(stranger, 4, false)
		hub.wantMay(stranger, 2, false)
		b.wantMay(stranger, 4, false)
		c.wantMay(b, 4, false) // no transit but by the hub
	}
	b.wantAt(3, hub.id, 0)
	c.wantAt(2, hub.id, 0)
	hub.wantMay(c, 2, true)
	hub.wantMay(b, 3, true)
	equal(t, "his picture there", avatarOf(testBlob(2)), c.avatarAt(c.person(b, 1)))
	hub.allow(c, fed.AllowAll, fed.AllowAll&^fed.AllowGroups&^fed.AllowDirectory)
	hub.wantMay(c, 4, false)
	hub.wantMay(c, 2, false)
	hub.allow(c, fed.AllowAll, fed.AllowAll&^fed.AllowDirectory)
	name := avatarOf(testBlob(1))
	hub.do(&protocol.EditGroup{Group: made.Group, Avatar: &name})
	w.settle()
	hub.wantMay(c, 4, false)
	hub.do(&protocol.ChangeMembers{Actor: 1, Group: made.Group, Change: protocol.MembersDel, Members: []protocol.UserID{hub.person(c, 1)}})
	w.settle()
	hub.wantMay(c, 1, false)
	hub.wantMay(c, 2, false)
	hub.wantMay(b, 1, true)
	for _, o := range w.offices {
		o.sound()
	}
}

// TestSilentMembersPictures: who has only been found in the directory, and never said a word, has a picture at the hub and, once he is in a group, at a third office; where the directory
// is not shared any more, as long as he is in a group with somebody [FED-FILE-4].
func TestSilentMembersPictures(t *testing.T) {
	w := newWorld(t, 3)
	hub, b, c := w.offices[0], w.offices[1], w.offices[2]
	b.wear(1, 2)
	found := fed.Profile{Login: "beijing1", Avatar: avatarOf(testBlob(2)), Picture: protocol.BlobRef{ID: testBlob(2), Size: 10, Type: "image/png"}, Updated: 1}
	met, _ := hub.do(&protocol.AddAlias{Cluster: b.id, User: 1, Profile: mustCBOR(found)}).(protocol.AddAliasResult)
	hub.wantAt(2, b.id, 0)
	b.wantMay(hub, 2, true)
	b.allow(hub, fed.AllowAll, fed.AllowAll&^fed.AllowDirectory)
	b.wantMay(hub, 2, false)
	hub.do(&protocol.CreateGroup{Actor: 1, Type: protocol.GroupTemp, Name: "All", Members: []protocol.UserID{1, met.User, hub.person(c, 1)}})
	if refused := w.settle(); refused != nil {
		t.Fatal(refused)
	}
	b.wantMay(hub, 2, true)
	c.wantAt(2, hub.id, 0)
	hub.wantMay(c, 2, true)
	hub.sound()
	c.sound()
}

// TestNamingAPictureIsNotHaving: a cluster that says that one of its people, or one of its groups, shows somebody else's blob has nothing by that, nor has a friend of its [FED-FILE-2]
// [FED-FILE-4].
func TestNamingAPictureIsNotHaving(t *testing.T) {
	w := newWorld(t, 3)
	hub, b, c := w.offices[0], w.offices[1], w.offices[2]
	_, at := w.group()
	hub.do(put(testBlob(1), 1)) // nobody was shown that
	c.do(put(testBlob(2), 1))
	c.say(1, protocol.WithUser(c.person(hub, 1)), "look")
	c.do(showing(1, protocol.WithUser(c.person(hub, 1)), testBlob(2)))
	b.wear(1, 1) // so it says
	b.say(1, at(b), "hello")
	theirs, _ := b.do(&protocol.CreateGroup{Actor: 2, Type: protocol.GroupTemp, Name: "Theirs", Avatar: avatarOf(testBlob(1)), Members: []protocol.UserID{2, b.person(hub, 1), b.person(c, 1)}}).(protocol.CreateGroupResult)
	if refused := w.settle(); refused != nil {
		t.Fatal(refused)
	}
	if hub.group(b, theirs.Group) == 0 || hub.avatarAt(hub.person(b, 1)) != avatarOf(testBlob(1)) {
		t.Fatal("the lies have not come")
	}
	hub.wantMay(b, 1, false)
	hub.wantMay(c, 1, false)
	b.wear(1, 2)
	w.settle()
	hub.wantAt(2, c.id, 0)
	hub.wantMay(b, 2, false)
	hub.wantAt(1, fed.ClusterID{}, 1)
	hub.sound()
}

// TestLooksArePassedOn: when somebody looks otherwise the hub of his groups tells the other offices in them, once each, which can have the new picture then and the old one no more; one
// to whom his own office speaks believes that one. What is older, or comes late, changes nothing [FED-FILE-4].
func TestLooksArePassedOn(t *testing.T) {
	w := newWorld(t, 3)
	w.withoutDirectory()
	hub, b, c := w.offices[0], w.offices[1], w.offices[2]
	b.wear(1, 2)
	_, at := w.group()
	_, _ = w.group()
	b.say(1, at(b), "hello")
	if refused := w.settle(); refused != nil {
		t.Fatal(refused)
	}
	equal(t, "his first picture", avatarOf(testBlob(2)), c.avatarAt(c.person(b, 1)))
	hub.wantMay(c, 2, true)
	queued := func() (n uint64) {
		for lane := fed.LaneControl; lane <= fed.LaneLast; lane++ {
			n += hub.m.abroad.lanes[laneKey{c.id, lane}].sent
		}
		return n
	}
	before := queued()
	b.wear(1, 3)
	if refused := w.settle(); refused != nil {
		t.Fatal(refused)
	}
	if n := queued() - before; n != 1 {
		t.Errorf("%d events told it", n)
	}
	equal(t, "his new picture", avatarOf(testBlob(3)), c.avatarAt(c.person(b, 1)))
	c.wantAt(3, hub.id, 0)
	hub.wantMay(c, 3, true)
	hub.wantMay(c, 2, false)
	late := fed.Event{ID: fed.NewEventID(hub.id, 0, protocol.Position{Index: 1 << 20}), Group: fed.GroupRef{Cluster: hub.id, ID: at(hub).Group()}}
	say := func(p fed.Profile) {
		t.Helper()
		late.ID.Index++
		body := fed.GroupState{Part: true, Members: []fed.UserRef{{Cluster: b.id, ID: 1}}, Profiles: []fed.Profile{p}}
		if code := refused(t, c.deliver(hub, 1, late.Encode(fed.TypeGroupState, body))); code != 0 {
			t.Fatal(code)
		}
	}
	say(fed.Profile{Login: "beijing1", Nick: "Old", Avatar: avatarOf(testBlob(2)), Updated: 1})
	equal(t, "after what is old", avatarOf(testBlob(3)), c.avatarAt(c.person(b, 1)))
	b.say(1, protocol.WithUser(b.person(c, 1)), "myself")
	w.carryAll(b, c)
	c.wantAt(3, hub.id, 0)
	b.wantMay(c, 3, true)
	say(fed.Profile{Login: "beijing1", Nick: "Lie", Avatar: avatarOf(testBlob(2)), Updated: 1 << 50})
	equal(t, "after a lie of the hub's", avatarOf(testBlob(3)), c.avatarAt(c.person(b, 1)))
	hub.sound()
	c.sound()
}
