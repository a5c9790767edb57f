package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"

	"teamtalk/client"
	"teamtalk/internal/terminal"
	"teamtalk/internal/texttable"
)

// passing is a line for the user's eyes, in place of which the next one comes. A nil one shows nothing.
type passing struct {
	w     io.Writer
	width func() int // of the terminal, in columns
	shown string
}

// passing is a line on the user's terminal; nil: what is said for the user goes elsewhere, or is a log.
func (t *terminalIO) passing(log string) *passing {
	f, ok := t.err.(*os.File)
	if !ok || log != "" || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	return &passing{w: f, width: func() int {
		width, _, err := term.GetSize(int(f.Fd()))
		if err != nil {
			return 80
		}
		return width
	}}
}

// show takes the place of what was shown.
func (p *passing) show(text string) {
	if p == nil {
		return
	}
	text = texttable.Cut(texttable.Printable(text), p.width()-1) // a line that wraps could not be taken back
	if text != p.shown {
		p.shown = text
		_, _ = fmt.Fprint(p.w, "\r\x1b[K"+text) // a terminal that is gone cannot be told so
	}
}

// clear leaves nothing of it.
func (p *passing) clear() { p.show("") }

// waiting shows how it stands until the session is online.
func (p *passing) waiting() func(*client.Status) {
	if p == nil {
		return nil
	}
	return func(s *client.Status) {
		if s == nil {
			p.clear()
			return
		}
		p.show(waitingLine(s))
	}
}

// waitingLine says what is being waited for.
func waitingLine(s *client.Status) string {
	switch {
	case s.State == client.Offline && !s.RetryAt.IsZero():
		return fmt.Sprintf("teamtalk: offline, again in %.1f s: %s", max(0, time.Until(s.RetryAt)).Seconds(), terminal.FirstLine(s.Why))
	case s.State != client.Connecting:
		return ""
	case s.Position > 0:
		line := "teamtalk: waiting to be let in: you are next"
		if s.Position > 1 {
			line = fmt.Sprintf("teamtalk: waiting to be let in: %d before you", s.Position-1)
		}
		if s.ETA > 0 {
			line += fmt.Sprintf(", about %s", (s.ETA + time.Second - 1).Truncate(time.Second))
		}
		return line
	case len(s.Trying) > 0:
		last := s.Trying[len(s.Trying)-1]
		return fmt.Sprintf("teamtalk: connecting by %s to %s", last.Transport, last.Host())
	}
	return "teamtalk: connecting"
}
