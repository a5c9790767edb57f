package state

import (
	order "cmp"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"teamtalk/protocol"
)

const modelUsers = 5

// commandGen draws commands of few users and groups, so that they meet.
func commandGen() *rapid.Generator[protocol.Command] {
	user := rapid.Map(rapid.Uint32Range(1, modelUsers+1), func(u uint32) protocol.UserID { return protocol.UserID(u) })
	actor := rapid.Map(rapid.Uint32Range(0, modelUsers), func(u uint32) protocol.UserID { return protocol.UserID(u) })
	group := rapid.Map(rapid.Uint32Range(1, 4), func(g uint32) protocol.GroupID { return protocol.GroupID(g) })
	session := rapid.OneOf(rapid.Map(user, protocol.WithUser), rapid.Map(group, protocol.InGroup))
	some := rapid.SliceOfN(user, 0, 4)
	word := rapid.SampledFrom([]string{"a", "b", "c"})
	send := rapid.Custom(func(t *rapid.T) protocol.Command {
		c := text(user.Draw(t, "from"), session.Draw(t, "to"), word.Draw(t, "data"))
		if rapid.IntRange(0, 2).Draw(t, "extras") == 0 {
			c.Extras = protocol.Extras{ContentType: rapid.SampledFrom([]string{"", "text/markdown"}).Draw(t, "content type"),
				ReplyTo: protocol.MsgID(rapid.IntRange(0, 3).Draw(t, "reply to")), BurnAfter: rapid.SampledFrom([]uint32{0, 1, 5}).Draw(t, "burn after")}
		}
		return keyed(c, byte(rapid.OneOf(rapid.Just(0), rapid.IntRange(0, 8)).Draw(t, "id")))
	})
	read := rapid.Custom(func(t *rapid.T) protocol.Command {
		return &protocol.MarkRead{User: user.Draw(t, "user"), Session: session.Draw(t, "session"), UpTo: protocol.MsgID(rapid.IntRange(0, 9).Draw(t, "up to"))}
	})
	change := rapid.Custom(func(t *rapid.T) protocol.Command {
		c := &protocol.ChangeMembers{Actor: actor.Draw(t, "actor"), Group: group.Draw(t, "group"), Change: protocol.MembersAdd, Members: some.Draw(t, "members")}
		switch rapid.IntRange(0, 2).Draw(t, "change") {
		case 0:
			c.Change = protocol.MembersDel
		case 1:
			c.Change, c.Members = protocol.MembersDel, users(c.Actor)
		}
		return c
	})
	revoke := rapid.Custom(func(t *rapid.T) protocol.Command {
		c := &protocol.RevokeSessions{User: user.Draw(t, "user"), Scope: protocol.RevokeScope(rapid.IntRange(1, 3).Draw(t, "scope"))}
		if c.Scope == protocol.RevokeDevice {
			c.Device = protocol.DeviceID(word.Draw(t, "device"))
		}
		return c
	})
	rare := rapid.Custom(func(t *rapid.T) protocol.Command {
		switch rapid.IntRange(0, 10).Draw(t, "rare") {
		case 8:
			return &protocol.FoundCluster{Cluster: testCluster(byte(rapid.IntRange(1, 3).Draw(t, "cluster")))}
		case 9:
			return &protocol.SetPassword{User: user.Draw(t, "user"), Hash: word.Draw(t, "hash"), If: rapid.SampledFrom([]string{"", "x"}).Draw(t, "if")}
		case 10:
			return revoke.Draw(t, "revoke")
		case 0, 1:
			return &protocol.CreateGroup{Actor: actor.Draw(t, "actor"), Type: protocol.GroupType(rapid.IntRange(1, 2).Draw(t, "type")), Name: "g", Members: some.Draw(t, "members")}
		case 2:
			return &protocol.RemoveSession{User: user.Draw(t, "user"), Session: session.Draw(t, "session")}
		case 3:
			return &protocol.EditGroup{Group: group.Draw(t, "group"), Close: true}
		case 4:
			return &protocol.ChangeSign{User: user.Draw(t, "user"), Sign: word.Draw(t, "sign")}
		case 5:
			status := rapid.SampledFrom([]protocol.UserStatus{protocol.StatusActive, protocol.StatusActive, protocol.StatusLeft}).Draw(t, "status")
			return &protocol.EditUser{User: user.Draw(t, "user"), Status: &status, Avatar: ptr(word.Draw(t, "avatar"))}
		case 6:
			return &protocol.AddOfflineFile{File: protocol.OfflineFile{From: user.Draw(t, "from"), To: user.Draw(t, "to"), TaskID: word.Draw(t, "task"), Name: "f"}}
		}
		return &protocol.DeleteOfflineFile{Actor: user.Draw(t, "actor"), From: user.Draw(t, "from"), To: user.Draw(t, "to"), TaskID: word.Draw(t, "task")}
	})
	del := rapid.Custom(func(t *rapid.T) protocol.Command {
		return &protocol.DeleteMessage{Actor: user.Draw(t, "actor"), Session: session.Draw(t, "session"), ID: protocol.MsgID(rapid.IntRange(0, 6).Draw(t, "msg")),
			Deletion: protocol.Deletion(rapid.SampledFrom([]uint8{1, 1, 1, 2, 2, 3}).Draw(t, "kind")),
			Within:   rapid.SampledFrom([]int64{0, 1500, 120_000}).Draw(t, "within")}
	})
	burn := rapid.Map(rapid.SampledFrom([]uint32{0, 1, 2, 100, 100}), func(n uint32) protocol.Command { return &protocol.BurnDue{Limit: n} })
	raise := rapid.Map(rapid.SampledFrom([]protocol.Level{0, 1, 2}), func(to protocol.Level) protocol.Command { return &protocol.RaiseLevel{To: to} })
	return rapid.OneOf(send, send, send, read, change, rapid.OneOf(rare, rare, rare, rare, rare, rare, raise), del, burn)
}

// model is a node beside an oracle.
type model struct {
	*node
	o *oracle
}

func newModel(t testing.TB, level protocol.Level) *model {
	n := newNodeAt(t, 16, level) // so that the dedupe window rolls
	n.people(modelUsers)
	n.events = nil
	m := &model{n, newOracle(level)}
	for u := protocol.UserID(1); u <= modelUsers; u++ {
		m.o.users[u] = &protocol.User{ID: u}
	}
	m.o.now = protocol.Time(n.clock)
	return m
}

// entry applies commands to both and compares results and events.
func (m *model) entry(t *rapid.T, cmds []protocol.Command) {
	m.index++
	m.clock += int64(rapid.IntRange(-500, 1500).Draw(t, "clock"))
	told, noted := len(m.events), len(m.o.log)
	results := m.applyAt(m.index, m.clock, cmds...)
	for i, c := range cmds {
		want, code := m.o.apply(protocol.Position{Index: m.index, Sub: uint16(i)}, m.clock, c)
		if err, refused := results[i].(error); refused || code != 0 {
			if protocol.CodeOf(err) != code {
				t.Fatalf("%+v: %v, want %v", c, results[i], code)
			}
		} else if diff := cmp.Diff(want, results[i]); diff != "" {
			t.Fatalf("%+v: %s", c, diff)
		}
	}
	var live, want []protocol.Event
	for _, e := range m.events[told:] {
		switch b := e.Body.(type) {
		case protocol.DirectoryChanged:
			continue
		case protocol.MessageSent:
			b.Members = nil
			e.Body = b
		case protocol.MessageDeleted:
			b.Members = nil
			e.Body = b
		}
		live = append(live, e)
	}
	for _, e := range m.o.log[noted:] {
		want = append(want, e.Event)
	}
	if diff := cmp.Diff(want, live, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("events: %s", diff)
	}
}

func (m *model) check(t *rapid.T) {
	m.checkBurns(t)
	if l := m.level(); l != m.o.level {
		t.Fatalf("level %d, want %d", l, m.o.level)
	}
	for u := protocol.UserID(1); u <= modelUsers; u++ {
		m.checkLists(t, u)
		m.checkReplay(t, u)
		m.checkReplayable(t, u)
		m.checkEpochs(t, u)
		var groups []protocol.GroupID
		for id := protocol.GroupID(1); int(id) <= len(m.o.groups); id++ {
			m.checkSession(t, u, protocol.InGroup(id))
			if m.o.groups[id].member(u) != nil {
				groups = append(groups, id)
			}
		}
		for peer := protocol.UserID(1); peer <= modelUsers; peer++ {
			if peer != u {
				m.checkSession(t, u, protocol.WithUser(peer))
			}
		}
		in, err := m.GroupsOf(u)
		if err != nil {
			t.Fatal(err)
		}
		got := slices.Collect(func(yield func(protocol.GroupID) bool) {
			for _, g := range in {
				if !yield(g.ID) {
					return
				}
			}
		})
		if !slices.Equal(got, groups) {
			t.Fatalf("groups of %d: %v, want %v", u, got, groups)
		}
	}
	for id, g := range m.o.groups {
		got, err := m.GroupByID(id)
		if err != nil || got.Version != g.Version || got.Creator != g.Creator || got.Closed != g.Closed {
			t.Fatalf("group %+v, %v, want %+v", got, err, g)
		}
		if members, err := m.Members(id); err != nil || !slices.Equal(members, g.ids()) {
			t.Fatalf("members of %d: %v, %v, want %v", id, members, err, g.ids())
		}
	}
}

func (m *model) checkSession(t *rapid.T, u protocol.UserID, s protocol.Session) {
	want, code := m.o.visible(u, s)
	want = slices.Clone(want)
	slices.Reverse(want)
	begin := rapid.IntRange(0, len(want)+2).Draw(t, "begin")
	if begin > 0 {
		want = slices.DeleteFunc(want, func(msg protocol.Message) bool { return msg.ID > protocol.MsgID(begin) })
	}
	count := rapid.IntRange(1, 100).Draw(t, "count")
	got, err := m.History(u, s, protocol.MsgID(begin), count)
	if protocol.CodeOf(err) != code {
		t.Fatalf("history of %d, %+v: %v, want %v", u, s, err, code)
	}
	if diff := cmp.Diff(want[:min(count, len(want))], got, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("history of %d, %+v: %s", u, s, diff)
	}
}

func (m *model) checkLists(t *rapid.T, u protocol.UserID) {
	var recent []protocol.RecentSession
	var unread []protocol.Unread
	for _, s := range m.o.sessionsOf(u) {
		msgs := m.o.convs[s.Conversation(u)]
		last := msgs[len(msgs)-1]
		if m.o.session(u, s).removed != last.ID {
			recent = append(recent, protocol.RecentSession{Session: s, Updated: last.Time, Latest: last})
		}
		if n := m.o.unread(u, s); n > 0 {
			unread = append(unread, protocol.Unread{Session: s, Count: n, Latest: last})
		}
	}
	gotRecent, err := m.RecentSessions(u, 0, 100)
	if diff := cmp.Diff(recent, gotRecent); diff != "" || err != nil {
		t.Fatalf("recent sessions of %d: %v %s", u, err, diff)
	}
	gotUnread, err := m.Unread(u)
	if diff := cmp.Diff(unread, gotUnread); diff != "" || err != nil {
		t.Fatalf("unread of %d: %v %s", u, err, diff)
	}
}

// checkReplay reads a user's events from some cursor on, in pages.
func (m *model) checkReplay(t *rapid.T, u protocol.UserID) {
	after := protocol.Cursor(rapid.Uint64Range(0, m.index).Draw(t, "after"))
	want := m.o.eventsAfter(u, after)
	limit := rapid.IntRange(1, 20).Draw(t, "limit")
	var got []protocol.Event
	for at := after; ; {
		page, next, err := m.EventsAfter(u, at, limit)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, page...)
		if len(page) > 0 && uint64(next) < page[len(page)-1].At.Index {
			t.Fatalf("next is %d, but the page ends at %v", next, page[len(page)-1].At)
		}
		if len(page) == 0 {
			if next != m.applied {
				t.Fatalf("at the end next is %d, want %d", next, m.applied)
			}
			break
		}
		at = next
	}
	slices.SortStableFunc(want, byDeletion)
	slices.SortStableFunc(got, byDeletion)
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("events of %d after %d by %d: %s", u, after, limit, diff)
	}
}

// byDeletion gives the deletions of one command, which are at one position, an order.
func byDeletion(a, b protocol.Event) int {
	switch x, y := asDeletion(a), asDeletion(b); {
	case a.At.Before(b.At):
		return -1
	case b.At.Before(a.At):
		return 1
	case x == nil || y == nil:
		return 0
	default:
		return order.Or(order.Compare(x.Conversation.A, y.Conversation.A), order.Compare(x.Conversation.B, y.Conversation.B), order.Compare(x.ID, y.ID))
	}
}

func asDeletion(e protocol.Event) *protocol.MessageDeleted {
	if d, ok := e.Body.(protocol.MessageDeleted); ok {
		return &d
	}
	return nil
}

// checkReplayable compares with bounds small enough to be met. Up to sparseStep messages of each conversation may not be
// counted.
func (m *model) checkReplayable(t *rapid.T, u protocol.UserID) {
	after := protocol.Cursor(rapid.Uint64Range(0, m.index).Draw(t, "after"))
	keep, most := protocol.Time(rapid.IntRange(0, 20_000).Draw(t, "keep")), rapid.IntRange(0, 200).Draw(t, "most")
	messages, convs := 0, make(map[protocol.Conversation]bool)
	for _, e := range m.o.eventsAfter(u, after) {
		if msg, ok := e.Body.(protocol.MessageSent); ok {
			messages++
			convs[msg.Message.Conversation] = true
		}
	}
	recent := true
	for _, e := range m.o.log {
		if msg, ok := e.Body.(protocol.MessageSent); ok && protocol.Cursor(e.At.Index) > after {
			recent = recent && msg.Message.Time >= m.o.now-keep
		}
	}
	var ok bool
	err := m.view(func(r *txn) (err error) {
		ok, err = r.replayable(u, after, keep, uint64(most))
		return err
	})
	switch {
	case err != nil:
		t.Fatal(err)
	case !ok && (recent || messages <= most):
		t.Fatalf("%d after %d: not replayable, recent %v, %d messages", u, after, recent, messages)
	case ok && !recent && messages > most+2*modelUsers*len(convs)*sparseStep:
		t.Fatalf("%d after %d: replayable with %d messages of %d conversations", u, after, messages, len(convs))
	}
}

func (m *model) checkEpochs(t *rapid.T, u protocol.UserID) {
	for _, d := range []protocol.DeviceID{"", "a", "b", "c", "d"} {
		for _, c := range []protocol.ClientType{protocol.ClientMac, protocol.ClientTerminal, protocol.ClientIOS} {
			want := m.o.epoch(u, d, c.IsMobile())
			if got, err := m.Revoked(u, d, c); err != nil || got != want {
				t.Fatalf("epoch of user %d, device %q, %v: %d, %v, want %d", u, d, c, got, err, want)
			}
		}
	}
	if user, err := m.UserByID(u); err != nil || user.Revoked != m.o.users[u].Revoked {
		t.Fatalf("user %+v, %v, want revoked %d", user, err, m.o.users[u].Revoked)
	}
	got, err := m.Cluster()
	switch {
	case m.o.founded == nil && protocol.CodeOf(err) != protocol.CodeNotFound:
		t.Fatalf("not founded, but %v", err)
	case m.o.founded != nil && (err != nil || got != *m.o.founded):
		t.Fatalf("cluster %x, %v, want %x", got.ID, err, m.o.founded.ID)
	}
}

// TestModel runs random commands on a node and on the oracle. [TT-MSG-1] [TT-MSG-4] [TT-MSG-6] [TT-MSG-8] [TT-MSG-9]
// [TT-MSG-10] [TT-MSG-11] [TT-BUDDY-1] [TT-GROUP-4] [TT-GROUP-5] [TT-GROUP-7] [TT-SESS-7] [TT-SESS-11] [TT-SESS-13]
// [TT-SESS-20] [TT-DEL-1] [TT-DEL-2] [TT-DEL-3] [TT-DEL-4] [TT-DEL-6] [TT-DEL-8]
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := newModel(t, rapid.SampledFrom([]protocol.Level{1, 2, 2, 2}).Draw(rt, "level"))
		defer m.close()
		command := commandGen()
		m.entry(rt, []protocol.Command{&protocol.CreateGroup{Actor: 1, Type: protocol.GroupTemp, Name: "g", Members: users(1, 2, 3, 4)}})
		for range rapid.IntRange(1, 40).Draw(rt, "entries") {
			m.entry(rt, rapid.SliceOfN(command, 1, 6).Draw(rt, "commands"))
			switch rapid.IntRange(0, 9).Draw(rt, "then") {
			case 0:
				m.reopen()
			case 1:
				m.check(rt)
			case 2: // long conversations reach the sparse index
				c := text(protocol.UserID(rapid.IntRange(1, modelUsers).Draw(rt, "from")), protocol.InGroup(1), "burst")
				if rapid.Bool().Draw(rt, "single") {
					c = text(1, protocol.WithUser(2), "burst")
				}
				m.entry(rt, slices.Repeat([]protocol.Command{c}, rapid.IntRange(10, 90).Draw(rt, "burst")))
			case 3:
				m.clock += 6000
				m.entry(rt, []protocol.Command{&protocol.BurnDue{Limit: 100}})
			}
		}
		m.check(rt)
		m.reopen()
		m.check(rt)
	})
}

// TestDeterminism applies the same log to nodes with other batches and restarts; their databases must be the same.
func TestDeterminism(t *testing.T) {
	type logged struct {
		at  protocol.Position
		ms  int64
		cmd []byte
	}
	rapid.Check(t, func(rt *rapid.T) {
		command := commandGen()
		var log []logged
		ms := int64(1_700_000_000_000)
		for index := range rapid.IntRange(1, 60).Draw(rt, "entries") {
			ms += int64(rapid.OneOf(rapid.IntRange(-5000, 5000), rapid.IntRange(0, 5*24*3600*1000)).Draw(rt, "time")) // so that rows are swept
			for sub, c := range rapid.SliceOfN(command, 1, 5).Draw(rt, "commands") {
				b, err := encodeCommand(c)
				if err != nil {
					rt.Fatal(err)
				}
				log = append(log, logged{protocol.Position{Index: uint64(index + 10), Sub: uint16(sub)}, ms, b})
			}
		}
		level := rapid.SampledFrom([]protocol.Level{1, 2}).Draw(rt, "level")
		run := func(one bool) map[string]string {
			n := newNodeAt(t, 16, level)
			defer n.close()
			n.people(modelUsers)
			for rest := log; len(rest) > 0; {
				size := len(rest)
				if !one {
					size = rapid.IntRange(1, len(rest)).Draw(rt, "batch")
					if rapid.Bool().Draw(rt, "restart") {
						n.reopen()
					}
				}
				tx, err := n.db.Begin(true)
				for _, l := range rest[:size] {
					if err == nil {
						_, err = n.m.Apply(tx, l.at, l.ms, l.cmd)
					}
				}
				if err = errors.Join(err, tx.Commit()); err != nil {
					rt.Fatal(err)
				}
				rest = rest[size:]
			}
			return n.contents()
		}
		if diff := cmp.Diff(run(true), run(false)); diff != "" {
			rt.Fatalf("the databases differ: %s", diff)
		}
	})
}
