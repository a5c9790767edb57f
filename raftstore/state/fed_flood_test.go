package state

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"slices"
	"testing"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// TestClusterFlood: a peer can't have another one remember clusters of which it names nobody, nor many at once; one that is in a group with this one's people it can [FED-AUTH-3].
func TestClusterFlood(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.offices[0], w.offices[1]
	g, _ := w.group()
	id := uint64(7000)
	madeUp := func(n int) (manifests []fed.SignedManifest, members []fed.UserRef) {
		for i := range n {
			root := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{byte(i)}, 32))
			m := fed.Manifest{Cluster: fed.ClusterID{99, byte(i)}, Root: [32]byte(root[32:]), Serial: 1, Domain: "x.example", Office: "X", Versions: fed.Current(),
				Keys: []fed.LinkKey{{Public: [32]byte(root[32:]), Purpose: fed.KeyActive}}}
			manifests, members = append(manifests, fed.SignManifest(&m, root)), append(members, fed.UserRef{Cluster: m.Cluster, ID: 1})
		}
		return manifests, members
	}
	tell := func(manifests []fed.SignedManifest, members []fed.UserRef) protocol.Code {
		id++
		e := fed.Event{ID: fed.NewEventID(a.id, 0, protocol.Position{Index: id}), Group: fed.GroupRef{Cluster: a.id, ID: g}}
		return refused(t, b.deliver(a, 1, e.Encode(fed.TypeGroupState, fed.GroupState{Part: true, Manifests: manifests, Members: members, Profiles: slices.Repeat([]fed.Profile{{Login: "x"}}, len(members))})))
	}
	known := func() int { return len(b.m.abroad.peers) }
	before := known()
	manifests, members := madeUp(fed.MaxGroupClusters + 1)
	if code := tell(manifests, members); code != protocol.CodeTooLarge || known() != before {
		t.Errorf("%d at once: %v, %d are known", len(manifests), code, known()-before)
	}
	if code := tell(manifests[:3], nil); code != 0 || known() != before {
		t.Errorf("without members: %v, %d are known", code, known()-before)
	}
	if code := tell(manifests[:3], members[1:2]); code != 0 || known() != before+1 {
		t.Errorf("of which one has a member: %v, %d are known", code, known()-before)
	}
	b.reopen()
	if known() != before+1 {
		t.Errorf("after a restart %d are known", known()-before)
	}
}

// TestGroupFlood: a peer can't have people here be in more than so many new groups of its in an hour; groups that are known go on, and its hub tells of the others again when there is room
// [FED-AUTH-3].
func TestGroupFlood(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.offices[0], w.offices[1]
	known, at := w.group()
	b.change(func(s *step) error {
		row := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(s.now)), groupsPerHour-1)
		return s.put(bRate, append(slices.Clone(a.id[:]), 'g'), row)
	})
	var made []protocol.GroupID
	for _, name := range []string{"last", "one too many"} {
		g, _ := a.do(&protocol.CreateGroup{Actor: 1, Type: protocol.GroupTemp, Name: name, Members: []protocol.UserID{1, a.person(b, 1)}}).(protocol.CreateGroupResult)
		made = append(made, g.Group)
	}
	a.say(1, at(a), "still here")
	if no := w.settle(); len(no) != 1 || no[0].Code != protocol.CodeRateLimited {
		t.Errorf("refused: %+v", no)
	}
	if (b.group(a, made[0]) == 0) == (b.group(a, made[1]) == 0) { // whose lane came first
		t.Errorf("known are %d and %d", b.group(a, made[0]), b.group(a, made[1]))
	}
	equal(t, "a group that was known", a.texts(1, at(a)), b.texts(1, protocol.InGroup(b.group(a, known))))
	a.clock, b.clock = a.clock+anHour, b.clock+anHour
	if no := w.settle(); no != nil || b.group(a, made[0]) == 0 || b.group(a, made[1]) == 0 {
		t.Errorf("an hour later known are %d and %d, refused: %+v", b.group(a, made[0]), b.group(a, made[1]), no)
	}
}

// TestRequestFlood: whom a peer asks to let into a group counts among the new people that it brings, unless its directory is shared [FED-AUTH-3].
func TestRequestFlood(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.offices[0], w.offices[1]
	add := func(u uint32) protocol.Command {
		return &protocol.AddAlias{Cluster: a.id, User: u, Profile: mustCBOR(fed.Profile{Login: "p"})}
	}
	b.setRate(a, aliasesPerHour-1)
	b.do(add(1))
	b.do(add(2))
	b.allow(a, fed.AllowAll&^fed.AllowDirectory, fed.AllowAll)
	b.do(add(3))
	b.refuse(protocol.CodeRateLimited, add(4))
	b.do(add(3))
	b.clock += anHour
	b.do(add(4))
}
