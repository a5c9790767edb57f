package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// inbound is an event from a peer that is being executed.
type inbound struct {
	from    fed.ClusterID // whose event it is
	sender  fed.ClusterID // which peer it came from
	peer    *fed.Peer     // what is kept of the sender
	event   *fed.Event
	bytes   []byte
	sig     *fed.Signature
	ordered bool             // by its hub, which passes it on: the author need not be of the peer
	history bool             // an answer of the peer's: it may have happened long ago, and be this cluster's own
	gap     *protocol.HubGap // what was found to be missing
	// Of what was executed:
	at   protocol.Position // of the message, or of the deletion; zero: it had no effect
	data []byte            // content of the message
	// state of what this cluster's user said before it was restored.
	state fed.MessageState
}

// receiveEvent has an event's effect and moves the lane's cursor, in one transaction [FED-IN-1]. What can't be accepted is told and passed over [FED-IN-2].
func (m *machine) receiveEvent(s *step, c *protocol.ReceiveEvent) (any, error) {
	k := laneKey{c.Cluster, fed.Lane(c.Lane)}
	p := m.abroad.peers[k.peer]
	if m.abroad.epoch == 0 || m.abroad.lost || p == nil || p.State != fed.PeerConfirmed {
		return nil, forbidden("there is no link to cluster %v", k.peer)
	}
	if !k.lane.Durable() {
		return nil, invalid("nothing of lane %d is kept", c.Lane)
	}
	l := m.abroad.lanes[k]
	if c.Epoch != l.epochIn {
		if c.Epoch < l.epochIn {
			return nil, invalid("epoch %d is over, it is %d now", c.Epoch, l.epochIn)
		}
		if known := m.abroad.peerEpoch(k.peer); known != 0 && c.Epoch > known {
			if err := m.peerBegins(s, k.peer); err != nil {
				return nil, err
			}
		}
		l.epochIn, l.in = c.Epoch, 0
	}
	if c.Sequence <= l.in {
		return protocol.ReceiveResult{Sequence: l.in, Repeated: true}, nil
	}
	if c.Sequence != l.in+1 {
		return nil, invalid("event %d of lane %d comes after %d", c.Sequence, c.Lane, l.in)
	}
	refused := c.Bad
	in := inbound{from: k.peer, sender: k.peer, peer: p, bytes: c.Event}
	if refused == nil {
		err := m.accept(s, &in, c)
		var why *protocol.Error
		switch {
		case errors.As(err, &why):
			refused = &protocol.Refusal{Sequence: c.Sequence, Code: why.Code, Text: why.Message}
		case err != nil:
			return nil, err
		}
	}
	l.in = c.Sequence
	if err := m.putLane(s, k, m.moved(k, l)); err != nil {
		return nil, err
	}
	if refused == nil {
		return protocol.ReceiveResult{Sequence: l.in, Gap: in.gap}, nil
	}
	return protocol.ReceiveResult{Sequence: l.in, Refused: refused}, s.bury(&in, k, c, refused)
}

// moved is a lane with its inbound side replaced: what the event put out has changed the other one.
func (m *machine) moved(k laneKey, in laneRow) laneRow {
	l := m.abroad.lanes[k]
	l.epochIn, l.in = in.epochIn, in.in
	return l
}

// bury keeps that an event was refused; nothing of its content.
func (s *step) bury(in *inbound, k laneKey, c *protocol.ReceiveEvent, why *protocol.Refusal) error {
	row := deadRow{Inbound: true, Lane: k.lane, Sequence: c.Sequence, Epoch: c.Epoch, Code: why.Code, Text: why.Text, Time: s.now}
	if in.event != nil {
		row.Type, row.ID = in.event.Type, in.event.ID
	}
	return s.putDead(k.peer, row)
}

// maxDead is how many dead letters of a peer are kept: the newest.
const maxDead = 10_000

func (s *step) putDead(peer fed.ClusterID, row deadRow) error {
	at := positionKey(s.at)
	count := append(slices.Clone(peer[:]), 'd')
	n := uint64(0)
	if b := s.row(bRate, count); len(b) == 8 {
		n = number(b)
	}
	if n++; n > maxDead {
		n = maxDead
		if oldest, _ := s.bucket(bDead).Cursor().Seek(peer[:]); hasPrefix(oldest, peer[:]) {
			if err := s.drop(bDead, bytes.Clone(oldest)); err != nil {
				return err
			}
		}
	}
	if err := s.putNumber(bRate, count, n); err != nil {
		return err
	}
	key := slices.Concat(peer[:], at[:], []byte{byte(row.Lane)}, binary.BigEndian.AppendUint64(nil, row.Sequence)) // one command may refuse several
	return s.putRow(bDead, key, row)
}

// accept checks who may say what, in one place [FED-AUTH-1], and executes it.
func (m *machine) accept(s *step, in *inbound, c *protocol.ReceiveEvent) error {
	e, err := fed.DecodeEvent(c.Event)
	if err != nil {
		return err
	}
	in.event = &e
	if len(c.Sig) == len(fed.Signature{}.Sig) {
		in.sig = &fed.Signature{Key: c.Key, Sig: [64]byte(c.Sig)}
	}
	if e.ID.Cluster != in.from {
		return forbidden("an event of cluster %v came from %v", e.ID.Cluster, in.from)
	}
	if err := m.mayEmit(in); err != nil {
		return err
	}
	if m.looped(&e) {
		return nil
	}
	return m.takeIn(s, in)
}

// looped reports whether an event has been here before, through bridges: it ends quietly [FED-AUTH-2].
func (m *machine) looped(e *fed.Event) bool { return slices.Contains(e.Via, m.abroad.self.String()) }

// takeIn executes an event that its sender may emit.
func (m *machine) takeIn(s *step, in *inbound) error {
	e := in.event
	switch e.Type {
	case fed.TypeMessage:
		return m.receiveMessage(s, in)
	case fed.TypePost:
		return m.receivePost(s, in)
	case fed.TypeDelete:
		return m.receiveDelete(s, in)
	case fed.TypeMark:
		return m.receiveMark(s, in)
	case fed.TypeHubPost:
		return m.receiveHubPost(s, in)
	case fed.TypeHubReject:
		return m.receiveHubReject(s, in)
	case fed.TypeGroupState:
		return m.receiveGroupState(s, in)
	case fed.TypeLeave:
		return m.receiveLeave(s, in)
	case fed.TypeProfile:
		return m.receiveProfile(s, in)
	case fed.TypeSkip:
		return m.receiveSkip(s, in)
	case fed.TypeFileOffer:
		if m.media() {
			return m.receiveFileOffer(s, in)
		}
	}
	if e.Must {
		return invalid("events of type %d are not known to this version", e.Type)
	}
	return nil
}

// say is who may emit a type of event: the table of docs/FEDERATION.md [FED-AUTH-1].
type say struct {
	author bool      // its author has to be a user of the sender's
	to     bool      // it goes to a user of this cluster's
	ours   bool      // or to a group of this cluster's
	theirs bool      // or is about a group of the sender's
	none   bool      // or about nothing
	allow  fed.Allow // what the rules of the link have to allow
}

func sayOf(t fed.Type) (say, bool) {
	s, known := map[fed.Type]say{
		fed.TypeMessage:    {author: true, to: true, allow: fed.AllowDirect},
		fed.TypeDelete:     {author: true, to: true, ours: true},
		fed.TypeMark:       {author: true, to: true, allow: fed.AllowDirect},
		fed.TypePost:       {author: true, ours: true, allow: fed.AllowGroups},
		fed.TypeHubPost:    {theirs: true, allow: fed.AllowGroups},
		fed.TypeHubReject:  {theirs: true, allow: fed.AllowGroups},
		fed.TypeGroupState: {theirs: true, allow: fed.AllowGroups},
		fed.TypeLeave:      {author: true, ours: true, allow: fed.AllowGroups},
		fed.TypeProfile:    {author: true},
		fed.TypeFileOffer:  {author: true, to: true, ours: true, allow: fed.AllowFiles},
		fed.TypeSkip:       {theirs: true, none: true},
	}[t]
	return s, known
}

// mayEmit checks an event against the table. That a conversation is shared is checked where it is looked up.
func (m *machine) mayEmit(in *inbound) error {
	e := in.event
	s, known := sayOf(e.Type)
	if !known {
		return nil // accept refuses it, or passes over it
	}
	if !in.peer.In.Has(s.allow) {
		return forbidden("the rules of the link don't allow %v", e.Type)
	}
	if s.author && e.Author.Cluster != in.from {
		return forbidden("cluster %v speaks for a user of %v", in.from, e.Author.Cluster)
	}
	switch {
	case !e.To.IsZero():
		if !s.to || e.To.Cluster != m.abroad.self {
			return forbidden("%v does not go to user %v", e.Type, e.To)
		}
	case !e.Group.IsZero():
		if e.Group.ID == 0 || e.Group.ID >= protocol.MaxLocalID {
			return invalid("no group is called %v: aliases are for nobody else", e.Group)
		}
		if !(s.ours && e.Group.Cluster == m.abroad.self) && !(s.theirs && e.Group.Cluster == in.from) {
			return forbidden("%v of group %v does not come from %v", e.Type, e.Group, in.from)
		}
	case (s.to || s.ours || s.theirs) && !s.none:
		return invalid("%v says no conversation", e.Type)
	}
	return nil
}

// receiveMessage stores what somebody abroad said to one user.
func (m *machine) receiveMessage(s *step, in *inbound) error {
	to := in.event.To.ID
	if err := m.localEmployed(s.txn, to); err != nil {
		return err
	}
	body, err := m.messageIn(in)
	if err != nil || !in.fresh(m, s) {
		return err
	}
	author, err := m.person(s, in, in.event.Author)
	if err != nil {
		return err
	}
	if err := m.storeForeign(s, in, body, author, protocol.WithUser(to), nil, 0); err != nil {
		return err
	}
	return s.keep(in)
}

// localEmployed refuses who is no user of this cluster, or has left.
func (m *machine) localEmployed(t *txn, u protocol.UserID) error {
	if u >= protocol.MaxLocalID {
		return notFound("no user %d", u)
	}
	return m.employed(t, u)
}

// messageIn reads a message's body and checks what it says.
func (m *machine) messageIn(in *inbound) (*fed.Message, error) {
	body, err := fed.BodyOf[fed.Message](in.event)
	if err != nil {
		return nil, err
	}
	want := protocol.SessionSingle
	if in.event.To.IsZero() {
		want = protocol.SessionGroup
	}
	to := protocol.Session{Type: want, ID: 1}
	check := protocol.SendMessage{From: protocol.MaxLocalID, To: to, Type: body.Type, Data: body.Data,
		Extras: protocol.Extras{ContentType: body.ContentType, BurnAfter: body.BurnAfter}}
	if m.media() {
		check.Blobs = body.Blobs
	}
	return &body, checkMessage(&check)
}

// fresh reports whether the message is not here yet: an epoch that begins anew may bring what is known [FED-EP-1].
func (in *inbound) fresh(m *machine, s *step) bool {
	key := eventKey(in.event.ID)
	return s.row(bOrigin, key[:]) == nil && !m.abroad.own(in.event.ID)
}

// storeForeign stores a message from abroad under a msg_id of this cluster's, and remembers what it is called everywhere.
func (m *machine) storeForeign(s *step, in *inbound, body *fed.Message, author protocol.UserID, to protocol.Session, members []protocol.UserID, hubSeq uint64) error {
	conv := to.Conversation(author)
	h, err := m.head(s.txn, conv)
	if err != nil {
		return err
	}
	row := messageRow{typ: body.Type, conv: conv, id: h.last + 1, from: author, time: s.now, prev: h.at,
		extras: protocol.Extras{ContentType: body.ContentType, BurnAfter: body.BurnAfter}, data: body.Data}
	if row.extras.ReplyTo, err = m.replyTo(s, conv, body.ReplyTo); err != nil {
		return err
	}
	if err := m.store(s, &row, h); err != nil {
		return err
	}
	if err := m.noteUnburned(s, &row); err != nil {
		return err
	}
	if err := m.takeRefs(s, in, conv, body.Blobs); err != nil {
		return err
	}
	key, place := eventKey(in.event.ID), s.room(positionLen)
	putPosition(place, s.at)
	if err := s.put(bOrigin, key[:], place); err != nil {
		return err
	}
	in.at, in.data = s.at, body.Data
	msg := row.message(s.at)
	msg.HubSeq, msg.Fate = hubSeq, uint8(in.state)
	s.emit(protocol.MessageSent{Message: msg, Members: members})
	return s.putFate(s.at, &fateRow{origin: in.event.ID, hubSeq: hubSeq, state: in.state})
}

// replyTo is the msg_id here of a message that is replied to; 0 if it is not here.
func (m *machine) replyTo(s *step, conv protocol.Conversation, e fed.EventID) (protocol.MsgID, error) {
	if e.IsZero() {
		return 0, nil
	}
	at, ok, err := m.placeOf(s.txn, e)
	if err != nil || !ok {
		return 0, err
	}
	row, err := s.message(at)
	if err != nil || row.conv != conv {
		return 0, err
	}
	return row.id, nil
}

// receivePost orders what somebody abroad said to a group of this cluster's.
func (m *machine) receivePost(s *step, in *inbound) error {
	body, err := m.messageIn(in)
	if err != nil {
		return err
	}
	g, author, err := m.memberAbroad(s, in)
	if err != nil {
		if !in.fresh(m, s) {
			return nil
		}
		return m.rejectPost(s, in, err)
	}
	if !in.fresh(m, s) {
		return m.tellPlace(s, in)
	}
	conv := protocol.InGroup(g.group.ID).Conversation(0)
	r, err := m.routeOf(s.txn, conv, author, g, len(in.bytes)+wrapping)
	if err != nil {
		return m.rejectPost(s, in, err)
	}
	if err := m.storeForeign(s, in, body, author, protocol.InGroup(g.group.ID), g.members, 0); err != nil {
		return err
	}
	return m.order(s, s.at, &r, bytes.Clone(in.bytes), in.sig, fateRow{origin: in.event.ID})
}

// memberAbroad finds the group of this cluster that an event is about, and its author in it.
func (m *machine) memberAbroad(s *step, in *inbound) (*roster, protocol.UserID, error) {
	g, err := m.liveGroup(s.txn, in.event.Group.ID)
	if err != nil {
		return nil, 0, err
	}
	author, err := m.localUser(s.txn, in.event.Author)
	if err != nil {
		return nil, 0, err
	}
	if author == 0 || !g.has(author) {
		return nil, 0, forbidden("user %v is no member of group %v", in.event.Author, in.event.Group)
	}
	return g, author, nil
}

// rejectPost tells the author's cluster that a post will not be ordered; the lane goes on [FED-IN-2].
func (m *machine) rejectPost(s *step, in *inbound, why error) error {
	var refusal *protocol.Error
	if !errors.As(why, &refusal) {
		return why
	}
	e := fed.Event{ID: m.eventID(s.at), Time: s.now, Group: in.event.Group}
	b := e.Encode(fed.TypeHubReject, fed.HubReject{Target: in.event.ID, Code: refusal.Code, Text: refusal.Message})
	lane := fed.LaneOf(protocol.InGroup(in.event.Group.ID).Conversation(0))
	_, err := m.putOut(s, laneKey{in.from, lane}, fed.TypeHubReject, protocol.Position{}, b)
	return err
}
