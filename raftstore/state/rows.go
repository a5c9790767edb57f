package state

import (
	"encoding/binary"
	"errors"
	"fmt"

	"teamtalk/protocol"
)

// The rows that are written with every message are packed by hand: a version byte, then fields of fixed size, big-endian.
const rowVersion = 1

// extrasVersion is the version of rows of messages that have extras. Those without are of rowVersion, as they were before
// there were any.
const extrasVersion = 2

var (
	errRowVersion = errors.New("row of another version")
	errRowLength  = errors.New("row of the wrong length")
	errRowFlags   = errors.New("row with unknown flags")
	errRowDeleted = errors.New("row of a deleted message with content")
)

const (
	msgHasClientID = 1 // flag: a client_msg_id follows the fixed part
	msgFixedLen    = 44
	clientIDLen    = 16
	extrasLen      = 8 // and the content type
)

// messageRow is a message in the log.
//
//	version 1 | deleted 1 | type 1 | flags 1 | conversation 9 | id 4 | from 4 | time 8 | prev 10 | ordinal 4 … 1 spare | [client_msg_id 16] | data
//
// Version 2 has the length of the content type in the spare byte, and before the data: reply_to 4 | burn_after 4 | content type.
// A row whose second byte is not 0 is a placeholder: of the content it has burn_after at most [TT-DEL-4].
type messageRow struct {
	deleted protocol.Deletion
	typ     protocol.MsgType
	conv    protocol.Conversation
	id      protocol.MsgID
	from    protocol.UserID
	time    protocol.Time
	prev    protocol.Position // of the message before in the same conversation; zero: none
	ordinal uint32            // in a one-to-one chat: how many messages of this author there are up to this one
	client  protocol.ClientMsgID
	extras  protocol.Extras
	data    []byte
}

func (m *messageRow) size() int {
	n := msgFixedLen + len(m.data)
	if !m.client.IsZero() {
		n += clientIDLen
	}
	if m.extras != (protocol.Extras{}) {
		n += extrasLen + len(m.extras.ContentType)
	}
	return n
}

// pack writes the row into b, which has the row's size.
func (m *messageRow) pack(b []byte) {
	b[0], b[1], b[2], b[3] = rowVersion, byte(m.deleted), byte(m.typ), 0
	putConv(b[4:], m.conv)
	binary.BigEndian.PutUint32(b[13:], uint32(m.id))
	binary.BigEndian.PutUint32(b[17:], uint32(m.from))
	binary.BigEndian.PutUint64(b[21:], uint64(m.time))
	putPosition(b[29:], m.prev)
	binary.BigEndian.PutUint32(b[39:], m.ordinal)
	b[43] = 0
	rest := b[msgFixedLen:]
	if !m.client.IsZero() {
		b[3] = msgHasClientID
		rest = rest[copy(rest, m.client[:]):]
	}
	if m.extras != (protocol.Extras{}) {
		b[0], b[43] = extrasVersion, byte(len(m.extras.ContentType))
		rest = rest[packExtras(rest, &m.extras):]
	}
	copy(rest, m.data)
}

// packExtras writes what unpackExtras reads and returns its length; that of the content type is kept elsewhere.
func packExtras(b []byte, e *protocol.Extras) int {
	binary.BigEndian.PutUint32(b, uint32(e.ReplyTo))
	binary.BigEndian.PutUint32(b[4:], e.BurnAfter)
	return extrasLen + copy(b[extrasLen:], e.ContentType)
}

// unpackExtras reads extras with a content type of n bytes and returns what follows; false if b is too short.
func unpackExtras(b []byte, n int, e *protocol.Extras) (rest []byte, ok bool) {
	if len(b) < extrasLen+n {
		return nil, false
	}
	e.ReplyTo = protocol.MsgID(binary.BigEndian.Uint32(b))
	e.BurnAfter = binary.BigEndian.Uint32(b[4:])
	e.ContentType = string(b[extrasLen : extrasLen+n])
	return b[extrasLen+n:], true
}

// unpackMessage reads a row; data still points into b.
func unpackMessage(b []byte) (messageRow, error) {
	var m messageRow
	if len(b) < msgFixedLen {
		return m, errRowLength
	}
	if b[0] != rowVersion && b[0] != extrasVersion {
		return m, fmt.Errorf("%w %d", errRowVersion, b[0])
	}
	if b[3]&^msgHasClientID != 0 {
		return m, errRowFlags
	}
	m.deleted, m.typ = protocol.Deletion(b[1]), protocol.MsgType(b[2])
	m.conv = convOf(b[4:])
	m.id = protocol.MsgID(binary.BigEndian.Uint32(b[13:]))
	m.from = protocol.UserID(binary.BigEndian.Uint32(b[17:]))
	m.time = protocol.Time(binary.BigEndian.Uint64(b[21:]))
	m.prev = positionOf(b[29:])
	m.ordinal = binary.BigEndian.Uint32(b[39:])
	rest := b[msgFixedLen:]
	if b[3]&msgHasClientID != 0 {
		if len(rest) < clientIDLen {
			return m, errRowLength
		}
		rest = rest[copy(m.client[:], rest):]
	}
	if b[0] == extrasVersion {
		var ok bool
		if rest, ok = unpackExtras(rest, int(b[43]), &m.extras); !ok {
			return m, errRowLength
		}
	}
	m.data = rest
	if m.deleted != 0 && (!m.deleted.Valid() || len(m.data) > 0 || m.extras != leftOver(m.extras)) {
		return m, errRowDeleted
	}
	return m, nil
}

// message is the row as everybody knows it; its data is a copy.
func (m *messageRow) message(at protocol.Position) protocol.Message {
	return protocol.Message{
		Conversation: m.conv,
		ID:           m.id,
		From:         m.from,
		Time:         m.time,
		Type:         m.typ,
		Data:         append([]byte(nil), m.data...),
		ClientMsgID:  m.client,
		Extras:       m.extras,
		Deleted:      m.deleted,
		At:           at,
	}
}

// leftOver is what a deleted message keeps of its extras.
func leftOver(e protocol.Extras) protocol.Extras { return protocol.Extras{BurnAfter: e.BurnAfter} }

// countOf tells how many of the conversation's first m.id messages user u wrote; only for one-to-one chats.
func (m *messageRow) countOf(u protocol.UserID) uint32 {
	if m.from == u {
		return m.ordinal
	}
	return uint32(m.id) - m.ordinal
}

const headLen = 27

// head is the newest end of a conversation.
//
//	version 1 | last 4 | at 10 | time 8 | countA 4
type head struct {
	last   protocol.MsgID // 0: there is no message
	at     protocol.Position
	time   protocol.Time
	countA uint32 // in a one-to-one chat: messages of the user with the smaller id
}

func (h *head) pack(b []byte) {
	b[0] = rowVersion
	binary.BigEndian.PutUint32(b[1:], uint32(h.last))
	putPosition(b[5:], h.at)
	binary.BigEndian.PutUint64(b[15:], uint64(h.time))
	binary.BigEndian.PutUint32(b[23:], h.countA)
}

func unpackHead(b []byte) (head, error) {
	if len(b) != headLen {
		return head{}, errRowLength
	}
	if b[0] != rowVersion {
		return head{}, fmt.Errorf("%w %d", errRowVersion, b[0])
	}
	return head{
		last:   protocol.MsgID(binary.BigEndian.Uint32(b[1:])),
		at:     positionOf(b[5:]),
		time:   protocol.Time(binary.BigEndian.Uint64(b[15:])),
		countA: binary.BigEndian.Uint32(b[23:]),
	}, nil
}

// countOf tells how many messages user u wrote in the one-to-one chat c.
func (h *head) countOf(c protocol.Conversation, u protocol.UserID) uint32 {
	if uint32(u) == c.A {
		return h.countA
	}
	return uint32(h.last) - h.countA
}

const (
	sessionShielded = 1 // flag of session rows
	sessionFixedLen = 39
	intervalLen     = 28
	// maxIntervals bounds how often one may leave and rejoin a group with the messages of each stay still replayed.
	maxIntervals = 32
)

// interval is one stay of a user in a group: messages first … last, log positions from … to.
type interval struct {
	first protocol.MsgID
	from  protocol.Position
	last  protocol.MsgID    // only if ended
	to    protocol.Position // zero: has not ended
}

func (v *interval) open() bool { return v.to == protocol.Position{} }

// sessionRow is what one user has made of one conversation. Members have one for their group, and keep it when they leave.
//
//	version 1 | flags 1 | read 4 | readPeer 4 | told 4 | toldAt 10 | removed 4 | removedAt 10 | stays 1 | stays × 28
type sessionRow struct {
	shielded  bool
	read      protocol.MsgID    // read position
	readPeer  uint32            // in a one-to-one chat: the peer's messages up to read
	told      protocol.MsgID    // the last position that was an event of its own
	toldAt    protocol.Position // and when
	removed   protocol.MsgID    // newest message when it was taken off the list; a later one brings it back
	removedAt protocol.Position
	stays     []interval // groups only, oldest first
}

func (r *sessionRow) size() int { return sessionFixedLen + intervalLen*len(r.stays) }

func (r *sessionRow) pack(b []byte) {
	b[0], b[1] = rowVersion, 0
	if r.shielded {
		b[1] = sessionShielded
	}
	binary.BigEndian.PutUint32(b[2:], uint32(r.read))
	binary.BigEndian.PutUint32(b[6:], r.readPeer)
	binary.BigEndian.PutUint32(b[10:], uint32(r.told))
	putPosition(b[14:], r.toldAt)
	binary.BigEndian.PutUint32(b[24:], uint32(r.removed))
	putPosition(b[28:], r.removedAt)
	b[38] = byte(len(r.stays))
	b = b[sessionFixedLen:]
	for _, v := range r.stays {
		binary.BigEndian.PutUint32(b, uint32(v.first))
		putPosition(b[4:], v.from)
		binary.BigEndian.PutUint32(b[14:], uint32(v.last))
		putPosition(b[18:], v.to)
		b = b[intervalLen:]
	}
}

func unpackSession(b []byte) (sessionRow, error) {
	var r sessionRow
	if len(b) < sessionFixedLen || len(b) != sessionFixedLen+intervalLen*int(b[38]) {
		return r, errRowLength
	}
	if b[0] != rowVersion {
		return r, fmt.Errorf("%w %d", errRowVersion, b[0])
	}
	if b[1]&^sessionShielded != 0 {
		return r, errRowFlags
	}
	r.shielded = b[1]&sessionShielded != 0
	r.read = protocol.MsgID(binary.BigEndian.Uint32(b[2:]))
	r.readPeer = binary.BigEndian.Uint32(b[6:])
	r.told = protocol.MsgID(binary.BigEndian.Uint32(b[10:]))
	r.toldAt = positionOf(b[14:])
	r.removed = protocol.MsgID(binary.BigEndian.Uint32(b[24:]))
	r.removedAt = positionOf(b[28:])
	for rest := b[sessionFixedLen:]; len(rest) > 0; rest = rest[intervalLen:] {
		r.stays = append(r.stays, interval{
			first: protocol.MsgID(binary.BigEndian.Uint32(rest)),
			from:  positionOf(rest[4:]),
			last:  protocol.MsgID(binary.BigEndian.Uint32(rest[14:])),
			to:    positionOf(rest[18:]),
		})
	}
	return r, nil
}

// stay is the stay that has not ended; nil if the user is no member.
func (r *sessionRow) stay() *interval {
	if n := len(r.stays); n > 0 && r.stays[n-1].open() {
		return &r.stays[n-1]
	}
	return nil
}
