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
	To   string   `arg:"" help:"A user's login name or id, group:ID, or a group's name."`
	Text []string `arg:"" help:"The message; - reads it from the standard input."`
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
	if strings.TrimSpace(text) == "" {
		return errors.New("there is nothing to send")
	}
	return c.with(ctx, t, func(ctx context.Context, s *terminal.Session) error {
		to, err := s.Find(ctx, c.To)
		if err != nil {
			return err
		}
		out, err := s.Send(ctx, to, client.Text(text))
		if err != nil {
			return fmt.Errorf("not sent: %w", err)
		}
		if err := out.Wait(ctx); err != nil {
			if ctx.Err() != nil {
				return fmt.Errorf("not acknowledged within %s: it waits in the profile and goes out before the next message", c.Timeout)
			}
			return fmt.Errorf("not sent: %w", err)
		}
		stored := out.State()
		_, err = fmt.Fprintf(t.out, "%d %s\n", stored.ID, stored.Time.UTC().Format(time.RFC3339))
		return err
	})
}
