package chat

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/rivo/uniseg"
	"pgregory.net/rapid"

	"teamtalk/client"
	"teamtalk/protocol"
)

const me = protocol.UserID(1)

var begin = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC) //nolint:gochecknoglobals // a constant, if times could be

// screen is a model of user 1 who knows bo (2) and 李 (3).
func screen() *Model {
	m := New(me, "ann")
	m.Tick(begin)
	m.Users([]client.User{person(1, "ann"), person(2, "bo"), person(3, "李")})
	m.Listed()
	m.Effects()
	return m
}

func person(id protocol.UserID, name string) client.User {
	return client.User{User: protocol.User{ID: id, Name: name}}
}

func said(with, from protocol.UserID, id protocol.MsgID, text string) *client.Message {
	return &client.Message{Session: protocol.WithUser(with), ID: id, From: from, Mine: from == me, Type: protocol.MsgSingleText, Text: text,
		Time: begin.Add(time.Duration(id) * time.Second)}
}

// texts is a conversation as texts.
func texts(c *Conversation) string {
	var all []string
	for _, e := range c.Entries {
		all = append(all, Said(e))
	}
	return strings.Join(all, "|")
}

func (m *Model) write(text string) {
	m.Key(Key{Typed, text})
	m.Key(Key{Code: Enter})
}

// effects are those of one type since the last call; others are let go.
func effects[T Effect](m *Model) (list []T) {
	for _, e := range m.Effects() {
		if e, ok := e.(T); ok {
			list = append(list, e)
		}
	}
	return list
}

// A message of one's own goes from typed to read, and its event, whenever it comes, is the same message.
func TestOwnMessage(t *testing.T) {
	bo := protocol.WithUser(2)
	id := protocol.ClientMsgID{7}
	for _, eventFirst := range []bool{false, true} {
		m := screen()
		m.Show(bo)
		m.History(LoadHistory{In: bo, Count: page}, []*client.Message{said(2, 2, 1, "hi")}, nil)
		m.Effects()
		m.write("hello\n")
		sends := effects[Send](m)
		if len(sends) != 1 || sends[0].Text != "hello" || sends[0].In != bo || m.Draft().Text() != "" {
			t.Fatalf("sends %+v, left %q", sends, m.Draft().Text())
		}
		c := m.Open()
		own := func() *Entry { return c.Entries[len(c.Entries)-1] }
		phase := func(want client.Phase) {
			t.Helper()
			if got := c.Phase(own()); got != want || texts(c) != "hi|hello" {
				t.Errorf("event first %t: %v, want %v; %s", eventFirst, got, want, texts(c))
			}
		}
		phase(client.PhaseQueued)
		back := said(2, me, 2, "hello")
		back.ClientMsgID = id
		if eventFirst {
			m.Event(back)
		}
		m.Queued(sends[0], id)
		m.Progress(bo, id, client.Delivery{Phase: client.PhaseSent, ID: 2, Time: begin})
		if !eventFirst {
			m.Event(back)
		}
		phase(client.PhaseSent)
		m.Event(&client.Mark{Session: bo, User: 2, Delivered: 2})
		phase(client.PhaseDelivered)
		m.Event(&client.Mark{Session: bo, User: me, Read: 2}) // one's own reading is not another's
		phase(client.PhaseDelivered)
		m.Event(&client.Mark{Session: bo, User: 2, Delivered: 1, Read: 2})
		phase(client.PhaseRead)
	}
}

// What failed says why, and /retry sends it again: by its id, or anew if the SDK never took it.
func TestRetry(t *testing.T) {
	m := screen()
	m.Show(protocol.WithUser(2))
	m.write("one")
	m.write("two")
	sends := effects[Send](m)
	m.Refused(sends[0], errors.New("client: too many\nof them"))
	m.Queued(sends[1], protocol.ClientMsgID{2})
	m.Progress(sends[1].In, protocol.ClientMsgID{2}, client.Delivery{Phase: client.PhaseFailed, Err: errors.New("no")})
	c := m.Open()
	if c.Entries[0].Why != "too many" || c.Entries[1].Why != "no" {
		t.Errorf("why: %q, %q", c.Entries[0].Why, c.Entries[1].Why)
	}
	m.write("/retry")
	var retried, resent int
	for _, e := range m.Effects() {
		switch e := e.(type) {
		case Retry:
			retried++
			if e.Client != (protocol.ClientMsgID{2}) {
				t.Errorf("retries %v", e.Client)
			}
		case Send:
			resent++
			if e.Text != "one" {
				t.Errorf("sends %q", e.Text)
			}
		}
	}
	if retried != 1 || resent != 1 || texts(c) != "two|one" {
		t.Errorf("%d retried, %d sent again: %s", retried, resent, texts(c))
	}
}

// Only what is in front of the user counts as read.
func TestUnread(t *testing.T) {
	m := screen()
	bo, li := protocol.WithUser(2), protocol.WithUser(3)
	m.Event(said(2, 2, 1, "a"))
	m.Event(said(2, 2, 2, "b"))
	m.Event(said(3, 3, 1, "c"))
	count := func(bos, lis int) {
		t.Helper()
		if b, l := m.all[bo].Unread, m.all[li].Unread; b != bos || l != lis {
			t.Errorf("unread %d and %d, want %d and %d", b, l, bos, lis)
		}
	}
	count(2, 1)
	m.Unread([]client.Unread{{Session: bo, Count: 5, Latest: *said(2, 2, 2, "b")}}) // three are older than what came
	count(5, 1)
	m.Event(said(2, 2, 2, "b")) // again
	count(5, 1)
	m.Effects()
	m.Show(bo)
	count(0, 1)
	if read := effects[MarkRead](m); len(read) != 1 || read[0] != (MarkRead{bo, 2}) {
		t.Errorf("marks %+v", read)
	}
	m.Event(said(2, 2, 3, "seen at once"))
	count(0, 1)
	if read := effects[MarkRead](m); len(read) != 1 || read[0].UpTo != 3 {
		t.Errorf("marks %+v", read)
	}
	m.Focus(false)
	m.Event(said(2, 2, 4, "nobody looks"))
	count(1, 1)
	if read := effects[MarkRead](m); len(read) != 0 {
		t.Errorf("marks %+v without the focus", read)
	}
	m.Focus(true)
	count(0, 1)
	m.Open().Scroll = 3
	m.Event(said(2, 2, 5, "further down"))
	count(1, 1)
	m.Key(Key{Code: Escape})
	count(0, 1)
	m.Event(&client.ReadMoved{Session: li, UpTo: 1}) // on the phone
	count(0, 0)
}

// A message to be burned counts down from reading, and is gone when its time has come, whatever the server says later [TT-DEL-3].
func TestBurning(t *testing.T) {
	m := screen()
	bo := protocol.WithUser(2)
	theirs, mine := said(2, 2, 1, "theirs"), said(2, me, 2, "mine")
	theirs.BurnAfter, mine.BurnAfter = 10*time.Second, 20*time.Second
	m.Event(theirs)
	m.Event(mine)
	m.Tick(begin.Add(time.Hour))
	if got := texts(m.all[bo]); got != "theirs|mine" {
		t.Errorf("unread: %s", got)
	}
	m.Show(bo)
	m.Event(&client.Mark{Session: bo, User: 2, Read: 2})
	m.Tick(begin.Add(time.Hour + 9*time.Second))
	if got := texts(m.all[bo]); got != "theirs|mine" {
		t.Errorf("after 9 s: %s", got)
	}
	m.Tick(begin.Add(time.Hour + 10*time.Second))
	if got := texts(m.all[bo]); got != "(burned)|mine" {
		t.Errorf("after 10 s: %s", got)
	}
	m.Event(theirs) // an old page of the history must not bring it back
	m.Event(&client.MessageDeleted{Session: bo, ID: 2, Kind: protocol.Recalled, By: me})
	if got := texts(m.all[bo]); got != "(burned)|(recalled)" {
		t.Errorf("at the end: %s", got)
	}
	for _, e := range m.all[bo].Entries {
		if e.Text != "" {
			t.Errorf("%q is kept", e.Text)
		}
	}
}

// Pages of history fit together; one that has a hole to what is known takes its place.
func TestHistory(t *testing.T) {
	m := screen()
	bo := protocol.WithUser(2)
	load := func(from, count int) (list []*client.Message) {
		for id := from; id > max(0, from-count); id-- {
			list = append(list, said(2, 2, protocol.MsgID(id), fmt.Sprint(id)))
		}
		return list
	}
	m.Show(bo)
	if asked := effects[LoadHistory](m); len(asked) != 1 || asked[0] != (LoadHistory{bo, 0, page}) {
		t.Fatalf("asked %+v", asked)
	}
	m.History(LoadHistory{bo, 0, 3}, load(100, 3), nil)
	m.Key(Key{Code: PageUp})
	m.Key(Key{Code: PageUp}) // while the answer is still to come
	if asked := effects[LoadHistory](m); len(asked) != 1 || asked[0] != (LoadHistory{bo, 97, page}) {
		t.Fatalf("asked %+v", asked)
	}
	m.History(LoadHistory{bo, 97, 3}, load(97, 3), nil)
	c := m.Open()
	if got := texts(c); got != "95|96|97|98|99|100" || c.Complete {
		t.Errorf("%s, complete %t", got, c.Complete)
	}
	m.History(LoadHistory{bo, 0, 3}, load(102, 3), nil)
	if got := texts(c); got != "95|96|97|98|99|100|101|102" {
		t.Error(got)
	}
	m.Event(&client.Gap{})
	m.History(LoadHistory{bo, 0, 3}, load(200, 3), nil)
	if got := texts(c); got != "198|199|200" || c.Complete {
		t.Errorf("after a gap: %s", got)
	}
	m.History(LoadHistory{bo, 197, 300}, load(197, 300), nil)
	if !c.Complete || len(c.Entries) != 200 {
		t.Errorf("%d entries, complete %t", len(c.Entries), c.Complete)
	}
	m.History(LoadHistory{bo, 0, 3}, nil, errors.New("no"))
	if m.Notice != "history: no" {
		t.Errorf("notice %q", m.Notice)
	}
}

// A program that runs for days does not keep all it has ever shown; what it let go of comes back with PgUp.
func TestTrim(t *testing.T) {
	m := screen()
	bo := protocol.WithUser(2)
	for id := range protocol.MsgID(5000) {
		m.Event(said(2, 2, id+1, "x"))
	}
	c := m.all[bo]
	if n := len(c.Entries); n < 200 || n > 400 || c.Unread != 5000 || c.Entries[n-1].ID != 5000 {
		t.Errorf("%d entries, %d unread", n, c.Unread)
	}
	m.Show(bo)
	m.History(LoadHistory{bo, 0, 1}, []*client.Message{said(2, 2, 5000, "x")}, nil)
	m.Effects()
	m.Key(Key{Code: PageUp})
	if asked := effects[LoadHistory](m); len(asked) != 1 || asked[0].From != c.Entries[0].ID-1 {
		t.Errorf("asks for %+v above %d", asked, c.Entries[0].ID)
	}
}

func TestCommands(t *testing.T) {
	group := protocol.InGroup(9)
	for _, c := range []struct {
		in     protocol.Session
		typed  string
		want   Effect
		notice string // the beginning
	}{
		{group, "/recall", Recall{group, 5}, ""},
		{group, "/recall 2", Recall{group, 3}, ""},
		{group, "/recall 3", nil, "there is no such message"},
		{group, "/recall x", nil, `"x" is no number`},
		{group, "/burn 5 secret", nil, "only messages to one person"},
		{protocol.WithUser(2), "/burn 5 secret  thing", Send{1, protocol.WithUser(2), "secret  thing", 5 * time.Second}, ""},
		{protocol.WithUser(2), "/burn secret", nil, "seconds, up to"},
		{protocol.WithUser(2), "/burn 604801 x", nil, "seconds, up to"},
		{protocol.WithUser(2), "/invite bo", nil, "this is for groups"},
		{group, "/invite 李 李", Invite{9, []protocol.UserID{3}}, ""},
		{group, "/invite bo", nil, "they are members already"},
		{group, "/invite", nil, "whom?"},
		{group, "/leave", Leave{9}, ""},
		{group, "/group Lunch bo, 李", CreateGroup{"Lunch", []protocol.UserID{2, 3}}, ""},
		{group, "/group Lunch", nil, "a name and members"},
		{group, "/group Lunch who", nil, `there is no user named "who"`},
		{group, "/sign away", Sign{"away"}, ""},
		{group, "/quit", Quit{}, ""},
		{group, "/open nobody", nil, "there is no user and no group"},
		{group, "/retry", nil, "nothing has failed"},
		{group, "/hepl", nil, "there is no /hepl; /help? "},
		{group, "/xyzzyx", nil, "there is no /xyzzyx; /help lists"},
		{group, "//slash", Send{1, group, "/slash", 0}, ""},
		{group, " /not at the beginning", Send{1, group, " /not at the beginning", 0}, ""},
		{group, "/history", LoadHistory{group, 2, page}, ""},
		{group, "/history 0", nil, `"0" is no number`},
	} {
		m := screen()
		m.Groups([]client.Group{{GroupInfo: protocol.GroupInfo{Group: protocol.Group{ID: 9, Name: "Tea", Creator: 1}, Members: []protocol.UserID{1, 2}}}})
		m.Show(group)
		var list []*client.Message
		for _, id := range []protocol.MsgID{5, 4, 3} {
			msg := said(2, me, id, "x")
			msg.Session, msg.Mine = group, id != 4
			list = append(list, msg)
		}
		m.History(LoadHistory{group, 0, 3}, list, nil)
		m.Show(c.in)
		m.Effects()
		m.write(c.typed)
		var got Effect
		for _, e := range m.Effects() {
			got = e
		}
		if fmt.Sprintf("%#v", got) != fmt.Sprintf("%#v", c.want) || !strings.HasPrefix(m.Notice, c.notice) || c.notice == "" && m.Notice != "" {
			t.Errorf("%q does %#v and says %q, want %#v and %q", c.typed, got, m.Notice, c.want, c.notice)
		}
		if failed := c.notice != ""; failed != (m.Draft().Text() == c.typed) {
			t.Errorf("%q leaves %q", c.typed, m.Draft().Text())
		}
	}
}

func TestCompletion(t *testing.T) {
	m := screen()
	m.Show(protocol.WithUser(2))
	tab := func(typed string, back int, want ...string) {
		t.Helper()
		m.Draft().Set(typed)
		m.Key(Key{Code: Left})
		m.Key(Key{Code: Right})
		for _, w := range want {
			code := Tab
			if back > 0 {
				code = BackTab
			}
			m.Key(Key{Code: code})
			if got := m.Draft().Text(); got != w {
				t.Errorf("%q becomes %q, want %q", typed, got, w)
			}
		}
	}
	tab("/w", 0, "/who ")
	tab("/re", 0, "/recall", "/retry", "/recall")
	tab("/re", 1, "/retry", "/recall")
	tab("/open b", 0, "/open bo ")
	tab("/group Tea 李", 0, "/group Tea 李 ")
	tab("/nothing", 0, "/nothing")
	if s := m.Suggestions(); s != nil {
		t.Errorf("suggestions %v", s)
	}
	m.Draft().Set("/burn 5 text")
	if s := m.Suggestions(); len(s) != 1 || s[0].Name != "/burn" {
		t.Errorf("suggestions %v", s)
	}
}

func TestJump(t *testing.T) {
	m := screen()
	m.Users([]client.User{person(4, "user-boris"), person(5, "hobo")})
	m.Event(said(3, 3, 1, "hi"))
	m.Key(Key{Code: JumpTo})
	if c := m.Choices(); len(c) != 4 || c[0].Title != "李" || c[0].Unread != 1 {
		t.Errorf("choices %+v", c)
	}
	m.Key(Key{Typed, "BO"})
	var titles []string
	for _, c := range m.Choices() {
		titles = append(titles, c.Title)
	}
	if got := strings.Join(titles, " "); got != "bo user-boris hobo" {
		t.Errorf("choices %s", got)
	}
	m.Key(Key{Code: Down})
	m.Key(Key{Code: Enter})
	if m.Jump != nil || m.Open() == nil || m.Title(m.Open()) != "user-boris" {
		t.Errorf("went to %+v", m.Open())
	}
	m.Key(Key{Code: Next})
	m.Key(Key{Code: Previous})
	if m.Title(m.Open()) != "user-boris" {
		t.Error("there and back is another place")
	}
}

func TestGroupNotes(t *testing.T) {
	m := screen()
	m.Event(&client.GroupChanged{Group: 9, By: 2, Change: protocol.MembersAdd, Changed: []protocol.UserID{1, 8}, Members: []protocol.UserID{1, 2, 8}})
	m.Users([]client.User{person(8, "eve")}) // known only later
	m.Event(&client.GroupChanged{Group: 9, By: 8, Change: protocol.MembersDel, Changed: []protocol.UserID{8}, Members: []protocol.UserID{1, 2}})
	m.Event(&client.GroupChanged{Group: 9, Change: protocol.MembersDel, Changed: []protocol.UserID{2}, Members: []protocol.UserID{1}})
	var notes []string
	for _, e := range m.all[protocol.InGroup(9)].Entries {
		notes = append(notes, m.Happened(e))
	}
	if got := strings.Join(notes, "; "); got != "bo added ann, eve; eve left; an operator removed bo" {
		t.Error(got)
	}
}

func TestDrafts(t *testing.T) {
	file := t.TempDir() + "/drafts"
	m := screen()
	if err := m.Restore(file); err != nil {
		t.Errorf("no file: %v", err)
	}
	m.Show(protocol.WithUser(3))
	m.Draft().Insert("for 李")
	m.Show(protocol.WithUser(2))
	m.Draft().Insert("for\nbo")
	if err := m.Keep(file); err != nil {
		t.Fatal(err)
	}
	again := screen()
	if err := again.Restore(file); err != nil {
		t.Fatal(err)
	}
	if again.Open().In != protocol.WithUser(2) || again.Draft().Text() != "for\nbo" || again.all[protocol.WithUser(3)].Draft.Text() != "for 李" {
		t.Errorf("restored %+v", again.Open())
	}
}

// Whatever is pressed, the cursor stands between whole characters, and what is typed is text without control characters.
func TestEditorProperty(t *testing.T) {
	pieces := []string{"a", "中", "e\u0301", "\u0301", "👩‍👩‍👧", "\u200d", "👧", "🇨🇳", "🇨", "\n", " ", "\x1b", "\r\n", "\xff", "각", "ᆨ"}
	rapid.Check(t, func(t *rapid.T) {
		var e Editor
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			switch rapid.IntRange(0, 11).Draw(t, "key") {
			case 0:
				e.Left()
			case 1:
				e.Right()
			case 2:
				e.Up()
			case 3:
				e.Down()
			case 4:
				e.Home()
			case 5:
				e.End()
			case 6:
				e.Backspace()
			case 7:
				e.Delete()
			case 8:
				e.DeleteWord()
			case 9:
				e.DeleteLine()
			default:
				e.Insert(rapid.SampledFrom(pieces).Draw(t, "piece"))
			}
			if strings.ContainsAny(e.Text(), "\x1b\r") || !utf8.ValidString(e.Text()) {
				t.Fatalf("%q", e.Text())
			}
			bounds := []int{0}
			for g := uniseg.NewGraphemes(e.Text()); g.Next(); {
				_, to := g.Positions()
				bounds = append(bounds, to)
			}
			if !slices.Contains(bounds, len(e.Before())) {
				t.Fatalf("the cursor is at %d of %q", len(e.Before()), e.Text())
			}
		}
	})
}

// Whatever the order in which events, pages and answers come in, each message is there once, in order, and never both unread and read.
func TestModelProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := screen()
		bo := protocol.WithUser(2)
		newest := 0
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 8).Draw(t, "what") {
			case 0, 1, 2:
				newest++
				m.Event(said(2, protocol.UserID(rapid.IntRange(1, 2).Draw(t, "from")), protocol.MsgID(newest), fmt.Sprint(newest)))
			case 3:
				var list []*client.Message
				from := rapid.IntRange(0, newest).Draw(t, "page")
				for id := from; id > max(0, from-5); id-- {
					list = append(list, said(2, 2, protocol.MsgID(id), fmt.Sprint(id)))
				}
				ask := LoadHistory{In: bo, From: protocol.MsgID(from), Count: 5}
				if from == newest {
					ask.From = 0
				}
				m.History(ask, list, nil)
			case 4:
				m.Show(protocol.WithUser(protocol.UserID(rapid.IntRange(2, 3).Draw(t, "with"))))
			case 5:
				m.write("mine")
			case 6:
				for _, s := range effects[Send](m) {
					newest++
					id := protocol.ClientMsgID{byte(newest), byte(newest >> 8)}
					m.Queued(s, id)
					m.Progress(s.In, id, client.Delivery{Phase: client.PhaseSent, ID: protocol.MsgID(newest), Time: begin})
				}
			case 7:
				m.Event(&client.ReadMoved{Session: bo, UpTo: protocol.MsgID(rapid.IntRange(1, newest+1).Draw(t, "read"))})
			case 8:
				m.Focus(!m.Focused)
			}
			for _, c := range m.Conversations() {
				last := protocol.MsgID(0)
				for _, e := range c.Entries {
					if e.ID != 0 && e.ID <= last || e.ID == 0 && !e.Mine {
						t.Fatalf("%d follows %d", e.ID, last)
					}
					last = e.ID
				}
				if c == m.Open() && m.Focused && c.Unread > 0 {
					t.Fatalf("%d unread in front of the user", c.Unread)
				}
			}
		}
	})
}
