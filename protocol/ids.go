package protocol

import (
	"fmt"
	"time"
)

// UserID names a user of this cluster; 0 is nobody (in an actor's place: the operator).
type UserID uint32

// GroupID names a group of this cluster.
type GroupID uint32

// DeptID names a department.
type DeptID uint32

// MsgID numbers the messages of one conversation, densely from 1 [TT-MSG-4].
type MsgID uint32

// MaxLocalID is the first id that is not given to local users and groups:
// from here on ids are aliases of people and groups of federated clusters.
const MaxLocalID = 0x40000000

// Cursor is an index of the replicated log: what a client has seen up to there.
type Cursor uint64

// Position is a place in the replicated log: the entry, and the command's place inside a grouped entry.
type Position struct {
	Index uint64 `cbor:"1,keyasint"`
	Sub   uint16 `cbor:"2,keyasint,omitempty"`
}

// Before reports whether p comes earlier in the log than q.
func (p Position) Before(q Position) bool {
	return p.Index < q.Index || p.Index == q.Index && p.Sub < q.Sub
}

// String is "index.sub".
func (p Position) String() string { return fmt.Sprintf("%d.%d", p.Index, p.Sub) }

// ClientMsgID is chosen by whoever sends a message and makes a repeat recognisable; all zero means none.
type ClientMsgID [16]byte

// IsZero reports whether no id was given.
func (c ClientMsgID) IsZero() bool { return c == ClientMsgID{} }

// ConnID names a client's connection in its cluster; 0 is none. Commands carry the one that asked, so that what follows is
// told to the user's other connections only.
type ConnID uint64

// Time is a wall-clock time in milliseconds since 1970, as stamped by the leader.
type Time int64

// TimeOf converts t.
func TimeOf(t time.Time) Time { return Time(t.UnixMilli()) }

// FromUnix converts seconds since 1970.
func FromUnix(s uint32) Time { return Time(s) * 1000 }

// Unix is the time in whole seconds, as the legacy protocol carries it.
func (t Time) Unix() uint32 {
	if t < 0 {
		return 0
	}
	return uint32(t / 1000)
}

// Std is the time as the standard library has it, in UTC.
func (t Time) Std() time.Time { return time.UnixMilli(int64(t)).UTC() }

// ClientType tells the program a session runs in.
type ClientType uint8

// Client types. Bit 0x10 marks a mobile one.
const (
	ClientWindows  ClientType = 0x01
	ClientMac      ClientType = 0x02
	ClientWeb      ClientType = 0x03
	ClientTerminal ClientType = 0x04
	ClientIOS      ClientType = 0x11
	ClientAndroid  ClientType = 0x12
)

// IsMobile reports whether the client is of the mobile class; all others are of the PC class.
func (c ClientType) IsMobile() bool { return c&0x10 != 0 }

// SameClass reports whether two clients kick each other.
func (c ClientType) SameClass(d ClientType) bool { return c.IsMobile() == d.IsMobile() }

// String is the lower-case name, as in logs.
func (c ClientType) String() string {
	switch c {
	case ClientWindows:
		return "windows"
	case ClientMac:
		return "mac"
	case ClientWeb:
		return "web"
	case ClientTerminal:
		return "terminal"
	case ClientIOS:
		return "ios"
	case ClientAndroid:
		return "android"
	}
	return fmt.Sprintf("client(0x%02x)", uint8(c))
}
