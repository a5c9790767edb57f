package state

import (
	"errors"
	"slices"

	"teamtalk/protocol"
)

var errChain = errors.New("the conversation's chain leads elsewhere")

// descend calls fn for the messages of a conversation from id begin downwards, until fn says stop. It starts at the next row of
// bSparse above begin, or at the head, so at most sparseStep-1 messages are passed over.
func (t *txn) descend(c protocol.Conversation, h head, begin protocol.MsgID, fn func(at protocol.Position, row *messageRow) (stop bool, err error)) error {
	at, id := h.at, h.last
	if up := (uint64(begin) + sparseStep - 1) / sparseStep * sparseStep; up < uint64(h.last) && begin > 0 {
		key := sparseKey(c, protocol.MsgID(up))
		b := t.row(bSparse, key[:])
		if len(b) != positionLen {
			return badRow(bSparse, key[:], errRowLength)
		}
		at, id = positionOf(b), protocol.MsgID(up)
	}
	for ; id > 0; id-- {
		row, err := t.message(at)
		if err != nil {
			return err
		}
		if row.conv != c || row.id != id {
			key := positionKey(at)
			return badRow(bLog, key[:], errChain)
		}
		if id <= begin {
			if stop, err := fn(at, &row); err != nil || stop {
				return err
			}
		}
		at = row.prev
	}
	return nil
}

// sight is what one user may see of a conversation: messages first … head.last.
type sight struct {
	conv  protocol.Conversation
	head  head
	first protocol.MsgID
}

// look finds out what user me may see of s: of a group, what was said since he joined [TT-MSG-11].
func (t *txn) look(me protocol.UserID, s protocol.Session) (sight, error) {
	if !s.Valid() {
		return sight{}, invalid("no session has type %d and id %d", s.Type, s.ID)
	}
	v := sight{conv: s.Conversation(me), first: 1}
	if s.Type == protocol.SessionGroup {
		row, err := t.session(me, s)
		if err != nil {
			return v, err
		}
		stay := row.stay()
		if stay == nil {
			return v, forbidden("user %d is no member of group %d", me, s.ID)
		}
		v.first = stay.first
	}
	var err error
	v.head, err = t.head(v.conv)
	return v, err
}

func (v *sight) empty() bool { return v.head.last < v.first }

// History reads at most count messages of a session from id begin (0: the newest) downwards, newest first. Strangers to a
// group get Forbidden; with a stranger there is no history [TT-MSG-11].
func (q *Queries) History(me protocol.UserID, s protocol.Session, begin protocol.MsgID, count int) (msgs []protocol.Message, err error) {
	err = q.view(func(r *txn) error {
		v, err := r.look(me, s)
		if err != nil || v.empty() || count <= 0 {
			return err
		}
		if begin == 0 || begin > v.head.last {
			begin = v.head.last
		}
		if begin < v.first {
			return nil
		}
		msgs = make([]protocol.Message, 0, min(count, int(begin-v.first)+1))
		err = r.descend(v.conv, v.head, begin, func(at protocol.Position, row *messageRow) (bool, error) {
			msgs = append(msgs, row.message(at))
			return len(msgs) == count || row.id == v.first, nil
		})
		if err != nil {
			return err
		}
		return r.addFates(v.conv, msgs)
	})
	return msgs, err
}

// MessagesByID reads those of ids that exist and that the user may see, newest first, each once [TT-MSG-12].
func (q *Queries) MessagesByID(me protocol.UserID, s protocol.Session, ids []protocol.MsgID) (msgs []protocol.Message, err error) {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	ids = slices.Compact(ids)
	slices.Reverse(ids)
	err = q.view(func(r *txn) error {
		v, err := r.look(me, s)
		if err != nil {
			return err
		}
		for len(ids) > 0 {
			n := 0 // how many of ids were dealt with in one descent: those close together share one
			if id := ids[0]; id < v.first || id > v.head.last {
				ids = ids[1:]
				continue
			}
			err := r.descend(v.conv, v.head, ids[0], func(at protocol.Position, row *messageRow) (bool, error) {
				if row.id == ids[n] {
					msgs = append(msgs, row.message(at))
					n++
				}
				return n == len(ids) || ids[n] < v.first || row.id-ids[n] > sparseStep, nil
			})
			if err != nil {
				return err
			}
			ids = ids[n:]
		}
		return r.addFates(v.conv, msgs)
	})
	return msgs, err
}

// LatestMsgID reads the newest id that the user may see, 0 if there is none [TT-MSG-12].
func (q *Queries) LatestMsgID(me protocol.UserID, s protocol.Session) (id protocol.MsgID, err error) {
	err = q.view(func(r *txn) error {
		v, err := r.look(me, s)
		if err == nil && !v.empty() {
			id = v.head.last
		}
		return err
	})
	return id, err
}
