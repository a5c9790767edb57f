package state

import (
	"encoding/binary"
	"slices"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// wrapping is what an event has around its message, at most.
const wrapping = 512

// putOut queues an event for a peer. message is whose fate depends on it, zero if nobody's [FED-OUT-1].
func (m *machine) putOut(s *step, k laneKey, typ fed.Type, message protocol.Position, event []byte) (way, error) {
	l := m.abroad.lanes[k]
	before := m.abroad.waiting(k.peer)
	m.quotaAlarm(s, k.peer, before, before+uint64(len(event)))
	l.sent++
	l.waiting += uint64(len(event))
	row := outRow{typ: typ, time: s.now, message: message, event: event}
	b := s.room(row.size())
	row.pack(b)
	key := outKey(k, l.sent)
	if err := s.put(bOut, key[:], b); err != nil {
		return way{}, err
	}
	s.tellQueued(k.peer)
	return way{k, l.sent}, m.putLane(s, k, l)
}

// tellQueued says once that there is something to send to a peer.
func (s *step) tellQueued(peer fed.ClusterID) {
	if !slices.ContainsFunc(s.events, func(e protocol.Event) bool {
		return e.Body == protocol.EventBody(protocol.FederationQueued{Cluster: peer})
	}) {
		s.emit(protocol.FederationQueued{Cluster: peer})
	}
}

func (m *machine) putLane(s *step, k laneKey, l laneRow) error {
	b, key := s.room(laneLen), k.bytes()
	l.pack(b)
	if err := s.put(bLane, key[:], b); err != nil {
		return err
	}
	m.abroad.lanes[k] = l
	return nil
}

// route is where a conversation's events go; the zero one is nowhere.
type route struct {
	lane  fed.Lane
	peers []fed.ClusterID // several for a group of this cluster
	to    fed.UserRef     // one to one
	group fed.GroupRef
	hub   bool // this cluster orders the group
}

func (r *route) abroad() bool { return len(r.peers) > 0 }

// routeOf finds out where a user's message goes, and refuses what can't go there. It writes nothing. g is nil in a one-to-one chat.
func (m *machine) routeOf(t *txn, conv protocol.Conversation, from protocol.UserID, g *roster, size int) (r route, err error) {
	switch {
	case g == nil:
		peer := conv.Seen(from).Peer()
		if peer < protocol.MaxLocalID {
			return r, nil
		}
		if r.to, err = m.userRef(t, peer); err != nil {
			return r, err
		}
		r.peers = []fed.ClusterID{r.to.Cluster}
		err = m.abroad.ready(r.to.Cluster, fed.AllowDirect, size)
	case g.group.ID >= protocol.MaxLocalID:
		if err := t.goesOn(g.group.ID); err != nil {
			return r, err
		}
		if r.group, err = m.groupRef(t, g.group.ID); err != nil {
			return r, err
		}
		r.peers = []fed.ClusterID{r.group.Cluster}
		err = m.abroad.ready(r.group.Cluster, fed.AllowGroups, size)
	default:
		r.group, r.hub = fed.GroupRef{Cluster: m.abroad.self, ID: g.group.ID}, true
		r.peers, err = t.clustersIn(g.group.ID)
		if err == nil && len(r.peers) > 0 && m.abroad.lost {
			err = errRestored
		}
	}
	r.lane = fed.LaneOf(conv)
	return r, err
}

// clustersIn are the other clusters that are in a group of this one.
func (t *txn) clustersIn(g protocol.GroupID) (clusters []fed.ClusterID, err error) {
	prefix := idKey(g)
	err = t.scan(bSince, prefix[:], prefix[:], func(key, _ []byte) (bool, error) {
		if len(key) != 4+clusterLen {
			return true, badRow(bSince, key, errRowLength)
		}
		clusters = append(clusters, fed.ClusterID(key[4:]))
		return false, nil
	})
	return clusters, err
}

// clustersOf are the clusters that some of the users are of, in order of their first one here, without this one.
func (m *machine) clustersOf(t *txn, users []protocol.UserID) (clusters []fed.ClusterID, err error) {
	seen := map[fed.ClusterID]bool{}
	for i := len(users) - 1; i >= 0 && users[i] >= protocol.MaxLocalID; i-- { // ascending: aliases are at the end
		r, err := m.userRef(t, users[i])
		if err != nil {
			return nil, err
		}
		if !seen[r.Cluster] {
			seen[r.Cluster] = true
			clusters = append(clusters, r.Cluster)
		}
	}
	return clusters, nil
}

// tellMessage puts a message that was just stored on its way.
func (m *machine) tellMessage(s *step, row *messageRow, r *route) error {
	for _, p := range r.peers {
		if r.hub && m.abroad.ready(p, fed.AllowGroups, 0) != nil {
			continue
		}
		if err := m.introduce(s, row.from, laneKey{p, r.lane}); err != nil {
			return err
		}
	}
	e, body, err := m.messageEvent(s.txn, s.at, row, r)
	if err != nil {
		return err
	}
	fate := fateRow{state: fed.StatePending}
	switch {
	case r.hub:
		if err := m.order(s, s.at, r, e.Encode(fed.TypePost, body), nil, fate); err != nil {
			return err
		}
		chain, err := s.chain(r.group.ID)
		s.emit(protocol.MessageStateChanged{Conversation: row.conv, ID: row.id, From: row.from, State: uint8(fed.StateSent), HubSeq: chain.seq})
		return err
	case r.group.IsZero():
		err = m.tellTo(s, r, fed.TypeMessage, e.Encode(fed.TypeMessage, body), &fate)
	default:
		err = m.tellTo(s, r, fed.TypePost, e.Encode(fed.TypePost, body), &fate)
	}
	if err != nil {
		return err
	}
	s.tellFate(&fate)
	s.emit(protocol.MessageStateChanged{Conversation: row.conv, ID: row.id, From: row.from, State: uint8(fate.state)})
	return s.putFate(s.at, &fate)
}

// tellTo queues an event that holds the content of the step's message for all peers of a route.
func (m *machine) tellTo(s *step, r *route, typ fed.Type, event []byte, fate *fateRow) error {
	for _, p := range r.peers {
		w, err := m.putOut(s, laneKey{p, r.lane}, typ, s.at, event)
		if err != nil {
			return err
		}
		fate.ways = append(fate.ways, w)
	}
	return nil
}

// messageEvent says what a message at a position says.
func (m *machine) messageEvent(t *txn, at protocol.Position, row *messageRow, r *route) (e fed.Event, body fed.Message, err error) {
	e = fed.Event{ID: m.eventID(at), Time: row.time, To: r.to, Group: r.group}
	if e.Author, err = m.userRef(t, row.from); err != nil {
		return e, body, err
	}
	body = fed.Message{Type: row.typ, Data: row.data, ContentType: row.extras.ContentType, BurnAfter: row.extras.BurnAfter}
	shown, _, err := t.shown(messageShower(at))
	if err != nil {
		return e, body, err
	}
	body.Blobs = shown.Refs
	if row.extras.ReplyTo != 0 {
		body.ReplyTo, err = m.eventAt(t, row.conv, row.extras.ReplyTo)
	}
	return e, body, err
}

// eventAt is what the message with an id is called everywhere.
func (m *machine) eventAt(t *txn, conv protocol.Conversation, id protocol.MsgID) (e fed.EventID, err error) {
	h, err := m.head(t, conv)
	if err != nil {
		return e, err
	}
	err = t.descend(conv, h, id, func(at protocol.Position, _ *messageRow) (bool, error) {
		e, err = m.eventOf(t, at)
		return true, err
	})
	return e, err
}

// introduce tells a peer who somebody is, before the first event by him and whenever that has changed since; on the lane of that event, so that it comes first.
func (m *machine) introduce(s *step, u protocol.UserID, k laneKey) error {
	row, err := s.user(u)
	if err != nil {
		return err
	}
	key := refKey(k.peer, aliasUser, uint32(u))
	epoch := m.abroad.peerEpoch(k.peer)
	if b := s.row(bTold, key[:]); len(b) == 16 && protocol.Time(number(b)) >= row.User.Updated && number(b[8:]) >= epoch {
		return nil
	}
	profile, err := s.profileOf(&row.User)
	if err != nil {
		return err
	}
	e := fed.Event{ID: m.eventID(s.at), Time: s.now, Author: fed.UserRef{Cluster: m.abroad.self, ID: u}}
	if _, err := m.putOut(s, k, fed.TypeProfile, protocol.Position{}, e.Encode(fed.TypeProfile, profile)); err != nil {
		return err
	}
	b := s.room(16)
	binary.BigEndian.PutUint64(b, uint64(row.User.Updated))
	binary.BigEndian.PutUint64(b[8:], epoch)
	return s.put(bTold, key[:], b)
}

func (t *txn) profileOf(u *protocol.User) (p fed.Profile, err error) {
	p = fed.Profile{Login: u.Name, Nick: u.Nick, Avatar: u.Avatar, Gender: u.Gender, Sign: u.Sign, Left: u.Status == protocol.StatusLeft, Updated: u.Updated}
	p.Picture, err = t.pictureOf(avatarShower(u.ID))
	return p, err
}
