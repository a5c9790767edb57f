package protocol

import "context"

// A Command is what goes through the replicated log: the wish of somebody, checked and executed in the same order
// on every node. Its time is stamped by the leader. The numbers of kinds and fields are stored: never reuse one.
type Command interface {
	Kind() CommandKind
}

// Pending is a command on its way through the log. Commands of one caller keep the order in which they were started.
type Pending interface {
	// Wait returns the command's result once it is committed and applied on this node. It may be called again after an error whose outcome is
	// unknown, and after no other.
	Wait(ctx context.Context) (any, error)
}

// CommandKind is the stored number of a command's type.
type CommandKind uint8

// Command kinds.
const (
	KindSendMessage       CommandKind = 1
	KindMarkRead          CommandKind = 2
	KindRemoveSession     CommandKind = 3
	KindRegisterDevice    CommandKind = 4
	KindSetPushShield     CommandKind = 5
	KindShieldGroup       CommandKind = 6
	KindChangeSign        CommandKind = 7
	KindChangeAvatar      CommandKind = 8
	KindCreateGroup       CommandKind = 9
	KindChangeMembers     CommandKind = 10
	KindAddOfflineFile    CommandKind = 11
	KindDeleteOfflineFile CommandKind = 12
	KindAddUsers          CommandKind = 13
	KindEditUser          CommandKind = 14
	KindSetPassword       CommandKind = 15
	KindPutDepartment     CommandKind = 16
	KindEditGroup         CommandKind = 17
	KindFoundCluster      CommandKind = 18
	KindRevokeSessions    CommandKind = 19
	KindDeleteMessage     CommandKind = 20
	KindBurnDue           CommandKind = 21
	KindRaiseLevel        CommandKind = 22
	KindSetIdentity       CommandKind = 23
	KindAddInvitation     CommandKind = 24
	KindSetPeer           CommandKind = 25
	KindReceiveEvent      CommandKind = 26
	KindAckEvents         CommandKind = 27
	KindSweepFederation   CommandKind = 28
	KindAddAlias          CommandKind = 29
	KindReceiveHistory    CommandKind = 30
	KindPutBlob           CommandKind = 31
	KindHoldBlobs         CommandKind = 32
	KindDropBlobs         CommandKind = 33
)

// SendMessage stores a message and gives it the next id of its conversation [TT-MSG-4]. A repeat of a ClientMsgID of
// the same sender with the same target and data is answered with the first id and changes nothing.
type SendMessage struct {
	From        UserID
	To          Session
	Type        MsgType
	Data        []byte
	ClientMsgID ClientMsgID
	Extras      Extras
	// Blobs are those that the message shows. Only ids count: what is not recorded is passed over, and of the others sizes and types are known.
	Blobs []BlobRef
}

// SendResult answers SendMessage.
type SendResult struct {
	ID       MsgID
	Time     Time
	At       Position // of the first one, if repeated
	Repeated bool
}

// MarkRead moves a user's read position forward, never back; UpTo 0 means the newest message.
type MarkRead struct {
	User    UserID  `cbor:"1,keyasint"`
	Session Session `cbor:"2,keyasint"`
	UpTo    MsgID   `cbor:"3,keyasint,omitempty"`
	Origin  ConnID  `cbor:"4,keyasint,omitempty"`
}

// MarkReadResult answers MarkRead.
type MarkReadResult struct {
	UpTo  MsgID // the position now
	Moved bool
}

// RemoveSession takes a conversation off a user's list until its next message, and marks it read.
type RemoveSession struct {
	User    UserID  `cbor:"1,keyasint"`
	Session Session `cbor:"2,keyasint"`
	Origin  ConnID  `cbor:"3,keyasint,omitempty"`
}

// RegisterDevice tells where pushes for a user's mobile go; an empty token unregisters. A token belongs to one user only.
type RegisterDevice struct {
	User   UserID     `cbor:"1,keyasint"`
	Client ClientType `cbor:"2,keyasint"`
	Token  string     `cbor:"3,keyasint,omitempty"`
}

// SetPushShield switches a user's nightly silence.
type SetPushShield struct {
	User UserID `cbor:"1,keyasint"`
	On   bool   `cbor:"2,keyasint,omitempty"`
}

// ShieldGroup switches pushes from one group off for one member.
type ShieldGroup struct {
	User  UserID  `cbor:"1,keyasint"`
	Group GroupID `cbor:"2,keyasint"`
	On    bool    `cbor:"3,keyasint,omitempty"`
}

// ChangeSign sets a user's signature.
type ChangeSign struct {
	User UserID `cbor:"1,keyasint"`
	Sign string `cbor:"2,keyasint,omitempty"`
}

// ChangeAvatar sets a user's picture.
type ChangeAvatar struct {
	User   UserID `cbor:"1,keyasint"`
	Avatar string `cbor:"2,keyasint,omitempty"`
}

// CreateGroup makes a group. Actor 0 is the operator.
type CreateGroup struct {
	Actor   UserID    `cbor:"1,keyasint,omitempty"`
	Type    GroupType `cbor:"2,keyasint"`
	Name    string    `cbor:"3,keyasint"`
	Avatar  string    `cbor:"4,keyasint,omitempty"`
	Members []UserID  `cbor:"5,keyasint"`
}

// CreateGroupResult answers CreateGroup.
type CreateGroupResult struct {
	Group   GroupID
	Members []UserID // ascending
}

// ChangeMembers adds or removes members. Actor 0 is the operator and may do everything; otherwise: adding to a temporary group is for its
// members, all else for the creator, and everybody may remove himself.
type ChangeMembers struct {
	Actor   UserID       `cbor:"1,keyasint,omitempty"`
	Group   GroupID      `cbor:"2,keyasint"`
	Change  MemberChange `cbor:"3,keyasint"`
	Members []UserID     `cbor:"4,keyasint"`
	Origin  ConnID       `cbor:"5,keyasint,omitempty"`
}

// ChangeMembersResult answers ChangeMembers.
type ChangeMembersResult struct {
	Current []UserID // all members now, ascending
	Changed []UserID // those really added or removed, ascending
}

// AddOfflineFile notes that a file waits for To.
type AddOfflineFile struct {
	File OfflineFile `cbor:"1,keyasint"`
}

// DeleteOfflineFile forgets a waiting file; only its sender and its receiver may.
type DeleteOfflineFile struct {
	Actor  UserID `cbor:"1,keyasint"`
	From   UserID `cbor:"2,keyasint"`
	To     UserID `cbor:"3,keyasint"`
	TaskID string `cbor:"4,keyasint"`
}

// NewUser is a user with the stored form of the password.
type NewUser struct {
	User         User   `cbor:"1,keyasint"` // ID 0: the next free one
	PasswordHash string `cbor:"2,keyasint,omitempty"`
}

// AddUsers adds users, all or none.
type AddUsers struct {
	Users []NewUser `cbor:"1,keyasint"`
}

// AddUsersResult answers AddUsers.
type AddUsersResult struct {
	IDs []UserID // in the order of the command
}

// EditUser replaces the fields that are not nil. Status "left" ends the user's sessions.
type EditUser struct {
	User       UserID      `cbor:"1,keyasint"`
	Nick       *string     `cbor:"2,keyasint,omitempty"`
	Gender     *uint8      `cbor:"3,keyasint,omitempty"`
	Avatar     *string     `cbor:"4,keyasint,omitempty"`
	Department *DeptID     `cbor:"5,keyasint,omitempty"`
	Email      *string     `cbor:"6,keyasint,omitempty"`
	Phone      *string     `cbor:"7,keyasint,omitempty"`
	Domain     *string     `cbor:"8,keyasint,omitempty"`
	Status     *UserStatus `cbor:"9,keyasint,omitempty"`
	Sign       *string     `cbor:"10,keyasint,omitempty"`
}

// SetPassword stores a password's hash. With If not empty it only replaces that very hash (rewrapping after a login)
// and leaves sessions alone; otherwise the user's sessions end.
type SetPassword struct {
	User UserID `cbor:"1,keyasint"`
	Hash string `cbor:"2,keyasint"`
	If   string `cbor:"3,keyasint,omitempty"`
}

// PutDepartment adds a department (ID 0) or replaces one.
type PutDepartment struct {
	Department Department `cbor:"1,keyasint"`
}

// PutDepartmentResult answers PutDepartment.
type PutDepartmentResult struct {
	ID DeptID
}

// EditGroup replaces the fields that are not nil; for the operator. Closing removes all members.
type EditGroup struct {
	Group   GroupID `cbor:"1,keyasint"`
	Name    *string `cbor:"2,keyasint,omitempty"`
	Avatar  *string `cbor:"3,keyasint,omitempty"`
	Creator *UserID `cbor:"4,keyasint,omitempty"`
	Close   bool    `cbor:"5,keyasint,omitempty"`
}

// FoundCluster gives a cluster its name and its secrets, once: a cluster that has them keeps them, and one that was founded when there was no
// authority for nodes yet gets that.
type FoundCluster struct {
	Cluster Cluster `cbor:"1,keyasint"`
}

// RevokeSessions ends sessions of a user, live or to be resumed, on all nodes: their tokens are refused from here on.
type RevokeSessions struct {
	User   UserID      `cbor:"1,keyasint"`
	Scope  RevokeScope `cbor:"2,keyasint"`
	Device DeviceID    `cbor:"3,keyasint,omitempty"` // RevokeDevice only
}

// DeleteMessage takes the content of a message away, for everybody. Recalled: by its author for Within after it was sent, by the creator of the
// group whenever he likes. Burned: of what was sent to be burned, by its author or its reader [TT-DEL-1] [TT-DEL-2].
type DeleteMessage struct {
	Actor    UserID   `cbor:"1,keyasint"`
	Session  Session  `cbor:"2,keyasint"` // as the actor sees it
	ID       MsgID    `cbor:"3,keyasint"`
	Deletion Deletion `cbor:"4,keyasint"`
	Within   int64    `cbor:"5,keyasint,omitempty"` // milliseconds; set by the rules, never by a client
}

// BurnDue burns the messages whose time has come when the command is stamped, the earliest first, at most Limit.
type BurnDue struct {
	Limit uint32 `cbor:"1,keyasint"`
}

// BurnDueResult answers BurnDue.
type BurnDueResult struct {
	Burned int
	More   bool // there is more to do at once
}

// Level is which commands and features a cluster uses: all that came with a level, or with one below, are known to every node. It counts from 1.
type Level uint32

// RaiseLevel has the cluster use what came with a level, for ever: whoever proposes it knows that every node's program knows that level. It never
// lowers.
type RaiseLevel struct {
	To Level `cbor:"1,keyasint"`
}
