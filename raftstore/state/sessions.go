package state

import (
	"encoding/binary"
	"slices"

	"teamtalk/protocol"
)

// session reads what a user has made of a session: nothing, if there is no row.
func (t *txn) session(u protocol.UserID, s protocol.Session) (sessionRow, error) {
	key := sessionKey(u, s)
	b := t.row(bSession, key[:])
	if b == nil {
		return sessionRow{}, nil
	}
	row, err := unpackSession(b)
	if err != nil {
		return row, badRow(bSession, key[:], err)
	}
	return row, nil
}

func (s *step) putSession(u protocol.UserID, with protocol.Session, row *sessionRow) error {
	b := s.room(row.size())
	row.pack(b)
	key := sessionKey(u, with)
	return s.put(bSession, key[:], b)
}

// editSession changes a session row, making it if there is none.
func (s *step) editSession(u protocol.UserID, with protocol.Session, edit func(*sessionRow)) error {
	row, err := s.session(u, with)
	if err != nil {
		return err
	}
	edit(&row)
	return s.putSession(u, with, &row)
}

// eachSession calls fn for all sessions of a user that have a row: one-to-one chats, then groups, also those he has left.
func (t *txn) eachSession(u protocol.UserID, fn func(protocol.Session, *sessionRow) error) error {
	prefix := idKey(u)
	return t.scan(bSession, prefix[:], prefix[:], func(key, b []byte) (bool, error) {
		row, err := unpackSession(b)
		if err == nil && len(key) != 9 {
			err = errRowLength
		}
		if err != nil {
			return true, badRow(bSession, key, err)
		}
		s := protocol.Session{Type: protocol.SessionType(key[4]), ID: binary.BigEndian.Uint32(key[5:])}
		return false, fn(s, &row)
	})
}

// markRead moves a read position forward [TT-MSG-8]. To have nothing to read is no mistake.
func (m *machine) markRead(s *step, c *protocol.MarkRead) (any, error) {
	row, v, err := m.lookForCommand(s, c.User, c.Session)
	if err != nil {
		return nil, err
	}
	upTo := c.UpTo
	if upTo == 0 || upTo > v.head.last {
		upTo = v.head.last
	}
	if upTo <= row.read {
		return protocol.MarkReadResult{UpTo: row.read}, nil
	}
	if err := m.read(s, &row, &v, c.User, upTo); err != nil {
		return nil, err
	}
	row.told, row.toldAt = upTo, s.at
	s.emit(protocol.ReadMoved{User: c.User, Session: c.Session, UpTo: upTo, Origin: c.Origin})
	return protocol.MarkReadResult{UpTo: upTo, Moved: true}, s.putSession(c.User, c.Session, &row)
}

// removeSession takes a session off a list until its next message. That it is read then has no event of its own [TT-BUDDY-3].
func (m *machine) removeSession(s *step, c *protocol.RemoveSession) error {
	row, v, err := m.lookForCommand(s, c.User, c.Session)
	if err != nil {
		return err
	}
	if v.empty() || row.removed == v.head.last {
		return notFound("user %d has no such session", c.User)
	}
	if row.read < v.head.last {
		if err := m.read(s, &row, &v, c.User, v.head.last); err != nil {
			return err
		}
	}
	row.removed, row.removedAt = v.head.last, s.at
	s.emit(protocol.SessionRemoved{User: c.User, Session: c.Session, Origin: c.Origin})
	return s.putSession(c.User, c.Session, &row)
}

func (m *machine) lookForCommand(s *step, u protocol.UserID, with protocol.Session) (row sessionRow, v sight, err error) {
	if err := m.employed(s.txn, u); err != nil {
		return row, v, err
	}
	if v, err = s.look(u, with); err != nil {
		return row, v, err
	}
	row, err = s.session(u, with)
	return row, v, err
}

// read moves the read position, with the count of the peer's messages up to there; those of them that are to be burned have
// their countdown started [TT-DEL-3].
func (m *machine) read(s *step, row *sessionRow, v *sight, me protocol.UserID, upTo protocol.MsgID) error {
	from := row.read + 1
	row.read = upTo
	if v.conv.Type == protocol.SessionGroup {
		return nil
	}
	peer := v.conv.Seen(me).Peer()
	if err := m.tellMark(s, me, v.conv.Seen(me), v.conv, from, upTo); err != nil {
		return err
	}
	if m.burns {
		if err := s.startCountdown(dueRow{reader: me, author: peer, next: from, last: upTo}); err != nil {
			return err
		}
	}
	if upTo == v.head.last {
		row.readPeer = v.head.countOf(v.conv, peer)
		return nil
	}
	return s.descend(v.conv, v.head, upTo, func(_ protocol.Position, m *messageRow) (bool, error) {
		row.readPeer = m.countOf(peer)
		return true, nil
	})
}

// listed is a session of a user with messages he may see.
type listed struct {
	session protocol.Session
	row     sessionRow
	sight
}

// unread counts the messages of others above the read position. Whoever writes to a group has read it, so there none of
// his own are above [TT-MSG-10].
func (l *listed) unread() uint32 {
	if l.session.Type == protocol.SessionGroup {
		return uint32(l.head.last - min(l.row.read, l.head.last))
	}
	return l.head.countOf(l.conv, l.session.Peer()) - l.row.readPeer
}

// listed returns the sessions of a user that wanted picks, the one with the newest message first.
func (t *txn) listed(me protocol.UserID, wanted func(*listed) bool) ([]listed, error) {
	var all []listed
	err := t.eachSession(me, func(s protocol.Session, row *sessionRow) error {
		l := listed{session: s, row: *row, sight: sight{conv: s.Conversation(me), first: 1}}
		if s.Type == protocol.SessionGroup {
			stay := row.stay()
			if stay == nil {
				return nil
			}
			l.first = stay.first
		}
		var err error
		if l.head, err = t.head(l.conv); err != nil {
			return err
		}
		if !l.empty() && wanted(&l) {
			all = append(all, l)
		}
		return nil
	})
	slices.SortFunc(all, func(a, b listed) int {
		if a.head.at.Before(b.head.at) {
			return 1
		}
		return -1
	})
	return all, err
}

// RecentSessions lists the sessions with a message after the given time, newest first, at most limit. Removed ones are left
// out until their next message [TT-BUDDY-1].
func (q *Queries) RecentSessions(me protocol.UserID, after protocol.Time, limit int) (sessions []protocol.RecentSession, err error) {
	err = q.view(func(r *txn) error {
		all, err := r.listed(me, func(l *listed) bool { return l.head.time > after && l.row.removed != l.head.last })
		if err != nil {
			return err
		}
		for _, l := range all[:min(max(limit, 0), len(all))] {
			row, err := r.message(l.head.at)
			if err != nil {
				return err
			}
			latest := row.message(l.head.at)
			if err := r.addFateOf(row.conv, &latest); err != nil {
				return err
			}
			sessions = append(sessions, protocol.RecentSession{Session: l.session, Updated: l.head.time, Latest: latest})
		}
		return nil
	})
	return sessions, err
}

// Unread lists the sessions with messages that the user has not read, newest first [TT-MSG-10].
func (q *Queries) Unread(me protocol.UserID) (unread []protocol.Unread, err error) {
	err = q.view(func(r *txn) error {
		all, err := r.listed(me, func(l *listed) bool { return l.unread() > 0 })
		if err != nil {
			return err
		}
		for _, l := range all {
			row, err := r.message(l.head.at)
			if err != nil {
				return err
			}
			latest := row.message(l.head.at)
			if err := r.addFateOf(row.conv, &latest); err != nil {
				return err
			}
			unread = append(unread, protocol.Unread{Session: l.session, Count: l.unread(), Latest: latest})
		}
		return nil
	})
	return unread, err
}
