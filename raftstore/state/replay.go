package state

import (
	"container/heap"
	"slices"
	"sort"

	"teamtalk/protocol"
)

// replayBytes is how much data of messages EventsAfter returns before it ends with the entry it is in.
const replayBytes = 1 << 20

// EventsAfter lists what happened for a user after a cursor, in log order [TT-SESS-20]: limit events, or fewer with 1 MiB of
// data, and then the rest of the log entry they end in, because a cursor names whole entries. next is where to go on: all
// events up to there have been listed. No events means that there are no more; then, and whenever the end was reached, next
// is at least what this node had applied.
//
// Replayed are messages of the user's conversations (of a group, those of his stays), his read positions (the last of
// each), removed sessions (likewise), changes of members of groups he was in then, new groups, the last signature and
// avatar of everybody, files that still wait for him, and deletions of messages, which are also gone from their own events. MessageSent.Members is nil: the answer is for one user. Origins
// are 0.
func (q *Queries) EventsAfter(me protocol.UserID, after protocol.Cursor, limit int) (events []protocol.Event, next protocol.Cursor, err error) {
	next = max(after, q.applied()) // asked before the transaction begins: it holds at least that
	if limit <= 0 {
		return nil, after, nil
	}
	err = q.view(func(t *txn) error {
		r := &replay{txn: t, me: me, from: afterIndex(after)}
		if err := r.collect(); err != nil {
			return err
		}
		last, more, err := r.page(limit, func(e protocol.Event) { events = append(events, e) })
		if next = max(next, last); more {
			next = last
		}
		return err
	})
	return events, next, err
}

// page gives events to add until there are enough and their entry is whole. last is the entry of the last one, more
// whether there are any behind it.
func (r *replay) page(limit int, add func(protocol.Event)) (last protocol.Cursor, more bool, err error) {
	for count, data := 0, 0; len(r.streams) > 0; count++ {
		if at := protocol.Cursor(r.streams[0].at().Index); at != last && (count >= limit || data >= replayBytes) {
			return last, true, nil
		}
		e, err := r.pop()
		if err != nil {
			return last, false, err
		}
		last = protocol.Cursor(e.At.Index)
		if m, ok := e.Body.(protocol.MessageSent); ok {
			data += len(m.Message.Data)
			if err := r.addFateOf(m.Message.Conversation, &m.Message); err != nil {
				return last, false, err
			}
			e.Body = m
		}
		add(e)
	}
	return last, false, nil
}

// replay merges the sources of one user's events.
type replay struct {
	*txn
	me      protocol.UserID
	from    protocol.Position
	deleted protocol.Position // the last deletion of all, zero if there was none
	fixed   listStream
	streams streamHeap
}

// stream is a source of events in log order. fill moves to the next one, or says that there is none; at is where it is,
// and event makes it: only that copies a message, as a user's conversations are all read from at the same time.
type stream interface {
	at() protocol.Position
	event() protocol.Event
	fill() (ok bool, err error)
}

func (r *replay) collect() error {
	if b := r.row(bMeta, []byte(metaDeleted)); len(b) == positionLen {
		r.deleted = positionOf(b)
	} else if b != nil {
		return badRow(bMeta, []byte(metaDeleted), errRowLength)
	}
	if err := r.eachSession(r.me, r.collectSession); err != nil {
		return err
	}
	if err := r.collectFiles(); err != nil {
		return err
	}
	if err := r.collectNews(); err != nil {
		return err
	}
	slices.SortStableFunc(r.fixed.events, func(a, b protocol.Event) int {
		switch {
		case a.At.Before(b.At):
			return -1
		case b.At.Before(a.At):
			return 1
		}
		return 0
	})
	if err := r.push(&r.fixed); err != nil {
		return err
	}
	return r.push(&profileStream{txn: r.txn, from: r.from})
}

func (r *replay) push(s stream) error {
	ok, err := s.fill()
	if ok {
		heap.Push(&r.streams, s)
	}
	return err
}

func (r *replay) pop() (protocol.Event, error) {
	s := r.streams[0]
	e := s.event()
	more, err := s.fill()
	if more {
		heap.Fix(&r.streams, 0)
	} else {
		heap.Pop(&r.streams)
	}
	return e, err
}

func (r *replay) note(at protocol.Position, body protocol.EventBody) {
	if !at.Before(r.from) {
		r.fixed.events = append(r.fixed.events, protocol.Event{At: at, Body: body})
	}
}

func (r *replay) collectSession(s protocol.Session, row *sessionRow) error {
	r.note(row.toldAt, protocol.ReadMoved{User: r.me, Session: s, UpTo: row.told})
	r.note(row.removedAt, protocol.SessionRemoved{User: r.me, Session: s})
	conv := s.Conversation(r.me)
	h, err := r.head(conv)
	if err != nil {
		return err
	}
	if s.Type == protocol.SessionSingle {
		if err := r.collectDeletions(conv, interval{}); err != nil {
			return err
		}
		return r.collectMessages(conv, h, 1, h.last)
	}
	for _, stay := range row.stays {
		last := h.last
		if !stay.open() {
			if stay.to.Before(r.from) {
				continue
			}
			last = stay.last
		}
		if err := r.collectMessages(conv, h, stay.first, last); err != nil {
			return err
		}
		if err := r.collectDeletions(conv, stay); err != nil {
			return err
		}
	}
	return r.collectChanges(s.Group(), row.stays)
}

func (r *replay) collectMessages(conv protocol.Conversation, h head, first, last protocol.MsgID) error {
	if last < first || h.at.Before(r.from) {
		return nil
	}
	n, err := r.stretch(conv, r.from, first, last)
	if err != nil {
		return err
	}
	return r.push(&messageStream{txn: r.txn, conv: conv, head: h, from: r.from, next: max(first, protocol.MsgID(n*sparseStep)+1), last: last})
}

// collectChanges notes the changes of a group's members during the user's stays, their first and last moment included.
func (r *replay) collectChanges(g protocol.GroupID, stays []interval) error {
	if n := len(stays); n == 0 || !stays[n-1].open() && stays[n-1].to.Before(r.from) {
		return nil
	}
	var rows []changeRow
	var places []protocol.Position
	prefix, from := idKey(g), placeKey(uint32(g), r.from)
	err := r.scan(bChange, prefix[:], from[:], func(key, b []byte) (bool, error) {
		var row changeRow
		err := decodeRow(b, &row)
		if err == nil && len(key) != len(from) {
			err = errRowLength
		}
		if err != nil {
			return true, badRow(bChange, key, err)
		}
		rows, places = append(rows, row), append(places, positionOf(key[4:]))
		return false, nil
	})
	if err != nil || len(rows) == 0 {
		return err
	}
	current, err := r.memberRows(g)
	if err != nil {
		return err
	}
	for i := len(rows) - 1; i >= 0; i-- {
		row, at := rows[i], places[i]
		if stayedAt(stays, at) {
			for _, body := range row.events(g, current) {
				r.note(at, body)
			}
		}
		switch row.Change {
		case protocol.MembersAdd:
			current = applyChange(current, protocol.MembersDel, row.Changed)
			current = applyChange(current, protocol.MembersAdd, row.Gone)
		case protocol.MembersDel:
			current = applyChange(current, protocol.MembersAdd, row.Changed)
		}
	}
	return nil
}

func stayedAt(stays []interval, at protocol.Position) bool {
	return slices.ContainsFunc(stays, func(v interval) bool {
		return !at.Before(v.from) && (v.open() || !v.to.Before(at))
	})
}

// events are what is told of a change that has led to the members current, in order.
func (row *changeRow) events(g protocol.GroupID, current []protocol.UserID) []protocol.EventBody {
	if row.Change == groupMade {
		return []protocol.EventBody{protocol.GroupCreated{Actor: row.Actor, Group: g, Members: row.Changed}}
	}
	changed := protocol.MembersChanged{Actor: row.Actor, Group: g, Change: row.Change, Current: current, Changed: row.Changed}
	if len(row.Gone) == 0 {
		return []protocol.EventBody{changed}
	}
	left := protocol.MembersChanged{Actor: row.Actor, Group: g, Change: protocol.MembersDel, Changed: row.Gone, Current: applyChange(current, protocol.MembersDel, row.Changed)}
	return []protocol.EventBody{left, changed}
}

func (r *replay) collectFiles() error {
	prefix, from := idKey(r.me), placeKey(uint32(r.me), r.from)
	return r.scan(bFile, prefix[:], from[:], func(key, row []byte) (bool, error) {
		f, err := fileOf(key, row)
		if err == nil {
			r.note(positionOf(key[4:]), protocol.OfflineFileAdded{File: f})
		}
		return false, err
	})
}

// streamHeap has the stream with the earliest event on top.
type streamHeap []stream

func (h streamHeap) Len() int      { return len(h) }
func (h streamHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Less has a message before what else became known at its position.
func (h streamHeap) Less(i, j int) bool {
	a, b := h[i].at(), h[j].at()
	if a != b {
		return a.Before(b)
	}
	_, first := h[i].(*messageStream)
	_, second := h[j].(*messageStream)
	return first && !second
}

// Push is for container/heap.
func (h *streamHeap) Push(x any) { *h = append(*h, x.(stream)) }

// Pop is for container/heap.
func (h *streamHeap) Pop() any {
	s := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return s
}

// listStream has its events from the start.
type listStream struct {
	events []protocol.Event
	cur    protocol.Event
}

func (s *listStream) at() protocol.Position { return s.cur.At }
func (s *listStream) event() protocol.Event { return s.cur }

func (s *listStream) fill() (bool, error) {
	if len(s.events) == 0 {
		return false, nil
	}
	s.cur, s.events = s.events[0], s.events[1:]
	return true, nil
}

// placedMessage is a message and where it is; its data is the database's.
type placedMessage struct {
	at  protocol.Position
	row messageRow
}

// messageStream reads messages next … last of a conversation, a stretch of bSparse at a time: the chain leads downwards only.
type messageStream struct {
	*txn
	conv       protocol.Conversation
	head       head
	from       protocol.Position
	next, last protocol.MsgID
	rows       []placedMessage // read ahead, the newest first; the last one is the current event
}

// stretch finds the first stretch of bSparse that may hold one of the messages first … last at or after from. Stretch n is
// ids n*sparseStep+1 and up, to (n+1)*sparseStep.
func (t *txn) stretch(conv protocol.Conversation, from protocol.Position, first, last protocol.MsgID) (n int, err error) {
	low, high := int(first-1)/sparseStep, int(last)/sparseStep
	n = low + sort.Search(high-low, func(i int) bool {
		key := sparseKey(conv, protocol.MsgID((low+i+1)*sparseStep))
		b := t.row(bSparse, key[:])
		if len(b) != positionLen {
			err = badRow(bSparse, key[:], errRowLength)
			return true
		}
		return !positionOf(b).Before(from)
	})
	return n, err
}

func (s *messageStream) at() protocol.Position { return s.rows[len(s.rows)-1].at }

func (s *messageStream) event() protocol.Event {
	m := &s.rows[len(s.rows)-1]
	return protocol.Event{At: m.at, Body: protocol.MessageSent{Message: m.row.message(m.at)}}
}

func (s *messageStream) fill() (bool, error) {
	if len(s.rows) > 0 {
		s.rows = s.rows[:len(s.rows)-1]
	}
	for len(s.rows) == 0 {
		if s.next > s.last {
			return false, nil
		}
		top := min(s.last, (s.next+sparseStep-1)/sparseStep*sparseStep)
		err := s.descend(s.conv, s.head, top, func(at protocol.Position, row *messageRow) (bool, error) {
			if at.Before(s.from) {
				return true, nil
			}
			s.rows = append(s.rows, placedMessage{at, *row})
			return row.id == s.next, nil
		})
		if err != nil {
			return false, err
		}
		s.next = top + 1
	}
	return true, nil
}

// profileStream reads the last changes of signatures and avatars of all users.
type profileStream struct {
	*txn
	from protocol.Position
	kind profileKind // the next row is at (from, kind) or later
	cur  protocol.Event
}

func (s *profileStream) at() protocol.Position { return s.cur.At }
func (s *profileStream) event() protocol.Event { return s.cur }

func (s *profileStream) fill() (bool, error) {
	seek := profileKey(s.from, s.kind)
	key, b := s.bucket(bProfile).Cursor().Seek(seek[:])
	if key == nil {
		return false, nil
	}
	id, err := idOf[protocol.UserID](b)
	if err == nil && len(key) != len(seek) {
		err = errRowLength
	}
	if err != nil {
		return false, badRow(bProfile, key, err)
	}
	row, err := s.user(id)
	if err != nil {
		return false, badRow(bProfile, key, err)
	}
	at, kind := positionOf(key), profileKind(key[positionLen])
	s.cur = protocol.Event{At: at, Body: protocol.SignChanged{User: id, Sign: row.User.Sign}}
	if kind == profileAvatar {
		s.cur.Body = protocol.AvatarChanged{User: id, Avatar: row.User.Avatar}
	}
	s.from, s.kind = at, kind+1
	return true, nil
}
