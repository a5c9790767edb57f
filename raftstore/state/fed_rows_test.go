package state

import (
	"bytes"
	"testing"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// packedRow is a row of federation that is packed by hand.
type packedRow interface{ pack(b []byte) }

// FuzzUnpackAbroad: rows of federation that can be read are written the same.
func FuzzUnpackAbroad(f *testing.F) {
	at := protocol.Position{Index: 1 << 40, Sub: 3}
	k := laneKey{fed.ClusterID{1, 2}, 5}
	for kind, row := range []interface {
		packedRow
		size() int
	}{
		&outRow{fed.TypePost, 99, at, []byte("event")},
		&fateRow{fed.StateDelivered, 1 << 50, fed.NewEventID(k.peer, 9, at), at, []way{{k, 7}, {k, 8}}},
		&keptRow{k.peer, fed.Signature{Key: fed.KeyID{3}, Sig: [64]byte{4}}, 2, []byte("signed")},
	} {
		b := make([]byte, row.size())
		row.pack(b)
		f.Add(uint8(kind), b)
	}
	lane, chain, gap := make([]byte, laneLen), make([]byte, chainLen), make([]byte, gapLen)
	(&laneRow{1, 2, 3, 4, 5, 6, 7, 8}).pack(lane)
	(&chainRow{1, [32]byte{2}, 3, 4}).pack(chain)
	(&gapRow{1, 2}).pack(gap)
	f.Add(uint8(3), lane)
	f.Add(uint8(4), chain)
	f.Add(uint8(5), gap)
	f.Fuzz(func(t *testing.T, kind uint8, b []byte) {
		var row packedRow
		var err error
		switch kind % 6 {
		case 0:
			var r outRow
			r, err = unpackOut(b)
			row = &r
		case 1:
			var r fateRow
			r, err = unpackFate(b)
			row = &r
		case 2:
			var r keptRow
			if r, err = unpackKept(b); err == nil {
				if whole := r.whole([]byte("data")); r.cut != 0 && len(whole.Event) != len(r.event)+4 {
					t.Fatalf("%x becomes %x", r.event, whole.Event)
				}
			}
			row = &r
		case 3:
			var r laneRow
			r, err = unpackLane(b)
			row = &r
		case 4:
			var r chainRow
			r, err = unpackChain(b)
			row = &r
		default:
			if len(b) != gapLen || b[0] != rowVersion {
				return
			}
			r := unpackGap(b)
			row = &r
		}
		if err != nil {
			return
		}
		again := make([]byte, len(b))
		if row.pack(again); !bytes.Equal(b, again) {
			t.Fatalf("%x became %x", b, again)
		}
	})
}
