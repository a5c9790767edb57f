package state

import (
	"bytes"
	"slices"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// receiveGroupState makes a group of another cluster, as it is seen here, what its hub says [FED-HUB-1].
func (m *machine) receiveGroupState(s *step, in *inbound) error {
	state, err := fed.BodyOf[fed.GroupState](in.event)
	if err != nil {
		return err
	}
	if err := checkGroupState(&state); err != nil {
		return err
	}
	alias, err := s.alias(in.from, aliasGroup, uint32(in.event.Group.ID))
	if err != nil {
		return err
	}
	if err := m.roomFor(s, in, state.Members); err != nil {
		return err
	}
	if err := m.meet(s, state.Manifests, state.Members); err != nil {
		return err
	}
	members, err := m.membersOf(s, in, &state)
	if err != nil || state.Part {
		return err
	}
	switch {
	case alias != 0:
		err = m.moveGroupAbroad(s, protocol.GroupID(alias), in, &state, members)
	case state.Closed || !slices.ContainsFunc(members, isLocal):
		return nil
	default:
		err = m.foundGroupAbroad(s, in, &state, members)
	}
	if err != nil {
		return err
	}
	if alias, err = s.alias(in.from, aliasGroup, uint32(in.event.Group.ID)); err != nil {
		return err
	}
	return m.meetPicture(s, in, groupShower(protocol.GroupID(alias)), state.Picture)
}

func isLocal(u protocol.UserID) bool { return u < protocol.MaxLocalID }

func checkGroupState(g *fed.GroupState) error {
	switch {
	case len(g.Members) > protocol.MaxGroupMembers:
		return tooLarge("a group has at most %d members", protocol.MaxGroupMembers)
	case len(g.Profiles) > len(g.Members) || g.Part && len(g.Profiles) != len(g.Members):
		return invalid("the group has %d members and %d profiles", len(g.Members), len(g.Profiles))
	case len(g.Manifests) > fed.MaxGroupClusters:
		return tooLarge("a group has people of at most %d other offices", fed.MaxGroupClusters)
	}
	for i := range g.Profiles {
		if err := checkProfile(&g.Profiles[i]); err != nil {
			return err
		}
	}
	switch {
	case g.Part:
		return nil
	case g.Kind != protocol.GroupNormal && g.Kind != protocol.GroupTemp:
		return invalid("group type %d is not known", g.Kind)
	}
	if err := protocol.CheckLine("avatar", g.Avatar, protocol.MaxAvatar); err != nil {
		return err
	}
	return protocol.CheckName("group name", g.Name, protocol.MaxGroupName)
}

// membersOf are the members as they are called here, ascending. Who is said to be of this cluster and is not is left out.
func (m *machine) membersOf(s *step, in *inbound, g *fed.GroupState) (members []protocol.UserID, err error) {
	for i, ref := range g.Members {
		var u protocol.UserID
		switch {
		case ref.Cluster == m.abroad.self:
			u, err = m.localUser(s.txn, ref)
		case i < len(g.Profiles):
			u, err = m.personWith(s, in, ref, &g.Profiles[i], ref.Cluster == in.from)
		default:
			u, err = m.person(s, in, ref)
		}
		if err != nil {
			return nil, err
		}
		if u != 0 {
			members = append(members, u)
		}
	}
	slices.Sort(members)
	return slices.Compact(members), nil
}

// foundGroupAbroad makes the alias of a group that has come to have members here.
func (m *machine) foundGroupAbroad(s *step, in *inbound, state *fed.GroupState, members []protocol.UserID) error {
	if err := s.countGroup(in.from); err != nil {
		return err
	}
	id, err := s.newAlias(in.from, aliasGroup, uint32(in.event.Group.ID))
	if err != nil {
		return err
	}
	g := protocol.Group{ID: protocol.GroupID(id), Name: state.Name, Avatar: state.Avatar, Type: state.Kind, Version: 1, Created: s.now, Updated: s.now}
	if g.Creator, err = m.localUser(s.txn, state.Creator); err != nil {
		return err
	}
	if err := m.stamp(s); err != nil {
		return err
	}
	for _, u := range members {
		if err := s.join(g.ID, u, 0); err != nil {
			return err
		}
	}
	if err := s.noteChange(g.ID, changeRow{Actor: g.Creator, Change: groupMade, Changed: members}); err != nil {
		return err
	}
	chain := chainRow{seq: state.Seq, hash: state.Previous}
	if m.abroad.era() != 0 && state.Seq > 0 { // this cluster was restored: perhaps the group was known here, and its hub has more of it for this cluster
		chain.holeFrom, chain.to = 1, state.Seq
		if err := m.noteGap(s, in, g.ID, 1, state.Seq); err != nil {
			return err
		}
	}
	if err := s.putChain(g.ID, chain); err != nil {
		return err
	}
	s.emit(protocol.GroupCreated{Actor: g.Creator, Group: g.ID, Members: members})
	if err := s.putHubVersion(g.ID, state); err != nil {
		return err
	}
	return m.saveGroup(s, g, members)
}

func groupBytes(g protocol.GroupID) []byte {
	key := idKey(g)
	return key[:]
}

// hubVersion is how new what is known here of a group abroad is.
type hubVersion struct {
	Era     uint64 `cbor:"1,keyasint,omitempty"` // of the hub
	Version uint32 `cbor:"2,keyasint"`
}

func (s *step) putHubVersion(g protocol.GroupID, state *fed.GroupState) error {
	return s.putRow(bHubVersion, groupBytes(g), hubVersion{state.Era, state.Version})
}

// moveGroupAbroad brings the members and the profile of a group abroad to what its hub says. Once nobody here is in it, it is closed here until somebody is again.
func (m *machine) moveGroupAbroad(s *step, id protocol.GroupID, in *inbound, state *fed.GroupState, members []protocol.UserID) error {
	if err := s.goesOn(id); err != nil {
		return err
	}
	var known hubVersion
	if _, err := s.readRow(bHubVersion, groupBytes(id), &known); err != nil {
		return err
	}
	if state.Era < known.Era {
		return nil // of before the hub was restored
	}
	before, err := s.memberRows(id)
	if err != nil {
		return err
	}
	if err := m.takeUpChain(s, id, in, state, state.Era > known.Era, len(before) == 0); err != nil {
		return err
	}
	if state.Era == known.Era && state.Version <= known.Version {
		return nil // an older one that was on its way
	}
	g, err := s.group(id)
	if err != nil {
		return err
	}
	if members, err = s.withoutLeft(id, members); err != nil {
		return err
	}
	if state.Closed || !slices.ContainsFunc(members, isLocal) {
		members = nil
	}
	g.Name, g.Avatar, g.Type = state.Name, state.Avatar, state.Kind
	if g.Creator, err = m.localUser(s.txn, state.Creator); err != nil {
		return err
	}
	g.Version++
	g.Updated, g.Closed = s.now, len(members) == 0
	if err := m.stamp(s); err != nil {
		return err
	}
	if err := m.exchangeMembers(s, &g, before, members); err != nil {
		return err
	}
	s.emit(protocol.GroupEdited{Group: id})
	if err := s.putHubVersion(id, state); err != nil {
		return err
	}
	return m.saveGroup(s, g, members)
}

// withoutLeft leaves those out who have left, until their hub says so, too: then it knows.
func (s *step) withoutLeft(g protocol.GroupID, members []protocol.UserID) ([]protocol.UserID, error) {
	var known [][]byte
	prefix := idKey(g)
	err := s.scan(bLeft, prefix[:], prefix[:], func(key, _ []byte) (bool, error) {
		u, err := idOf[protocol.UserID](key[4:])
		if err != nil {
			return true, badRow(bLeft, key, err)
		}
		if i, is := slices.BinarySearch(members, u); is {
			members = slices.Delete(members, i, i+1)
		} else {
			known = append(known, bytes.Clone(key))
		}
		return false, nil
	})
	if err != nil {
		return nil, err
	}
	for _, key := range known {
		if err := s.drop(bLeft, key); err != nil {
			return nil, err
		}
	}
	return members, nil
}

// takeUpChain goes on behind places that are missing here, if the hub is further on: they are asked for. After the hub was restored, what it may have lost is said
// again.
func (m *machine) takeUpChain(s *step, id protocol.GroupID, in *inbound, state *fed.GroupState, anew, comesBack bool) error {
	last, err := s.chain(id)
	if err != nil {
		return err
	}
	switch {
	case comesBack: // what was ordered meanwhile was not for anybody here
		if state.Seq < last.seq && !anew {
			return nil
		}
		return s.putChain(id, chainRow{seq: state.Seq, hash: state.Previous})
	case state.Seq > last.seq:
		if err := m.noteGap(s, in, id, last.seq+1, state.Seq); err != nil {
			return err
		}
		last.jump(state.Seq, state.Previous)
		if err := s.putChain(id, last); err != nil {
			return err
		}
	}
	if !anew {
		return nil
	}
	return m.postAgain(s, id, in.from)
}

// exchangeMembers makes now of the members before, as one change.
func (m *machine) exchangeMembers(s *step, g *protocol.Group, before, now []protocol.UserID) error {
	gone := slices.DeleteFunc(slices.Clone(before), func(u protocol.UserID) bool { _, is := slices.BinarySearch(now, u); return is })
	come := slices.DeleteFunc(slices.Clone(now), func(u protocol.UserID) bool { _, is := slices.BinarySearch(before, u); return is })
	if len(gone)+len(come) == 0 {
		return nil
	}
	h, err := m.head(s.txn, protocol.InGroup(g.ID).Conversation(0))
	if err != nil {
		return err
	}
	for _, u := range gone {
		if err := s.leave(g.ID, u, h.last); err != nil {
			return err
		}
	}
	for _, u := range come {
		if err := s.join(g.ID, u, h.last); err != nil {
			return err
		}
	}
	c := changeRow{Change: protocol.MembersAdd, Changed: come, Gone: gone}
	if len(come) == 0 {
		c = changeRow{Change: protocol.MembersDel, Changed: gone}
	}
	for _, body := range c.events(g.ID, now) {
		s.emit(body)
	}
	return s.noteChange(g.ID, c)
}
