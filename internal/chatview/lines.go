package chatview

import (
	"fmt"
	"strings"
	"time"

	"github.com/rivo/uniseg"

	"teamtalk/client"
	"teamtalk/internal/chat"
	"teamtalk/protocol"
)

// together is how long messages of an author stand under one heading.
const together = 5 * time.Minute

// span is a text of one style.
type span struct {
	text  string
	style Style
}

type line []span

// conversation is the lines of a conversation, the oldest first.
func conversation(m *chat.Model, c *chat.Conversation, width int) []line {
	lines := []line{top(c)}
	var before *chat.Entry
	for _, e := range c.Entries {
		at := e.Time.In(m.Now().Location())
		if before == nil || !sameDay(at, before.Time.In(at.Location())) {
			lines = append(lines, rule(at.Format("Monday, 2 January 2006"), width))
			before = nil
		}
		if e.Kind == chat.Note {
			for _, text := range wrap("— "+m.Happened(e), width-1) {
				lines = append(lines, line{{" " + text, Dim}})
			}
			before = &chat.Entry{Time: e.Time, Kind: chat.Note}
			continue
		}
		if before == nil || before.Kind == chat.Note || before.From != e.From || before.Address != e.Address || e.Time.Sub(before.Time) > together {
			lines = append(lines, heading(m, e, at))
		}
		lines = append(lines, body(m, c, e, width)...)
		before = e
	}
	return lines
}

// top tells what is above the oldest message here.
func top(c *chat.Conversation) line {
	switch {
	case c.Loading():
		return line{{" fetching messages…", Dim}}
	case c.Complete && len(c.Entries) == 0:
		return line{{" nothing was said yet", Dim}}
	case c.Complete:
		return line{{" this is where it begins", Dim}}
	}
	return line{{" PgUp fetches older messages", Dim}}
}

func sameDay(a, b time.Time) bool { return a.YearDay() == b.YearDay() && a.Year() == b.Year() }

// rule is a line across with a text in its middle.
func rule(text string, width int) line {
	left := max(0, width-uniseg.StringWidth(text)-2)
	return line{{strings.Repeat("─", left/2) + " " + text + " " + strings.Repeat("─", left-left/2), Dim}}
}

func heading(m *chat.Model, e *chat.Entry, at time.Time) line {
	style := Own
	if !e.Mine {
		style = Author + Style(uint32(e.From)%authors)
	}
	return line{{" " + oneLine(m.Author(e)), style}, {at.Format("  15:04"), Dim}}
}

// body is a message's text and its marks.
func body(m *chat.Model, c *chat.Conversation, e *chat.Entry, width int) []line {
	style := Plain
	if e.Gone || e.Kind != chat.Text {
		style = Gone
	}
	said := chat.Said(e)
	if e.Gone && e.Deleted == protocol.Recalled && e.By != 0 && e.By != e.From {
		said = "(recalled by " + m.Person(e.By).Name + ")"
	}
	var lines []line
	used := 0
	for _, text := range wrap(said, width-4) {
		lines = append(lines, line{{"   " + text, style}})
		used = 3 + uniseg.StringWidth(text)
	}
	for _, mark := range marks(m, c, e) {
		w := uniseg.StringWidth(mark.text) + 1
		if last := len(lines) - 1; used+w <= width {
			lines[last] = append(lines[last], span{" " + mark.text, mark.style})
			used += w
			continue
		}
		for _, text := range wrap(mark.text, width-4) {
			lines = append(lines, line{{"   " + text, mark.style}})
			used = 3 + uniseg.StringWidth(text)
		}
	}
	return lines
}

// marks tell how far a message of one's own has got, and when one burns.
func marks(m *chat.Model, c *chat.Conversation, e *chat.Entry) []span {
	var list []span
	if e.Burn > 0 && e.Live() {
		text := fmt.Sprintf("[burns %s after reading]", short(e.Burn))
		if !e.Due.IsZero() {
			text = fmt.Sprintf("[burns in %s]", short(max(time.Second, e.Due.Sub(m.Now())+time.Second-1)))
		}
		list = append(list, span{text, Warn})
	}
	if !e.Mine || e.Gone {
		return list
	}
	phase := c.Phase(e)
	switch {
	case phase < client.PhaseSent || phase == client.PhaseFailed:
	case e.State == client.StateUndeliverable:
		return append(list, span{strings.TrimSuffix("✗ not delivered: "+oneLine(e.Why), ": "), Failed})
	case e.State == client.StateDelayed && phase == client.PhaseSent:
		return append(list, span{"✓ delayed", Warn})
	}
	switch phase {
	case client.PhaseQueued, client.PhaseSending:
		return append(list, span{"…", Dim})
	case client.PhaseSent:
		return append(list, span{"✓", Sent})
	case client.PhaseDelivered:
		return append(list, span{"✓✓", Sent})
	case client.PhaseRead:
		return append(list, span{"✓✓ read", Read})
	case client.PhaseFailed:
		return append(list, span{"✗ not sent: " + oneLine(e.Why) + "; /retry sends it again", Failed})
	}
	return list
}

// short is a duration in whole seconds, in at most two units.
func short(d time.Duration) string {
	s := int(d / time.Second)
	switch {
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case s < 3600 && s%60 == 0:
		return fmt.Sprintf("%d min", s/60)
	case s < 3600:
		return fmt.Sprintf("%d min %d s", s/60, s%60)
	case s < 86400:
		return fmt.Sprintf("%d h %d min", s/3600, s%3600/60)
	}
	return fmt.Sprintf("%d d %d h", s/86400, s%86400/3600)
}
