package service

import (
	"context"

	"teamtalk/protocol"
)

// ListGroups is at most limit (0: 10,000) groups with ids above after, ascending.
func (a *Admin) ListGroups(_ context.Context, after protocol.GroupID, limit int) ([]protocol.Group, error) {
	groups, err := a.groups.ListGroups(after, page(limit))
	return groups, wrap("list groups", err)
}

// Group is the group with an id; CodeNotFound if there is none.
func (a *Admin) Group(_ context.Context, id protocol.GroupID) (protocol.Group, error) {
	g, err := a.groups.GroupByID(id)
	return g, wrap("group", err)
}

// Members is the members of a group, ascending; the slice is shared: do not modify it.
func (a *Admin) Members(_ context.Context, g protocol.GroupID) ([]protocol.UserID, error) {
	members, err := a.groups.Members(g)
	return members, wrap("members", err)
}

// CreateGroup makes a group, NORMAL if no type is given, on behalf of the operator. Unknown members are refused.
func (a *Admin) CreateGroup(ctx context.Context, cmd protocol.CreateGroup) (protocol.Group, error) {
	cmd.Actor = 0
	if cmd.Type == 0 {
		cmd.Type = protocol.GroupNormal
	}
	if cmd.Type != protocol.GroupNormal && cmd.Type != protocol.GroupTemp {
		return protocol.Group{}, protocol.Errorf(protocol.CodeInvalid, "no groups of type %d", cmd.Type)
	}
	if err := checkGroup(cmd); err != nil {
		return protocol.Group{}, err
	}
	result, err := execute[protocol.CreateGroupResult](ctx, a.groups, "create group", &cmd)
	if err != nil {
		return protocol.Group{}, err
	}
	return a.Group(ctx, result.Group)
}

// EditGroup replaces the fields given, or closes the group; then it is what is left of it.
func (a *Admin) EditGroup(ctx context.Context, cmd protocol.EditGroup) (protocol.Group, error) {
	g, err := a.Group(ctx, cmd.Group)
	if err != nil {
		return protocol.Group{}, err
	}
	if err := execute0(ctx, a.groups, "edit group", &cmd); err != nil {
		return protocol.Group{}, err
	}
	if cmd.Close {
		g.Closed = true
		return g, nil
	}
	return a.Group(ctx, cmd.Group)
}

// ChangeMembers adds or removes members on behalf of the operator, who may do so in every group [TT-GROUP-6].
func (a *Admin) ChangeMembers(ctx context.Context, cmd protocol.ChangeMembers) (protocol.ChangeMembersResult, error) {
	cmd.Actor = 0
	members, err := someMembers(cmd.Members)
	if err != nil {
		return protocol.ChangeMembersResult{}, err
	}
	cmd.Members = members
	return execute[protocol.ChangeMembersResult](ctx, a.groups, "change members", &cmd)
}
