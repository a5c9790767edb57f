package state

import (
	"crypto/sha256"
	"slices"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// order gives an event of one of this cluster's groups its place and sends it, as it came, to each cluster that has members [FED-SIG-3]. at is its message, zero
// for a deletion; signature is its origin's, nil if that is this cluster.
func (m *machine) order(s *step, at protocol.Position, r *route, event []byte, signature *fed.Signature, fate fateRow) error {
	g := r.group.ID
	last, err := s.chain(g)
	if err != nil {
		return err
	}
	inner := fed.SignedEvent{Event: event}
	if signature != nil {
		inner.Signature = *signature
	}
	link := fed.Link{Group: r.group, Seq: last.seq + 1, Previous: last.hash, Inner: sha256.Sum256(event)}
	if err := s.putChain(g, chainRow{link.Seq, link.Hash()}); err != nil {
		return err
	}
	key := hubKey(g, link.Seq)
	if err := s.putRow(bHub, key[:], hubRow{At: at, Previous: link.Previous, Inner: link.Inner, Event: inner}); err != nil {
		return err
	}
	e := fed.Event{ID: fed.NewEventID(m.abroad.self, s.at), Time: s.now, Group: r.group}
	b := e.Encode(fed.TypeHubPost, fed.HubPost{Seq: link.Seq, Previous: link.Previous, Inner: inner, Hash: link.Inner})
	for _, p := range r.peers {
		w, err := m.putOut(s, laneKey{p, r.lane}, fed.TypeHubPost, at, b)
		if err != nil {
			return err
		}
		fate.ways = append(fate.ways, w)
	}
	if at == (protocol.Position{}) {
		return nil
	}
	fate.state, fate.hubSeq = fed.StateSent, link.Seq
	return s.putFate(at, &fate)
}

// chain is the newest end of a group's chain, the zero one before its first place.
func (t *txn) chain(g protocol.GroupID) (chainRow, error) {
	key := idKey(g)
	b := t.row(bChain, key[:])
	if b == nil {
		return chainRow{}, nil
	}
	row, err := unpackChain(b)
	if err != nil {
		return row, badRow(bChain, key[:], err)
	}
	return row, nil
}

func (s *step) putChain(g protocol.GroupID, row chainRow) error {
	b, key := s.room(chainLen), idKey(g)
	row.pack(b)
	return s.put(bChain, key[:], b)
}

// tellGroup sends the state of one of this cluster's groups to the clusters that have members now, or had before [FED-HUB-1].
func (m *machine) tellGroup(s *step, g *protocol.Group, before, now []protocol.UserID) error {
	peers, err := m.clustersOf(s.txn, now)
	if err != nil {
		return err
	}
	former, err := m.clustersOf(s.txn, before)
	if err != nil {
		return err
	}
	for _, p := range former {
		if !slices.Contains(peers, p) {
			peers = append(peers, p)
		}
	}
	if len(peers) == 0 {
		return nil
	}
	state, err := m.groupState(s, g, now)
	if err != nil {
		return err
	}
	e := fed.Event{ID: fed.NewEventID(m.abroad.self, s.at), Time: s.now, Group: fed.GroupRef{Cluster: m.abroad.self, ID: g.ID}}
	event := e.Encode(fed.TypeGroupState, state)
	// On the group's own lane: what was ordered before the change comes before it.
	lane := fed.LaneOf(protocol.InGroup(g.ID).Conversation(0))
	for _, p := range peers {
		if !m.linked(p) {
			continue
		}
		if _, err := m.putOut(s, laneKey{p, lane}, fed.TypeGroupState, protocol.Position{}, event); err != nil {
			return err
		}
	}
	return nil
}

func (m *machine) linked(c fed.ClusterID) bool {
	p := m.abroad.peers[c]
	return m.abroad.epoch != 0 && p != nil && p.Linked()
}

// groupState is a group as its hub has it, with what the others need to show and check its members.
func (m *machine) groupState(s *step, g *protocol.Group, members []protocol.UserID) (fed.GroupState, error) {
	chain, err := s.chain(g.ID)
	if err != nil {
		return fed.GroupState{}, err
	}
	state := fed.GroupState{Version: g.Version, Seq: chain.seq, Previous: chain.hash, Name: g.Name, Avatar: g.Avatar, Kind: g.Type, Closed: g.Closed}
	if g.Creator != 0 {
		if state.Creator, err = m.userRef(s.txn, g.Creator); err != nil {
			return state, err
		}
	}
	for _, u := range members {
		ref, err := m.userRef(s.txn, u)
		if err != nil {
			return state, err
		}
		row, err := s.user(u)
		if err != nil {
			return state, err
		}
		profile := profileOf(&row.User)
		if u >= protocol.MaxLocalID {
			profile.Nick, profile.Login = row.User.Nick, row.User.Name // as this cluster shows it; the member's own cluster says it better
		}
		state.Members, state.Profiles = append(state.Members, ref), append(state.Profiles, profile)
	}
	clusters, err := m.clustersOf(s.txn, members)
	if err != nil {
		return state, err
	}
	for _, c := range clusters {
		if p := m.abroad.peers[c]; p != nil {
			state.Manifests = append(state.Manifests, p.Manifest)
		}
	}
	return state, nil
}

// checkClusters refuses members whose cluster may not be in a group of this one.
func (m *machine) checkClusters(t *txn, users []protocol.UserID) error {
	clusters, err := m.clustersOf(t, users)
	if err != nil {
		return err
	}
	if len(clusters) > fed.MaxGroupClusters {
		return tooLarge("a group has people of at most %d other offices", fed.MaxGroupClusters)
	}
	for _, c := range clusters {
		if err := m.abroad.ready(c, fed.AllowGroups, 0); err != nil {
			return err
		}
	}
	return nil
}

// tellLeave tells a hub who of this cluster has left its group; that the others see when the hub says so.
func (m *machine) tellLeave(s *step, g protocol.GroupID, c changeRow) error {
	name, err := m.groupRef(s.txn, g)
	if err != nil || c.Change != protocol.MembersDel || !m.linked(name.Cluster) {
		return err
	}
	lane := fed.LaneOf(protocol.InGroup(g).Conversation(0))
	for _, u := range c.Changed {
		if u >= protocol.MaxLocalID {
			continue
		}
		e := fed.Event{ID: fed.NewEventID(m.abroad.self, s.at), Time: s.now, Author: fed.UserRef{Cluster: m.abroad.self, ID: u}, Group: name}
		if _, err := m.putOut(s, laneKey{name.Cluster, lane}, fed.TypeLeave, protocol.Position{}, e.Encode(fed.TypeLeave, fed.Leave{})); err != nil {
			return err
		}
	}
	return nil
}
