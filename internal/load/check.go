package load

import (
	"encoding/binary"
	"encoding/hex"
	"time"

	"teamtalk/protocol"
)

// stamp is what a message of a run says about itself: hexadecimal, so that it is a text, and padded to the size asked for.
type stamp struct {
	run  uint32
	lane uint32
	n    uint32 // from 0, the order of sending
	sent time.Duration
}

const (
	stampBytes = 20
	// MinPayload is the smallest message that can be checked, in bytes.
	MinPayload = 2 * stampBytes
)

// put writes the stamp at the start of data, which has MinPayload bytes at least.
func (s stamp) put(data []byte) {
	var raw [stampBytes]byte
	binary.BigEndian.PutUint32(raw[0:], s.run)
	binary.BigEndian.PutUint32(raw[4:], s.lane)
	binary.BigEndian.PutUint32(raw[8:], s.n)
	binary.BigEndian.PutUint64(raw[12:], uint64(s.sent))
	hex.Encode(data, raw[:])
}

// readStamp is the reverse; ok tells whether data begins with one.
func readStamp(data []byte) (s stamp, ok bool) {
	if len(data) < MinPayload {
		return stamp{}, false
	}
	var raw [stampBytes]byte
	if _, err := hex.Decode(raw[:], data[:MinPayload]); err != nil {
		return stamp{}, false
	}
	return stamp{
		run: binary.BigEndian.Uint32(raw[0:]), lane: binary.BigEndian.Uint32(raw[4:]), n: binary.BigEndian.Uint32(raw[8:]),
		sent: time.Duration(binary.BigEndian.Uint64(raw[12:])),
	}, true
}

// arrivals follows one lane's messages at one receiver.
type arrivals struct {
	next       uint32          // one more than the highest number seen
	missing    map[uint32]bool // below next and not seen
	delivered  int
	duplicated int
	outOfOrder int
	ids        idCheck
}

func newArrivals() *arrivals { return &arrivals{missing: map[uint32]bool{}} }

// see takes in message n with the id it came with.
func (a *arrivals) see(n uint32, id protocol.MsgID) {
	switch {
	case n >= a.next:
		for ; a.next < n; a.next++ {
			a.missing[a.next] = true
		}
		a.next++
	case a.missing[n]:
		delete(a.missing, n)
		a.outOfOrder++
	default:
		a.duplicated++
		return
	}
	a.delivered++
	a.ids.see(n, id)
}

// lost counts the first acked messages that have not arrived.
func (a *arrivals) lost(acked int) int {
	lost := max(0, acked-int(a.next))
	for n := range a.missing {
		if int(n) < acked {
			lost++
		}
	}
	return lost
}

// idCheck knows that the ids of a lane are dense: id minus number is always the same.
type idCheck struct {
	known bool
	base  int64
	wrong int
}

func (c *idCheck) see(n uint32, id protocol.MsgID) {
	base := int64(id) - int64(n)
	if !c.known {
		c.known, c.base = true, base
	}
	if base != c.base {
		c.wrong++
	}
}

// differs reports whether two parties saw different ids for the same messages.
func (c *idCheck) differs(d *idCheck) bool { return c.known && d.known && c.base != d.base }
