package rpc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/fxamacker/cbor/v2"
)

// Lane is what a connection is for; a lane's calls do not wait for those of another one.
type Lane uint8

// The lanes.
const (
	LanePropose Lane = 1 // commands forwarded to the leader
	LaneSignal  Lane = 2 // what is ephemeral: presence, signals
	LaneControl Lane = 3 // all else: joining, renewing, status; and whether the peer is alive
)

// Lanes is how many there are.
const Lanes = 3

// String is the lane's name, as in metrics.
func (l Lane) String() string {
	switch l {
	case LanePropose:
		return "propose"
	case LaneSignal:
		return "signal"
	case LaneControl:
		return "control"
	}
	return fmt.Sprintf("lane(%d)", uint8(l))
}

// Hello is what each side of a connection says first. Fields that a newer version adds are passed over on purpose: what may be done
// follows from the protocol's number alone.
type Hello struct {
	Program string `cbor:"1,keyasint"`           // version of the program, for people
	Min     uint16 `cbor:"2,keyasint"`           // the oldest node protocol that is understood
	Max     uint16 `cbor:"3,keyasint"`           // the newest
	Lane    Lane   `cbor:"4,keyasint"`           // the caller's wish; the answer repeats it
	Slots   uint32 `cbor:"5,keyasint"`           // at most under way, in slots
	Largest uint32 `cbor:"6,keyasint"`           // largest payload in bytes
	Refused string `cbor:"7,keyasint,omitempty"` // why there will be no calls
}

const (
	helloMagic = "TTN1"
	maxHello   = 1024
)

// ErrRefused is wrapped when the other side does not want to be called, or can't be.
var ErrRefused = errors.New("the other node refuses")

// Agree is the newest protocol that both sides understand.
func Agree(a, b Hello) (uint16, error) {
	v := min(a.Max, b.Max)
	if v < a.Min || v < b.Min {
		return 0, fmt.Errorf("%w: program %q speaks node protocols %d to %d, program %q %d to %d", ErrRefused, a.Program, a.Min, a.Max, b.Program, b.Min, b.Max)
	}
	return v, nil
}

func encodeHello(h Hello) ([]byte, error) {
	body, err := cbor.Marshal(h)
	if err != nil {
		return nil, err
	}
	if len(body) > maxHello {
		return nil, errors.New("hello: too long")
	}
	dst := binary.BigEndian.AppendUint16([]byte(helloMagic), uint16(len(body)))
	return append(dst, body...), nil
}

func readHello(r io.Reader) (Hello, error) {
	var head [len(helloMagic) + 2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return Hello{}, fmt.Errorf("hello: %w", err)
	}
	n := int(binary.BigEndian.Uint16(head[len(helloMagic):]))
	if string(head[:len(helloMagic)]) != helloMagic || n > maxHello {
		return Hello{}, errors.New("hello: this is not the node protocol")
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return Hello{}, fmt.Errorf("hello: %w", err)
	}
	var h Hello
	if err := cbor.Unmarshal(body, &h); err != nil {
		return Hello{}, fmt.Errorf("hello: %w", err)
	}
	if h.Refused == "" && (h.Min > h.Max || h.Slots == 0 || h.Largest == 0 || h.Lane < 1 || h.Lane > Lanes) {
		return Hello{}, errors.New("hello: it makes no sense")
	}
	return h, nil
}
