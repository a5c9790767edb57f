package state

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// samples are commands with all their fields set.
func samples() []protocol.Command {
	s := protocol.InGroup(7)
	return []protocol.Command{
		&protocol.SendMessage{From: 1, To: s, Type: protocol.MsgGroupText, Data: []byte("x"), ClientMsgID: protocol.ClientMsgID{1, 2}},
		&protocol.MarkRead{User: 1, Session: s, UpTo: 3, Origin: 9},
		&protocol.RemoveSession{User: 1, Session: s, Origin: 9},
		&protocol.RegisterDevice{User: 1, Client: protocol.ClientIOS, Token: "t"},
		&protocol.SetPushShield{User: 1, On: true},
		&protocol.ShieldGroup{User: 1, Group: 7, On: true},
		&protocol.ChangeSign{User: 1, Sign: "s"},
		&protocol.ChangeAvatar{User: 1, Avatar: "a"},
		&protocol.CreateGroup{Actor: 1, Type: protocol.GroupTemp, Name: "n", Avatar: "a", Members: users(1, 2)},
		&protocol.ChangeMembers{Actor: 1, Group: 7, Change: protocol.MembersAdd, Members: users(3), Origin: 9},
		&protocol.AddOfflineFile{File: protocol.OfflineFile{From: 1, To: 2, TaskID: "t", Name: "n", Size: 5, Added: 6}},
		&protocol.DeleteOfflineFile{Actor: 1, From: 1, To: 2, TaskID: "t"},
		&protocol.AddUsers{Users: []protocol.NewUser{{User: protocol.User{ID: 1, Name: "n", Nick: "k", Gender: 1, Avatar: "a", Department: 2, Email: "e",
			Phone: "p", Domain: "d", Status: 1, Sign: "s", PushShield: true, Created: 3, Updated: 4}, PasswordHash: "h"}}},
		&protocol.EditUser{User: 1, Nick: ptr(""), Gender: ptr(uint8(1)), Avatar: ptr("a"), Department: ptr(protocol.DeptID(2)), Email: ptr("e"),
			Phone: ptr("p"), Domain: ptr("d"), Status: ptr(protocol.StatusLeft), Sign: ptr("s")},
		&protocol.SetPassword{User: 1, Hash: "h", If: "i"},
		&protocol.PutDepartment{Department: protocol.Department{ID: 1, Name: "n", Parent: 2, Priority: 3, Deleted: true, Updated: 4}},
		&protocol.EditGroup{Group: 7, Name: ptr("n"), Avatar: ptr("a"), Creator: ptr(protocol.UserID(1)), Close: true},
		&protocol.FoundCluster{Cluster: testCluster(1)},
		&protocol.RevokeSessions{User: 1, Scope: protocol.RevokeDevice, Device: "d"},
		&protocol.DeleteMessage{Actor: 1, Session: s, ID: 3, Deletion: protocol.Recalled, Within: 4},
		&protocol.BurnDue{Limit: 5},
		&protocol.RaiseLevel{To: 2},
		&protocol.SetIdentity{Identity: []byte("i"), After: 2},
		&protocol.AddInvitation{Hash: [32]byte{1}, Expires: 2},
		&protocol.SetPeer{Cluster: [16]byte{1}, Peer: []byte("p"), After: 2, Invitation: [32]byte{3}},
		&protocol.ReceiveEvent{Cluster: [16]byte{1}, Epoch: 2, Lane: 3, Sequence: 4, Event: []byte("e"), Key: [8]byte{5}, Sig: []byte("s"),
			Bad: &protocol.Refusal{Sequence: 6, Code: 7, Text: "t"}},
		&protocol.AckEvents{Cluster: [16]byte{1}, Epoch: 2, Lane: 3, Sequence: 4, Refused: []protocol.Refusal{{Sequence: 5, Code: 6, Text: "t"}}},
		&protocol.SweepFederation{},
		&protocol.AddAlias{Cluster: [16]byte{1}, User: 2, Profile: []byte("p")},
		&protocol.ReceiveHistory{Cluster: [16]byte{1}, Event: []byte("e"), Key: [8]byte{2}, Sig: []byte("s"), Done: 3, Group: 4},
		&protocol.SendMessage{From: 1, To: s, Type: protocol.MsgGroupText, Data: []byte("x"), ClientMsgID: protocol.ClientMsgID{1, 2}, Extras: someExtras()},
		&protocol.SendMessage{From: 1, To: s, Type: protocol.MsgGroupText, Data: []byte("x"), Blobs: []protocol.BlobRef{{ID: testBlob(1), Size: 2, Type: "image/png"}, {ID: testBlob(3)}}},
		&protocol.SendMessage{From: 1, To: s, Type: protocol.MsgGroupText, Data: []byte("x"), Extras: someExtras(), Blobs: []protocol.BlobRef{{ID: testBlob(1), Size: 1 << 40}}},
		&protocol.AddOfflineFile{File: protocol.OfflineFile{From: 1, To: 2, TaskID: "t", Name: "n", Size: 5, Added: 6, Blob: testBlob(7)}},
		&protocol.PutBlob{Blob: protocol.Blob{ID: testBlob(1), Size: 2, Type: "t", Width: 3, Height: 4, Owner: 5, Added: 6, Peer: [16]byte{7}}, Node: "n", UserQuota: 8, Quota: 9},
		&protocol.HoldBlobs{Node: "n", IDs: []protocol.BlobID{testBlob(1), testBlob(2)}, Lost: true},
		&protocol.DropBlobs{IDs: []protocol.BlobID{testBlob(1)}, Unused: true, Before: 2},
	}
}

func TestCommandsKeepTheirFields(t *testing.T) {
	kinds := make(map[protocol.CommandKind]bool)
	for _, c := range samples() {
		kinds[c.Kind()] = true
		b, err := encodeCommand(c)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeCommand(b)
		if err != nil {
			t.Fatalf("%T: %v", c, err)
		}
		if diff := cmp.Diff(c, got); diff != "" {
			t.Errorf("%T: %s", c, diff)
		}
	}
	for k := protocol.CommandKind(1); protocol.NewCommand(k) != nil; k++ {
		if !kinds[k] {
			t.Errorf("command kind %d has no sample", k)
		}
	}
}

func TestForeignCommands(t *testing.T) {
	good, err := encodeCommand(&protocol.ChangeSign{User: 1, Sign: "s"})
	if err != nil {
		t.Fatal(err)
	}
	future := struct {
		User protocol.UserID `cbor:"1,keyasint"`
		More string          `cbor:"99,keyasint"`
	}{1, "x"}
	unknown, err := codec.enc.Marshal(future)
	if err != nil {
		t.Fatal(err)
	}
	head := []byte{byte(protocol.KindChangeSign), commandVersion}
	tests := []struct {
		name  string
		cmd   []byte
		newer bool // stops the node; else refused
	}{
		{"unknown kind", []byte{200, 1, 0xa0}, true},
		{"newer version", append([]byte{good[0], commandVersion + 1}, good[2:]...), true},
		{"unknown field", append(bytes.Clone(head), unknown...), true},
		{"empty", nil, false},
		{"a message of version 4", []byte{byte(protocol.KindSendMessage), sendBlobsVersion + 1}, true},
		{"another command of version 2", []byte{byte(protocol.KindChangeSign), sendExtrasVersion, 0xa0}, true},
		{"short extras", append(append([]byte{byte(protocol.KindSendMessage), sendExtrasVersion}, make([]byte, sendFixedLen-2)...), 9, 0, 0, 0, 0, 0, 0, 0, 0, 'x'), false},
		{"short blobs", append(append([]byte{byte(protocol.KindSendMessage), sendBlobsVersion}, make([]byte, sendFixedLen-2)...), 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 'x'), false},
		{"no blobs", append(append([]byte{byte(protocol.KindSendMessage), sendBlobsVersion}, make([]byte, sendFixedLen-2)...), 0, 0, 0, 0, 0, 0, 0, 0, 0), false},
		{"no extras", append([]byte{byte(protocol.KindSendMessage), sendExtrasVersion}, make([]byte, sendFixedLen-2)...), false},
		{"short", []byte{7}, false},
		{"cut", good[:len(good)-1], false},
		{"more behind it", append(bytes.Clone(good), 0), false},
		{"key twice", append(bytes.Clone(head), 0xa2, 1, 1, 1, 2), false},
		{"indefinite length", append(bytes.Clone(head), 0xbf, 1, 1, 0xff), false},
		{"wrong type", append(bytes.Clone(head), 0xa1, 1, 0x61, 'x'), false},
		{"number too large", append(bytes.Clone(head), 0xa1, 1, 0x1b, 1, 0, 0, 0, 0, 0, 0, 0), false},
		{"a long array announced", []byte{byte(protocol.KindChangeMembers), commandVersion, 0xa1, 4, 0x9a, 0x7f, 0xff, 0xff, 0xff}, false},
	}
	n := newNode(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tx, err := n.db.Begin(true)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = tx.Rollback() }()
			a, err := n.m.Apply(tx, protocol.Position{Index: 1}, 1, tt.cmd)
			if tt.newer != errors.Is(err, errNewerCommand) || !tt.newer && err != nil {
				t.Errorf("error %v", err)
			}
			if refusal, _ := a.Result.(error); !tt.newer && protocol.CodeOf(refusal) != protocol.CodeInvalid {
				t.Errorf("result %v", a.Result)
			}
		})
	}
}

func TestManyUsersInOneCommand(t *testing.T) {
	n := newNode(t)
	n.people(100_000)
	if count, err := n.UserCount(); count != 100_000 || err != nil {
		t.Errorf("%d users, %v", count, err)
	}
}

func TestFormats(t *testing.T) {
	n := newNode(t)
	n.people(1)
	err := n.db.Update(func(tx *bbolt.Tx) error { return (&txn{tx: tx}).setNumber(metaFormat, formatVersion+1) })
	if err != nil {
		t.Fatal(err)
	}
	err = n.db.Update(newMachine("older", dedupeSpan, Level).Open)
	want := `the state is of format 4, made by "test", and this is "older", which knows format 3: run a version that knows format 4, or start with an empty data directory`
	if err == nil || err.Error() != want {
		t.Errorf("a newer format: %v", err)
	}
}

// TestDamage overwrites rows with rubbish: queries must say so, not panic.
func TestDamage(t *testing.T) {
	n := town(t)
	n.do(&protocol.AddOfflineFile{File: protocol.OfflineFile{From: 1, To: 2, TaskID: "t", Name: "f"}})
	n.do(&protocol.ChangeSign{User: 1, Sign: "s"})
	n.do(&protocol.SetPassword{User: 1, Hash: "h"})
	n.do(&protocol.RegisterDevice{User: 2, Token: "t"})
	n.do(&protocol.RevokeSessions{User: 1, Scope: protocol.RevokePC})
	n.do(&protocol.BurnDue{Limit: 1})
	for range 2 {
		n.do(burning(1, 2, 5))
	}
	n.do(&protocol.MarkRead{User: 2, Session: protocol.WithUser(1), UpTo: 3})
	n.do(&protocol.DeleteMessage{Actor: 1, Session: protocol.WithUser(2), ID: 1, Deletion: protocol.Recalled, Within: 1e6})
	for id := range bPeer { // those of federation: TestDamageAbroad
		if id == bMeta {
			continue
		}
		tx, err := n.db.Begin(true)
		if err != nil {
			t.Fatal(err)
		}
		b := tx.Bucket([]byte(id.name()))
		var keys [][]byte
		if err := b.ForEach(func(k, _ []byte) error { keys = append(keys, bytes.Clone(k)); return nil }); err != nil {
			t.Fatal(err)
		}
		for i, k := range keys {
			if err := b.Put(k, make([]byte, i)); err != nil {
				t.Fatal(err)
			}
		}
		q := &Queries{members: newMemberCache(), read: func(fn func(*bbolt.Tx) error) error { return fn(tx) }, applied: func() protocol.Cursor { return 99 }}
		errs := []error{}
		note := func(_ any, err error) { errs = append(errs, err) }
		note(q.UserByID(1))
		note(q.History(2, protocol.WithUser(1), 0, 10))
		note(q.RecentSessions(2, 0, 10))
		note(q.Members(1))
		note(q.GroupsOf(2))
		note(q.OfflineFiles(2))
		note(q.DeviceToken(2))
		_, _, err = q.NextBurn()
		note(nil, err)
		_, _, err = q.EventsAfter(2, 0, 100)
		note(nil, err)
		_, err = q.Revoked(1, "d", protocol.ClientMac)
		note(nil, err)
		_, _, err = q.Login("u1")
		note(nil, err)
		_, _, err = q.DepartmentsSince(0)
		note(nil, err)
		failed := false
		for _, err := range errs {
			failed = failed || err != nil && protocol.CodeOf(err) == protocol.CodeInternal
		}
		// These hold nothing that a row could get wrong, or nothing that these queries read.
		quiet := id == bUpdated || id == bMember || id == bSparse || id == bDedupe || id == bToken || id == bUnburned || id == bDue
		if !failed && !quiet {
			t.Errorf("nobody noticed the damage in %s", id.name())
		}
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
	}
}

func FuzzDecodeCommand(f *testing.F) {
	for _, c := range samples() {
		b, err := encodeCommand(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeCommand(b)
		if err != nil {
			return
		}
		again, err := encodeCommand(c)
		if err != nil {
			t.Fatal(err)
		}
		d, err := decodeCommand(again)
		if err != nil || !cmp.Equal(c, d) {
			t.Fatalf("%+v became %+v, %v", c, d, err)
		}
	})
}

func FuzzUnpackMessage(f *testing.F) {
	m := messageRow{typ: protocol.MsgSingleText, conv: protocol.WithUser(2).Conversation(1), id: 3, from: 1, time: 4,
		prev: protocol.Position{Index: 5, Sub: 6}, ordinal: 7, client: protocol.ClientMsgID{8}, data: []byte("x")}
	b := make([]byte, m.size())
	m.pack(b)
	f.Add(b)
	m.extras = someExtras()
	b = make([]byte, m.size())
	m.pack(b)
	f.Add(b)
	m.deleted, m.data, m.extras = protocol.Burned, nil, protocol.Extras{BurnAfter: 5}
	b = make([]byte, m.size())
	m.pack(b)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := unpackMessage(b)
		if err != nil {
			return
		}
		if m.deleted != 0 && (len(m.data) > 0 || m.extras.ContentType != "" || m.extras.ReplyTo != 0) {
			t.Fatalf("a deleted message with content: %+v", m)
		}
		again := make([]byte, m.size())
		m.pack(again)
		n, err := unpackMessage(again)
		if err != nil || !reflect.DeepEqual(m, n) && len(m.data)+len(n.data) > 0 {
			t.Fatalf("%+v became %+v, %v", m, n, err)
		}
	})
}

func FuzzUnpackHead(f *testing.F) {
	h := head{last: 1, at: protocol.Position{Index: 2, Sub: 3}, time: 4, countA: 5}
	b := make([]byte, headLen)
	h.pack(b)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := unpackHead(b)
		if err != nil {
			return
		}
		again := make([]byte, headLen)
		h.pack(again)
		if !bytes.Equal(b, again) {
			t.Fatalf("%x became %x", b, again)
		}
	})
}

func FuzzUnpackSession(f *testing.F) {
	r := sessionRow{shielded: true, read: 1, readPeer: 2, told: 3, toldAt: protocol.Position{Index: 4}, removed: 5,
		removedAt: protocol.Position{Index: 6}, stays: []interval{{1, protocol.Position{Index: 1}, 2, protocol.Position{Index: 9}}, {first: 3}}}
	b := make([]byte, r.size())
	r.pack(b)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := unpackSession(b)
		if err != nil {
			return
		}
		again := make([]byte, r.size())
		r.pack(again)
		if !bytes.Equal(b, again) {
			t.Fatalf("%x became %x", b, again)
		}
	})
}

func FuzzDecodeRow(f *testing.F) {
	for _, v := range []any{userRow{User: protocol.User{ID: 1, Name: "n"}}, protocol.Group{ID: 1, Name: "g"}, changeRow{Actor: 1, Change: 2, Changed: users(3)},
		protocol.Department{ID: 1}, protocol.DeviceToken{User: 1}, protocol.OfflineFile{From: 1},
		protocol.Cluster{}, revokedRow{1, 2}, hubRow{Inner: [32]byte{1}}, forkRow{Seq: 2}, deadRow{Text: "t"}, hubVersion{1, 2}, []era{{1, 2}}, fed.Peer{Version: 1}} {
		b, err := encodeRow(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, v := range []any{new(userRow), new(protocol.Group), new(changeRow), new(protocol.Department), new(protocol.DeviceToken), new(protocol.OfflineFile),
			new(protocol.Cluster), new(revokedRow), new(hubRow), new(forkRow), new(deadRow), new(hubVersion), new([]era), new(fed.Peer), new(fed.Identity)} {
			if err := decodeRow(b, v); err != nil {
				continue
			}
			if _, err := encodeRow(v); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func BenchmarkEncodeCommand(b *testing.B) {
	c := text(1, protocol.WithUser(2), string(make([]byte, 100)))
	c.ClientMsgID[0] = 1
	b.ReportAllocs()
	for b.Loop() {
		if _, err := encodeCommand(c); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeCommand(b *testing.B) {
	c := text(1, protocol.WithUser(2), string(make([]byte, 100)))
	c.ClientMsgID[0] = 1
	cmd, err := encodeCommand(c)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decodeCommand(cmd); err != nil {
			b.Fatal(err)
		}
	}
}

// reader has 200 sessions of user 1, each with 100 messages of which the half is read.
func reader(b *testing.B) *node {
	n := newNode(b)
	n.people(201)
	for i := range 100 {
		cmds := make([]protocol.Command, 0, 400)
		for peer := protocol.UserID(2); peer <= 201; peer++ {
			cmds = append(cmds, text(peer, protocol.WithUser(1), "hello, this is a message of some length, as they are"))
			if i == 50 {
				cmds = append(cmds, &protocol.MarkRead{User: 1, Session: protocol.WithUser(peer)})
			}
		}
		n.apply(cmds...)
	}
	return n
}

func BenchmarkUnread200(b *testing.B) {
	n := reader(b)
	for b.Loop() {
		list, err := n.Unread(1)
		if err != nil || len(list) != 200 || list[0].Count != 49 {
			b.Fatal(len(list), err)
		}
	}
}

func BenchmarkRecentSessions200(b *testing.B) {
	n := reader(b)
	for b.Loop() {
		if list, err := n.RecentSessions(1, 0, 100); err != nil || len(list) != 100 {
			b.Fatal(len(list), err)
		}
	}
}

func BenchmarkHistory20(b *testing.B) {
	n := reader(b)
	for _, begin := range []protocol.MsgID{0, 65} { // 65 is as far as can be from a row of the sparse index
		b.Run("begin="+itoa(int(begin)), func(b *testing.B) {
			for b.Loop() {
				peer := protocol.UserID(rand.IntN(200) + 2)
				if list, err := n.History(1, protocol.WithUser(peer), begin, 20); err != nil || len(list) != 20 {
					b.Fatal(len(list), err)
				}
			}
		})
	}
}

func BenchmarkEventsAfter(b *testing.B) {
	n := reader(b)
	for _, back := range []protocol.Cursor{0, 1, 50} { // entries of 200 events
		b.Run("back="+itoa(int(back)), func(b *testing.B) {
			for b.Loop() {
				if list, _, err := n.EventsAfter(1, n.applied-back, 500); err != nil || len(list) != int(min(3, back)*200) {
					b.Fatal(len(list), err)
				}
			}
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	n := bench(b, 100)
	n.db.NoSync = true
	seq := 0
	for ; seq < 2*dedupeSpan-1; n.index++ { // both epochs of the window full
		cmds := make([][]byte, 0, 512)
		for ; len(cmds) < 512 && seq < 2*dedupeSpan-1; seq++ {
			cmds = append(cmds, sendCommand(b, uint64(seq), seq%100, 100))
		}
		n.commit(n.index+10, cmds)
	}
	for b.Loop() {
		if err := n.db.Update(n.m.Open); err != nil {
			b.Fatal(err)
		}
	}
}
