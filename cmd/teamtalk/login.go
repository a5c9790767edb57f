package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"teamtalk/internal/terminal"
	"teamtalk/internal/texttable"
)

type loginCmd struct {
	access
	Name string `arg:"" optional:"" help:"Login name; else that of --user or of the profile."`
}

// Run logs in.
func (c *loginCmd) Run(ctx context.Context, t *terminalIO) error {
	if c.Name != "" {
		c.User = c.Name
	}
	p, full, err := c.resolve(t)
	switch {
	case err != nil:
		return err
	case len(full.Servers) == 0:
		return errors.New("which server? --server ADDRESS")
	case full.User == "":
		return errors.New("who? teamtalk login --server ADDRESS NAME")
	}
	if full.Password == "" {
		if full.Password, err = askPassword(t, full.User); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	e, err := p.Login(ctx, full)
	if err != nil {
		return err
	}
	at := ""
	if e.Node != "" {
		at = " at " + texttable.Printable(e.Node)
	}
	if _, err = fmt.Fprintf(t.out, "%s is logged in%s, by %s in %s: %s\n", full.User, at, e.Route.Transport, e.Took.Round(time.Millisecond), e.Route); err != nil {
		return err
	}
	if !e.Kept {
		t.say("teamtalk: this server has no sessions to keep: each command needs the password, as from TEAMTALK_PASSWORD\n")
	}
	return nil
}

type logoutCmd struct{ access }

// Run logs out.
func (c *logoutCmd) Run(ctx context.Context, t *terminalIO) error {
	p, full, err := c.resolve(t)
	if err != nil {
		return err
	}
	if full.User == "" {
		return terminal.ErrNotLoggedIn
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	if err := p.Logout(ctx, full); err != nil {
		return err
	}
	_, err = fmt.Fprintf(t.out, "%s is logged out\n", full.User)
	return err
}
