package main

import (
	"context"
	"encoding/json"
	"fmt"

	"teamtalk/client"
	"teamtalk/internal/terminal"
	"teamtalk/internal/texttable"
)

type historyCmd struct {
	access
	With  string `arg:"" help:"A user's login name or id, group:ID, or a group's name."`
	Count int    `default:"20" help:"How many messages, at most 1000. [20]"`
	JSON  bool   `name:"json" help:"A JSON object a line, as tail --json prints messages."`
}

// Run prints the newest messages, the newest last.
func (c *historyCmd) Run(ctx context.Context, t *terminalIO) error {
	if c.Count < 1 || c.Count > 1000 {
		return fmt.Errorf("--count: %d is not a number from 1 to 1000", c.Count)
	}
	return c.with(ctx, t, func(ctx context.Context, s *terminal.Session) error {
		in, err := s.Find(ctx, c.With)
		if err != nil {
			return err
		}
		list, err := s.History(ctx, in, 0, c.Count)
		if err != nil {
			return err
		}
		client.Arrange(list.Items, (*client.Message).Place)
		for _, m := range list.Items {
			line := s.Message(ctx, m)
			if c.JSON {
				err = printJSON(t, line)
			} else {
				_, err = fmt.Fprintln(t.out, line)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

type contactsCmd struct {
	access
	JSON bool `name:"json" help:"A JSON object a line: id, name, nick, department, email, phone, sign, and address and remote where there are other offices."`
}

// contact is a line of contacts --json and find --json.
type contact struct {
	ID         uint32 `json:"id"`
	Name       string `json:"name"`
	Nick       string `json:"nick"`
	Department uint32 `json:"department"`
	Email      string `json:"email"`
	Phone      string `json:"phone"`
	Sign       string `json:"sign"`
	Address    string `json:"address,omitempty"` // user@domain
	Remote     bool   `json:"remote,omitempty"`  // of another office
}

// Run prints the directory.
func (c *contactsCmd) Run(ctx context.Context, t *terminalIO) error {
	return c.with(ctx, t, func(ctx context.Context, s *terminal.Session) error {
		people, err := s.Contacts(ctx)
		if err != nil {
			return err
		}
		return printPeople(t, people, c.JSON)
	})
}

func printPeople(t *terminalIO, people []client.User, asJSON bool) error {
	rows := texttable.Table{{"ID", "NAME", "NICK", "DEPARTMENT", "EMAIL", "PHONE"}}
	for _, u := range people {
		one := contact{uint32(u.ID), u.Name, u.Nick, uint32(u.Department), u.Email, u.Phone, u.Sign, u.Address, u.Remote}
		if asJSON {
			if err := printJSON(t, one); err != nil {
				return err
			}
			continue
		}
		rows = append(rows, []string{fmt.Sprint(one.ID), one.Name, one.Nick, fmt.Sprint(one.Department), one.Email, one.Phone})
	}
	if asJSON {
		return nil
	}
	return rows.Print(t.out)
}

type findCmd struct {
	access
	Text  string `arg:"" help:"A part of a login name, nick or address, whatever its case."`
	Count int    `default:"20" help:"How many people, at most 50. [20]"`
	JSON  bool   `name:"json" help:"A JSON object a line, as contacts --json prints."`
}

// Run prints the people found.
func (c *findCmd) Run(ctx context.Context, t *terminalIO) error {
	if c.Count < 1 || c.Count > 50 {
		return fmt.Errorf("--count: %d is not a number from 1 to 50", c.Count)
	}
	return c.with(ctx, t, func(ctx context.Context, s *terminal.Session) error {
		list, err := s.Search(ctx, c.Text, c.Count)
		if err != nil {
			return err
		}
		if len(list.Items) == 0 {
			t.say("nobody is called %q\n", c.Text)
			return nil
		}
		return printPeople(t, list.Items, c.JSON)
	})
}

type unreadCmd struct{ access }

// Run prints the conversations with unread messages.
func (c *unreadCmd) Run(ctx context.Context, t *terminalIO) error {
	return c.with(ctx, t, func(ctx context.Context, s *terminal.Session) error {
		list, err := s.Waiting(ctx)
		if err != nil {
			return err
		}
		rows := texttable.Table{{"CONVERSATION", "WITH", "UNREAD", "LATEST"}}
		for _, u := range list {
			rows = append(rows, []string{terminal.Key(u.Session), s.Name(ctx, u.Session), fmt.Sprint(u.Count), u.Latest.Text})
		}
		if len(list) == 0 {
			t.say("nothing is unread\n")
			return nil
		}
		return rows.Print(t.out)
	})
}

func printJSON(t *terminalIO, v any) error {
	enc := json.NewEncoder(t.out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("output: %w", err)
	}
	return nil
}
