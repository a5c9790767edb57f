package fed

import (
	"encoding/binary"
	"io"

	"github.com/fxamacker/cbor/v2"

	"teamtalk/protocol"
)

// Kind tells what a frame carries; never reused.
type Kind uint8

// Kinds of frames.
const (
	KindHello     Kind = 1
	KindIntroduce Kind = 2
	KindGoodbye   Kind = 3
	KindPing      Kind = 4
	KindPong      Kind = 5
	KindBatch     Kind = 6
	KindAck       Kind = 7
	KindReject    Kind = 8
	KindManifest  Kind = 9
	KindGetRange  Kind = 10
	KindRangePage Kind = 11
	KindInterest  Kind = 12
	KindEphemeral Kind = 13
	KindFileGet   Kind = 14
	KindFilePiece Kind = 15
	KindRequest   Kind = 16
	KindAnswer    Kind = 17
)

// Frame is what one side says to the other.
type Frame struct {
	Kind Kind            `cbor:"1,keyasint"`
	Body cbor.RawMessage `cbor:"2,keyasint"`
}

// Cursor is how far a lane is committed.
type Cursor struct {
	Lane     Lane   `cbor:"1,keyasint"`
	Sequence uint64 `cbor:"2,keyasint"`
	// Refused is the last event up to there that was refused, 0 if none: whoever has not noted that goes on before it, and is told again [FED-IN-2].
	Refused uint64 `cbor:"3,keyasint,omitempty"`
}

// Hello is the first frame of each side [FED-TR-6].
type Hello struct {
	Manifest    SignedManifest `cbor:"1,keyasint"`
	Destination ClusterID      `cbor:"2,keyasint"`
	Versions    Versions       `cbor:"3,keyasint"`
	Epoch       uint64         `cbor:"4,keyasint"`           // of the sender's outbox
	PeerEpoch   uint64         `cbor:"5,keyasint,omitempty"` // the destination's, as far as it is known here
	Cursors     []Cursor       `cbor:"6,keyasint,omitempty"` // what is committed here of it
	Time        protocol.Time  `cbor:"7,keyasint"`
	Program     string         `cbor:"8,keyasint,omitempty"`
}

// Introduce uses an invitation.
type Introduce struct {
	Proof [32]byte `cbor:"1,keyasint"`
}

// Reason is why a connection ends.
type Reason uint8

// Reasons.
const (
	ReasonElsewhere    Reason = 1 // another node leads
	ReasonMoved        Reason = 2 // this node ceased to lead
	ReasonNotConfirmed Reason = 3
	ReasonPaused       Reason = 4
	ReasonVersion      Reason = 5
	ReasonIdentity     Reason = 6
	ReasonStateLost    Reason = 7
	ReasonOverloaded   Reason = 8
	ReasonDuplicate    Reason = 9 // the other connection is in use
	ReasonInvitation   Reason = 10
	ReasonProtocol     Reason = 11
)

// Goodbye ends a connection.
type Goodbye struct {
	Reason    Reason   `cbor:"1,keyasint"`
	Text      string   `cbor:"2,keyasint,omitempty"`
	Endpoints []string `cbor:"3,keyasint,omitempty"` // where to go instead
}

// Ping asks whether the other side is there, and is the answer.
type Ping struct {
	ID   uint64        `cbor:"1,keyasint"`
	Time protocol.Time `cbor:"2,keyasint"`
}

// Ack says up to where a lane is committed.
type Ack struct {
	Epoch    uint64 `cbor:"1,keyasint"`
	Lane     Lane   `cbor:"2,keyasint"`
	Sequence uint64 `cbor:"3,keyasint"`
}

// GetRange asks for what is missing [FED-GET-1]: either places of a group of the receiver's, or, after a restore, the messages that went between both
// clusters since a time.
type GetRange struct {
	ID    uint64            `cbor:"1,keyasint"`
	Group GroupRef          `cbor:"2,keyasint,omitzero"`
	From  uint64            `cbor:"3,keyasint,omitempty"` // hub_seq, inclusive
	To    uint64            `cbor:"4,keyasint,omitempty"` // inclusive; 0: to the newest
	Since protocol.Time     `cbor:"8,keyasint,omitempty"` // without Group: since when, by the receiver's clock
	After protocol.Position `cbor:"9,keyasint,omitzero"`  // what the page before said where to go on
}

// RangePage answers; with More the asker goes on behind the last one: at the place after it in a group, else After.
type RangePage struct {
	ID     uint64            `cbor:"1,keyasint"`
	Events []SignedEvent     `cbor:"2,keyasint,omitempty"`
	More   bool              `cbor:"3,keyasint,omitempty"`
	Code   protocol.Code     `cbor:"4,keyasint,omitempty"`
	Text   string            `cbor:"5,keyasint,omitempty"`
	After  protocol.Position `cbor:"6,keyasint,omitzero"`
}

// Interest names the receiver's users whose presence somebody at the sender's can see [FED-EPH-1].
type Interest struct {
	Complete bool              `cbor:"1,keyasint,omitempty"` // takes the place of all before
	Users    []protocol.UserID `cbor:"2,keyasint,omitempty"`
	Dropped  []protocol.UserID `cbor:"3,keyasint,omitempty"`
}

// Presence is of one of the sender's users.
type Presence struct {
	User   protocol.UserID     `cbor:"1,keyasint"`
	Status uint8               `cbor:"2,keyasint"` // as on the native wire
	Client protocol.ClientType `cbor:"3,keyasint,omitempty"`
}

// Signal goes from a user of the sender's to one of the receiver's.
type Signal struct {
	From protocol.UserID `cbor:"1,keyasint"`
	To   protocol.UserID `cbor:"2,keyasint"`
	Kind uint8           `cbor:"3,keyasint"`
	Data []byte          `cbor:"4,keyasint,omitempty"`
}

// Ephemeral is forgotten if it does not arrive.
type Ephemeral struct {
	Presence []Presence `cbor:"1,keyasint,omitempty"`
	Signals  []Signal   `cbor:"2,keyasint,omitempty"`
}

// MaxPiece is how many bytes of a blob may be asked for at once [FED-FILE-5].
const MaxPiece = 256 << 10

// FileGet asks for a piece of a blob that the receiver has shown to the sender [FED-FILE-5]. The number 2 was another field's.
type FileGet struct {
	ID     uint64          `cbor:"1,keyasint"`
	Offset uint64          `cbor:"3,keyasint"`
	Length uint32          `cbor:"4,keyasint"`
	Blob   protocol.BlobID `cbor:"5,keyasint"`
}

// FilePiece answers: all that was asked for, or a code.
type FilePiece struct {
	ID     uint64        `cbor:"1,keyasint"`
	Offset uint64        `cbor:"2,keyasint"`
	Data   []byte        `cbor:"3,keyasint,omitempty"`
	Code   protocol.Code `cbor:"4,keyasint,omitempty"`
	Text   string        `cbor:"5,keyasint,omitempty"`
	Waited uint32        `cbor:"6,keyasint,omitempty"` // milliseconds for the content, which is no fault of the network's
}

// ChangeMembers asks the hub for a change of a group of the receiver's [FED-HUB-1].
type ChangeMembers struct {
	Group  protocol.GroupID      `cbor:"1,keyasint"`
	Change protocol.MemberChange `cbor:"2,keyasint"`
	Users  []UserRef             `cbor:"3,keyasint"`
	// Profiles of those of Users who are to join and are the sender's, in the order of Users; the others' are empty.
	Profiles []Profile `cbor:"4,keyasint,omitempty"`
}

// Search asks for people that the receiver shares.
type Search struct {
	Text  string `cbor:"1,keyasint"`
	Limit uint32 `cbor:"2,keyasint"`
}

// Request wants an answer soon; one of the two.
type Request struct {
	ID     uint64          `cbor:"1,keyasint"`
	Author protocol.UserID `cbor:"2,keyasint"` // of the sender's
	Change *ChangeMembers  `cbor:"3,keyasint,omitempty"`
	Search *Search         `cbor:"4,keyasint,omitempty"`
}

// Found is a person of the sender's.
type Found struct {
	ID      protocol.UserID `cbor:"1,keyasint"`
	Profile Profile         `cbor:"2,keyasint"`
}

// Answer to a Request.
type Answer struct {
	ID    uint64        `cbor:"1,keyasint"`
	Code  protocol.Code `cbor:"2,keyasint,omitempty"`
	Text  string        `cbor:"3,keyasint,omitempty"`
	Found []Found       `cbor:"4,keyasint,omitempty"`
}

// NewFrame packs a body.
func NewFrame(k Kind, body any) Frame { return Frame{k, encode(body)} }

// Into reads the body.
func (f *Frame) Into(body any) error { return decode(f.Body, body, "the frame") }

// Append adds the frame, as it is on the wire, to b [FED-TR-5].
func (f *Frame) Append(b []byte) []byte {
	at := len(b)
	b = append(append(b, 0, 0, 0, 0), encode(f)...)
	binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at-4))
	return b
}

// ReadFrame reads one. Memory is taken as bytes arrive, not as the length promises.
func ReadFrame(r io.Reader) (f Frame, err error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return f, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > MaxFrame {
		return f, protocol.Errorf(protocol.CodeTooLarge, "a frame of %d bytes, %d are allowed", n, MaxFrame)
	}
	b, err := io.ReadAll(io.LimitReader(r, int64(n)))
	if err == nil && len(b) < int(n) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return f, err
	}
	err = decode(b, &f, "the frame")
	return f, err
}
