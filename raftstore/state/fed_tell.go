package state

import (
	"slices"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// statePage is how many bytes of profiles go in one event: a group of 5,000 has more than fit into one.
const statePage = 128 << 10

// tellGroup sends the state of one of this cluster's groups to the clusters that have members now, or had before [FED-HUB-1].
func (m *machine) tellGroup(s *step, g *protocol.Group, before, now []protocol.UserID) error {
	nowIn, err := m.clustersOf(s.txn, now)
	if err != nil {
		return err
	}
	former, err := m.clustersOf(s.txn, before)
	if err != nil || len(nowIn)+len(former) == 0 {
		return err
	}
	if err := m.noteClusters(s, g.ID, former, nowIn); err != nil {
		return err
	}
	var newly, still []fed.ClusterID
	for _, c := range nowIn {
		if slices.Contains(former, c) {
			still = append(still, c)
		} else {
			newly = append(newly, c)
		}
	}
	for _, c := range former {
		if !slices.Contains(nowIn, c) {
			still = append(still, c)
		}
	}
	come := slices.DeleteFunc(slices.Clone(now), func(u protocol.UserID) bool { _, is := slices.BinarySearch(before, u); return is })
	if err := m.tellGroupTo(s, g, now, come, still); err != nil {
		return err
	}
	return m.tellGroupTo(s, g, now, now, newly)
}

// tellGroupTo sends the state of a group to some clusters: first who those members are whom they may not know, in pages, then who is in.
func (m *machine) tellGroupTo(s *step, g *protocol.Group, members, strangers []protocol.UserID, to []fed.ClusterID) error {
	to = slices.DeleteFunc(to, func(c fed.ClusterID) bool { return !m.linked(c) })
	if len(to) == 0 {
		return nil
	}
	events, err := m.groupPages(s, g, strangers)
	if err != nil {
		return err
	}
	state, err := m.groupState(s.txn, g, members)
	if err != nil {
		return err
	}
	e := fed.Event{ID: m.eventID(s.at), Time: s.now, Group: fed.GroupRef{Cluster: m.abroad.self, ID: g.ID}}
	events = append(events, e.Encode(fed.TypeGroupState, state))
	// On the group's own lane: what was ordered before the change comes before it.
	lane := fed.LaneOf(protocol.InGroup(g.ID).Conversation(0))
	for _, c := range to {
		for _, event := range events {
			if _, err := m.putOut(s, laneKey{c, lane}, fed.TypeGroupState, protocol.Position{}, event); err != nil {
				return err
			}
		}
	}
	return nil
}

// groupPages say who some members of a group are.
func (m *machine) groupPages(s *step, g *protocol.Group, users []protocol.UserID) (pages [][]byte, err error) {
	page, size, first := fed.GroupState{Part: true}, 0, 0
	flush := func(upTo int) error {
		if upTo == first {
			return nil
		}
		if page.Manifests, err = m.manifestsOf(s.txn, users[first:upTo]); err != nil {
			return err
		}
		e := fed.Event{ID: m.eventID(s.at), Time: s.now, Group: fed.GroupRef{Cluster: m.abroad.self, ID: g.ID}}
		pages = append(pages, e.Encode(fed.TypeGroupState, page))
		page, size, first = fed.GroupState{Part: true}, 0, upTo
		return nil
	}
	for i, u := range users {
		ref, err := m.userRef(s.txn, u)
		if err != nil {
			return nil, err
		}
		p, err := m.profileFor(s.txn, u)
		if err != nil {
			return nil, err
		}
		size += 64 + len(p.Login) + len(p.Nick) + len(p.Avatar) + len(p.Sign)
		page.Members, page.Profiles = append(page.Members, ref), append(page.Profiles, p)
		if size >= statePage {
			if err := flush(i + 1); err != nil {
				return nil, err
			}
		}
	}
	return pages, flush(len(users))
}

// groupState is a group as its hub has it, with what the others need to show and check its members.
func (m *machine) groupState(t *txn, g *protocol.Group, members []protocol.UserID) (fed.GroupState, error) {
	chain, err := t.chain(g.ID)
	if err != nil {
		return fed.GroupState{}, err
	}
	state := fed.GroupState{Era: m.abroad.era(), Version: g.Version, Seq: chain.seq, Previous: chain.hash, Name: g.Name, Avatar: g.Avatar, Kind: g.Type, Closed: g.Closed}
	if g.Creator != 0 {
		if state.Creator, err = m.userRef(t, g.Creator); err != nil {
			return state, err
		}
	}
	for _, u := range members {
		ref, err := m.userRef(t, u)
		if err != nil {
			return state, err
		}
		state.Members = append(state.Members, ref)
	}
	if state.Picture, err = t.pictureOf(groupShower(g.ID)); err != nil {
		return state, err
	}
	state.Manifests, err = m.manifestsOf(t, members)
	return state, err
}

// manifestsOf are those of the other clusters that some users are of.
func (m *machine) manifestsOf(t *txn, users []protocol.UserID) (manifests []fed.SignedManifest, err error) {
	clusters, err := m.clustersOf(t, users)
	for _, c := range clusters {
		if p := m.abroad.peers[c]; p != nil {
			manifests = append(manifests, p.Manifest)
		}
	}
	return manifests, err
}

// profileFor is what a member's cluster says of him, as far as it is known here.
func (m *machine) profileFor(t *txn, u protocol.UserID) (fed.Profile, error) {
	row, err := t.user(u)
	if err != nil {
		return fed.Profile{}, err
	}
	profile, err := t.profileOf(&row.User)
	if err != nil || u < protocol.MaxLocalID {
		return profile, err
	}
	person, err := t.personRow(u)
	profile.Nick, profile.Login, profile.Updated = person.Nick, person.Login, person.Updated
	return profile, err
}
