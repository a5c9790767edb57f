package state

import (
	"encoding/binary"
	"errors"
	"fmt"

	"teamtalk/protocol"
)

// A message to be burned is in bUnburned while it is not read, and in bDue from then on. Commands stay short however many
// there are: one that reads moves burnStep of them, and leaves a row in bDue for the others, due at once.
const (
	// burnStep is how many rows a command moves from bUnburned to bDue. It is part of the format.
	burnStep = 256
	// burnMost is how many messages a command burns, whatever its Limit, and how many rows of bDue it looks at.
	burnMost = 1024
	// burnScan is how many rows of the log a command looks through for messages from before burning began.
	burnScan = 8192

	unburnedKeyLen = 12
	unburnedLen    = positionLen + 4
	dueKeyLen      = 8 + positionLen
	dueShort       = 1
	dueLong        = 17
	burningLen     = 2 * positionLen
)

var errDue = errors.New("what burns is not there")

func unburnedKey(reader, author protocol.UserID, id protocol.MsgID) [unburnedKeyLen]byte {
	var k [unburnedKeyLen]byte
	binary.BigEndian.PutUint32(k[:], uint32(reader))
	binary.BigEndian.PutUint32(k[4:], uint32(author))
	binary.BigEndian.PutUint32(k[8:], uint32(id))
	return k
}

func dueKey(t protocol.Time, at protocol.Position) [dueKeyLen]byte {
	var k [dueKeyLen]byte
	binary.BigEndian.PutUint64(k[:], uint64(t))
	putPosition(k[8:], at)
	return k
}

func dueTime(key []byte) (protocol.Time, error) {
	if len(key) != dueKeyLen {
		return 0, badRow(bDue, key, errRowLength)
	}
	return protocol.Time(binary.BigEndian.Uint64(key)), nil
}

// dueRow is messages that were read, and have not been moved to bDue yet: its key has the time of reading, and the position
// of the command that read. The row of a single message, which has that one's position in its key, is a version byte only.
//
//	version 1 | [reader 4 | author 4 | next 4 | last 4]
type dueRow struct {
	reader, author protocol.UserID
	next, last     protocol.MsgID
}

func (r *dueRow) pack(b []byte) {
	b[0] = rowVersion
	binary.BigEndian.PutUint32(b[1:], uint32(r.reader))
	binary.BigEndian.PutUint32(b[5:], uint32(r.author))
	binary.BigEndian.PutUint32(b[9:], uint32(r.next))
	binary.BigEndian.PutUint32(b[13:], uint32(r.last))
}

// unpackDue reads a row; single is that of one message.
func unpackDue(b []byte) (r dueRow, single bool, err error) {
	if len(b) != dueShort && len(b) != dueLong {
		return r, false, errRowLength
	}
	if b[0] != rowVersion {
		return r, false, fmt.Errorf("%w %d", errRowVersion, b[0])
	}
	if len(b) == dueShort {
		return r, true, nil
	}
	return dueRow{
		reader: protocol.UserID(binary.BigEndian.Uint32(b[1:])), author: protocol.UserID(binary.BigEndian.Uint32(b[5:])),
		next: protocol.MsgID(binary.BigEndian.Uint32(b[9:])), last: protocol.MsgID(binary.BigEndian.Uint32(b[13:])),
	}, false, nil
}

// noteUnburned notes a message to be burned: it is not read.
func (m *machine) noteUnburned(s *step, row *messageRow) error {
	if !m.burns || row.extras.BurnAfter == 0 {
		return nil
	}
	return s.putUnburned(row, s.at)
}

func (s *step) putUnburned(row *messageRow, at protocol.Position) error {
	key, b := unburnedKey(row.conv.Seen(row.from).Peer(), row.from, row.id), s.room(unburnedLen)
	putPosition(b, at)
	binary.BigEndian.PutUint32(b[positionLen:], row.extras.BurnAfter)
	return s.put(bUnburned, key[:], b)
}

func (s *step) putDue(read protocol.Time, after uint32, at protocol.Position) error {
	key, b := dueKey(read+protocol.Time(after)*1000, at), s.room(dueShort)
	b[0] = rowVersion
	return s.put(bDue, key[:], b)
}

// startCountdown begins with the messages that were read just now, and leaves what is too much for BurnDue [TT-DEL-3].
func (s *step) startCountdown(r dueRow) error {
	_, more, err := s.moveToDue(&r, s.now)
	if err != nil || !more {
		return err
	}
	return s.putDueRow(dueKey(s.now, s.at), &r)
}

func (s *step) putDueRow(key [dueKeyLen]byte, r *dueRow) error {
	b := s.room(dueLong)
	r.pack(b)
	return s.put(bDue, key[:], b)
}

// moveToDue moves the first burnStep of the row's messages, which were read at that time, and r.next behind them.
func (s *step) moveToDue(r *dueRow, read protocol.Time) (moved int, more bool, err error) {
	type found struct {
		id    protocol.MsgID
		at    protocol.Position
		after uint32
	}
	var all []found
	from := unburnedKey(r.reader, r.author, r.next)
	err = s.scan(bUnburned, from[:8], from[:], func(key, b []byte) (bool, error) {
		if len(key) != unburnedKeyLen || len(b) != unburnedLen {
			return true, badRow(bUnburned, key, errRowLength)
		}
		id := protocol.MsgID(binary.BigEndian.Uint32(key[8:]))
		if id > r.last {
			return true, nil
		}
		if more = len(all) == burnStep; more {
			return true, nil
		}
		all = append(all, found{id, positionOf(b), binary.BigEndian.Uint32(b[positionLen:])})
		return false, nil
	})
	if err != nil {
		return 0, false, err
	}
	for _, f := range all {
		key := unburnedKey(r.reader, r.author, f.id)
		if err := s.drop(bUnburned, key[:]); err != nil {
			return 0, false, err
		}
		if err := s.putDue(read, f.after, f.at); err != nil {
			return 0, false, err
		}
		r.next = f.id + 1
	}
	return len(all), more, nil
}

// burnDue burns what is due, the earliest first. The first one makes burning begin, as older programs don't know this
// command: what they did with messages to be burned, all nodes did. Messages sent until then are looked for in the log, and
// read ones get their countdown when they are found.
func (m *machine) burnDue(s *step, c *protocol.BurnDue) (any, error) {
	if c.Limit == 0 {
		return nil, invalid("nothing would be burned")
	}
	older, err := m.findOlder(s)
	if err != nil {
		return nil, err
	}
	result := protocol.BurnDueResult{}
	limit, looks := int(min(c.Limit, burnMost)), burnMost
	for result.Burned < limit && looks > 0 {
		key, b := s.bucket(bDue).Cursor().First()
		if key == nil {
			break
		}
		t, err := dueTime(key)
		if err != nil {
			return nil, err
		}
		if t > s.now {
			break
		}
		burned, looked, err := m.burnRow(s, [dueKeyLen]byte(key), t, b)
		if err != nil {
			return nil, err
		}
		looks -= looked
		result.Burned += burned
	}
	at, waiting, err := s.nextDue()
	result.More = older || waiting && at <= s.now
	return result, err
}

// burnRow deals with one row of bDue.
func (m *machine) burnRow(s *step, key [dueKeyLen]byte, t protocol.Time, b []byte) (burned, looked int, err error) {
	r, single, err := unpackDue(b)
	if err != nil {
		return 0, 0, badRow(bDue, key[:], err)
	}
	if !single {
		moved, more, err := s.moveToDue(&r, t)
		if err == nil && more {
			return 0, moved + 1, s.putDueRow(key, &r)
		}
		if err == nil {
			err = s.drop(bDue, key[:])
		}
		return 0, moved + 1, err
	}
	at := positionOf(key[8:])
	row, err := s.message(at)
	if err != nil {
		return 0, 0, err
	}
	if err := s.drop(bDue, key[:]); err != nil || row.deleted != 0 {
		return 0, 1, err
	}
	if row.extras.BurnAfter == 0 {
		return 0, 0, badRow(bDue, key[:], errDue)
	}
	if err := s.erase(at, &row, protocol.Burned, 0, nil); err != nil {
		return 0, 1, err
	}
	return 1, 1, m.tellDelete(s, at, &row, protocol.Burned, 0, nil)
}

// findOlder notes the messages to be burned that were sent before burning began, some at a time, and reports whether there
// may be more. In metaBurning is where it goes on, and where it ends.
func (m *machine) findOlder(s *step) (more bool, err error) {
	mark := s.row(bMeta, []byte(metaBurning))
	if !m.burns {
		mark = make([]byte, burningLen)
		putPosition(mark[positionLen:], s.at)
		m.burns = true
	}
	next, end, err := unpackBurning(mark)
	if err != nil || next == end {
		return false, err
	}
	from, left := positionKey(next), burnScan
	next = end
	err = s.scan(bLog, nil, from[:], func(key, b []byte) (bool, error) {
		at := positionOf(key)
		if !at.Before(end) {
			return true, nil
		}
		if left--; left < 0 {
			next = at
			return true, nil
		}
		row, err := unpackMessage(b)
		if err != nil {
			return true, badRow(bLog, key, err)
		}
		return false, s.noteOlder(&row, at)
	})
	if err != nil {
		return false, err
	}
	b := s.room(burningLen)
	putPosition(b, next)
	putPosition(b[positionLen:], end)
	return next != end, s.put(bMeta, []byte(metaBurning), b)
}

// noteOlder puts a message where it belongs. Older programs have stored none to be burned in groups.
func (s *step) noteOlder(row *messageRow, at protocol.Position) error {
	if row.extras.BurnAfter == 0 || row.deleted != 0 || row.conv.Type != protocol.SessionSingle {
		return nil
	}
	reader := row.conv.Seen(row.from).Peer()
	seen, err := s.session(reader, row.conv.Seen(reader))
	if err != nil {
		return err
	}
	if seen.read >= row.id {
		return s.putDue(s.now, row.extras.BurnAfter, at)
	}
	return s.putUnburned(row, at)
}

func unpackBurning(b []byte) (next, end protocol.Position, err error) {
	if len(b) != burningLen {
		return next, end, badRow(bMeta, []byte(metaBurning), errRowLength)
	}
	return positionOf(b), positionOf(b[positionLen:]), nil
}

func (t *txn) nextDue() (at protocol.Time, ok bool, err error) {
	key, _ := t.bucket(bDue).Cursor().First()
	if key == nil {
		return 0, false, nil
	}
	at, err = dueTime(key)
	return at, err == nil, err
}

// NextBurn is when BurnDue has something to do next, in log time; false if nothing waits, or the cluster does not burn yet. It is 0,
// at once, before the first one, and until that has found all that waited for it.
func (q *Queries) NextBurn() (at protocol.Time, ok bool, err error) {
	err = q.view(func(r *txn) error {
		mark := r.row(bMeta, []byte(metaBurning))
		if mark == nil {
			ok = r.level() >= levelDeleting
			return nil
		}
		next, end, err := unpackBurning(mark)
		if err != nil || next != end {
			ok = err == nil
			return err
		}
		at, ok, err = r.nextDue()
		return err
	})
	return at, ok, err
}
