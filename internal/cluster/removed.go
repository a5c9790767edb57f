package cluster

import (
	"maps"
	"slices"
	"sync"

	"teamtalk/internal/peers"
	"teamtalk/protocol"
)

// settled is a membership that was certainly decided, and up to where in the log it is the one that holds: the evidence for a node that
// was removed while it was away. The members that the log tells may be of an entry that is lost again with its leader.
type settled struct {
	mu      sync.Mutex // guards what follows
	members map[protocol.NodeID]Member
	at      protocol.Cursor

	// These belong to the manager's loop.
	last   map[protocol.NodeID]Member // as they were at the last look
	due    protocol.Cursor            // decided once this is applied
	before protocol.Cursor            // what was applied at the last look, so before the members were read
}

// note is one look: the members, and then how far this node was.
func (s *settled) note(members map[protocol.NodeID]Member, at Position) {
	same := func(a, b Member) bool { return a.Address == b.Address && a.Voter == b.Voter }
	if s.last == nil || !maps.EqualFunc(s.last, members, same) {
		s.last, s.due = members, max(at.Last, at.Applied)
	}
	if s.before >= s.due {
		s.mu.Lock()
		s.members, s.at = members, s.before
		s.mu.Unlock()
	}
	s.before = at.Applied
}

// Knows is how far in the log it is certain that a node that is not a member was none; 0: it is not.
func (m *Manager) Knows(id protocol.NodeID) uint64 {
	s := &m.settled
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, member := s.members[id]; member || s.members == nil {
		return 0
	}
	return uint64(s.at)
}

// provenRemoved reports whether nodes refuse this one whose knowledge includes all that this one has: ids do not come back, so what it has not
// read yet can't make it a member again. One such node is enough for a node that has read that it was a member. One that has not might have been let in
// by an entry that both of them lack; most voters do not, for it was decided before the node was told.
func (m *Manager) provenRemoved(members []Member, links []peers.PeerState) bool {
	at, err := m.cfg.Store.Position()
	if err != nil {
		return false
	}
	voters, proofs := 0, 0
	for _, member := range members {
		if !member.Voter || member.ID == m.cfg.Node {
			continue
		}
		voters++
		proves := func(p peers.PeerState) bool {
			return p.Node == member.ID && !p.Up && p.RemovedAt > 0 && p.RemovedAt >= uint64(max(at.Last, at.Applied))
		}
		if slices.ContainsFunc(links, proves) {
			proofs++
		}
	}
	return proofs > 0 && (m.watch.belonged || 2*proofs > voters)
}
