package state

import (
	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// tellDelete takes a message that was deleted here back from where it went: from the outbox at once, and from others by an event of its own.
func (m *machine) tellDelete(s *step, at protocol.Position, row *messageRow, kind protocol.Deletion, by protocol.UserID, g *roster) error {
	fate, known, err := s.fate(at)
	if err != nil || !known {
		return err
	}
	if err := m.wipe(s, at, &fate); err != nil {
		return err
	}
	if by == 0 || m.abroad.lost {
		return nil // its time had come, as it has at the other cluster, whose reader began it
	}
	r, err := m.routeOf(s.txn, row.conv, by, g, 0)
	if protocol.CodeOf(err) != protocol.CodeUnspecified {
		return nil // there is no link to tell it by: gone here all the same
	}
	if err != nil || !r.abroad() {
		return err
	}
	target := fate.origin
	if target.IsZero() {
		target = m.eventID(at)
	}
	e := fed.Event{ID: m.eventID(s.at), Time: s.now, To: r.to, Group: r.group}
	if e.Author, err = m.userRef(s.txn, by); err != nil {
		return err
	}
	event := e.Encode(fed.TypeDelete, fed.Delete{Target: target, Kind: kind})
	if r.hub {
		return m.order(s, protocol.Position{}, &r, event, nil, fateRow{})
	}
	own := inbound{from: r.peers[0], bytes: event, at: s.at}
	if err := s.keep(&own); err != nil {
		return err
	}
	_, err = m.putOut(s, laneKey{r.peers[0], r.lane}, fed.TypeDelete, protocol.Position{}, event)
	return err
}

// forgetAbroad follows a deletion that another cluster has told: the outbox forgets the content, and a hub passes the deletion on.
func (m *machine) forgetAbroad(s *step, at protocol.Position, row *messageRow, in *inbound) error {
	fate, known, err := s.fate(at)
	if err != nil || !known {
		return err
	}
	if err := m.wipe(s, at, &fate); err != nil {
		return err
	}
	if row.conv.Type != protocol.SessionGroup || row.conv.A >= protocol.MaxLocalID || in.ordered {
		return nil
	}
	g, err := m.liveGroup(s.txn, protocol.GroupID(row.conv.A))
	if err != nil {
		return err
	}
	r := route{lane: fed.LaneOf(row.conv), group: in.event.Group, hub: true}
	if r.peers, err = s.clustersIn(g.group.ID); err != nil {
		return err
	}
	return m.order(s, protocol.Position{}, &r, in.bytes, in.sig, fateRow{})
}

// wipe takes the content of a message out of the outbox and of what a hub keeps for those who missed it. What was not acknowledged yet goes as a Skip.
func (m *machine) wipe(s *step, at protocol.Position, fate *fateRow) error {
	e := fed.Event{ID: m.eventID(at), Time: s.now}
	for _, w := range fate.ways {
		old, ok, err := s.outOf(w, at)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if err := m.wipeOut(s, w, &old, &e); err != nil {
			return err
		}
	}
	fate.ways = nil
	if err := s.putFate(at, fate); err != nil {
		return err
	}
	if err := s.forgetKept(at); err != nil {
		return err
	}
	return m.wipeHub(s, at, fate)
}

// wipeOut replaces an event by one without content. A hub's keeps its place in the chain, by its hash.
func (m *machine) wipeOut(s *step, w way, old *outRow, e *fed.Event) error {
	row := outRow{typ: fed.TypeSkip, time: old.time}
	if old.typ == fed.TypeSkip {
		return nil // there is nothing in it
	}
	if old.typ == fed.TypeHubPost {
		was, err := fed.DecodeEvent(old.event)
		if err != nil {
			return err
		}
		post, err := fed.BodyOf[fed.HubPost](&was)
		if err != nil {
			return err
		}
		post.Inner = fed.SignedEvent{}
		row.typ, row.event = fed.TypeHubPost, was.Encode(fed.TypeHubPost, post)
	} else {
		row.event = e.Encode(fed.TypeSkip, fed.Skip{})
	}
	return m.replaceOut(s, w, old, &row)
}

// replaceOut puts something else into a place of the outbox.
func (m *machine) replaceOut(s *step, w way, old, row *outRow) error {
	b := s.room(row.size())
	row.pack(b)
	key := outKey(w.laneKey, w.seq)
	if err := s.put(bOut, key[:], b); err != nil {
		return err
	}
	l := m.abroad.lanes[w.laneKey]
	if w.seq <= l.acked {
		return nil
	}
	l.waiting = l.waiting - uint64(len(old.event)) + uint64(len(row.event))
	return m.putLane(s, w.laneKey, l)
}

// wipeHub takes the content out of the hub's own copy; hash and place stay.
func (m *machine) wipeHub(s *step, at protocol.Position, fate *fateRow) error {
	if fate.hubSeq == 0 {
		return nil
	}
	row, err := s.message(at)
	if err != nil {
		return err
	}
	key := hubKey(protocol.GroupID(row.conv.A), fate.hubSeq)
	var place hubRow
	found, err := s.readRow(bHub, key[:], &place)
	if err != nil || !found || len(place.Event.Event) == 0 {
		return err
	}
	place.Event = fed.SignedEvent{}
	return s.putRow(bHub, key[:], place)
}

// tellMark tells an author abroad how far somebody here has read: up to the last one of the author's messages.
func (m *machine) tellMark(s *step, reader protocol.UserID, with protocol.Session, conv protocol.Conversation, from, upTo protocol.MsgID) error {
	if with.Type != protocol.SessionSingle || with.Peer() < protocol.MaxLocalID || reader >= protocol.MaxLocalID {
		return nil
	}
	r, err := m.routeOf(s.txn, conv, reader, nil, 0)
	if protocol.CodeOf(err) != protocol.CodeUnspecified {
		return nil // no link, or it is full: a later mark says more
	}
	if err != nil {
		return err
	}
	h, err := m.head(s.txn, conv)
	if err != nil {
		return err
	}
	var target fed.EventID
	err = s.descend(conv, h, upTo, func(at protocol.Position, row *messageRow) (bool, error) {
		if row.id < from {
			return true, nil
		}
		if row.from != with.Peer() {
			return false, nil
		}
		target, err = m.eventOf(s.txn, at)
		return true, err
	})
	if err != nil || target.IsZero() {
		return err
	}
	e := fed.Event{ID: m.eventID(s.at), Time: s.now, Author: fed.UserRef{Cluster: m.abroad.self, ID: reader}, To: r.to}
	_, err = m.putOut(s, laneKey{r.to.Cluster, r.lane}, fed.TypeMark, protocol.Position{}, e.Encode(fed.TypeMark, fed.Mark{UpTo: target}))
	return err
}
