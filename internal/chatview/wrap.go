package chatview

import (
	"iter"
	"strings"
	"unicode"

	"github.com/rivo/uniseg"
)

// clean makes what others wrote harmless for a terminal: nothing in it moves the cursor, changes colours or turns the direction of
// writing round. Joiners stay, which some characters are made with.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\u200d', r == '\u200c':
			return r
		case r == '\t', r == '\u2028', r == '\u2029':
			return ' '
		case unicode.IsPrint(r), unicode.Is(unicode.Mn, r), unicode.Is(unicode.Zs, r), r >= 0xe0020 && r <= 0xe007f: // tags, as in flags
			return r
		}
		return '\uFFFD'
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// oneLine is a text without newlines.
func oneLine(s string) string {
	return strings.ReplaceAll(clean(strings.ReplaceAll(s, "\r\n", "\n")), "\n", " ")
}

// clusters yields the characters of a text, as people see them, and their columns. Those without any are left out.
func clusters(text string) iter.Seq2[string, int] {
	return func(yield func(string, int) bool) {
		state := -1
		for text != "" {
			var c string
			var width int
			c, text, width, state = uniseg.FirstGraphemeClusterInString(text, state)
			if width > 0 && !yield(c, min(width, 2)) {
				return
			}
		}
	}
}

// wrap breaks a text into lines of at most so many columns, between words where the rules of its script allow it, else anywhere.
func wrap(text string, width int) []string {
	width = max(width, 2)
	var lines []string
	for paragraph := range strings.SplitSeq(clean(strings.ReplaceAll(strings.TrimRight(text, "\r\n"), "\r\n", "\n")), "\n") {
		lines = append(lines, wrapParagraph(paragraph, width)...)
	}
	return lines
}

func wrapParagraph(text string, width int) []string {
	var lines []string
	var line strings.Builder
	used, state := 0, -1
	end := func() {
		lines = append(lines, strings.TrimRight(line.String(), " "))
		line.Reset()
		used = 0
	}
	for text != "" {
		var segment string
		segment, text, _, state = uniseg.FirstLineSegmentInString(text, state)
		bare := uniseg.StringWidth(strings.TrimRight(segment, " "))
		if used > 0 && used+bare > width {
			end()
		}
		for c, w := range clusters(segment) {
			if used+w > width {
				if c == " " { // blanks may hang over the edge
					continue
				}
				end()
			}
			line.WriteString(c)
			used += w
		}
	}
	end()
	return lines
}

// typed is a text in rows of at most so many columns, broken anywhere, and where its cursor stands.
func typed(text string, at, width int) (rows []string, x, y int) {
	width = max(width, 2)
	var row strings.Builder
	used, pos, state := 0, 0, -1
	end := func() {
		rows = append(rows, row.String())
		row.Reset()
		used = 0
	}
	mark := func(room int) {
		if pos != at {
			return
		}
		if used+room > width { // the cursor stands where the next character goes
			x, y = 0, len(rows)+1
		} else {
			x, y = used, len(rows)
		}
	}
	for rest := text; rest != ""; {
		var c string
		c, rest, _, state = uniseg.FirstGraphemeClusterInString(rest, state)
		if c == "\n" {
			mark(0)
			end()
			pos += len(c)
			continue
		}
		shown := clean(c)
		w := min(uniseg.StringWidth(shown), 2)
		mark(max(1, w))
		if used+w > width {
			end()
		}
		row.WriteString(shown)
		used += w
		pos += len(c)
	}
	mark(1)
	end()
	if y == len(rows) {
		rows = append(rows, "")
	}
	return rows, x, y
}
