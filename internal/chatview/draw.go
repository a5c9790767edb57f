package chatview

import (
	"fmt"

	"github.com/rivo/uniseg"

	"teamtalk/internal/chat"
)

// Sizes below which nothing useful can be shown, and from which there is room for the list.
const (
	leastWidth  = 16
	leastHeight = 6
	listFrom    = 60
)

// Draw draws the screen. It tells the model how much of a conversation is shown.
func Draw(m *chat.Model, width, height int) *Grid {
	g := NewGrid(width, height)
	if width < leastWidth || height < leastHeight {
		if height > 0 {
			g.line(0, 0, width, "too small", Plain)
		}
		return g
	}
	v := view{m, g, 0, height - 1}
	if width >= listFrom {
		list := max(20, min(32, width*27/100))
		v.list(list)
		for y := range height - 1 {
			g.set(list, y, Cell{"│", 1, Dim})
		}
		v.left = list + 1
	}
	v.heading()
	bottom := v.input()
	v.messages(1, bottom)
	v.suggestions(bottom)
	v.panel(1, bottom)
	v.jump(1, bottom)
	v.bar()
	return g
}

// view draws into the part of a grid right of the list and above the bar.
type view struct {
	m      *chat.Model
	g      *Grid
	left   int // first column of the conversation
	bottom int // row of the bar
}

func (v view) width() int { return v.g.Width - v.left }

// list draws the conversations, two rows each, so that the one that is open is among them.
func (v view) list(width int) {
	v.g.line(1, 0, width-1, "TeamTalk", Title)
	all := v.m.Conversations()
	fit := (v.bottom - 1) / 2
	first := 0
	for i, c := range all {
		if c == v.m.Open() {
			first = max(0, min(i-fit/2, len(all)-fit))
		}
	}
	for i := first; i < len(all) && i-first < fit; i++ {
		v.item(all[i], 1+2*(i-first), width)
	}
	if len(all) == 0 {
		v.g.line(1, 1, width-1, "nobody yet: Ctrl-K", Dim)
	}
}

// item draws a conversation of the list.
func (v view) item(c *chat.Conversation, y, width int) {
	name, text := Plain, Dim
	if c.Unread > 0 {
		name = Bold
	}
	if c == v.m.Open() {
		name, text = Chosen, Chosen
		v.g.fill(0, y, width, " ", Chosen)
		v.g.fill(0, y+1, width, " ", Chosen)
	}
	room := width - 3
	if c.Unread > 0 {
		count := fmt.Sprintf("%d", min(c.Unread, 9999))
		room -= len(count) + 1
		v.g.put(width-len(count)-1, y, len(count), count, Fresh)
	}
	if !c.Group() {
		dot, style := "○", text
		if v.m.Person(c.In.Peer()).Online {
			dot = "●"
			if c != v.m.Open() {
				style = Here
			}
		}
		v.g.put(1, y, 1, dot, style)
	}
	v.g.line(3, y, room, v.m.Title(c), name)
	v.g.line(3, y+1, width-4, v.m.Preview(c), text)
}

// heading draws who the conversation is with.
func (v view) heading() {
	x, end := v.left+1, v.g.Width-1
	if n := v.m.Elsewhere(); n > 0 && v.left == 0 {
		more := fmt.Sprintf("+%d unread", n)
		end -= len(more) + 1
		v.g.put(end+1, 0, len(more), more, Fresh)
	}
	c := v.m.Open()
	if c == nil {
		v.g.line(x, 0, end-x, "TeamTalk", Title)
		return
	}
	x += v.g.line(x, 0, end-x, v.m.Title(c), Title)
	about := ""
	if c.Group() {
		if n := len(c.Members); n > 0 {
			about = fmt.Sprintf("  %d members", n)
		}
		if c.Office() != "" {
			about += "  of " + c.Office()
		}
	} else {
		p := v.m.Person(c.In.Peer())
		if p.Online {
			about = "  online"
		}
		if p.Nick != "" && p.Nick != p.Name {
			about = "  " + p.Nick + about
		}
		if p.Sign != "" {
			about += "  “" + p.Sign + "”"
		}
	}
	if x < end {
		v.g.line(x, 0, end-x, about, Dim)
	}
}

// input draws what is being typed and the rule above it, and returns the rule's row.
func (v view) input() int {
	d := v.m.Draft()
	room := v.width() - 3
	rows, x, y := typed(d.Text(), len(d.Before()), room)
	most := max(1, min(6, v.g.Height/3))
	first := max(0, y-most+1)
	rows = rows[first:min(len(rows), first+most)]
	begin := v.bottom - len(rows)
	for i, row := range rows {
		v.g.put(v.left+2, begin+i, room+1, row, Plain)
	}
	v.g.put(v.left, begin, 1, "›", Bold)
	if v.m.Jump == nil {
		v.g.CursorX, v.g.CursorY = v.left+2+x, begin+y-first
	}
	at := begin - 1
	v.g.fill(v.left, at, v.width(), "─", Dim)
	if v.m.Notice != "" {
		text := " " + shorten(v.m.Notice, v.width()-4) + " "
		v.g.put(v.left+1, at, v.width()-2, text, Warn)
	} else if c := v.m.Open(); c != nil && c.Scroll > 0 {
		v.g.line(v.left+1, at, v.width()-2, fmt.Sprintf(" %d lines below, Esc goes there ", c.Scroll), Warn)
	}
	return at
}

// messages draws the conversation between two rows.
func (v view) messages(from, to int) {
	v.m.Rows(to - from)
	c := v.m.Open()
	if c == nil {
		for i, text := range []string{"Ctrl-K  choose a conversation", "/open NAME  begin one", "/help  all keys and commands"} {
			v.g.line(v.left+2, from+1+i, v.width()-3, text, Dim)
		}
		return
	}
	lines := conversation(v.m, c, v.width())
	c.Fit(len(lines), to-from)
	last := len(lines) - c.Scroll
	for y := to - 1; y >= from && last > 0; y-- {
		last--
		x := v.left
		for _, s := range lines[last] {
			x += v.g.put(x, y, v.g.Width-x, s.text, s.style)
		}
	}
}

// box draws lines over the conversation, above a row.
func (v view) box(lines []line, from, to int) {
	lines = lines[:min(len(lines), to-from)]
	for i, l := range lines {
		y := to - len(lines) + i
		v.g.fill(v.left, y, v.width(), " ", Bar)
		x := v.left + 1
		for _, s := range l {
			x += v.g.line(x, y, v.g.Width-x-1, s.text, s.style)
		}
	}
}

// suggestions draws the commands that what is typed may become.
func (v view) suggestions(bottom int) {
	if v.m.Panel != nil || v.m.Jump != nil {
		return
	}
	var lines []line
	for _, c := range v.m.Suggestions() {
		lines = append(lines, line{{fmt.Sprintf("%-9s %-15s %s", c.Name, c.Usage, c.Help), Bar}})
	}
	v.box(lines, 1, bottom)
}

// panel draws lines to read, and says so if there are more of them.
func (v view) panel(from, to int) {
	p := v.m.Panel
	if p == nil {
		return
	}
	var lines []line
	for _, text := range p.Lines {
		for _, row := range wrap(text, v.width()-3) {
			lines = append(lines, line{{row, Bar}})
		}
	}
	if room := to - from - 1; len(lines) > room+1 {
		p.Top = min(p.Top, len(lines)-room)
		lines = append(lines[p.Top:p.Top+room], line{{"(PgUp, PgDn; Esc closes this)", Bar}})
	}
	v.box(lines, from, to)
}

// jump draws the choice of a conversation.
func (v view) jump(from, to int) {
	j := v.m.Jump
	if j == nil {
		return
	}
	query := "go to: " + oneLine(j.Query.Text())
	lines := []line{{{query, Bar}}}
	choices := v.m.Choices()
	room := max(1, min(12, to-from-2))
	first := max(0, j.Chosen-room+1)
	for i := first; i < len(choices) && i-first < room; i++ {
		style, sign := Bar, "  "
		if i == j.Chosen {
			style, sign = Chosen, "› "
		}
		text := sign + choices[i].Title
		if n := choices[i].Unread; n > 0 {
			text += fmt.Sprintf("  (%d)", n)
		}
		lines = append(lines, line{{text, style}})
	}
	if len(choices) == 0 {
		lines = append(lines, line{{"  nobody is called so", Bar}})
	}
	v.box(lines, from, to)
	at := v.left + 1 + uniseg.StringWidth("go to: "+oneLine(j.Query.Before()))
	v.g.CursorX, v.g.CursorY = min(at, v.g.Width-1), to-min(len(lines), to-from)
}

// bar draws the last row: how the connection is, and who one is.
func (v view) bar() {
	g := v.g
	g.fill(0, v.bottom, g.Width, " ", Bar)
	right := oneLine(v.m.Name) + " "
	if hint := "/help  "; g.Width >= 70 {
		right = hint + right
	}
	right = shorten(right, g.Width/3)
	w := uniseg.StringWidth(right)
	g.line(1, v.bottom, g.Width-w-3, connection(v.m), Bar)
	g.put(g.Width-w, v.bottom, w, right, Bar)
}
