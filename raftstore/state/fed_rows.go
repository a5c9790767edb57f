package state

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

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

const eventIDLen = clusterLen + 8 + positionLen

// eventKey has an event id in order of cluster, era and place.
func eventKey(e fed.EventID) [eventIDLen]byte {
	var b [eventIDLen]byte
	copy(b[:], e.Cluster[:])
	binary.BigEndian.PutUint64(b[clusterLen:], e.Era)
	putPosition(b[clusterLen+8:], e.Position())
	return b
}

func eventIDOf(b []byte) fed.EventID {
	return fed.NewEventID(fed.ClusterID(b[:clusterLen]), binary.BigEndian.Uint64(b[clusterLen:]), positionOf(b[clusterLen+8:eventIDLen]))
}

const (
	fateFixedLen = 1 + 1 + 8 + eventIDLen + positionLen + 1
	wayLen       = clusterLen + 9
)

// way is where in the outbox an event about a message stands.
type way struct {
	laneKey
	seq uint64
}

// fateRow is what federation knows of a message, beside the message.
//
//	version 1 | state 1 | hub_seq 8 | origin 34 | news 10 | ways 1 | ways × 25
type fateRow struct {
	state  fed.MessageState
	hubSeq uint64      // its place in a group of several clusters; 0: none (yet)
	origin fed.EventID // zero: this cluster, at the message's own position
	// news is where its author was told last; zero: never, or it was with the message.
	news protocol.Position
	ways []way // events in the outbox that hold its content
}

func (r *fateRow) size() int { return fateFixedLen + wayLen*len(r.ways) }

func (r *fateRow) pack(b []byte) {
	b[0], b[1] = rowVersion, byte(r.state)
	binary.BigEndian.PutUint64(b[2:], r.hubSeq)
	origin := eventKey(r.origin)
	copy(b[10:], origin[:])
	putPosition(b[10+eventIDLen:], r.news)
	b[fateFixedLen-1] = byte(len(r.ways))
	b = b[fateFixedLen:]
	for _, w := range r.ways {
		k := outKey(w.laneKey, w.seq)
		copy(b, k[:])
		b = b[wayLen:]
	}
}

func unpackFate(b []byte) (fateRow, error) {
	if len(b) < fateFixedLen || len(b) != fateFixedLen+wayLen*int(b[fateFixedLen-1]) {
		return fateRow{}, errRowLength
	}
	if b[0] != rowVersion {
		return fateRow{}, fmt.Errorf("%w %d", errRowVersion, b[0])
	}
	r := fateRow{state: fed.MessageState(b[1]), hubSeq: binary.BigEndian.Uint64(b[2:]), origin: eventIDOf(b[10:]), news: positionOf(b[10+eventIDLen:])}
	for rest := b[fateFixedLen:]; len(rest) > 0; rest = rest[wayLen:] {
		k := laneKey{fed.ClusterID(rest[:clusterLen]), fed.Lane(rest[clusterLen])}
		r.ways = append(r.ways, way{k, binary.BigEndian.Uint64(rest[clusterLen+1:])})
	}
	return r, nil
}

const chainLen = 1 + 8 + 32 + 8 + 8

// chainRow is the newest end of a group's chain.
//
//	version 1 | hub_seq 8 | hash 32 | hole from 8 | hole to 8
//
// A hole is where the chain was taken up behind places that are not all here: the hub said so in a GroupState. What comes of them later is taken without a look at
// the chain.
type chainRow struct {
	seq          uint64
	hash         [32]byte
	holeFrom, to uint64 // inclusive; 0: there is none
}

// jump takes the chain up at a place further on.
func (r *chainRow) jump(seq uint64, hash [32]byte) {
	if r.holeFrom == 0 {
		r.holeFrom = r.seq + 1
	}
	r.seq, r.hash, r.to = seq, hash, seq
}

// inHole reports whether a place may still be missing.
func (r *chainRow) inHole(seq uint64) bool {
	return r.holeFrom != 0 && seq >= r.holeFrom && seq <= r.to
}

func (r *chainRow) pack(b []byte) {
	b[0] = rowVersion
	binary.BigEndian.PutUint64(b[1:], r.seq)
	copy(b[9:], r.hash[:])
	binary.BigEndian.PutUint64(b[41:], r.holeFrom)
	binary.BigEndian.PutUint64(b[49:], r.to)
}

func unpackChain(b []byte) (chainRow, error) {
	if len(b) != chainLen {
		return chainRow{}, errRowLength
	}
	if b[0] != rowVersion {
		return chainRow{}, fmt.Errorf("%w %d", errRowVersion, b[0])
	}
	return chainRow{binary.BigEndian.Uint64(b[1:]), [32]byte(b[9:41]), binary.BigEndian.Uint64(b[41:]), binary.BigEndian.Uint64(b[49:])}, nil
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
	Epoch    uint64        `cbor:"9,keyasint,omitempty"` // of the peer's outbox
}

// sinceKey is the key of a cluster in a group.
func sinceKey(g protocol.GroupID, c fed.ClusterID) [4 + clusterLen]byte {
	var b [4 + clusterLen]byte
	binary.BigEndian.PutUint32(b[:], uint32(g))
	copy(b[4:], c[:])
	return b
}

const gapLen = 1 + 8 + 8

// gapRow is what is missing of a group abroad.
//
//	version 1 | from 8 | to 8
type gapRow struct {
	from, to uint64 // hub_seqs, inclusive
}

func (r *gapRow) pack(b []byte) {
	b[0] = rowVersion
	binary.BigEndian.PutUint64(b[1:], r.from)
	binary.BigEndian.PutUint64(b[9:], r.to)
}

func unpackGap(b []byte) gapRow {
	return gapRow{binary.BigEndian.Uint64(b[1:]), binary.BigEndian.Uint64(b[9:])}
}

// forkRow is why a group abroad is stopped: two outer events that its hub has signed.
type forkRow struct {
	Seq    uint64          `cbor:"1,keyasint"`
	Time   protocol.Time   `cbor:"2,keyasint"`
	First  fed.SignedEvent `cbor:"3,keyasint,omitzero"`
	Second fed.SignedEvent `cbor:"4,keyasint"`
}

const keptFixedLen = 1 + clusterLen + 8 + 64 + 4

// keptRow is an event from abroad, for its origin, should that be restored: byte for byte as it was signed, but for the content, which its message has.
//
//	version 1 | peer 16 | key 8 | signature 64 | cut 4 | event
type keptRow struct {
	peer  fed.ClusterID
	sig   fed.Signature // zero: this cluster's own event
	cut   uint32        // 1 + where the message's content was; 0: the event is whole
	event []byte
}

func (r *keptRow) size() int { return keptFixedLen + len(r.event) }

func (r *keptRow) pack(b []byte) {
	b[0] = rowVersion
	copy(b[1:], r.peer[:])
	copy(b[1+clusterLen:], r.sig.Key[:])
	copy(b[9+clusterLen:], r.sig.Sig[:])
	binary.BigEndian.PutUint32(b[keptFixedLen-4:], r.cut)
	copy(b[keptFixedLen:], r.event)
}

func unpackKept(b []byte) (keptRow, error) {
	if len(b) < keptFixedLen {
		return keptRow{}, errRowLength
	}
	if b[0] != rowVersion {
		return keptRow{}, fmt.Errorf("%w %d", errRowVersion, b[0])
	}
	r := keptRow{peer: fed.ClusterID(b[1 : 1+clusterLen]), cut: binary.BigEndian.Uint32(b[keptFixedLen-4:]), event: b[keptFixedLen:]}
	r.sig = fed.Signature{Key: fed.KeyID(b[1+clusterLen : 9+clusterLen]), Sig: [64]byte(b[9+clusterLen : keptFixedLen-4])}
	if int64(r.cut) > int64(len(r.event))+1 {
		return r, errRowLength
	}
	return r, nil
}

// whole is the event with its content; a copy.
func (r *keptRow) whole(data []byte) fed.SignedEvent {
	if r.cut == 0 {
		return fed.SignedEvent{Event: bytes.Clone(r.event), Signature: r.sig}
	}
	at := r.cut - 1
	return fed.SignedEvent{Event: slices.Concat(r.event[:at], data, r.event[at:]), Signature: r.sig}
}
