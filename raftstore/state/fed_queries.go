package state

import (
	"bytes"
	"slices"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// FedIdentity is what this cluster is to others, with its secrets; nil as long as it is nothing.
func (q *Queries) FedIdentity() (id *fed.Identity, err error) {
	err = q.view(func(t *txn) error {
		id, err = t.identity()
		return err
	})
	return id, err
}

// FedPeers are the clusters that this one knows, in order of their ids.
func (q *Queries) FedPeers() (peers []fed.PeerStatus, err error) {
	err = q.view(func(t *txn) error {
		a, err := openAbroad(t)
		if err != nil {
			return err
		}
		for id, p := range a.peers {
			peers = append(peers, fed.PeerStatus{Cluster: id, Peer: *p})
		}
		slices.SortFunc(peers, func(a, b fed.PeerStatus) int { return bytes.Compare(a.Cluster[:], b.Cluster[:]) })
		for i := range peers {
			if peers[i].Lanes, err = t.lanesOf(&a, peers[i].Cluster); err != nil {
				return err
			}
		}
		return nil
	})
	return peers, err
}

func (t *txn) lanesOf(a *abroad, peer fed.ClusterID) (lanes []fed.LaneStatus, err error) {
	for lane := fed.LaneControl; lane <= fed.LaneLast; lane++ {
		k := laneKey{peer, lane}
		l, ok := a.lanes[k]
		if !ok {
			continue
		}
		f := fed.LaneStatus{Lane: lane, Sent: l.sent, Acked: l.acked, Waiting: l.waiting, EpochIn: l.epochIn, In: l.in, Swept: l.swept}
		if l.acked < l.sent {
			row, err := t.out(k, l.acked+1)
			if err != nil {
				return nil, err
			}
			f.Oldest = row.time
		}
		lanes = append(lanes, f)
	}
	return lanes, nil
}

// FedOut reads events that go to a peer, from a sequence on: at most so many and so many bytes, but one at least. epoch is the outbox's.
func (q *Queries) FedOut(peer fed.ClusterID, lane fed.Lane, from uint64, events, size int) (out [][]byte, epoch uint64, err error) {
	err = q.view(func(t *txn) error {
		id, err := t.identity()
		if err != nil || id == nil {
			return err
		}
		epoch = id.Epoch
		prefix := laneKey{peer, lane}.bytes()
		first := outKey(laneKey{peer, lane}, from)
		return t.scan(bOut, prefix[:], first[:], func(key, b []byte) (bool, error) {
			row, err := unpackOut(b)
			if err != nil {
				return true, badRow(bOut, key, err)
			}
			if number(key[clusterLen+1:]) != from+uint64(len(out)) {
				return true, badRow(bOut, key, errChain)
			}
			if size -= len(row.event); len(out) > 0 && size < 0 {
				return true, nil
			}
			out = append(out, bytes.Clone(row.event))
			return len(out) == events, nil
		})
	})
	return out, epoch, err
}

// UserAbroad is whom an alias stands for; NotFound for what is none.
func (q *Queries) UserAbroad(u protocol.UserID) (fed.UserRef, error) {
	c, id, err := q.abroad(aliasUser, uint32(u))
	return fed.UserRef{Cluster: c, ID: protocol.UserID(id)}, err
}

// GroupAbroad is what group an alias stands for; NotFound for what is none.
func (q *Queries) GroupAbroad(g protocol.GroupID) (fed.GroupRef, error) {
	c, id, err := q.abroad(aliasGroup, uint32(g))
	return fed.GroupRef{Cluster: c, ID: protocol.GroupID(id)}, err
}

func (q *Queries) abroad(kind aliasKind, alias uint32) (c fed.ClusterID, id uint32, err error) {
	err = q.view(func(t *txn) error {
		var ok bool
		c, id, ok, err = t.ref(kind, alias)
		if err == nil && !ok {
			err = notFound("%d is nobody abroad", alias)
		}
		return err
	})
	return c, id, err
}

// AliasOf is what a user of another cluster is called here; 0: nobody has met him.
func (q *Queries) AliasOf(r fed.UserRef) (u protocol.UserID, err error) {
	err = q.view(func(t *txn) error {
		id, err := t.alias(r.Cluster, aliasUser, uint32(r.ID))
		u = protocol.UserID(id)
		return err
	})
	return u, err
}

// FateOf reads what is known of a message at a position; false: it is of this cluster only.
func (q *Queries) FateOf(at protocol.Position) (f fed.Fate, ok bool, err error) {
	err = q.view(func(t *txn) error {
		var row fateRow
		row, ok, err = t.fate(at)
		f = fed.Fate{State: row.state, HubSeq: row.hubSeq, Event: row.origin}
		return err
	})
	return f, ok, err
}

// DeadLetters lists the newest ones of a peer, the newest first.
func (q *Queries) DeadLetters(peer fed.ClusterID, limit int) (letters []fed.DeadLetter, err error) {
	err = q.view(func(t *txn) error {
		c := t.bucket(bDead).Cursor()
		after := slices.Concat(peer[:], bytes.Repeat([]byte{0xff}, positionLen+2))
		c.Seek(after)
		for k, b := c.Prev(); k != nil && hasPrefix(k, peer[:]) && len(letters) < limit; k, b = c.Prev() {
			var row deadRow
			if err := decodeRow(b, &row); err != nil {
				return badRow(bDead, k, err)
			}
			letters = append(letters, fed.DeadLetter{Peer: peer, Inbound: row.Inbound, Type: row.Type, ID: row.ID, Lane: row.Lane, Sequence: row.Sequence,
				Epoch: row.Epoch, Code: row.Code, Text: row.Text, Time: row.Time})
		}
		return nil
	})
	return letters, err
}

// FedLanes are how far the lanes of one peer are.
func (q *Queries) FedLanes(peer fed.ClusterID) (lanes []fed.LaneStatus, err error) {
	err = q.view(func(t *txn) error {
		a, err := openAbroad(t)
		if err != nil {
			return err
		}
		lanes, err = t.lanesOf(&a, peer)
		return err
	})
	return lanes, err
}
