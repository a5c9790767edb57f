package service

import (
	"errors"
	"slices"
	"testing"
	"time"

	"teamtalk/protocol"
)

// [TT-MSG-1] [TT-MSG-15]
func TestSendChecks(t *testing.T) {
	data := func(n int) []byte { return make([]byte, n) }
	with, in := protocol.WithUser(2), protocol.InGroup(7)
	for _, tt := range []struct {
		name string
		cmd  protocol.SendMessage
		want protocol.Code
	}{
		{"text", protocol.SendMessage{From: 1, To: with, Type: protocol.MsgSingleText, Data: data(1)}, 0},
		{"group text", protocol.SendMessage{From: 1, To: in, Type: protocol.MsgGroupText, Data: data(1)}, 0},
		{"longest text", protocol.SendMessage{From: 1, To: with, Type: protocol.MsgSingleText, Data: data(protocol.MaxTextData)}, 0},
		{"64 KiB of text, encrypted", protocol.SendMessage{From: 1, To: with, Type: protocol.MsgSingleText, Data: data(87_408)}, 0},
		{"audio", protocol.SendMessage{From: 1, To: with, Type: protocol.MsgSingleAudio, Data: data(5)}, 0},
		{"longest audio", protocol.SendMessage{From: 1, To: in, Type: protocol.MsgGroupAudio, Data: data(256 << 10)}, 0},
		{"empty", protocol.SendMessage{From: 1, To: with, Type: protocol.MsgSingleText}, protocol.CodeInvalid},
		{"audio without sound", protocol.SendMessage{From: 1, To: with, Type: protocol.MsgSingleAudio, Data: data(4)}, protocol.CodeInvalid},
		{"text too long", protocol.SendMessage{From: 1, To: with, Type: protocol.MsgSingleText, Data: data(protocol.MaxTextData + 1)}, protocol.CodeTooLarge},
		{"audio too long", protocol.SendMessage{From: 1, To: in, Type: protocol.MsgGroupAudio, Data: data(256<<10 + 1)}, protocol.CodeTooLarge},
		{"to oneself", protocol.SendMessage{From: 1, To: protocol.WithUser(1), Type: protocol.MsgSingleText, Data: data(1)}, protocol.CodeInvalid},
		{"to the group with one's number", protocol.SendMessage{From: 1, To: protocol.InGroup(1), Type: protocol.MsgGroupText, Data: data(1)}, 0},
		{"to nobody", protocol.SendMessage{From: 1, To: protocol.WithUser(0), Type: protocol.MsgSingleText, Data: data(1)}, protocol.CodeInvalid},
		{"unknown type", protocol.SendMessage{From: 1, To: with, Type: 3, Data: data(1)}, protocol.CodeInvalid},
		{"group type to a user", protocol.SendMessage{From: 1, To: with, Type: protocol.MsgGroupText, Data: data(1)}, protocol.CodeInvalid},
		{"extras", protocol.SendMessage{From: 1, To: with, Type: protocol.MsgSingleText, Data: data(1),
			Extras: protocol.Extras{ContentType: "text/markdown", ReplyTo: 5, BurnAfter: protocol.MaxBurnAfter}}, 0},
		{"long content type", protocol.SendMessage{From: 1, To: with, Type: protocol.MsgSingleText, Data: data(1),
			Extras: protocol.Extras{ContentType: string(make([]byte, protocol.MaxContentType+1))}}, protocol.CodeTooLarge},
		{"lines of content type", protocol.SendMessage{From: 1, To: with, Type: protocol.MsgSingleText, Data: data(1),
			Extras: protocol.Extras{ContentType: "a\nb"}}, protocol.CodeInvalid},
		{"burns late", protocol.SendMessage{From: 1, To: with, Type: protocol.MsgSingleText, Data: data(1),
			Extras: protocol.Extras{BurnAfter: protocol.MaxBurnAfter + 1}}, protocol.CodeInvalid},
		{"burns in a group", protocol.SendMessage{From: 1, To: in, Type: protocol.MsgGroupText, Data: data(1),
			Extras: protocol.Extras{BurnAfter: 1}}, protocol.CodeInvalid},
		{"single type to a group", protocol.SendMessage{From: 1, To: in, Type: protocol.MsgSingleText, Data: data(1)}, protocol.CodeInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newFakeStore()
			result, err := NewMessages(s, MessageRules{}).Send(t.Context(), tt.cmd)
			wantCode(t, "send", err, tt.want)
			sent := len(s.commands) == 1
			if sent != (tt.want == 0) || sent && result.ID != 1 {
				t.Errorf("%d commands, id %d", len(s.commands), result.ID)
			}
			if sent && s.last().(*protocol.SendMessage).Extras != tt.cmd.Extras {
				t.Errorf("sent with %+v", s.last().(*protocol.SendMessage).Extras)
			}
		})
	}
}

// [TT-MSG-3] [TT-MSG-4] [TT-DIFF-15]
func TestBeginKeepsOrder(t *testing.T) {
	s := newFakeStore()
	m := NewMessages(s, MessageRules{})
	var pending []protocol.Pending
	for i := range 5 {
		p, err := m.Begin(t.Context(), protocol.SendMessage{From: 1, To: protocol.WithUser(2), Type: 1, Data: []byte{byte(i)}})
		if err != nil {
			t.Fatal(err)
		}
		pending = append(pending, p)
	}
	for i, c := range s.commands {
		if sent, ok := c.(*protocol.SendMessage); !ok || sent.Data[0] != byte(i) {
			t.Errorf("command %d: %#v", i, c)
		}
	}
	for i, p := range pending {
		result, err := p.Wait(t.Context())
		if sent, ok := result.(protocol.SendResult); !ok || err != nil || sent.ID != protocol.MsgID(i+1) {
			t.Errorf("%d: %#v, %v", i, result, err)
		}
	}
}

func conversation(n, size int) []protocol.Message {
	var messages []protocol.Message
	for i := range n {
		messages = append(messages, protocol.Message{ID: protocol.MsgID(i + 1), Data: make([]byte, size)})
	}
	return messages
}

// [TT-MSG-11] [TT-DIFF-12]
func TestHistory(t *testing.T) {
	for _, tt := range []struct {
		name        string
		have, size  int
		begin       protocol.MsgID
		count       uint32
		first, n    int // newest id returned, and how many
		pagesAtMost int
	}{
		{"newest", 300, 10, 0, 20, 300, 20, 1},
		{"from the middle", 300, 10, 150, 20, 150, 20, 1},
		{"none asked for", 300, 10, 0, 0, 0, 0, 0},
		{"nothing there", 0, 10, 0, 20, 0, 0, 1},
		{"fewer there", 7, 10, 0, 20, 7, 7, 1},
		{"down to the first", 300, 10, 5, 20, 5, 5, 1},
		{"over several pages", 300, 10, 0, 200, 300, 200, 4},
		{"all", 130, 10, 0, 1000, 130, 130, 3},
		{"all, a whole number of pages", 2 * historyPage, 10, 0, 2 * historyPage, 2 * historyPage, 2 * historyPage, 2},
		{"more than there can be", 2000, 10, 0, 4_000_000_000, 2000, 1000, 16},
		{"begin beyond the newest", 10, 10, 99_999_999, 18, 10, 10, 1},
		{"sound fills the answer", 300, 256 << 10, 0, 1000, 300, 16, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newFakeStore()
			s.messages = conversation(tt.have, tt.size)
			got, err := NewMessages(s, MessageRules{}).History(t.Context(), 1, protocol.WithUser(2), tt.begin, tt.count)
			if err != nil || len(got) != tt.n {
				t.Fatalf("%d messages, %v; want %d", len(got), err, tt.n)
			}
			for i, m := range got {
				if m.ID != protocol.MsgID(tt.first-i) {
					t.Fatalf("place %d: id %d", i, m.ID)
				}
			}
			if s.reads > tt.pagesAtMost {
				t.Errorf("%d reads", s.reads)
			}
		})
	}
}

// [TT-MSG-12]
func TestByID(t *testing.T) {
	s := newFakeStore()
	s.messages = conversation(300, 10)
	ids := func(messages []protocol.Message) (ids []protocol.MsgID) {
		for _, m := range messages {
			ids = append(ids, m.ID)
		}
		return ids
	}
	m := NewMessages(s, MessageRules{})
	got, err := m.ByID(t.Context(), 1, protocol.WithUser(2), []protocol.MsgID{3, 0, 500, 7, 3, 5})
	if want := []protocol.MsgID{7, 5, 3}; err != nil || !slices.Equal(ids(got), want) {
		t.Errorf("%v, %v; want %v", ids(got), err, want)
	}
	var all []protocol.MsgID
	for i := range 300 {
		all = append(all, protocol.MsgID(i+1))
	}
	got, err = m.ByID(t.Context(), 1, protocol.WithUser(2), all)
	if err != nil || len(got) != 100 || got[0].ID != 300 || got[99].ID != 201 {
		t.Errorf("%v, %v", ids(got), err)
	}
	if got, err = m.ByID(t.Context(), 1, protocol.WithUser(2), nil); err != nil || len(got) != 0 {
		t.Errorf("%v, %v", ids(got), err)
	}
}

// [TT-MSG-11] [TT-MSG-12] [TT-MSG-8]
func TestOnlyMembersRead(t *testing.T) {
	s := newFakeStore()
	s.groups[7], s.members[7] = protocol.Group{ID: 7}, []protocol.UserID{1}
	s.messages = conversation(3, 1)
	m := NewMessages(s, MessageRules{})
	ctx := t.Context()
	for name, read := range map[string]func(me protocol.UserID, session protocol.Session) error{
		"history": func(me protocol.UserID, in protocol.Session) error {
			_, err := m.History(ctx, me, in, 0, 9)
			return err
		},
		"by id": func(me protocol.UserID, in protocol.Session) error {
			_, err := m.ByID(ctx, me, in, []protocol.MsgID{1})
			return err
		},
		"latest": func(me protocol.UserID, in protocol.Session) error { _, err := m.LatestID(ctx, me, in); return err },
		"mark": func(me protocol.UserID, in protocol.Session) error {
			_, err := m.MarkRead(ctx, protocol.MarkRead{User: me, Session: in, UpTo: 2})
			return err
		},
	} {
		wantCode(t, name+" by a member", read(1, protocol.InGroup(7)), protocol.CodeUnspecified)
		wantCode(t, name+" by another", read(2, protocol.InGroup(7)), protocol.CodeForbidden)
		wantCode(t, name+" of an unknown group", read(1, protocol.InGroup(8)), protocol.CodeNotFound)
		wantCode(t, name+" of one to one", read(2, protocol.WithUser(7)), protocol.CodeUnspecified)
		wantCode(t, name+" of no session", read(1, protocol.Session{Type: 3, ID: 7}), protocol.CodeInvalid)
	}
	s.broken = errors.New("damaged")
	if _, err := m.History(ctx, 1, protocol.InGroup(7), 0, 9); !errors.Is(err, s.broken) {
		t.Errorf("got %v", err)
	}
}

// [TT-MSG-10]
func TestUnread(t *testing.T) {
	unread, err := NewMessages(newFakeStore(), MessageRules{}).Unread(t.Context(), 1)
	if err != nil || len(unread) != 1 {
		t.Errorf("%v, %v", unread, err)
	}
}

// TestDelete: what can be seen from the request alone is refused, the window is the operator's. [TT-DEL-1] [TT-DEL-8]
func TestDelete(t *testing.T) {
	with := protocol.WithUser(2)
	for _, tt := range []struct {
		name   string
		window time.Duration
		cmd    protocol.DeleteMessage
		within int64
		want   protocol.Code
	}{
		{"recall", 0, protocol.DeleteMessage{Actor: 1, Session: with, ID: 3, Deletion: protocol.Recalled}, 120_000, 0},
		{"burn", 0, protocol.DeleteMessage{Actor: 1, Session: with, ID: 3, Deletion: protocol.Burned}, 120_000, 0},
		{"another window", time.Hour, protocol.DeleteMessage{Actor: 1, Session: protocol.InGroup(2), ID: 3, Deletion: protocol.Recalled}, 3_600_000, 0},
		{"a window of the client's", time.Second, protocol.DeleteMessage{Actor: 1, Session: with, ID: 3, Deletion: protocol.Recalled, Within: 1e15}, 1000, 0},
		{"never", -1, protocol.DeleteMessage{Actor: 1, Session: with, ID: 3, Deletion: protocol.Recalled, Within: 5}, 0, 0},
		{"no kind", 0, protocol.DeleteMessage{Actor: 1, Session: with, ID: 3}, 0, protocol.CodeInvalid},
		{"unknown kind", 0, protocol.DeleteMessage{Actor: 1, Session: with, ID: 3, Deletion: 3}, 0, protocol.CodeInvalid},
		{"no session", 0, protocol.DeleteMessage{Actor: 1, ID: 3, Deletion: protocol.Recalled}, 0, protocol.CodeInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newFakeStore()
			err := NewMessages(s, MessageRules{RecallWindow: tt.window}).Delete(t.Context(), tt.cmd)
			wantCode(t, "delete", err, tt.want)
			if tt.want != 0 {
				if s.last() != nil {
					t.Errorf("executed %+v", s.last())
				}
				return
			}
			want := tt.cmd
			want.Within = tt.within
			if got, ok := s.last().(*protocol.DeleteMessage); !ok || *got != want {
				t.Errorf("executed %+v, want %+v", s.last(), want)
			}
		})
	}
	s := newFakeStore()
	s.execute = func(protocol.Command) (any, error) { return nil, protocol.Errorf(protocol.CodeForbidden, "too late") }
	err := NewMessages(s, MessageRules{}).Delete(t.Context(), protocol.DeleteMessage{Actor: 1, Session: with, ID: 3, Deletion: protocol.Recalled})
	wantCode(t, "refused by the store", err, protocol.CodeForbidden)
}
