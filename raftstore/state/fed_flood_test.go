package state

import (
	"bytes"
	"crypto/ed25519"
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
		return refused(t, b.deliver(a, 1, e.Encode(fed.TypeGroupState, fed.GroupState{Part: true, Manifests: manifests, Members: members, Profiles: make([]fed.Profile, len(members))})))
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
