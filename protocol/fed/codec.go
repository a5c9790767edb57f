package fed

import (
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"teamtalk/protocol"
)

// Limits of what is taken from others.
const (
	MaxFrame       = 2 << 20 // bytes of a frame [FED-TR-5]
	MaxBatchEvents = 256     // [FED-OUT-2]
	MaxBatchBytes  = 1 << 20 // of events in a batch
	MaxEvent       = 768 << 10
	maxArray       = 8192 // members of a group, with room
	maxVia         = 8    // [FED-AUTH-2]
	// MaxGroupClusters is how many other clusters may have members in a group [FED-HUB-3].
	MaxGroupClusters = 64
)

// cborModes encode and decode; they are safe to share and never change.
type cborModes struct {
	enc cbor.EncMode
	dec cbor.DecMode
}

var codec = newCBORModes()

// newCBORModes panics if the options contradict each other, which is a programmer's mistake. Unknown fields are passed over: a newer version may add some.
func newCBORModes() cborModes {
	enc, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic(err)
	}
	dec, err := cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		IndefLength:      cbor.IndefLengthForbidden,
		TagsMd:           cbor.TagsForbidden,
		UTF8:             cbor.UTF8RejectInvalid,
		MaxNestedLevels:  8,
		MaxArrayElements: maxArray,
		MaxMapPairs:      64,
	}.DecMode()
	if err != nil {
		panic(err)
	}
	return cborModes{enc, dec}
}

// encode panics for what has no encoding, which only a programmer's mistake can bring about.
func encode(v any) []byte {
	b, err := codec.enc.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("encode %T: %v", v, err))
	}
	return b
}

func decode(b []byte, to any, what string) error {
	if err := codec.dec.Unmarshal(b, to); err != nil {
		return protocol.Errorf(protocol.CodeInvalid, "%s can't be read: %w", what, err)
	}
	return nil
}
