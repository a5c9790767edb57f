package protocol

import "time"

// DeviceID names a device or program of a user, chosen by itself; what has none is a legacy client.
type DeviceID string

// MaxDeviceID is the most bytes of a DeviceID [TT-SESS-1].
const MaxDeviceID = 64

// RevokeScope says which sessions of a user are revoked. The numbers are stored.
type RevokeScope uint8

// Scopes.
const (
	RevokeAll    RevokeScope = 1 // left the company, or has another password
	RevokePC     RevokeScope = 2 // the PC class: kicked by the user's mobile [TT-SESS-9]
	RevokeDevice RevokeScope = 3 // one device: logged out
)

// Epoch is the log index of the last command that revoked a session's kind: a token is good as long as it was issued at this epoch or a later
// one [TT-SESS-6] [TT-SESS-7].
type Epoch = Cursor

// Cluster is what all nodes of a cluster share from its founding on. The keys are secret: they are never logged or shown.
type Cluster struct {
	ID         [16]byte `cbor:"1,keyasint"`
	History    [16]byte `cbor:"2,keyasint"`           // cursors belong to it; a restored cluster has another one [TT-SESS-5]
	TokenKey   [32]byte `cbor:"3,keyasint"`           // authenticates resume tokens [TT-SESS-6]
	AddressKey [32]byte `cbor:"4,keyasint"`           // of QUIC address validation
	NodeCert   string   `cbor:"5,keyasint,omitempty"` // PEM: the authority that signs the certificates of nodes; empty in clusters of before
	NodeKey    string   `cbor:"6,keyasint,omitempty"` // PEM: its key
	JoinKey    [32]byte `cbor:"7,keyasint,omitempty"` // authenticates join tokens
}

// Device tells the session of an extended client from others of the same user.
type Device struct {
	User   UserID
	ID     DeviceID
	Client ClientType
}

// Credential is what a client resumes its session with.
type Credential struct {
	Token   []byte
	Expires time.Duration // from now
}

// Grant is what a resume token proves.
type Grant struct {
	Device      Device
	Epoch       Epoch
	SameHistory bool // the client's cursor is one of this cluster's log as it is now
}
