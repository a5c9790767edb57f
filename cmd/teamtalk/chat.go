package main

import (
	"context"
	"errors"
	"os/signal"
	"syscall"

	"golang.org/x/term"

	"teamtalk/internal/chatview"
	"teamtalk/internal/terminal"
)

type chatCmd struct{ access }

// Help names the keys.
func (c *chatCmd) Help() string {
	return "Enter sends, Tab goes to the next conversation, Ctrl-K jumps to one by name, PgUp fetches history, /help tells the rest, Ctrl-C leaves."
}

// Run shows the messenger.
func (c *chatCmd) Run(ctx context.Context, t *terminalIO) error {
	if !term.IsTerminal(int(t.in.Fd())) {
		return errors.New("chat needs a terminal: use send, tail and history in scripts")
	}
	p, full, err := c.resolve(t)
	if err != nil {
		return err
	}
	s, err := c.open(ctx, t, p, full)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGHUP) // the window was closed
	defer stop()
	err = chatview.Run(ctx, chatview.Config{Session: s, Name: full.User, Drafts: p.Drafts()})
	return errors.Join(err, s.Close())
}

// open resumes the chat's session; a profile that has none asks for the password.
func (c *chatCmd) open(ctx context.Context, t *terminalIO, p terminal.Profile, full terminal.Access) (*terminal.Session, error) {
	for {
		opening, cancel := context.WithTimeout(ctx, c.Timeout)
		s, err := p.Open(opening, terminal.ForChat, full)
		cancel()
		asks := errors.Is(err, terminal.ErrNotLoggedIn) || errors.Is(err, terminal.ErrSessionOver)
		if !asks || full.Password != "" || full.User == "" || len(full.Servers) == 0 {
			return s, err
		}
		if full.Password, err = askPassword(t, full.User); err != nil {
			return nil, err
		}
	}
}
