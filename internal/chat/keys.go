package chat

import (
	"strconv"
	"strings"
	"time"

	"teamtalk/client"
)

// Code is what a key does.
type Code uint8

// Codes. Typed and Pasted bring a text.
const (
	Typed Code = iota
	Pasted
	Enter
	Newline
	Backspace
	Delete
	DeleteWord
	DeleteLine
	Left
	Right
	Up
	Down
	Home
	End
	PageUp
	PageDown
	Tab
	BackTab
	Next
	Previous
	JumpTo
	Escape
	Leaving
	Repaint
)

// Key is a key that was pressed, or a text that was pasted.
type Key struct {
	Code Code
	Text string
}

// Key takes in a key.
func (m *Model) Key(k Key) {
	m.Notice = ""
	if k.Code != Tab && k.Code != BackTab {
		m.tabs = completion{}
	}
	switch {
	case k.Code == Leaving:
		m.do(Quit{})
	case k.Code == Repaint:
		m.do(Redraw{})
	case m.Jump != nil:
		m.jumpKey(k)
	case k.Code == Escape:
		m.escape()
	case m.moveKey(k):
	default:
		m.editKey(k)
	}
	m.seen()
}

// escape closes what is open, the nearest first.
func (m *Model) escape() {
	switch {
	case m.Panel != nil:
		m.Panel = nil
	case m.lists.wanted != "":
		m.stopLooking()
	case m.open != nil:
		m.open.Scroll = 0
	}
}

// moveKey obeys the keys that move between and in conversations; false: it is none of them.
func (m *Model) moveKey(k Key) bool {
	switch k.Code {
	case JumpTo:
		m.Jump = &Jump{}
		m.Panel = nil
	case Next:
		m.step(1)
	case Previous:
		m.step(-1)
	case Tab, BackTab:
		m.tab(k.Code == BackTab)
	case PageUp:
		m.page(1)
	case PageDown:
		m.page(-1)
	case Up:
		if !m.Draft().Up() {
			m.step(-1)
		}
	case Down:
		if !m.Draft().Down() {
			m.step(1)
		}
	default:
		return false
	}
	return true
}

// tab completes a command, or goes to the next conversation.
func (m *Model) tab(back bool) {
	by := 1
	if back {
		by = -1
	}
	if strings.HasPrefix(m.Draft().Text(), "/") && !strings.HasPrefix(m.Draft().Text(), "//") {
		m.complete(by)
		return
	}
	m.step(by)
}

// page scrolls by a page; at the top of what is here, older messages are asked for.
func (m *Model) page(by int) {
	if m.Panel != nil {
		m.Panel.Top = max(0, m.Panel.Top-by*max(1, m.rows-2))
		return
	}
	c := m.open
	if c == nil {
		return
	}
	c.Scroll = max(0, c.Scroll+by*max(1, m.rows-1))
	if by > 0 && c.loaded && !c.Complete && c.oldest() > 1 {
		m.load(c, c.oldest()-1, page)
	}
}

// Rows tells how many lines of a conversation are shown.
func (m *Model) Rows(n int) { m.rows = n }

func (m *Model) editKey(k Key) {
	d := m.Draft()
	switch k.Code { //nolint:exhaustive // the others were moveKey's
	case Typed, Pasted:
		d.Insert(k.Text)
	case Newline:
		d.Insert("\n")
	case Backspace:
		d.Backspace()
	case Delete:
		d.Delete()
	case DeleteWord:
		d.DeleteWord()
	case DeleteLine:
		d.DeleteLine()
	case Left:
		d.Left()
	case Right:
		d.Right()
	case Home:
		d.Home()
	case End:
		d.End()
	case Enter:
		m.enter()
	}
}

func (m *Model) enter() {
	text := strings.TrimRight(m.Draft().Text(), "\n ")
	if strings.TrimSpace(text) == "" {
		return
	}
	m.entered(text)
}

// entered does what a line says; while its conversation is being looked for, later.
func (m *Model) entered(text string) {
	if m.lists.wanted != "" && text != "/quit" {
		m.lists.typing.Set("")
		m.lists.lines = append(m.lists.lines, text)
		m.looking()
		return
	}
	switch {
	case strings.HasPrefix(text, "//"):
		text = text[1:]
	case strings.HasPrefix(text, "/"):
		m.command(text)
		return
	}
	if m.open == nil {
		m.Notice = "to whom? Ctrl-K chooses a conversation, /open NAME begins one"
		return
	}
	m.Draft().Set("")
	m.say(text, 0)
}

// say sends a text to the conversation shown.
func (m *Model) say(text string, burn time.Duration) {
	c := m.open
	m.refs++
	c.Entries = append(c.Entries, &Entry{Ref: m.refs, From: m.Me, Mine: true, Time: m.now, Text: text, Burn: burn, Phase: client.PhaseQueued})
	c.Scroll, c.Updated, m.Panel = 0, m.now, nil
	m.sort()
	m.do(Send{Ref: m.refs, In: c.In, Text: text, Burn: burn})
}

// Jump is the choice of a conversation by its name.
type Jump struct {
	Query  Editor
	Chosen int
}

// Choices are the conversations and people that a jump may go to, the best first.
func (m *Model) Choices() []Choice {
	if m.Jump == nil {
		return nil
	}
	return m.rank(m.Jump.Query.Text())
}

func (m *Model) jumpKey(k Key) {
	j, choices := m.Jump, m.Choices()
	switch k.Code { //nolint:exhaustive // the others do nothing here
	case Escape, JumpTo:
		m.Jump = nil
		return
	case Enter:
		if j.Chosen < len(choices) {
			m.Show(choices[j.Chosen].In)
		}
		return
	case Up, BackTab, Previous:
		j.Chosen = max(0, j.Chosen-1)
		return
	case Down, Tab, Next:
		j.Chosen = max(0, min(len(choices)-1, j.Chosen+1))
		return
	case Typed, Pasted:
		j.Query.Insert(strings.ReplaceAll(k.Text, "\n", " "))
	case Backspace:
		j.Query.Backspace()
	case DeleteWord:
		j.Query.DeleteWord()
	case DeleteLine:
		j.Query.DeleteLine()
	case Left:
		j.Query.Left()
	case Right:
		j.Query.Right()
	}
	j.Chosen = 0
}

// number reads a whole number from 1 on.
func number(text string, most int) (int, bool) {
	n, err := strconv.Atoi(text)
	return n, err == nil && n >= 1 && n <= most
}
