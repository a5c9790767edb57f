package protocol

// SessionType tells a one-to-one chat from a group.
type SessionType uint8

// Session types, as on the wire.
const (
	SessionSingle SessionType = 1
	SessionGroup  SessionType = 2
)

// Session is a conversation as one of its users sees it: with whom.
type Session struct {
	Type SessionType `cbor:"1,keyasint"`
	ID   uint32      `cbor:"2,keyasint"` // UserID of the peer, or GroupID
}

// WithUser is the one-to-one session with peer.
func WithUser(peer UserID) Session { return Session{SessionSingle, uint32(peer)} }

// InGroup is the session of a group.
func InGroup(g GroupID) Session { return Session{SessionGroup, uint32(g)} }

// Valid reports whether the type is known and the id is not 0.
func (s Session) Valid() bool {
	return (s.Type == SessionSingle || s.Type == SessionGroup) && s.ID != 0
}

// Peer is the other user of a one-to-one session.
func (s Session) Peer() UserID { return UserID(s.ID) }

// Group is the group of a group session.
func (s Session) Group() GroupID { return GroupID(s.ID) }

// Conversation is the same for everybody in it.
type Conversation struct {
	Type SessionType
	A, B uint32 // single: the smaller and the larger user id; group: the group id and 0
}

// Conversation is the conversation that me sees as s.
func (s Session) Conversation(me UserID) Conversation {
	if s.Type == SessionGroup {
		return Conversation{SessionGroup, s.ID, 0}
	}
	if uint32(me) < s.ID {
		return Conversation{SessionSingle, uint32(me), s.ID}
	}
	return Conversation{SessionSingle, s.ID, uint32(me)}
}

// Seen is the conversation as user me sees it.
func (c Conversation) Seen(me UserID) Session {
	if c.Type == SessionGroup {
		return Session{SessionGroup, c.A}
	}
	if uint32(me) == c.A {
		return Session{SessionSingle, c.B}
	}
	return Session{SessionSingle, c.A}
}

// MsgType tells what a message's data is, as on the wire.
type MsgType uint8

// Message types. Bit 0x10 marks a group's.
const (
	MsgSingleText  MsgType = 0x01
	MsgSingleAudio MsgType = 0x02
	MsgGroupText   MsgType = 0x11
	MsgGroupAudio  MsgType = 0x12
)

// Valid reports whether the type is one of the four.
func (t MsgType) Valid() bool {
	return t == MsgSingleText || t == MsgSingleAudio || t == MsgGroupText || t == MsgGroupAudio
}

// SessionType is the kind of session the type belongs to.
func (t MsgType) SessionType() SessionType {
	if t&0x10 != 0 {
		return SessionGroup
	}
	return SessionSingle
}

// IsAudio reports whether the data is 4 bytes of seconds and then sound.
func (t MsgType) IsAudio() bool { return t&0x0f == 0x02 }

// Extras is what a message of an extended client may carry beside its data. Comparable.
type Extras struct {
	ContentType string // MIME type of the data as the sender names it; empty: what the message type says
	ReplyTo     MsgID  // message of the same conversation that this one answers; 0: none
	BurnAfter   uint32 // seconds from reading to deletion; 0: stays
}

// Deletion is how the content of a message went, as on the wire.
type Deletion uint8

// Deletions; 0: it is there.
const (
	Recalled Deletion = 1 // taken back by its author, or out of a group by its creator
	Burned   Deletion = 2 // by its time, its author or its reader; only what was sent to be burned
)

// Valid reports whether it is one of the two.
func (d Deletion) Valid() bool { return d == Recalled || d == Burned }

// Message is one stored message.
type Message struct {
	Conversation Conversation
	ID           MsgID
	From         UserID
	Time         Time // never falls within a conversation
	Type         MsgType
	Data         []byte // as received: text is base64 ciphertext
	ClientMsgID  ClientMsgID
	Extras       Extras
	Deleted      Deletion // with it Data is empty, and of Extras only BurnAfter is left [TT-DEL-4]
	At           Position
	HubSeq       uint64 // its place in a group of several clusters; 0: the group has one cluster, or its hub has not said yet
	Fate         uint8  // what is known of its way to other clusters, as in the chat extension's STATE; 0: nothing that its author need know
}

// RecentSession is a row of a user's list of conversations.
type RecentSession struct {
	Session Session
	Updated Time
	Latest  Message
}

// Unread counts what a user has not read in one conversation.
type Unread struct {
	Session Session
	Count   uint32
	Latest  Message
}

// GroupType tells a group made by the company from one made by its members.
type GroupType uint8

// Group types, as on the wire.
const (
	GroupNormal GroupType = 1
	GroupTemp   GroupType = 2
)

// Group is a group's profile; its members are kept beside it.
type Group struct {
	ID      GroupID   `cbor:"1,keyasint"`
	Name    string    `cbor:"2,keyasint"`
	Avatar  string    `cbor:"3,keyasint,omitempty"`
	Creator UserID    `cbor:"4,keyasint,omitempty"`
	Type    GroupType `cbor:"5,keyasint"`
	Version uint32    `cbor:"6,keyasint"` // 1 at creation, one more with each change of members or profile
	Closed  bool      `cbor:"7,keyasint,omitempty"`
	Created Time      `cbor:"8,keyasint,omitempty"`
	Updated Time      `cbor:"9,keyasint,omitempty"`
}

// GroupInfo is a group as one user sees it.
type GroupInfo struct {
	Group
	Members  []UserID // ascending
	Shielded bool     // this user wants no pushes from it
	Domain   string   // of the cluster that orders it, if that is another one
}

// GroupVersion asks for a group that is newer than Version.
type GroupVersion struct {
	ID      GroupID
	Version uint32
}

// MemberChange is what happens to members.
type MemberChange uint8

// Member changes, as on the wire.
const (
	MembersAdd MemberChange = 1
	MembersDel MemberChange = 2
)
