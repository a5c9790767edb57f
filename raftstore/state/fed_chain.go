package state

import (
	"crypto/sha256"
	"errors"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// receiveHubPost takes what a hub has put into its place: somebody's post, or a deletion. One's own post is there already and learns its place. A place that does not
// follow is passed over, and what is missing is noted: the hub has it all [FED-SIG-3].
func (m *machine) receiveHubPost(s *step, in *inbound) error {
	post, err := fed.BodyOf[fed.HubPost](in.event)
	if err != nil {
		return err
	}
	g, err := m.groupAbroad(s, in.event.Group)
	if err != nil {
		return err
	}
	if err := s.goesOn(g.group.ID); err != nil {
		return err
	}
	last, err := s.chain(g.group.ID)
	if err != nil {
		return err
	}
	switch {
	case post.Seq == 0 || len(post.Inner.Event) > 0 && sha256.Sum256(post.Inner.Event) != post.Hash:
		return invalid("place %d of group %v has another event than its hash says", post.Seq, in.event.Group)
	case post.Seq <= last.seq:
		return m.knownPlace(s, in, g, &post, &last)
	case post.Seq != last.seq+1:
		return m.noteGap(s, in, g.group.ID, last.seq+1, post.Seq)
	case post.Previous != last.hash:
		return m.stopGroup(s, in, g, last.seq, post.Seq)
	}
	refused := m.receiveOrdered(s, in, g, &post)
	var why *protocol.Error
	if refused != nil && !errors.As(refused, &why) {
		return refused
	}
	// A place whose event can't be accepted stays empty: the chain goes on.
	link := fed.Link{Group: in.event.Group, Seq: post.Seq, Previous: post.Previous, Inner: post.Hash}
	last.seq, last.hash = post.Seq, link.Hash()
	if err := s.putChain(g.group.ID, last); err != nil {
		return err
	}
	if err := s.putPlace(in, g.group.ID, &post); err != nil {
		return err
	}
	if err := s.closeGap(g.group.ID, post.Seq); err != nil {
		return err
	}
	return refused
}

// putPlace notes what stands in a place, and keeps the entry as its hub signed it: for the hub, should it be restored, and as the proof of what it said.
func (s *step) putPlace(in *inbound, g protocol.GroupID, post *fed.HubPost) error {
	key := hubKey(g, post.Seq)
	if err := s.putRow(bHub, key[:], hubRow{At: in.at, Previous: post.Previous, Inner: post.Hash}); err != nil {
		return err
	}
	if in.at == (protocol.Position{}) {
		return nil // nothing of it is here: it was deleted before it came, or is not accepted
	}
	return s.keep(in)
}

// knownPlace compares a place that comes again with what was there: another event in it is a hub that tells different things to different clusters. A place that was
// missing is filled.
func (m *machine) knownPlace(s *step, in *inbound, g *roster, post *fed.HubPost, last *chainRow) error {
	key := hubKey(g.group.ID, post.Seq)
	var row hubRow
	found, err := s.readRow(bHub, key[:], &row)
	switch {
	case err != nil:
		return err
	case found && (row.Inner != post.Hash || row.Previous != post.Previous):
		return m.stopGroup(s, in, g, post.Seq, post.Seq)
	case found || !last.inHole(post.Seq):
		return nil
	}
	refused := m.receiveOrdered(s, in, g, post)
	var why *protocol.Error
	if refused != nil && !errors.As(refused, &why) {
		return refused
	}
	if err := s.putPlace(in, g.group.ID, post); err != nil {
		return err
	}
	return refused
}

// noteGap remembers which places of a group are missing until they came, and says so.
func (m *machine) noteGap(s *step, in *inbound, g protocol.GroupID, from, to uint64) error {
	row := gapRow{from, to}
	if known, ok, err := s.gap(g); err != nil {
		return err
	} else if ok {
		row.from, row.to = min(known.from, from), max(known.to, to)
	}
	in.gap = &protocol.HubGap{Cluster: in.from, Group: in.event.Group.ID, From: row.from, To: row.to}
	b := s.room(gapLen)
	row.pack(b)
	return s.put(bGap, groupBytes(g), b)
}

// receiveSkip looks at what a place that is not there was: one of a group is asked for.
func (m *machine) receiveSkip(s *step, in *inbound) error {
	skip, err := fed.BodyOf[fed.Skip](in.event)
	if err != nil || skip.Place == 0 || in.event.Group.IsZero() {
		return err
	}
	g, err := m.groupAbroad(s, in.event.Group)
	if err != nil {
		return err
	}
	last, err := s.chain(g.group.ID)
	if err != nil || skip.Place <= last.seq {
		return err
	}
	return m.noteGap(s, in, g.group.ID, last.seq+1, skip.Place)
}

func (t *txn) gap(g protocol.GroupID) (row gapRow, ok bool, err error) {
	b := t.row(bGap, groupBytes(g))
	if b == nil {
		return row, false, nil
	}
	if len(b) != gapLen {
		return row, false, badRow(bGap, groupBytes(g), errRowLength)
	}
	return unpackGap(b), true, nil
}

// closeGap forgets what was missing once the chain has passed it, or what there is of it was handed in. What was missing up to a place is asked for no more.
func (s *step) closeGap(g protocol.GroupID, upTo uint64) error {
	row, ok, err := s.gap(g)
	if err != nil || !ok {
		return err
	}
	if row.to <= upTo {
		return s.drop(bGap, groupBytes(g))
	}
	if upTo < row.from {
		return nil
	}
	row.from = upTo + 1
	b := s.room(gapLen)
	row.pack(b)
	return s.put(bGap, groupBytes(g), b)
}

// goesOn refuses what is to go into, or comes from, a group whose hub can't be trusted any more.
func (t *txn) goesOn(g protocol.GroupID) error {
	if g >= protocol.MaxLocalID && t.row(bFork, groupBytes(g)) != nil {
		return forbidden("group %d is stopped: the office that keeps it has told different things to different offices; tell your operator", g)
	}
	return nil
}

// stopGroup ends a conversation whose hub contradicts itself, with both entries as the proof: the one that is here in a place, and the one that came [FED-SIG-3]. Nothing else of
// the event has an effect.
func (m *machine) stopGroup(s *step, in *inbound, g *roster, known, seq uint64) error {
	row := forkRow{Seq: seq, Time: s.now, Second: fed.SignedEvent{Event: in.bytes}}
	if in.sig != nil {
		row.Second.Signature = *in.sig
	}
	var err error
	if row.First, err = s.proof(g.group.ID, known); err != nil {
		return err
	}
	if err := s.putRow(bFork, groupBytes(g.group.ID), row); err != nil {
		return err
	}
	s.emit(protocol.FederationAlarm{Cluster: in.from, Group: g.group.ID,
		Text: "its hub has two events in one place, both signed: the group is stopped"})
	return forbidden("group %v has two events in place %d: it is stopped here", in.event.Group, seq)
}

// proof is the entry in a place, as its hub signed it; empty if its content was deleted.
func (t *txn) proof(g protocol.GroupID, seq uint64) (e fed.SignedEvent, err error) {
	key := hubKey(g, seq)
	var place hubRow
	found, err := t.readRow(bHub, key[:], &place)
	if err != nil || !found {
		return e, err
	}
	at := positionKey(place.At)
	b := t.row(bKept, at[:])
	if b == nil {
		return e, nil
	}
	row, err := unpackKept(b)
	if err != nil {
		return e, badRow(bKept, at[:], err)
	}
	if row.cut == 0 {
		return row.whole(nil), nil
	}
	msg, err := t.message(place.At)
	if err != nil || msg.deleted != 0 {
		return e, err
	}
	return row.whole(msg.data), nil
}
