package chat

import (
	"cmp"
	"slices"
	"time"

	"teamtalk/client"
	"teamtalk/protocol"
)

// Ref names a message of this run before the SDK has an id for it.
type Ref uint64

// Kind is what an entry is.
type Kind uint8

// Kinds.
const (
	Text       Kind = iota
	Voice           // a voice message, which is not played here
	Unreadable      // a text that could not be decrypted
	Note            // what happened in the conversation; nobody wrote it
)

// Entry is a message of a conversation, or a note in it.
type Entry struct {
	ID      protocol.MsgID // 0: not stored yet; of a note, the message it follows
	Client  protocol.ClientMsgID
	Ref     Ref
	From    protocol.UserID // of a note, who did it; 0: an operator
	Address string          // user@domain, of a remote author; of a note, the office that did it
	Mine    bool
	Time    time.Time
	Kind    Kind
	Text    string
	Burn    time.Duration         // from reading to deletion; 0: stays
	Due     time.Time             // when it is deleted, as far as is known here; zero: not read yet
	Gone    bool                  // the content is not there any more
	Deleted protocol.Deletion     // how it went; 0: not known yet
	By      protocol.UserID       // who deleted it; 0: its time had come, or it is not known
	Phase   client.Phase          // of one's own
	Change  protocol.MemberChange // of a note
	Who     []protocol.UserID     // of a note: who was added or removed
	Why     string                // PhaseFailed, or why it was not delivered
	Files   []client.Attachment   // what the text shows by words
	abroad
}

// abroad is what an entry has to do with other offices.
type abroad struct {
	State  client.MessageState // of one's own, that goes to other offices
	HubSeq uint64              // place in a group of several offices; 0: not known
	sought uint8               // how often the place was asked for
	seekAt time.Time           // not before it is asked for again
}

// Live tells whether an entry is a message with a content.
func (e *Entry) Live() bool { return e.Kind != Note && !e.Gone }

// settled tells whether nothing more will become known of a message on its way to other offices: what a history says may be older.
func (e *Entry) settled() bool {
	return e.State == client.StateDelivered || e.State == client.StateUndeliverable || e.State == client.StateSent && e.HubSeq != 0
}

// waits tells whether a message has no place among those stored.
func (e *Entry) waits() bool { return e.ID == 0 && e.Kind != Note }

// erase takes the content away.
func (e *Entry) erase(how protocol.Deletion, by protocol.UserID) {
	e.Gone, e.Deleted, e.By, e.Text, e.Kind, e.Files = true, cmp.Or(how, e.Deleted), by, "", Text, nil
}

// Conversation is the messages with a user or in a group.
type Conversation struct {
	In       protocol.Session
	Entries  []*Entry // by number; those that are not stored yet at the end
	Unread   int
	Updated  time.Time
	Latest   string // text of the newest message while no entry is known
	Draft    Editor
	Scroll   int // lines between the newest and the last one shown
	Complete bool
	Members  []protocol.UserID // of a group, as far as is known

	name      string // of a group
	office    string // domain of a group's office, if that is another one
	creator   protocol.UserID
	loaded    bool           // the newest messages were asked for
	loading   bool           // the answer is still to come
	read      protocol.MsgID // as far as this user has read
	counted   protocol.MsgID // messages up to here are part of Unread, or were read
	delivered protocol.MsgID // as far as any other member has received
	readBy    protocol.MsgID // as far as any other member has read
	lines     int            // at the last Fit
	below     bool           // something was added at the end since the last Fit
}

// Group tells whether it is a group's.
func (c *Conversation) Group() bool { return c.In.Type == protocol.SessionGroup }

// Loading tells whether messages are on their way.
func (c *Conversation) Loading() bool { return c.loading }

// Office is the domain of the office that a group belongs to; empty: this one.
func (c *Conversation) Office() string { return c.office }

// Phase is how far a message of one's own has got, by all that is known.
func (c *Conversation) Phase(e *Entry) client.Phase {
	switch {
	case e.ID == 0:
		return e.Phase
	case e.ID <= c.readBy || e.Phase == client.PhaseRead:
		return client.PhaseRead
	case e.ID <= c.delivered || e.Phase == client.PhaseDelivered || e.State == client.StateDelivered:
		return client.PhaseDelivered
	}
	return client.PhaseSent
}

// Last is the newest message; nil: none is known.
func (c *Conversation) Last() *Entry {
	for _, e := range slices.Backward(c.Entries) {
		if e.Kind != Note {
			return e
		}
	}
	return nil
}

// newest is the highest number among the messages known that keep says; 0: none.
func (c *Conversation) newest(keep func(*Entry) bool) protocol.MsgID {
	newest := protocol.MsgID(0)
	for _, e := range c.Entries {
		if e.Kind != Note && e.ID > newest && keep(e) {
			newest = e.ID
		}
	}
	return newest
}

// oldest is the lowest number among the messages known; 0: none.
func (c *Conversation) oldest() protocol.MsgID {
	oldest := protocol.MsgID(0)
	for _, e := range c.Entries {
		if e.Kind != Note && e.ID != 0 && (oldest == 0 || e.ID < oldest) {
			oldest = e.ID
		}
	}
	return oldest
}

func (c *Conversation) find(is func(*Entry) bool) *Entry {
	if i := slices.IndexFunc(c.Entries, is); i >= 0 {
		return c.Entries[i]
	}
	return nil
}

// put adds a stored message, or what is new about one that is known, and returns it; fresh tells which.
func (c *Conversation) put(n *Entry) (e *Entry, fresh bool) {
	e = c.find(func(e *Entry) bool { return e.Kind != Note && e.ID == n.ID })
	if e == nil && !n.Client.IsZero() {
		e = c.find(func(e *Entry) bool { return e.Client == n.Client })
	}
	if e == nil {
		c.Entries = append(c.Entries, n)
		c.sort()
		return n, true
	}
	moved := e.ID != n.ID || n.HubSeq != 0 && n.HubSeq != e.HubSeq
	e.ID, e.Time, e.HubSeq = n.ID, n.Time, cmp.Or(n.HubSeq, e.HubSeq)
	if !n.Client.IsZero() {
		e.Client = n.Client
	}
	switch {
	case n.Gone:
		e.erase(n.Deleted, e.By)
	case !e.Gone:
		e.Kind, e.Text, e.Burn = n.Kind, n.Text, cmp.Or(n.Burn, e.Burn)
	}
	if moved {
		c.sort()
	}
	return e, false
}

// sort brings the entries into the order that is the same at all offices, notes behind the message they follow, the unsent at the end as they were typed.
func (c *Conversation) sort() {
	client.Arrange(c.Entries, func(e *Entry) client.Place {
		isOnItsWay := e.Mine && e.HubSeq == 0 && (e.State == client.StatePending || e.State == client.StateDelayed)
		return client.Place{ID: e.ID, HubSeq: e.HubSeq, Waiting: c.Group() && isOnItsWay, Note: e.Kind == Note}
	})
}

// state notes what became of a message of one's own; false: it is none that is known.
func (c *Conversation) state(id protocol.MsgID, s client.MessageState, why string, hubSeq uint64) bool {
	e := c.find(func(e *Entry) bool { return e.Kind != Note && e.ID == id && e.Mine })
	if e == nil {
		return false
	}
	e.State, e.HubSeq = s, cmp.Or(hubSeq, e.HubSeq)
	if s == client.StateUndeliverable || s == client.StateDelayed {
		e.Why = cmp.Or(why, e.Why)
	}
	c.sort()
	return true
}

// How often the place of a message is asked for, at most, how soon it is asked for again, each time four times as late, and among how many of the newest messages it is looked for.
const (
	soughtMost = 6
	seekAgain  = 2 * time.Second
	soughtIn   = 50
)

// placeless are the messages of colleagues in a group of another office that had no place yet when they came, and stand before one that has: of its place
// only the author is told. The newest, and how many back to the oldest; 0: none.
func (c *Conversation) placeless(now time.Time) (from protocol.MsgID, count int) {
	if !c.Group() || c.In.Group() < protocol.MaxLocalID {
		return 0, 0
	}
	placed, newest := protocol.MsgID(0), c.newest(func(*Entry) bool { return true })
	for _, e := range c.Entries {
		if e.HubSeq != 0 {
			placed = max(placed, e.ID)
		}
	}
	oldest := newest
	for _, e := range c.Entries {
		isSought := e.Kind != Note && !e.Mine && e.HubSeq == 0 && e.ID < placed && e.ID+soughtIn > newest
		if !isSought || e.sought >= soughtMost || now.Before(e.seekAt) {
			continue
		}
		e.seekAt = now.Add(seekAgain << (2 * e.sought))
		e.sought++
		from, oldest = max(from, e.ID), min(oldest, e.ID)
	}
	if from == 0 {
		return 0, 0
	}
	return from, int(from-oldest) + 1
}

// note adds a line about what happened.
func (c *Conversation) note(e *Entry) {
	e.ID, e.Kind = c.newest(func(*Entry) bool { return true }), Note
	c.Entries = append(c.Entries, e)
	c.sort()
	c.below = true
}

// trim lets go of all but the newest entries once there are more than most; PgUp brings them back.
func (c *Conversation) trim(most, keep int) {
	if len(c.Entries) <= most || c.Scroll > 0 {
		return
	}
	waiting := 0
	for _, e := range c.Entries {
		if e.waits() {
			waiting++
		}
	}
	if old := len(c.Entries) - max(keep, waiting); old > 0 {
		c.Entries = slices.Delete(c.Entries, 0, old)
		c.Complete = false
	}
}

func (c *Conversation) remove(e *Entry) {
	c.Entries = slices.DeleteFunc(c.Entries, func(x *Entry) bool { return x == e })
}

// Fit tells how many lines the conversation has and how many are shown, which bounds the scrolling. What is read further up stays where
// it is when something is added below.
func (c *Conversation) Fit(lines, height int) {
	if c.Scroll > 0 && c.below && lines > c.lines {
		c.Scroll += lines - c.lines
	}
	c.below, c.lines = false, lines
	c.Scroll = max(0, min(c.Scroll, lines-height))
}
