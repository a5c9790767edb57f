// Package texttable writes tables for terminals, in which whatever others wrote can do no harm.
package texttable

import (
	"io"
	"strings"
	"unicode"

	"github.com/rivo/uniseg"
)

// Table is rows of cells, the first row being the heading.
type Table [][]string

// Print writes the rows with aligned columns, as terminals show them.
func (t Table) Print(w io.Writer) error {
	var widths []int
	for _, row := range t {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], uniseg.StringWidth(Printable(cell)))
		}
	}
	var b strings.Builder
	for _, row := range t {
		for i, cell := range row {
			cell = Printable(cell)
			b.WriteString(cell)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-uniseg.StringWidth(cell)+2))
			}
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Printable replaces control characters: what others write must not drive the reader's terminal.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, s)
}

// Cut is the beginning of a text that a terminal shows in so many columns; Chinese, Japanese and Korean characters take two.
func Cut(s string, columns int) string {
	end, width := 0, 0
	for g := uniseg.NewGraphemes(s); g.Next(); _, end = g.Positions() {
		if width += g.Width(); width > columns {
			break
		}
	}
	return s[:end]
}
