package state

import (
	"bytes"
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
	last.seq, last.hash = link.Seq, link.Hash()
	if err := s.putChain(g, last); err != nil {
		return err
	}
	key := hubKey(g, link.Seq)
	if err := s.putRow(bHub, key[:], hubRow{At: at, Previous: link.Previous, Inner: link.Inner, Event: inner}); err != nil {
		return err
	}
	e := fed.Event{ID: m.eventID(s.at), Time: s.now, Group: r.group}
	b := e.Encode(fed.TypeHubPost, fed.HubPost{Seq: link.Seq, Previous: link.Previous, Inner: inner, Hash: link.Inner})
	for _, p := range r.peers {
		why := m.abroad.ready(p, fed.AllowGroups, len(b))
		if why != nil {
			if err := m.announce(s, p, r, link.Seq, protocol.CodeOf(why)); err != nil {
				return err
			}
			continue
		}
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
	s.tellFate(&fate)
	return s.putFate(at, &fate)
}

// announce tells a cluster of a place that it will have to ask for, as too much is waiting for it already: the others of the group need not suffer for that [FED-OUT-3]. If even
// that is too much, it is told how far the group is once there is room. To one that may not have it nothing is said.
func (m *machine) announce(s *step, to fed.ClusterID, r *route, seq uint64, why protocol.Code) error {
	p := m.abroad.peers[to]
	if why != protocol.CodeQuota {
		return nil
	}
	if m.abroad.waiting(to) > p.Limit()+p.Limit()/4 {
		if s.row(bTask, taskKey(taskRetell, to)) != nil {
			return nil
		}
		return s.addTask(taskRetell, to, taskRow{Due: s.now + roomAgain})
	}
	e := fed.Event{ID: m.eventID(s.at), Time: s.now, Group: r.group}
	_, err := m.putOut(s, laneKey{to, r.lane}, fed.TypeSkip, protocol.Position{}, e.Encode(fed.TypeSkip, fed.Skip{Place: seq}))
	return err
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

// noteClusters remembers since which place the clusters of the members are in a group: what came before is not for them [FED-GET-1] [FED-HUB-2].
func (m *machine) noteClusters(s *step, g protocol.GroupID, before, now []fed.ClusterID) error {
	chain, err := s.chain(g)
	if err != nil {
		return err
	}
	for _, c := range now {
		if key := sinceKey(g, c); !slices.Contains(before, c) {
			if err := s.putNumber(bSince, key[:], chain.seq); err != nil {
				return err
			}
		}
	}
	for _, c := range before {
		if key := sinceKey(g, c); !slices.Contains(now, c) {
			if err := s.drop(bSince, key[:]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *machine) linked(c fed.ClusterID) bool {
	p := m.abroad.peers[c]
	return m.abroad.epoch != 0 && p != nil && p.Linked()
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
		e := fed.Event{ID: m.eventID(s.at), Time: s.now, Author: fed.UserRef{Cluster: m.abroad.self, ID: u}, Group: name}
		key := memberKey(g, u)
		if err := s.put(bLeft, bytes.Clone(key[:]), nil); err != nil {
			return err
		}
		if _, err := m.putOut(s, laneKey{name.Cluster, lane}, fed.TypeLeave, protocol.Position{}, e.Encode(fed.TypeLeave, fed.Leave{})); err != nil {
			return err
		}
	}
	return nil
}
