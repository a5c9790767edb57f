package state

import (
	"crypto/sha256"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// receiveHistory has the effect of an event that came because it was asked for: places of a hub's group that were missing, and, after a restore, what went to and fro
// between both clusters, this one's own events among it [FED-GET-1] [FED-EP-1].
func (m *machine) receiveHistory(s *step, c *protocol.ReceiveHistory) (any, error) {
	from := fed.ClusterID(c.Cluster)
	p := m.abroad.peers[from]
	if m.abroad.epoch == 0 || m.abroad.lost || p == nil || p.State != fed.PeerConfirmed {
		return nil, forbidden("there is no link to cluster %v", from)
	}
	if len(c.Event) == 0 {
		return protocol.ReceiveHistoryResult{}, m.askedFor(s, from, c)
	}
	e, err := fed.DecodeEvent(c.Event)
	if err != nil {
		return nil, err
	}
	in := inbound{from: from, sender: from, peer: p, event: &e, bytes: c.Event, history: true}
	if len(c.Sig) == len(fed.Signature{}.Sig) {
		in.sig = &fed.Signature{Key: c.Key, Sig: [64]byte(c.Sig)}
	}
	if m.looped(&e) {
		return protocol.ReceiveHistoryResult{}, nil
	}
	switch e.ID.Cluster {
	case from:
		err = m.peerHistory(s, &in)
	case m.abroad.self:
		err = m.ownHistory(s, &in)
	default:
		err = forbidden("an event of cluster %v came from %v", e.ID.Cluster, from)
	}
	return protocol.ReceiveHistoryResult{Taken: len(s.events) > 0}, err
}

// askedFor notes that a hub has given all it had of what was missing.
func (m *machine) askedFor(s *step, hub fed.ClusterID, c *protocol.ReceiveHistory) error {
	alias, err := s.alias(hub, aliasGroup, uint32(c.Group))
	if err != nil {
		return err
	}
	if alias == 0 {
		return notFound("group %d of cluster %v is not known here", c.Group, hub)
	}
	return s.closeGap(protocol.GroupID(alias), c.Done)
}

// peerHistory takes what the peer, or one of its users, did.
func (m *machine) peerHistory(s *step, in *inbound) error {
	switch in.event.Type {
	case fed.TypeMessage, fed.TypeDelete, fed.TypeHubPost, fed.TypeGroupState, fed.TypeProfile, fed.TypeFileOffer:
	default:
		return invalid("%v is nothing that is asked for", in.event.Type)
	}
	if err := m.mayEmit(in); err != nil {
		return err
	}
	return m.takeIn(s, in)
}

// ownHistory takes what this cluster, or one of its users, did before it was restored. What is of the present history is known, or was never done.
func (m *machine) ownHistory(s *step, in *inbound) error {
	e := in.event
	if m.abroad.own(e.ID) {
		return nil
	}
	in.from = m.abroad.self
	switch {
	case e.Type == fed.TypeHubPost && e.Group.Cluster == m.abroad.self:
		return m.ownPlaceAgain(s, in)
	case e.Author.Cluster != m.abroad.self || e.To.IsZero() || e.To.Cluster == m.abroad.self:
		return forbidden("%v is nothing that this cluster would have said", e.Type)
	case e.Type == fed.TypeMessage:
		return m.ownMessageAgain(s, in)
	case e.Type == fed.TypeFileOffer:
		return m.ownOfferAgain(s, in)
	case e.Type == fed.TypeDelete:
		return m.receiveDelete(s, in)
	}
	return invalid("%v is nothing that is asked for", e.Type)
}

// ownMessageAgain stores what one of this cluster's users said to somebody abroad, who has it.
func (m *machine) ownMessageAgain(s *step, in *inbound) error {
	body, err := m.messageIn(in)
	if err != nil || !in.fresh(m, s) {
		return err
	}
	author, err := m.authorOf(s, in)
	if err != nil {
		return err
	}
	peer, err := m.person(s, in, in.event.To)
	if err != nil {
		return err
	}
	in.state = fed.StateDelivered
	return m.storeForeign(s, in, body, author, protocol.WithUser(peer), nil, 0)
}

// ownPlaceAgain stores what this cluster had put into a place of one of its groups, and passes it on to those who may have missed it.
func (m *machine) ownPlaceAgain(s *step, in *inbound) error {
	post, err := fed.BodyOf[fed.HubPost](in.event)
	if err != nil {
		return err
	}
	g, err := m.liveGroup(s.txn, in.event.Group.ID)
	if err != nil {
		return err
	}
	last, err := s.chain(g.group.ID)
	if err != nil {
		return err
	}
	key := hubKey(g.group.ID, post.Seq)
	switch {
	case s.row(bHub, key[:]) != nil:
		return nil
	case !last.inHole(post.Seq) || len(post.Inner.Event) == 0 || sha256.Sum256(post.Inner.Event) != post.Hash:
		return invalid("place %d of group %d is not one that was lost", post.Seq, g.group.ID)
	}
	if err := m.receiveOrdered(s, in, g, &post); err != nil {
		return err
	}
	if in.at == (protocol.Position{}) {
		post.Inner = fed.SignedEvent{} // it was deleted before it came back
	}
	row := hubRow{Previous: post.Previous, Inner: post.Hash, Event: post.Inner}
	if len(in.data) > 0 {
		row.At = in.at
	}
	if err := s.putRow(bHub, key[:], row); err != nil {
		return err
	}
	return m.passOn(s, g, row.At, &post)
}

// passOn sends a place to all clusters that are in the group.
func (m *machine) passOn(s *step, g *roster, at protocol.Position, post *fed.HubPost) error {
	peers, err := s.clustersIn(g.group.ID)
	if err != nil {
		return err
	}
	for _, p := range peers {
		if m.linked(p) {
			if err := m.sendPlace(s, p, g.group.ID, at, post); err != nil {
				return err
			}
		}
	}
	return nil
}

// sendPlace queues a place for one cluster. The message at a position knows where its content is.
func (m *machine) sendPlace(s *step, to fed.ClusterID, g protocol.GroupID, at protocol.Position, post *fed.HubPost) error {
	e := fed.Event{ID: m.eventID(s.at), Time: s.now, Group: fed.GroupRef{Cluster: m.abroad.self, ID: g}}
	lane := fed.LaneOf(protocol.InGroup(g).Conversation(0))
	w, err := m.putOut(s, laneKey{to, lane}, fed.TypeHubPost, at, e.Encode(fed.TypeHubPost, post))
	if err != nil || at == (protocol.Position{}) {
		return err
	}
	fate, known, err := s.fate(at)
	if err != nil || !known || len(fate.ways) >= maxWays {
		return err
	}
	fate.ways = append(fate.ways, w)
	return s.putFate(at, &fate)
}

// maxWays is how many places in the outbox a message can know: one for each cluster of a group, and room for what is sent again.
const maxWays = 255

// tellPlace answers a post that is here already: its author's cluster has lost its place, or never heard of it.
func (m *machine) tellPlace(s *step, in *inbound) error {
	at, ok, err := m.placeOf(s.txn, in.event.ID)
	if err != nil || !ok {
		return err
	}
	fate, known, err := s.fate(at)
	if err != nil || !known || fate.hubSeq == 0 {
		return err
	}
	g := in.event.Group.ID
	key := hubKey(g, fate.hubSeq)
	var row hubRow
	found, err := s.readRow(bHub, key[:], &row)
	if err != nil || !found {
		return err
	}
	post := fed.HubPost{Seq: fate.hubSeq, Previous: row.Previous, Inner: row.Event, Hash: row.Inner}
	return m.sendPlace(s, in.from, g, at, &post)
}
