package state

import (
	"encoding/binary"
	"fmt"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// aliasKind tells a user's alias from a group's.
type aliasKind uint8

const (
	aliasUser  aliasKind = 1
	aliasGroup aliasKind = 2
)

const clusterLen = len(fed.ClusterID{})

// laneKey names one direction-less pair of queues: what goes to a peer on a lane, and what comes.
type laneKey struct {
	peer fed.ClusterID
	lane fed.Lane
}

func (k laneKey) bytes() [clusterLen + 1]byte {
	var b [clusterLen + 1]byte
	copy(b[:], k.peer[:])
	b[clusterLen] = byte(k.lane)
	return b
}

// outKey is the key of an event that goes out.
func outKey(k laneKey, seq uint64) [clusterLen + 9]byte {
	var b [clusterLen + 9]byte
	copy(b[:], k.peer[:])
	b[clusterLen] = byte(k.lane)
	binary.BigEndian.PutUint64(b[clusterLen+1:], seq)
	return b
}

const laneLen = 65

// laneRow is how far both queues of a lane are.
//
//	version 1 | sent 8 | acked 8 | swept 8 | late 8 | expired 8 | waiting 8 | epoch in 8 | in 8
type laneRow struct {
	sent    uint64 // sequence of the last event that was put out
	acked   uint64 // up to here the peer has committed
	swept   uint64 // up to here rows are gone
	late    uint64 // up to here authors know that it takes long
	expired uint64 // up to here events were given up, unless acknowledged
	waiting uint64 // bytes of events above acked
	epochIn uint64 // of the peer's outbox
	in      uint64 // up to here this cluster has committed
}

func (r *laneRow) pack(b []byte) {
	b[0] = rowVersion
	for i, v := range []uint64{r.sent, r.acked, r.swept, r.late, r.expired, r.waiting, r.epochIn, r.in} {
		binary.BigEndian.PutUint64(b[1+8*i:], v)
	}
}

func unpackLane(b []byte) (laneRow, error) {
	if len(b) != laneLen {
		return laneRow{}, errRowLength
	}
	if b[0] != rowVersion {
		return laneRow{}, fmt.Errorf("%w %d", errRowVersion, b[0])
	}
	n := func(i int) uint64 { return binary.BigEndian.Uint64(b[1+8*i:]) }
	return laneRow{n(0), n(1), n(2), n(3), n(4), n(5), n(6), n(7)}, nil
}

const outFixedLen = 1 + 1 + 8 + positionLen

// outRow is an event on its way to a peer.
//
//	version 1 | type 1 | time 8 | message 10 | event
type outRow struct {
	typ     fed.Type
	time    protocol.Time     // when it was put out
	message protocol.Position // whose fate it is; zero: nobody's
	event   []byte
}

func (r *outRow) size() int { return outFixedLen + len(r.event) }

func (r *outRow) pack(b []byte) {
	b[0], b[1] = rowVersion, byte(r.typ)
	binary.BigEndian.PutUint64(b[2:], uint64(r.time))
	putPosition(b[10:], r.message)
	copy(b[outFixedLen:], r.event)
}

func unpackOut(b []byte) (outRow, error) {
	if len(b) < outFixedLen {
		return outRow{}, errRowLength
	}
	if b[0] != rowVersion {
		return outRow{}, fmt.Errorf("%w %d", errRowVersion, b[0])
	}
	return outRow{fed.Type(b[1]), protocol.Time(binary.BigEndian.Uint64(b[2:])), positionOf(b[10:]), b[outFixedLen:]}, nil
}

func refKey(c fed.ClusterID, kind aliasKind, id uint32) [clusterLen + 5]byte {
	var b [clusterLen + 5]byte
	copy(b[:], c[:])
	b[clusterLen] = byte(kind)
	binary.BigEndian.PutUint32(b[clusterLen+1:], id)
	return b
}

func aliasKey(kind aliasKind, alias uint32) [5]byte {
	var b [5]byte
	b[0] = byte(kind)
	binary.BigEndian.PutUint32(b[1:], alias)
	return b
}

const eventIDLen = clusterLen + positionLen

func eventKey(e fed.EventID) [eventIDLen]byte {
	var b [eventIDLen]byte
	copy(b[:], e.Cluster[:])
	putPosition(b[clusterLen:], e.Position())
	return b
}

func eventIDOf(b []byte) fed.EventID {
	return fed.NewEventID(fed.ClusterID(b[:clusterLen]), positionOf(b[clusterLen:]))
}

const (
	fateFixedLen = 1 + 1 + 8 + eventIDLen + 1
	wayLen       = clusterLen + 9
)

// way is where in the outbox an event about a message stands.
type way struct {
	laneKey
	seq uint64
}

// fateRow is what federation knows of a message, beside the message.
//
//	version 1 | state 1 | hub_seq 8 | origin 26 | ways 1 | ways × 25
type fateRow struct {
	state  fed.MessageState
	hubSeq uint64      // its place in a group of several clusters; 0: none (yet)
	origin fed.EventID // zero: this cluster, at the message's own position
	ways   []way       // events in the outbox that hold its content
}

func (r *fateRow) size() int { return fateFixedLen + wayLen*len(r.ways) }

func (r *fateRow) pack(b []byte) {
	b[0], b[1] = rowVersion, byte(r.state)
	binary.BigEndian.PutUint64(b[2:], r.hubSeq)
	origin := eventKey(r.origin)
	copy(b[10:], origin[:])
	b[10+eventIDLen] = byte(len(r.ways))
	b = b[fateFixedLen:]
	for _, w := range r.ways {
		k := outKey(w.laneKey, w.seq)
		copy(b, k[:])
		b = b[wayLen:]
	}
}

func unpackFate(b []byte) (fateRow, error) {
	if len(b) < fateFixedLen || len(b) != fateFixedLen+wayLen*int(b[10+eventIDLen]) {
		return fateRow{}, errRowLength
	}
	if b[0] != rowVersion {
		return fateRow{}, fmt.Errorf("%w %d", errRowVersion, b[0])
	}
	r := fateRow{state: fed.MessageState(b[1]), hubSeq: binary.BigEndian.Uint64(b[2:]), origin: eventIDOf(b[10:])}
	for rest := b[fateFixedLen:]; len(rest) > 0; rest = rest[wayLen:] {
		k := laneKey{fed.ClusterID(rest[:clusterLen]), fed.Lane(rest[clusterLen])}
		r.ways = append(r.ways, way{k, binary.BigEndian.Uint64(rest[clusterLen+1:])})
	}
	return r, nil
}

const chainLen = 1 + 8 + 32

// chainRow is the newest end of a group's chain.
//
//	version 1 | hub_seq 8 | hash 32
type chainRow struct {
	seq  uint64
	hash [32]byte
}

func (r *chainRow) pack(b []byte) {
	b[0] = rowVersion
	binary.BigEndian.PutUint64(b[1:], r.seq)
	copy(b[9:], r.hash[:])
}

func unpackChain(b []byte) (chainRow, error) {
	if len(b) != chainLen {
		return chainRow{}, errRowLength
	}
	if b[0] != rowVersion {
		return chainRow{}, fmt.Errorf("%w %d", errRowVersion, b[0])
	}
	return chainRow{binary.BigEndian.Uint64(b[1:]), [32]byte(b[9:])}, nil
}

// hubKey is the key of a place in a group's chain.
func hubKey(g protocol.GroupID, seq uint64) [12]byte {
	var b [12]byte
	binary.BigEndian.PutUint32(b[:], uint32(g))
	binary.BigEndian.PutUint64(b[4:], seq)
	return b
}

// hubRow is one place in the chain of a group of several clusters. Only its hub keeps the inner event, for those who missed it, until its content is deleted.
type hubRow struct {
	At       protocol.Position `cbor:"1,keyasint"` // of the message, zero for a deletion
	Previous [32]byte          `cbor:"2,keyasint"`
	Inner    [32]byte          `cbor:"3,keyasint"` // hash of the inner event
	Event    fed.SignedEvent   `cbor:"4,keyasint,omitzero"`
}

// deadRow is an event that was not accepted, here or there.
type deadRow struct {
	Inbound  bool          `cbor:"1,keyasint,omitempty"`
	Type     fed.Type      `cbor:"2,keyasint"`
	ID       fed.EventID   `cbor:"3,keyasint,omitzero"`
	Lane     fed.Lane      `cbor:"4,keyasint"`
	Sequence uint64        `cbor:"5,keyasint"`
	Code     protocol.Code `cbor:"6,keyasint"`
	Text     string        `cbor:"7,keyasint,omitempty"`
	Time     protocol.Time `cbor:"8,keyasint"`
}
