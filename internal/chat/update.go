package chat

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"teamtalk/client"
	"teamtalk/protocol"
)

// Event takes in what the SDK tells.
func (m *Model) Event(ev client.Event) {
	switch ev := ev.(type) {
	case *client.Message:
		m.message(ev)
	case *client.MessageDeleted:
		m.deleted(ev)
	case *client.MessageStateChanged:
		m.stateOf(ev)
	case *client.Mark:
		m.mark(ev)
	case *client.ReadMoved:
		m.readMoved(ev)
	case *client.SessionRemoved:
		m.forget(ev.Session)
	case *client.GroupChanged:
		m.groupChanged(ev)
	case *client.ProfileChanged:
		if p, ok := m.people[ev.User]; ok && ev.Sign != nil {
			p.Sign = *ev.Sign
		}
	case *client.Presence:
		m.Presence([]client.Presence{*ev})
	case *client.More:
		m.more(ev)
	case *client.Gap:
		m.refresh()
	case *client.StateChanged:
		m.stateChanged(ev)
	}
	m.seen()
}

func (m *Model) stateChanged(ev *client.StateChanged) {
	if ev.State != client.Online {
		return
	}
	first := !m.Link.Before
	m.Link.Before, m.Link.Resumed, m.Link.Took = true, ev.Resumed, ev.Took
	if first {
		m.refresh()
	}
}

// refresh asks again for all that is shown, also for what could not be had before.
func (m *Model) refresh() {
	m.do(LoadLists{})
	m.asked = map[protocol.Session]bool{}
	for _, c := range m.list {
		c.Unread = 0 // the answer tells
		if c == m.open {
			c.loading = false
			m.load(c, 0, page)
		} else {
			c.loaded = false
		}
	}
}

// entry is a message as it is shown.
func entry(msg *client.Message) *Entry {
	e := &Entry{ID: msg.ID, Client: msg.ClientMsgID, From: msg.From, Address: msg.FromAddress, Mine: msg.Mine, Time: msg.Time,
		Text: msg.Shown(), Burn: msg.BurnAfter, Gone: msg.Gone, Deleted: msg.Deleted, Phase: client.PhaseSent,
		abroad: abroad{State: msg.State, HubSeq: msg.HubSeq}}
	e.Files, _ = msg.Attachments()
	switch {
	case msg.Gone:
	case msg.Type.IsAudio():
		e.Kind = Voice
	case msg.Raw:
		e.Kind = Unreadable
	}
	return e
}

func (m *Model) message(msg *client.Message) {
	c := m.conversation(msg.Session)
	e, fresh := c.put(entry(msg))
	if fresh {
		c.below = true
	}
	if e.HubSeq != 0 {
		m.seek(c)
	}
	if e.Time.After(c.Updated) {
		c.Updated = e.Time
	}
	if e.ID > c.counted {
		if !e.Mine && e.ID > c.read {
			c.Unread++
		}
		c.counted = e.ID
	}
	if c == m.open {
		c.trim(2000, 1000)
	} else {
		c.trim(400, 200)
	}
	m.sort()
}

func (m *Model) deleted(ev *client.MessageDeleted) {
	c := m.conversation(ev.Session)
	if e := c.find(func(e *Entry) bool { return e.Kind != Note && e.ID == ev.ID }); e != nil {
		e.erase(ev.Kind, ev.By)
	} else if c.Last() == nil {
		m.do(LoadLists{}) // it may be what the list shows
	}
}

// stateOf takes in what became of a message on its way to other offices. That one was not delivered is said wherever the user looks.
func (m *Model) stateOf(ev *client.MessageStateChanged) {
	c := m.conversation(ev.Session)
	if !c.state(ev.ID, ev.State, ev.Reason, ev.HubSeq) {
		return
	}
	if ev.State == client.StateUndeliverable && c != m.open {
		m.Notice = "a message to " + m.Title(c) + " was not delivered"
	}
	if ev.HubSeq != 0 {
		m.seek(c)
	}
}

// seek asks for the places of messages that had none when they came, now that the group's office is heard of.
func (m *Model) seek(c *Conversation) {
	if c.loading || !c.loaded {
		return
	}
	if from, count := c.placeless(m.now); count > 0 {
		m.load(c, from, count)
	}
}

func (m *Model) mark(ev *client.Mark) {
	if ev.User == m.Me {
		return
	}
	c := m.conversation(ev.Session)
	c.delivered, c.readBy = max(c.delivered, ev.Delivered, ev.Read), max(c.readBy, ev.Read)
	m.burning(c)
}

func (m *Model) readMoved(ev *client.ReadMoved) {
	c := m.conversation(ev.Session)
	if ev.UpTo <= c.read {
		return
	}
	c.read = ev.UpTo
	m.burning(c)
	if c.read >= c.counted {
		c.Unread = 0
		return
	}
	m.do(LoadUnread{})
}

// forget takes a conversation off the list; it comes back with its next message.
func (m *Model) forget(in protocol.Session) {
	c, ok := m.all[in]
	if !ok || c == m.open {
		return // what the user looks at stays until he looks elsewhere
	}
	delete(m.all, in)
	m.list = slices.DeleteFunc(m.list, func(x *Conversation) bool { return x == c })
}

func (m *Model) groupChanged(ev *client.GroupChanged) {
	in := protocol.InGroup(ev.Group)
	c := m.conversation(in)
	c.Members = ev.Members
	note := &Entry{Time: m.now, From: ev.By, Change: ev.Change, Who: ev.Changed}
	if ev.By == 0 && ev.Group >= protocol.MaxLocalID { // its office says so, and not who asked for it
		note.Address = cmp.Or(c.office, "another office")
	}
	c.note(note)
	if c.Updated.IsZero() {
		c.Updated = m.now
	}
	m.sort()
	m.wonder(in)
}

// Happened is what a note says.
func (m *Model) Happened(e *Entry) string {
	names := make([]string, len(e.Who))
	for i, id := range e.Who {
		names[i] = m.Person(id).Name
	}
	by := cmp.Or(e.Address, "an operator")
	if e.From != 0 {
		by = m.Person(e.From).Name
	}
	switch {
	case e.Change == protocol.MembersAdd:
		return by + " added " + strings.Join(names, ", ")
	case slices.Equal(e.Who, []protocol.UserID{e.From}):
		return by + " left"
	}
	return by + " removed " + strings.Join(names, ", ")
}

func (m *Model) more(ev *client.More) {
	m.Users(ev.Users)
	m.Recent(ev.Recent)
	m.Unread(ev.Unread)
	m.Groups(ev.Groups)
}

// Status takes in how the connection is.
func (m *Model) Status(s client.Status) { m.Link.Status = s }

// Focus takes in whether the terminal has the focus.
func (m *Model) Focus(on bool) {
	m.Focused = on
	m.seen()
}

// Users takes in entries of the directory.
func (m *Model) Users(list []client.User) {
	for _, u := range list {
		p, ok := m.people[u.ID]
		if !ok {
			p = &Person{ID: u.ID}
			m.people[u.ID] = p
		}
		p.Name, p.Nick, p.Sign = cmp.Or(u.Name, u.Address, fmt.Sprintf("user:%d", u.ID)), u.Nick, u.Sign
	}
	m.found()
}

// Groups takes in what is known about groups.
func (m *Model) Groups(list []client.Group) {
	for _, g := range list {
		c := m.conversation(protocol.InGroup(g.ID))
		c.name, c.creator, c.Members, c.office = g.Name, g.Creator, g.Members, ""
		if g.Remote {
			c.office = cmp.Or(g.Address[strings.LastIndexByte(g.Address, '@')+1:], "another office")
		}
	}
	m.sort()
	m.found()
}

// Presence takes in who is online.
func (m *Model) Presence(list []client.Presence) {
	for _, p := range list {
		if who, ok := m.people[p.User]; ok {
			who.Online = p.Online
		} else {
			m.people[p.User] = &Person{ID: p.User, Name: fmt.Sprintf("user:%d", p.User), Online: p.Online}
			m.wonder(protocol.WithUser(p.User))
		}
	}
}

// Recent takes in the list of conversations.
func (m *Model) Recent(list []client.Recent) {
	for _, r := range list {
		c := m.conversation(r.Session)
		if r.Updated.After(c.Updated) {
			c.Updated = r.Updated
		}
		c.Latest = Said(entry(&r.Latest))
		m.Title(c) // asks for a name that is not known
	}
	m.sort()
}

// Unread takes in the conversations with unread messages.
func (m *Model) Unread(list []client.Unread) {
	for _, u := range list {
		c := m.conversation(u.Session)
		if u.Latest.ID < c.counted { // what came since is in the count that is shown
			continue
		}
		c.counted = u.Latest.ID
		if c.read < u.Latest.ID {
			c.Unread = int(u.Count)
		}
		if c.Last() == nil {
			c.Latest = Said(entry(&u.Latest))
		}
	}
	m.seen()
}

// History takes in what LoadHistory asked for.
func (m *Model) History(ask LoadHistory, list []*client.Message, err error) {
	c := m.conversation(ask.In)
	c.loading = false
	if err != nil {
		if ask.From == 0 {
			c.loaded = false
		}
		m.Failed("history", err)
		return
	}
	if ask.From == 0 {
		c.join(list)
	}
	for _, msg := range list {
		e, fresh := c.put(entry(msg))
		if !fresh && e.Mine && !e.settled() {
			c.state(e.ID, msg.State, "", msg.HubSeq)
		}
		if e.Time.After(c.Updated) {
			c.Updated = e.Time
		}
	}
	c.Complete = c.Complete || len(list) < ask.Count || c.oldest() <= 1
	m.burning(c)
	m.sort()
	m.seen()
}

// join lets go of messages that have a hole to the newest page: PgUp brings them back.
func (c *Conversation) join(newest []*client.Message) {
	if len(newest) == 0 {
		return
	}
	oldest := newest[len(newest)-1].ID
	if c.find(func(e *Entry) bool { return e.ID+1 >= oldest && e.Kind != Note && e.ID != 0 }) != nil {
		return
	}
	c.Entries = slices.DeleteFunc(c.Entries, func(e *Entry) bool { return !e.waits() })
	c.Complete = false
}

// Queued tells the id by which the SDK knows a message.
func (m *Model) Queued(ask Send, id protocol.ClientMsgID) {
	c := m.conversation(ask.In)
	e := c.find(func(e *Entry) bool { return e.Ref == ask.Ref })
	if e == nil {
		return
	}
	if c.find(func(e *Entry) bool { return e.Client == id }) != nil { // the event was faster
		c.remove(e)
		return
	}
	e.Client = id
}

// Refused tells that a message could not even be queued.
func (m *Model) Refused(ask Send, err error) {
	if e := m.conversation(ask.In).find(func(e *Entry) bool { return e.Ref == ask.Ref }); e != nil {
		e.Phase, e.Why = client.PhaseFailed, Reason(err)
	}
}

// Left adds a message of an earlier run that still waits to be sent; its text is not known.
func (m *Model) Left(in protocol.Session, id protocol.ClientMsgID) {
	c := m.conversation(in)
	c.Entries = append(c.Entries, &Entry{Client: id, From: m.Me, Mine: true, Time: m.now, Text: "(written before)"})
}

// Progress tells how far a message has got.
func (m *Model) Progress(in protocol.Session, id protocol.ClientMsgID, d client.Delivery) {
	c := m.conversation(in)
	e := c.find(func(e *Entry) bool { return e.Client == id })
	if e == nil {
		return
	}
	e.Phase, e.Why = d.Phase, ""
	switch d.Phase {
	case client.PhaseFailed:
		e.Why = Reason(d.Err)
	case client.PhaseSent, client.PhaseDelivered, client.PhaseRead:
		if e.ID == 0 && d.ID != 0 {
			e.ID, e.Time = d.ID, d.Time
			c.counted = max(c.counted, d.ID)
			c.Updated = d.Time
			c.sort()
			m.sort()
		}
		m.burning(c)
	case client.PhaseQueued, client.PhaseSending:
	}
}

// Created opens a group that was made.
func (m *Model) Created(id protocol.GroupID, name string) {
	c := m.conversation(protocol.InGroup(id))
	c.name = cmp.Or(c.name, name)
	if c.Updated.IsZero() {
		c.Updated = m.now
	}
	m.sort()
	m.Show(c.In)
}

// Found shows the people that a search has found.
func (m *Model) Found(text string, list []client.User) {
	m.Users(list)
	if len(list) == 0 {
		m.Notice = fmt.Sprintf("nobody is called %q", text)
		return
	}
	lines := []string{fmt.Sprintf("Called %q:", text), ""}
	for _, u := range list {
		p := m.Person(u.ID)
		line := p.Name
		if p.Nick != "" && p.Nick != p.Name {
			line += ", " + p.Nick
		}
		lines = append(lines, "  "+line)
	}
	m.Panel = &Panel{Lines: append(lines, "", "/open NAME begins a conversation, Esc closes this")}
}

// Failed says why something that was asked for was not done.
func (m *Model) Failed(what string, err error) { m.Notice = what + ": " + Reason(err) }

// Done says that something that was asked for was done.
func (m *Model) Done(what string) { m.Notice = what }

// Reason is an error in a line.
func Reason(err error) string {
	if err == nil {
		return ""
	}
	line, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), "client: "), "\n")
	return line
}
