package state

import (
	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

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
	if m.looped(&e) {
		return nil
	}
	inner := inbound{from: e.ID.Cluster, sender: in.sender, peer: in.peer, event: &e, bytes: post.Inner.Event, ordered: true, history: in.history}
	if e.Type == fed.TypeDelete {
		if err := m.receiveDelete(s, &inner); err != nil {
			return err
		}
		in.at = s.at
		return nil
	}
	if e.Type == fed.TypePost {
		err := m.receiveOrderedPost(s, &inner, g, post.Seq)
		in.at, in.data = inner.at, inner.data
		return err
	}
	return invalid("%v is nothing that a hub orders", e.Type)
}

// receiveOrderedPost stores a post in its place; what is here already learns its place.
func (m *machine) receiveOrderedPost(s *step, in *inbound, g *roster, seq uint64) error {
	body, err := m.messageIn(in)
	if err != nil {
		return err
	}
	at, known, err := m.placeOf(s.txn, in.event.ID)
	if err != nil {
		return err
	}
	if known {
		return m.learnPlace(s, in, g, at, seq)
	}
	if !in.fresh(m, s) {
		return nil // nobody here has said that, or it was deleted before it came
	}
	author, err := m.authorOf(s, in)
	if err != nil {
		return err
	}
	return m.storeForeign(s, in, body, author, protocol.InGroup(g.group.ID), g.members, seq)
}

// authorOf is who has said something: somebody abroad, or one of this cluster's, before it was restored.
func (m *machine) authorOf(s *step, in *inbound) (protocol.UserID, error) {
	if in.event.Author.Cluster != m.abroad.self {
		return m.person(s, in, in.event.Author)
	}
	u, err := m.localUser(s.txn, in.event.Author)
	if err == nil && u == 0 {
		err = notFound("no user %d", in.event.Author.ID)
	}
	return u, err
}

// learnPlace notes the place of a message that is here already; its author, if he is of this cluster, is told.
func (m *machine) learnPlace(s *step, in *inbound, g *roster, at protocol.Position, seq uint64) error {
	fate, known, err := s.fate(at)
	if err != nil || !known {
		return err
	}
	row, err := s.message(at)
	if err != nil {
		return err
	}
	if row.conv != protocol.InGroup(g.group.ID).Conversation(0) {
		return forbidden("the hub of group %v passes on what was not said there", in.event.Group)
	}
	if row.deleted == 0 {
		in.at, in.data = at, row.data
	}
	fate.hubSeq = seq
	if row.from >= protocol.MaxLocalID {
		return s.putFate(at, &fate)
	}
	return m.setFate(s, at, &fate, fed.StateSent, "")
}

// receiveHubReject tells the author of a post that its hub will not have it.
func (m *machine) receiveHubReject(s *step, in *inbound) error {
	reject, err := fed.BodyOf[fed.HubReject](in.event)
	if err != nil {
		return err
	}
	if !m.abroad.own(reject.Target) {
		return forbidden("the refused post is not of this cluster")
	}
	fate, known, err := s.fate(reject.Target.Position())
	if err != nil {
		return err
	}
	if !known || fate.hubSeq != 0 || len(fate.ways) == 0 || fate.ways[0].peer != in.from {
		return notFound("no such post went to that hub, or it has its place")
	}
	row, err := s.message(reject.Target.Position())
	if err != nil {
		return err
	}
	alias, err := s.alias(in.event.Group.Cluster, aliasGroup, uint32(in.event.Group.ID))
	if err != nil || row.conv != protocol.InGroup(protocol.GroupID(alias)).Conversation(0) {
		return orForbidden(err, "what is refused was not said in group %v", in.event.Group)
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
	_, err = m.changeAs(s, g, changeRow{Actor: author, Change: protocol.MembersDel, Changed: []protocol.UserID{author}}, 0)
	return err
}

// orForbidden is err, or a refusal if there is none.
func orForbidden(err error, format string, args ...any) error {
	if err != nil {
		return err
	}
	return forbidden(format, args...)
}
