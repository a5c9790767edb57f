package state

import (
	"bytes"
	"crypto/ed25519"
	"slices"
	"strings"
	"testing"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// TestAliasIsNoName: what a group of somebody else's is called here is no name of a group of this cluster's [FED-AUTH-1] [FED-AL-2].
func TestAliasIsNoName(t *testing.T) {
	w := newWorld(t, 3)
	a, b, c := w.offices[0], w.offices[1], w.offices[2]
	made, _ := c.do(&protocol.CreateGroup{Actor: 1, Type: protocol.GroupTemp, Name: "Theirs", Members: append(users(1), c.person(a, 1), c.person(b, 1))}).(protocol.CreateGroupResult)
	w.settle()
	alias := a.group(c, made.Group)
	before, err := a.Members(alias)
	if err != nil {
		t.Fatal(err)
	}
	for i, g := range []protocol.GroupID{alias, 0} {
		e := fed.Event{ID: fed.NewEventID(b.id, 0, protocol.Position{Index: uint64(5000 + i)}), Time: 1, Author: fed.UserRef{Cluster: b.id, ID: 1}, Group: fed.GroupRef{Cluster: a.id, ID: g}}
		for _, event := range [][]byte{
			e.Encode(fed.TypePost, fed.Message{Type: protocol.MsgGroupText, Data: []byte("only here")}),
			e.Encode(fed.TypeDelete, fed.Delete{Target: fed.NewEventID(b.id, 0, protocol.Position{Index: 4000}), Kind: protocol.Recalled}),
			e.Encode(fed.TypeLeave, fed.Leave{}),
		} {
			if code := refused(t, a.deliver(b, 1, event)); code != protocol.CodeInvalid {
				t.Errorf("group %d: %v", g, code)
			}
		}
	}
	if after, err := a.Members(alias); err != nil || !slices.Equal(before, after) {
		t.Errorf("members were %v and are %v, %v", before, after, err)
	}
	c.say(1, protocol.InGroup(made.Group), "said to all")
	w.carryAll(c, a)
	equal(t, "the group", []string{"singapore1: said to all"}, a.texts(1, protocol.InGroup(alias)))
}

// TestDeleteNamesItsGroup: what was said in one group is not deleted in the chain of another, nor does somebody order a deletion into a group that he is not in [FED-AUTH-1].
func TestDeleteNamesItsGroup(t *testing.T) {
	w := newWorld(t, 3)
	a, b, c := w.offices[0], w.offices[1], w.offices[2]
	shared, _ := a.do(&protocol.CreateGroup{Actor: 1, Type: protocol.GroupTemp, Name: "Shared", Members: append(users(1), a.person(b, 1))}).(protocol.CreateGroupResult)
	other, _ := a.do(&protocol.CreateGroup{Actor: 1, Type: protocol.GroupTemp, Name: "Other", Members: append(users(1), a.person(c, 1))}).(protocol.CreateGroupResult)
	w.settle()
	b.say(1, protocol.InGroup(b.group(a, shared.Group)), "mine")
	w.settle()
	msgs, err := b.History(1, protocol.InGroup(b.group(a, shared.Group)), 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	said, lost := fed.NewEventID(b.id, 0, msgs[0].At), fed.NewEventID(b.id, 0, protocol.Position{Index: 4000})
	was := a.chainOf(other.Group)
	forged := func(index uint64, target fed.EventID, g protocol.GroupID) []byte {
		e := fed.Event{ID: fed.NewEventID(b.id, 0, protocol.Position{Index: index}), Time: 1, Author: fed.UserRef{Cluster: b.id, ID: 1}, Group: fed.GroupRef{Cluster: a.id, ID: g}}
		return e.Encode(fed.TypeDelete, fed.Delete{Target: target, Kind: protocol.Recalled})
	}
	if code := refused(t, a.deliver(b, 1, forged(5000, said, other.Group))); code != protocol.CodeForbidden {
		t.Errorf("what was said in another group: %v", code)
	}
	event := forged(5001, lost, other.Group)
	sig := b.signer.SignEvent(event).Signature
	a.do(&protocol.ReceiveHistory{Cluster: b.id, Event: event, Key: sig.Key, Sig: sig.Sig[:]}) // it is remembered, no more
	equal(t, "the other group's chain", was.seq, a.chainOf(other.Group).seq)
	equal(t, "what was said", []string{"beijing1: mine"}, a.texts(1, protocol.InGroup(shared.Group)))
	if code := refused(t, a.deliver(b, 1, forged(5002, said, shared.Group))); code != 0 {
		t.Errorf("where it was said: %v", code)
	}
	equal(t, "after that", []string{"beijing1: (deleted)"}, a.texts(1, protocol.InGroup(shared.Group)))
}

// renamed is an office's manifest with another domain.
func (o *office) renamed(serial uint64, domain string) fed.SignedManifest {
	o.Helper()
	m, err := o.signed.Open()
	if err != nil {
		o.Fatal(err)
	}
	m.Serial, m.Domain = serial, domain
	return fed.SignManifest(&m, rootKey(o.id[0]))
}

// TestDomainOfAnother: no cluster, linked or heard of, comes to be called as this one is, or another one that it is linked with [FED-ON-3].
func TestDomainOfAnother(t *testing.T) {
	w := newWorld(t, 3)
	a, b, c := w.offices[0], w.offices[1], w.offices[2]
	g, _ := w.group()
	invented := func(domain string) (fed.ClusterID, fed.SignedManifest) {
		root := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{77}, 32))
		m := fed.Manifest{Cluster: fed.ClusterID{99}, Root: [32]byte(root[32:]), Serial: 1, Domain: domain, Office: c.name, Versions: fed.Current(),
			Keys: []fed.LinkKey{{Public: [32]byte(root[32:]), Purpose: fed.KeyActive}}}
		return m.Cluster, fed.SignManifest(&m, root)
	}
	index := uint64(5000)
	tell := func(from, to *office, of fed.ClusterID, m fed.SignedManifest) protocol.Code {
		index++
		e := fed.Event{ID: fed.NewEventID(from.id, 0, protocol.Position{Index: index}), Time: 1, Group: fed.GroupRef{Cluster: from.id, ID: g}}
		return refused(t, to.deliver(from, 1, e.Encode(fed.TypeGroupState, fed.GroupState{Part: true, Manifests: []fed.SignedManifest{m},
			Members: []fed.UserRef{{Cluster: of, ID: 1}}, Profiles: []fed.Profile{{Login: "singapore1", Updated: 1}}})))
	}
	set := func(of fed.ClusterID, m fed.SignedManifest, s fed.PeerState) protocol.Command {
		p := fed.Peer{}
		if known := b.m.abroad.peers[of]; known != nil {
			p = *known
		}
		after := p.Version
		p.Manifest, p.State = m, s
		return &protocol.SetPeer{Cluster: of, After: after, Peer: mustCBOR(p)}
	}
	for _, domain := range []string{"singapore.example", "hangzhou.example", "beijing.example"} {
		id, m := invented(domain)
		if code := tell(a, b, id, m); code != protocol.CodeForbidden || b.m.abroad.peers[id] != nil {
			t.Errorf("one that nobody knew, called %s: %v", domain, code)
		}
		for _, s := range []fed.PeerState{fed.PeerIntroduced, fed.PeerConfirmed, fed.PeerPaused} {
			b.refuse(protocol.CodeForbidden, set(id, m, s))
		}
	}
	for _, domain := range []string{"hangzhou.example", "beijing.example"} {
		b.refuse(protocol.CodeForbidden, set(c.id, c.renamed(2, domain), fed.PeerConfirmed))
		if code := tell(a, b, c.id, c.renamed(2, domain)); code != protocol.CodeForbidden {
			t.Errorf("a linked one, called %s: %v", domain, code)
		}
	}
	for i, domain := range []string{"singapore.example", "beijing.example"} {
		own := b.identity
		own.Manifest = b.renamed(uint64(i)+2, domain)
		b.do(&protocol.SetIdentity{Identity: mustCBOR(own), After: uint64(i) + 1})
		b.do(set(c.id, c.signed, fed.PeerPaused)) // what it is called already is no obstacle
		b.do(set(c.id, c.signed, fed.PeerConfirmed))
	}
	if code := tell(a, b, c.id, c.renamed(2, "marina.example")); code != 0 {
		t.Errorf("a free domain: %v", code)
	}
	id, m := invented("singapore.example") // which is free by that
	if code := tell(a, b, id, m); code != 0 {
		t.Errorf("the former domain of another: %v", code)
	}
	b.do(set(c.id, c.renamed(2, "marina.example"), fed.PeerRemoved))
	b.do(set(id, m, fed.PeerIntroduced))
	b.do(set(id, m, fed.PeerConfirmed))
	b.refuse(protocol.CodeForbidden, set(c.id, c.renamed(3, "singapore.example"), fed.PeerIntroduced))
	b.do(set(c.id, c.renamed(3, "marina.example"), fed.PeerIntroduced))
}

// TestNamesOfPeople: nobody abroad has a name that nobody here could have, whoever says so [FED-AL-3].
func TestNamesOfPeople(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.offices[0], w.offices[1]
	g, _ := w.group()
	index := uint64(5000)
	for _, tt := range []struct {
		fed.Profile
		code protocol.Code
	}{
		{fed.Profile{Login: strings.Repeat("x", 600<<10)}, protocol.CodeTooLarge},
		{fed.Profile{Login: strings.Repeat("x", protocol.MaxLoginName+1)}, protocol.CodeTooLarge},
		{fed.Profile{Login: "lin\n\x00"}, protocol.CodeInvalid},
		{fed.Profile{}, protocol.CodeInvalid},
		{fed.Profile{Login: "lin", Nick: "Lin\n(Board)"}, protocol.CodeInvalid},
		{fed.Profile{Login: "lin", Nick: strings.Repeat("n", 2*protocol.MaxPersonalText)}, 0}, // it is cut
	} {
		index++
		id := fed.NewEventID(a.id, 0, protocol.Position{Index: index})
		in := fed.Event{ID: id, Time: 1, Group: fed.GroupRef{Cluster: a.id, ID: g}}
		by := fed.Event{ID: id, Time: 1, Author: fed.UserRef{Cluster: a.id, ID: 50}}
		refs, profiles := []fed.UserRef{by.Author}, []fed.Profile{tt.Profile}
		for what, event := range map[string][]byte{
			"a page of a group": in.Encode(fed.TypeGroupState, fed.GroupState{Part: true, Members: refs, Profiles: profiles}),
			"a group":           in.Encode(fed.TypeGroupState, fed.GroupState{Version: 1, Name: "G", Kind: protocol.GroupTemp, Members: refs, Profiles: profiles}),
			"himself":           by.Encode(fed.TypeProfile, tt.Profile),
		} {
			if code := refused(t, b.deliver(a, 1, event)); code != tt.code {
				t.Errorf("%.20q, %.20q by %s: %v", tt.Login, tt.Nick, what, code)
			}
		}
		if add := (&protocol.AddAlias{Cluster: a.id, User: 60, Profile: mustCBOR(tt.Profile)}); tt.code != 0 {
			b.refuse(tt.code, add)
		} else {
			b.do(add)
		}
	}
}
