package chat

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"teamtalk/client"
	"teamtalk/protocol"
)

const lin protocol.UserID = protocol.MaxLocalID

func tearoom() protocol.Session { return protocol.InGroup(protocol.MaxLocalID) }

// inTearoom is a model that shows a group of another office.
func inTearoom() *Model {
	m := screen()
	m.Users([]client.User{{User: protocol.User{ID: lin, Name: "lin@hangzhou.example", Nick: "Lin (Hangzhou)"}, Address: "lin@hangzhou.example", Remote: true}})
	m.Groups([]client.Group{{GroupInfo: protocol.GroupInfo{Group: protocol.Group{ID: protocol.MaxLocalID, Name: "tea"}, Members: []protocol.UserID{1, 2, lin}},
		Address: "tea@hangzhou.example", Remote: true}})
	m.Show(tearoom())
	m.History(LoadHistory{In: tearoom(), Count: page}, nil, nil)
	m.Effects()
	return m
}

func posted(from protocol.UserID, id protocol.MsgID, hubSeq uint64, text string) *client.Message {
	msg := said(0, from, id, text)
	msg.Session, msg.HubSeq = tearoom(), hubSeq
	return msg
}

func became(id protocol.MsgID, s client.MessageState, hubSeq uint64) *client.MessageStateChanged {
	return &client.MessageStateChanged{Session: tearoom(), ID: id, State: s, HubSeq: hubSeq}
}

// Who changed the members of a group of another office is not told: it is that office.
func TestNotesOfOtherOffice(t *testing.T) {
	m := inTearoom()
	for _, g := range []protocol.GroupID{protocol.MaxLocalID, protocol.MaxLocalID + 1} {
		m.Event(&client.GroupChanged{Group: g, Change: protocol.MembersAdd, Changed: []protocol.UserID{3}, Members: []protocol.UserID{1, 2, 3, lin}})
		m.Event(&client.GroupChanged{Group: g, By: 3, Change: protocol.MembersDel, Changed: []protocol.UserID{3}, Members: []protocol.UserID{1, 2, lin}})
		var notes []string
		for _, e := range m.all[protocol.InGroup(g)].Entries {
			notes = append(notes, m.Happened(e))
		}
		want := "hangzhou.example added 李; 李 left"
		if g > protocol.MaxLocalID { // nothing is known of it yet
			want = "another office added 李; 李 left"
		}
		if got := strings.Join(notes, "; "); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// One's own post waits at the end until it has its place; what is refused stays where it was written [TT-FED-3] [TT-FED-4].
func TestOwnPostsAbroad(t *testing.T) {
	m := inTearoom()
	shows := func(want string) {
		t.Helper()
		if got := texts(m.Open()); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	m.Event(posted(lin, 1, 10, "a"))
	m.Event(posted(me, 2, 0, "mine"))
	m.Event(became(2, client.StatePending, 0))
	m.Event(posted(lin, 3, 11, "b"))
	shows("a|b|mine")
	m.write("unsent")
	m.Event(became(2, client.StateDelayed, 0))
	m.Event(posted(lin, 4, 13, "c"))
	shows("a|b|c|mine|unsent")
	m.Event(became(2, client.StateSent, 12))
	shows("a|b|mine|c|unsent")
	m.Event(posted(me, 5, 0, "refused"))
	m.Event(became(5, client.StatePending, 0))
	m.Event(&client.MessageStateChanged{Session: tearoom(), ID: 5, State: client.StateUndeliverable, Reason: "no member"})
	m.Event(posted(lin, 6, 14, "d"))
	shows("a|b|mine|c|refused|d|unsent")
	c := m.Open()
	refused := c.find(func(e *Entry) bool { return e.ID == 5 })
	if refused.State != client.StateUndeliverable || refused.Why != "no member" || m.Notice != "" {
		t.Errorf("%+v, notice %q", refused, m.Notice)
	}
	late := posted(me, 5, 0, "refused") // a history that was asked for before
	late.State = client.StatePending
	m.History(LoadHistory{In: tearoom(), From: 6, Count: 1}, []*client.Message{late}, nil)
	shows("a|b|mine|c|refused|d|unsent")
	if newest := c.newest(func(*Entry) bool { return true }); newest != 6 || c.oldest() != 1 {
		t.Errorf("%d to %d", c.oldest(), newest)
	}
	m.Show(protocol.WithUser(2))
	m.Event(posted(me, 7, 0, "another"))
	m.Event(&client.MessageStateChanged{Session: tearoom(), ID: 7, State: client.StateUndeliverable})
	if m.Notice != "a message to #tea was not delivered" {
		t.Errorf("notice %q", m.Notice)
	}
}

// In a single chat what waits stays in its place; that the other office has it is as much as that a device has.
func TestOwnMessageAbroad(t *testing.T) {
	m := inTearoom()
	in := protocol.WithUser(lin)
	m.Show(in)
	m.History(LoadHistory{In: in, Count: page}, nil, nil)
	m.Event(said(lin, me, 1, "one"))
	m.Event(&client.MessageStateChanged{Session: in, ID: 1, State: client.StatePending})
	m.Event(said(lin, lin, 2, "two"))
	c := m.Open()
	if texts(c) != "one|two" || c.Phase(c.Entries[0]) != client.PhaseSent {
		t.Errorf("%s, %v", texts(c), c.Phase(c.Entries[0]))
	}
	m.Event(&client.MessageStateChanged{Session: in, ID: 1, State: client.StateDelivered})
	if c.Phase(c.Entries[0]) != client.PhaseDelivered {
		t.Errorf("%v", c.Phase(c.Entries[0]))
	}
	m.Event(&client.Mark{Session: in, User: lin, Read: 1})
	if c.Phase(c.Entries[0]) != client.PhaseRead {
		t.Errorf("%v", c.Phase(c.Entries[0]))
	}
}

// The places of colleagues' posts are told to their authors only: they are asked for, now and then, and not for ever.
func TestPlacesAreSought(t *testing.T) {
	m := inTearoom()
	m.Event(posted(lin, 1, 9, "o"))
	m.Event(posted(lin, 2, 10, "a"))
	m.Event(posted(2, 3, 0, "x"))
	m.Event(posted(me, 4, 0, "mine"))
	m.Event(posted(2, 5, 0, "y"))
	m.Tick(m.now.Add(time.Hour))
	if asked := effects[LoadHistory](m); len(asked) != 0 {
		t.Errorf("asks %+v as long as nothing came behind them", asked)
	}
	m.Event(posted(lin, 6, 11, "b"))
	asked := effects[LoadHistory](m)
	if len(asked) != 1 || asked[0] != (LoadHistory{tearoom(), 5, 3}) {
		t.Fatalf("asks %+v", asked)
	}
	m.History(asked[0], []*client.Message{posted(2, 5, 0, "y"), posted(me, 4, 0, "mine"), posted(2, 3, 12, "x")}, nil)
	if got := texts(m.Open()); got != "o|a|b|x|mine|y" {
		t.Errorf("%s", got)
	}
	m.Event(posted(lin, 7, 13, "c"))
	times := 0
	for range 10 * 3600 {
		m.Tick(m.now.Add(time.Second))
		for _, e := range effects[LoadHistory](m) {
			if times++; e != (LoadHistory{tearoom(), 5, 1}) {
				t.Fatalf("asks %+v", e)
			}
			m.History(e, []*client.Message{posted(2, 5, 0, "y")}, nil)
		}
	}
	if times != soughtMost-1 {
		t.Errorf("asked %d times", times)
	}
}

// [TT-FED-6]: who is found is shown, and can be talked to by that name.
func TestFind(t *testing.T) {
	m := screen()
	m.write("/find")
	if m.Notice == "" || m.Draft().Text() != "/find" {
		t.Errorf("says %q", m.Notice)
	}
	m.Draft().Set("")
	m.write("/find lin")
	if asked := effects[Find](m); len(asked) != 1 || asked[0].Text != "lin" {
		t.Fatalf("asks %+v", asked)
	}
	m.Found("lin", []client.User{{User: protocol.User{ID: lin, Name: "lin@hangzhou.example", Nick: "Lin (Hangzhou)"}}, person(2, "bo")})
	if m.Panel == nil || !slices.Contains(m.Panel.Lines, "  lin@hangzhou.example, Lin (Hangzhou)") || !slices.Contains(m.Panel.Lines, "  bo") {
		t.Errorf("shows %+v", m.Panel)
	}
	m.write("/open lin@hangzhou.example")
	if m.Open() == nil || m.Open().In != protocol.WithUser(lin) || m.Panel != nil {
		t.Errorf("opened %+v", m.Open())
	}
	m.Found("xyz", nil)
	if m.Panel != nil || m.Notice != `nobody is called "xyz"` {
		t.Errorf("shows %+v, says %q", m.Panel, m.Notice)
	}
}

// filed is a post as one office keeps it.
type filed struct {
	from   protocol.UserID
	what   string
	hubSeq uint64
}

// office is a member's office in a group of two, and the screen of one of its people.
type office struct {
	screen *Model
	stored []filed
	next   int // of the hub's order, that has come here
}

func (o *office) answer() {
	for _, ask := range effects[LoadHistory](o.screen) {
		from := int(ask.From)
		if from == 0 {
			from = len(o.stored)
		}
		var list []*client.Message
		for id := from; id > max(0, from-ask.Count); id-- {
			p := o.stored[id-1]
			msg := posted(p.from, protocol.MsgID(id), p.hubSeq, p.what)
			if msg.Mine && p.hubSeq == 0 {
				msg.State = client.StatePending
			}
			list = append(list, msg)
		}
		o.screen.History(ask, list, nil)
	}
}

func (o *office) put(from protocol.UserID, hubSeq uint64, what string) {
	o.stored = append(o.stored, filed{from, what, hubSeq})
	id := protocol.MsgID(len(o.stored))
	o.screen.Event(posted(from, id, hubSeq, what))
	if from == me {
		o.screen.Event(became(id, client.StatePending, 0))
	}
}

// hears takes in what the hub has ordered next.
func (o *office) hears(own int, order []string) {
	what := order[o.next]
	o.next++
	if !strings.HasPrefix(what, fmt.Sprint(own)) {
		o.put(lin, uint64(o.next), what)
		return
	}
	i := slices.IndexFunc(o.stored, func(p filed) bool { return p.what == what })
	o.stored[i].hubSeq = uint64(o.next)
	if o.stored[i].from == me {
		o.screen.Event(became(protocol.MsgID(i+1), client.StateSent, uint64(o.next)))
	}
}

// However posts and places come, the people of two offices see the same in the end, and what has a place is always in order [TT-FED-3].
func TestTwoOfficesProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		offices := []*office{{screen: inTearoom()}, {screen: inTearoom()}}
		var order []string // the hub's
		var waiting [2][]string
		for i := range rapid.IntRange(1, 40).Draw(t, "steps") {
			n := rapid.IntRange(0, 1).Draw(t, "office")
			o := offices[n]
			switch rapid.SampledFrom([]string{"post", "post", "order", "hear", "hear", "time"}).Draw(t, "what") {
			case "post":
				what := fmt.Sprintf("%d:%d", n, i)
				o.put(protocol.UserID(rapid.IntRange(1, 2).Draw(t, "from")), 0, what)
				waiting[n] = append(waiting[n], what)
			case "order":
				if len(waiting[n]) > 0 {
					order, waiting[n] = append(order, waiting[n][0]), waiting[n][1:]
				}
			case "hear":
				if o.next < len(order) {
					o.hears(n, order)
				}
			case "time":
				o.screen.Tick(o.screen.Now().Add(time.Minute))
			}
			o.answer()
			checkPlaced(t, o.screen)
		}
		order = append(append(order, waiting[0]...), waiting[1]...)
		for n, o := range offices {
			for o.next < len(order) {
				o.hears(n, order)
				o.answer()
			}
			for range 5 {
				o.screen.Tick(o.screen.Now().Add(time.Hour))
				o.answer()
			}
			checkPlaced(t, o.screen)
			if got, want := texts(o.screen.Open()), strings.Join(order, "|"); got != want {
				t.Fatalf("office %d sees\n%s, want\n%s", n, got, want)
			}
		}
	})
}

func checkPlaced(t *rapid.T, m *Model) {
	last := uint64(0)
	for _, e := range m.Open().Entries {
		if e.HubSeq != 0 && e.HubSeq <= last {
			t.Fatalf("%d follows %d: %s", e.HubSeq, last, texts(m.Open()))
		}
		last = max(last, e.HubSeq)
	}
}
