package state

import (
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"teamtalk/protocol"
)

// town is a node with users 1 … 6, of whom 6 has left; a temporary group 1 of 1, 2 and 3, made by 1; a normal group 2 of 1
// and 4; a closed group 3; department 1; and two messages from 1 to 2.
func town(t testing.TB) *node {
	n := newNode(t)
	n.people(6)
	n.do(&protocol.EditUser{User: 6, Status: ptr(protocol.StatusLeft)})
	n.do(&protocol.CreateGroup{Actor: 1, Type: protocol.GroupTemp, Name: "friends", Members: users(3, 1, 2)})
	n.do(&protocol.CreateGroup{Type: protocol.GroupNormal, Name: "company", Members: users(1, 4)})
	n.do(&protocol.CreateGroup{Type: protocol.GroupNormal, Name: "gone", Members: users(1)})
	n.do(&protocol.EditGroup{Group: 3, Close: true})
	n.do(&protocol.PutDepartment{Department: protocol.Department{Name: "all"}})
	n.do(keyed(text(1, protocol.WithUser(2), "one"), 1))
	n.do(text(1, protocol.WithUser(2), "two"))
	return n
}

func ptr[T any](v T) *T { return &v }

// refusal is a command that has to be refused in town.
type refusal struct {
	name string
	code protocol.Code
	cmd  protocol.Command
}

const (
	bad   = protocol.CodeInvalid
	no    = protocol.CodeForbidden
	none  = protocol.CodeNotFound
	large = protocol.CodeTooLarge
)

func refusedMessages() []refusal {
	audio := func(n int) *protocol.SendMessage {
		return &protocol.SendMessage{From: 1, To: protocol.WithUser(2), Type: protocol.MsgSingleAudio, Data: make([]byte, n)}
	}
	return []refusal{
		{"[TT-MSG-1] empty", bad, text(1, protocol.WithUser(2), "")},
		{"[TT-MSG-1] to oneself", bad, text(1, protocol.WithUser(1), "x")},
		{"[TT-MSG-1] to nobody", none, text(1, protocol.WithUser(7), "x")},
		{"[TT-MSG-1] to who has left", none, text(1, protocol.WithUser(6), "x")},
		{"[TT-MSG-1] no such group", none, text(1, protocol.InGroup(9), "x")},
		{"[TT-MSG-1] no member", no, text(4, protocol.InGroup(1), "x")},
		{"[TT-GROUP-7] closed group", none, text(1, protocol.InGroup(3), "x")},
		{"sender has left", none, text(6, protocol.WithUser(1), "x")},
		{"sender is nobody", none, text(0, protocol.WithUser(1), "x")},
		{"session 0", bad, text(1, protocol.WithUser(0), "x")},
		{"type is not the session's", bad, &protocol.SendMessage{From: 1, To: protocol.InGroup(1), Type: protocol.MsgSingleText, Data: []byte("x")}},
		{"type is unknown", bad, &protocol.SendMessage{From: 1, To: protocol.WithUser(2), Type: 3, Data: []byte("x")}},
		{"[TT-MSG-15] no sound", bad, audio(4)},
		{"[TT-MSG-15] too much sound", large, audio(protocol.MaxAudioData + 1)},
		{"[TT-MSG-15] too much text", large, text(1, protocol.WithUser(2), strings.Repeat("x", protocol.MaxTextData+1))},
		{"[TT-MSG-6] same id, other data", bad, keyed(text(1, protocol.WithUser(2), "other"), 1)},
		{"[TT-MSG-6] same id, other target", bad, keyed(text(1, protocol.WithUser(3), "one"), 1)},
		{"[TT-MSG-6] same id, other type", bad, keyed(&protocol.SendMessage{From: 1, To: protocol.WithUser(2), Type: protocol.MsgSingleAudio, Data: []byte("one..")}, 1)},
		{"[TT-MSG-8] read in a strange group", no, &protocol.MarkRead{User: 4, Session: protocol.InGroup(1)}},
		{"read in no session", bad, &protocol.MarkRead{User: 4, Session: protocol.Session{Type: 7, ID: 1}}},
		{"[TT-BUDDY-3] no such session", none, &protocol.RemoveSession{User: 3, Session: protocol.WithUser(2)}},
		{"[TT-BUDDY-3] nothing was said", none, &protocol.RemoveSession{User: 1, Session: protocol.InGroup(1)}},
		{"[TT-BUDDY-3] remove a strange group", no, &protocol.RemoveSession{User: 4, Session: protocol.InGroup(1)}},
	}
}

func refusedGroupChanges() []refusal {
	return []refusal{
		{"[TT-GROUP-3] no name", bad, &protocol.CreateGroup{Actor: 1, Type: protocol.GroupTemp, Members: users(1)}},
		{"[TT-GROUP-3] no members", bad, &protocol.CreateGroup{Actor: 1, Type: protocol.GroupTemp, Name: "g"}},
		{"[TT-GROUP-3] no members who exist", bad, &protocol.CreateGroup{Actor: 1, Type: protocol.GroupTemp, Name: "g", Members: users(6, 7)}},
		{"[TT-GROUP-3] users make no normal groups", no, &protocol.CreateGroup{Actor: 1, Type: protocol.GroupNormal, Name: "g", Members: users(1)}},
		{"group type", bad, &protocol.CreateGroup{Actor: 1, Type: 3, Name: "g", Members: users(1)}},
		{"[TT-GROUP-4] add by a stranger", no, &protocol.ChangeMembers{Actor: 4, Group: 1, Change: protocol.MembersAdd, Members: users(4)}},
		{"[TT-GROUP-4] add to a normal group by a member", no, &protocol.ChangeMembers{Actor: 1, Group: 2, Change: protocol.MembersAdd, Members: users(2)}},
		{"[TT-GROUP-4] remove another", no, &protocol.ChangeMembers{Actor: 2, Group: 1, Change: protocol.MembersDel, Members: users(3)}},
		{"[TT-GROUP-4] remove oneself and another", no, &protocol.ChangeMembers{Actor: 2, Group: 1, Change: protocol.MembersDel, Members: users(2, 3)}},
		{"[TT-GROUP-4] nobody is new", bad, &protocol.ChangeMembers{Actor: 1, Group: 1, Change: protocol.MembersAdd, Members: users(2, 6, 7)}},
		{"[TT-GROUP-4] nobody goes", bad, &protocol.ChangeMembers{Actor: 1, Group: 1, Change: protocol.MembersDel, Members: users(4)}},
		{"[TT-GROUP-4] unknown group", none, &protocol.ChangeMembers{Actor: 1, Group: 9, Change: protocol.MembersAdd, Members: users(2)}},
		{"[TT-GROUP-7] change of a closed group", none, &protocol.ChangeMembers{Group: 3, Change: protocol.MembersAdd, Members: users(2)}},
		{"member change", bad, &protocol.ChangeMembers{Group: 1, Change: 3, Members: users(2)}},
		{"[TT-GROUP-8] shield by a stranger", no, &protocol.ShieldGroup{User: 4, Group: 1, On: true}},
		{"[TT-GROUP-8] shield of an unknown group", none, &protocol.ShieldGroup{User: 4, Group: 9, On: true}},
		{"creator who is no member", bad, &protocol.EditGroup{Group: 1, Creator: ptr(protocol.UserID(4))}},
		{"group without name", bad, &protocol.EditGroup{Group: 1, Name: ptr("")}},
	}
}

func refusedEntries() []refusal {
	return []refusal{
		{"[TT-BUDDY-8] long signature", large, &protocol.ChangeSign{User: 1, Sign: strings.Repeat("x", 129)}},
		{"signature of who has left", none, &protocol.ChangeSign{User: 6, Sign: "x"}},
		{"long avatar", large, &protocol.ChangeAvatar{User: 1, Avatar: strings.Repeat("x", 256)}},
		{"[TT-FILE-4] delete a stranger's file", no, &protocol.DeleteOfflineFile{Actor: 3, From: 1, To: 2, TaskID: "t"}},
		{"[TT-FILE-4] no such file", none, &protocol.DeleteOfflineFile{Actor: 1, From: 1, To: 2, TaskID: "t"}},
		{"[TT-FILE-3] file for nobody", none, &protocol.AddOfflineFile{File: protocol.OfflineFile{From: 1, To: 7, TaskID: "t", Name: "f"}}},
		{"file without task", bad, &protocol.AddOfflineFile{File: protocol.OfflineFile{From: 1, To: 2, Name: "f"}}},
		{"name is taken", bad, &protocol.AddUsers{Users: []protocol.NewUser{{User: protocol.User{Name: "new"}}, {User: protocol.User{Name: "u1"}}}}},
		{"name twice", bad, &protocol.AddUsers{Users: []protocol.NewUser{{User: protocol.User{Name: "new"}}, {User: protocol.User{Name: "new"}}}}},
		{"id is taken", bad, &protocol.AddUsers{Users: []protocol.NewUser{{User: protocol.User{Name: "new", ID: 3}}}}},
		{"id of federation", protocol.CodeInvalid, &protocol.AddUsers{Users: []protocol.NewUser{{User: protocol.User{Name: "new", ID: protocol.MaxLocalID}}}}},
		{"name with a control character", bad, &protocol.AddUsers{Users: []protocol.NewUser{{User: protocol.User{Name: "a\nb"}}}}},
		{"name is no UTF-8", bad, &protocol.AddUsers{Users: []protocol.NewUser{{User: protocol.User{Name: "a\xff"}}}}},
		{"name is long", large, &protocol.AddUsers{Users: []protocol.NewUser{{User: protocol.User{Name: strings.Repeat("a", 65)}}}}},
		{"no such department", none, &protocol.AddUsers{Users: []protocol.NewUser{{User: protocol.User{Name: "new", Department: 2}}}}},
		{"edit nobody", none, &protocol.EditUser{User: 7, Nick: ptr("n")}},
		{"gender", bad, &protocol.EditUser{User: 1, Gender: ptr(uint8(3))}},
		{"status", bad, &protocol.EditUser{User: 1, Status: ptr(protocol.UserStatus(5))}},
		{"no hash", bad, &protocol.SetPassword{User: 1}},
		{"[TT-LOGIN-11] another hash than thought", bad, &protocol.SetPassword{User: 1, Hash: "h", If: "other"}},
		{"department of itself", bad, &protocol.PutDepartment{Department: protocol.Department{ID: 1, Name: "all", Parent: 1}}},
		{"department of nothing", none, &protocol.PutDepartment{Department: protocol.Department{Name: "x", Parent: 4}}},
		{"replace no department", none, &protocol.PutDepartment{Department: protocol.Department{ID: 2, Name: "x"}}},
		{"[TT-LOGIN-9] device of who has left", none, &protocol.RegisterDevice{User: 6, Token: "t"}},
	}
}

func TestRefusals(t *testing.T) {
	n := town(t)
	for _, tt := range slices.Concat(refusedMessages(), refusedGroupChanges(), refusedEntries()) {
		t.Run(tt.name, func(t *testing.T) {
			n.TB = t
			n.refuse(tt.code, tt.cmd)
		})
	}
	n.TB = t
}

func TestMessageIDs(t *testing.T) { // [TT-MSG-4]
	n := town(t)
	first := n.do(text(2, protocol.WithUser(1), "three")).(protocol.SendResult)
	n.clock -= 5000 // a new leader's clock is behind
	second := n.do(text(1, protocol.WithUser(2), "four")).(protocol.SendResult)
	if first.ID != 3 || second.ID != 4 || second.Time < first.Time {
		t.Errorf("ids %d and %d, times %d and %d", first.ID, second.ID, first.Time, second.Time)
	}
	n.reopen()
	if third := n.do(text(1, protocol.WithUser(2), "five")).(protocol.SendResult); third.Time < second.Time {
		t.Errorf("after a restart the time fell from %d to %d", second.Time, third.Time)
	}
	n.do(&protocol.SendMessage{From: 1, To: protocol.WithUser(2), Type: protocol.MsgSingleText, Data: make([]byte, 64<<10)}) // [TT-MSG-15]
	n.do(&protocol.SendMessage{From: 1, To: protocol.WithUser(2), Type: protocol.MsgSingleAudio, Data: make([]byte, 5)})
}

func TestRepeatedMessage(t *testing.T) { // [TT-MSG-6]
	n := town(t)
	first := n.do(keyed(text(1, protocol.InGroup(1), "hello"), 9)).(protocol.SendResult)
	n.do(&protocol.ChangeMembers{Actor: 1, Group: 1, Change: protocol.MembersDel, Members: users(1)})
	before := n.contents()
	again := n.do(keyed(text(1, protocol.InGroup(1), "hello"), 9)).(protocol.SendResult)
	want := first
	want.Repeated = true
	if again != want {
		t.Errorf("repeat: %+v, want %+v", again, want)
	}
	if !sameContents(before, n.contents()) {
		t.Error("a repeat changed the state")
	}
	if res := n.do(keyed(text(2, protocol.InGroup(1), "hello"), 9)).(protocol.SendResult); res.Repeated {
		t.Error("another user's message counts as a repeat")
	}
	n.clock += (dedupeKeep + 2) * 1000
	if res := n.do(keyed(text(1, protocol.WithUser(2), "one"), 1)).(protocol.SendResult); res.Repeated || res.ID != 3 {
		t.Errorf("an id of more than 7 days ago is still remembered: %+v", res)
	}
}

// TestDedupeWindow sends many messages through a small window, with restarts, and repeats old ones.
func TestDedupeWindow(t *testing.T) { // [TT-MSG-6]
	n := newNodeSpan(t, 64)
	n.people(3)
	message := func(i int) *protocol.SendMessage {
		c := text(protocol.UserID(i%2+1), protocol.WithUser(3), itoa(i))
		c.ClientMsgID = protocol.ClientMsgID{byte(i * 7), byte(i >> 8), byte(i), 1} // not in order
		return c
	}
	for i := range 1000 {
		if res := n.do(message(i)).(protocol.SendResult); res.Repeated {
			t.Fatalf("message %d counts as a repeat", i)
		}
		if i%97 == 0 {
			n.reopen()
		}
		if i%31 == 0 {
			for j := range i {
				if res := n.apply(message(j))[0].(protocol.SendResult); !res.Repeated {
					t.Fatalf("after %d messages, %d is not remembered", i, j)
				}
			}
		}
	}
	n.clock += (dedupeKeep + 10) * 1000
	for i := 1000; i < 3000; i++ {
		n.do(message(i))
	}
	n.clock += (dedupeKeep + 10) * 1000
	for i := 3000; i < 4500; i++ {
		n.do(message(i))
	}
	rows := 0
	for k := range n.contents() {
		if strings.HasPrefix(k, bDedupe.name()+"/") {
			rows++
		}
	}
	if rows > 1500*3/2 {
		t.Errorf("%d rows are kept for 1500 messages", rows)
	}
}

func TestReading(t *testing.T) {
	n := town(t)
	single := protocol.WithUser(1)
	for i := range 100 { // 1 and 2 in turns: ids 3 … 102
		n.do(text(protocol.UserID(i%2+1), protocol.WithUser(protocol.UserID(2-i%2)), "x"))
	}
	read := func(upTo protocol.MsgID, want protocol.MarkReadResult, unread uint32) {
		t.Helper()
		if got := n.do(&protocol.MarkRead{User: 2, Session: single, UpTo: upTo}); got != want {
			t.Errorf("read %d: %+v, want %+v", upTo, got, want)
		}
		list, err := n.Unread(2)
		if err != nil {
			t.Fatal(err)
		}
		var count uint32
		if len(list) == 1 {
			count = list[0].Count
		}
		if len(list) > 1 || count != unread {
			t.Errorf("unread after %d: %+v, want %d", upTo, list, unread)
		}
	}
	read(1, protocol.MarkReadResult{UpTo: 1, Moved: true}, 51) // [TT-MSG-8] [TT-MSG-9] [TT-MSG-10]
	read(3, protocol.MarkReadResult{UpTo: 3, Moved: true}, 49)
	read(2, protocol.MarkReadResult{UpTo: 3}, 49)
	read(4, protocol.MarkReadResult{UpTo: 4, Moved: true}, 49)
	read(51, protocol.MarkReadResult{UpTo: 51, Moved: true}, 25)
	read(1000, protocol.MarkReadResult{UpTo: 102, Moved: true}, 0)
	read(0, protocol.MarkReadResult{UpTo: 102}, 0)
	if got := n.do(&protocol.MarkRead{User: 3, Session: protocol.WithUser(4)}); got != (protocol.MarkReadResult{}) {
		t.Errorf("reading nothing: %+v", got)
	}
	// [TT-MSG-10] writing to a group reads everything before
	n.do(text(1, protocol.InGroup(1), "x"))
	n.do(text(2, protocol.InGroup(1), "x"))
	n.do(text(1, protocol.InGroup(1), "x"))
	list, err := n.Unread(2)
	if err != nil || len(list) != 1 || list[0].Count != 1 || list[0].Session != protocol.InGroup(1) || list[0].Latest.From != 1 {
		t.Errorf("unread: %+v, %v", list, err)
	}
}

func TestRecentSessions(t *testing.T) { // [TT-BUDDY-1]
	n := town(t)
	n.do(text(2, protocol.InGroup(1), "group"))
	n.do(text(3, protocol.WithUser(2), "single"))
	list := func(after protocol.Time, limit int, want ...protocol.Session) {
		t.Helper()
		got, err := n.RecentSessions(2, after, limit)
		if err != nil {
			t.Fatal(err)
		}
		var sessions []protocol.Session
		for _, s := range got {
			sessions = append(sessions, s.Session)
			if s.Updated != s.Latest.Time || s.Latest.Conversation.Seen(2) != s.Session {
				t.Errorf("%+v", s)
			}
		}
		if !slices.Equal(sessions, want) {
			t.Errorf("sessions %v, want %v", sessions, want)
		}
	}
	with1, with3, group := protocol.WithUser(1), protocol.WithUser(3), protocol.InGroup(1)
	list(0, 100, with3, group, with1)
	list(0, 2, with3, group)
	list(protocol.Time(n.clock-1000), 100, with3)
	n.do(&protocol.RemoveSession{User: 2, Session: group})
	n.do(&protocol.RemoveSession{User: 2, Session: with3})
	list(0, 100, with1)
	if unread, err := n.Unread(2); err != nil || len(unread) != 1 { // [TT-BUDDY-3] removed ones are read
		t.Errorf("unread: %+v, %v", unread, err)
	}
	n.refuse(protocol.CodeNotFound, &protocol.RemoveSession{User: 2, Session: with3})
	n.do(text(1, group, "again")) // [TT-DIFF-9] a removed group returns too
	n.do(text(3, protocol.WithUser(2), "again"))
	list(0, 100, with3, group, with1)
}

func TestHistory(t *testing.T) {
	n := town(t)
	for i := range 200 {
		n.do(text(1, protocol.InGroup(1), itoa(i)))
	}
	n.do(&protocol.ChangeMembers{Actor: 2, Group: 1, Change: protocol.MembersAdd, Members: users(4)})
	for i := range 70 {
		n.do(text(1, protocol.InGroup(1), itoa(i)))
	}
	group := protocol.InGroup(1)
	check := func(me protocol.UserID, begin protocol.MsgID, count int, newest protocol.MsgID, want int) {
		t.Helper()
		msgs, err := n.History(me, group, begin, count)
		if err != nil || len(msgs) != want {
			t.Fatalf("history of %d from %d: %d messages, %v, want %d", me, begin, len(msgs), err, want)
		}
		for i, m := range msgs {
			if m.ID != newest-protocol.MsgID(i) {
				t.Fatalf("message %d has id %d, the first has %d", i, m.ID, newest)
			}
		}
	}
	check(1, 0, 20, 270, 20) // [TT-MSG-11]
	check(1, 130, 1000, 130, 130)
	check(1, 128, 1, 128, 1)
	check(1, 1, 5, 1, 1)
	check(1, 999, 3, 270, 3)
	check(1, 0, 0, 0, 0)
	check(4, 0, 1000, 270, 70)
	check(4, 210, 1000, 210, 10)
	check(4, 200, 10, 0, 0)
	if _, err := n.History(5, group, 0, 10); protocol.CodeOf(err) != protocol.CodeForbidden {
		t.Errorf("a stranger reads the group: %v", err)
	}
	if _, err := n.LatestMsgID(5, group); protocol.CodeOf(err) != protocol.CodeForbidden {
		t.Errorf("a stranger reads the group: %v", err)
	}
	if msgs, err := n.History(1, protocol.WithUser(77), 0, 10); err != nil || len(msgs) != 0 {
		t.Errorf("history with nobody: %v, %v", msgs, err)
	}
	msgs, err := n.MessagesByID(4, group, []protocol.MsgID{5, 201, 270, 999, 0, 202, 201, 268}) // [TT-MSG-12]
	var ids []protocol.MsgID
	for _, m := range msgs {
		ids = append(ids, m.ID)
	}
	if err != nil || !slices.Equal(ids, []protocol.MsgID{270, 268, 202, 201}) {
		t.Errorf("by id: %v, %v", ids, err)
	}
	if id, err := n.LatestMsgID(4, group); id != 270 || err != nil {
		t.Errorf("latest: %d, %v", id, err)
	}
	n.do(&protocol.ChangeMembers{Actor: 1, Group: 1, Change: protocol.MembersDel, Members: users(4)})
	n.do(&protocol.ChangeMembers{Actor: 1, Group: 1, Change: protocol.MembersAdd, Members: users(4)})
	check(4, 0, 10, 0, 0)
	if id, err := n.LatestMsgID(4, group); id != 0 || err != nil {
		t.Errorf("latest after rejoining: %d, %v", id, err)
	}
}

func TestGroupLife(t *testing.T) {
	n := town(t)
	members := func(want ...protocol.UserID) {
		t.Helper()
		if got, err := n.Members(1); err != nil || !slices.Equal(got, want) {
			t.Errorf("members %v, %v, want %v", got, err, want)
		}
	}
	members(1, 2, 3)
	n.do(&protocol.ShieldGroup{User: 2, Group: 1, On: true}) // [TT-GROUP-8]
	if on, err := n.Shielded(1, 2); err != nil || !on {
		t.Errorf("shield: %v, %v", on, err)
	}
	res := n.do(&protocol.ChangeMembers{Actor: 3, Group: 1, Change: protocol.MembersAdd, Members: users(5, 4, 6, 2, 5)}) // [TT-GROUP-4]
	if want := (protocol.ChangeMembersResult{Current: users(1, 2, 3, 4, 5), Changed: users(4, 5)}); !reflect.DeepEqual(res, want) {
		t.Errorf("add: %+v, want %+v", res, want)
	}
	if g, err := n.GroupByID(1); err != nil || g.Version != 2 || g.Creator != 1 { // [TT-GROUP-5]
		t.Errorf("group %+v, %v", g, err)
	}
	n.do(&protocol.ChangeMembers{Actor: 1, Group: 1, Change: protocol.MembersDel, Members: users(2)})
	n.do(&protocol.ChangeMembers{Actor: 3, Group: 1, Change: protocol.MembersAdd, Members: users(2)})
	if on, err := n.Shielded(1, 2); err != nil || on {
		t.Errorf("a shield outlived the membership: %v, %v", on, err)
	}
	n.do(&protocol.ChangeMembers{Actor: 1, Group: 1, Change: protocol.MembersDel, Members: users(1)}) // [TT-GROUP-7]: 2 came back last
	members(2, 3, 4, 5)
	if g, _ := n.GroupByID(1); g.Creator != 3 {
		t.Errorf("creator %d, want 3, the longest member", g.Creator)
	}
	if is, err := n.IsMember(1, 1); is || err != nil {
		t.Errorf("who left is a member: %v", err)
	}
	if groups, err := n.GroupsOf(1); err != nil || len(groups) != 1 || groups[0].ID != 2 { // [TT-GROUP-1]
		t.Errorf("groups of 1: %+v, %v", groups, err)
	}
	n.do(&protocol.EditGroup{Group: 1, Name: ptr("new"), Creator: ptr(protocol.UserID(4))})
	n.do(&protocol.ChangeMembers{Actor: 4, Group: 1, Change: protocol.MembersDel, Members: users(2, 3, 4, 5)})
	members()
	if g, _ := n.GroupByID(1); !g.Closed || g.Name != "new" {
		t.Errorf("the empty group %+v is open", g)
	}
	n.refuse(protocol.CodeNotFound, &protocol.ShieldGroup{User: 2, Group: 1})
}

func TestGroupLimit(t *testing.T) {
	n := newNode(t)
	n.people(protocol.MaxGroupMembers + 1)
	ids := make([]protocol.UserID, protocol.MaxGroupMembers+1)
	for i := range ids {
		ids[i] = protocol.UserID(i + 1)
	}
	n.refuse(protocol.CodeTooLarge, &protocol.CreateGroup{Type: protocol.GroupNormal, Name: "g", Members: ids})
	n.do(&protocol.CreateGroup{Type: protocol.GroupNormal, Name: "g", Members: ids[1:]})
	n.refuse(protocol.CodeTooLarge, &protocol.ChangeMembers{Group: 1, Change: protocol.MembersAdd, Members: ids[:1]})
}

func TestDirectory(t *testing.T) {
	n := town(t)
	n.do(&protocol.AddUsers{Users: []protocol.NewUser{{User: protocol.User{Name: "x"}}, {User: protocol.User{Name: "old", ID: 50, Created: 5}, PasswordHash: "h"}, {User: protocol.User{Name: "y"}}}})
	u, hash, err := n.Login("old") // [TT-LOGIN-3]
	if err != nil || u.ID != 50 || hash != "h" || u.Created != 5 {
		t.Errorf("login: %+v %q %v", u, hash, err)
	}
	if u, _, _ := n.Login("x"); u.ID != 51 {
		t.Errorf("the id after a given 50 is %d", u.ID)
	}
	if _, _, err := n.Login("nobody"); protocol.CodeOf(err) != protocol.CodeNotFound {
		t.Errorf("login of nobody: %v", err)
	}
	n.do(&protocol.SetPassword{User: 50, Hash: "h2", If: "h"}) // [TT-LOGIN-11]
	if len(n.events) != 0 && reflect.TypeOf(n.events[len(n.events)-1].Body) == reflect.TypeFor[protocol.AccessRevoked]() {
		t.Error("rewrapping a hash ends sessions")
	}
	n.do(&protocol.SetPassword{User: 50, Hash: "h3"})
	if e := n.events[len(n.events)-1].Body; e != (protocol.AccessRevoked{User: 50, Reason: "password changed", Scope: protocol.RevokeAll}) {
		t.Errorf("a new password: %+v", e)
	}
	all, newest, err := n.UsersSince(0) // [TT-BUDDY-4]
	if err != nil || len(all) != 8 {
		t.Errorf("%d users, %v", len(all), err)
	}
	if users, same, err := n.UsersSince(newest); err != nil || len(users) != 0 || same != newest {
		t.Errorf("nothing is newer than %d: %d users, %d, %v", newest, len(users), same, err)
	}
	n.do(&protocol.ChangeSign{User: 2, Sign: "busy"})
	n.do(&protocol.EditUser{User: 3, Status: ptr(protocol.StatusLeft)})
	changed, _, err := n.UsersSince(newest + 1)
	if err != nil || len(changed) != 2 || changed[0].ID != 2 || changed[1].ID != 3 || changed[0].Sign != "busy" {
		t.Errorf("changed: %+v, %v", changed, err)
	}
	if list, err := n.ListUsers(6, 2); err != nil || len(list) != 2 || list[0].ID != 50 {
		t.Errorf("list: %+v, %v", list, err)
	}
	if count, err := n.UserCount(); count != 9 || err != nil {
		t.Errorf("count %d, %v", count, err)
	}
	if some, err := n.Users(users(50, 99, 1)); err != nil || len(some) != 2 { // [TT-BUDDY-2]
		t.Errorf("users: %+v, %v", some, err)
	}
	n.do(&protocol.PutDepartment{Department: protocol.Department{Name: "below", Parent: 1}})
	n.refuse(protocol.CodeInvalid, &protocol.PutDepartment{Department: protocol.Department{ID: 1, Name: "all", Parent: 2}})
	_, last, _ := n.DepartmentsSince(0)
	n.do(&protocol.PutDepartment{Department: protocol.Department{ID: 2, Name: "below", Deleted: true}})
	depts, _, err := n.DepartmentsSince(last) // [TT-BUDDY-5]
	if err != nil || len(depts) != 1 || !depts[0].Deleted {
		t.Errorf("departments: %+v, %v", depts, err)
	}
}

func TestDevices(t *testing.T) { // [TT-LOGIN-9]
	n := town(t)
	token := func(u protocol.UserID, want string) {
		t.Helper()
		d, err := n.DeviceToken(u)
		if err != nil && protocol.CodeOf(err) != protocol.CodeNotFound {
			t.Fatal(err)
		}
		if d.Token != want {
			t.Errorf("token of %d: %q, want %q", u, d.Token, want)
		}
	}
	n.do(&protocol.RegisterDevice{User: 1, Client: protocol.ClientIOS, Token: "a"})
	n.do(&protocol.RegisterDevice{User: 2, Client: protocol.ClientIOS, Token: "b"})
	n.do(&protocol.RegisterDevice{User: 2, Client: protocol.ClientAndroid, Token: "a"})
	token(1, "")
	token(2, "a")
	n.do(&protocol.RegisterDevice{User: 1, Client: protocol.ClientIOS, Token: "b"}) // 2's former one is free
	token(1, "b")
	token(2, "a")
	n.do(&protocol.RegisterDevice{User: 2})
	token(2, "")
	n.do(&protocol.EditUser{User: 1, Status: ptr(protocol.StatusLeft)})
	token(1, "")
	n.do(&protocol.SetPushShield{User: 2, On: true}) // [TT-LOGIN-10]
	if on, err := n.PushShield(2); !on || err != nil {
		t.Errorf("shield %v, %v", on, err)
	}
}

func TestOfflineFiles(t *testing.T) {
	n := town(t)
	f := protocol.OfflineFile{From: 1, To: 2, TaskID: "t", Name: "f", Size: 5}
	n.do(&protocol.AddOfflineFile{File: f}) // [TT-FILE-3]
	n.do(&protocol.AddOfflineFile{File: f})
	f.Added = protocol.Time(n.clock - 1000)
	files, err := n.OfflineFiles(2) // [TT-FILE-2]
	if err != nil || !slices.Equal(files, []protocol.OfflineFile{f}) {
		t.Errorf("files %+v, %v", files, err)
	}
	n.do(&protocol.DeleteOfflineFile{Actor: 2, From: 1, To: 2, TaskID: "t"}) // [TT-FILE-4]
	if files, err := n.OfflineFiles(2); err != nil || len(files) != 0 {
		t.Errorf("files %+v, %v", files, err)
	}
}

func TestManyStays(t *testing.T) {
	n := town(t)
	last := protocol.MsgID(0)
	for i := range 2 * maxIntervals {
		n.do(&protocol.ChangeMembers{Group: 1, Change: protocol.MembersAdd, Members: users(5)})
		last = n.do(text(1, protocol.InGroup(1), itoa(i))).(protocol.SendResult).ID
		n.do(&protocol.ChangeMembers{Group: 1, Change: protocol.MembersDel, Members: users(5)})
	}
	events, _, err := n.EventsAfter(5, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	messages := 0
	for _, e := range events {
		if m, ok := e.Body.(protocol.MessageSent); ok {
			messages++
			if want := last - maxIntervals + protocol.MsgID(messages); m.Message.ID != want {
				t.Errorf("message %d, want %d", m.Message.ID, want)
			}
		}
	}
	if messages != maxIntervals {
		t.Errorf("%d messages are replayed, want those of the last %d stays", messages, maxIntervals)
	}
}

// TestMembersWhileChanging reads members beside the changes: never others than those of the transaction read in.
func TestMembersWhileChanging(t *testing.T) {
	n := town(t)
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() {
		defer close(done)
		for range 100 {
			n.do(&protocol.ChangeMembers{Group: 1, Change: protocol.MembersAdd, Members: users(4)})
			n.do(text(4, protocol.InGroup(1), "x"))
			n.do(&protocol.ChangeMembers{Group: 1, Change: protocol.MembersDel, Members: users(4)})
		}
	})
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		err := n.view(func(r *txn) error {
			g, err := r.rosterOf(n.m.members, 1)
			if err != nil {
				return err
			}
			rows, err := r.memberRows(1)
			if !slices.Equal(rows, g.members) {
				t.Errorf("version %d: members %v, rows %v", g.group.Version, g.members, rows)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
}
