package client

import (
	"cmp"
	"slices"

	"teamtalk/protocol"
)

// MessageState is what is known of a message that goes to other offices [TT-FED-4].
type MessageState uint8

// States. Of messages that stay at one office there is nothing to say: StateSent.
const (
	StateSent          MessageState = iota // in a group: it has its place
	StatePending                           // on its way
	StateDelayed                           // for more than a quarter of an hour
	StateDelivered                         // the receiver's office has stored it
	StateUndeliverable                     // given up, or refused there
)

// String is the state's name.
func (s MessageState) String() string {
	names := [...]string{"sent", "pending", "delayed", "delivered", "undeliverable"}
	if int(s) < len(names) {
		return names[s]
	}
	return "unknown"
}

// waits reports whether a message has no place yet in a group of several offices.
func (s MessageState) waits() bool { return s == StatePending || s == StateDelayed }

// Place is what decides where a message stands in its conversation.
type Place struct {
	ID      protocol.MsgID // 0: not stored yet
	HubSeq  uint64
	Waiting bool // on its way to the office that orders the group
	Note    bool // no message: it stands behind the one with this ID
}

// Place is the message's for Arrange.
func (m *Message) Place() Place {
	return Place{ID: m.ID, HubSeq: m.HubSeq, Waiting: m.Session.Type == protocol.SessionGroup && m.Mine && m.HubSeq == 0 && m.State.waits()}
}

// Arrange sorts what was said in a conversation, the oldest first: by HubSeq, which is the same at all offices; what has none, behind what came before it by
// number. What waits for its place is at the end, and behind it what is not stored yet, as it was [TT-FED-3]. Without other offices that is the order of the
// numbers.
func Arrange[T any](list []T, place func(T) Place) {
	type ranked struct {
		item T
		at   Place
		rank rank
	}
	all := make([]ranked, len(list))
	for i, item := range list {
		all[i] = ranked{item: item, at: place(item)}
	}
	slices.SortStableFunc(all, func(a, b ranked) int {
		return cmp.Or(cmp.Compare(a.at.ID, b.at.ID), compareBool(a.at.Note, b.at.Note))
	})
	var last rank // of the message before, by number
	var newest uint64
	for i := range all {
		at := all[i].at
		r := rank{hubSeq: newest, loose: true, id: at.ID}
		switch {
		case at.Note && last.id == at.ID:
			r = last
		case at.Note:
		case at.ID == 0:
			r = rank{part: unstored}
		case at.Waiting:
			r = rank{part: waiting, id: at.ID}
		case at.HubSeq != 0:
			r = rank{hubSeq: at.HubSeq, id: at.ID}
			newest = max(newest, at.HubSeq)
		}
		if !at.Note {
			last = r
		}
		r.note = at.Note
		all[i].rank = r
	}
	slices.SortStableFunc(all, func(a, b ranked) int { return a.rank.compare(b.rank) })
	for i := range all {
		list[i] = all[i].item
	}
}

// Parts of a conversation.
const (
	placed = iota
	waiting
	unstored
)

// rank is where a message stands among others.
type rank struct {
	part   int
	hubSeq uint64
	loose  bool // has no HubSeq: stands behind this one
	id     protocol.MsgID
	note   bool
}

func (a rank) compare(b rank) int {
	return cmp.Or(cmp.Compare(a.part, b.part), cmp.Compare(a.hubSeq, b.hubSeq), compareBool(a.loose, b.loose), cmp.Compare(a.id, b.id), compareBool(a.note, b.note))
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
