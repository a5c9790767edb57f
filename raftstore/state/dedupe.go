package state

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"teamtalk/protocol"
)

const (
	// dedupeKeep is how long a client_msg_id is remembered, in command time.
	dedupeKeep = 7 * 24 * 3600 // seconds
	// dedupeSpan is how many messages make an epoch of the window. It is part of the format: nodes that differ in it would
	// differ in their rows.
	dedupeSpan = 16384
	// Every sweepEvery messages the next sweepRows rows of bDedupe are looked at. The ratio of 3 keeps the bucket below
	// 1.5 times what has to be remembered.
	sweepEvery = 64
	sweepRows  = 192

	dedupeKeyLen = 4 + clientIDLen
	dedupeRowLen = positionLen + 4
)

type dedupeKey struct {
	user protocol.UserID
	id   protocol.ClientMsgID
}

func (k dedupeKey) bytes() [dedupeKeyLen]byte {
	var b [dedupeKeyLen]byte
	binary.BigEndian.PutUint32(b[:], uint32(k.user))
	copy(b[4:], k.id[:])
	return b
}

func compareDedupe(a, b dedupeKey) int {
	if c := cmp.Compare(a.user, b.user); c != 0 {
		return c
	}
	return bytes.Compare(a.id[:], b.id[:])
}

// dedupeEntry tells where the first message with a client_msg_id is, and its time in seconds.
type dedupeEntry struct {
	at  protocol.Position
	sec uint32
}

func (e dedupeEntry) expired(now protocol.Time) bool {
	return uint64(e.sec)+dedupeKeep < uint64(now.Unix())
}

// newestID is the largest client_msg_id of a user. Well-behaved clients make ids that rise with time; then a larger one is
// new, and nothing need be looked up.
type newestID struct {
	id       protocol.ClientMsgID
	complete bool // what is in bDedupe is taken into account
}

// dedupeWindow is the newest part of what client_msg_ids have been seen. A random row per message would be the dearest
// part of storing one, so the ids of an epoch of span messages are collected in memory, sorted, and written in that order
// during the next epoch, one with each message: neighbours share their pages. What is in memory and not in rows is always
// the log's newest 1 to 2 epochs, from where it is read at start.
type dedupeWindow struct {
	span    int
	active  map[dedupeKey]dedupeEntry    // this epoch
	frozen  map[dedupeKey]dedupeEntry    // the one before
	sorted  []dedupeKey                  // of frozen
	spilled int                          // how many of sorted are in bDedupe
	count   int                          // messages in this epoch, those without an id too
	newest  map[protocol.UserID]newestID // grows with the directory, no further
	start   protocol.Position            // last message before this epoch
	before  protocol.Position            // last message before the frozen one
}

// openDedupe reads the window from the log's tail.
func openDedupe(t *txn, span int) (*dedupeWindow, error) {
	w := &dedupeWindow{
		span:   span,
		active: make(map[dedupeKey]dedupeEntry),
		frozen: make(map[dedupeKey]dedupeEntry),
		newest: make(map[protocol.UserID]newestID),
	}
	if b := t.row(bMeta, []byte(metaWindow)); b != nil {
		if len(b) != 2*positionLen {
			return nil, badRow(bMeta, []byte(metaWindow), errRowLength)
		}
		w.before, w.start = positionOf(b), positionOf(b[positionLen:])
	}
	from := positionKey(w.before)
	err := t.scan(bLog, nil, from[:], func(key, row []byte) (bool, error) {
		at := positionOf(key)
		if !w.before.Before(at) {
			return false, nil
		}
		m, err := unpackMessage(row)
		if err != nil {
			return true, badRow(bLog, key, err)
		}
		epoch := w.frozen
		if w.start.Before(at) {
			epoch = w.active
			w.count++
		}
		if !m.client.IsZero() {
			epoch[dedupeKey{m.from, m.client}] = dedupeEntry{at, m.time.Unix()}
			w.raise(dedupeKey{m.from, m.client}, false)
		}
		return false, nil
	})
	if err != nil {
		return nil, err
	}
	w.sort()
	w.spilled = min(w.count, len(w.sorted))
	return w, nil
}

// raise makes the user's newest id at least k's.
func (w *dedupeWindow) raise(k dedupeKey, complete bool) newestID {
	n := w.newest[k.user]
	if bytes.Compare(k.id[:], n.id[:]) > 0 {
		n.id = k.id
	}
	n.complete = n.complete || complete
	w.newest[k.user] = n
	return n
}

// isNew reports whether the id is larger than all of its user that are remembered.
func (w *dedupeWindow) isNew(t *txn, k dedupeKey) bool {
	n := w.newest[k.user]
	if !n.complete {
		last := dedupeKey{user: k.user}
		next := dedupeKey{user: k.user + 1}.bytes()
		c := t.bucket(bDedupe).Cursor()
		key, _ := c.Seek(next[:])
		if key == nil {
			key, _ = c.Last()
		} else {
			key, _ = c.Prev()
		}
		if len(key) == dedupeKeyLen && binary.BigEndian.Uint32(key) == uint32(k.user) {
			copy(last.id[:], key[4:])
		}
		n = w.raise(last, true)
	}
	return bytes.Compare(k.id[:], n.id[:]) > 0
}

func (w *dedupeWindow) sort() {
	w.sorted = w.sorted[:0]
	for k := range w.frozen {
		w.sorted = append(w.sorted, k)
	}
	slices.SortFunc(w.sorted, compareDedupe)
}

// find returns where the message with this id is, if it is not too old to be remembered.
func (w *dedupeWindow) find(t *txn, k dedupeKey, now protocol.Time) (protocol.Position, bool, error) {
	if w.isNew(t, k) {
		return protocol.Position{}, false, nil
	}
	e, ok := w.active[k]
	if !ok {
		e, ok = w.frozen[k]
	}
	if !ok {
		key := k.bytes()
		row := t.row(bDedupe, key[:])
		if row == nil {
			return e.at, false, nil
		}
		var err error
		if e, err = unpackDedupe(key[:], row); err != nil {
			return e.at, false, err
		}
	}
	return e.at, !e.expired(now), nil
}

func unpackDedupe(key, row []byte) (dedupeEntry, error) {
	if len(row) != dedupeRowLen {
		return dedupeEntry{}, badRow(bDedupe, key, errRowLength)
	}
	return dedupeEntry{positionOf(row), binary.BigEndian.Uint32(row[positionLen:])}, nil
}

// add notes a stored message, and does a message's share of the upkeep.
func (w *dedupeWindow) add(t *txn, k dedupeKey, e dedupeEntry, now protocol.Time) error {
	if !k.id.IsZero() {
		w.active[k] = e
		w.raise(k, false)
	}
	w.count++
	if w.spilled < len(w.sorted) {
		if err := w.spill(t, w.sorted[w.spilled]); err != nil {
			return err
		}
		w.spilled++
	}
	if w.count == w.span {
		if err := w.roll(t, e.at); err != nil {
			return err
		}
	}
	if w.count%sweepEvery == 0 {
		return sweepDedupe(t, now)
	}
	return nil
}

func (w *dedupeWindow) spill(t *txn, k dedupeKey) error {
	e := w.frozen[k]
	row := t.room(dedupeRowLen)
	putPosition(row, e.at)
	binary.BigEndian.PutUint32(row[positionLen:], e.sec)
	key := k.bytes()
	return t.put(bDedupe, key[:], row)
}

// roll begins a new epoch after the message at last.
func (w *dedupeWindow) roll(t *txn, last protocol.Position) error {
	clear(w.frozen)
	w.active, w.frozen = w.frozen, w.active
	w.sort()
	w.spilled, w.count = 0, 0
	w.before, w.start = w.start, last
	row := t.room(2 * positionLen)
	putPosition(row, w.before)
	putPosition(row[positionLen:], w.start)
	return t.put(bMeta, []byte(metaWindow), row)
}

// sweepDedupe forgets what is too old.
func sweepDedupe(t *txn, now protocol.Time) error {
	return t.sweep(bDedupe, metaSweep, sweepRows, func(key, row []byte) (bool, error) {
		e, err := unpackDedupe(key, row)
		return e.expired(now), err
	})
}

// sweep removes those of a bucket's next rows that are old. Where the following sweep goes on is noted in bMeta under name;
// after the last row it begins again.
func (t *txn) sweep(id bucketID, name string, rows int, isOld func(key, row []byte) (bool, error)) error {
	mark := t.row(bMeta, []byte(name))
	c := t.bucket(id).Cursor()
	k, row := c.Seek(mark)
	var old [][]byte
	for range rows {
		if k == nil {
			break
		}
		gone, err := isOld(k, row)
		if err != nil {
			return err
		}
		if gone {
			old = append(old, bytes.Clone(k))
		}
		k, row = c.Next()
	}
	next := t.room(len(k)) // k is nil after the last: the next sweep begins with the first
	copy(next, k)
	if !bytes.Equal(next, mark) {
		if err := t.put(bMeta, []byte(name), next); err != nil {
			return err
		}
	}
	for _, k := range old {
		if err := t.drop(id, k); err != nil {
			return err
		}
	}
	return nil
}
