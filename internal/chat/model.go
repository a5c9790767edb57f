package chat

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"teamtalk/client"
	"teamtalk/protocol"
)

// page is how many messages are asked for at a time.
const page = 50

// Person is somebody of the directory.
type Person struct {
	ID     protocol.UserID
	Name   string // login name; of somebody at another office, user@domain
	Nick   string
	Sign   string
	Online bool // on a client of the PC class
}

// Model is all that the screen shows. It is for one goroutine.
type Model struct {
	Me      protocol.UserID
	Name    string // login name of Me
	Focused bool   // the terminal has the focus, as far as it tells
	Link    Link
	Notice  string // a line for the user, until the next key
	Panel   *Panel // shown over the conversation; nil: none
	Jump    *Jump  // the choice of a conversation; nil: there is none

	people  map[protocol.UserID]*Person
	all     map[protocol.Session]*Conversation
	list    []*Conversation // the one with the newest message first
	open    *Conversation
	lists   arrival
	draft   Editor // while no conversation is open
	now     time.Time
	refs    Ref
	asked   map[protocol.Session]bool // names that were asked for
	watched map[protocol.UserID]bool  // whose presence was asked for
	out     []Effect
	rows    int // lines that a page has
	tabs    completion
}

// Panel is lines to read; those above Top have been scrolled away.
type Panel struct {
	Lines []string
	Top   int
}

// arrival is about the directory and the lists.
type arrival struct {
	here   bool     // they have come
	wanted string   // whose conversation is to be opened when they have; what is typed until then is for it
	typing Editor   // what is being typed until then
	lines  []string // what has been entered until then, in this order
}

// completion is where Tab has got.
type completion struct {
	began  string // what was typed
	choice int
}

// Link is the connection as it was heard of last.
type Link struct {
	client.Status
	Resumed bool
	Took    time.Duration // of the last connection
	Before  bool          // it has been online
}

// New is the screen of a user who is logged in. Nothing is known yet; Start asks.
func New(me protocol.UserID, name string) *Model {
	return &Model{Me: me, Name: name, Focused: true, people: map[protocol.UserID]*Person{}, all: map[protocol.Session]*Conversation{},
		asked: map[protocol.Session]bool{}, watched: map[protocol.UserID]bool{}}
}

// Tick tells the time, which marks and countdowns depend on.
func (m *Model) Tick(now time.Time) {
	m.now = now
	for _, c := range m.list {
		for _, e := range c.Entries {
			if !e.Due.IsZero() && e.Live() && !now.Before(e.Due) {
				e.erase(protocol.Burned, 0) // here at once; the server's word follows
			}
		}
	}
	if m.open != nil {
		m.seek(m.open)
	}
}

// Now is the time of the last Tick.
func (m *Model) Now() time.Time { return m.now }

// Effects takes what is to be done since the last call, in order.
func (m *Model) Effects() []Effect {
	out := m.out
	m.out = nil
	return out
}

func (m *Model) do(e Effect) { m.out = append(m.out, e) }

// Conversations is the list, the one with the newest message first.
func (m *Model) Conversations() []*Conversation { return m.list }

// Open is the conversation shown; nil: none.
func (m *Model) Open() *Conversation { return m.open }

// Draft is what is being typed.
func (m *Model) Draft() *Editor {
	if m.lists.wanted != "" {
		return &m.lists.typing
	}
	if m.open == nil {
		return &m.draft
	}
	return &m.open.Draft
}

// Unseen is how many messages are unread.
func (m *Model) Unseen() (n int) {
	for _, c := range m.list {
		n += c.Unread
	}
	return n
}

// Elsewhere is how many messages are unread outside the conversation shown.
func (m *Model) Elsewhere() int {
	if m.open == nil {
		return m.Unseen()
	}
	return m.Unseen() - m.open.Unread
}

// Person is who a user is; of somebody who is not known the name is made of the id.
func (m *Model) Person(id protocol.UserID) Person {
	if p, ok := m.people[id]; ok {
		return *p
	}
	m.wonder(protocol.WithUser(id))
	return Person{ID: id, Name: fmt.Sprintf("user:%d", id)}
}

// wonder asks once who or what somebody or a group is.
func (m *Model) wonder(in protocol.Session) {
	if m.asked[in] || !in.Valid() {
		return
	}
	m.asked[in] = true
	if in.Type == protocol.SessionGroup {
		m.do(LoadGroups{[]protocol.GroupID{in.Group()}})
	} else {
		m.do(LoadUsers{[]protocol.UserID{in.Peer()}})
	}
}

// Title is what a conversation is called.
func (m *Model) Title(c *Conversation) string {
	switch {
	case !c.Group():
		return m.Person(c.In.Peer()).Name
	case c.name != "":
		return "#" + c.name
	}
	m.wonder(c.In)
	return fmt.Sprintf("#group:%d", c.In.ID)
}

// Author is who wrote a message.
func (m *Model) Author(e *Entry) string {
	if e.Address != "" {
		return e.Address
	}
	return m.Person(e.From).Name
}

// Preview is the last line of a conversation, for the list.
func (m *Model) Preview(c *Conversation) string {
	e := c.Last()
	switch {
	case e == nil:
		return c.Latest
	case e.Mine:
		return "you: " + Said(e)
	case c.Group():
		return m.Author(e) + ": " + Said(e)
	}
	return Said(e)
}

// Said is the text of an entry, or what stands in its place.
func Said(e *Entry) string {
	switch {
	case e.Gone && e.Deleted == protocol.Recalled:
		return "(recalled)"
	case e.Gone && e.Deleted == protocol.Burned:
		return "(burned)"
	case e.Gone:
		return "(deleted)"
	case e.Kind == Voice:
		return "(voice message)"
	case e.Kind == Unreadable:
		return "(unreadable message)"
	}
	return e.Text
}

// conversation is the one with somebody or of a group, which is made if it is new.
func (m *Model) conversation(in protocol.Session) *Conversation {
	c, ok := m.all[in]
	if !ok {
		c = &Conversation{In: in}
		m.all[in] = c
		m.list = append(m.list, c)
		m.watch(c)
	}
	return c
}

// watch asks for the presence of a conversation's peer.
func (m *Model) watch(c *Conversation) {
	if id := c.In.Peer(); !c.Group() && !m.watched[id] && len(m.watched) < 1000 {
		m.watched[id] = true
		m.do(AskPresence{[]protocol.UserID{id}})
	}
}

// sort brings the list into order; conversations without a time keep theirs at the end.
func (m *Model) sort() {
	slices.SortStableFunc(m.list, func(a, b *Conversation) int { return b.Updated.Compare(a.Updated) })
}

// Show opens a conversation.
func (m *Model) Show(in protocol.Session) {
	if !in.Valid() {
		return
	}
	m.stopLooking()
	c := m.conversation(in)
	if m.open != nil && m.open != c {
		m.open.Scroll = 0
		m.open.trim(400, 200)
	}
	m.open, m.Jump, m.Panel = c, nil, nil
	c.Scroll = 0
	if !c.loaded {
		m.load(c, 0, page)
	}
	m.seen()
}

func (m *Model) load(c *Conversation, from protocol.MsgID, count int) {
	if c.loading {
		return
	}
	c.loading, c.loaded = true, true
	m.do(LoadHistory{c.In, from, count})
}

// step opens the conversation that is so many places further down the list.
func (m *Model) step(by int) {
	if len(m.list) == 0 {
		return
	}
	i := slices.Index(m.list, m.open)
	if i < 0 {
		i = min(0, -by)
	}
	n := len(m.list)
	m.Show(m.list[((i+by)%n+n)%n].In)
}

// seen marks as read what the user has in front of him.
func (m *Model) seen() {
	c := m.open
	if c == nil || !m.Focused || c.Scroll > 0 {
		return
	}
	newest := c.newest(func(e *Entry) bool { return !e.Mine })
	if newest <= c.read && c.Unread == 0 {
		return
	}
	c.Unread = 0
	if newest <= c.read {
		return
	}
	c.read, c.counted = newest, max(c.counted, newest)
	m.burning(c)
	m.do(MarkRead{c.In, newest})
}

// burning starts the countdowns of messages that have been read.
func (m *Model) burning(c *Conversation) {
	for _, e := range c.Entries {
		read := e.Mine && c.Phase(e) == client.PhaseRead || !e.Mine && e.ID <= c.read
		if e.Burn > 0 && e.ID > 0 && e.Due.IsZero() && e.Live() && read {
			e.Due = m.now.Add(e.Burn)
		}
	}
}

// Find is the conversation that a name means: a login name, a group's name, user:ID or group:ID.
func (m *Model) Find(name string) (protocol.Session, error) {
	var id uint32
	if n, err := fmt.Sscanf(name, "group:%d", &id); n == 1 && err == nil && id > 0 {
		return protocol.InGroup(protocol.GroupID(id)), nil
	}
	if user, ok := m.user(name); ok {
		return protocol.WithUser(user), nil
	}
	var found []*Conversation
	for _, c := range m.list {
		if c.Group() && strings.EqualFold(c.name, strings.TrimPrefix(name, "#")) {
			found = append(found, c)
		}
	}
	switch len(found) {
	case 0:
		return protocol.Session{}, fmt.Errorf("there is no user and no group of yours named %q", name)
	case 1:
		return found[0].In, nil
	}
	return protocol.Session{}, fmt.Errorf("%d groups are named %q: say group:%d or group:%d", len(found), name, found[0].In.ID, found[1].In.ID)
}

// user is the user that a login name or user:ID means.
func (m *Model) user(name string) (protocol.UserID, bool) {
	var id uint32
	if n, err := fmt.Sscanf(name, "user:%d", &id); n == 1 && err == nil && id > 0 {
		return protocol.UserID(id), true
	}
	for _, p := range m.people {
		if p.Name == name {
			return p.ID, true
		}
	}
	for _, p := range m.People() {
		if strings.EqualFold(p.Name, name) {
			return p.ID, true
		}
	}
	return 0, false
}

// People is everybody known, by name.
func (m *Model) People() []Person {
	list := make([]Person, 0, len(m.people))
	for _, p := range m.people {
		list = append(list, *p)
	}
	slices.SortFunc(list, func(a, b Person) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return list
}
