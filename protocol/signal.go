package protocol

// Signal is something ephemeral that happened: told once to every node, best effort, neither stored nor repeated.
type Signal interface{ isSignal() }

// PresenceChanged: the user's PC presence is now Online, or was just announced again.
type PresenceChanged struct {
	User   UserID
	Online bool
}

// P2PSent: a user sends a command to another one's devices, to be passed on as it is.
type P2PSent struct {
	From   UserID
	To     UserID
	Data   string
	Origin ConnID // the connection it came from
}

// Delivered: one of a user's devices has stored what was sent to it in a conversation, up to a message.
type Delivered struct {
	User         UserID
	Conversation Conversation
	UpTo         MsgID
	Authors      []UserID // of the messages newly covered, ascending: whom it may interest
}

// FileOffered: a user wants to send another one a file; the receiver's devices are told.
type FileOffered struct {
	From      UserID
	To        UserID
	TaskID    string
	Name      string
	Size      uint32        // bytes
	Online    bool          // while both are connected; else it waits for the receiver once it has come
	Addresses []FileAddress // of the node that has the task
}

// FileAddress is where a client finds a transfer service.
type FileAddress struct {
	Host string
	Port uint16
}

func (Delivered) isSignal()       {}
func (FileOffered) isSignal()     {}
func (PresenceChanged) isSignal() {}
func (P2PSent) isSignal()         {}
