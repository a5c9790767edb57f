package state

import (
	"bytes"
	"slices"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// What a restored cluster leaves free for what it had given out before, and does not know of. How much depends on the epoch, as one backup may be restored twice.
const (
	lostIDs    = 1 << 16 // of users, groups and aliases, and up to so many times as much
	lostTimes  = 32
	placeShift = 20      // places of a group for each millisecond of the epoch
	maxEpoch   = 1 << 43 // so that places stay within 63 bits
)

// beginEpoch numbers what waits anew, from 1: peers have no cursor in the new epoch. What was acknowledged is gone.
func (m *machine) beginEpoch(s *step) error {
	if err := s.leaveRoom(m.abroad.epoch); err != nil {
		return err
	}
	for _, k := range m.lanesInOrder() {
		l := m.abroad.lanes[k]
		next := laneRow{epochIn: l.epochIn, in: l.in}
		for seq := l.swept + 1; seq <= l.sent; seq++ {
			row, err := s.out(k, seq)
			if err != nil {
				return err
			}
			row.event = bytes.Clone(row.event)
			key := outKey(k, seq)
			if err := s.drop(bOut, key[:]); err != nil {
				return err
			}
			if err := m.renumber(s, k, seq, &next, &row); err != nil {
				return err
			}
		}
		if err := m.putLane(s, k, next); err != nil {
			return err
		}
	}
	for _, p := range m.peersInOrder() { // so that every peer sees the new epoch, also if nothing waits for it
		if !m.linked(p) {
			continue
		}
		e := fed.Event{ID: m.eventID(s.at), Time: s.now}
		if _, err := m.putOut(s, laneKey{p, fed.LaneControl}, fed.TypeSkip, protocol.Position{}, e.Encode(fed.TypeSkip, fed.Skip{})); err != nil {
			return err
		}
	}
	return m.takeUpGroups(s)
}

func (m *machine) renumber(s *step, k laneKey, was uint64, l *laneRow, row *outRow) error {
	l.sent++
	l.waiting += uint64(len(row.event))
	b := s.room(row.size())
	row.pack(b)
	key := outKey(k, l.sent)
	if err := s.put(bOut, key[:], b); err != nil {
		return err
	}
	fate, known, err := s.fate(row.message)
	if err != nil || !known {
		return err
	}
	for i := range fate.ways {
		if fate.ways[i] == (way{k, was}) {
			fate.ways[i].seq = l.sent
		}
	}
	return s.putFate(row.message, &fate)
}

// leaveRoom sees to it that no id is given a second time that the lost part of the history has given.
func (s *step) leaveRoom(epoch uint64) error {
	room := lostIDs * (1 + epoch/1000%lostTimes)
	for _, name := range []string{metaUsers, metaGroups, metaAliasUsers, metaAliasGroups} {
		if n := s.number(name); n+2*room < uint64(protocol.MaxLocalID) {
			if err := s.setNumber(name, n+room); err != nil {
				return err
			}
		}
	}
	return nil
}

// takeUpGroups has the chains of this cluster's groups go on behind all places that may have been given before, and says so to their members' clusters.
func (m *machine) takeUpGroups(s *step) error {
	var groups []protocol.GroupID
	err := s.scan(bSince, nil, nil, func(key, _ []byte) (bool, error) {
		if len(key) != 4+clusterLen {
			return true, badRow(bSince, key, errRowLength)
		}
		g, err := idOf[protocol.GroupID](key[:4])
		if len(groups) == 0 || groups[len(groups)-1] != g {
			groups = append(groups, g)
		}
		return err != nil, err
	})
	if err != nil {
		return err
	}
	for _, id := range groups {
		last, err := s.chain(id)
		if err != nil {
			return err
		}
		name := fed.GroupRef{Cluster: m.abroad.self, ID: id}
		next := fed.Link{Group: name, Seq: max(last.seq+1, m.abroad.epoch<<placeShift), Previous: last.hash}
		last.jump(next.Seq, next.Hash())
		if err := s.putChain(id, last); err != nil {
			return err
		}
		g, err := m.liveGroup(s.txn, id)
		if err != nil {
			return err
		}
		if err := m.tellGroup(s, &g.group, g.members, g.members); err != nil {
			return err
		}
	}
	return nil
}

// maxAgain is how many messages back posts are looked for that the hub may have lost.
const maxAgain = 10_000

// postAgain sends the posts of this cluster's users again that a hub, which was restored, may have lost before it ordered them; those that wait behind them, too, so that each
// author's stay in order.
func (m *machine) postAgain(s *step, id protocol.GroupID, hub fed.ClusterID) error {
	conv := protocol.InGroup(id).Conversation(0)
	h, err := m.head(s.txn, conv)
	if err != nil || h.last == 0 {
		return err
	}
	var waiting []protocol.Position
	err = s.descend(conv, h, h.last, func(at protocol.Position, row *messageRow) (bool, error) {
		if s.now-row.time > expiredAfter || uint64(h.last)-uint64(row.id) > maxAgain {
			return true, nil
		}
		if row.from >= protocol.MaxLocalID || row.deleted != 0 {
			return false, nil
		}
		fate, known, err := s.fate(at)
		if known && fate.hubSeq == 0 && fate.origin.IsZero() && (fate.state == fed.StatePending || fate.state == fed.StateDelayed) {
			waiting = append(waiting, at)
		}
		return err != nil, err
	})
	if err != nil {
		return err
	}
	slices.Reverse(waiting)
	k := laneKey{hub, fed.LaneOf(conv)}
	again := false
	for _, at := range waiting {
		fate, _, err := s.fate(at)
		if err != nil {
			return err
		}
		waits, err := m.waits(s, k, at, &fate)
		if err != nil {
			return err
		}
		if again = again || !waits; !again {
			continue
		}
		if err := m.putAgain(s, k, at, &fate); err != nil {
			return err
		}
	}
	return nil
}

// waits reports whether a post is still in the outbox, to be sent.
func (m *machine) waits(s *step, k laneKey, at protocol.Position, fate *fateRow) (bool, error) {
	for _, w := range fate.ways {
		if w.laneKey != k || w.seq <= m.abroad.lanes[k].acked {
			continue
		}
		row, ok, err := s.outOf(w, at)
		if err != nil || ok && row.typ == fed.TypePost {
			return ok, err
		}
	}
	return false, nil
}

// outOf reads what is in a place of the outbox, if that is still of a message.
func (t *txn) outOf(w way, message protocol.Position) (row outRow, ok bool, err error) {
	key := outKey(w.laneKey, w.seq)
	b := t.row(bOut, key[:])
	if b == nil {
		return row, false, nil // swept
	}
	if row, err = unpackOut(b); err != nil {
		return row, false, badRow(bOut, key[:], err)
	}
	return row, row.message == message, nil // else the outbox was numbered anew since
}

// putAgain queues a post anew, behind all that waits; where it waited is nothing any more.
func (m *machine) putAgain(s *step, k laneKey, at protocol.Position, fate *fateRow) error {
	for _, w := range fate.ways {
		old, ok, err := s.outOf(w, at)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		skip := fed.Event{ID: m.eventID(s.at), Time: s.now}
		if err := m.wipeOut(s, w, &old, &skip); err != nil {
			return err
		}
	}
	row, err := s.message(at)
	if err != nil {
		return err
	}
	r := route{lane: k.lane, peers: []fed.ClusterID{k.peer}}
	if r.group, err = m.groupRef(s.txn, protocol.GroupID(row.conv.A)); err != nil {
		return err
	}
	e, body, err := m.messageEvent(s.txn, at, &row, &r)
	if err != nil {
		return err
	}
	w, err := m.putOut(s, k, fed.TypePost, at, e.Encode(fed.TypePost, body))
	if err != nil {
		return err
	}
	fate.ways = []way{w}
	return s.putFate(at, fate)
}
