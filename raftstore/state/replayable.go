package state

import "teamtalk/protocol"

const (
	// replayKeep is for how long everything is replayed, in log time.
	replayKeep = 7 * 24 * 3600 * 1000 // milliseconds
	// replayEvents is how many of a user's events are replayed if they are older than that.
	replayEvents = 10_000
)

// Replayable tells whether what happened for a user after a cursor can be replayed: not when that cursor is older than 7
// days and more than 10,000 messages follow for him [TT-SESS-5]. He is better off looking at the state again. Messages are
// counted from the sparse index, up to 64 too few for each conversation; other events, deletions too, are not counted.
func (q *Queries) Replayable(me protocol.UserID, after protocol.Cursor) (ok bool, err error) {
	err = q.view(func(t *txn) error {
		ok, err = t.replayable(me, after, replayKeep, replayEvents)
		return err
	})
	return ok, err
}

func (t *txn) replayable(me protocol.UserID, after protocol.Cursor, keep protocol.Time, most uint64) (bool, error) {
	from := afterIndex(after)
	if recent, err := t.within(from, keep); err != nil || recent {
		return recent, err
	}
	count := uint64(0)
	err := t.eachSession(me, func(s protocol.Session, row *sessionRow) error {
		n, err := t.countSession(me, s, row, from)
		count += n
		return err
	})
	return count <= most, err
}

// within tells whether all messages at or after from, of everybody, are of the last stretch of log time.
func (t *txn) within(from protocol.Position, keep protocol.Time) (bool, error) {
	key := positionKey(from)
	k, b := t.bucket(bLog).Cursor().Seek(key[:])
	if k == nil {
		return true, nil
	}
	row, err := unpackMessage(b)
	if err != nil {
		return false, badRow(bLog, k, err)
	}
	newest, err := t.newestTime()
	return row.time >= newest-keep, err
}

// countSession counts messages of a session that are replayed from a position on, never too many.
func (t *txn) countSession(me protocol.UserID, s protocol.Session, row *sessionRow, from protocol.Position) (uint64, error) {
	conv := s.Conversation(me)
	h, err := t.head(conv)
	if err != nil || h.at.Before(from) {
		return 0, err
	}
	if s.Type == protocol.SessionSingle {
		return t.countMessages(conv, from, 1, h.last)
	}
	count := uint64(0)
	for _, stay := range row.stays {
		last := h.last
		if !stay.open() {
			last = stay.last
		}
		n, err := t.countMessages(conv, from, stay.first, last)
		if err != nil {
			return 0, err
		}
		count += n
	}
	return count, nil
}

// countMessages counts those of the messages first … last that are certainly at or after from: from the first one on whose
// position the sparse index knows.
func (t *txn) countMessages(conv protocol.Conversation, from protocol.Position, first, last protocol.MsgID) (uint64, error) {
	if last < first {
		return 0, nil
	}
	n, err := t.stretch(conv, from, first, last)
	known := max(first, protocol.MsgID(n+1)*sparseStep)
	if err != nil || last < known {
		return 0, err
	}
	return uint64(last-known) + 1, nil
}
