package state

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"go.etcd.io/bbolt"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// TestDamageAbroad overwrites rows of federation with rubbish: queries and commands must say so, not panic.
func TestDamageAbroad(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.offices[0], w.offices[1]
	g, at := w.group()
	a.say(1, at(a), "one")
	b.say(1, at(b), "two")
	b.say(1, protocol.WithUser(b.person(a, 1)), "three")
	w.settle()
	b.say(1, protocol.WithUser(b.person(a, 1)), "four")
	b.say(1, at(b), "five")
	b.do(&protocol.AddInvitation{Hash: [32]byte{1}, Expires: protocol.Time(b.clock) + 1e6})
	b.change(func(s *step) error {
		in := inbound{from: a.id, event: &fed.Event{Group: fed.GroupRef{Cluster: a.id, ID: g}}}
		if err := b.m.noteGap(s, &in, at(b).Group(), 7, 8); err != nil {
			return err
		}
		if err := s.putRow(bFork, groupBytes(maxAlias), forkRow{Seq: 1}); err != nil {
			return err
		}
		if err := s.addTask(taskRetell, a.id, taskRow{}); err != nil {
			return err
		}
		return s.putDead(a.id, deadRow{Text: "no"})
	})
	b.setRate(a, 1)
	people := protocol.WithUser(b.person(a, 1))
	told := w.told(g)
	b.do(&protocol.SetPeer{Cluster: a.id, After: b.m.abroad.peers[a.id].Version,
		Peer: mustCBOR(fed.Peer{Manifest: a.signed, State: fed.PeerConfirmed, In: fed.AllowDirect | fed.AllowGroups, Out: fed.AllowAll})})
	for id := bPeer; id < bBlob; id++ {
		for _, o := range w.offices {
			failed := o.damaged(id, func(q *Queries, tx *bbolt.Tx) (errs []error) {
				note := func(_ any, err error) { errs = append(errs, err) }
				other := w.offices[0]
				if o == other {
					other = b
				}
				note(q.FedPeers())
				note(q.Invitations())
				note(q.AliasesOf(other.id, 0, 9))
				note(q.AliasOf(fed.UserRef{Cluster: other.id, ID: 1}))
				note(q.DeadLetters(other.id, 9))
				note(q.FedGaps(other.id))
				note(q.FedChains(other.id))
				note(q.Forks())
				note(q.FedSince(other.id, 0, protocol.Position{}, 99, 1e6))
				note(q.History(1, people, 0, 9))
				note(q.History(1, at(o), 0, 9))
				_, _, err := q.FedOut(other.id, 1, 1, 9, 1e6)
				note(nil, err)
				_, _, err = q.FedRange(g, other.id, 1, 0, 9, 1e6)
				note(nil, err)
				_, _, err = q.EventsAfter(1, 0, 1000)
				note(nil, err)
				for _, lane := range []fed.Lane{0, 1} {
					for _, event := range told {
						note(nil, o.try(tx, &protocol.ReceiveEvent{Cluster: other.id, Epoch: 1, Lane: uint8(lane), Sequence: o.cursor(other, lane) + 1, Event: event}))
					}
				}
				note(nil, o.try(tx, &protocol.SweepFederation{}))
				note(nil, o.try(tx, text(1, people, "more")))
				return errs
			})
			// These are read by their length alone, or by commands that are not among those above.
			quiet := id == bTold || id == bLeft || id == bOrigin || o == a && (id == bNews || id == bInvitation || id == bHubVersion || id == bDead || id == bGap || id == bFork || id == bRate || id == bTask || id == bPerson) ||
				o == b && id == bSince
			if !failed && !quiet {
				t.Errorf("nobody noticed the damage in %s of %s", id.name(), o.name)
			}
		}
	}
}

// told are events of the first office's for the second: the state of their group, a place in it, somebody who is known, and somebody who is not.
func (w *world) told(g protocol.GroupID) [][]byte {
	w.Helper()
	a, b := w.offices[0], w.offices[1]
	var state []byte
	a.view(func(t *txn) error {
		row, err := t.group(g)
		if err != nil {
			return err
		}
		members, err := t.memberRows(g)
		if err != nil {
			return err
		}
		gs, err := a.m.groupState(t, &row, members)
		gs.Version += 5
		e := fed.Event{ID: fed.NewEventID(a.id, 0, protocol.Position{Index: 5000}), Time: 1, Group: fed.GroupRef{Cluster: a.id, ID: g}}
		state = e.Encode(fed.TypeGroupState, gs)
		return err
	})
	events, _, err := a.FedRange(g, b.id, 1, 1, 1, 1e6)
	if err != nil {
		w.Fatal(err)
	}
	place := events[len(events)-1]
	profile := func(u protocol.UserID) []byte {
		e := fed.Event{ID: fed.NewEventID(a.id, 0, protocol.Position{Index: 6000}), Time: 1, Author: fed.UserRef{Cluster: a.id, ID: u}}
		return e.Encode(fed.TypeProfile, fed.Profile{Login: "x", Updated: 1 << 50})
	}
	return [][]byte{state, place, profile(1), profile(77)}
}

// damaged tells whether anything that is done with rubbish in a bucket fails as damage; the rubbish is gone afterwards.
func (o *office) damaged(id bucketID, do func(*Queries, *bbolt.Tx) []error) (failed bool) {
	o.Helper()
	tx, err := o.db.Begin(true)
	if err != nil {
		o.Fatal(err)
	}
	bucket := tx.Bucket([]byte(id.name()))
	var keys [][]byte
	if err := bucket.ForEach(func(k, _ []byte) error { keys = append(keys, bytes.Clone(k)); return nil }); err != nil {
		o.Fatal(err)
	}
	for i, k := range keys {
		if err := bucket.Put(k, make([]byte, i)); err != nil {
			o.Fatal(err)
		}
	}
	q := &Queries{members: newMemberCache(), read: func(fn func(*bbolt.Tx) error) error { return fn(tx) }, applied: func() protocol.Cursor { return 99 }}
	for _, err := range do(q, tx) {
		failed = failed || err != nil && protocol.CodeOf(err) == protocol.CodeInternal
	}
	if err := tx.Rollback(); err != nil {
		o.Fatal(err)
	}
	o.reopen() // what apply keeps in memory saw the rubbish
	return failed
}

// try executes a command in a transaction that will be undone.
func (o *office) try(tx *bbolt.Tx, c protocol.Command) error {
	b, err := encodeCommand(c)
	if err != nil {
		return err
	}
	o.index++
	_, err = o.m.Apply(tx, protocol.Position{Index: o.index}, o.clock, b)
	return err
}

// check compares what is kept twice in the rows of federation.
func (o *office) check() (wrong []string) {
	note := func(format string, args ...any) { wrong = append(wrong, o.name+": "+fmt.Sprintf(format, args...)) }
	o.view(func(t *txn) error {
		a, err := openAbroad(t)
		if err != nil {
			return err
		}
		for k, l := range a.lanes {
			if m := o.m.abroad.lanes[k]; m != l {
				note("lane %d: in memory %+v, on disk %+v", k.lane, m, l)
			}
			if l.swept > l.acked || l.acked > l.sent {
				note("lane %d is %+v", k.lane, l)
			}
			waiting := uint64(0)
			for seq := l.swept + 1; seq <= l.sent; seq++ {
				row, err := t.out(k, seq)
				if err != nil {
					return err
				}
				if seq > l.acked {
					waiting += uint64(len(row.event))
				}
			}
			if waiting != l.waiting {
				note("lane %d: %d bytes wait, not %d", k.lane, waiting, l.waiting)
			}
		}
		if err := t.scan(bOut, nil, nil, func(key, _ []byte) (bool, error) {
			l := a.lanes[laneKey{fed.ClusterID(key[:clusterLen]), fed.Lane(key[clusterLen])}]
			if seq := number(key[clusterLen+1:]); seq <= l.swept || seq > l.sent {
				note("event %d is outside of its lane", seq)
			}
			return false, nil
		}); err != nil {
			return err
		}
		if err := o.checkAliases(t, note); err != nil {
			return err
		}
		return o.checkFates(t, note)
	})
	return wrong
}

func (o *office) checkAliases(t *txn, note func(string, ...any)) error {
	refs := map[string]bool{}
	if err := t.scan(bRef, nil, nil, func(key, b []byte) (bool, error) {
		alias := aliasKey(aliasKind(key[clusterLen]), uint32(number(append(make([]byte, 4), b...))))
		refs[string(alias[:])] = true
		if c, id, ok, err := t.ref(aliasKind(key[clusterLen]), uint32(number(append(make([]byte, 4), b...)))); err != nil || !ok || refKey(c, aliasKind(key[clusterLen]), id) != [clusterLen + 5]byte(key) {
			note("alias %x is somebody else's", b)
		}
		return false, nil
	}); err != nil {
		return err
	}
	return t.scan(bAlias, nil, nil, func(key, _ []byte) (bool, error) {
		if !refs[string(key)] {
			note("alias %x is nobody's", key)
		}
		return false, nil
	})
}

func (o *office) checkFates(t *txn, note func(string, ...any)) error {
	news := map[string]bool{}
	err := t.scan(bFate, nil, nil, func(key, b []byte) (bool, error) {
		at := positionOf(key)
		row, err := t.message(at)
		if err != nil {
			return true, err
		}
		fate, err := unpackFate(b)
		if err != nil {
			return true, err
		}
		if fate.news != (protocol.Position{}) {
			key := newsKey(row.from, fate.news, at)
			news[string(key[:])] = true
		}
		if !fate.origin.IsZero() {
			key := eventKey(fate.origin)
			if b := t.row(bOrigin, key[:]); len(b) != positionLen || positionOf(b) != at {
				note("message %v is not found by its event", at)
			}
		}
		return false, nil
	})
	if err != nil {
		return err
	}
	if err := t.scan(bOut, nil, nil, func(key, b []byte) (bool, error) {
		row, err := unpackOut(b)
		if err != nil || row.message == (protocol.Position{}) || row.typ == fed.TypeSkip {
			return err != nil, err
		}
		w := way{laneKey{fed.ClusterID(key[:clusterLen]), fed.Lane(key[clusterLen])}, number(key[clusterLen+1:])}
		if fate, _, err := t.fate(row.message); err != nil || !slices.Contains(fate.ways, w) {
			note("message %v does not know that it is in place %d of lane %d, %v", row.message, w.seq, w.lane, err)
		}
		return false, nil
	}); err != nil {
		return err
	}
	if err := t.scan(bNews, nil, nil, func(key, _ []byte) (bool, error) {
		if !news[string(key)] {
			note("news %x is of no message", key)
		}
		return false, nil
	}); err != nil {
		return err
	}
	return t.scan(bKept, nil, nil, func(key, b []byte) (bool, error) {
		row, err := unpackKept(b)
		if msg := t.row(bLog, key); err == nil && row.cut != 0 && (len(msg) < 2 || msg[1] != 0) {
			note("the event of %x is kept, its message is not", key)
		}
		return false, err
	})
}
