package state

import (
	"bytes"
	"math"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// maxHeads bounds the conversation heads kept in memory.
const maxHeads = 1 << 16

// sendMessage gives a message the next id of its conversation and stores it [TT-MSG-1] [TT-MSG-4].
func (m *machine) sendMessage(s *step, c *protocol.SendMessage) (any, error) {
	if !m.media() {
		c.Blobs = nil
	}
	if err := checkMessage(c); err != nil {
		return nil, err
	}
	k := dedupeKey{c.From, c.ClientMsgID}
	if !k.id.IsZero() {
		at, known, err := m.window.find(s.txn, k, s.now)
		if err != nil {
			return nil, err
		}
		if known {
			return s.repeated(c, at)
		}
	}
	g, err := m.audience(s.txn, c.From, c.To)
	if err != nil {
		return nil, err
	}
	conv := c.To.Conversation(c.From)
	r, err := m.routeOf(s.txn, conv, c.From, g, len(c.Data)+refsLen(c.Blobs)+wrapping)
	if err != nil {
		return nil, err
	}
	h, err := m.head(s.txn, conv)
	if err != nil {
		return nil, err
	}
	if h.last == math.MaxInt32 { // COMPAT: clients keep ids in signed integers
		return nil, protocol.Errorf(protocol.CodeQuota, "the conversation has no ids left")
	}
	if c.Extras.ReplyTo > h.last {
		return nil, invalid("message %d, which is replied to, is not there", c.Extras.ReplyTo)
	}
	row := messageRow{typ: c.Type, conv: conv, id: h.last + 1, from: c.From, time: s.now, prev: h.at, client: c.ClientMsgID,
		extras: c.Extras, data: c.Data}
	if err := m.store(s, &row, h); err != nil {
		return nil, err
	}
	if err := m.window.add(s.txn, k, dedupeEntry{s.at, s.now.Unix()}, s.now); err != nil {
		return nil, err
	}
	if err := m.noteUnburned(s, &row); err != nil {
		return nil, err
	}
	shown, err := s.recorded(c.Blobs)
	if err != nil {
		return nil, err
	}
	if err := m.noteShown(s, conv, shown, fed.ClusterID{}); err != nil {
		return nil, err
	}
	sent := protocol.MessageSent{Message: row.message(s.at)}
	if g != nil {
		sent.Members = g.members
	}
	s.emit(sent)
	if r.abroad() {
		if err := m.tellMessage(s, &row, &r); err != nil {
			return nil, err
		}
	}
	return protocol.SendResult{ID: row.id, Time: row.time, At: s.at}, nil
}

// checkMessage checks what can be seen from the command alone [TT-MSG-1] [TT-MSG-15].
func checkMessage(c *protocol.SendMessage) error {
	switch {
	case !c.Type.Valid():
		return invalid("message type 0x%02x is not known", uint8(c.Type))
	case !c.To.Valid() || c.Type.SessionType() != c.To.Type:
		return invalid("message type 0x%02x does not go to session type %d", uint8(c.Type), c.To.Type)
	case len(c.Data) == 0:
		return invalid("the message is empty")
	case c.Type.IsAudio() && len(c.Data) <= protocol.AudioHeader:
		return invalid("the message has no sound")
	case c.Type.IsAudio() && len(c.Data) > protocol.MaxAudioData:
		return tooLarge("sound: more than %d bytes", protocol.MaxAudioData)
	case !c.Type.IsAudio() && len(c.Data) > protocol.MaxTextData:
		return tooLarge("text: more than %d bytes", protocol.MaxTextData)
	case c.To.Type == protocol.SessionSingle && c.To.Peer() == c.From:
		return invalid("the message goes to its sender")
	}
	if err := checkRefs(c.Blobs); err != nil {
		return err
	}
	return c.Extras.Check(c.To.Type)
}

// repeated answers a message that is stored already [TT-MSG-6] [TT-SESS-11]. Of a deleted one nothing is kept to compare
// with; and the repeat has brought its content into the log again [TT-DEL-7].
func (s *step) repeated(c *protocol.SendMessage, at protocol.Position) (any, error) {
	row, err := s.message(at)
	if err != nil {
		return nil, err
	}
	same := row.conv == c.To.Conversation(c.From) && row.typ == c.Type
	if row.deleted == 0 {
		same = same && row.extras == c.Extras && bytes.Equal(row.data, c.Data)
	}
	if !same {
		return nil, invalid("client_msg_id: used before for another message")
	}
	s.forget = row.deleted != 0
	return protocol.SendResult{ID: row.id, Time: row.time, At: at, Repeated: true}, nil
}

// audience checks that from may write to a session, and returns the group, nil if it is none.
func (m *machine) audience(t *txn, from protocol.UserID, to protocol.Session) (*roster, error) {
	if from >= protocol.MaxLocalID {
		return nil, forbidden("user %d is of another cluster", from)
	}
	if err := m.employed(t, from); err != nil {
		return nil, err
	}
	if to.Type == protocol.SessionSingle {
		return nil, m.employed(t, to.Peer())
	}
	g, err := m.liveGroup(t, to.Group())
	if err != nil {
		return nil, err
	}
	if !g.has(from) {
		return nil, forbidden("user %d is no member of group %d", from, to.ID)
	}
	return g, nil
}

// head reads a conversation's head through the cache, which only this goroutine uses.
func (m *machine) head(t *txn, c protocol.Conversation) (head, error) {
	if h, ok := m.heads[c]; ok {
		return h, nil
	}
	return t.head(c)
}

// store writes the rows of a message that follows h.
func (m *machine) store(s *step, row *messageRow, h head) error {
	next := head{last: row.id, at: s.at, time: row.time, countA: h.countA}
	if row.conv.Type == protocol.SessionSingle {
		if uint32(row.from) == row.conv.A {
			next.countA++
		}
		row.ordinal = next.countOf(row.conv, row.from)
	}
	b := s.room(row.size())
	row.pack(b)
	key := positionKey(s.at)
	if err := s.put(bLog, key[:], b); err != nil {
		return err
	}
	b = s.room(headLen)
	next.pack(b)
	conv := convKey(row.conv)
	if err := s.put(bConv, conv[:], b); err != nil {
		return err
	}
	if len(m.heads) >= maxHeads {
		clear(m.heads)
	}
	m.heads[row.conv] = next
	m.time = row.time
	if row.id%sparseStep == 0 {
		sparse, place := sparseKey(row.conv, row.id), s.room(positionLen)
		copy(place, key[:])
		if err := s.put(bSparse, sparse[:], place); err != nil {
			return err
		}
	}
	return s.noteSessions(row, h)
}

// noteSessions gives both users of a new one-to-one chat their session row. Who writes to a group has read it [TT-MSG-10].
func (s *step) noteSessions(row *messageRow, h head) error {
	if row.conv.Type == protocol.SessionGroup {
		return s.editSession(row.from, row.conv.Seen(row.from), func(r *sessionRow) { r.read = row.id })
	}
	if h.last != 0 {
		return nil
	}
	for _, u := range [2]protocol.UserID{protocol.UserID(row.conv.A), protocol.UserID(row.conv.B)} {
		if err := s.editSession(u, row.conv.Seen(u), func(*sessionRow) {}); err != nil {
			return err
		}
	}
	return nil
}

// head reads a conversation's head; its last is 0 if nothing was said yet.
func (t *txn) head(c protocol.Conversation) (head, error) {
	key := convKey(c)
	b := t.row(bConv, key[:])
	if b == nil {
		return head{}, nil
	}
	h, err := unpackHead(b)
	if err != nil {
		return h, badRow(bConv, key[:], err)
	}
	return h, nil
}

// message reads the message at a position of the log.
func (t *txn) message(at protocol.Position) (messageRow, error) {
	key := positionKey(at)
	b := t.row(bLog, key[:])
	if b == nil {
		return messageRow{}, badRow(bLog, key[:], errRowLength)
	}
	row, err := unpackMessage(b)
	if err != nil {
		return row, badRow(bLog, key[:], err)
	}
	return row, nil
}
