package state

import (
	"encoding/binary"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// Invitations are the hashes of those that can be used now.
func (q *Queries) Invitations() (hashes [][32]byte, err error) {
	err = q.view(func(t *txn) error {
		now, err := t.newestTime()
		if err != nil {
			return err
		}
		return t.scan(bInvitation, nil, nil, func(key, b []byte) (bool, error) {
			if len(key) != len([32]byte{}) || len(b) != 8 {
				return true, badRow(bInvitation, key, errRowLength)
			}
			if protocol.Time(number(b)) > now {
				hashes = append(hashes, [32]byte(key))
			}
			return false, nil
		})
	})
	return hashes, err
}

// AliasesOf lists the people of a peer that have a number here above after, ascending, at most limit: new ones are at the end.
func (q *Queries) AliasesOf(peer fed.ClusterID, after protocol.UserID, limit int) (rows []fed.AliasRow, err error) {
	err = q.view(func(t *txn) error {
		if limit <= 0 {
			return nil
		}
		from := aliasKey(aliasUser, uint32(after)+1)
		return t.scan(bAlias, from[:1], from[:], func(key, b []byte) (bool, error) {
			if len(key) != len(from) || len(b) != clusterLen+4 {
				return true, badRow(bAlias, key, errRowLength)
			}
			if fed.ClusterID(b[:clusterLen]) == peer {
				rows = append(rows, fed.AliasRow{Alias: protocol.UserID(binary.BigEndian.Uint32(key[1:])),
					Remote: protocol.UserID(binary.BigEndian.Uint32(b[clusterLen:]))})
			}
			return len(rows) == limit, nil
		})
	})
	return rows, err
}

// TraceEvent tells what is known of the message that everybody knows by an event id; NotFound if it never came here.
func (q *Queries) TraceEvent(e fed.EventID) (trace fed.Trace, err error) {
	err = q.view(func(t *txn) error {
		a, err := openAbroad(t)
		if err != nil {
			return err
		}
		at, ok, err := (&machine{abroad: a}).placeOf(t, e)
		if err != nil {
			return err
		}
		if !ok {
			return notFound("no message %v is known here", e)
		}
		trace, err = t.trace(&a, at)
		return err
	})
	return trace, err
}

// TraceMessage tells what is known of a message with an id here. Of a conversation of two, both users are named as they are numbered here.
func (q *Queries) TraceMessage(c protocol.Conversation, id protocol.MsgID) (trace fed.Trace, err error) {
	err = q.view(func(t *txn) error {
		a, err := openAbroad(t)
		if err != nil {
			return err
		}
		h, err := t.head(c)
		if err != nil {
			return err
		}
		if id == 0 || id > h.last {
			return notFound("the conversation has no message %d; its last one is %d", id, h.last)
		}
		return t.descend(c, h, id, func(at protocol.Position, _ *messageRow) (bool, error) {
			trace, err = t.trace(&a, at)
			return true, err
		})
	})
	return trace, err
}

func (t *txn) trace(a *abroad, at protocol.Position) (fed.Trace, error) {
	row, err := t.message(at)
	if err != nil {
		return fed.Trace{}, err
	}
	trace := fed.Trace{At: at, Conversation: row.conv, ID: row.id, From: row.from, Time: row.time, Deleted: row.deleted != 0}
	fate, known, err := t.fate(at)
	if err != nil {
		return trace, err
	}
	trace.Event = fate.origin
	if trace.Event.IsZero() {
		trace.Event = (&machine{abroad: *a}).eventID(at)
	}
	if !known {
		return trace, nil
	}
	trace.Fate = fed.Fate{State: fate.state, HubSeq: fate.hubSeq, Event: fate.origin}
	for _, w := range fate.ways {
		step := fed.TraceStep{Peer: w.peer, Lane: w.lane, Sequence: w.seq, Acked: w.seq <= a.lanes[w.laneKey].acked}
		out, ok, err := t.outOf(w, at)
		if err != nil {
			return trace, err
		}
		step.Gone = !ok || out.typ == fed.TypeSkip
		trace.Steps = append(trace.Steps, step)
	}
	return trace, nil
}
