package chat

import (
	"strings"
	"unicode"

	"github.com/rivo/uniseg"
)

// Editor is a text that is being typed. Its cursor stands between characters as people see them, whatever they are made of.
type Editor struct {
	text string
	at   int // bytes before the cursor
}

// Text is what was typed.
func (e *Editor) Text() string { return e.text }

// Before is the text before the cursor.
func (e *Editor) Before() string { return e.text[:e.at] }

// Set replaces the text and puts the cursor behind it.
func (e *Editor) Set(text string) { e.text, e.at = text, len(text) }

// Insert puts a text before the cursor; control characters but newlines are left out.
func (e *Editor) Insert(text string) {
	text = strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case r != '\n' && unicode.IsControl(r):
			return -1
		}
		return r
	}, strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n"))
	text = strings.ToValidUTF8(text, "\uFFFD")
	e.text = e.text[:e.at] + text + e.text[e.at:]
	e.at += len(text)
	e.settle()
}

// settle moves the cursor behind the character that it fell into: what was inserted may have joined its neighbours.
func (e *Editor) settle() {
	pos := 0
	for pos < e.at {
		pos += first(e.text[pos:])
	}
	e.at = pos
}

// first is the length of a text's first character.
func first(text string) int {
	c, _, _, _ := uniseg.FirstGraphemeClusterInString(text, -1)
	return len(c)
}

// last is the length of the last character of the text before the cursor.
func (e *Editor) last() int {
	pos, n := 0, 0
	for pos < e.at {
		n = first(e.text[pos:])
		pos += n
	}
	return n
}

// Left moves the cursor by a character.
func (e *Editor) Left() { e.at -= e.last() }

// Right moves the cursor by a character.
func (e *Editor) Right() { e.at += first(e.text[e.at:]) }

// Home moves the cursor to the beginning of its line.
func (e *Editor) Home() { e.at = strings.LastIndexByte(e.text[:e.at], '\n') + 1 }

// End moves the cursor to the end of its line.
func (e *Editor) End() {
	if n := strings.IndexByte(e.text[e.at:], '\n'); n >= 0 {
		e.at += n
	} else {
		e.at = len(e.text)
	}
}

// Up moves the cursor to the line before; false: it is in the first.
func (e *Editor) Up() bool {
	begin := strings.LastIndexByte(e.text[:e.at], '\n')
	if begin < 0 {
		return false
	}
	column := uniseg.StringWidth(e.text[begin+1 : e.at])
	e.at = begin
	e.Home()
	e.advance(column)
	return true
}

// Down moves the cursor to the next line; false: it is in the last.
func (e *Editor) Down() bool {
	n := strings.IndexByte(e.text[e.at:], '\n')
	if n < 0 {
		return false
	}
	column := uniseg.StringWidth(e.text[strings.LastIndexByte(e.text[:e.at], '\n')+1 : e.at])
	e.at += n + 1
	e.advance(column)
	return true
}

// advance moves the cursor to a column of its line, at whose beginning it is, or to the line's end.
func (e *Editor) advance(column int) {
	for e.at < len(e.text) && e.text[e.at] != '\n' {
		n := first(e.text[e.at:])
		if column -= uniseg.StringWidth(e.text[e.at : e.at+n]); column < 0 {
			return
		}
		e.at += n
	}
}

// Backspace deletes the character before the cursor.
func (e *Editor) Backspace() {
	n := e.last()
	e.text = e.text[:e.at-n] + e.text[e.at:]
	e.at -= n
	e.settle()
}

// Delete deletes the character after the cursor.
func (e *Editor) Delete() {
	e.text = e.text[:e.at] + e.text[e.at+first(e.text[e.at:]):]
	e.settle()
}

// DeleteWord deletes back to the beginning of a word.
func (e *Editor) DeleteWord() {
	left := strings.TrimRightFunc(e.text[:e.at], unicode.IsSpace)
	if n := strings.LastIndexFunc(left, unicode.IsSpace); n >= 0 {
		_, size := rune0(left[n:])
		left = left[:n+size]
	} else {
		left = ""
	}
	e.text, e.at = left+e.text[e.at:], len(left)
	e.settle()
}

func rune0(s string) (rune, int) {
	for i, r := range s {
		if i == 0 {
			return r, len(string(r))
		}
	}
	return 0, 0
}

// DeleteLine deletes back to the beginning of the line.
func (e *Editor) DeleteLine() {
	end := e.at
	e.Home()
	e.text = e.text[:e.at] + e.text[end:]
	e.settle()
}
