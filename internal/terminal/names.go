package terminal

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"teamtalk/client"
	"teamtalk/protocol"
)

// names remembers what ids are called. It is for one goroutine.
type names struct {
	users  map[protocol.UserID]string
	groups map[protocol.GroupID]string
}

// nameTime is how long a name may take; without one the id is shown.
const nameTime = 3 * time.Second

// Contacts are the users who have not left, by id.
func (s *Session) Contacts(ctx context.Context) ([]client.User, error) {
	directory, err := s.AllUsers(ctx, time.Time{})
	if err != nil {
		return nil, err
	}
	rest, err := s.rests(ctx)
	if err != nil {
		return nil, err
	}
	all := slices.Concat(directory.Items, rest.Users)
	slices.SortFunc(all, func(a, b client.User) int { return int(a.ID) - int(b.ID) })
	return slices.CompactFunc(all, func(a, b client.User) bool { return a.ID == b.ID }), nil
}

// Waiting are the conversations with unread messages.
func (s *Session) Waiting(ctx context.Context) ([]client.Unread, error) {
	list, err := s.Unread(ctx)
	if err != nil {
		return nil, err
	}
	rest, err := s.rests(ctx)
	return slices.Concat(list.Items, rest.Unread), err
}

// MyGroups are the groups that this user is known to be in: the company's, and those in the list of conversations.
func (s *Session) MyGroups(ctx context.Context) ([]client.Group, error) {
	company, err := s.Groups(ctx)
	if err != nil {
		return nil, err
	}
	recent, err := s.Recent(ctx, time.Time{})
	if err != nil {
		return nil, err
	}
	ask := make(map[protocol.GroupID]bool)
	for _, g := range company.Items {
		ask[g.ID] = true
	}
	for _, r := range recent.Items {
		if r.Session.Type == protocol.SessionGroup {
			ask[r.Session.Group()] = true
		}
	}
	if len(ask) == 0 {
		return nil, nil
	}
	var of []protocol.GroupVersion
	for id := range ask {
		of = append(of, protocol.GroupVersion{ID: id})
	}
	infos, err := s.GroupInfo(ctx, of...)
	if err != nil {
		return nil, err
	}
	rest, err := s.rests(ctx)
	all := slices.Concat(infos.Items, rest.Groups)
	slices.SortFunc(all, func(a, b client.Group) int { return int(a.ID) - int(b.ID) })
	return all, err
}

// Find is the conversation that a person means: user:ID, group:ID, a user's id or login name, user@domain of another office, or a group's name. A user comes
// before a group.
func (s *Session) Find(ctx context.Context, to string) (protocol.Session, error) {
	kind, text, typed := strings.Cut(to, ":")
	if !typed {
		text = to
	}
	if id, err := strconv.ParseUint(text, 10, 32); err == nil && id > 0 && (!typed || kind == "user" || kind == "group") {
		return s.findID(ctx, kind == "group", uint32(id))
	}
	people, err := s.Contacts(ctx)
	if err != nil {
		return protocol.Session{}, err
	}
	for _, u := range people {
		if u.Name == to {
			return protocol.WithUser(u.ID), nil
		}
	}
	if strings.Contains(to, "@") { // somebody whom nobody here has met
		if list, err := s.Search(ctx, to, 0); err == nil {
			if i := slices.IndexFunc(list.Items, func(u client.User) bool { return u.Address == to }); i >= 0 {
				return protocol.WithUser(list.Items[i].ID), nil
			}
		}
	}
	groups, err := s.MyGroups(ctx)
	if err != nil {
		return protocol.Session{}, err
	}
	found := slices.DeleteFunc(groups, func(g client.Group) bool { return g.Name != to })
	switch len(found) {
	case 0:
		return protocol.Session{}, fmt.Errorf("there is no user and no group of yours named %q", to)
	case 1:
		return protocol.InGroup(found[0].ID), nil
	}
	return protocol.Session{}, fmt.Errorf("%d groups are named %q: say which as group:%d or group:%d", len(found), to, found[0].ID, found[1].ID)
}

func (s *Session) findID(ctx context.Context, group bool, id uint32) (protocol.Session, error) {
	if group {
		list, err := s.GroupInfo(ctx, protocol.GroupVersion{ID: protocol.GroupID(id)})
		if err == nil && len(list.Items) == 0 {
			err = fmt.Errorf("you are in no group with the id %d", id)
		}
		return protocol.InGroup(protocol.GroupID(id)), err
	}
	list, err := s.Users(ctx, protocol.UserID(id))
	if err == nil && len(list.Items) == 0 {
		err = fmt.Errorf("there is no user with the id %d", id)
	}
	return protocol.WithUser(protocol.UserID(id)), err
}

// UserName is a user's login name; user:ID if it can't be had in a moment.
func (s *Session) UserName(ctx context.Context, id protocol.UserID) string {
	if name, ok := s.names.users[id]; ok {
		return name
	}
	ctx, cancel := context.WithTimeout(ctx, nameTime)
	defer cancel()
	list, err := s.Users(ctx, id)
	if err != nil || len(list.Items) == 0 {
		return fmt.Sprintf("user:%d", id)
	}
	if s.names.users == nil {
		s.names.users = make(map[protocol.UserID]string)
	}
	s.names.users[id] = list.Items[0].Name
	return list.Items[0].Name
}

// Name is what a conversation is called: the peer's login name or the group's name.
func (s *Session) Name(ctx context.Context, in protocol.Session) string {
	if in.Type != protocol.SessionGroup {
		return s.UserName(ctx, in.Peer())
	}
	if name, ok := s.names.groups[in.Group()]; ok {
		return name
	}
	ctx, cancel := context.WithTimeout(ctx, nameTime)
	defer cancel()
	list, err := s.GroupInfo(ctx, protocol.GroupVersion{ID: in.Group()})
	if err != nil || len(list.Items) == 0 {
		return Key(in)
	}
	if s.names.groups == nil {
		s.names.groups = make(map[protocol.GroupID]string)
	}
	s.names.groups[in.Group()] = list.Items[0].Name
	return list.Items[0].Name
}

// Key writes a conversation as Find reads it: user:ID or group:ID.
func Key(in protocol.Session) string {
	if in.Type == protocol.SessionGroup {
		return fmt.Sprintf("group:%d", in.ID)
	}
	return fmt.Sprintf("user:%d", in.ID)
}
