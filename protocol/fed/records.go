package fed

import (
	"crypto/ed25519"

	"teamtalk/protocol"
)

// OwnKey is a link key with its secret.
type OwnKey struct {
	Seed    [ed25519.SeedSize]byte `cbor:"1,keyasint"`
	Purpose Purpose                `cbor:"2,keyasint"`
	Since   protocol.Time          `cbor:"3,keyasint"` // when it got this purpose
}

// Identity is what a cluster is to others, with its secrets; it is in the replicated state [FED-ID-4].
type Identity struct {
	Root     [ed25519.SeedSize]byte `cbor:"1,keyasint"`
	Keys     []OwnKey               `cbor:"2,keyasint"`
	Manifest SignedManifest         `cbor:"3,keyasint"`
	Epoch    uint64                 `cbor:"4,keyasint"` // of the outbox
	History  [16]byte               `cbor:"5,keyasint"` // the cluster's when the epoch began: another one now means that state was lost [FED-EP-1]
	// Fixed: an operator has said what the endpoints are; else they follow the configuration.
	Fixed bool `cbor:"9,keyasint,omitempty"`
}

// Signer signs with the active link key; nil if there is none.
func (i *Identity) Signer(cluster ClusterID) *Signer {
	for _, k := range i.Keys {
		if k.Purpose == KeyActive {
			return &Signer{cluster, ed25519.NewKeyFromSeed(k.Seed[:])}
		}
	}
	return nil
}

// Allow is a set of what may pass between two clusters in one direction [FED-ON-2].
type Allow uint8

// What may pass.
const (
	AllowDirect    Allow = 1 << iota // messages one to one
	AllowGroups                      // groups with people of both
	AllowFiles                       // and voice is no file
	AllowPresence                    // who is online, typing
	AllowDirectory                   // all people, not only those who have met
	AllowAll       = AllowDirect | AllowGroups | AllowFiles | AllowPresence | AllowDirectory
)

// Has reports whether all of b is allowed.
func (a Allow) Has(b Allow) bool { return a&b == b }

// PeerState is how far two clusters have come.
type PeerState uint8

// States of peers, as seen by one side.
const (
	PeerKnown      PeerState = 1 // heard of through a hub: its people are in a group with ours; there is no link
	PeerIntroduced PeerState = 2 // an invitation was used; not confirmed here
	PeerConfirmed  PeerState = 3
	PeerPaused     PeerState = 4
	PeerRemoved    PeerState = 5
)

// String is the state's name.
func (p PeerState) String() string {
	names := [...]string{"none", "known", "introduced", "confirmed", "paused", "removed"}
	if int(p) < len(names) {
		return names[p]
	}
	return "unknown"
}

// Peer is what a cluster keeps of another one.
type Peer struct {
	Manifest   SignedManifest  `cbor:"1,keyasint"`
	State      PeerState       `cbor:"2,keyasint"`
	In         Allow           `cbor:"3,keyasint,omitempty"` // what it may send
	Out        Allow           `cbor:"4,keyasint,omitempty"` // what it is sent
	Quota      uint64          `cbor:"5,keyasint,omitempty"` // bytes that may wait for it; 0: DefaultQuota
	Department protocol.DeptID `cbor:"6,keyasint,omitempty"` // its people are listed there
	Version    uint32          `cbor:"7,keyasint"`           // of this record
	Since      protocol.Time   `cbor:"8,keyasint"`           // when it was first heard of
	Proxy      string          `cbor:"9,keyasint,omitempty"` // host:port of an HTTP proxy for CONNECT
	DialOnly   bool            `cbor:"10,keyasint,omitempty"`
}

// DefaultQuota is how many bytes may wait for a peer [FED-OUT-3].
const DefaultQuota = 1 << 30

// Limit is the quota in bytes.
func (p *Peer) Limit() uint64 {
	if p.Quota == 0 {
		return DefaultQuota
	}
	return p.Quota
}

// Linked reports whether events may go to and fro, now or later.
func (p *Peer) Linked() bool { return p.State == PeerConfirmed || p.State == PeerPaused }

// MessageState is what became of a message that goes abroad; the numbers are those of the chat extension's STATE.
type MessageState uint8

// States of messages.
const (
	StateSent          MessageState = 0 // by the hub, or there is nothing more to say
	StatePending       MessageState = 1
	StateDelayed       MessageState = 2
	StateDelivered     MessageState = 3
	StateUndeliverable MessageState = 4
)

// PeerStatus is a peer and how far its lanes are.
type PeerStatus struct {
	Cluster ClusterID
	Peer    Peer
	Lanes   []LaneStatus // in order
}

// LaneStatus is how far both directions of a lane are.
type LaneStatus struct {
	Lane        Lane
	Sent, Acked uint64        // sequences of what goes out
	Waiting     uint64        // bytes above Acked
	Oldest      protocol.Time // when the oldest event above Acked was put out; 0: there is none
	EpochIn, In uint64        // what came in
	Swept       uint64        // up to which acknowledged events are gone for good
}

// Fate is what is known of a message that went abroad, or came from there.
type Fate struct {
	State  MessageState
	HubSeq uint64
	Event  EventID // zero: of this cluster, at the message's own position
}

// DeadLetter is an event that was not accepted.
type DeadLetter struct {
	Peer     ClusterID
	Inbound  bool // it came from the peer; else the peer refused it
	Type     Type
	ID       EventID
	Lane     Lane
	Sequence uint64
	Epoch    uint64 // of the outbox that it stood in, for an inbound one; 0: not known
	Code     protocol.Code
	Text     string
	Time     protocol.Time
}

// AliasRow is a person of a peer, as called here and there.
type AliasRow struct {
	Alias, Remote protocol.UserID
}

// TraceStep is where in the outbox an event about a message stands, or stood.
type TraceStep struct {
	Peer     ClusterID
	Lane     Lane
	Sequence uint64
	Acked    bool // the peer has committed it
	Gone     bool // its content is not in the outbox any more: it was acknowledged long ago, given up, or deleted
}

// Trace is what is known of a message.
type Trace struct {
	Event        EventID
	At           protocol.Position
	Conversation protocol.Conversation
	ID           protocol.MsgID
	From         protocol.UserID
	Time         protocol.Time
	Deleted      bool
	Fate         Fate // zero if the message has never been to another cluster, nor come from one
	Steps        []TraceStep
}

// Gap is what is missing here of a group of another cluster.
type Gap struct {
	Group    GroupRef
	Alias    protocol.GroupID
	From, To uint64 // hub_seqs, inclusive
}

// Fork is the proof that a hub told different things of one of its groups: two entries, signed by it, that can't both be in the chain [FED-SIG-3].
type Fork struct {
	Group         GroupRef
	Alias         protocol.GroupID
	Seq           uint64
	Time          protocol.Time // when it was found
	First, Second SignedEvent   // outer events; of the first one nothing is left if its content was deleted
}

// History is a page of what went between two clusters, in order of this one's log. Events of the asker's have their signature; those of this cluster's have
// none: whoever sends the page signs them.
type History struct {
	Events []SignedEvent
	After  protocol.Position // where to go on
	More   bool
}
