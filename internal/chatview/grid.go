package chatview

import (
	"strings"

	"github.com/rivo/uniseg"
)

// Style is what a cell means; the terminal decides what that looks like.
type Style uint8

// Styles.
const (
	Plain Style = iota
	Dim
	Bold
	Title
	Own
	Author // of six colours, by Author+n
	_
	_
	_
	_
	_
	Sent
	Read
	Failed
	Warn
	Gone
	Here
	Fresh
	Chosen
	Bar
	styles
)

// authors is how many colours tell people apart.
const authors = 6

// Cell is what stands at a place. The right half of a wide character is a Cell without text.
type Cell struct {
	Text  string
	Width int
	Style Style
}

// Grid is a screen of cells.
type Grid struct {
	Width, Height int
	CursorX       int // -1: no cursor
	CursorY       int
	cells         []Cell
}

// NewGrid is an empty screen.
func NewGrid(width, height int) *Grid {
	g := &Grid{Width: width, Height: height, CursorX: -1, cells: make([]Cell, width*height)}
	for i := range g.cells {
		g.cells[i] = Cell{" ", 1, Plain}
	}
	return g
}

// At is the cell in a column of a row.
func (g *Grid) At(x, y int) Cell { return g.cells[y*g.Width+x] }

// Row is a row as text.
func (g *Grid) Row(y int) string {
	var b strings.Builder
	for x := range g.Width {
		b.WriteString(g.At(x, y).Text)
	}
	return b.String()
}

// put writes a text into at most room columns and returns how many it took. What does not fit is left out, whole characters at a time.
func (g *Grid) put(x, y, room int, text string, style Style) int {
	room = min(room, g.Width-x)
	used := 0
	for c, width := range clusters(text) {
		if y < 0 || y >= g.Height || used+width > room {
			break
		}
		g.set(x+used, y, Cell{c, width, style})
		used += width
	}
	return used
}

func (g *Grid) set(x, y int, c Cell) {
	row := g.cells[y*g.Width : (y+1)*g.Width]
	if row[x].Width == 0 && x > 0 { // the right half of another
		row[x-1] = Cell{" ", 1, row[x-1].Style}
	}
	if end := x + c.Width; end < g.Width && row[end].Width == 0 {
		row[end] = Cell{" ", 1, row[end].Style}
	}
	row[x] = c
	if c.Width == 2 {
		row[x+1] = Cell{"", 0, c.Style}
	}
}

// fill gives a part of a row a style, and blanks instead of what stood there.
func (g *Grid) fill(x, y, width int, text string, style Style) {
	for i := range min(width, g.Width-x) {
		g.set(x+i, y, Cell{text, 1, style})
	}
}

// line writes a text that ends in … if it has not got enough room, and returns how many columns it took.
func (g *Grid) line(x, y, room int, text string, style Style) int {
	return g.put(x, y, room, shorten(text, room), style)
}

// shorten cuts a text down to a width.
func shorten(text string, width int) string {
	text = oneLine(text)
	if uniseg.StringWidth(text) <= width {
		return text
	}
	var b strings.Builder
	left := width - 1
	for c, w := range clusters(text) {
		if w > left {
			break
		}
		b.WriteString(c)
		left -= w
	}
	if width > 0 {
		b.WriteString("…")
	}
	return b.String()
}
