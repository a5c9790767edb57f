package service

import (
	"context"
	"slices"

	"teamtalk/protocol"
)

// GroupStore is what Groups needs of the store.
type GroupStore interface {
	Executor
	GroupByID(id protocol.GroupID) (protocol.Group, error)
	// Members is ascending and shared: not to be modified.
	Members(g protocol.GroupID) ([]protocol.UserID, error)
	IsMember(g protocol.GroupID, u protocol.UserID) (bool, error)
	GroupsOf(u protocol.UserID) ([]protocol.Group, error)
	Shielded(g protocol.GroupID, u protocol.UserID) (bool, error)
	Users(ids []protocol.UserID) ([]protocol.User, error)
	// GroupDomain is that of the cluster which orders a group of another one; NotFound for other groups.
	GroupDomain(g protocol.GroupID) (string, error)
}

// Hubs are the clusters that groups of other offices belong to.
type Hubs interface {
	// ChangeMembers asks a group's hub, which decides, and returns when it has answered, after 3 s at the latest.
	ChangeMembers(ctx context.Context, actor protocol.UserID, g protocol.GroupID, change protocol.MemberChange, users []protocol.UserID) error
}

// Groups makes, shows and changes groups on behalf of their members.
type Groups struct {
	store GroupStore
	hubs  Hubs // nil: none can be asked
}

// NewGroups makes the group rules over a store.
func NewGroups(store GroupStore) *Groups { return &Groups{store: store} }

// WithHubs lets members of groups of other offices change these, by asking; it is called before anything else.
func (g *Groups) WithHubs(h Hubs) *Groups {
	g.hubs = h
	return g
}

// Normal is the NORMAL groups the user is in [TT-GROUP-1].
func (g *Groups) Normal(_ context.Context, me protocol.UserID) ([]protocol.Group, error) {
	if err := signedIn(me); err != nil {
		return nil, err
	}
	all, err := g.store.GroupsOf(me)
	if err != nil {
		return nil, wrap("groups", err)
	}
	var normal []protocol.Group
	for _, group := range all {
		if group.Type == protocol.GroupNormal && !group.Closed {
			normal = append(normal, group)
		}
	}
	return normal, nil
}

// Info is, of the groups asked for, those the user is in that are newer than the version given, in the order asked; the
// rest is left out without saying why [TT-GROUP-2] [TT-DIFF-21].
func (g *Groups) Info(_ context.Context, me protocol.UserID, asked []protocol.GroupVersion) ([]protocol.GroupInfo, error) {
	if err := signedIn(me); err != nil {
		return nil, err
	}
	var infos []protocol.GroupInfo
	seen := make(map[protocol.GroupID]bool)
	for _, a := range asked {
		if seen[a.ID] {
			continue
		}
		seen[a.ID] = true
		info, visible, err := g.info(me, a)
		if err != nil {
			return nil, wrap("group info", err)
		}
		if visible {
			infos = append(infos, info)
		}
	}
	return infos, nil
}

func (g *Groups) info(me protocol.UserID, a protocol.GroupVersion) (info protocol.GroupInfo, visible bool, err error) {
	if in, err := g.store.IsMember(a.ID, me); err != nil || !in {
		return info, false, unlessNotFound(err)
	}
	if info.Group, err = g.store.GroupByID(a.ID); err != nil {
		return info, false, unlessNotFound(err)
	}
	if info.Closed || info.Version <= a.Version {
		return info, false, nil
	}
	if info.Members, err = g.store.Members(a.ID); err != nil {
		return info, false, unlessNotFound(err)
	}
	if info.Shielded, err = g.store.Shielded(a.ID, me); err != nil {
		return info, false, unlessNotFound(err)
	}
	info.Domain, err = g.domain(a.ID)
	return info, err == nil, err
}

// domain is that of the office a group is of, empty for this one; a group whose office is not known any more has none.
func (g *Groups) domain(id protocol.GroupID) (string, error) {
	if id < protocol.MaxLocalID {
		return "", nil
	}
	domain, err := g.store.GroupDomain(id)
	return domain, unlessNotFound(err)
}

func unlessNotFound(err error) error {
	if protocol.CodeOf(err) == protocol.CodeNotFound {
		return nil
	}
	return err
}

// Create makes a TMP group of those listed who exist; the creator is a member if listed. CodeForbidden for a NORMAL
// group, which only operators make [TT-GROUP-3].
func (g *Groups) Create(ctx context.Context, cmd protocol.CreateGroup) (protocol.CreateGroupResult, error) {
	var none protocol.CreateGroupResult
	if err := signedIn(cmd.Actor); err != nil {
		return none, err
	}
	if cmd.Type != protocol.GroupTemp {
		return none, protocol.Errorf(protocol.CodeForbidden, "only operators make groups of type %d", cmd.Type)
	}
	if err := checkGroup(cmd); err != nil {
		return none, err
	}
	members, err := g.present(cmd.Members)
	if err != nil {
		return none, err
	}
	cmd.Members = members
	return execute[protocol.CreateGroupResult](ctx, g.store, "create group", &cmd)
}

func checkGroup(cmd protocol.CreateGroup) error {
	if err := protocol.CheckName("group name", cmd.Name, protocol.MaxGroupName); err != nil {
		return err
	}
	return protocol.CheckLine("group avatar", cmd.Avatar, protocol.MaxAvatar)
}

// ChangeMembers adds those listed who exist, or removes those listed. CodeNotFound means that the group is unknown; who
// may do it, and who succeeds a creator who leaves, is decided by the state machine [TT-GROUP-4] [TT-GROUP-7] [TT-DIFF-22].
func (g *Groups) ChangeMembers(ctx context.Context, cmd protocol.ChangeMembers) (protocol.ChangeMembersResult, error) {
	var none protocol.ChangeMembersResult
	if err := signedIn(cmd.Actor); err != nil {
		return none, err
	}
	if cmd.Change != protocol.MembersAdd && cmd.Change != protocol.MembersDel {
		return none, protocol.Errorf(protocol.CodeInvalid, "no change of members of type %d", cmd.Change)
	}
	// First, so that an unknown group is told from a list without known users.
	if group, err := g.store.GroupByID(cmd.Group); err != nil {
		return none, wrap("change members", err)
	} else if group.Closed {
		return none, protocol.Errorf(protocol.CodeNotFound, "group %d is closed", cmd.Group)
	}
	var err error
	if cmd.Change == protocol.MembersAdd {
		cmd.Members, err = g.present(cmd.Members)
	} else {
		cmd.Members, err = someMembers(cmd.Members)
	}
	if err != nil {
		return none, err
	}
	if g.hubs != nil && cmd.Group >= protocol.MaxLocalID && !isLeaving(cmd) {
		return g.askHub(ctx, cmd)
	}
	return execute[protocol.ChangeMembersResult](ctx, g.store, "change members", &cmd)
}

// isLeaving reports whether somebody removes himself, and nobody else: that needs no leave of others.
func isLeaving(cmd protocol.ChangeMembers) bool {
	return cmd.Change == protocol.MembersDel && len(cmd.Members) == 1 && cmd.Members[0] == cmd.Actor
}

// askHub has the members of a group of another office changed by that one. The result is what follows from its yes: its word of who is in comes by itself,
// perhaps before, perhaps later [TT-FED-5].
func (g *Groups) askHub(ctx context.Context, cmd protocol.ChangeMembers) (protocol.ChangeMembersResult, error) {
	var none protocol.ChangeMembersResult
	before, err := g.store.Members(cmd.Group)
	if err != nil {
		return none, wrap("change members", err)
	}
	isMember := func(u protocol.UserID) bool {
		_, found := slices.BinarySearch(before, u)
		return found
	}
	if !isMember(cmd.Actor) {
		return none, protocol.Errorf(protocol.CodeForbidden, "user %d is no member of group %d", cmd.Actor, cmd.Group)
	}
	adds := cmd.Change == protocol.MembersAdd
	changed := slices.DeleteFunc(cmd.Members, func(u protocol.UserID) bool { return isMember(u) == adds })
	if len(changed) == 0 {
		return none, protocol.Errorf(protocol.CodeInvalid, "nobody would be changed")
	}
	if err := g.hubs.ChangeMembers(ctx, cmd.Actor, cmd.Group, cmd.Change, changed); err != nil {
		if protocol.CodeOf(err) == protocol.CodeNotFound { // there, not here: this office knows the group
			err = protocol.Errorf(protocol.CodeForbidden, "the group's office knows no such group or member: %w", err)
		}
		return none, wrap("change members", err)
	}
	current := slices.Concat(before, changed)
	if !adds {
		current = slices.DeleteFunc(slices.Clone(before), func(u protocol.UserID) bool { return slices.Contains(changed, u) })
	}
	slices.Sort(current)
	return protocol.ChangeMembersResult{Current: current, Changed: changed}, nil
}

// Shield switches pushes from a group off or on for one of its members [TT-GROUP-8].
func (g *Groups) Shield(ctx context.Context, me protocol.UserID, group protocol.GroupID, on bool) error {
	if err := signedIn(me); err != nil {
		return err
	}
	return execute0(ctx, g.store, "shield group", &protocol.ShieldGroup{User: me, Group: group, On: on})
}

// someMembers is the ids ascending, each once; none is refused.
func someMembers(ids []protocol.UserID) ([]protocol.UserID, error) {
	members, err := distinct(ids, maxMembers)
	if err == nil && len(members) == 0 {
		return nil, protocol.Errorf(protocol.CodeInvalid, "no members given")
	}
	return members, err
}

// present is the ids of users who exist and have not left, ascending; none is refused.
func (g *Groups) present(ids []protocol.UserID) ([]protocol.UserID, error) {
	wanted, err := someMembers(ids)
	if err != nil {
		return nil, err
	}
	users, err := g.store.Users(wanted)
	if err != nil {
		return nil, wrap("members", err)
	}
	known := make([]protocol.UserID, 0, len(users))
	for _, u := range users {
		if u.Status != protocol.StatusLeft {
			known = append(known, u.ID)
		}
	}
	return someMembers(known)
}
