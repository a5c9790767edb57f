package protocol

// Event is something durable that happened, published in log order on every node after it is on disk.
type Event struct {
	At   Position
	Body EventBody
}

// EventBody is one of the event types below.
type EventBody interface{ isEvent() }

// MessageSent: a message was stored.
type MessageSent struct {
	Message Message
	// Members are the group's at that moment, ascending, shared: do not modify. Nil for one-to-one.
	Members []UserID
}

// MessageDeleted: the content of a message is gone. The event has a position of its own, later than the message's.
type MessageDeleted struct {
	Conversation Conversation
	ID           MsgID
	Kind         Deletion
	By           UserID // 0: its time had come
	// Members are the group's at that moment, ascending, shared: do not modify. Nil for one-to-one, and in a replay.
	Members []UserID
}

// ReadMoved: a user's read position moved forward.
type ReadMoved struct {
	User    UserID
	Session Session
	UpTo    MsgID
	Origin  ConnID // of the command: that connection needs no telling
}

// SessionRemoved: a user took a conversation off his list.
type SessionRemoved struct {
	User    UserID
	Session Session
	Origin  ConnID // of the command
}

// GroupCreated: a group was made.
type GroupCreated struct {
	Actor   UserID
	Group   GroupID
	Members []UserID
}

// MembersChanged: members joined or left a group.
type MembersChanged struct {
	Actor   UserID // 0 is the operator
	Group   GroupID
	Change  MemberChange
	Current []UserID
	Changed []UserID
	Origin  ConnID // of the command
}

// GroupEdited: a group's profile changed.
type GroupEdited struct {
	Group GroupID
}

// SignChanged: a user set another signature.
type SignChanged struct {
	User UserID
	Sign string
}

// AvatarChanged: a user set another picture.
type AvatarChanged struct {
	User   UserID
	Avatar string
}

// OfflineFileAdded: a file waits for its receiver.
type OfflineFileAdded struct {
	File OfflineFile
}

// DirectoryChanged: users or departments were added or edited.
type DirectoryChanged struct{}

// AccessRevoked: sessions of a user must end, because he left, his password was changed, or they were logged out or kicked.
type AccessRevoked struct {
	User   UserID
	Reason string
	Scope  RevokeScope
	Device DeviceID // RevokeDevice only
}

// Jumped: the state moved from one log index to a later one without the events between being known here (an installed
// snapshot, or a subscriber that fell behind). Whoever follows the events has to look at the state again.
type Jumped struct {
	From, To Cursor
}

func (MessageSent) isEvent()      {}
func (MessageDeleted) isEvent()   {}
func (ReadMoved) isEvent()        {}
func (SessionRemoved) isEvent()   {}
func (GroupCreated) isEvent()     {}
func (MembersChanged) isEvent()   {}
func (GroupEdited) isEvent()      {}
func (SignChanged) isEvent()      {}
func (AvatarChanged) isEvent()    {}
func (OfflineFileAdded) isEvent() {}
func (DirectoryChanged) isEvent() {}
func (AccessRevoked) isEvent()    {}
func (Jumped) isEvent()           {}

// MessageStateChanged: something became known of what happened to a message on its way to another cluster.
type MessageStateChanged struct {
	Conversation Conversation
	ID           MsgID
	From         UserID // its author, who is told
	State        uint8  // as in the chat extension's STATE
	HubSeq       uint64 // its place in a group of several clusters, once it has one
	Reason       string // for people
}

func (MessageStateChanged) isEvent() {}

// FederationQueued: something waits for another cluster. Not replayed: who sends looks at what waits when it begins.
type FederationQueued struct {
	Cluster [16]byte
}

func (FederationQueued) isEvent() {}

// FederationAlarm: something about another cluster is for an operator to look at. Not replayed.
type FederationAlarm struct {
	Cluster [16]byte
	Group   GroupID // 0: it is not about a group
	Text    string
}

func (FederationAlarm) isEvent() {}
