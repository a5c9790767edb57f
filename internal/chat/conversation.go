package chat

import (
	"cmp"
	"math"
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
	Address string          // user@domain, of a remote author
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
	Why     string                // PhaseFailed
}

// Live tells whether an entry is a message with a content.
func (e *Entry) Live() bool { return e.Kind != Note && !e.Gone }

// waits tells whether a message has no place among those stored.
func (e *Entry) waits() bool { return e.ID == 0 && e.Kind != Note }

// erase takes the content away.
func (e *Entry) erase(how protocol.Deletion, by protocol.UserID) {
	e.Gone, e.Deleted, e.By, e.Text, e.Kind = true, cmp.Or(how, e.Deleted), by, "", Text
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

// Phase is how far a message of one's own has got, by all that is known.
func (c *Conversation) Phase(e *Entry) client.Phase {
	switch {
	case e.ID == 0:
		return e.Phase
	case e.ID <= c.readBy || e.Phase == client.PhaseRead:
		return client.PhaseRead
	case e.ID <= c.delivered || e.Phase == client.PhaseDelivered:
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
	for _, e := range slices.Backward(c.Entries) {
		if e.Kind != Note && e.ID != 0 && keep(e) {
			return e.ID
		}
	}
	return 0
}

// oldest is the lowest number among the messages known; 0: none.
func (c *Conversation) oldest() protocol.MsgID {
	for _, e := range c.Entries {
		if e.Kind != Note && e.ID != 0 {
			return e.ID
		}
	}
	return 0
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
	moved := e.ID != n.ID
	e.ID, e.Time = n.ID, n.Time
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

// sort brings the entries into order: by number, notes behind the message they follow, the unsent at the end as they were typed.
func (c *Conversation) sort() {
	place := func(e *Entry) uint64 {
		switch {
		case e.waits():
			return math.MaxUint64
		case e.Kind == Note:
			return uint64(e.ID)<<1 | 1
		}
		return uint64(e.ID) << 1
	}
	slices.SortStableFunc(c.Entries, func(a, b *Entry) int { return cmp.Compare(place(a), place(b)) })
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
