package chatview

import (
	"os"

	"github.com/gdamore/tcell/v2"

	"teamtalk/internal/chat"
)

// palette is what styles look like. Without colours, weight and reversal tell apart what must be told apart.
func palette() [styles]tcell.Style {
	plain := tcell.StyleDefault
	p := [styles]tcell.Style{Plain: plain, Dim: plain.Dim(true), Bold: plain.Bold(true), Title: plain.Bold(true), Own: plain.Bold(true),
		Sent: plain.Dim(true), Read: plain, Failed: plain.Bold(true), Warn: plain.Bold(true), Gone: plain.Dim(true).Italic(true),
		Here: plain.Bold(true), Fresh: plain.Bold(true), Chosen: plain.Reverse(true), Bar: plain.Reverse(true)}
	for i := range authors {
		p[Author+Style(i)] = plain.Bold(true)
	}
	if os.Getenv("NO_COLOR") != "" {
		return p
	}
	p[Title] = p[Title].Foreground(tcell.ColorTeal)
	p[Own] = p[Own].Foreground(tcell.ColorTeal)
	p[Read] = p[Read].Foreground(tcell.ColorGreen)
	p[Failed] = p[Failed].Foreground(tcell.ColorRed)
	p[Warn] = plain.Foreground(tcell.ColorOlive)
	p[Here] = plain.Foreground(tcell.ColorGreen)
	p[Fresh] = p[Fresh].Foreground(tcell.ColorFuchsia)
	for i, c := range [authors]tcell.Color{tcell.ColorOlive, tcell.ColorGreen, tcell.ColorPurple, tcell.ColorBlue, tcell.ColorMaroon, tcell.ColorNavy} {
		p[Author+Style(i)] = p[Author+Style(i)].Foreground(c)
	}
	return p
}

// paint brings a grid to the terminal.
func paint(s tcell.Screen, g *Grid, look *[styles]tcell.Style) {
	for y := range g.Height {
		for x := range g.Width {
			if c := g.At(x, y); c.Width > 0 {
				s.Put(x, y, c.Text, look[c.Style])
			}
		}
	}
	if g.CursorX >= 0 {
		s.ShowCursor(g.CursorX, g.CursorY)
	} else {
		s.HideCursor()
	}
	s.Show()
}

// keyboard turns the terminal's keys into the model's; what is pasted comes in one piece.
type keyboard struct {
	pasting bool
	pasted  []rune
}

// maxPaste is how many characters of a paste are taken; more than any server takes as a message.
const maxPaste = 1 << 20

func (k *keyboard) paste(ev *tcell.EventPaste) (chat.Key, bool) {
	text := string(k.pasted)
	k.pasting, k.pasted = ev.Start(), nil
	return chat.Key{Code: chat.Pasted, Text: text}, ev.End() && text != ""
}

func (k *keyboard) key(ev *tcell.EventKey) (chat.Key, bool) {
	if k.pasting {
		r := ev.Rune()
		switch ev.Key() {
		case tcell.KeyEnter, tcell.KeyCtrlJ:
			r = '\n'
		case tcell.KeyTab:
			r = '\t'
		case tcell.KeyRune:
		default:
			return chat.Key{}, false
		}
		if len(k.pasted) < maxPaste {
			k.pasted = append(k.pasted, r)
		}
		return chat.Key{}, false
	}
	if code, ok := escaped(ev); ok {
		return chat.Key{Code: code}, true
	}
	if ev.Key() == tcell.KeyRune {
		return chat.Key{Code: chat.Typed, Text: string(ev.Rune())}, ev.Modifiers()&(tcell.ModAlt|tcell.ModCtrl|tcell.ModMeta) == 0
	}
	code, ok := codes()[ev.Key()]
	return chat.Key{Code: code}, ok
}

// escaped is what a key does together with Alt, or Shift, if it then does something of its own.
func escaped(ev *tcell.EventKey) (chat.Code, bool) {
	if ev.Modifiers()&(tcell.ModAlt|tcell.ModShift) == 0 {
		return 0, false
	}
	switch ev.Key() {
	case tcell.KeyEnter:
		return chat.Newline, true
	case tcell.KeyUp:
		return chat.Previous, true
	case tcell.KeyDown:
		return chat.Next, true
	case tcell.KeyBackspace, tcell.KeyBackspace2:
		return chat.DeleteWord, ev.Modifiers()&tcell.ModAlt != 0
	case tcell.KeyRune: // Enter behind an escape character, as most terminals say Alt, is the control character M
		return chat.Newline, ev.Modifiers() == tcell.ModAlt|tcell.ModCtrl && (ev.Rune() == 'm' || ev.Rune() == 'j')
	}
	return 0, false
}

func codes() map[tcell.Key]chat.Code {
	return map[tcell.Key]chat.Code{
		tcell.KeyEnter: chat.Enter, tcell.KeyCtrlJ: chat.Newline, tcell.KeyBackspace: chat.Backspace, tcell.KeyBackspace2: chat.Backspace,
		tcell.KeyDelete: chat.Delete, tcell.KeyCtrlD: chat.Delete, tcell.KeyCtrlW: chat.DeleteWord, tcell.KeyCtrlU: chat.DeleteLine,
		tcell.KeyLeft: chat.Left, tcell.KeyCtrlB: chat.Left, tcell.KeyRight: chat.Right, tcell.KeyCtrlF: chat.Right,
		tcell.KeyUp: chat.Up, tcell.KeyDown: chat.Down, tcell.KeyHome: chat.Home, tcell.KeyCtrlA: chat.Home, tcell.KeyEnd: chat.End, tcell.KeyCtrlE: chat.End,
		tcell.KeyPgUp: chat.PageUp, tcell.KeyPgDn: chat.PageDown, tcell.KeyTab: chat.Tab, tcell.KeyBacktab: chat.BackTab,
		tcell.KeyCtrlN: chat.Next, tcell.KeyCtrlP: chat.Previous, tcell.KeyCtrlK: chat.JumpTo, tcell.KeyEscape: chat.Escape,
		tcell.KeyCtrlC: chat.Leaving, tcell.KeyCtrlL: chat.Repaint,
	}
}
