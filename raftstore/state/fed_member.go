package state

import (
	"crypto/sha256"
	"slices"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// receiveHubPost takes what a hub has put into its place: somebody's post, or a deletion. One's own post is there already and learns its place.
func (m *machine) receiveHubPost(s *step, in *inbound) error {
	post, err := fed.BodyOf[fed.HubPost](in.event)
	if err != nil {
		return err
	}
	g, err := m.groupAbroad(s, in.event.Group)
	if err != nil {
		return err
	}
	last, err := s.chain(g.group.ID)
	if err != nil {
		return err
	}
	if post.Seq <= last.seq {
		return m.checkFork(s, g, in.event.Group, &post)
	}
	if post.Seq != last.seq+1 || post.Previous != last.hash {
		return invalid("place %d of group %v does not follow %d, the last one here", post.Seq, in.event.Group, last.seq)
	}
	if len(post.Inner.Event) > 0 && sha256.Sum256(post.Inner.Event) != post.Hash {
		return invalid("place %d of group %v has another event than its hash says", post.Seq, in.event.Group)
	}
	if err := m.receiveOrdered(s, in, g, &post); err != nil {
		return err
	}
	link := fed.Link{Group: in.event.Group, Seq: post.Seq, Previous: post.Previous, Inner: post.Hash}
	if err := s.putChain(g.group.ID, chainRow{post.Seq, link.Hash()}); err != nil {
		return err
	}
	key := hubKey(g.group.ID, post.Seq)
	return s.putRow(bHub, key[:], hubRow{At: s.at, Previous: post.Previous, Inner: post.Hash})
}

// checkFork compares a place that comes again with what was there: another event in it is a hub that tells different things to different clusters.
func (m *machine) checkFork(s *step, g *roster, name fed.GroupRef, post *fed.HubPost) error {
	key := hubKey(g.group.ID, post.Seq)
	var row hubRow
	found, err := s.readRow(bHub, key[:], &row)
	if err != nil {
		return err
	}
	if found && (row.Inner != post.Hash || row.Previous != post.Previous) {
		return forbidden("the hub of group %v has two events in place %d: it can't be trusted with this group any more", name, post.Seq)
	}
	return nil
}

// groupAbroad finds a group whose hub is elsewhere.
func (m *machine) groupAbroad(s *step, name fed.GroupRef) (*roster, error) {
	alias, err := s.alias(name.Cluster, aliasGroup, uint32(name.ID))
	if err != nil {
		return nil, err
	}
	if alias == 0 {
		return nil, notFound("group %v is not known here: it has told nobody that it is", name)
	}
	return m.liveGroup(s.txn, protocol.GroupID(alias))
}

// receiveOrdered has the effect of what stands in a place of a group's chain.
func (m *machine) receiveOrdered(s *step, in *inbound, g *roster, post *fed.HubPost) error {
	if len(post.Inner.Event) == 0 {
		return nil // its content was deleted before it came here
	}
	e, err := fed.DecodeEvent(post.Inner.Event)
	if err != nil {
		return err
	}
	if e.Group != in.event.Group || e.Author.Cluster != e.ID.Cluster {
		return forbidden("the hub passes on what its origin did not say")
	}
	inner := inbound{from: e.ID.Cluster, peer: in.peer, event: &e, bytes: post.Inner.Event, ordered: true}
	switch {
	case e.Type == fed.TypeDelete:
		return m.receiveDelete(s, &inner)
	case e.Type != fed.TypePost:
		return invalid("%v is nothing that a hub orders", e.Type)
	case e.ID.Cluster == m.abroad.self:
		return m.ownPlace(s, &e, post.Seq)
	}
	body, err := m.messageIn(&inner)
	if err != nil || !inner.fresh(m, s) {
		return err
	}
	author, err := m.person(s, e.Author)
	if err != nil {
		return err
	}
	return m.storeForeign(s, &inner, body, author, protocol.InGroup(g.group.ID), g.members, post.Seq)
}

// ownPlace tells the author of a post that it has its place.
func (m *machine) ownPlace(s *step, e *fed.Event, seq uint64) error {
	at := e.ID.Position()
	fate, known, err := s.fate(at)
	if err != nil || !known {
		return err
	}
	fate.hubSeq = seq
	return m.setFate(s, at, &fate, fed.StateSent, "")
}

// setFate changes the state of a message and tells its author's sessions.
func (m *machine) setFate(s *step, at protocol.Position, fate *fateRow, state fed.MessageState, reason string) error {
	fate.state = state
	row, err := s.message(at)
	if err != nil {
		return err
	}
	s.emit(protocol.MessageStateChanged{Conversation: row.conv, ID: row.id, From: row.from, State: uint8(state), HubSeq: fate.hubSeq, Reason: reason})
	return s.putFate(at, fate)
}

// receiveHubReject tells the author of a post that its hub will not have it.
func (m *machine) receiveHubReject(s *step, in *inbound) error {
	reject, err := fed.BodyOf[fed.HubReject](in.event)
	if err != nil {
		return err
	}
	if reject.Target.Cluster != m.abroad.self {
		return forbidden("the refused post is not of this cluster")
	}
	fate, known, err := s.fate(reject.Target.Position())
	if err != nil {
		return err
	}
	if !known || fate.hubSeq != 0 || len(fate.ways) == 0 || fate.ways[0].peer != in.from {
		return notFound("no such post went to that hub, or it has its place")
	}
	return m.setFate(s, reject.Target.Position(), &fate, fed.StateUndeliverable, reject.Text)
}

// receiveLeave takes somebody abroad out of a group of this cluster's.
func (m *machine) receiveLeave(s *step, in *inbound) error {
	g, author, err := m.memberAbroad(s, in)
	if protocol.CodeOf(err) == protocol.CodeForbidden || protocol.CodeOf(err) == protocol.CodeNotFound {
		return nil // he is out already
	}
	if err != nil {
		return err
	}
	_, err = m.changeAs(s, g, changeRow{author, protocol.MembersDel, []protocol.UserID{author}}, 0)
	return err
}

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
	if err := m.meet(s, state.Manifests); err != nil {
		return err
	}
	members, err := m.membersOf(s, in, &state)
	if err != nil {
		return err
	}
	hasLocal := slices.ContainsFunc(members, func(u protocol.UserID) bool { return u < protocol.MaxLocalID })
	if alias == 0 {
		if state.Closed || !hasLocal {
			return nil
		}
		return m.foundGroupAbroad(s, in, &state, members)
	}
	return m.moveGroupAbroad(s, protocol.GroupID(alias), in, &state, members, hasLocal)
}

func checkGroupState(g *fed.GroupState) error {
	switch {
	case len(g.Members) > protocol.MaxGroupMembers:
		return tooLarge("a group has at most %d members", protocol.MaxGroupMembers)
	case len(g.Profiles) != 0 && len(g.Profiles) != len(g.Members):
		return invalid("the group has %d members and %d profiles", len(g.Members), len(g.Profiles))
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
			u, err = m.personWith(s, ref, &g.Profiles[i], ref.Cluster == in.from)
		default:
			u, err = m.person(s, ref)
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
	if err := s.noteChange(g.ID, changeRow{g.Creator, groupMade, members}); err != nil {
		return err
	}
	if err := s.putChain(g.ID, chainRow{state.Seq, state.Previous}); err != nil {
		return err
	}
	s.emit(protocol.GroupCreated{Actor: g.Creator, Group: g.ID, Members: members})
	if err := s.putNumber(bHubVersion, groupBytes(g.ID), uint64(state.Version)); err != nil {
		return err
	}
	return m.saveGroup(s, g, members)
}

func groupBytes(g protocol.GroupID) []byte {
	key := idKey(g)
	return key[:]
}

// moveGroupAbroad brings the members and the profile of a group abroad to what its hub says. Once nobody here is in it, it is closed here until somebody is again.
func (m *machine) moveGroupAbroad(s *step, id protocol.GroupID, in *inbound, state *fed.GroupState, members []protocol.UserID, hasLocal bool) error {
	if b := s.row(bHubVersion, groupBytes(id)); len(b) == 8 && uint64(state.Version) <= number(b) {
		return nil // an older one that was on its way
	}
	g, err := s.group(id)
	if err != nil {
		return err
	}
	before, err := s.memberRows(id)
	if err != nil {
		return err
	}
	if state.Closed || !hasLocal {
		members = nil
	}
	g.Name, g.Avatar, g.Type = state.Name, state.Avatar, state.Kind
	if g.Creator, err = m.localUser(s.txn, state.Creator); err != nil {
		return err
	}
	g.Version++
	g.Updated, g.Closed = s.now, false
	if len(before) == 0 && len(members) > 0 { // it comes back: what was ordered meanwhile was not for anybody here
		if err := s.putChain(id, chainRow{state.Seq, state.Previous}); err != nil {
			return err
		}
	}
	gone := slices.DeleteFunc(slices.Clone(before), func(u protocol.UserID) bool { return slices.Contains(members, u) })
	come := slices.DeleteFunc(slices.Clone(members), func(u protocol.UserID) bool { return slices.Contains(before, u) })
	now := before
	for _, c := range []changeRow{{0, protocol.MembersDel, gone}, {0, protocol.MembersAdd, come}} {
		if len(c.Changed) == 0 {
			continue
		}
		creator := g.Creator
		if now, err = m.moveMembers(s, &g, now, c, 0); err != nil {
			return err
		}
		g.Creator = creator // the hub decides
	}
	s.emit(protocol.GroupEdited{Group: id})
	if err := s.putNumber(bHubVersion, groupBytes(id), uint64(state.Version)); err != nil {
		return err
	}
	return m.saveGroup(s, g, now)
}
