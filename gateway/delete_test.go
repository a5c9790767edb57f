package gateway

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"teamtalk/protocol"
	"teamtalk/protocol/crypt"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pb/chatpb"
	"teamtalk/protocol/pdu"
)

// Delete takes content away without asking who and when; the rules are the store's.
func (w *world) Delete(ctx context.Context, cmd protocol.DeleteMessage) error {
	if cmd.ID == stuckID {
		<-ctx.Done()
		return ctx.Err()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fail != nil {
		return w.fail
	}
	conv := cmd.Session.Conversation(cmd.Actor)
	if m := w.messageLocked(conv, cmd.ID); m == nil {
		return protocol.Errorf(protocol.CodeNotFound, "no such message")
	} else if m.Deleted != 0 {
		return nil
	}
	w.publish(w.deleteLocked(conv, cmd.ID, cmd.Deletion, cmd.Actor))
	return nil
}

const stuckID = 999 // a deletion that finds no leader

func (w *world) messageLocked(conv protocol.Conversation, id protocol.MsgID) *protocol.Message {
	if id == 0 || int(id) > len(w.stored[conv]) {
		return nil
	}
	return &w.stored[conv][id-1]
}

// deleteLocked empties a message and returns the event that says so.
func (w *world) deleteLocked(conv protocol.Conversation, id protocol.MsgID, kind protocol.Deletion, by protocol.UserID) protocol.MessageDeleted {
	empty(w.messageLocked(conv, id), kind)
	e := protocol.MessageDeleted{Conversation: conv, ID: id, Kind: kind, By: by}
	if conv.Type == protocol.SessionGroup {
		e.Members = w.members[protocol.GroupID(conv.A)]
	}
	return e
}

func empty(m *protocol.Message, kind protocol.Deletion) {
	m.Data, m.Extras, m.Deleted = nil, protocol.Extras{BurnAfter: m.Extras.BurnAfter}, kind
}

// replayedLocked is an event as the store lists it later: nobody knows any more who the members were, and what has been deleted is gone.
func (l *ledger) replayedLocked(e protocol.Event) protocol.Event {
	switch body := e.Body.(type) {
	case protocol.MessageDeleted:
		body.Members = nil
		e.Body = body
	case protocol.MessageSent:
		body.Members = nil
		for _, later := range l.log {
			if d, ok := later.Body.(protocol.MessageDeleted); ok && d.Conversation == body.Message.Conversation && d.ID == body.Message.ID {
				empty(&body.Message, d.Kind)
			}
		}
		e.Body = body
	}
	return e
}

func deleteReq(with protocol.Session, id uint32, kind protocol.Deletion) *chatpb.DeleteReq {
	return &chatpb.DeleteReq{SessionType: uint32(with.Type), SessionId: with.ID, MsgId: id, Kind: uint32(kind)}
}

func deleted(with protocol.Session, id uint32, kind protocol.Deletion, by uint32) want {
	return want{pdu.CmdDeleted, 0, &chatpb.Deleted{SessionType: uint32(with.Type), SessionId: with.ID, MsgId: id, Kind: uint32(kind), ByUserId: by}}
}

func burning(m *pb.IMMsgData, seconds uint32) *pb.IMMsgData {
	m.BurnAfterReadS = new(seconds)
	return m
}

// shown decrypts a text as a client with that key does.
func shown(t testing.TB, key string, data []byte) string {
	t.Helper()
	c, err := crypt.New(key)
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Decrypt(data)
	if err != nil {
		t.Fatalf("%q: %v", data, err)
	}
	return s
}

// expectAnyOrder takes what has come and compares all of it, without regard to the order.
func (c *client) expectAnyOrder(wants ...want) {
	c.s.t.Helper()
	got := c.take()
	if len(got) != len(wants) {
		c.s.t.Fatalf("user %d: got %v, want %d PDUs", c.user, commandsOf(got), len(wants))
	}
	for _, w := range wants {
		i := slices.IndexFunc(got, func(p pdu.PDU) bool { return p.Header.Command == w.cmd })
		if i < 0 {
			c.s.t.Fatalf("user %d: got %v, want %v", c.user, commandsOf(got), w.cmd)
		}
		compare(c.s.t, got[i], w)
		got = slices.Delete(got, i, i+1)
	}
}

// [TT-DEL-6] [TT-DEL-8]: one 0x0a03 to each extended session of both, as each sees it, and nothing to legacy ones.
func TestRecallSingle(t *testing.T) {
	play(t, nil, func(s *stage) {
		a, a2, b, outsider := s.enter(1, "laptop", windows), s.enter(1, "phone", ios), s.enter(2, "laptop", windows), s.enter(3, "laptop", windows)
		legacyA, legacyB := s.login(1, mac), s.login(2, mac)
		s.say(1, 2, "oops")
		s.settle(a.client, a2.client, b.client, outsider.client, legacyA, legacyB)
		a.send(pdu.CmdDeleteReq, 5, deleteReq(protocol.WithUser(2), 1, protocol.Recalled))
		gone := deleted(protocol.WithUser(2), 1, protocol.Recalled, 1)
		done := want{pdu.CmdDeleteRsp, 5, &chatpb.DeleteRsp{}}
		a.expectAnyOrder(done, gone)
		a2.expect(gone)
		b.expect(deleted(protocol.WithUser(1), 1, protocol.Recalled, 1))
		pass(2 * time.Second) // it counts for CURSOR
		for _, d := range []*device{a, a2, b} {
			if got := d.expectCommands(pdu.CmdCursor); cursors(d.client, got)[0] != 2 {
				t.Errorf("got %v", got)
			}
		}
		a.send(pdu.CmdDeleteReq, 5, deleteReq(protocol.WithUser(2), 1, protocol.Recalled)) // again
		a.expect(done)
		for _, c := range []*client{a2.client, b.client, outsider.client, legacyA, legacyB} {
			c.expect()
		}
	})
}

// [TT-DEL-6]: in a group to all members; by nobody when a message's time has come.
func TestDeletedEvents(t *testing.T) {
	play(t, nil, func(s *stage) {
		a, b, c, outsider, legacy := s.enter(1, "laptop", windows), s.enter(2, "laptop", windows), s.enter(3, "laptop", windows), s.enter(4, "laptop", windows), s.login(3, mac)
		b.send(pdu.CmdMsgData, 1, groupText(7, "oops"))
		b.send(pdu.CmdMsgData, 2, burning(text(1, "secret"), 5))
		b.send(pdu.CmdMsgData, 3, burning(text(1, "secret"), 5))
		s.settle(a.client, b.client, c.client, outsider.client, legacy)
		a.send(pdu.CmdDeleteReq, 6, deleteReq(protocol.InGroup(7), 1, protocol.Recalled))
		gone := deleted(protocol.InGroup(7), 1, protocol.Recalled, 1)
		a.expectAnyOrder(want{pdu.CmdDeleteRsp, 6, &chatpb.DeleteRsp{}}, gone)
		b.expect(gone)
		c.expect(gone)
		s.burnDue()
		a.expect(deleted(protocol.WithUser(2), 1, protocol.Burned, 0), deleted(protocol.WithUser(2), 2, protocol.Burned, 0))
		b.expect(deleted(protocol.WithUser(1), 1, protocol.Burned, 0), deleted(protocol.WithUser(1), 2, protocol.Burned, 0))
		for _, c := range []*client{c.client, outsider.client, legacy} {
			c.expect()
		}
	})
}

// burnDue burns all that can be burned, in one log entry.
func (w *world) burnDue() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.index++
	var batch []protocol.Event
	for conv, ms := range w.stored {
		for i := range ms {
			if m := &ms[i]; m.Extras.BurnAfter != 0 && m.Deleted == 0 {
				at := protocol.Position{Index: w.index, Sub: uint16(len(batch))}
				batch = append(batch, protocol.Event{At: at, Body: w.deleteLocked(conv, m.ID, protocol.Burned, 0)})
			}
		}
	}
	w.ledger.change(func(l *ledger) { l.log = append(l.log, batch...) })
	w.events.put(batch...)
}

// [TT-DEL-8] [TT-SESS-18]
func TestRefusedDeletions(t *testing.T) {
	play(t, nil, func(s *stage) {
		d, legacy := s.enter(1, "laptop", windows), s.login(1, mac)
		s.say(1, 2, "stays")
		s.settle(d.client, legacy)
		refused := func(seq uint16, m *chatpb.DeleteReq, code protocol.Code) {
			t.Helper()
			d.send(pdu.CmdDeleteReq, seq, m)
			p := d.next()
			if r := decoded[*chatpb.DeleteRsp](d.client, p); r.GetCode() != uint32(code) || r.GetMessage() == "" || p.Header.Seq != seq {
				t.Errorf("%v: got %v", m, r)
			}
		}
		with := protocol.WithUser(2)
		for i, m := range []*chatpb.DeleteReq{deleteReq(with, 1, 0), deleteReq(with, 1, 3), {SessionType: 1, SessionId: 2, MsgId: 1, Kind: 257}, {SessionType: 1, SessionId: 2, MsgId: 1, Kind: 1 << 31},
			deleteReq(protocol.Session{Type: 3, ID: 2}, 1, protocol.Recalled), {SessionType: 257, SessionId: 2, MsgId: 1, Kind: 1}, deleteReq(protocol.Session{Type: 1}, 1, protocol.Recalled), {}} {
			refused(uint16(10+i), m, protocol.CodeInvalid)
		}
		refused(20, deleteReq(with, 2, protocol.Recalled), protocol.CodeNotFound)
		for i, code := range []protocol.Code{protocol.CodeForbidden, protocol.CodeInvalid, protocol.CodeUnavailable} {
			s.failWith(protocol.Errorf(code, "no"))
			refused(uint16(30+i), deleteReq(with, 1, protocol.Burned), code)
		}
		s.failWith(protocol.OutcomeUnknownf("the leader was lost"))
		refused(40, deleteReq(with, 1, protocol.Burned), protocol.CodeUnavailable)
		s.failWith(context.Canceled)
		refused(41, deleteReq(with, 1, protocol.Burned), protocol.CodeInternal)
		s.failWith(nil)

		d.send(pdu.CmdDeleteReq, 50, deleteReq(with, stuckID, protocol.Recalled))
		pass(1900 * time.Millisecond)
		d.expect()
		pass(200 * time.Millisecond)
		if r := decoded[*chatpb.DeleteRsp](d.client, d.next()); r.GetCode() != uint32(protocol.CodeUnavailable) {
			t.Errorf("got %v", r)
		}

		legacy.send(pdu.CmdDeleteReq, 60, deleteReq(with, 1, protocol.Recalled)) // does not exist for it
		legacy.expect()
		d.expect()
		s.mu.Lock()
		defer s.mu.Unlock()
		if m := s.messageLocked(with.Conversation(1), 1); m.Deleted != 0 {
			t.Error("deleted all the same")
		}
	})
}

// [TT-DEL-2] [TT-SESS-12] [TT-DEL-5]: what is to be burned goes to extended sessions as it is; to legacy ones, the sender's included, as a text that says so.
func TestBurningMessageLive(t *testing.T) {
	const key = "a key of thirty-two bytes, ours."
	for kind, of := range map[string]pb.MsgType{"text": pb.MsgType_MSG_TYPE_SINGLE_TEXT, "audio": pb.MsgType_MSG_TYPE_SINGLE_AUDIO} {
		t.Run(kind, func(t *testing.T) {
			play(t, func(c *Config) { c.TextKey = key }, func(s *stage) {
				a, b, legacyA, legacyB := s.enter(1, "laptop", windows), s.enter(2, "laptop", windows), s.login(1, mac), s.login(2, android)
				s.settle(a.client, b.client, legacyA, legacyB)
				m := burning(msg(2, of, "secret"), 5)
				m.ClientMsgId = bytes.Repeat([]byte{1}, 16)
				a.send(pdu.CmdMsgData, 1, m)
				ext := pushed(1, 2, 1, m)
				ext.ClientMsgId, ext.CreateTimeMs, ext.BurnAfterReadS = m.ClientMsgId, new(uint64(1_000_000)), new(uint32(5))
				b.expect(want{pdu.CmdMsgData, 0, ext})
				a.expectAnyOrder(want{pdu.CmdMsgData, 0, ext}, want{pdu.CmdMsgDataAck, 1, nil})
				for _, c := range []*client{legacyA, legacyB} {
					got := decoded[*pb.IMMsgData](c, c.next())
					if shown(s.t, key, got.GetMsgData()) != burnPlaceholder || got.GetMsgType() != pb.MsgType_MSG_TYPE_SINGLE_TEXT || got.GetMsgId() != 1 || got.GetFromUserId() != 1 || got.BurnAfterReadS != nil {
						t.Errorf("a legacy client got %v", got)
					}
				}
			})
		})
	}
}

// [TT-DEL-2]: how the field is taken.
func TestBurnField(t *testing.T) {
	play(t, nil, func(s *stage) {
		d, legacy := s.enter(1, "laptop", windows), s.login(1, mac)
		s.settle(d.client, legacy)
		for i, m := range []*pb.IMMsgData{burning(text(2, "x"), 0), burning(text(2, "x"), protocol.MaxBurnAfter+1), burning(groupText(7, "x"), 5)} {
			d.send(pdu.CmdMsgData, uint16(i), m)
			d.expectError(pdu.CmdMsgData, uint16(i), protocol.CodeInvalid)
		}
		d.send(pdu.CmdMsgData, 5, burning(text(2, "x"), protocol.MaxBurnAfter))
		s.settle(d.client)
		legacy.send(pdu.CmdMsgData, 6, burning(text(2, "x"), 5)) // COMPAT: it can't say so, and sees what it sent itself
		s.settle(d.client, legacy)
		var after []uint32
		for _, cmd := range s.allBegun() {
			after = append(after, cmd.Extras.BurnAfter)
		}
		if !slices.Equal(after, []uint32{protocol.MaxBurnAfter, 0}) {
			t.Errorf("sent to be burned after %v", after)
		}
	})
}

// view is what a client is told of one conversation by all lists that show content.
type view struct {
	list, byID             []*pb.MsgInfo
	recent, unread         []byte
	recentType, unreadType pb.MsgType
}

// look asks for everything about one conversation.
func (c *client) look(with protocol.Session, ids ...uint32) view {
	c.s.t.Helper()
	kind, id := sessionTypeToWire(with.Type), new(with.ID)
	me := new(uint32(c.user))
	var v view
	c.send(pdu.CmdMsgListReq, 1, &pb.IMGetMsgListReq{UserId: me, SessionType: kind, SessionId: id, MsgIdBegin: new(uint32(0)), MsgCnt: new(uint32(100))})
	v.list = decoded[*pb.IMGetMsgListRsp](c, c.next()).GetMsgList()
	c.send(pdu.CmdMsgByIDReq, 2, &pb.IMGetMsgByIdReq{UserId: me, SessionType: kind, SessionId: id, MsgIdList: ids})
	v.byID = decoded[*pb.IMGetMsgByIdRsp](c, c.next()).GetMsgList()
	c.send(pdu.CmdRecentSessionsReq, 3, &pb.IMRecentContactSessionReq{UserId: me, LatestUpdateTime: new(uint32(0))})
	for _, r := range decoded[*pb.IMRecentContactSessionRsp](c, c.next()).GetContactSessionList() {
		if r.GetSessionType() == *kind && r.GetSessionId() == *id {
			v.recent, v.recentType = r.GetLatestMsgData(), r.GetLatestMsgType()
		}
	}
	c.send(pdu.CmdUnreadReq, 4, &pb.IMUnreadMsgCntReq{UserId: me})
	for _, u := range decoded[*pb.IMUnreadMsgCntRsp](c, c.next()).GetUnreadinfoList() {
		if u.GetSessionType() == *kind && u.GetSessionId() == *id {
			v.unread, v.unreadType = u.GetLatestMsgData(), u.GetLatestMsgType()
		}
	}
	return v
}

// [TT-DEL-4] [TT-DEL-5]: every list, for every kind of message, before and after it was deleted.
func TestListsOfDeleted(t *testing.T) {
	with, group := protocol.WithUser(1), protocol.InGroup(7)
	const content = "c29tZSBjb250ZW50"
	for name, tc := range map[string]struct {
		in     protocol.Session // as user 2 sees it
		kind   protocol.MsgType
		burn   uint32
		gone   protocol.Deletion
		legacy string // what a legacy session shows; empty: the content
	}{
		"plain":          {with, protocol.MsgSingleText, 0, 0, ""},
		"audio":          {with, protocol.MsgSingleAudio, 0, 0, ""},
		"recalled":       {with, protocol.MsgSingleText, 0, protocol.Recalled, recalledPlaceholder},
		"recalled audio": {with, protocol.MsgSingleAudio, 0, protocol.Recalled, recalledPlaceholder},
		"group":          {group, protocol.MsgGroupText, 0, protocol.Recalled, recalledPlaceholder},
		"group audio":    {group, protocol.MsgGroupAudio, 0, protocol.Recalled, recalledPlaceholder},
		"to be burned":   {with, protocol.MsgSingleText, 9, 0, burnPlaceholder},
		"audio to burn":  {with, protocol.MsgSingleAudio, 9, 0, burnPlaceholder},
		"burned":         {with, protocol.MsgSingleText, 9, protocol.Burned, burnPlaceholder},
		"burned audio":   {with, protocol.MsgSingleAudio, 9, protocol.Burned, burnPlaceholder},
		"burn recalled":  {with, protocol.MsgSingleAudio, 9, protocol.Recalled, recalledPlaceholder},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, nil, func(s *stage) {
				cmd := protocol.SendMessage{From: 1, To: protocol.WithUser(2), Type: tc.kind, Data: []byte(content), ClientMsgID: protocol.ClientMsgID{1},
					Extras: protocol.Extras{ContentType: "text/markdown", ReplyTo: 1, BurnAfter: tc.burn}}
				if tc.in.Type == protocol.SessionGroup {
					cmd.To = tc.in
				}
				if _, err := s.Begin(context.Background(), cmd); err != nil {
					t.Fatal(err)
				}
				if tc.gone != 0 {
					if err := s.Delete(context.Background(), protocol.DeleteMessage{Actor: 1, Session: cmd.To, ID: 1, Deletion: tc.gone}); err != nil {
						t.Fatal(err)
					}
				}
				ext, legacy := s.enter(2, "laptop", windows), s.login(2, mac)
				s.settle(ext.client, legacy)
				s.checkExtended(ext.look(tc.in, 1), cmd, tc.gone)
				s.checkLegacy(legacy.look(tc.in, 1), cmd, tc.legacy)
				if strings.Contains(s.log.String(), content) {
					t.Error("the log has the content")
				}
			})
		})
	}
}

func (s *stage) checkExtended(v view, cmd protocol.SendMessage, gone protocol.Deletion) {
	s.t.Helper()
	info := &pb.MsgInfo{MsgId: new(uint32(1)), FromSessionId: new(uint32(1)), CreateTime: new(uint32(1000)), MsgType: msgTypeToWire(cmd.Type), MsgData: cmd.Data,
		ClientMsgId: cmd.ClientMsgID[:], CreateTimeMs: new(uint64(1_000_000)), ContentType: new("text/markdown"), ReplyToMsgId: new(uint32(1)), State: new(uint32(gone))}
	if cmd.Extras.BurnAfter != 0 {
		info.BurnAfterReadS = &cmd.Extras.BurnAfter
	}
	if gone != 0 {
		info.MsgData, info.ContentType, info.ReplyToMsgId = []byte{}, nil, nil
	}
	for _, list := range [][]*pb.MsgInfo{v.list, v.byID} {
		if len(list) != 1 || !proto.Equal(list[0], info) {
			s.t.Errorf("an extended client got %v, want %v", list, info)
		}
	}
	for _, latest := range [][]byte{v.recent, v.unread} {
		switch {
		case gone != 0 && len(latest) != 0, gone == 0 && !cmd.Type.IsAudio() && !bytes.Equal(latest, cmd.Data):
			s.t.Errorf("an extended client's list says %q", latest)
		case gone == 0 && cmd.Type.IsAudio():
			if got := shown(s.t, crypt.DefaultKey, latest); got != audioPlaceholder {
				s.t.Errorf("an extended client's list says %q", got)
			}
		}
	}
	if t := pb.MsgType(cmd.Type); v.recentType != t || v.unreadType != t {
		s.t.Errorf("an extended client's lists say %v and %v", v.recentType, v.unreadType)
	}
}

func (s *stage) checkLegacy(v view, cmd protocol.SendMessage, instead string) {
	s.t.Helper()
	kind, data, latest := cmd.Type, string(cmd.Data), string(cmd.Data)
	if cmd.Type.IsAudio() {
		latest = string(s.srv.texts.audio)
	}
	if instead != "" {
		kind--
		if !cmd.Type.IsAudio() {
			kind = cmd.Type
		}
	}
	for _, list := range [][]*pb.MsgInfo{v.list, v.byID} {
		if len(list) != 1 {
			s.t.Fatalf("a legacy client got %v", list)
		}
		m := list[0]
		if instead != "" {
			data = string(m.GetMsgData())
			if got := shown(s.t, crypt.DefaultKey, m.GetMsgData()); got != instead {
				s.t.Errorf("a legacy client is shown %q", got)
			}
		}
		want := &pb.MsgInfo{MsgId: new(uint32(1)), FromSessionId: new(uint32(1)), CreateTime: new(uint32(1000)), MsgType: msgTypeToWire(kind), MsgData: []byte(data)}
		if !proto.Equal(m, want) {
			s.t.Errorf("a legacy client got %v, want %v", m, want)
		}
	}
	for _, got := range [][]byte{v.recent, v.unread} {
		if instead == "" && string(got) != latest || instead != "" && shown(s.t, crypt.DefaultKey, got) != instead {
			s.t.Errorf("a legacy client's list says %q", got)
		}
	}
	if t := pb.MsgType(kind); v.recentType != t || v.unreadType != t {
		s.t.Errorf("a legacy client's lists say %v and %v", v.recentType, v.unreadType)
	}
}

// [TT-DEL-4] [TT-DEL-6] [TT-SESS-13]: who was away gets what is left of the message, and that it was deleted; who has had the message, the latter.
func TestReplayOfDeletions(t *testing.T) {
	play(t, nil, func(s *stage) {
		early, late, member := s.enter(2, "early", windows), s.enter(2, "late", windows), s.enter(3, "laptop", windows)
		legacy := s.login(2, mac)
		early.close()
		member.close()
		s.say(1, 2, "stays")
		s.say(1, 2, "goes")
		sent := burning(text(2, "burns"), 5)
		author := s.enter(1, "laptop", windows)
		author.send(pdu.CmdMsgData, 1, sent)
		author.send(pdu.CmdMsgData, 2, groupText(7, "oops"))
		pass(2 * time.Second) // late is told a CURSOR behind all of it
		got := late.take()
		if cs := cursors(late.client, got); len(cs) == 0 || cs[len(cs)-1] != 4 {
			t.Fatalf("got %v %v", commandsOf(got), cs)
		}
		late.cursor = 4
		late.close()
		legacy.take()
		author.send(pdu.CmdDeleteReq, 3, deleteReq(protocol.WithUser(2), 2, protocol.Recalled))
		author.send(pdu.CmdDeleteReq, 4, deleteReq(protocol.InGroup(7), 1, protocol.Recalled))
		author.take()
		s.burnDue()
		recalled, inGroup := deleted(protocol.WithUser(1), 2, protocol.Recalled, 1), deleted(protocol.InGroup(7), 1, protocol.Recalled, 1)
		burned := deleted(protocol.WithUser(1), 3, protocol.Burned, 0)
		end := []want{{pdu.CmdCursor, 0, nil}, {pdu.CmdCredential, 0, nil}}

		late.again()
		late.expect(append([]want{{pdu.CmdWelcome, 9, nil}, recalled, inGroup, burned}, end...)...)
		replayed := func(from, to, id uint32, m *pb.IMMsgData, data string) want {
			p := pushed(from, to, id, m)
			p.MsgData, p.CreateTimeMs, p.BurnAfterReadS = []byte(data), new(uint64(1_000_000)), m.BurnAfterReadS
			return want{pdu.CmdMsgData, 0, p}
		}
		early.again()
		got = early.take()
		wants := append([]want{{pdu.CmdWelcome, 9, nil}, replayed(1, 2, 1, text(2, ""), "stays"), replayed(1, 2, 2, text(2, ""), ""), replayed(1, 2, 3, sent, ""),
			replayed(1, 7, 1, groupText(7, ""), ""), recalled, inGroup, burned}, end...)
		if len(got) != len(wants) {
			t.Fatalf("got %v", commandsOf(got))
		}
		for i, w := range wants {
			if m, ok := w.msg.(*pb.IMMsgData); ok {
				m.ClientMsgId = decoded[*pb.IMMsgData](early.client, got[i]).GetClientMsgId() // the author's session gave some of them one
			}
			compare(t, got[i], w)
		}
		member.again()
		member.expectCommands(pdu.CmdWelcome, pdu.CmdMsgData, pdu.CmdDeleted, pdu.CmdCursor, pdu.CmdCredential)
		legacy.expect()
	})
}

// A deletion that happens while a replay is read comes once, and behind its message [TT-SESS-3].
func TestDeletionDuringReplay(t *testing.T) {
	play(t, nil, func(s *stage) {
		d := s.enter(2, "laptop", windows)
		s.settle(d.client)
		d.close()
		s.say(1, 2, "first")
		rounds := uint32(0)
		s.ledger.change(func(l *ledger) {
			l.reading = func() {
				if rounds++; rounds <= 5 {
					s.say(1, 2, "more")
					if err := s.Delete(context.Background(), protocol.DeleteMessage{Actor: 1, Session: protocol.WithUser(2), ID: protocol.MsgID(rounds), Deletion: protocol.Recalled}); err != nil {
						t.Error(err)
					}
					<-time.After(time.Millisecond)
				}
			}
		})
		d.again()
		pass(time.Second)
		ids, gone := uint32(0), uint32(0)
		for _, p := range d.take() {
			switch p.Header.Command {
			case pdu.CmdMsgData:
				ids++
			case pdu.CmdDeleted:
				gone++
				if m := decoded[*chatpb.Deleted](d.client, p); m.GetMsgId() != gone || gone > ids {
					t.Errorf("%v as number %d behind %d messages", m, gone, ids)
				}
			}
		}
		if want := min(rounds, 5); gone != want || ids != want+1 || want < 2 {
			t.Errorf("%d messages and %d deletions came of %d", ids, gone, want)
		}
	})
}
