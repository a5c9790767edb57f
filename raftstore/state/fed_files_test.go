package state

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// heldBack has an office be one whose cluster uses a lower level.
func (o *office) heldBack(level protocol.Level) {
	o.Helper()
	if err := o.db.Update(func(tx *bbolt.Tx) error { return (&txn{tx: tx}).setNumber(metaLevel, uint64(level)) }); err != nil {
		o.Fatal(err)
	}
	o.reopen()
}

// allow changes what may pass between an office and another one, as the first one has it.
func (o *office) allow(of *office, in, out fed.Allow) {
	o.Helper()
	o.do(&protocol.SetPeer{Cluster: of.id, After: o.m.abroad.peers[of.id].Version, Peer: mustCBOR(fed.Peer{Manifest: of.signed, State: fed.PeerConfirmed, In: in, Out: out})})
}

func (o *office) wantMay(peer *office, b byte, want bool) {
	o.Helper()
	if may, err := o.MaySeeBlob(peer.id, testBlob(b)); may != want || err != nil {
		o.Errorf("%s may have blob %d of %s: %v, %v", peer.name, b, o.name, may, err)
	}
}

// wantAt looks whose a blob is, as an office has it: nobody's if it is not recorded.
func (o *office) wantAt(b byte, peer fed.ClusterID, nodes int) {
	o.Helper()
	blob, places, err := o.Blob(testBlob(b))
	if err != nil || blob.Peer != peer || len(places) != nodes || blob.Size != 10 || blob.Type != "image/png" {
		o.Errorf("%s has blob %d as %+v at %v, %v", o.name, b, blob, places, err)
	}
}

func (o *office) wantNone(b byte) {
	o.Helper()
	if _, _, err := o.Blob(testBlob(b)); protocol.CodeOf(err) != protocol.CodeNotFound {
		o.Errorf("%s has blob %d: %v", o.name, b, err)
	}
	if id := testBlob(b); len(o.holding(string(id[:]))) > 0 {
		o.Errorf("%s has blob %d in %v", o.name, b, o.holding(string(id[:])))
	}
	o.sound()
}

func (o *office) sound() {
	o.Helper()
	if wrong := o.checkBlobs(); len(wrong) > 0 {
		o.Error(wrong)
	}
}

// TestBlobsAbroad: a picture one to one is known to both offices; it is at its origin, and gone with its message [FED-FILE-1] [FED-FILE-2].
func TestBlobsAbroad(t *testing.T) {
	w := newWorld(t, 3)
	a, b, c := w.offices[0], w.offices[1], w.offices[2]
	bob := protocol.WithUser(a.person(b, 2))
	a.do(put(testBlob(1), 1))
	sent, _ := a.do(showing(1, bob, testBlob(1))).(protocol.SendResult)
	if refused := w.settle(); refused != nil {
		t.Fatal(refused)
	}
	a.wantAt(1, fed.ClusterID{}, 1)
	b.wantAt(1, a.id, 0)
	a.wantMay(b, 1, true)
	a.wantMay(c, 1, false)
	b.wantMay(a, 1, true)
	b.wantMay(c, 1, false)
	b.wantUsage(0, 0, 0)
	b.do(&protocol.HoldBlobs{Node: "n7", IDs: []protocol.BlobID{testBlob(1)}})
	b.wantAt(1, a.id, 1)
	b.wantUsage(0, 10, 10)
	a.reopen()
	a.do(recall(1, bob, sent.ID))
	a.wantNone(1)
	a.wantMay(b, 1, false)
	w.settle()
	b.wantNone(1)
	if got := b.gone(); !slices.Equal(got, []byte{1}) {
		t.Errorf("gone there: %v", got)
	}
}

// TestBlobsInGroupsAbroad: the hub has it from its origin, the others from the hub [FED-FILE-1] [FED-FILE-2].
func TestBlobsInGroupsAbroad(t *testing.T) {
	w := newWorld(t, 3)
	hub, b, c := w.offices[0], w.offices[1], w.offices[2]
	_, at := w.group()
	b.do(put(testBlob(1), 1))
	sent, _ := b.do(showing(1, at(b), testBlob(1))).(protocol.SendResult)
	hub.do(put(testBlob(2), 1))
	second, _ := hub.do(showing(1, at(hub), testBlob(2))).(protocol.SendResult)
	if refused := w.settle(); refused != nil {
		t.Fatal(refused)
	}
	b.wantAt(1, fed.ClusterID{}, 1)
	hub.wantAt(1, b.id, 0)
	c.wantAt(1, hub.id, 0)
	b.wantMay(hub, 1, true)
	b.wantMay(c, 1, false)
	hub.wantMay(c, 1, true)
	c.wantMay(b, 1, false)
	for _, o := range []*office{b, c} {
		o.wantAt(2, hub.id, 0)
		hub.wantMay(o, 2, true)
	}
	b.do(recall(1, at(b), sent.ID))
	hub.do(recall(1, at(hub), second.ID))
	w.settle()
	for _, o := range w.offices {
		o.wantNone(1)
		o.wantNone(2)
	}
}

// TestFilesNotAllowed: without files the words pass, and nothing of what they show is recorded, or given [FED-FILE-1] [FED-FILE-2].
func TestFilesNotAllowed(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.offices[0], w.offices[1]
	bob := protocol.WithUser(a.person(b, 2))
	b.allow(a, fed.AllowAll&^fed.AllowFiles, fed.AllowAll)
	a.do(put(testBlob(1), 1))
	a.do(&protocol.ChangeAvatar{User: 1, Avatar: avatarOf(testBlob(1))})
	a.do(showing(1, bob, testBlob(1)))
	if refused := w.settle(); refused != nil {
		t.Fatal(refused)
	}
	equal(t, "said", []string{"hangzhou1: look"}, b.texts(2, protocol.WithUser(b.person(a, 1))))
	if _, _, err := b.Blob(testBlob(1)); protocol.CodeOf(err) != protocol.CodeNotFound {
		t.Errorf("recorded: %v", err)
	}
	a.wantMay(b, 1, true)
	a.allow(b, fed.AllowAll, fed.AllowAll&^fed.AllowFiles)
	a.wantMay(b, 1, false)
	if err := a.MaySendFile(1, bob.Peer()); protocol.CodeOf(err) != protocol.CodeForbidden {
		t.Errorf("a file may be sent: %v", err)
	}
	a.refuse(protocol.CodeForbidden, &protocol.AddOfflineFile{File: protocol.OfflineFile{From: 1, To: bob.Peer(), TaskID: "t", Name: "f", Blob: testBlob(1)}})
	a.allow(b, fed.AllowAll, fed.AllowAll)
	for _, to := range []protocol.UserID{2, bob.Peer()} {
		if err := a.MaySendFile(1, to); err != nil {
			t.Errorf("a file may not be sent to %d: %v", to, err)
		}
	}
	a.do(&protocol.AddOfflineFile{File: protocol.OfflineFile{From: 1, To: bob.Peer(), TaskID: "t", Name: "f", Blob: testBlob(1)}})
	if refused := w.settle(); len(refused) != 1 || refused[0].Code != protocol.CodeForbidden {
		t.Errorf("a file is refused with %v", refused)
	}
}

// TestNamingIsNotHaving: who names a blob of this office's in a message of his own is not given it; nor does he become the one who is asked for another's [FED-FILE-2].
func TestNamingIsNotHaving(t *testing.T) {
	w := newWorld(t, 3)
	a, b, c := w.offices[0], w.offices[1], w.offices[2]
	a.do(put(testBlob(1), 1))
	c.do(put(testBlob(2), 1))
	c.do(showing(1, protocol.WithUser(c.person(a, 1)), testBlob(2)))
	w.settle()
	b.do(put(testBlob(1), 0)) // so it says
	b.do(put(testBlob(2), 0))
	b.do(showing(1, protocol.WithUser(b.person(a, 1)), testBlob(1), testBlob(2)))
	if refused := w.settle(); refused != nil {
		t.Fatal(refused)
	}
	a.wantMay(b, 1, false)
	a.wantMay(b, 2, false)
	a.wantAt(1, fed.ClusterID{}, 1)
	a.wantAt(2, c.id, 0)
	a.allow(c, 0, 0)
	a.do(&protocol.SetPeer{Cluster: c.id, After: a.m.abroad.peers[c.id].Version, Peer: mustCBOR(fed.Peer{Manifest: c.signed, State: fed.PeerRemoved})})
	b.do(showing(1, protocol.WithUser(b.person(a, 1)), testBlob(2)))
	w.carryAll(b, a)
	a.wantAt(2, b.id, 0) // nobody else could give it
	a.sound()
}

// TestOwnCopy: what another office was first to show is this one's own once somebody here brings it.
func TestOwnCopy(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.offices[0], w.offices[1]
	a.do(put(testBlob(1), 1))
	a.do(showing(1, protocol.WithUser(a.person(b, 2)), testBlob(1)))
	w.settle()
	copied := put(testBlob(1), 0)
	copied.Blob.Peer = a.id
	b.do(copied)
	b.wantAt(1, a.id, 1)
	own := put(testBlob(1), 2)
	own.UserQuota = 9
	b.refuse(protocol.CodeQuota, own)
	own.UserQuota, own.Quota = 10, 1 // costs the cluster nothing
	if res, _ := b.do(own).(protocol.PutBlobResult); !res.Known || res.Blob.Owner != 2 {
		t.Errorf("%+v", res)
	}
	b.wantAt(1, fed.ClusterID{}, 1)
	b.wantUsage(2, 10, 10)
	b.sound()
}

// TestFileOffer: a file that waits at its origin for somebody abroad waits for him at his own office, too [FED-FILE-3].
func TestFileOffer(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.offices[0], w.offices[1]
	bob := a.person(b, 2)
	offer := func(task string) *protocol.AddOfflineFile {
		return &protocol.AddOfflineFile{File: protocol.OfflineFile{From: 1, To: bob, TaskID: task, Name: "plan.pdf", Size: 10, Blob: testBlob(1)}}
	}
	a.refuse(protocol.CodeNotFound, offer("t"))
	a.do(put(testBlob(1), 1))
	without := offer("t")
	without.File.Blob = protocol.BlobID{}
	a.refuse(protocol.CodeInvalid, without)
	for range 2 {
		a.do(offer("t"))
	}
	if refused := w.settle(); refused != nil {
		t.Fatal(refused)
	}
	alice := b.person(a, 1)
	want := protocol.OfflineFile{From: alice, To: 2, TaskID: "t", Name: "plan.pdf", Size: 10, Blob: testBlob(1), Added: protocol.Time(b.clock)}
	files, err := b.OfflineFiles(2)
	if len(files) == 1 {
		want.Added = files[0].Added
	}
	if err != nil || !slices.Equal(files, []protocol.OfflineFile{want}) {
		t.Fatalf("%+v, %v", files, err)
	}
	if !slices.ContainsFunc(b.events, func(e protocol.Event) bool {
		return e.Body == protocol.EventBody(protocol.OfflineFileAdded{File: want})
	}) {
		t.Error("the receiver is not told")
	}
	b.wantAt(1, a.id, 0)
	a.wantMay(b, 1, true)
	b.do(&protocol.DeleteOfflineFile{Actor: 2, From: alice, To: 2, TaskID: "t"})
	if got := b.unused(); !slices.Equal(got, []byte{1}) {
		t.Errorf("unused there: %v", got)
	}
	a.do(&protocol.DeleteOfflineFile{Actor: 1, From: 1, To: bob, TaskID: "t"})
	a.wantMay(b, 1, false)
	a.fillWith(protocol.OfflineFile{From: 1, To: bob, Name: "f"})
	b.fillWith(protocol.OfflineFile{From: alice, To: 2, Name: "f"})
	a.do(offer("more"))
	if files, err := a.OfflineFiles(bob); err != nil || len(files) != protocol.MaxOfflineFiles || files[0].TaskID != "n1" || files[len(files)-1].TaskID != "more" {
		t.Errorf("%d files are kept, %v", len(files), err)
	}
	if refused := w.settle(); len(refused) != 1 || refused[0].Code != protocol.CodeQuota {
		t.Errorf("refused %v", refused)
	}
	a.sound()
	b.sound()
}

// fillWith has as many files wait for somebody as may.
func (o *office) fillWith(f protocol.OfflineFile) {
	o.Helper()
	o.change(func(s *step) error {
		for i := range protocol.MaxOfflineFiles {
			f.TaskID = fmt.Sprint("n", i)
			key := placeKey(uint32(f.To), protocol.Position{Index: 1, Sub: uint16(i)})
			if err := s.putRow(bFile, key[:], f); err != nil {
				return err
			}
		}
		return nil
	})
}

// TestOfferExpires: a file that could not be offered for too long is not offered any more [FED-AGE-1].
func TestOfferExpires(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.offices[0], w.offices[1]
	a.do(put(testBlob(1), 1))
	a.do(&protocol.AddOfflineFile{File: protocol.OfflineFile{From: 1, To: a.person(b, 2), TaskID: "t", Name: "f", Blob: testBlob(1)}})
	a.clock += expiredAfter
	a.do(&protocol.SweepFederation{})
	if refused := w.settle(); refused != nil {
		t.Fatal(refused)
	}
	if files, err := b.OfflineFiles(2); err != nil || len(files) != 0 {
		t.Errorf("%+v, %v", files, err)
	}
}

// TestBadOffers: what can't be a file is refused, and leaves nothing.
func TestBadOffers(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.offices[0], w.offices[1]
	g, _ := w.group()
	to := fed.UserRef{Cluster: b.id, ID: 2}
	good := fed.FileOffer{Name: "f", Size: 10, SHA256: testBlob(1), Task: "t", Type: "image/png"}
	id := uint64(5000)
	send := func(e fed.Event, edit func(*fed.FileOffer)) any {
		offer := good
		edit(&offer)
		id++
		e.ID, e.Author = fed.NewEventID(a.id, 0, protocol.Position{Index: id}), fed.UserRef{Cluster: a.id, ID: 1}
		return b.deliver(a, 1, e.Encode(fed.TypeFileOffer, offer))
	}
	for name, tt := range map[string]struct {
		code protocol.Code
		e    fed.Event
		edit func(*fed.FileOffer)
	}{
		"no name":        {protocol.CodeInvalid, fed.Event{To: to}, func(o *fed.FileOffer) { o.Name = "" }},
		"no task":        {protocol.CodeInvalid, fed.Event{To: to}, func(o *fed.FileOffer) { o.Task = "" }},
		"no content":     {protocol.CodeInvalid, fed.Event{To: to}, func(o *fed.FileOffer) { o.SHA256 = [32]byte{} }},
		"size":           {protocol.CodeTooLarge, fed.Event{To: to}, func(o *fed.FileOffer) { o.Size = 1 << 32 }},
		"type":           {protocol.CodeInvalid, fed.Event{To: to}, func(o *fed.FileOffer) { o.Type = "a\nb" }},
		"nobody":         {protocol.CodeNotFound, fed.Event{To: fed.UserRef{Cluster: b.id, ID: 99}}, func(*fed.FileOffer) {}},
		"another's":      {protocol.CodeForbidden, fed.Event{To: fed.UserRef{Cluster: fed.ClusterID{9}, ID: 2}}, func(*fed.FileOffer) {}},
		"a group":        {protocol.CodeForbidden, fed.Event{Group: fed.GroupRef{Cluster: a.id, ID: g}}, func(*fed.FileOffer) {}},
		"to nobody":      {protocol.CodeInvalid, fed.Event{}, func(*fed.FileOffer) {}},
		"someone abroad": {protocol.CodeNotFound, fed.Event{To: fed.UserRef{Cluster: b.id, ID: protocol.MaxLocalID}}, func(*fed.FileOffer) {}},
	} {
		if code := refused(t, send(tt.e, tt.edit)); code != tt.code {
			t.Errorf("%s: %v, want %v", name, code, tt.code)
		}
	}
	b.wantNone(1)
	again := fed.Event{To: to}
	if code := refused(t, send(again, func(*fed.FileOffer) {})); code != 0 {
		t.Errorf("a good one: %v", code)
	}
	b.do(&protocol.DeleteOfflineFile{Actor: 2, From: b.person(a, 1), To: 2, TaskID: "t"})
	id-- // the same event again: the receiver has had the file
	if code := refused(t, send(again, func(*fed.FileOffer) {})); code != 0 {
		t.Errorf("again: %v", code)
	}
	if files, err := b.OfflineFiles(2); err != nil || len(files) != 0 {
		t.Errorf("%+v, %v", files, err)
	}
	b.sound()
}

// TestMediaLevelAbroad: at an office that has not got so far, what comes is as if it had an older program.
func TestMediaLevelAbroad(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.offices[0], w.offices[1]
	b.heldBack(levelFederation)
	bob := a.person(b, 2)
	a.do(put(testBlob(1), 1))
	a.do(&protocol.ChangeAvatar{User: 1, Avatar: avatarOf(testBlob(1))})
	a.do(showing(1, protocol.WithUser(bob), testBlob(1)))
	a.do(&protocol.AddOfflineFile{File: protocol.OfflineFile{From: 1, To: bob, TaskID: "t", Name: "f", Blob: testBlob(1)}})
	if err := b.MaySendFile(2, b.person(a, 1)); protocol.CodeOf(err) != protocol.CodeForbidden {
		t.Errorf("a file may be sent: %v", err)
	}
	dead := w.settle()
	if len(dead) != 1 || dead[0].Text != "events of type 10 are not known to this version" {
		t.Errorf("refused %+v", dead)
	}
	equal(t, "said", []string{"hangzhou1: look"}, b.texts(2, protocol.WithUser(b.person(a, 1))))
	id := uint64(5000)
	strange := func() any {
		id++
		e := fed.Event{ID: fed.NewEventID(a.id, 0, protocol.Position{Index: id}), Author: fed.UserRef{Cluster: a.id, ID: 1}, To: fed.UserRef{Cluster: b.id, ID: 2}}
		return b.deliver(a, 1, e.Encode(fed.TypeMessage, fed.Message{Type: protocol.MsgSingleText, Data: []byte("strange"), Blobs: make([]protocol.BlobRef, protocol.MaxBlobRefs+1)}))
	}
	if code := refused(t, strange()); code != 0 {
		t.Errorf("a message with blobs that are none: %v", code)
	}
	for id := bBlob; id < numBuckets; id++ {
		if count := b.rows(id); count != 0 {
			t.Errorf("%d rows in %s", count, id.name())
		}
	}
	b.do(&protocol.RaiseLevel{To: levelMedia})
	if code := refused(t, strange()); code != protocol.CodeTooLarge {
		t.Errorf("a message with blobs that are none, then: %v", code)
	}
}

// TestPictureAbroad: the picture of somebody whom another office was told of can be had there [FED-FILE-4].
func TestPictureAbroad(t *testing.T) {
	w := newWorld(t, 3)
	a, b, c := w.offices[0], w.offices[1], w.offices[2]
	a.do(put(testBlob(1), 1))
	a.do(put(testBlob(2), 1))
	a.do(&protocol.ChangeAvatar{User: 1, Avatar: avatarOf(testBlob(1))})
	a.wantMay(b, 1, true) // whoever may search the directory sees it
	w.withoutDirectory()
	a.wantMay(b, 1, false)
	a.say(1, protocol.WithUser(a.person(b, 2)), "hello")
	w.settle()
	b.wantAt(1, a.id, 0)
	a.wantMay(b, 1, true)
	a.wantMay(c, 1, false)
	a.do(&protocol.ChangeAvatar{User: 1, Avatar: avatarOf(testBlob(2))})
	w.settle()
	b.wantAt(2, a.id, 0)
	a.wantMay(b, 1, false)
	if got := b.unused(); !slices.Equal(got, []byte{1}) {
		t.Errorf("unused there: %v", got)
	}
	a.sound()
	b.sound()
}

// TestBlobsComeBack: of what an office that was restored has said, its peers know the pictures, too [FED-EP-1].
func TestBlobsComeBack(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.offices[0], w.offices[1]
	bob := protocol.WithUser(a.person(b, 2))
	a.say(1, bob, "before")
	w.settle()
	backup := a.backup()
	a.do(put(testBlob(1), 1))
	a.do(showing(1, bob, testBlob(1)))
	b.do(put(testBlob(2), 2))
	b.do(showing(2, protocol.WithUser(b.person(a, 1)), testBlob(2)))
	w.settle()
	backup.restore()
	a.resume()
	w.reconcile(a)
	w.settle()
	equal(t, "said", []string{"beijing2: look", "hangzhou1: before", "hangzhou1: look"}, sorted(a.texts(1, bob)))
	a.wantAt(1, b.id, 0)
	a.wantAt(2, b.id, 0)
	a.wantMay(b, 1, true)
	a.do(put(testBlob(1), 1)) // it is still on the disk
	a.wantAt(1, fed.ClusterID{}, 1)
	a.wantMay(b, 1, true)
	a.sound()
	b.sound()
}

// TestMessageOfManyBlobs: as many blobs as a message may show fit into an event with the longest text.
func TestMessageOfManyBlobs(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.offices[0], w.offices[1]
	c := text(1, protocol.WithUser(a.person(b, 2)), strings.Repeat("x", protocol.MaxTextData))
	for i := range byte(protocol.MaxBlobRefs) {
		a.do(&protocol.PutBlob{Blob: protocol.Blob{ID: testBlob(i + 1), Size: protocol.MaxBlobSize, Type: strings.Repeat("t", protocol.MaxContentType)}, Node: "n1"})
		c.Blobs = append(c.Blobs, protocol.BlobRef{ID: testBlob(i + 1), Size: protocol.MaxBlobSize, Type: strings.Repeat("t", protocol.MaxContentType)})
	}
	a.do(c)
	if refused := w.settle(); refused != nil {
		t.Fatal(refused)
	}
	if got := b.recorded(); len(got) != protocol.MaxBlobRefs {
		t.Errorf("%d blobs are recorded", len(got))
	}
	b.sound()
}
