package main

import (
	"context"
	"fmt"
	"time"

	"teamtalk/client"
	"teamtalk/internal/terminal"
)

type tailCmd struct {
	access
	JSON bool `name:"json" help:"A JSON object a line, by its field event: message, state, mark, read, removed, group, profile, presence, signal, file or gap."`
	Read bool `help:"Mark as read what is printed."`
}

// Help names the fields.
func (c *tailCmd) Help() string {
	return `The fields of --json:
  message   conversation (user:ID or group:ID), conversation_name, id, from, from_name, mine, time, type (text, voice, unreadable),
            text; where there is one: client_msg_id, reply_to, state (recalled, burned), hub_seq
  state     conversation, conversation_name, id, delivery (sent, pending, delayed, delivered, undeliverable) of your message to other
            offices; where there is one: reason, hub_seq (its place in a group of several offices)
  mark      conversation, conversation_name, user, user_name, delivered, read: how far another user has received and read
  read      conversation, conversation_name, read: how far you have read, perhaps elsewhere
  removed   conversation, conversation_name
  group     conversation, conversation_name, by, change (added, removed), users, user_names, members
  profile   user, user_name, and sign or avatar
  presence  user, user_name, online
  signal    user, user_name, data
  file      user, user_name, data (the file's name)
  gap       why: events were missed that will not come; see history`
}

// Run prints until interrupted.
func (c *tailCmd) Run(ctx context.Context, t *terminalIO) error {
	p, full, err := c.resolve(t)
	if err != nil {
		return err
	}
	opening, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	s, err := p.Open(opening, terminal.ForTail, full)
	if err != nil {
		return err
	}
	err = c.follow(ctx, t, s)
	if closed := s.Close(); err == nil {
		err = closed
	}
	return err
}

func (c *tailCmd) follow(ctx context.Context, t *terminalIO, s *terminal.Session) error {
	line := t.passing(c.Log)
	defer line.clear()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	if line == nil {
		tick.Stop()
	}
	for {
		select {
		case <-tick.C:
			line.show(dialling(s.Status()))
		case ev, ok := <-s.Events():
			line.clear()
			if !ok {
				return s.Err()
			}
			if err := c.show(ctx, t, s, ev); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// lookEvery is how often a tail on a terminal looks which way is being tried.
const lookEvery = 200 * time.Millisecond

// dialling says by which way it is being tried to come online; all else about the connection is told by lines that stay.
func dialling(s client.Status) string {
	if s.State != client.Connecting || s.Position > 0 || len(s.Trying) == 0 {
		return ""
	}
	return waitingLine(&s)
}

func (c *tailCmd) show(ctx context.Context, t *terminalIO, s *terminal.Session, ev client.Event) error {
	if state, ok := ev.(*client.StateChanged); ok {
		t.say("teamtalk: %s\n", stateLine(state))
		return nil
	}
	line := s.Line(ctx, ev)
	if line == nil {
		return nil
	}
	var err error
	if state, ok := line.(terminal.StateLine); c.JSON {
		err = printJSON(t, line)
	} else if !ok || !state.Quiet() {
		_, err = fmt.Fprintln(t.out, line)
	}
	if err != nil {
		return err
	}
	if m, ok := ev.(*client.Message); ok && c.Read && !m.Mine {
		return s.MarkRead(ctx, m.Session, m.ID)
	}
	return nil
}

func stateLine(ev *client.StateChanged) string {
	switch ev.State {
	case client.Online:
		how := "anew"
		if ev.Resumed {
			how = "resumed"
		}
		return fmt.Sprintf("online by %s, %s in %s (%s)", ev.Route.Transport, how, ev.Took.Round(time.Millisecond), ev.Route)
	case client.Offline:
		again := ""
		if !ev.RetryAt.IsZero() {
			again = fmt.Sprintf(", trying again in %s", max(0, time.Until(ev.RetryAt)).Round(100*time.Millisecond))
		}
		return fmt.Sprintf("offline%s: %s", again, terminal.FirstLine(ev.Why))
	case client.Kicked:
		return "ended by the server: " + terminal.FirstLine(ev.Why)
	case client.Connecting:
		if ev.Position > 0 {
			return fmt.Sprintf("in the server's login queue at %d, about %s to go", ev.Position, ev.ETA)
		}
	}
	return "connecting"
}
