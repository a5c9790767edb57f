package fed

import (
	"github.com/fxamacker/cbor/v2"

	"teamtalk/protocol"
)

// EventVersion is what this program writes; a higher one changes what a known field means.
const EventVersion = 1

// Type is the stored number of an event's type: never reused.
type Type uint8

// Types of events.
const (
	TypeMessage    Type = 1  // said to one user
	TypeDelete     Type = 2  // recalled or burned
	TypeMark       Type = 3  // read up to here
	TypePost       Type = 4  // said to a group: for its hub to order
	TypeHubPost    Type = 5  // ordered by the hub
	TypeHubReject  Type = 6  // a post that the hub will not order
	TypeGroupState Type = 7  // members and profile
	TypeLeave      Type = 8  // a member leaves
	TypeProfile    Type = 9  // a user's
	TypeFileOffer  Type = 10 // a file that stays where it is
	TypeSkip       Type = 11 // an event expired here
)

// String is the type's name, as in logs and metrics.
func (t Type) String() string {
	names := [...]string{"none", "message", "delete", "mark", "post", "hub_post", "hub_reject", "group_state", "leave", "profile", "file_offer", "skip"}
	if int(t) < len(names) {
		return names[t]
	}
	return "unknown"
}

// Event is something that one cluster tells another and that has its effect there exactly once.
type Event struct {
	Version uint8 `cbor:"1,keyasint"`
	Type    Type  `cbor:"2,keyasint"`
	// Must: who does not know the type has to refuse it; without, it is passed over.
	Must   bool            `cbor:"3,keyasint,omitempty"`
	ID     EventID         `cbor:"4,keyasint"`
	Time   protocol.Time   `cbor:"5,keyasint"` // the origin's; shown, never used for order
	Author UserRef         `cbor:"6,keyasint,omitzero"`
	To     UserRef         `cbor:"7,keyasint,omitzero"` // one to one
	Group  GroupRef        `cbor:"8,keyasint,omitzero"`
	Via    []string        `cbor:"9,keyasint,omitempty"` // bridges it came through
	Body   cbor.RawMessage `cbor:"10,keyasint"`
}

// Message is the body of TypeMessage, and of TypePost: what an author says.
type Message struct {
	Type        protocol.MsgType `cbor:"1,keyasint"`
	Data        []byte           `cbor:"2,keyasint"` // as clients carry it
	ContentType string           `cbor:"3,keyasint,omitempty"`
	BurnAfter   uint32           `cbor:"4,keyasint,omitempty"` // seconds
	ReplyTo     EventID          `cbor:"5,keyasint,omitzero"`
	// Blobs are what it shows; their content is asked of the cluster that the event came from [FED-FILE-1].
	Blobs []protocol.BlobRef `cbor:"6,keyasint,omitempty"`
}

// Delete recalls or burns a message.
type Delete struct {
	Target EventID           `cbor:"1,keyasint"`
	Kind   protocol.Deletion `cbor:"2,keyasint"`
}

// Mark says that its author has read up to a message.
type Mark struct {
	UpTo EventID `cbor:"1,keyasint"`
}

// HubPost is what a hub has put into its place in a group [FED-SIG-3].
type HubPost struct {
	Seq      uint64      `cbor:"1,keyasint"`
	Previous [32]byte    `cbor:"2,keyasint"`
	Inner    SignedEvent `cbor:"3,keyasint"`           // as its origin signed it; without bytes once it was deleted
	Hash     [32]byte    `cbor:"4,keyasint,omitempty"` // of the inner event's bytes
}

// HubReject is a post that the hub will not order.
type HubReject struct {
	Target EventID       `cbor:"1,keyasint"`
	Code   protocol.Code `cbor:"2,keyasint"`
	Text   string        `cbor:"3,keyasint,omitempty"`
}

// GroupState is a group as its hub has it.
type GroupState struct {
	Version  uint32             `cbor:"1,keyasint"` // rises with each change
	Seq      uint64             `cbor:"2,keyasint"` // of the last post before it
	Previous [32]byte           `cbor:"3,keyasint"` // the chain's hash there
	Name     string             `cbor:"4,keyasint"`
	Avatar   string             `cbor:"5,keyasint,omitempty"`
	Kind     protocol.GroupType `cbor:"6,keyasint"`
	Creator  UserRef            `cbor:"7,keyasint,omitzero"`
	Members  []UserRef          `cbor:"8,keyasint"`
	Closed   bool               `cbor:"9,keyasint,omitempty"`
	Profiles []Profile          `cbor:"10,keyasint,omitempty"` // of members, in their order
	// Manifests of the members' clusters other than the hub and the receiver: what their posts are checked with.
	Manifests []SignedManifest `cbor:"11,keyasint,omitempty"`
	// Era is the hub's: in a later one it may count anew, and Seq is where its chain is to be taken up.
	Era uint64 `cbor:"12,keyasint,omitempty"`
	// Part: only Members and Profiles count, and these are only some; the whole state follows, with the profiles that are left.
	Part bool `cbor:"13,keyasint,omitempty"`
	// Picture is what Avatar shows, if that is a blob [FED-FILE-4].
	Picture protocol.BlobRef `cbor:"14,keyasint,omitzero"`
}

// Leave says that its author leaves the group.
type Leave struct{}

// Profile is what others see of a user.
type Profile struct {
	Login  string `cbor:"1,keyasint"`
	Nick   string `cbor:"2,keyasint,omitempty"`
	Avatar string `cbor:"3,keyasint,omitempty"`
	Gender uint8  `cbor:"4,keyasint,omitempty"`
	Sign   string `cbor:"5,keyasint,omitempty"`
	Left   bool   `cbor:"6,keyasint,omitempty"`
	// Updated rises with each change at the user's home: of two the later one counts, whichever comes first.
	Updated protocol.Time `cbor:"7,keyasint"`
	// Picture is what Avatar shows, if that is a blob [FED-FILE-4].
	Picture protocol.BlobRef `cbor:"8,keyasint,omitzero"`
}

// FileOffer tells of a file that stays at its origin.
type FileOffer struct {
	Name   string   `cbor:"1,keyasint"`
	Size   uint64   `cbor:"2,keyasint"`
	SHA256 [32]byte `cbor:"3,keyasint"`
	Task   string   `cbor:"4,keyasint"`
	Type   string   `cbor:"5,keyasint,omitempty"` // MIME
}

// Skip stands where an event expired [FED-AGE-1], or where the content of one was deleted before it was sent. If that was the place of a group, the receiver asks for it.
type Skip struct {
	Place uint64 `cbor:"1,keyasint,omitempty"` // hub_seq in the event's group
}

// Encode makes the exact bytes that are signed, stored and carried.
func (e *Event) Encode(t Type, body any) []byte {
	e.Version, e.Type, e.Must, e.Body = EventVersion, t, true, encode(body)
	return encode(e)
}

// DecodeEvent reads an event; what is wrong with it is an error of CodeInvalid or CodeTooLarge.
func DecodeEvent(b []byte) (e Event, err error) {
	if len(b) > MaxEvent {
		return e, protocol.Errorf(protocol.CodeTooLarge, "an event of %d bytes, %d are allowed", len(b), MaxEvent)
	}
	if err := decode(b, &e, "the event"); err != nil {
		return e, err
	}
	switch {
	case e.ID.IsZero() || e.ID.Cluster.IsZero():
		return e, protocol.Errorf(protocol.CodeInvalid, "the event has no id")
	case e.Version == 0 || e.Type == 0 || len(e.Body) == 0:
		return e, protocol.Errorf(protocol.CodeInvalid, "the event has no version, type or body")
	case e.Version > EventVersion:
		return e, protocol.Errorf(protocol.CodeInvalid, "the event is of version %d, known is %d", e.Version, EventVersion)
	case len(e.Via) > maxVia:
		return e, protocol.Errorf(protocol.CodeInvalid, "the event came through %d bridges, %d are allowed", len(e.Via), maxVia)
	case !e.To.IsZero() && !e.Group.IsZero():
		return e, protocol.Errorf(protocol.CodeInvalid, "the event goes to a user and to a group")
	}
	return e, nil
}

// BodyOf reads the body of an event; T is that of its type.
func BodyOf[T any](e *Event) (body T, err error) {
	err = decode(e.Body, &body, e.Type.String())
	return body, err
}
