package chat

import (
	"time"

	"teamtalk/client"
	"teamtalk/protocol"
)

// Effect is something to be done for the model: one of the types of this file.
type Effect interface{ isEffect() }

// Send asks for a text to be sent; Model.Queued or Model.Refused tells what became of it.
type Send struct {
	Ref  Ref
	In   protocol.Session
	Text string
	Burn time.Duration // from reading to deletion; 0: stays
}

// Retry asks for a message that failed to be sent again.
type Retry struct{ Client protocol.ClientMsgID }

// MarkRead moves the read position.
type MarkRead struct {
	In   protocol.Session
	UpTo protocol.MsgID
}

// LoadHistory asks for Count messages up to From, 0 being the newest; Model.History takes them.
type LoadHistory struct {
	In    protocol.Session
	From  protocol.MsgID
	Count int
}

// LoadLists asks for the directory, the conversations and what is unread: Model.People, Recent and Unread.
type LoadLists struct{}

// LoadUnread asks for what is unread.
type LoadUnread struct{}

// LoadGroups asks for groups by id: Model.Groups.
type LoadGroups struct{ IDs []protocol.GroupID }

// LoadUsers asks for users by id: Model.People.
type LoadUsers struct{ IDs []protocol.UserID }

// AskPresence asks who is online, and to be told of changes: Model.Presence.
type AskPresence struct{ IDs []protocol.UserID }

// Recall takes a message back.
type Recall struct {
	In protocol.Session
	ID protocol.MsgID
}

// BurnNow burns a message before its time.
type BurnNow struct {
	In protocol.Session
	ID protocol.MsgID
}

// Find looks for people, here and at other offices: Model.Found takes them.
type Find struct{ Text string }

// CreateGroup makes a group; Model.Created tells its id.
type CreateGroup struct {
	Name    string
	Members []protocol.UserID
}

// Invite adds members to a group.
type Invite struct {
	Group   protocol.GroupID
	Members []protocol.UserID
}

// Leave ends the membership of a group.
type Leave struct{ Group protocol.GroupID }

// Sign changes one's signature.
type Sign struct{ Text string }

// Attach uploads a file and sends it, as a picture if it is one.
type Attach struct {
	In   protocol.Session
	Path string // on this machine
	Burn time.Duration
}

// Save fetches what a message shows.
type Save struct {
	What client.Attachment
	Path string // a file or folder on this machine; empty: where the program was started
}

// Redraw paints the whole screen again.
type Redraw struct{}

// Quit ends the program.
type Quit struct{}

func (Send) isEffect()        {}
func (Retry) isEffect()       {}
func (MarkRead) isEffect()    {}
func (LoadHistory) isEffect() {}
func (LoadLists) isEffect()   {}
func (LoadUnread) isEffect()  {}
func (LoadGroups) isEffect()  {}
func (LoadUsers) isEffect()   {}
func (AskPresence) isEffect() {}
func (Recall) isEffect()      {}
func (BurnNow) isEffect()     {}
func (Find) isEffect()        {}
func (CreateGroup) isEffect() {}
func (Invite) isEffect()      {}
func (Leave) isEffect()       {}
func (Sign) isEffect()        {}
func (Attach) isEffect()      {}
func (Save) isEffect()        {}
func (Redraw) isEffect()      {}
func (Quit) isEffect()        {}
