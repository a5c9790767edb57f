package state

import (
	"cmp"
	"slices"

	"pgregory.net/rapid"

	"teamtalk/protocol"
)

type oracleMessage struct {
	conv protocol.Conversation
	id   protocol.MsgID
}

// countdown starts with what the peer sent between two read positions.
func (o *oracle) countdown(now protocol.Time, u protocol.UserID, s protocol.Session, from, to protocol.MsgID) {
	if !o.burns {
		return
	}
	conv := s.Conversation(u)
	for _, m := range o.convs[conv] {
		if m.ID > from && m.ID <= to && m.From != u && m.Extras.BurnAfter > 0 && m.Deleted == 0 {
			o.due[oracleMessage{conv, m.ID}] = now + protocol.Time(m.Extras.BurnAfter)*1000
		}
	}
}

func (o *oracle) deleteMessage(at protocol.Position, now protocol.Time, c *protocol.DeleteMessage) protocol.Code {
	if !c.Deletion.Valid() || c.Deletion == protocol.Burned && c.Session.Type == protocol.SessionGroup {
		return protocol.CodeInvalid
	}
	msgs, code := o.visible(c.Actor, c.Session)
	i := slices.IndexFunc(msgs, func(m protocol.Message) bool { return m.ID == c.ID })
	if !o.present(c.Actor) || code != 0 || i < 0 {
		return protocol.CodeNotFound
	}
	m := msgs[i]
	g := o.groups[c.Session.Group()]
	switch {
	case m.Deleted != 0:
		return 0
	case c.Deletion == protocol.Burned && m.Extras.BurnAfter == 0:
		return protocol.CodeInvalid
	case c.Deletion == protocol.Recalled:
		own := m.From == c.Actor && now-m.Time <= protocol.Time(c.Within)
		if !own && (c.Session.Type != protocol.SessionGroup || g.Creator != c.Actor) {
			return protocol.CodeForbidden
		}
	}
	o.erase(at, m, c.Deletion, c.Actor)
	return 0
}

func (o *oracle) erase(at protocol.Position, m protocol.Message, kind protocol.Deletion, by protocol.UserID) {
	m.Deleted, m.Data, m.Extras = kind, nil, protocol.Extras{BurnAfter: m.Extras.BurnAfter}
	o.convs[m.Conversation][m.ID-1] = m
	audience := users(protocol.UserID(m.Conversation.A), protocol.UserID(m.Conversation.B))
	if m.Conversation.Type == protocol.SessionGroup {
		audience = o.groups[protocol.GroupID(m.Conversation.A)].ids()
	}
	o.emit(at, audience, protocol.MessageDeleted{Conversation: m.Conversation, ID: m.ID, Kind: kind, By: by})
}

func (o *oracle) burnDue(at protocol.Position, now protocol.Time, c *protocol.BurnDue) (any, protocol.Code) {
	if c.Limit == 0 {
		return nil, protocol.CodeInvalid
	}
	if !o.burns {
		o.burns = true
		for conv := range o.convs {
			if conv.Type == protocol.SessionSingle {
				a, b := protocol.UserID(conv.A), protocol.UserID(conv.B)
				o.countdown(now, a, protocol.WithUser(b), 0, o.session(a, protocol.WithUser(b)).read)
				o.countdown(now, b, protocol.WithUser(a), 0, o.session(b, protocol.WithUser(a)).read)
			}
		}
	}
	var ready []protocol.Message
	for k, t := range o.due {
		if t <= now {
			ready = append(ready, o.convs[k.conv][k.id-1])
		}
	}
	slices.SortFunc(ready, func(a, b protocol.Message) int {
		x, y := o.due[oracleMessage{a.Conversation, a.ID}], o.due[oracleMessage{b.Conversation, b.ID}]
		return cmp.Or(cmp.Compare(x, y), cmp.Compare(a.At.Index, b.At.Index), cmp.Compare(a.At.Sub, b.At.Sub))
	})
	var result protocol.BurnDueResult
	for i, m := range ready {
		if result.More = result.Burned == int(c.Limit); result.More {
			break
		}
		delete(o.due, oracleMessage{m.Conversation, m.ID})
		if m.Deleted == 0 {
			o.erase(at, ready[i], protocol.Burned, 0)
			result.Burned++
		}
	}
	return result, 0
}

// checkBurns asks for the next time.
func (m *model) checkBurns(t *rapid.T) {
	var want protocol.Time
	for _, at := range m.o.due {
		if want == 0 || at < want {
			want = at
		}
	}
	at, ok, err := m.NextBurn()
	if err != nil || at != want || ok != (want != 0 || !m.o.burns && m.o.level >= 2) {
		t.Fatalf("next burn is %d, %v, %v, want %d", at, ok, err, want)
	}
}
