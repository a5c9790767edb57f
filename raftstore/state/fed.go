package state

import (
	"encoding/binary"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// abroad is what apply keeps in memory of other clusters; like all it keeps, it repeats the database.
type abroad struct {
	self  fed.ClusterID
	epoch uint64 // of the outbox; 0: this cluster has no identity, and nothing goes abroad
	eras  []era  // of its log, in order; none before the first restore
	lost  bool   // some of its state was, and nobody has begun a new epoch yet
	// renewed is when a cluster that has not begun a new epoch since was restored; negative: it was not.
	renewed protocol.Time
	peers   map[fed.ClusterID]*fed.Peer
	lanes   map[laneKey]laneRow
	homes   map[fed.ClusterID]home // of opened manifests; filled as needed
}

// openAbroad reads it.
func openAbroad(t *txn) (abroad, error) {
	a := abroad{renewed: -1, peers: map[fed.ClusterID]*fed.Peer{}, lanes: map[laneKey]laneRow{}, homes: map[fed.ClusterID]home{}}
	var c protocol.Cluster
	if _, err := t.readRow(bMeta, []byte(metaCluster), &c); err != nil {
		return a, err
	}
	a.self = c.ID
	id, err := t.identity()
	if err != nil || id == nil {
		return a, err
	}
	a.epoch = id.Epoch
	a.readLoss(t, &c, id)
	if _, err := t.readRow(bMeta, []byte(metaEras), &a.eras); err != nil {
		return a, err
	}
	err = t.scan(bPeer, nil, nil, func(key, b []byte) (bool, error) {
		var p fed.Peer
		if err := decodeRow(b, &p); err != nil || len(key) != clusterLen {
			return true, badRow(bPeer, key, err)
		}
		a.peers[fed.ClusterID(key)] = &p
		return false, nil
	})
	if err != nil {
		return a, err
	}
	return a, t.scan(bLane, nil, nil, func(key, b []byte) (bool, error) {
		row, err := unpackLane(b)
		if err != nil || len(key) != clusterLen+1 {
			return true, badRow(bLane, key, err)
		}
		a.lanes[laneKey{fed.ClusterID(key[:clusterLen]), fed.Lane(key[clusterLen])}] = row
		return false, nil
	})
}

// identity is nil before SetIdentity.
func (t *txn) identity() (*fed.Identity, error) {
	var id fed.Identity
	found, err := t.readRow(bMeta, []byte(metaIdentity), &id)
	if err != nil || !found {
		return nil, err
	}
	return &id, nil
}

// waiting is how many bytes wait for a peer.
func (a *abroad) waiting(peer fed.ClusterID) (n uint64) {
	for l := fed.LaneControl; l <= fed.LaneLast; l++ {
		n += a.lanes[laneKey{peer, l}].waiting
	}
	return n
}

var errRestored = forbidden("this office was restored from a backup: its operator has to run `teamtalkd federation resume` before anything goes to other offices")

// ready refuses what a peer may not be sent now, before anything is written [FED-OUT-3].
func (a *abroad) ready(c fed.ClusterID, what fed.Allow, size int) error {
	p := a.peers[c]
	switch {
	case a.epoch == 0 || p == nil || !p.Linked():
		return forbidden("there is no link to that office (any more)")
	case a.lost:
		return errRestored
	case !p.Out.Has(what):
		return forbidden("the rules of the link to that office don't allow it")
	case a.waiting(c)+uint64(size) > p.Limit():
		return protocol.Errorf(protocol.CodeQuota, "too much is waiting for that office already: the link has been down for long")
	}
	return nil
}

// ref is whom an alias stands for; false for one that was never given.
func (t *txn) ref(kind aliasKind, alias uint32) (c fed.ClusterID, id uint32, ok bool, err error) {
	key := aliasKey(kind, alias)
	b := t.row(bAlias, key[:])
	if b == nil {
		return c, 0, false, nil
	}
	if len(b) != clusterLen+4 {
		return c, 0, false, badRow(bAlias, key[:], errRowLength)
	}
	return fed.ClusterID(b[:clusterLen]), binary.BigEndian.Uint32(b[clusterLen:]), true, nil
}

// alias is what somebody abroad is called here; 0: nobody has needed it yet.
func (t *txn) alias(c fed.ClusterID, kind aliasKind, id uint32) (uint32, error) {
	key := refKey(c, kind, id)
	b := t.row(bRef, key[:])
	if b == nil {
		return 0, nil
	}
	if len(b) != 4 {
		return 0, badRow(bRef, key[:], errRowLength)
	}
	return binary.BigEndian.Uint32(b), nil
}

// userRef names a user, local or not, as every cluster understands it [FED-AL-2].
func (m *machine) userRef(t *txn, u protocol.UserID) (fed.UserRef, error) {
	if u < protocol.MaxLocalID {
		return fed.UserRef{Cluster: m.abroad.self, ID: u}, nil
	}
	c, id, ok, err := t.ref(aliasUser, uint32(u))
	if err == nil && !ok {
		err = notFound("no user %d", u)
	}
	return fed.UserRef{Cluster: c, ID: protocol.UserID(id)}, err
}

// groupRef names a group, of this cluster or not.
func (m *machine) groupRef(t *txn, g protocol.GroupID) (fed.GroupRef, error) {
	if g < protocol.MaxLocalID {
		return fed.GroupRef{Cluster: m.abroad.self, ID: g}, nil
	}
	c, id, ok, err := t.ref(aliasGroup, uint32(g))
	if err == nil && !ok {
		err = notFound("no group %d", g)
	}
	return fed.GroupRef{Cluster: c, ID: protocol.GroupID(id)}, err
}

// localUser is who is meant by a reference, 0 if there is no such user or alias.
func (m *machine) localUser(t *txn, r fed.UserRef) (protocol.UserID, error) {
	if r.Cluster != m.abroad.self {
		id, err := t.alias(r.Cluster, aliasUser, uint32(r.ID))
		return protocol.UserID(id), err
	}
	key := idKey(r.ID)
	if r.ID >= protocol.MaxLocalID || t.row(bUser, key[:]) == nil {
		return 0, nil
	}
	return r.ID, nil
}

// newAlias gives somebody abroad an id here, never given before or again [FED-AL-1].
func (s *step) newAlias(c fed.ClusterID, kind aliasKind, id uint32) (uint32, error) {
	counter := metaAliasUsers
	if kind == aliasGroup {
		counter = metaAliasGroups
	}
	n := s.number(counter) + 1
	alias := protocol.MaxLocalID + n - 1
	if alias > maxAlias {
		return 0, protocol.Errorf(protocol.CodeQuota, "all ids of people and groups abroad are used up")
	}
	if err := s.setNumber(counter, n); err != nil {
		return 0, err
	}
	there, here := refKey(c, kind, id), aliasKey(kind, uint32(alias))
	a, r := s.room(4), s.room(clusterLen+4)
	binary.BigEndian.PutUint32(a, uint32(alias))
	copy(r, c[:])
	binary.BigEndian.PutUint32(r[clusterLen:], id)
	if err := s.put(bRef, there[:], a); err != nil {
		return 0, err
	}
	return uint32(alias), s.put(bAlias, here[:], r)
}

// maxAlias is the largest id that clients can have: Android keeps ids in a signed integer.
const maxAlias = 0x7fffffff

// fate reads what federation knows of a message; false if it knows nothing.
func (t *txn) fate(at protocol.Position) (fateRow, bool, error) {
	key := positionKey(at)
	b := t.row(bFate, key[:])
	if b == nil {
		return fateRow{}, false, nil
	}
	row, err := unpackFate(b)
	if err != nil {
		return row, false, badRow(bFate, key[:], err)
	}
	return row, true, nil
}

func (s *step) putFate(at protocol.Position, row *fateRow) error {
	b := s.room(row.size())
	row.pack(b)
	key := positionKey(at)
	return s.put(bFate, key[:], b)
}

// eventOf is what a message is called everywhere.
func (m *machine) eventOf(t *txn, at protocol.Position) (fed.EventID, error) {
	fate, _, err := t.fate(at)
	if err != nil || !fate.origin.IsZero() {
		return fate.origin, err
	}
	return m.eventID(at), nil
}

// placeOf is where a message that everybody knows by an event id is here; false: it never came.
func (m *machine) placeOf(t *txn, e fed.EventID) (at protocol.Position, ok bool, err error) {
	if m.abroad.own(e) {
		key := positionKey(e.Position())
		return e.Position(), t.row(bLog, key[:]) != nil, nil
	}
	key := eventKey(e)
	b := t.row(bOrigin, key[:])
	if b == nil {
		return at, false, nil
	}
	if len(b) != positionLen {
		return at, false, badRow(bOrigin, key[:], errRowLength)
	}
	at = positionOf(b)
	return at, at != (protocol.Position{}), nil // a zero one stands for what was deleted before it came
}
