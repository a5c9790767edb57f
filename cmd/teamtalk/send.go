package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"teamtalk/client"
	"teamtalk/internal/terminal"
)

type sendCmd struct {
	access
	To   string        `arg:"" help:"A user's login name or id, group:ID, or a group's name."`
	Text []string      `arg:"" optional:"" help:"The message; - reads it from the standard input."`
	File []string      `placeholder:"FILE" type:"path" help:"Send a file, a picture as such; before the message. May be given more than once."`
	Burn time.Duration `placeholder:"TIME" help:"Delete it so long after it was read (30s); to one person only."`
}

// maxText is more than any server takes.
const maxText = 1 << 20

// Run sends the message.
func (c *sendCmd) Run(ctx context.Context, t *terminalIO) error {
	text := strings.Join(c.Text, " ")
	if text == "-" {
		if c.Password == "-" {
			return errors.New("both the password and the message from the standard input: set TEAMTALK_PASSWORD")
		}
		read, err := io.ReadAll(io.LimitReader(t.in, maxText))
		if err != nil {
			return fmt.Errorf("message from the standard input: %w", err)
		}
		text = strings.TrimRight(string(read), "\r\n")
	}
	if strings.TrimSpace(text) == "" && len(c.File) == 0 {
		return errors.New("there is nothing to send: give a text, or --file")
	}
	session := c.with
	if len(c.File) > 0 {
		session = c.unhurried
	}
	return session(ctx, t, func(ctx context.Context, s *terminal.Session) error {
		to, err := s.Find(ctx, c.To)
		if err != nil {
			return err
		}
		for _, path := range c.File {
			out, err := s.Attach(ctx, to, path, c.Burn)
			if err := c.await(ctx, t, out, err); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
		}
		if strings.TrimSpace(text) == "" {
			return nil
		}
		out, err := s.Send(ctx, to, client.Rich{Text: text, BurnAfter: c.Burn})
		return c.await(ctx, t, out, err)
	})
}

// await waits for the ack of a message, and prints it.
func (c *sendCmd) await(ctx context.Context, t *terminalIO, out *client.Outgoing, err error) error {
	if err != nil {
		return fmt.Errorf("not sent: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	if err := out.Wait(ctx); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("not acknowledged within %s: it waits in the profile and goes out before the next message", c.Timeout)
		}
		return fmt.Errorf("not sent: %w", err)
	}
	stored := out.State()
	_, err = fmt.Fprintf(t.out, "%d %s\n", stored.ID, stored.Time.UTC().Format(time.RFC3339))
	return err
}

type getCmd struct {
	access
	Path string `arg:"" help:"Where it is: g0/… as tail --json says it."`
	To   string `arg:"" optional:"" default:"." type:"path" help:"A file, or a folder to save it in under its own name. [the present folder]"`
}

// Run saves the content.
func (c *getCmd) Run(ctx context.Context, t *terminalIO) error {
	return c.unhurried(ctx, t, func(ctx context.Context, s *terminal.Session) error {
		at, err := s.Save(ctx, client.Attachment{Path: c.Path}, c.To)
		if err != nil {
			return fmt.Errorf("not saved: %w", err)
		}
		_, err = fmt.Fprintln(t.out, at)
		return err
	})
}
