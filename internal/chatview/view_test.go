package chatview

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gdamore/tcell/v2"
	"github.com/rivo/uniseg"
	"pgregory.net/rapid"

	"teamtalk/client"
	"teamtalk/client/dial"
	"teamtalk/internal/chat"
	"teamtalk/protocol"
)

func noon() time.Time { return time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC) }

func TestWrap(t *testing.T) {
	for _, c := range []struct {
		text  string
		width int
		want  string
	}{
		{"one two three", 8, "one two|three"},
		{"one two", 7, "one two"},
		{"incomprehensible", 6, "incomp|rehens|ible"},
		{"中文没有空格也换行", 6, "中文没|有空格|也换行"},
		{"中文没有", 5, "中文|没有"},
		{"a\n\nb\n", 9, "a||b"},
		{"wide 👩‍👩‍👧👩‍👩‍👧 e\u0301", 7, "wide 👩‍👩‍👧|👩‍👩‍👧 e\u0301"},
		{"\x1b[2Jx\u202ey", 20, "\uFFFD[2Jx\uFFFDy"},
		{"", 5, ""},
	} {
		if got := strings.Join(wrap(c.text, c.width), "|"); got != c.want {
			t.Errorf("wrap(%q, %d) = %q, want %q", c.text, c.width, got, c.want)
		}
	}
}

func TestTyped(t *testing.T) {
	for _, c := range []struct {
		text  string // with | where the cursor is
		width int
		rows  string
		x, y  int
	}{
		{"|", 4, "", 0, 0},
		{"ab|c", 4, "abc", 2, 0},
		{"abcd|", 4, "abcd/", 0, 1},
		{"abc|中", 4, "abc/中", 0, 1},
		{"中|文", 9, "中文", 2, 0},
		{"a\n|b", 9, "a/b", 0, 1},
		{"ab|\nb", 9, "ab/b", 2, 0},
		{"e\u0301|x", 9, "e\u0301x", 1, 0},
	} {
		at := strings.IndexByte(c.text, '|')
		rows, x, y := typed(strings.Replace(c.text, "|", "", 1), at, c.width)
		if got := strings.Join(rows, "/"); got != c.rows || x != c.x || y != c.y {
			t.Errorf("%q is %q with the cursor at %d, %d; want %q at %d, %d", c.text, got, x, y, c.rows, c.x, c.y)
		}
	}
}

// However long and wide a text is, its lines fit, and nothing of it is lost but blanks.
func TestWrapProperty(t *testing.T) {
	pieces := []string{"word ", "中文", "👩‍👩‍👧", "e\u0301", " ", "\n", "averyveryverylongword", "🇨🇳", "\u0301", "…"}
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 30).Draw(t, "text"), "")
		width := rapid.IntRange(2, 40).Draw(t, "width")
		for _, l := range wrap(text, width) {
			if w := uniseg.StringWidth(l); w > width {
				t.Fatalf("%q has %d columns of %d", l, w, width)
			}
		}
		at := len(text)
		rows, x, y := typed(text, at, width)
		for _, l := range rows {
			if w := uniseg.StringWidth(l); w > width {
				t.Fatalf("%q has %d columns of %d", l, w, width)
			}
		}
		if y >= len(rows) || x >= width {
			t.Fatalf("the cursor is at %d, %d of %q", x, y, rows)
		}
	})
}

// lively is a model with something of everything.
func lively() *chat.Model {
	m := chat.New(1, "ann")
	m.Tick(noon())
	m.Users([]client.User{{User: protocol.User{ID: 1, Name: "ann"}}, {User: protocol.User{ID: 2, Name: "bo", Nick: "Bo 波", Sign: "出差"}}})
	m.Presence([]client.Presence{{User: 2, Online: true}})
	bo := protocol.WithUser(2)
	say := func(id protocol.MsgID, from protocol.UserID, text string, burn time.Duration) {
		m.Event(&client.Message{Session: bo, ID: id, From: from, Mine: from == 1, Time: noon(), Type: protocol.MsgSingleText, Text: text, BurnAfter: burn})
	}
	say(1, 2, "早上好！ good morning 🎉", 0)
	say(2, 1, "read", 0)
	say(3, 1, "delivered", 0)
	say(4, 1, "sent", 0)
	say(5, 1, "slip", 0)
	say(6, 2, "secret", 90*time.Second)
	say(7, 1, "quiet", 30*time.Second)
	m.Event(&client.MessageDeleted{Session: bo, ID: 5, Kind: protocol.Recalled, By: 1})
	m.Event(&client.Mark{Session: bo, User: 2, Delivered: 3, Read: 2})
	m.Event(&client.Message{Session: protocol.InGroup(9), ID: 1, From: 2, Time: noon(), Type: protocol.MsgGroupText, Text: "hi all"})
	m.Show(bo)
	m.Key(chat.Key{Code: chat.Typed, Text: "waiting"})
	m.Key(chat.Key{Code: chat.Enter})
	return m
}

func rows(g *Grid) string {
	var b strings.Builder
	for y := range g.Height {
		b.WriteString(strings.TrimRight(g.Row(y), " ") + "\n")
	}
	return b.String()
}

// Each state of a message can be told from the others without colours.
func TestMarks(t *testing.T) {
	shot := rows(Draw(lively(), 80, 24))
	for _, want := range []string{"   read ✓✓ read\n", "   delivered ✓✓\n", "   sent ✓\n", "   (recalled)\n", "   secret [burns in 1 min 30 s]\n",
		"   quiet [burns 30 s after reading] ✓\n", "   waiting …\n", " bo  Bo 波  online  “出差”", "#group:9        1", "bo: hi all"} {
		if !strings.Contains(shot, want) {
			t.Errorf("there is no %q in\n%s", want, shot)
		}
	}
}

// Whatever is shown, at any size, each row is as wide as the screen, and the line between list and conversation is straight.
func TestDrawProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := lively()
		for range rapid.IntRange(0, 10).Draw(t, "keys") {
			code := chat.Code(rapid.IntRange(0, int(chat.Repaint)).Draw(t, "code"))
			text := rapid.SampledFrom([]string{"a", "/", "/re", "中文", "👩‍👩‍👧", "e\u0301", "\n", "/help", "/who", "long long text "}).Draw(t, "text")
			m.Key(chat.Key{Code: code, Text: text})
			width, height := rapid.IntRange(0, 130).Draw(t, "width"), rapid.IntRange(0, 40).Draw(t, "height")
			g := Draw(m, width, height)
			for y := range height {
				if w := uniseg.StringWidth(g.Row(y)); w != width {
					t.Fatalf("row %d of %d columns has %d: %q", y, width, w, g.Row(y))
				}
			}
			if g.CursorX >= width || g.CursorX >= 0 && (g.CursorY < 0 || g.CursorY >= height) {
				t.Fatalf("the cursor is at %d, %d of %d, %d", g.CursorX, g.CursorY, width, height)
			}
			if width >= listFrom && height >= leastHeight {
				column := strings.Index(g.Row(0), "│")
				at := uniseg.StringWidth(g.Row(0)[:column])
				for y := range height - 1 {
					if g.At(at, y).Text != "│" {
						t.Fatalf("row %d: %q", y, g.Row(y))
					}
				}
			}
		}
	})
}

func TestConnection(t *testing.T) {
	quic, poll := dial.Route{Transport: dial.QUIC}, dial.Route{Transport: dial.LongPoll}
	for _, c := range []struct {
		link chat.Link
		want string
	}{
		{chat.Link{Status: client.Status{State: client.Connecting}}, "◌ connecting"},
		{chat.Link{Status: client.Status{State: client.Connecting}, Before: true}, "◌ resuming"},
		{chat.Link{Status: client.Status{State: client.Connecting, Trying: []dial.Route{{Transport: dial.QUIC, URL: "quic://a:443"}}}}, "◌ connecting by QUIC to a:443"},
		{chat.Link{Status: client.Status{State: client.Connecting, Trying: []dial.Route{{Transport: dial.QUIC, URL: "quic://a:443"}, {Transport: dial.WebSocket, URL: "wss://b:8443/ws"}},
			Why: errors.New("client: gone")}, Before: true}, "◌ resuming by WebSocket to b:8443: gone"},
		{chat.Link{Status: client.Status{State: client.Connecting, Position: 1204, ETA: 30500 * time.Millisecond}}, "◌ waiting in the login queue: 1204, about 31 s"},
		{chat.Link{Status: client.Status{State: client.Connecting, Position: 3}}, "◌ waiting in the login queue: 3"},
		{chat.Link{Status: client.Status{State: client.Online, Route: quic, RoundTrip: 12345 * time.Microsecond}}, "● QUIC · 12ms"},
		{chat.Link{Status: client.Status{State: client.Online, Route: poll, Reconnects: 1, Since: noon(), Queued: 2}, Resumed: true, Took: 21 * time.Millisecond},
			"● long-poll · resumed in 21ms · 2 to send"},
		{chat.Link{Status: client.Status{State: client.Offline, RetryAt: noon().Add(1500 * time.Millisecond), Why: errors.New("client: no\nway")}}, "○ offline, again in 1.5 s: no"},
		{chat.Link{Status: client.Status{State: client.Kicked, Why: client.ErrKicked}}, "○ ended: kicked by the server"},
	} {
		m := chat.New(1, "ann")
		m.Tick(noon())
		m.Link = c.link
		if got := connection(m); got != c.want {
			t.Errorf("%+v is %q, want %q", c.link, got, c.want)
		}
	}
}

// What is pasted comes in one piece, and the several ways of terminals to say Alt-Enter are one.
func TestKeyboard(t *testing.T) {
	var k keyboard
	press := func(ev *tcell.EventKey) string {
		key, ok := k.key(ev)
		return fmt.Sprint(key.Code, key.Text, ok)
	}
	for _, c := range []struct {
		ev   *tcell.EventKey
		want chat.Key
		ok   bool
	}{
		{tcell.NewEventKey(tcell.KeyRune, '中', 0), chat.Key{Code: chat.Typed, Text: "中"}, true},
		{tcell.NewEventKey(tcell.KeyEnter, 0, 0), chat.Key{Code: chat.Enter}, true},
		{tcell.NewEventKey(tcell.KeyEnter, 0, tcell.ModAlt), chat.Key{Code: chat.Newline}, true},
		{tcell.NewEventKey(tcell.KeyRune, 'm', tcell.ModAlt|tcell.ModCtrl), chat.Key{Code: chat.Newline}, true},
		{tcell.NewEventKey(tcell.KeyUp, 0, tcell.ModAlt), chat.Key{Code: chat.Previous}, true},
		{tcell.NewEventKey(tcell.KeyCtrlK, 0, tcell.ModCtrl), chat.Key{Code: chat.JumpTo}, true},
		{tcell.NewEventKey(tcell.KeyRune, 'x', tcell.ModAlt), chat.Key{}, false},
		{tcell.NewEventKey(tcell.KeyF5, 0, 0), chat.Key{}, false},
	} {
		if got, ok := k.key(c.ev); ok != c.ok || ok && got != c.want {
			t.Errorf("%s is %+v, %t", c.ev.Name(), got, ok)
		}
	}
	k.paste(tcell.NewEventPaste(true))
	for _, r := range "a\rb" {
		if got := press(tcell.NewEventKey(tcell.KeyRune, r, 0)); !strings.HasSuffix(got, "false") {
			t.Errorf("%q in a paste is the key %s", r, got)
		}
	}
	if got, ok := k.paste(tcell.NewEventPaste(false)); !ok || got != (chat.Key{Code: chat.Pasted, Text: "a\nb"}) {
		t.Errorf("pasted %+v, %t", got, ok)
	}
}
