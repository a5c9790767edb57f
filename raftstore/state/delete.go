package state

import (
	"encoding/binary"
	"fmt"

	"teamtalk/protocol"
)

// deleteMessage takes the content of a message away. That it is gone already is a success, whoever asks [TT-DEL-6].
func (m *machine) deleteMessage(s *step, c *protocol.DeleteMessage) error {
	if !c.Deletion.Valid() {
		return invalid("kind of deletion %d is not known", c.Deletion)
	}
	if c.Deletion == protocol.Burned && c.Session.Type == protocol.SessionGroup {
		return invalid("only messages of one-to-one chats burn") // [TT-DEL-2]
	}
	at, row, err := m.lookForDeletion(s, c)
	if err != nil || row.deleted != 0 {
		return err
	}
	var g *roster
	if c.Session.Type == protocol.SessionGroup {
		if g, err = m.liveGroup(s.txn, c.Session.Group()); err != nil {
			return err
		}
	}
	if err := mayDelete(s, c, &row, g); err != nil {
		return err
	}
	if err := s.erase(at, &row, c.Deletion, c.Actor, g); err != nil {
		return err
	}
	return m.tellDelete(s, at, &row, c.Deletion, c.Actor, g)
}

// lookForDeletion finds the message that is meant. One that the actor can't see is not there for him, nor are its group
// and he himself if he has left [TT-DEL-8].
func (m *machine) lookForDeletion(s *step, c *protocol.DeleteMessage) (at protocol.Position, row messageRow, err error) {
	_, v, err := m.lookForCommand(s, c.Actor, c.Session)
	if protocol.CodeOf(err) == protocol.CodeForbidden {
		return at, row, notFound("user %d has no such session", c.Actor)
	}
	if err != nil {
		return at, row, err
	}
	if c.ID < v.first || c.ID > v.head.last {
		return at, row, notFound("user %d sees no message %d there", c.Actor, c.ID)
	}
	err = s.descend(v.conv, v.head, c.ID, func(p protocol.Position, found *messageRow) (bool, error) {
		at, row = p, *found
		return true, nil
	})
	return at, row, err
}

// mayDelete decides with the command's time: what is late is so on every node [TT-DEL-1] [TT-DEL-2].
func mayDelete(s *step, c *protocol.DeleteMessage, row *messageRow, g *roster) error {
	switch {
	case c.Deletion == protocol.Burned && row.extras.BurnAfter == 0:
		return invalid("message %d was not sent to be burned", c.ID)
	case c.Deletion == protocol.Burned: // of a one-to-one chat, which has but its author and its reader
		return nil
	case g != nil && g.group.Creator == c.Actor:
		return nil
	case row.from != c.Actor:
		return forbidden("user %d did not write message %d", c.Actor, c.ID)
	case s.now-row.time > protocol.Time(c.Within):
		return forbidden("message %d was sent too long ago", c.ID)
	}
	return nil
}

// erase replaces the message at a position by a placeholder. Its row is the only place where the state has the content,
// so with this transaction it is gone; the log is shortened later [TT-DEL-4] [TT-DEL-7]. A row in bDue stays until its
// time, and is passed over then. g is the group, nil in a one-to-one chat.
func (s *step) erase(at protocol.Position, row *messageRow, kind protocol.Deletion, by protocol.UserID, g *roster) error {
	left := *row
	left.deleted, left.data, left.extras = kind, nil, leftOver(row.extras)
	b := s.room(left.size())
	left.pack(b)
	place := positionKey(at)
	if err := s.put(bLog, place[:], b); err != nil {
		return err
	}
	if left.extras.BurnAfter > 0 {
		key := unburnedKey(row.conv.Seen(row.from).Peer(), row.from, row.id)
		if err := s.drop(bUnburned, key[:]); err != nil {
			return err
		}
	}
	if err := s.show(messageShower(at), nil, nil, true); err != nil { // [TT-DEL-4]
		return err
	}
	key, gone := deletionKey(row.conv, s.at, row.id), deletionRow{kind, by}
	b = s.room(deletionLen)
	gone.pack(b)
	if err := s.put(bDeletion, key[:], b); err != nil {
		return err
	}
	last := s.room(positionLen)
	putPosition(last, s.at)
	if err := s.put(bMeta, []byte(metaDeleted), last); err != nil {
		return err
	}
	s.forget = true
	event := protocol.MessageDeleted{Conversation: row.conv, ID: row.id, Kind: kind, By: by}
	if g != nil {
		event.Members = g.members
	}
	s.emit(event)
	return nil
}

const (
	deletionLen    = 6
	deletionKeyLen = convLen + positionLen + 4
)

// deletionRow tells how a message went, for those who were away.
//
//	version 1 | kind 1 | by 4
type deletionRow struct {
	kind protocol.Deletion
	by   protocol.UserID
}

func (r *deletionRow) pack(b []byte) {
	b[0], b[1] = rowVersion, byte(r.kind)
	binary.BigEndian.PutUint32(b[2:], uint32(r.by))
}

func unpackDeletion(b []byte) (deletionRow, error) {
	if len(b) != deletionLen {
		return deletionRow{}, errRowLength
	}
	if b[0] != rowVersion {
		return deletionRow{}, fmt.Errorf("%w %d", errRowVersion, b[0])
	}
	r := deletionRow{protocol.Deletion(b[1]), protocol.UserID(binary.BigEndian.Uint32(b[2:]))}
	if !r.kind.Valid() {
		return r, errRowFlags
	}
	return r, nil
}

func deletionKey(c protocol.Conversation, at protocol.Position, id protocol.MsgID) [deletionKeyLen]byte {
	var k [deletionKeyLen]byte
	putConv(k[:], c)
	putPosition(k[convLen:], at)
	binary.BigEndian.PutUint32(k[convLen+positionLen:], uint32(id))
	return k
}

// collectDeletions has the deletions in a conversation replayed: in a group those of one stay, whichever message they
// concern [TT-DEL-6]. The zero stay is always. Mostly nothing was deleted since, anywhere, and that is known without a look
// into each conversation.
func (r *replay) collectDeletions(conv protocol.Conversation, stay interval) error {
	if r.deleted.Before(r.from) {
		return nil
	}
	from := r.from
	if from.Before(stay.from) {
		from = stay.from
	}
	return r.push(&deletionStream{txn: r.txn, conv: conv, next: deletionKey(conv, from, 0), stay: stay})
}

// deletionStream reads the deletions in one conversation, one at a time.
type deletionStream struct {
	*txn
	conv protocol.Conversation
	stay interval // where it ends
	next [deletionKeyLen]byte
	cur  protocol.Event
}

func (s *deletionStream) at() protocol.Position { return s.cur.At }
func (s *deletionStream) event() protocol.Event { return s.cur }

func (s *deletionStream) fill() (bool, error) {
	key, b := s.bucket(bDeletion).Cursor().Seek(s.next[:])
	if key == nil || !hasPrefix(key, s.next[:convLen]) {
		return false, nil
	}
	row, err := unpackDeletion(b)
	if err == nil && len(key) != deletionKeyLen {
		err = errRowLength
	}
	if err != nil {
		return false, badRow(bDeletion, key, err)
	}
	at, id := positionOf(key[convLen:]), protocol.MsgID(binary.BigEndian.Uint32(key[convLen+positionLen:]))
	if !s.stay.open() && s.stay.to.Before(at) {
		return false, nil
	}
	s.cur = protocol.Event{At: at, Body: protocol.MessageDeleted{Conversation: s.conv, ID: id, Kind: row.kind, By: row.by}}
	s.next = deletionKey(s.conv, at, id+1) // ids end below the largest number
	return true, nil
}
