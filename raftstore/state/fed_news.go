package state

import (
	"bytes"
	"encoding/binary"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// newsKey is the key of what the author of a message was told at a position.
func newsKey(u protocol.UserID, at, message protocol.Position) [4 + 2*positionLen]byte {
	var b [4 + 2*positionLen]byte
	binary.BigEndian.PutUint32(b[:], uint32(u))
	putPosition(b[4:], at)
	putPosition(b[4+positionLen:], message)
	return b
}

// newsKeep is for how long what an author was told is told again: somewhat longer than everything is replayed.
const newsKeep = replayKeep + 24*3600*1000

// setFate changes the state of a message and tells its author's sessions; those that are away when they come back, of each message the last.
func (m *machine) setFate(s *step, at protocol.Position, fate *fateRow, state fed.MessageState, reason string) error {
	row, err := s.message(at)
	if err != nil {
		return err
	}
	reason = protocol.Truncate(reason, maxReason)
	fate.state = state
	if fate.news != (protocol.Position{}) {
		old := newsKey(row.from, fate.news, at)
		if err := s.drop(bNews, old[:]); err != nil {
			return err
		}
	}
	fate.news = s.at
	if err := s.putNews(row.from, at, reason); err != nil {
		return err
	}
	s.emit(protocol.MessageStateChanged{Conversation: row.conv, ID: row.id, From: row.from, State: uint8(state), HubSeq: fate.hubSeq, Reason: reason})
	return s.putFate(at, fate)
}

// maxReason is how long a reason for people may be that is kept, in bytes.
const maxReason = 256

// putNews stores what an author is told: when 8, reason. Two that are old go for each that comes.
func (s *step) putNews(u protocol.UserID, message protocol.Position, reason string) error {
	b := s.room(8 + len(reason))
	binary.BigEndian.PutUint64(b, uint64(s.now))
	copy(b[8:], reason)
	key := newsKey(u, s.at, message)
	if err := s.put(bNews, key[:], b); err != nil {
		return err
	}
	var old [][]byte
	prefix := idKey(u)
	err := s.scan(bNews, prefix[:], prefix[:], func(key, b []byte) (bool, error) {
		if len(b) < 8 {
			return true, badRow(bNews, key, errRowLength)
		}
		if len(old) == 2 || s.now-protocol.Time(number(b)) < newsKeep {
			return true, nil
		}
		old = append(old, bytes.Clone(key))
		return false, nil
	})
	if err != nil {
		return err
	}
	for _, key := range old {
		if err := s.drop(bNews, key); err != nil {
			return err
		}
	}
	return nil
}

// collectNews replays what became known of the user's messages that went abroad.
func (r *replay) collectNews() error {
	prefix, from := idKey(r.me), newsKey(r.me, r.from, protocol.Position{})
	return r.scan(bNews, prefix[:], from[:], func(key, b []byte) (bool, error) {
		if len(key) != len(from) || len(b) < 8 {
			return true, badRow(bNews, key, errRowLength)
		}
		at := positionOf(key[4+positionLen:])
		row, err := r.message(at)
		if err != nil {
			return true, err
		}
		fate, _, err := r.fate(at)
		if err != nil {
			return true, err
		}
		r.note(positionOf(key[4:]), protocol.MessageStateChanged{Conversation: row.conv, ID: row.id, From: row.from, State: uint8(fate.state), HubSeq: fate.hubSeq,
			Reason: string(b[8:])})
		return false, nil
	})
}

// addFateOf completes a message of a conversation by what federation knows of it.
func (t *txn) addFateOf(c protocol.Conversation, msg *protocol.Message) error {
	if !t.mayHaveFate(c) {
		return nil
	}
	return t.addFate(msg)
}

func (t *txn) addFate(msg *protocol.Message) error {
	fate, known, err := t.fate(msg.At)
	if known {
		msg.Fate, msg.HubSeq = uint8(fate.state), fate.hubSeq
	}
	return err
}

// mayHaveFate reports whether something may be known of messages of a conversation: it is with somebody abroad, or a group of several clusters.
func (t *txn) mayHaveFate(c protocol.Conversation) bool {
	if c.Type == protocol.SessionSingle {
		return c.B >= uint32(protocol.MaxLocalID)
	}
	return t.row(bChain, groupBytes(protocol.GroupID(c.A))) != nil
}

// addFates completes the messages of one conversation.
func (t *txn) addFates(c protocol.Conversation, msgs []protocol.Message) error {
	if len(msgs) == 0 || !t.mayHaveFate(c) {
		return nil
	}
	for i := range msgs {
		if err := t.addFate(&msgs[i]); err != nil {
			return err
		}
	}
	return nil
}

// tellFate completes the event of a message that was just stored.
func (s *step) tellFate(fate *fateRow) {
	for i := range s.events {
		if sent, ok := s.events[i].Body.(protocol.MessageSent); ok && sent.Message.At == s.at {
			sent.Message.Fate, sent.Message.HubSeq = uint8(fate.state), fate.hubSeq
			s.events[i].Body = sent
		}
	}
}
