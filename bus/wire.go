package bus

import (
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"teamtalk/protocol"
)

// A payload between nodes is a CBOR sequence: a header, then pairs of a kind and what it says. A kind that is not known is skipped, and so is a field
// that is not known: the next version may say more. What changes its meaning gets another kind, or in the end another wireVersion.
const wireVersion = 1

type kind uint8

// The numbers are on the wire.
const (
	kindPresence  kind = 1
	kindP2P       kind = 2
	kindDelivered kind = 3
	kindOffered   kind = 4

	kindJoined  kind = 16
	kindLeft    kind = 17
	kindTouched kind = 18
	kindTable   kind = 19
	kindAsk     kind = 20
	kindTick    kind = 21
)

type header struct {
	Version    uint8  `cbor:"1,keyasint"`
	Generation uint64 `cbor:"2,keyasint"` // of the sending node: which of its lives this is
}

type wirePresence struct {
	User   protocol.UserID `cbor:"1,keyasint"`
	Online bool            `cbor:"2,keyasint,omitempty"`
}

type wireP2P struct {
	From   protocol.UserID `cbor:"1,keyasint"`
	To     protocol.UserID `cbor:"2,keyasint"`
	Data   []byte          `cbor:"3,keyasint"` // clients send what they like: it need not be UTF-8
	Origin protocol.ConnID `cbor:"4,keyasint,omitempty"`
}

type wireDelivered struct {
	User    protocol.UserID      `cbor:"1,keyasint"`
	Type    protocol.SessionType `cbor:"2,keyasint"`
	A       uint32               `cbor:"3,keyasint"`
	B       uint32               `cbor:"4,keyasint,omitempty"`
	UpTo    protocol.MsgID       `cbor:"5,keyasint"`
	Authors []protocol.UserID    `cbor:"6,keyasint,omitempty"`
}

type wireOffered struct {
	From      protocol.UserID `cbor:"1,keyasint"`
	To        protocol.UserID `cbor:"2,keyasint"`
	TaskID    string          `cbor:"3,keyasint"`
	Name      string          `cbor:"4,keyasint"`
	Size      uint32          `cbor:"5,keyasint,omitempty"`
	Online    bool            `cbor:"6,keyasint,omitempty"`
	Addresses []wireAddress   `cbor:"7,keyasint,omitempty"`
}

type wireAddress struct {
	Host string `cbor:"1,keyasint"`
	Port uint16 `cbor:"2,keyasint"`
}

// wireSession is a Session of the sending node.
type wireSession struct {
	User   protocol.UserID     `cbor:"1,keyasint"`
	Conn   protocol.ConnID     `cbor:"2,keyasint"`
	Client protocol.ClientType `cbor:"3,keyasint,omitempty"`
	Device []byte              `cbor:"4,keyasint,omitempty"`
	Since  protocol.Time       `cbor:"5,keyasint,omitempty"`
	Idle   uint32              `cbor:"6,keyasint,omitempty"` // seconds from Since to Active
}

// change is the next one of a node's table; the changes of one life are numbered from 1 without a gap. Of one who has left, User and Conn are enough.
type change struct {
	Number  uint64      `cbor:"1,keyasint"`
	Session wireSession `cbor:"2,keyasint"`
	kind    kind        // joined, left or touched
}

// tablePart is a piece of a node's whole table, as it was after a numbered change.
type tablePart struct {
	Number   uint64        `cbor:"1,keyasint"`
	Part     int           `cbor:"2,keyasint,omitempty"` // from 0
	IsLast   bool          `cbor:"3,keyasint,omitempty"`
	Sessions []wireSession `cbor:"4,keyasint,omitempty"`
}

// ask wants the receiver's whole table.
type ask struct{}

// tick says that its sender is alive, and the number of its last change.
type tick struct {
	Number uint64 `cbor:"1,keyasint"`
}

var (
	errVersion   = errors.New("unknown version")
	errMalformed = errors.New("malformed")
)

// newPayload begins a payload.
func newPayload(generation uint64) ([]byte, error) {
	return appendCBOR(nil, header{Version: wireVersion, Generation: generation})
}

// appendItem adds what a kind says to a payload.
func appendItem(dst []byte, k kind, body any) ([]byte, error) {
	dst, err := appendCBOR(dst, k)
	if err != nil {
		return nil, err
	}
	return appendCBOR(dst, body)
}

func appendCBOR(dst []byte, v any) ([]byte, error) {
	b, err := cbor.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	return append(dst, b...), nil
}

// encodeSignal makes the item of a signal.
func encodeSignal(sig protocol.Signal) ([]byte, error) {
	switch sig := sig.(type) {
	case protocol.PresenceChanged:
		return appendItem(nil, kindPresence, wirePresence{User: sig.User, Online: sig.Online})
	case protocol.P2PSent:
		return appendItem(nil, kindP2P, wireP2P{From: sig.From, To: sig.To, Data: []byte(sig.Data), Origin: sig.Origin})
	case protocol.Delivered:
		c := sig.Conversation
		return appendItem(nil, kindDelivered, wireDelivered{User: sig.User, Type: c.Type, A: c.A, B: c.B, UpTo: sig.UpTo, Authors: sig.Authors})
	case protocol.FileOffered:
		w := wireOffered{From: sig.From, To: sig.To, TaskID: sig.TaskID, Name: sig.Name, Size: sig.Size, Online: sig.Online}
		for _, a := range sig.Addresses {
			w.Addresses = append(w.Addresses, wireAddress(a))
		}
		return appendItem(nil, kindOffered, w)
	}
	return nil, fmt.Errorf("no kind for %T", sig)
}

// parcel is a payload as it was understood.
type parcel struct {
	generation uint64
	items      []any // protocol.Signal, change, tablePart, ask or tick
	unknown    int   // items of kinds that this version does not know
}

// decode reads a payload. With an error, the parcel holds what came before it.
func decode(payload []byte) (parcel, error) {
	var h header
	rest, err := cbor.UnmarshalFirst(payload, &h)
	if err != nil {
		return parcel{}, fmt.Errorf("%w: header: %w", errMalformed, err)
	}
	if h.Version != wireVersion {
		return parcel{}, fmt.Errorf("%w %d", errVersion, h.Version)
	}
	if h.Generation == 0 {
		return parcel{}, fmt.Errorf("%w: generation 0", errMalformed)
	}
	p := parcel{generation: h.Generation}
	for len(rest) > 0 {
		var k kind
		if rest, err = cbor.UnmarshalFirst(rest, &k); err != nil {
			return p, fmt.Errorf("%w: kind: %w", errMalformed, err)
		}
		var body cbor.RawMessage
		if rest, err = cbor.UnmarshalFirst(rest, &body); err != nil {
			return p, fmt.Errorf("%w: kind %d: %w", errMalformed, k, err)
		}
		item, err := decodeItem(k, body)
		switch {
		case err != nil:
			return p, fmt.Errorf("%w: kind %d: %w", errMalformed, k, err)
		case item == nil:
			p.unknown++
		default:
			p.items = append(p.items, item)
		}
	}
	return p, nil
}

// decodeItem is nil for a kind that is not known.
func decodeItem(k kind, body []byte) (any, error) {
	switch k {
	case kindPresence:
		w, err := decodeAs[wirePresence](body)
		return protocol.PresenceChanged{User: w.User, Online: w.Online}, err
	case kindP2P:
		w, err := decodeAs[wireP2P](body)
		return protocol.P2PSent{From: w.From, To: w.To, Data: string(w.Data), Origin: w.Origin}, err
	case kindDelivered:
		w, err := decodeAs[wireDelivered](body)
		c := protocol.Conversation{Type: w.Type, A: w.A, B: w.B}
		return protocol.Delivered{User: w.User, Conversation: c, UpTo: w.UpTo, Authors: w.Authors}, err
	case kindOffered:
		w, err := decodeAs[wireOffered](body)
		return w.signal(), err
	case kindJoined, kindLeft, kindTouched:
		c, err := decodeAs[change](body)
		if err == nil {
			err = c.Session.check()
		}
		c.kind = k
		return c, err
	case kindTable:
		t, err := decodeAs[tablePart](body)
		for i := range t.Sessions {
			if err == nil {
				err = t.Sessions[i].check()
			}
		}
		return t, err
	case kindAsk:
		return decodeAs[ask](body)
	case kindTick:
		return decodeAs[tick](body)
	}
	return nil, nil //nolint:nilnil // an unknown kind is neither an item nor an error
}

func (w *wireOffered) signal() protocol.FileOffered {
	sig := protocol.FileOffered{From: w.From, To: w.To, TaskID: w.TaskID, Name: w.Name, Size: w.Size, Online: w.Online}
	for _, a := range w.Addresses {
		sig.Addresses = append(sig.Addresses, protocol.FileAddress(a))
	}
	return sig
}

func decodeAs[T any](body []byte) (T, error) {
	var v T
	err := cbor.Unmarshal(body, &v)
	return v, err
}

func (w *wireSession) check() error {
	if w.User == 0 || w.Conn == 0 || len(w.Device) > protocol.MaxDeviceID {
		return fmt.Errorf("no session: user %d, connection %d, device id of %d bytes", w.User, w.Conn, len(w.Device))
	}
	return nil
}
