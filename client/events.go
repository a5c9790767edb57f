package client

import (
	"time"

	"teamtalk/client/dial"
	"teamtalk/protocol"
)

// Event is something that happened: one of the types of this file, or a *Message.
type Event interface{ isEvent() }

// ReadMoved: this user has read a conversation up to UpTo, perhaps on another device.
type ReadMoved struct {
	Session protocol.Session
	UpTo    protocol.MsgID
}

// MessageDeleted: the content of a message is gone, for everybody: also from wherever the app keeps or shows it [TT-DEL-6].
type MessageDeleted struct {
	Session protocol.Session
	ID      protocol.MsgID
	Kind    protocol.Deletion
	By      protocol.UserID // 0: its time had come
}

// MessageStateChanged: something became known of what happens to a message of this user's on its way to other offices [TT-FED-4].
type MessageStateChanged struct {
	Session protocol.Session
	ID      protocol.MsgID
	State   MessageState
	Reason  string // for people; may be empty
	HubSeq  uint64 // its place in a group of several offices, once it is known
}

// SessionRemoved: this user removed a conversation from his list.
type SessionRemoved struct{ Session protocol.Session }

// GroupChanged: members were added to or removed from a group.
type GroupChanged struct {
	Group   protocol.GroupID
	By      protocol.UserID // who did it; 0: an operator
	Change  protocol.MemberChange
	Changed []protocol.UserID
	Members []protocol.UserID // all members afterwards
}

// ProfileChanged: a user has another signature or avatar; the other one is nil.
type ProfileChanged struct {
	User   protocol.UserID
	Sign   *string
	Avatar *string
}

// Presence: a user that was asked for with Client.Presence came or went. Not repeated after a break; asked for again instead.
type Presence struct {
	User   protocol.UserID
	Online bool // on a client of the PC class
}

// OwnPC: this user came online on a client of the PC class, or went; mobiles are told.
type OwnPC struct{ Online bool }

// Mark: how far another user's devices have received a conversation and he has read it; 0: not known. Not repeated after a break.
type Mark struct {
	Session   protocol.Session
	User      protocol.UserID
	Delivered protocol.MsgID
	Read      protocol.MsgID
}

// FileOffered: a user has left a file for this one.
type FileOffered struct {
	From  protocol.UserID
	Task  string
	Name  string
	Size  uint32 // bytes
	Ready bool   // uploaded; else a transfer is offered now
}

// P2P: a command of another user's client, as typing notices are. Not repeated after a break.
type P2P struct {
	From protocol.UserID
	Data string
}

// More: the rest of a list that was too large for one answer; the call has returned its beginning.
type More struct {
	Users       []User
	Departments []protocol.Department
	Recent      []Recent
	Unread      []Unread
	Groups      []Group
}

// Gap: events were missed that won't be repeated: lists, histories and presence have to be fetched again. What comes after it is complete.
type Gap struct{ Why string }

// StateChanged: the connection came or went, or its login has moved up in the server's queue. While nobody reads events, a later one takes the
// place of an earlier one.
type StateChanged struct {
	State   State
	Why     error         // Offline and Kicked
	RetryAt time.Time     // Offline; zero: never
	Route   dial.Route    // Online
	Node    string        // Online: the server's name for itself
	Resumed bool          // Online: nothing was missed
	Took    time.Duration // Online: from the beginning of the attempt
	// Position is that of the login in the server's queue, while Connecting: 1 is next, 0 that it does not wait there; ETA is how long the
	// server thinks that will take, and 0 that it can't say [TT-QUEUE-2].
	Position uint32
	ETA      time.Duration
}

// State is what the connection is in.
type State uint8

// States.
const (
	Connecting State = iota + 1
	Online
	Offline // waiting to try again, or stopped if RetryAt is zero
	Kicked  // stopped by the server: ErrKicked or ErrReplaced
)

// String is the state's name.
func (s State) String() string {
	switch s {
	case Connecting:
		return "connecting"
	case Online:
		return "online"
	case Offline:
		return "offline"
	case Kicked:
		return "kicked"
	}
	return "not started"
}

func (*Message) isEvent()             {}
func (*ReadMoved) isEvent()           {}
func (*MessageDeleted) isEvent()      {}
func (*MessageStateChanged) isEvent() {}
func (*SessionRemoved) isEvent()      {}
func (*GroupChanged) isEvent()        {}
func (*ProfileChanged) isEvent()      {}
func (*Presence) isEvent()            {}
func (*OwnPC) isEvent()               {}
func (*Mark) isEvent()                {}
func (*FileOffered) isEvent()         {}
func (*P2P) isEvent()                 {}
func (*More) isEvent()                {}
func (*Gap) isEvent()                 {}
func (*StateChanged) isEvent()        {}
