package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"teamtalk/internal/admin"
	"teamtalk/internal/texttable"
	"teamtalk/protocol"
)

type groupCmd struct {
	Add     groupAddCmd     `cmd:"" help:"Add a group."`
	List    groupListCmd    `cmd:"" help:"List groups."`
	Show    groupShowCmd    `cmd:"" help:"Show one group with its members."`
	Edit    groupEditCmd    `cmd:"" help:"Change a group's profile."`
	Close   groupCloseCmd   `cmd:"" aliases:"disable" help:"Remove all members of a group; it does not come back."`
	Members groupMembersCmd `cmd:"" help:"Add members to a group or remove them."`
}

func groupTable(groups ...admin.Group) texttable.Table {
	t := texttable.Table{{"ID", "NAME", "TYPE", "CREATOR", "VERSION", "STATUS"}}
	for _, g := range groups {
		status := "open"
		if g.Closed {
			status = "closed"
		}
		t = append(t, []string{fmt.Sprint(g.ID), g.Name, g.Type.String(), fmt.Sprint(g.Creator), fmt.Sprint(g.Version), status})
	}
	return t
}

func showGroup(t *target, term *terminal, g admin.Group) error {
	rows := groupTable(g)
	rows[0] = append(rows[0], "MEMBERS")
	rows[1] = append(rows[1], fmt.Sprint(len(g.Members)))
	if err := t.answer(term, g, rows); err != nil || t.JSON {
		return err
	}
	ids := make([]string, 0, len(g.Members))
	for _, m := range g.Members {
		ids = append(ids, fmt.Sprint(m))
	}
	_, err := fmt.Fprintln(term.out, "members:", strings.Join(ids, " "))
	return err
}

type groupAddCmd struct {
	target
	Type    string   `default:"normal" enum:"normal,temp" help:"normal: members are changed by the operator and the creator; temp: its members may add others."`
	Avatar  string   `placeholder:"URL" help:"Picture."`
	Name    string   `arg:"" help:"Name."`
	Members []string `arg:"" optional:"" help:"Login names or ids of the members."`
}

// Run adds the group.
func (c *groupAddCmd) Run(term *terminal) error {
	n := admin.NewGroup{Name: c.Name, Avatar: c.Avatar, Members: c.Members}
	if err := n.Type.UnmarshalText([]byte(c.Type)); err != nil {
		return err
	}
	return c.call(func(ctx context.Context, api *admin.Client) error {
		g, err := api.AddGroup(ctx, n)
		if err != nil {
			return err
		}
		return showGroup(&c.target, term, g)
	})
}

type groupListCmd struct {
	target
}

// Run lists the groups.
func (c *groupListCmd) Run(term *terminal) error {
	return c.call(func(ctx context.Context, api *admin.Client) error {
		all := []admin.Group{}
		for after := protocol.GroupID(0); ; {
			p, err := api.Groups(ctx, after, listPage)
			if err != nil {
				return err
			}
			all = append(all, p.Groups...)
			if after = p.Next; after == 0 {
				return c.answer(term, all, groupTable(all...))
			}
		}
	})
}

type groupShowCmd struct {
	target
	Group protocol.GroupID `arg:"" help:"Id."`
}

// Run shows the group.
func (c *groupShowCmd) Run(term *terminal) error {
	return c.call(func(ctx context.Context, api *admin.Client) error {
		g, err := api.Group(ctx, c.Group)
		if err != nil {
			return err
		}
		return showGroup(&c.target, term, g)
	})
}

type groupEditCmd struct {
	target
	Name    *string          `placeholder:"TEXT" help:"New name."`
	Avatar  *string          `placeholder:"URL" help:"Picture."`
	Creator *string          `placeholder:"USER" help:"Who may change the group, by login name or id."`
	Group   protocol.GroupID `arg:"" help:"Id."`
}

// Run changes the group.
func (c *groupEditCmd) Run(term *terminal) error {
	e := admin.GroupEdit{Name: c.Name, Avatar: c.Avatar, Creator: c.Creator}
	if e == (admin.GroupEdit{}) {
		return errors.New("nothing to change: give --name, --avatar or --creator")
	}
	return c.call(func(ctx context.Context, api *admin.Client) error {
		g, err := api.EditGroup(ctx, c.Group, e)
		if err != nil {
			return err
		}
		return showGroup(&c.target, term, g)
	})
}

type groupCloseCmd struct {
	target
	Group protocol.GroupID `arg:"" help:"Id."`
}

// Run closes the group.
func (c *groupCloseCmd) Run(term *terminal) error {
	return c.call(func(ctx context.Context, api *admin.Client) error {
		if err := api.CloseGroup(ctx, c.Group); err != nil {
			return err
		}
		return c.said(term, fmt.Sprintf("group %d closed", c.Group))
	})
}

type groupMembersCmd struct {
	Add    membersAddCmd    `cmd:"" help:"Add members."`
	Remove membersRemoveCmd `cmd:"" help:"Remove members."`
}

type membersAddCmd struct {
	target
	Group protocol.GroupID `arg:"" help:"Id."`
	Users []string         `arg:"" help:"Login names or ids."`
}

// Run adds the members.
func (c *membersAddCmd) Run(term *terminal) error {
	return c.changeMembers(term, c.Group, admin.Members{Add: c.Users})
}

type membersRemoveCmd struct {
	target
	Group protocol.GroupID `arg:"" help:"Id."`
	Users []string         `arg:"" help:"Login names or ids."`
}

// Run removes the members.
func (c *membersRemoveCmd) Run(term *terminal) error {
	return c.changeMembers(term, c.Group, admin.Members{Remove: c.Users})
}

func (t *target) changeMembers(term *terminal, g protocol.GroupID, m admin.Members) error {
	return t.call(func(ctx context.Context, api *admin.Client) error {
		done, err := api.ChangeMembers(ctx, g, m)
		if err != nil {
			return err
		}
		if t.JSON {
			return printJSON(term.out, done)
		}
		_, err = fmt.Fprintf(term.out, "%d added, %d removed, %d members now\n", len(done.Added), len(done.Removed), done.Members)
		return err
	})
}
