package admin

import (
	"context"
	"net/http"

	"teamtalk/protocol"
)

// Groups is what the API needs to know about groups.
type Groups interface {
	ListGroups(ctx context.Context, after protocol.GroupID, limit int) ([]protocol.Group, error)
	Group(ctx context.Context, id protocol.GroupID) (protocol.Group, error)
	Members(ctx context.Context, g protocol.GroupID) ([]protocol.UserID, error)
	CreateGroup(ctx context.Context, c protocol.CreateGroup) (protocol.Group, error)
	EditGroup(ctx context.Context, e protocol.EditGroup) (protocol.Group, error)
	ChangeMembers(ctx context.Context, c protocol.ChangeMembers) (protocol.ChangeMembersResult, error)
}

func groupOf(g protocol.Group, members []protocol.UserID) Group {
	return Group{ID: g.ID, Name: g.Name, Type: GroupType(g.Type), Creator: g.Creator, Avatar: g.Avatar, Version: g.Version,
		Closed: g.Closed, Created: g.Created.Std(), Updated: g.Updated.Std(), Members: members}
}

func groupID(r *http.Request) (protocol.GroupID, error) {
	ref := r.PathValue("group")
	id, ok := idOf(ref)
	if !ok {
		return 0, protocol.Errorf(protocol.CodeInvalid, "%q is not a group id: groups are named by number", ref)
	}
	return protocol.GroupID(id), nil
}

func (s *server) listGroups(ctx context.Context, r *http.Request) (any, error) {
	after, limit, err := page(r)
	if err != nil {
		return nil, err
	}
	groups, err := s.groups.ListGroups(ctx, protocol.GroupID(after), limit)
	if err != nil {
		return nil, err
	}
	p := GroupPage{Groups: make([]Group, 0, len(groups))}
	for _, g := range groups {
		p.Groups = append(p.Groups, groupOf(g, nil))
	}
	if len(groups) == limit {
		p.Next = groups[len(groups)-1].ID
	}
	return p, nil
}

func (s *server) showGroup(ctx context.Context, r *http.Request) (any, error) {
	id, err := groupID(r)
	if err != nil {
		return nil, err
	}
	g, err := s.groups.Group(ctx, id)
	if protocol.CodeOf(err) == protocol.CodeNotFound {
		return nil, protocol.Errorf(protocol.CodeNotFound, "there is no group with id %d", id)
	}
	if err != nil {
		return nil, err
	}
	return s.withMembers(ctx, g)
}

func (s *server) withMembers(ctx context.Context, g protocol.Group) (any, error) {
	var members []protocol.UserID
	if !g.Closed {
		var err error
		if members, err = s.groups.Members(ctx, g.ID); err != nil {
			return nil, err
		}
	}
	return groupOf(g, members), nil
}

func (s *server) addGroup(ctx context.Context, r *http.Request) (any, error) {
	var n NewGroup
	if err := readJSON(r, &n); err != nil {
		return nil, err
	}
	if n.Type == 0 {
		n.Type = GroupType(protocol.GroupNormal)
	}
	members, err := s.userIDs(ctx, n.Members)
	if err != nil {
		return nil, err
	}
	g, err := s.groups.CreateGroup(ctx, protocol.CreateGroup{Type: protocol.GroupType(n.Type), Name: n.Name, Avatar: n.Avatar, Members: members})
	if err != nil {
		return nil, err
	}
	s.log.Info("group added", "group", g.ID, "name", g.Name, "members", len(members))
	return s.withMembers(ctx, g)
}

func (s *server) editGroup(ctx context.Context, r *http.Request) (any, error) {
	id, err := groupID(r)
	if err != nil {
		return nil, err
	}
	var e GroupEdit
	if err := readJSON(r, &e); err != nil {
		return nil, err
	}
	c := protocol.EditGroup{Group: id, Name: e.Name, Avatar: e.Avatar}
	if e.Creator != nil {
		u, err := s.user(ctx, *e.Creator)
		if err != nil {
			return nil, err
		}
		c.Creator = &u.ID
	}
	g, err := s.groups.EditGroup(ctx, c)
	if err != nil {
		return nil, err
	}
	s.log.Info("group edited", "group", id)
	return s.withMembers(ctx, g)
}

func (s *server) closeGroup(ctx context.Context, r *http.Request) (any, error) {
	id, err := groupID(r)
	if err != nil {
		return nil, err
	}
	if _, err := s.groups.EditGroup(ctx, protocol.EditGroup{Group: id, Close: true}); err != nil {
		return nil, err
	}
	s.log.Info("group closed by operator", "group", id)
	return nil, nil
}

func (s *server) changeMembers(ctx context.Context, r *http.Request) (any, error) {
	id, err := groupID(r)
	if err != nil {
		return nil, err
	}
	var m Members
	if err := readJSON(r, &m); err != nil {
		return nil, err
	}
	c := protocol.ChangeMembers{Group: id, Change: protocol.MembersAdd}
	refs := m.Add
	switch {
	case len(m.Add) > 0 && len(m.Remove) > 0:
		return nil, protocol.Errorf(protocol.CodeInvalid, "add or remove, not both in one request")
	case len(m.Remove) > 0:
		c.Change, refs = protocol.MembersDel, m.Remove
	case len(m.Add) == 0:
		return nil, protocol.Errorf(protocol.CodeInvalid, "nobody was named to add or remove")
	}
	if c.Members, err = s.userIDs(ctx, refs); err != nil {
		return nil, err
	}
	done, err := s.groups.ChangeMembers(ctx, c)
	if err != nil {
		return nil, err
	}
	answer := MembersChanged{Members: len(done.Current)}
	if c.Change == protocol.MembersAdd {
		answer.Added = done.Changed
	} else {
		answer.Removed = done.Changed
	}
	s.log.Info("group members changed by operator", "group", id, "added", len(answer.Added), "removed", len(answer.Removed))
	return answer, nil
}
