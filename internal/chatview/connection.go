package chatview

import (
	"fmt"
	"strings"
	"time"

	"teamtalk/client"
	"teamtalk/client/dial"
	"teamtalk/internal/chat"
)

// freshly is how long the bar tells how a connection came about.
const freshly = 15 * time.Second

// connection is the connection in a line.
func connection(m *chat.Model) string {
	l := m.Link
	text := state(m, l)
	if l.Queued > 0 {
		text += fmt.Sprintf(" · %d to send", l.Queued)
	}
	return text
}

func state(m *chat.Model, l chat.Link) string {
	switch l.State {
	case client.Online:
		text := "● " + transport(l.Route.Transport)
		since := m.Now().Sub(l.Since)
		switch {
		case l.Reconnects > 0 && l.Resumed && since < freshly:
			return fmt.Sprintf("%s · resumed in %s", text, l.Took.Round(time.Millisecond))
		case l.Reconnects > 0 && since < freshly:
			return text + " · back again"
		case l.RoundTrip > 0:
			return fmt.Sprintf("%s · %s", text, roundTrip(l.RoundTrip))
		}
		return text
	case client.Offline:
		if l.RetryAt.IsZero() {
			return "○ offline: " + reason(l.Why)
		}
		wait := max(0, l.RetryAt.Sub(m.Now()))
		return fmt.Sprintf("○ offline, again in %.1f s: %s", wait.Seconds(), reason(l.Why))
	case client.Kicked:
		return "○ ended: " + reason(l.Why)
	case client.Connecting:
	}
	switch {
	case l.Position > 0 && l.ETA > 0:
		return fmt.Sprintf("◌ waiting in the login queue: %d, about %s", l.Position, short(l.ETA+time.Second-1))
	case l.Position > 0:
		return fmt.Sprintf("◌ waiting in the login queue: %d", l.Position)
	case l.Before && l.Why != nil:
		return "◌ resuming" + trying(l.Trying) + ": " + reason(l.Why)
	case l.Before:
		return "◌ resuming" + trying(l.Trying)
	}
	return "◌ connecting" + trying(l.Trying)
}

// trying is the way that was set out on last.
func trying(routes []dial.Route) string {
	if len(routes) == 0 {
		return ""
	}
	last := routes[len(routes)-1]
	return " by " + transport(last.Transport) + " to " + last.Host()
}

func roundTrip(d time.Duration) string {
	if d < 10*time.Millisecond {
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(time.Millisecond).String()
}

func reason(err error) string {
	if err == nil {
		return "no connection"
	}
	return strings.TrimPrefix(oneLine(chat.Reason(err)), "dial: ")
}

// transport is the name of a transport as people write it.
func transport(t dial.Transport) string {
	switch t {
	case dial.QUIC:
		return "QUIC"
	case dial.TLS:
		return "TLS"
	case dial.WebSocket:
		return "WebSocket"
	case dial.LongPoll:
		return "long-poll"
	case dial.TCP:
		return "TCP"
	}
	return fmt.Sprint(t)
}
