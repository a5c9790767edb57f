package state

import (
	"bytes"
	"cmp"
	"maps"
	"math"
	"slices"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// Times of federation, in command time, in milliseconds.
const (
	delayedAfter = 15 * 60 * 1000       // [FED-AGE-1]
	expiredAfter = 7 * 24 * 3600 * 1000 // [FED-AGE-1]
	ackedKeep    = 24 * 3600 * 1000     // [FED-OUT-3]
	sweepStep    = 512                  // rows that one command moves
)

// ackEvents notes what a peer has committed, and tells the authors of messages one to one that they were delivered.
func (m *machine) ackEvents(s *step, c *protocol.AckEvents) error {
	k := laneKey{c.Cluster, fed.Lane(c.Lane)}
	l, known := m.abroad.lanes[k]
	if !known || c.Epoch != m.abroad.epoch || c.Sequence > l.sent {
		return invalid("event %d of lane %d and epoch %d was never sent to %v", c.Sequence, c.Lane, c.Epoch, k.peer)
	}
	refused := make(map[uint64]protocol.Refusal, len(c.Refused))
	for _, r := range c.Refused {
		refused[r.Sequence] = r
	}
	for seq := l.acked + 1; seq <= c.Sequence; seq++ {
		row, err := s.out(k, seq)
		if err != nil {
			return err
		}
		l.waiting -= min(l.waiting, uint64(len(row.event)))
		if err := m.arrived(s, k, seq, &row, refused); err != nil {
			return err
		}
	}
	l.acked = max(l.acked, c.Sequence)
	return m.putLane(s, k, l)
}

func (t *txn) out(k laneKey, seq uint64) (outRow, error) {
	key := outKey(k, seq)
	row, err := unpackOut(t.row(bOut, key[:]))
	if err != nil {
		return row, badRow(bOut, key[:], err)
	}
	return row, nil
}

// arrived is the fate of one event that the peer has dealt with.
func (m *machine) arrived(s *step, k laneKey, seq uint64, row *outRow, refused map[uint64]protocol.Refusal) error {
	why, bad := refused[seq]
	if bad {
		dead := deadRow{Type: row.typ, Lane: k.lane, Sequence: seq, Code: why.Code, Text: why.Text, Time: s.now}
		if e, err := fed.DecodeEvent(row.event); err == nil {
			dead.ID = e.ID
		}
		if err := s.putDead(k.peer, dead); err != nil {
			return err
		}
		if row.typ == fed.TypeGroupState && why.Code == protocol.CodeRateLimited {
			if err := s.addTask(taskRetell, k.peer, taskRow{Due: s.now + anHour}); err != nil {
				return err
			}
		}
	}
	if row.typ != fed.TypeMessage && !(bad && row.typ == fed.TypePost) {
		return nil // what becomes of a post the hub says
	}
	if bad {
		return m.fateOf(s, row.message, fed.StateUndeliverable, why.Text)
	}
	return m.fateOf(s, row.message, fed.StateDelivered, "")
}

// fateOf changes what is known of a message, if anything is: what was delivered, or has its place, stays so, though it may be sent again.
func (m *machine) fateOf(s *step, at protocol.Position, state fed.MessageState, reason string) error {
	fate, known, err := s.fate(at)
	if err != nil || !known || fate.hubSeq != 0 || fate.state == state || fate.state == fed.StateDelivered || fate.state == fed.StateSent {
		return err
	}
	return m.setFate(s, at, &fate, state, reason)
}

// sweepFederation does what is due, some of it: there may be a million events of an outage.
func (m *machine) sweepFederation(s *step) (any, error) {
	if err := m.stamp(s); err != nil {
		return nil, err
	}
	left, next := sweepStep, protocol.Time(math.MaxInt64)
	for _, k := range m.lanesInOrder() {
		for _, sweep := range []func(*step, laneKey, *int) (protocol.Time, error){m.sweepAcked, m.sweepLate, m.sweepExpired} {
			due, err := sweep(s, k, &left)
			if err != nil {
				return nil, err
			}
			next = min(next, due)
		}
	}
	due, err := m.workOnTasks(s, &left)
	if err != nil {
		return nil, err
	}
	next = min(next, due)
	switch {
	case left <= 0:
		next = s.now
	case next == math.MaxInt64:
		next = 0
	}
	return protocol.SweepResult{Next: next}, nil
}

// advance moves a mark of a lane from after to upTo over the rows that are old enough, doing something with each; it returns when the next one is due.
func (m *machine) advance(s *step, k laneKey, left *int, after, upTo uint64, age protocol.Time, do func(seq uint64, row *outRow) error) (mark uint64, due protocol.Time, err error) {
	for mark = after; mark < upTo; mark++ {
		if *left <= 0 {
			return mark, s.now, nil
		}
		row, err := s.out(k, mark+1)
		if err != nil {
			return mark, 0, err
		}
		if s.now-row.time < age {
			return mark, row.time + age, nil
		}
		if err := do(mark+1, &row); err != nil {
			return mark, 0, err
		}
		*left--
	}
	return mark, math.MaxInt64, nil
}

// sweepAcked drops what was kept long enough after it was acknowledged.
func (m *machine) sweepAcked(s *step, k laneKey, left *int) (protocol.Time, error) {
	l := m.abroad.lanes[k]
	mark, due, err := m.advance(s, k, left, l.swept, l.acked, ackedKeep, func(seq uint64, _ *outRow) error {
		key := outKey(k, seq)
		return s.drop(bOut, key[:])
	})
	if err != nil || mark == l.swept {
		return due, err
	}
	l.swept = mark
	return due, m.putLane(s, k, l)
}

// sweepLate tells authors that it takes long.
func (m *machine) sweepLate(s *step, k laneKey, left *int) (protocol.Time, error) {
	l := m.abroad.lanes[k]
	mark, due, err := m.advance(s, k, left, max(l.late, l.acked), l.sent, delayedAfter, func(_ uint64, row *outRow) error {
		if row.typ != fed.TypeMessage && row.typ != fed.TypePost {
			return nil
		}
		return m.fateOf(s, row.message, fed.StateDelayed, "the other office has not been reached for a while; it is tried again and again")
	})
	if err != nil || mark == l.late {
		return due, err
	}
	l.late = mark
	return due, m.putLane(s, k, l)
}

// sweepExpired gives up what could not be delivered for too long: a Skip takes its place. What has to be known sooner or later stays: deletions, members, profiles. So
// does a place of a group, at the hub, of whom the receiver asks for it.
func (m *machine) sweepExpired(s *step, k laneKey, left *int) (protocol.Time, error) {
	l := m.abroad.lanes[k]
	mark, due, err := m.advance(s, k, left, max(l.expired, l.acked), l.sent, expiredAfter, func(seq uint64, row *outRow) error {
		e := fed.Event{ID: m.eventID(s.at), Time: s.now}
		skip := fed.Skip{}
		switch row.typ {
		case fed.TypeMessage, fed.TypePost:
			if err := m.fateOf(s, row.message, fed.StateUndeliverable, "the other office could not be reached for 7 days"); err != nil {
				return err
			}
		case fed.TypeHubPost:
			was, err := fed.DecodeEvent(row.event)
			if err != nil {
				return err
			}
			post, err := fed.BodyOf[fed.HubPost](&was)
			if err != nil {
				return err
			}
			e.Group, skip.Place = was.Group, post.Seq
		case fed.TypeMark, fed.TypeHubReject, fed.TypeFileOffer:
		default:
			return nil
		}
		return m.replaceOut(s, way{k, seq}, row, &outRow{typ: fed.TypeSkip, time: row.time, event: e.Encode(fed.TypeSkip, skip)})
	})
	if err != nil || mark == l.expired {
		return due, err
	}
	l = m.abroad.lanes[k] // replacing has changed it
	l.expired = mark
	return due, m.putLane(s, k, l)
}

// lanesInOrder are all lanes, in an order that is the same on every node.
func (m *machine) lanesInOrder() []laneKey {
	return slices.SortedFunc(maps.Keys(m.abroad.lanes), func(a, b laneKey) int {
		return cmp.Or(bytes.Compare(a.peer[:], b.peer[:]), cmp.Compare(a.lane, b.lane))
	})
}

// peersInOrder are all peers, in an order that is the same on every node.
func (m *machine) peersInOrder() []fed.ClusterID {
	return slices.SortedFunc(maps.Keys(m.abroad.peers), func(a, b fed.ClusterID) int { return bytes.Compare(a[:], b[:]) })
}
