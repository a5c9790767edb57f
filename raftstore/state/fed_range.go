package state

import (
	"bytes"
	"encoding/binary"
	"slices"
	"sort"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// FedRange reads places of a group of this cluster's for a cluster that is in it: as outer events (HubPost), to be signed by whoever sends them, at most so many
// and so many bytes, but one at least. Only from when the asker was in [FED-GET-1]; Forbidden if it is not. to is inclusive, 0: the newest. Where the chain
// was taken up since, a GroupState comes first that says so.
func (q *Queries) FedRange(g protocol.GroupID, asker fed.ClusterID, from, to uint64, events, size int) (out [][]byte, more bool, err error) {
	err = q.view(func(t *txn) error {
		a, err := openAbroad(t)
		if err != nil {
			return err
		}
		if p := a.peers[asker]; p == nil || !p.Linked() || !p.Out.Has(fed.AllowGroups) {
			return forbidden("the rules of the link to that office don't allow it")
		}
		key := sinceKey(g, asker)
		b := t.row(bSince, key[:])
		if b == nil {
			return forbidden("nobody of that office is in group %d", g)
		}
		if len(b) != 8 {
			return badRow(bSince, key[:], errRowLength)
		}
		since := number(b)
		chain, err := t.chain(g)
		if err != nil {
			return err
		}
		if upTo := max(since, chain.to); from <= upTo {
			event, err := t.stateAt(&a, g, upTo, &chain)
			if err != nil {
				return err
			}
			out, size = append(out, event), size-len(event)
		}
		from = max(from, since+1)
		prefix, first := idKey(g), hubKey(g, from)
		return t.scan(bHub, prefix[:], first[:], func(key, b []byte) (bool, error) {
			seq := number(key[4:])
			if to != 0 && seq > to {
				return true, nil
			}
			event, err := t.hubEvent(&a, g, seq, b)
			if err != nil {
				return true, badRow(bHub, key, err)
			}
			if size -= len(event); len(out) > 0 && (size < 0 || events <= 0) {
				more = true
				return true, nil
			}
			out = append(out, event)
			events--
			return false, nil
		})
	})
	return out, more, err
}

// stateAt says who is in a group, and that its chain is to be taken up at a place.
func (t *txn) stateAt(a *abroad, g protocol.GroupID, seq uint64, chain *chainRow) ([]byte, error) {
	m := &machine{abroad: *a}
	group, err := t.group(g)
	if err != nil {
		return nil, err
	}
	members, err := t.memberRows(g)
	if err != nil {
		return nil, err
	}
	state, err := m.groupState(t, &group, members)
	if err != nil {
		return nil, err
	}
	state.Seq, state.Previous = seq, chain.hash
	if next := hubKey(g, seq+1); seq < chain.seq {
		var row hubRow
		found, err := t.readRow(bHub, next[:], &row)
		if err != nil || !found {
			return nil, badRow(bHub, next[:], errChain)
		}
		state.Previous = row.Previous
	}
	e := fed.Event{ID: m.eventID(protocol.Position{}), Time: group.Updated, Group: fed.GroupRef{Cluster: a.self, ID: g}}
	return e.Encode(fed.TypeGroupState, state), nil
}

// hubEvent is the outer event of a place in the chain of a group of this cluster's.
func (t *txn) hubEvent(a *abroad, g protocol.GroupID, seq uint64, b []byte) ([]byte, error) {
	var row hubRow
	if err := decodeRow(b, &row); err != nil {
		return nil, err
	}
	e := fed.Event{ID: (&machine{abroad: *a}).eventID(row.At), Group: fed.GroupRef{Cluster: a.self, ID: g}}
	if row.At != (protocol.Position{}) {
		msg, err := t.message(row.At)
		if err != nil {
			return nil, err
		}
		e.Time = msg.time
	}
	return e.Encode(fed.TypeHubPost, fed.HubPost{Seq: seq, Previous: row.Previous, Inner: row.Event, Hash: row.Inner}), nil
}

// historyScan is how many rows FedSince looks at, at most.
const historyScan = 4096

// FedSince reads what went between this cluster and a peer since a time, after a position: one to one, by both sides, what the peer ordered in its groups, and the files that wait
// on either side for somebody of the other one. For a peer that was restored: its own former events are among it, as it signed them [FED-EP-1].
func (q *Queries) FedSince(peer fed.ClusterID, since protocol.Time, after protocol.Position, events, size int) (page fed.History, err error) {
	err = q.view(func(t *txn) error {
		a, err := openAbroad(t)
		if err != nil {
			return err
		}
		if p := a.peers[peer]; p == nil || !p.Linked() {
			return forbidden("there is no link to that office")
		}
		h := historian{txn: t, m: &machine{abroad: a}, peer: peer, may: a.peers[peer].Out, told: map[protocol.UserID]bool{}}
		page, err = h.page(since, after, events, size)
		return err
	})
	return page, err
}

// historian reads back what went to and fro.
type historian struct {
	*txn
	m    *machine
	peer fed.ClusterID
	may  fed.Allow                // what it may be told
	told map[protocol.UserID]bool // who was said to be whom in this page
}

func (h *historian) page(since protocol.Time, after protocol.Position, events, size int) (page fed.History, err error) {
	page.After = after
	from, err := h.positionAt(since)
	if err != nil {
		return page, err
	}
	if from.Before(after) {
		from = after
	}
	offers, err := h.offersFrom(from)
	if err != nil {
		return page, err
	}
	fates, kept := h.bucket(bFate).Cursor(), h.bucket(bKept).Cursor()
	key := positionKey(from)
	f, _ := fates.Seek(key[:])
	k, row := kept.Seek(key[:])
	for looked := 0; f != nil || k != nil || len(offers) > 0; looked++ {
		next := f
		if f == nil || k != nil && bytes.Compare(k, f) < 0 {
			next = k
		}
		if len(offers) > 0 && (next == nil || bytes.Compare(offers[0][4:], next) < 0) {
			next = offers[0][4:]
		}
		if len(next) != positionLen {
			return page, badRow(bFate, next, errRowLength)
		}
		at := positionOf(next)
		var e, who fed.SignedEvent
		switch {
		case at == after && after != (protocol.Position{}):
		case bytes.Equal(k, next):
			e, err = h.keptEvent(at, row)
		case bytes.Equal(f, next):
			e, who, err = h.ownEvent(at)
		default:
			e, who, err = h.ownOffer(offers[0])
		}
		if err != nil {
			return page, err
		}
		if size -= len(e.Event); looked >= historyScan || len(page.Events) > 0 && len(e.Event) > 0 && (size < 0 || len(page.Events) >= events) {
			page.More = true
			return page, nil
		}
		if len(who.Event) > 0 {
			page.Events = append(page.Events, who)
		}
		if len(e.Event) > 0 {
			page.Events = append(page.Events, e)
		}
		page.After = at
		if len(offers) > 0 && bytes.Equal(offers[0][4:], next) {
			offers = offers[1:]
		}
		if bytes.Equal(f, next) {
			f, _ = fates.Next()
		}
		if bytes.Equal(k, next) {
			k, row = kept.Next()
		}
	}
	return page, nil
}

// positionAt is the place of the first message that was stored at or after a time, or a place before it.
func (h *historian) positionAt(since protocol.Time) (at protocol.Position, err error) {
	c := h.bucket(bLog).Cursor()
	last, _ := c.Last()
	if last == nil || since <= 0 {
		return at, nil
	}
	index := sort.Search(int(positionOf(last).Index), func(i int) bool {
		key := positionKey(protocol.Position{Index: uint64(i)})
		k, b := c.Seek(key[:])
		if k == nil || err != nil {
			return true
		}
		row, bad := unpackMessage(b)
		if bad != nil {
			err = badRow(bLog, k, bad)
		}
		return row.time >= since
	})
	return protocol.Position{Index: uint64(index)}, err
}

// keptEvent is an event as it was signed, if it is for the peer: its own, or a deletion that went there. Of what was deleted meanwhile nothing is left.
func (h *historian) keptEvent(at protocol.Position, b []byte) (e fed.SignedEvent, err error) {
	row, err := unpackKept(b)
	if err != nil {
		key := positionKey(at)
		return e, badRow(bKept, key[:], err)
	}
	if row.peer != h.peer {
		return e, nil
	}
	var data []byte
	if row.cut != 0 {
		msg, err := h.message(at)
		if err != nil || msg.deleted != 0 {
			return e, err
		}
		data = msg.data
	}
	return row.whole(data), nil
}

// ownEvent makes anew what this cluster's user said to one of the peer's: the message is what it was made of. Who he is comes before his first one.
func (h *historian) ownEvent(at protocol.Position) (e, who fed.SignedEvent, err error) {
	fate, _, err := h.fate(at)
	if err != nil || !fate.origin.IsZero() && fate.origin.Cluster != h.m.abroad.self {
		return e, who, err
	}
	row, err := h.message(at)
	if err != nil || row.deleted != 0 || row.conv.Type != protocol.SessionSingle || !h.may.Has(fed.AllowDirect) {
		return e, who, err
	}
	r := route{}
	if r.to, err = h.m.userRef(h.txn, row.conv.Seen(row.from).Peer()); err != nil || r.to.Cluster != h.peer {
		return e, who, err
	}
	event, body, err := h.m.messageEvent(h.txn, at, &row, &r)
	if err != nil {
		return e, who, err
	}
	if who, err = h.whoIs(row.from, &event); err != nil {
		return e, who, err
	}
	if !fate.origin.IsZero() {
		event.ID = fate.origin
	}
	e.Event = event.Encode(fed.TypeMessage, body)
	return e, who, nil
}

// whoIs says who the author of an event is, once in a page.
func (h *historian) whoIs(u protocol.UserID, e *fed.Event) (who fed.SignedEvent, err error) {
	if h.told[u] {
		return who, nil
	}
	h.told[u] = true
	user, err := h.user(u)
	if err != nil {
		return who, err
	}
	p, err := h.profileOf(&user.User)
	profile := fed.Event{ID: e.ID, Time: e.Time, Author: e.Author}
	who.Event = profile.Encode(fed.TypeProfile, p)
	return who, err
}

// offersFrom are the keys of the files that wait here for the peer's people since a place, in the order in which they were offered.
func (h *historian) offersFrom(from protocol.Position) (keys [][]byte, err error) {
	first, begin := idKey(protocol.UserID(protocol.MaxLocalID)), positionKey(from)
	theirs := map[uint32]bool{}
	if !h.may.Has(fed.AllowFiles) {
		return nil, nil
	}
	err = h.scan(bFile, nil, first[:], func(key, _ []byte) (bool, error) {
		if len(key) != 4+positionLen {
			return true, badRow(bFile, key, errRowLength)
		}
		if bytes.Compare(key[4:], begin[:]) < 0 {
			return false, nil
		}
		to := binary.BigEndian.Uint32(key)
		is, known := theirs[to]
		if !known {
			c, _, ok, err := h.ref(aliasUser, to)
			if err != nil {
				return true, err
			}
			is = ok && c == h.peer
			theirs[to] = is
		}
		if is {
			keys = append(keys, bytes.Clone(key))
		}
		return false, nil
	})
	slices.SortFunc(keys, func(a, b []byte) int { return bytes.Compare(a[4:], b[4:]) })
	return keys, err
}

// ownOffer offers a file anew that waits here for one of the peer's people.
func (h *historian) ownOffer(key []byte) (e, who fed.SignedEvent, err error) {
	f, err := fileOf(key, h.row(bFile, key))
	if err != nil {
		return e, who, err
	}
	row, found, err := h.blob(f.Blob)
	if err != nil || !found {
		return e, who, err
	}
	event, offer, err := h.m.offerEvent(h.txn, positionOf(key[4:]), f.Added, &f, &row.Blob)
	if err != nil {
		return e, who, err
	}
	who, err = h.whoIs(f.From, &event)
	e.Event = event.Encode(fed.TypeFileOffer, offer)
	return e, who, err
}

// FedGaps are what is missing here of the groups of a hub.
func (q *Queries) FedGaps(hub fed.ClusterID) (gaps []fed.Gap, err error) {
	err = q.view(func(t *txn) error {
		return t.scan(bGap, nil, nil, func(key, b []byte) (bool, error) {
			alias, err := idOf[protocol.GroupID](key)
			if err != nil || len(b) != gapLen {
				return true, badRow(bGap, key, errRowLength)
			}
			c, id, ok, err := t.ref(aliasGroup, uint32(alias))
			if err != nil || !ok || c != hub {
				return err != nil, err
			}
			row := unpackGap(b)
			gaps = append(gaps, fed.Gap{Group: fed.GroupRef{Cluster: c, ID: protocol.GroupID(id)}, Alias: alias, From: row.from, To: row.to})
			return false, nil
		})
	})
	return gaps, err
}

// FedChains are the groups of a hub as they are known here: From is the first place that is not here yet, To 0. A cluster that was restored asks for them.
func (q *Queries) FedChains(hub fed.ClusterID) (chains []fed.Gap, err error) {
	err = q.view(func(t *txn) error {
		first := refKey(hub, aliasGroup, 0)
		return t.scan(bRef, first[:clusterLen+1], first[:], func(key, b []byte) (bool, error) {
			if len(key) != len(first) || len(b) != 4 {
				return true, badRow(bRef, key, errRowLength)
			}
			alias, err := idOf[protocol.GroupID](b)
			if err != nil {
				return true, err
			}
			g, err := t.group(alias)
			if err != nil || g.Closed {
				return err != nil, err
			}
			chain, err := t.chain(alias)
			id, _ := idOf[protocol.GroupID](key[clusterLen+1:])
			chains = append(chains, fed.Gap{Group: fed.GroupRef{Cluster: hub, ID: id}, Alias: alias, From: chain.seq + 1})
			return err != nil, err
		})
	})
	return chains, err
}

// Forks are the groups that are stopped because their hubs told different things, with the proof.
func (q *Queries) Forks() (forks []fed.Fork, err error) {
	err = q.view(func(t *txn) error {
		return t.scan(bFork, nil, nil, func(key, b []byte) (bool, error) {
			alias, err := idOf[protocol.GroupID](key)
			if err != nil {
				return true, badRow(bFork, key, err)
			}
			var row forkRow
			if err := decodeRow(b, &row); err != nil {
				return true, badRow(bFork, key, err)
			}
			c, id, _, err := t.ref(aliasGroup, uint32(alias))
			forks = append(forks, fed.Fork{Group: fed.GroupRef{Cluster: c, ID: protocol.GroupID(id)}, Alias: alias, Seq: row.Seq, Time: row.Time, First: row.First, Second: row.Second})
			return err != nil, err
		})
	})
	return forks, err
}

// keep stores an event that came from a peer, as it was signed; of a message's content only where it was: the message has it.
func (s *step) keep(in *inbound) error {
	row := keptRow{peer: in.from, event: in.bytes}
	if in.sig != nil {
		row.sig = *in.sig
	}
	if i := bytes.Index(in.bytes, in.data); len(in.data) > 0 && i >= 0 {
		row.cut = uint32(i) + 1
		row.event = slices.Concat(in.bytes[:i], in.bytes[i+len(in.data):])
	}
	b := s.room(row.size())
	row.pack(b)
	key := positionKey(in.at)
	return s.put(bKept, key[:], b)
}

// forgetKept drops it: its message was deleted.
func (s *step) forgetKept(at protocol.Position) error {
	key := positionKey(at)
	return s.drop(bKept, key[:])
}
