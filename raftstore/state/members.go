package state

import (
	"encoding/binary"
	"slices"
	"sync"

	"teamtalk/protocol"
)

// maxCachedMembers bounds the member cache: 4 bytes each.
const maxCachedMembers = 4 << 20

// roster is a group with its members, ascending. It is never changed, only replaced, so it may be shared.
type roster struct {
	group   protocol.Group
	members []protocol.UserID
}

func (g *roster) has(u protocol.UserID) bool {
	_, found := slices.BinarySearch(g.members, u)
	return found
}

// memberCache keeps rosters. Only the apply goroutine fills it, and finds in it what its transaction holds; a reader, whose
// transaction may be older, believes it only when the version is that of the group's row.
type memberCache struct {
	mu     sync.Mutex // guards all below
	groups map[protocol.GroupID]*roster
	size   int // members in all groups
}

func newMemberCache() *memberCache {
	return &memberCache{groups: make(map[protocol.GroupID]*roster)}
}

func (c *memberCache) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.resetLocked()
}

func (c *memberCache) resetLocked() {
	clear(c.groups)
	c.size = 0
}

func (c *memberCache) find(g protocol.GroupID) *roster {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.groups[g]
}

func (c *memberCache) put(r *roster) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.size > maxCachedMembers {
		c.resetLocked()
	}
	if old := c.groups[r.group.ID]; old != nil {
		c.size -= len(old.members)
	}
	c.groups[r.group.ID] = r
	c.size += len(r.members)
}

// group reads a group, also a closed one.
func (t *txn) group(id protocol.GroupID) (g protocol.Group, err error) {
	key := idKey(id)
	found, err := t.readRow(bGroup, key[:], &g)
	if err == nil && !found {
		err = notFound("no group %d", id)
	}
	return g, err
}

func (t *txn) memberRows(id protocol.GroupID) (members []protocol.UserID, err error) {
	prefix := idKey(id)
	err = t.scan(bMember, prefix[:], prefix[:], func(key, _ []byte) (bool, error) {
		if len(key) != 8 {
			return true, badRow(bMember, key, errRowLength)
		}
		members = append(members, protocol.UserID(binary.BigEndian.Uint32(key[4:])))
		return false, nil
	})
	return members, err
}

// rosterOf reads a group with its members for a query. The slice may be shared.
func (t *txn) rosterOf(c *memberCache, id protocol.GroupID) (*roster, error) {
	g, err := t.group(id)
	if err != nil {
		return nil, err
	}
	if r := c.find(id); r != nil && r.group.Version == g.Version {
		return &roster{g, r.members}, nil
	}
	members, err := t.memberRows(id)
	return &roster{g, members}, err
}

// liveGroup reads a group for a command; a closed one is unknown [TT-GROUP-7].
func (m *machine) liveGroup(t *txn, id protocol.GroupID) (*roster, error) {
	r := m.members.find(id)
	if r == nil {
		g, err := t.group(id)
		if err != nil {
			return nil, err
		}
		members, err := t.memberRows(id)
		if err != nil {
			return nil, err
		}
		r = &roster{g, members}
		m.members.put(r)
	}
	if r.group.Closed {
		return nil, notFound("group %d is closed", id)
	}
	return r, nil
}

// saveGroup stores a changed group and makes the change known to what follows.
func (m *machine) saveGroup(s *step, g protocol.Group, members []protocol.UserID) error {
	m.members.put(&roster{g, members})
	if err := s.showPath(groupShower(g.ID), g.Avatar); err != nil {
		return err
	}
	key := idKey(g.ID)
	return s.putRow(bGroup, key[:], g)
}

// join makes u a member from the next message on [TT-GROUP-5].
func (s *step) join(g protocol.GroupID, u protocol.UserID, last protocol.MsgID) error {
	key, place := memberKey(g, u), s.room(positionLen)
	putPosition(place, s.at)
	if err := s.put(bMember, key[:], place); err != nil {
		return err
	}
	return s.editSession(u, protocol.InGroup(g), func(r *sessionRow) {
		r.stays = append(r.stays, interval{first: last + 1, from: s.at})
		if n := len(r.stays) - maxIntervals; n > 0 {
			r.stays = r.stays[n:]
		}
		r.read = last
	})
}

// leave ends a membership: of the session only the stays remain, for the replay of what the user may still get [TT-GROUP-5].
func (s *step) leave(g protocol.GroupID, u protocol.UserID, last protocol.MsgID) error {
	key := memberKey(g, u)
	if err := s.drop(bMember, key[:]); err != nil {
		return err
	}
	return s.editSession(u, protocol.InGroup(g), func(r *sessionRow) {
		if stay := r.stay(); stay != nil {
			stay.last, stay.to = last, s.at
		}
		*r = sessionRow{stays: r.stays}
	})
}

// longest is the present member who joined first, of those at once the one with the smallest id; someone who has left the
// company only when there is nobody else.
func (m *machine) longest(t *txn, g protocol.GroupID) (protocol.UserID, error) {
	var best, bestLeft protocol.UserID
	var since, sinceLeft protocol.Position
	prefix := idKey(g)
	err := t.scan(bMember, prefix[:], prefix[:], func(key, row []byte) (bool, error) {
		if len(key) != 8 || len(row) != positionLen {
			return true, badRow(bMember, key, errRowLength)
		}
		u, joined := protocol.UserID(binary.BigEndian.Uint32(key[4:])), positionOf(row)
		switch err := m.employed(t, u); {
		case err == nil && (best == 0 || joined.Before(since)):
			best, since = u, joined
		case err == nil:
		case protocol.CodeOf(err) != protocol.CodeNotFound:
			return true, err
		case bestLeft == 0 || joined.Before(sinceLeft):
			bestLeft, sinceLeft = u, joined
		}
		return false, nil
	})
	if best == 0 {
		best = bestLeft
	}
	return best, err
}
