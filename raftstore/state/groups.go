package state

import (
	"slices"

	"teamtalk/protocol"
)

// changeRow is a change of a group's members. The members at that moment are not in it: they follow from those of now by
// undoing the later changes.
type changeRow struct {
	Actor   protocol.UserID       `cbor:"1,keyasint"`
	Change  protocol.MemberChange `cbor:"2,keyasint"` // 0: the group was made
	Changed []protocol.UserID     `cbor:"3,keyasint"` // ascending
	// Gone left in the same moment as those who were added came: a group abroad, of which only the outcome is known.
	Gone []protocol.UserID `cbor:"4,keyasint,omitempty"`
}

const groupMade protocol.MemberChange = 0

func (s *step) noteChange(g protocol.GroupID, row changeRow) error {
	key := placeKey(uint32(g), s.at)
	return s.putRow(bChange, key[:], row)
}

// createGroup makes a group of those listed who exist; users make temporary groups only [TT-GROUP-3].
func (m *machine) createGroup(s *step, c *protocol.CreateGroup) (any, error) {
	if err := protocol.CheckName("group name", c.Name, protocol.MaxGroupName); err != nil {
		return nil, err
	}
	if err := protocol.CheckLine("avatar", c.Avatar, protocol.MaxAvatar); err != nil {
		return nil, err
	}
	if c.Type != protocol.GroupNormal && c.Type != protocol.GroupTemp {
		return nil, invalid("group type %d is not known", c.Type)
	}
	if c.Actor != 0 {
		if c.Type != protocol.GroupTemp {
			return nil, forbidden("users make temporary groups only")
		}
		if err := m.employed(s.txn, c.Actor); err != nil {
			return nil, err
		}
	}
	members, err := m.present(s.txn, c.Members)
	if err != nil {
		return nil, err
	}
	if len(members) == 0 {
		return nil, invalid("a group needs a member")
	}
	if len(members) > protocol.MaxGroupMembers {
		return nil, tooLarge("a group has at most %d members", protocol.MaxGroupMembers)
	}
	if err := m.checkClusters(s.txn, members); err != nil {
		return nil, err
	}
	id, err := s.nextID(metaGroups)
	if err != nil {
		return nil, err
	}
	if err := m.stamp(s); err != nil {
		return nil, err
	}
	g := protocol.Group{ID: protocol.GroupID(id), Name: c.Name, Avatar: c.Avatar, Creator: c.Actor, Type: c.Type, Version: 1, Created: s.now, Updated: s.now}
	for _, u := range members {
		if err := s.join(g.ID, u, 0); err != nil {
			return nil, err
		}
	}
	if err := s.noteChange(g.ID, changeRow{Actor: c.Actor, Change: groupMade, Changed: members}); err != nil {
		return nil, err
	}
	s.emit(protocol.GroupCreated{Actor: c.Actor, Group: g.ID, Members: members})
	if err := m.saveGroup(s, g, members); err != nil {
		return nil, err
	}
	return protocol.CreateGroupResult{Group: g.ID, Members: members}, m.tellGroup(s, &g, nil, members)
}

// present returns those of ids who exist and have not left, ascending, each once.
func (m *machine) present(t *txn, ids []protocol.UserID) ([]protocol.UserID, error) {
	found := make([]protocol.UserID, 0, len(ids))
	for _, u := range ids {
		switch err := m.employed(t, u); {
		case err == nil:
			found = append(found, u)
		case protocol.CodeOf(err) != protocol.CodeNotFound:
			return nil, err
		}
	}
	slices.Sort(found)
	return slices.Compact(found), nil
}

// changeMembers obeys [TT-GROUP-4] and [TT-GROUP-5].
func (m *machine) changeMembers(s *step, c *protocol.ChangeMembers) (any, error) {
	r, err := m.liveGroup(s.txn, c.Group)
	if err != nil {
		return nil, err
	}
	if c.Change != protocol.MembersAdd && c.Change != protocol.MembersDel {
		return nil, invalid("member change %d is not known", c.Change)
	}
	if err := m.mayChange(s.txn, r, c); err != nil {
		return nil, err
	}
	if r.group.ID >= protocol.MaxLocalID && (c.Actor == 0 || len(c.Members) != 1 || c.Members[0] != c.Actor) {
		return nil, forbidden("the members of group %d are for another office to change", c.Group)
	}
	changed, err := m.affected(s.txn, r, c)
	if err != nil {
		return nil, err
	}
	if len(changed) == 0 {
		return nil, invalid("nobody would be changed")
	}
	if c.Change == protocol.MembersAdd && len(r.members)+len(changed) > protocol.MaxGroupMembers {
		return nil, tooLarge("a group has at most %d members", protocol.MaxGroupMembers)
	}
	if c.Change == protocol.MembersAdd {
		if err := m.checkClusters(s.txn, applyChange(r.members, c.Change, changed)); err != nil {
			return nil, err
		}
	}
	members, err := m.changeAs(s, r, changeRow{Actor: c.Actor, Change: c.Change, Changed: changed}, c.Origin)
	return protocol.ChangeMembersResult{Current: members, Changed: changed}, err
}

// changeAs changes the members of a group, and tells the other clusters that have some.
func (m *machine) changeAs(s *step, r *roster, c changeRow, origin protocol.ConnID) ([]protocol.UserID, error) {
	g := r.group
	g.Version++
	members, err := m.moveMembers(s, &g, r.members, c, origin)
	if err != nil {
		return nil, err
	}
	if err := m.saveGroup(s, g, members); err != nil {
		return nil, err
	}
	if g.ID >= protocol.MaxLocalID {
		return members, m.tellLeave(s, g.ID, c)
	}
	return members, m.tellGroup(s, &g, r.members, members)
}

// mayChange: members may add to temporary groups, everybody may leave, all else is for the creator and the operator.
func (m *machine) mayChange(t *txn, r *roster, c *protocol.ChangeMembers) error {
	if c.Actor == 0 {
		return nil
	}
	if err := m.employed(t, c.Actor); err != nil {
		return err
	}
	adds := c.Change == protocol.MembersAdd
	switch {
	case c.Actor == r.group.Creator:
		return nil
	case adds && r.group.Type == protocol.GroupTemp && r.has(c.Actor):
		return nil
	case !adds && len(c.Members) == 1 && c.Members[0] == c.Actor && r.has(c.Actor):
		return nil
	}
	return forbidden("user %d may not change the members of group %d so", c.Actor, c.Group)
}

// affected returns those of the users named whom the change really concerns, ascending.
func (m *machine) affected(t *txn, r *roster, c *protocol.ChangeMembers) ([]protocol.UserID, error) {
	if c.Change == protocol.MembersAdd {
		users, err := m.present(t, c.Members)
		return slices.DeleteFunc(users, r.has), err
	}
	users := slices.Clone(c.Members)
	slices.Sort(users)
	return slices.DeleteFunc(slices.Compact(users), func(u protocol.UserID) bool { return !r.has(u) }), nil
}

// moveMembers carries out a change of members and returns them; g is for the caller to save. When the creator is among
// those who go, the longest member succeeds; a group that is empty closes [TT-GROUP-7].
func (m *machine) moveMembers(s *step, g *protocol.Group, members []protocol.UserID, c changeRow, origin protocol.ConnID) ([]protocol.UserID, error) {
	h, err := m.head(s.txn, protocol.InGroup(g.ID).Conversation(0))
	if err != nil {
		return nil, err
	}
	if err := m.stamp(s); err != nil {
		return nil, err
	}
	move := s.join
	if c.Change == protocol.MembersDel {
		move = s.leave
	}
	for _, u := range c.Changed {
		if err := move(g.ID, u, h.last); err != nil {
			return nil, err
		}
	}
	g.Updated = s.now
	if err := s.noteChange(g.ID, c); err != nil {
		return nil, err
	}
	now := applyChange(members, c.Change, c.Changed)
	s.emit(protocol.MembersChanged{Actor: c.Actor, Group: g.ID, Change: c.Change, Current: now, Changed: c.Changed, Origin: origin})
	if c.Change != protocol.MembersDel {
		return now, nil
	}
	g.Closed = len(now) == 0
	if !slices.Contains(c.Changed, g.Creator) {
		return now, nil
	}
	if g.Creator, err = m.longest(s.txn, g.ID); err == nil && !g.Closed {
		s.emit(protocol.GroupEdited{Group: g.ID})
	}
	return now, err
}

// applyChange returns members after a change, in a new slice; both lists are ascending.
func applyChange(members []protocol.UserID, change protocol.MemberChange, changed []protocol.UserID) []protocol.UserID {
	now := make([]protocol.UserID, 0, len(members)+len(changed))
	if change == protocol.MembersDel {
		for _, u := range members {
			if _, gone := slices.BinarySearch(changed, u); !gone {
				now = append(now, u)
			}
		}
		return now
	}
	now = append(append(now, members...), changed...)
	slices.Sort(now)
	return now
}

// editGroup is the operator's. Closing removes all members.
func (m *machine) editGroup(s *step, c *protocol.EditGroup) error {
	r, err := m.liveGroup(s.txn, c.Group)
	if err != nil {
		return err
	}
	if c.Group >= protocol.MaxLocalID {
		return forbidden("group %d is for another office to edit", c.Group)
	}
	g, members := r.group, r.members
	replace(&g.Name, c.Name)
	replace(&g.Avatar, c.Avatar)
	replace(&g.Creator, c.Creator)
	if err := protocol.CheckName("group name", g.Name, protocol.MaxGroupName); err != nil {
		return err
	}
	if err := protocol.CheckLine("avatar", g.Avatar, protocol.MaxAvatar); err != nil {
		return err
	}
	if g.Creator != r.group.Creator && g.Creator != 0 && !r.has(g.Creator) {
		return invalid("user %d is no member of group %d", g.Creator, g.ID)
	}
	edited := g != r.group
	if !edited && !c.Close {
		return nil
	}
	if err := m.stamp(s); err != nil {
		return err
	}
	g.Version++
	g.Updated = s.now
	if edited {
		s.emit(protocol.GroupEdited{Group: g.ID})
	}
	if c.Close {
		if members, err = m.moveMembers(s, &g, members, changeRow{Change: protocol.MembersDel, Changed: members}, 0); err != nil {
			return err
		}
	}
	if err := m.saveGroup(s, g, members); err != nil {
		return err
	}
	return m.tellGroup(s, &g, r.members, members)
}

// shieldGroup is for members only [TT-GROUP-8].
func (m *machine) shieldGroup(s *step, c *protocol.ShieldGroup) error {
	r, err := m.liveGroup(s.txn, c.Group)
	if err != nil {
		return err
	}
	if !r.has(c.User) {
		return forbidden("user %d is no member of group %d", c.User, c.Group)
	}
	return s.editSession(c.User, protocol.InGroup(c.Group), func(row *sessionRow) { row.shielded = c.On })
}

// GroupByID reads one group, also a closed one: it has no members.
func (q *Queries) GroupByID(id protocol.GroupID) (g protocol.Group, err error) {
	err = q.view(func(r *txn) error {
		g, err = r.group(id)
		return err
	})
	return g, err
}

// Members lists a group's members, ascending. The slice is shared: do not modify it.
func (q *Queries) Members(id protocol.GroupID) (members []protocol.UserID, err error) {
	err = q.view(func(r *txn) error {
		g, err := r.rosterOf(q.members, id)
		if err == nil {
			members = g.members
		}
		return err
	})
	return members, err
}

// IsMember tells whether a user is in a group.
func (q *Queries) IsMember(g protocol.GroupID, u protocol.UserID) (is bool, err error) {
	err = q.view(func(r *txn) error {
		key := memberKey(g, u)
		is = r.row(bMember, key[:]) != nil
		return nil
	})
	return is, err
}

// GroupsOf lists the groups a user is in, by id [TT-GROUP-1].
func (q *Queries) GroupsOf(u protocol.UserID) (groups []protocol.Group, err error) {
	err = q.view(func(r *txn) error {
		return r.eachSession(u, func(s protocol.Session, row *sessionRow) error {
			if row.stay() == nil {
				return nil
			}
			g, err := r.group(s.Group())
			groups = append(groups, g)
			return err
		})
	})
	return groups, err
}

// ListGroups lists at most limit groups with ids above after, ascending, closed ones too.
func (q *Queries) ListGroups(after protocol.GroupID, limit int) (groups []protocol.Group, err error) {
	if limit <= 0 || after == ^protocol.GroupID(0) {
		return nil, nil
	}
	err = q.view(func(r *txn) error {
		from := idKey(after + 1)
		return r.scan(bGroup, nil, from[:], func(key, row []byte) (bool, error) {
			var g protocol.Group
			if err := decodeRow(row, &g); err != nil {
				return true, badRow(bGroup, key, err)
			}
			groups = append(groups, g)
			return len(groups) == limit, nil
		})
	})
	return groups, err
}

// Shielded tells whether a member wants no pushes from a group [TT-GROUP-8].
func (q *Queries) Shielded(g protocol.GroupID, u protocol.UserID) (shielded bool, err error) {
	err = q.view(func(r *txn) error {
		row, err := r.session(u, protocol.InGroup(g))
		shielded = row.shielded
		return err
	})
	return shielded, err
}
