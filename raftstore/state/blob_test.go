package state

import (
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"teamtalk/protocol"
)

func testBlob(n byte) protocol.BlobID { return protocol.BlobID{0: n, 31: n} }

func refsTo(ids ...protocol.BlobID) (refs []protocol.BlobRef) {
	for _, id := range ids {
		refs = append(refs, protocol.BlobRef{ID: id, Size: 10, Type: "image/png"})
	}
	return refs
}

// put is a blob of 10 bytes that node n1 has.
func put(id protocol.BlobID, owner protocol.UserID) *protocol.PutBlob {
	return &protocol.PutBlob{Blob: protocol.Blob{ID: id, Size: 10, Type: "image/png", Width: 3, Height: 4, Owner: owner}, Node: "n1"}
}

func showing(from protocol.UserID, to protocol.Session, ids ...protocol.BlobID) *protocol.SendMessage {
	c := text(from, to, "look")
	c.Blobs = refsTo(ids...)
	return c
}

// avatarOf is the text of an avatar that shows a blob.
func avatarOf(id protocol.BlobID) string {
	return "http://chat.example/msfs/" + protocol.BlobPath{ID: id, Ext: "png", Width: 8, Height: 9}.String()
}

// recorded are the blobs that are, each by its first byte.
func (n *node) recorded() (ids []byte) {
	n.Helper()
	blobs, err := n.Blobs(protocol.BlobID{}, 1000)
	if err != nil {
		n.Fatal(err)
	}
	for _, b := range blobs {
		ids = append(ids, b.ID[0])
	}
	return ids
}

func (n *node) shownAt(at protocol.Position) (row shownRow, found bool, err error) {
	err = n.db.View(func(tx *bbolt.Tx) error {
		row, found, err = (&txn{tx: tx}).shown(messageShower(at))
		return err
	})
	return row, found, err
}

// unused are those that nothing has shown for a while.
func (n *node) unused() (ids []byte) {
	n.Helper()
	blobs, err := n.UnusedBlobs(protocol.Time(n.clock)+1, 1000)
	if err != nil {
		n.Fatal(err)
	}
	for _, b := range blobs {
		ids = append(ids, b.ID[0])
	}
	return ids
}

// gone are the blobs whose content was to be removed, in order.
func (n *node) gone() (ids []byte) {
	for _, e := range n.events {
		if d, ok := e.Body.(protocol.BlobsDropped); ok {
			for _, id := range d.IDs {
				ids = append(ids, id[0])
			}
		}
	}
	return ids
}

func (n *node) wantBlobs(what string, recorded, unused, gone []byte) {
	n.Helper()
	if got := n.recorded(); !slices.Equal(got, recorded) {
		n.Errorf("%s: recorded %v, want %v", what, got, recorded)
	}
	if got := slices.Sorted(slices.Values(n.unused())); !slices.Equal(got, unused) {
		n.Errorf("%s: unused %v, want %v", what, got, unused)
	}
	if got := n.gone(); !slices.Equal(got, gone) {
		n.Errorf("%s: gone %v, want %v", what, got, gone)
	}
}

func (n *node) wantUsage(user protocol.UserID, mine, all uint64) {
	n.Helper()
	if m, a, err := n.BlobUsage(user); m != mine || a != all || err != nil {
		n.Errorf("user %d has %d of %d bytes, %v, want %d of %d", user, m, a, err, mine, all)
	}
}

// TestPackedBlobs: what has no blobs is written as before there were any.
func TestPackedBlobs(t *testing.T) {
	c := keyed(text(1, protocol.WithUser(2), "x"), 9)
	c.Blobs = []protocol.BlobRef{{ID: protocol.BlobID{31: 5}, Size: 6, Type: "a/b"}}
	const head = "01030101" + "00000002" + "00000001" + "00000000000000000000000000000009"
	const blob = "01" + "0000000000000000000000000000000000000000000000000000000000000005" + "0000000000000006" + "03" + "612f62"
	for _, tt := range []struct {
		extras protocol.Extras
		want   string
	}{
		{protocol.Extras{}, head + "00" + "00000000" + "00000000" + blob + "78"},
		{someExtras(), head + "0d" + "01020304" + "05060708" + "746578742f6d61726b646f776e" + blob + "78"},
	} {
		c.Extras = tt.extras
		b, err := encodeCommand(c)
		if got := hex.EncodeToString(b); got != tt.want || err != nil {
			t.Errorf("%s, %v, want %s", got, err, tt.want)
		}
	}
	c.Blobs[0].Type = strings.Repeat("x", 256)
	if _, err := encodeCommand(c); protocol.CodeOf(err) != large {
		t.Errorf("a long type: %v", err)
	}
}

// TestMediaLevel: before all nodes know blobs there are none, and a message is what it was.
func TestMediaLevel(t *testing.T) {
	n := newNodeAt(t, dedupeSpan, levelFederation)
	n.people(2)
	file := protocol.OfflineFile{From: 1, To: 2, TaskID: "t", Name: "f"}
	withBlob := file
	withBlob.Blob = testBlob(1)
	for _, c := range []protocol.Command{put(testBlob(1), 1), &protocol.HoldBlobs{Node: "n1"}, &protocol.DropBlobs{}, &protocol.AddOfflineFile{File: withBlob}} {
		n.refuse(protocol.CodeForbidden, c)
		if _, err := n.m.propose(c); err == nil || !strings.Contains(err.Error(), "upgrade all nodes") {
			t.Errorf("%T is proposed: %v", c, err)
		}
	}
	c := showing(1, protocol.WithUser(2), testBlob(1))
	if b, err := n.m.propose(c); err != nil || b[1] != commandVersion || len(c.Blobs) != 1 {
		t.Errorf("a message is proposed with version %d, %v", b[1], err)
	}
	n.do(c)
	n.do(showing(1, protocol.WithUser(2), protocol.BlobID{})) // what is wrong with them nobody looks at
	n.do(&protocol.ChangeAvatar{User: 1, Avatar: avatarOf(testBlob(2))})
	n.do(&protocol.AddOfflineFile{File: file})
	for id := bBlob; id < numBuckets; id++ {
		if count := n.rows(id); count != 0 {
			t.Errorf("%d rows in %s", count, id.name())
		}
	}
	if err := n.MayStore(); protocol.CodeOf(err) != protocol.CodeForbidden || !strings.Contains(err.Error(), "upgrade all nodes") {
		t.Errorf("content may be brought: %v", err)
	}
	n.do(&protocol.RaiseLevel{To: levelMedia})
	if err := n.MayStore(); err != nil {
		t.Error(err)
	}
	if b, err := n.m.propose(c); err != nil || b[1] != sendBlobsVersion {
		t.Errorf("a message is proposed with version %d, %v", b[1], err)
	}
	n.do(put(testBlob(1), 1))
	n.do(&protocol.AddOfflineFile{File: protocol.OfflineFile{From: 1, To: 2, TaskID: "u", Name: "f", Blob: testBlob(1)}})
	n.do(&protocol.DeleteMessage{Actor: 1, Session: protocol.WithUser(2), ID: 1, Deletion: protocol.Recalled, Within: 1e9})
	n.wantBlobs("the file", []byte{1}, nil, nil)
}

// TestPutBlobAgain: content that came as a file, at which nobody looked, is a picture once it comes as one.
func TestPutBlobAgain(t *testing.T) {
	n := town(t)
	file := put(testBlob(3), 1)
	file.Blob.Type, file.Blob.Width, file.Blob.Height = "", 0, 0
	n.do(file)
	if seen, _ := n.do(put(testBlob(3), 2)).(protocol.PutBlobResult); !seen.Known || seen.Blob.Type != "image/png" || seen.Blob.Width != 3 || seen.Blob.Owner != 1 {
		t.Errorf("a picture that came as a file first: %+v", seen)
	}
}

// TestPutBlob: a blob is recorded once, with who has it; what it counts follows who has it.
func TestPutBlob(t *testing.T) {
	n := town(t)
	first, _ := n.do(put(testBlob(1), 1)).(protocol.PutBlobResult)
	if want := (protocol.Blob{ID: testBlob(1), Size: 10, Type: "image/png", Width: 3, Height: 4, Owner: 1, Added: protocol.Time(n.clock)}); first.Known || first.Blob != want {
		t.Errorf("%+v, want %+v", first, want)
	}
	added := n.events[len(n.events)-1]
	if e, ok := added.Body.(protocol.BlobAdded); !ok || e.Blob != first.Blob || e.Node != "n1" {
		t.Errorf("event %+v", added)
	}
	events := len(n.events)
	again := put(testBlob(1), 2)
	again.Node, again.Blob.Type, again.Blob.Size = "n0", "other/type", 99
	if second, _ := n.do(again).(protocol.PutBlobResult); !second.Known || second.Blob != first.Blob || len(n.events) != events {
		t.Errorf("again: %+v, %d events", second, len(n.events)-events)
	}
	n.reopen()
	if blob, nodes, err := n.Blob(testBlob(1)); blob != first.Blob || !slices.Equal(nodes, []protocol.NodeID{"n0", "n1"}) || err != nil {
		t.Errorf("%+v at %v, %v", blob, nodes, err)
	}
	if _, _, err := n.Blob(testBlob(2)); protocol.CodeOf(err) != protocol.CodeNotFound {
		t.Errorf("an unknown one: %v", err)
	}
	n.wantUsage(1, 10, 10)
	n.wantUsage(2, 0, 10)
	n.do(put(testBlob(2), 0))
	n.wantUsage(0, 10, 20)
	res, _ := n.do(&protocol.HoldBlobs{Node: "n1", IDs: []protocol.BlobID{testBlob(1), testBlob(9), testBlob(2)}, Lost: true}).(protocol.HoldBlobsResult)
	if !slices.Equal(res.Unknown, []protocol.BlobID{testBlob(9)}) {
		t.Errorf("unknown %v", res.Unknown)
	}
	n.wantUsage(1, 10, 10)
	if places, err := n.BlobPlaces(protocol.BlobID{}, 9); err != nil || len(places) != 2 || !slices.Equal(places[0].Nodes, []protocol.NodeID{"n0"}) || len(places[1].Nodes) != 0 {
		t.Errorf("%+v, %v", places, err)
	}
	n.do(&protocol.HoldBlobs{Node: "n0", IDs: []protocol.BlobID{testBlob(1)}, Lost: true})
	n.wantUsage(1, 0, 0)
	for range 2 {
		n.do(&protocol.HoldBlobs{Node: "n3", IDs: []protocol.BlobID{testBlob(1)}})
	}
	n.wantUsage(1, 10, 10)
	n.do(&protocol.DropBlobs{IDs: []protocol.BlobID{testBlob(1), testBlob(1), testBlob(2), testBlob(3)}})
	n.wantUsage(1, 0, 0)
	n.wantBlobs("dropped", nil, nil, []byte{1, 2})
	for id := bBlob; id < numBuckets; id++ {
		if count := n.rows(id); count != 0 {
			t.Errorf("%d rows left in %s", count, id.name())
		}
	}
}

func TestBlobRefusals(t *testing.T) {
	n := town(t)
	n.do(put(testBlob(1), 1))
	with := func(edit func(*protocol.PutBlob)) *protocol.PutBlob {
		c := put(testBlob(2), 1)
		edit(c)
		return c
	}
	many := make([]protocol.BlobID, protocol.MaxBlobIDs+1)
	refs := func(edit func(*protocol.BlobRef)) *protocol.SendMessage {
		c := showing(1, protocol.WithUser(2), testBlob(1))
		edit(&c.Blobs[0])
		return c
	}
	file := protocol.OfflineFile{From: 1, To: 2, TaskID: "t", Name: "f", Blob: testBlob(9)}
	for _, tt := range []refusal{
		{"no id", bad, with(func(c *protocol.PutBlob) { c.Blob.ID = protocol.BlobID{} })},
		{"size", large, with(func(c *protocol.PutBlob) { c.Blob.Size = protocol.MaxBlobSize + 1 })},
		{"long type", large, with(func(c *protocol.PutBlob) { c.Blob.Type = strings.Repeat("x", protocol.MaxContentType+1) })},
		{"no node", bad, with(func(c *protocol.PutBlob) { c.Node = "" })},
		{"nobody's", protocol.CodeNotFound, with(func(c *protocol.PutBlob) { c.Blob.Owner = 99 })},
		{"quota", protocol.CodeQuota, with(func(c *protocol.PutBlob) { c.Quota = 19 })},
		{"quota below one", protocol.CodeQuota, with(func(c *protocol.PutBlob) { c.Quota = 9 })},
		{"quota of the user", protocol.CodeQuota, with(func(c *protocol.PutBlob) { c.UserQuota = 19 })},
		{"hold too many", large, &protocol.HoldBlobs{Node: "n1", IDs: many}},
		{"hold without node", bad, &protocol.HoldBlobs{IDs: many[:1]}},
		{"drop too many", large, &protocol.DropBlobs{IDs: many}},
		{"show too many", large, showing(1, protocol.WithUser(2), many[:protocol.MaxBlobRefs+1]...)},
		{"show nothing", bad, refs(func(r *protocol.BlobRef) { r.ID = protocol.BlobID{} })},
		{"show what is too large", large, refs(func(r *protocol.BlobRef) { r.Size = protocol.MaxBlobSize + 1 })},
		{"show with lines", bad, refs(func(r *protocol.BlobRef) { r.Type = "a\nb" })},
		{"a file without content", protocol.CodeNotFound, &protocol.AddOfflineFile{File: file}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n.TB = t
			n.refuse(tt.code, tt.cmd)
		})
	}
	n.TB = t
	n.do(with(func(c *protocol.PutBlob) { c.Quota, c.UserQuota = 20, 20 }))
	n.do(with(func(c *protocol.PutBlob) { c.Quota, c.UserQuota = 1, 1 })) // it is there already
	n.do(with(func(c *protocol.PutBlob) { c.Blob.ID, c.Blob.Owner, c.UserQuota = testBlob(3), 2, 10 }))
	n.wantUsage(2, 10, 30)
}

// TestBlobsOfMessages: with the last message that shows it a blob is gone; what is shown elsewhere stays. [TT-DEL-4]
func TestBlobsOfMessages(t *testing.T) {
	n := town(t)
	n.do(&protocol.BurnDue{Limit: 1})
	for i := range byte(5) {
		n.do(put(testBlob(i+1), 1))
	}
	n.wantBlobs("brought", []byte{1, 2, 3, 4, 5}, []byte{1, 2, 3, 4, 5}, nil)
	two := protocol.WithUser(2)
	sent, _ := n.do(showing(1, two, testBlob(1), testBlob(2), testBlob(1), testBlob(77))).(protocol.SendResult)
	group, _ := n.do(showing(1, protocol.InGroup(1), testBlob(2))).(protocol.SendResult)
	burn := showing(1, two, testBlob(3))
	burn.Extras.BurnAfter = 5
	burns, _ := n.do(burn).(protocol.SendResult)
	n.wantBlobs("sent", []byte{1, 2, 3, 4, 5}, []byte{4, 5}, nil)
	n.do(recall(1, two, sent.ID))
	n.wantBlobs("recalled", []byte{2, 3, 4, 5}, []byte{4, 5}, []byte{1})
	n.do(&protocol.DeleteMessage{Actor: 1, Session: protocol.InGroup(1), ID: group.ID, Deletion: protocol.Recalled, Within: 1e9})
	n.wantBlobs("recalled in the group", []byte{3, 4, 5}, []byte{4, 5}, []byte{1, 2})
	n.reopen()
	n.do(&protocol.MarkRead{User: 2, Session: protocol.WithUser(1), UpTo: burns.ID})
	n.clock += 5000
	wantBurned(t, n.do(&protocol.BurnDue{Limit: 10}), 1, false)
	n.wantBlobs("burned", []byte{4, 5}, []byte{4, 5}, []byte{1, 2, 3})
	for _, b := range []byte{1, 2, 3} {
		if id := testBlob(b); len(n.holding(string(id[:]))) > 0 {
			t.Errorf("%d is left in %v", b, n.holding(string(id[:])))
		}
	}
	n.do(showing(1, two, testBlob(77)))
	n.do(put(testBlob(77), 2)) // a text that only named it does not show it
	n.wantBlobs("what was named before it came", []byte{4, 5, 77}, []byte{4, 5, 77}, []byte{1, 2, 3})
	sizes := showing(1, two, testBlob(4))
	sizes.Blobs[0].Size, sizes.Blobs[0].Type = 0, "a/b"
	n.do(sizes)
	if row, _, err := n.shownAt(protocol.Position{Index: n.index}); err != nil || !slices.Equal(row.Refs, refsTo(testBlob(4))) {
		t.Errorf("shown %+v, %v", row, err)
	}
}

// TestClaimedBlobs: content that is stored, as its bringer was told, does not go with what somebody else shows before his own message comes. [TT-MEDIA-5]
func TestClaimedBlobs(t *testing.T) {
	for _, tt := range []struct {
		name  string
		bring func(n *node) // what comes before user 1 recalls his message, the only one that shows the blob
		stays bool
	}{
		{"another", func(n *node) { n.do(put(testBlob(1), 2)) }, true},
		{"unnamed", func(n *node) { n.do(put(testBlob(1), 0)) }, true},
		{"a second of his own", func(n *node) { n.do(put(testBlob(1), 1)) }, true},
		{"another, and its author showed it again", func(n *node) {
			n.do(put(testBlob(1), 2))
			n.do(put(testBlob(1), 1))
			at, _ := n.do(showing(1, protocol.InGroup(1), testBlob(1))).(protocol.SendResult)
			n.do(recall(1, protocol.InGroup(1), at.ID))
		}, true},
		{"nobody", func(*node) {}, false},
		{"another, who showed it", func(n *node) {
			n.do(put(testBlob(1), 2))
			at, _ := n.do(showing(2, protocol.WithUser(1), testBlob(1))).(protocol.SendResult)
			n.do(recall(2, protocol.WithUser(1), at.ID))
		}, false},
		{"unnamed, who showed it", func(n *node) {
			n.do(put(testBlob(1), 0))
			n.do(&protocol.ChangeAvatar{User: 2, Avatar: avatarOf(testBlob(1))})
			n.do(&protocol.ChangeAvatar{User: 2, Avatar: ""})
		}, false},
		{"a copy for another office's", func(n *node) {
			c := put(testBlob(1), 0)
			c.Blob.Peer[0] = 7
			n.do(c)
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := town(t)
			n.do(put(testBlob(1), 1))
			sent, _ := n.do(showing(1, protocol.WithUser(2), testBlob(1))).(protocol.SendResult)
			tt.bring(n)
			n.reopen()
			n.do(recall(1, protocol.WithUser(2), sent.ID))
			if !tt.stays {
				n.wantBlobs("recalled", nil, nil, []byte{1})
				return
			}
			n.wantBlobs("recalled", []byte{1}, []byte{1}, nil)
			since := protocol.Time(n.clock)
			n.do(&protocol.DropBlobs{IDs: []protocol.BlobID{testBlob(1)}, Unused: true, Before: since})
			n.wantBlobs("not unused for long", []byte{1}, []byte{1}, nil)
			n.do(&protocol.DropBlobs{IDs: []protocol.BlobID{testBlob(1)}, Unused: true, Before: since + 1})
			n.wantBlobs("swept", nil, nil, []byte{1})
		})
	}
}

// TestClaims: of too many the oldest are forgotten; none is kept twice.
func TestClaims(t *testing.T) {
	var c claims
	for u := range protocol.UserID(10) {
		c.add(u + 1)
		c.add(u + 1)
	}
	if want := (claims{3, 4, 5, 6, 7, 8, 9, 10}); c != want {
		t.Errorf("%v, want %v", c, want)
	}
	if c.remove(1) || !c.remove(5) || c.remove(5) || c != (claims{3, 4, 6, 7, 8, 9, 10}) {
		t.Errorf("%v", c)
	}
}

// TestBlobsOfProfiles: what an avatar, a group's picture or a waiting file has shown is left to the sweep, from then on.
func TestBlobsOfProfiles(t *testing.T) {
	n := town(t)
	for i := range byte(5) {
		n.do(put(testBlob(i+1), 1))
	}
	n.do(&protocol.ChangeAvatar{User: 1, Avatar: avatarOf(testBlob(1))})
	n.do(&protocol.EditUser{User: 2, Avatar: ptr(avatarOf(testBlob(2)))})
	n.do(&protocol.EditGroup{Group: 1, Avatar: ptr(avatarOf(testBlob(3)))})
	n.do(&protocol.AddOfflineFile{File: protocol.OfflineFile{From: 1, To: 2, TaskID: "t", Name: "f", Blob: testBlob(4)}})
	n.do(&protocol.AddUsers{Users: []protocol.NewUser{{User: protocol.User{Name: "new", Avatar: avatarOf(testBlob(5))}}}})
	n.wantBlobs("shown", []byte{1, 2, 3, 4, 5}, nil, nil)
	if f, err := n.OfflineFileByTask(2, "t"); f.Blob != testBlob(4) || f.From != 1 || err != nil {
		t.Errorf("%+v, %v", f, err)
	}
	if _, err := n.OfflineFileByTask(2, "u"); protocol.CodeOf(err) != protocol.CodeNotFound {
		t.Errorf("no such task: %v", err)
	}
	n.do(&protocol.ChangeSign{User: 1, Sign: "s"})
	n.do(&protocol.EditUser{User: 2, Nick: ptr("k")})
	n.wantBlobs("other changes", []byte{1, 2, 3, 4, 5}, nil, nil)
	start := protocol.Time(n.clock)
	n.do(&protocol.ChangeAvatar{User: 1, Avatar: "x.png"})
	n.do(&protocol.EditUser{User: 2, Avatar: ptr(avatarOf(testBlob(1)))})
	n.do(&protocol.EditGroup{Group: 1, Avatar: ptr("")})
	n.do(&protocol.DeleteOfflineFile{Actor: 2, From: 1, To: 2, TaskID: "t"})
	n.wantBlobs("replaced", []byte{1, 2, 3, 4, 5}, []byte{2, 3, 4}, nil)
	if blobs, err := n.UnusedBlobs(start+2500, 9); err != nil || len(blobs) != 1 || blobs[0].ID != testBlob(2) {
		t.Errorf("unused since the second: %v, %v", blobs, err)
	}
	all := []protocol.BlobID{testBlob(1), testBlob(2), testBlob(3), testBlob(4), testBlob(5)}
	n.do(put(testBlob(3), 2)) // about to be shown again
	if res, _ := n.do(&protocol.DropBlobs{IDs: all, Unused: true, Before: start + 4500}).(protocol.DropBlobsResult); !slices.Equal(res.Dropped, []protocol.BlobID{testBlob(2), testBlob(4)}) {
		t.Errorf("dropped %v", res.Dropped)
	}
	n.wantBlobs("swept", []byte{1, 3, 5}, []byte{3}, []byte{2, 4})
}

// TestRetention: by age blobs go whatever shows them.
func TestRetention(t *testing.T) {
	n := town(t)
	n.do(put(testBlob(1), 1))
	between := protocol.Time(n.clock) + 1
	n.do(put(testBlob(2), 1))
	n.do(showing(1, protocol.WithUser(2), testBlob(1), testBlob(2)))
	n.do(put(testBlob(1), 2)) // is not younger for that
	old, err := n.BlobsAddedBefore(between, 9)
	if err != nil || len(old) != 1 || old[0].ID != testBlob(1) {
		t.Fatalf("%v, %v", old, err)
	}
	n.do(&protocol.DropBlobs{IDs: []protocol.BlobID{testBlob(1), testBlob(2)}, Before: between})
	n.wantBlobs("old", []byte{2}, nil, []byte{1})
	n.do(put(testBlob(1), 2)) // its message shows it still
	n.wantBlobs("brought again", []byte{1, 2}, nil, []byte{1})
	n.do(recall(1, protocol.WithUser(2), 3))
	n.wantBlobs("recalled", []byte{1}, []byte{1}, []byte{1, 2}) // who brought it again is about to show it
}

// TestDamagedBlobs overwrites rows of blobs with rubbish: queries and commands must say so, not panic.
func TestDamagedBlobs(t *testing.T) {
	n := town(t)
	for i := range byte(2) {
		n.do(put(testBlob(i+1), 1))
	}
	n.do(&protocol.ChangeAvatar{User: 1, Avatar: avatarOf(testBlob(1))})
	n.do(showing(1, protocol.WithUser(2), testBlob(1)))
	for id := bBlob; id < numBuckets; id++ {
		tx, err := n.db.Begin(true)
		if err != nil {
			t.Fatal(err)
		}
		b := tx.Bucket([]byte(id.name()))
		var keys []string
		if err := b.ForEach(func(k, _ []byte) error { keys = append(keys, string(k)); return nil }); err != nil {
			t.Fatal(err)
		}
		for _, k := range keys {
			if err := b.Put([]byte(k), []byte{9, 9}); err != nil {
				t.Fatal(err)
			}
			if err := b.Put([]byte(k[:len(k)-1]), nil); err != nil {
				t.Fatal(err)
			}
		}
		q := &Queries{members: newMemberCache(), read: func(fn func(*bbolt.Tx) error) error { return fn(tx) }, applied: func() protocol.Cursor { return 99 }}
		var errs []error
		note := func(_ any, err error) { errs = append(errs, err) }
		note(q.BlobPlaces(protocol.BlobID{}, 9))
		note(q.UnusedBlobs(1<<60, 9))
		note(q.BlobsAddedBefore(1<<60, 9))
		_, _, err = q.Blob(testBlob(1))
		note(nil, err)
		_, _, err = q.BlobUsage(1)
		note(nil, err)
		for _, c := range []protocol.Command{put(testBlob(1), 1), recall(1, protocol.WithUser(2), 3), &protocol.DropBlobs{IDs: []protocol.BlobID{testBlob(1)}}} {
			b, err := encodeCommand(c)
			if err != nil {
				t.Fatal(err)
			}
			_, err = newOpened(t, tx).Apply(tx, protocol.Position{Index: 99}, n.clock, b)
			if err != nil {
				err = protocol.Errorf(protocol.CodeInternal, "%v", err)
			}
			note(nil, err)
		}
		failed := slices.ContainsFunc(errs, func(err error) bool { return err != nil && protocol.CodeOf(err) == protocol.CodeInternal })
		// These are read by their keys alone, or count as nothing where they are not whole.
		quiet := id == bHolder || id == bShower || id == bOffered || id == bUsage
		if !failed && !quiet {
			t.Errorf("nobody noticed the damage in %s", id.name())
		}
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
	}
}

func newOpened(t *testing.T, tx *bbolt.Tx) *machine {
	t.Helper()
	m := newMachine("test", dedupeSpan, Level)
	if err := m.Open(tx); err != nil {
		t.Fatal(err)
	}
	return m
}
