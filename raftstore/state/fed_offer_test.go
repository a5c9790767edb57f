package state

import (
	"fmt"
	"slices"
	"testing"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// offer has a user offer a file to somebody of another office.
func (o *office) offer(from protocol.UserID, to protocol.UserID, task string, b byte) {
	o.Helper()
	o.do(&protocol.AddOfflineFile{File: protocol.OfflineFile{From: from, To: to, TaskID: task, Name: task + ".pdf", Size: 10, Blob: testBlob(b)}})
}

// waitFor are the tasks of the files that wait for a user, oldest first.
func (o *office) waitFor(u protocol.UserID) (tasks []string) {
	o.Helper()
	files, err := o.OfflineFiles(u)
	if err != nil {
		o.Fatal(err)
	}
	for _, f := range files {
		tasks = append(tasks, f.TaskID)
	}
	return tasks
}

// forget has an office give up what was acknowledged long ago.
func (o *office) forget() {
	o.Helper()
	o.clock += ackedKeep + 1
	o.do(&protocol.SweepFederation{})
}

// TestOffersComeAgain: what an office that was restored had been offered is offered again, though it was acknowledged longer ago than events are kept; but what it knows from
// before, and whoever it was for has taken, is not [FED-EP-1] [FED-FILE-3].
func TestOffersComeAgain(t *testing.T) {
	w := newWorld(t, 3)
	a, b, c := w.offices[0], w.offices[1], w.offices[2]
	bob := a.person(b, 2)
	for i := range byte(3) {
		a.do(put(testBlob(i+1), 1))
	}
	a.offer(1, bob, "known", 1)
	a.offer(1, bob, "taken", 1)
	w.settle()
	alice := b.person(a, 1)
	b.do(&protocol.DeleteOfflineFile{Actor: 2, From: alice, To: 2, TaskID: "taken"})
	saved := b.backup()
	a.say(1, protocol.WithUser(bob), "before the file")
	a.offer(1, bob, "lost", 2)
	a.offer(4, bob, "of a stranger", 3) // of whom the backup knows nothing
	a.offer(1, a.person(c, 2), "another's", 2)
	a.offer(1, bob, "withdrawn", 2)
	w.settle()
	a.do(&protocol.DeleteOfflineFile{Actor: 1, From: 1, To: bob, TaskID: "withdrawn"})
	a.forget()
	saved.restore()
	b.resume()
	for range 2 { // a link may break in the middle
		w.reconcile(b)
	}
	if no := w.settle(); no != nil {
		t.Fatal(no)
	}
	equal(t, "what waits", []string{"known", "lost", "of a stranger"}, b.waitFor(2))
	equal(t, "said", []string{"hangzhou1: before the file"}, b.texts(2, protocol.WithUser(alice)))
	b.wantAt(2, a.id, 0)
	a.wantMay(b, 3, true)
	told := 0
	for _, e := range b.events {
		if added, ok := e.Body.(protocol.OfflineFileAdded); ok && added.File.TaskID == "lost" {
			told++
		}
	}
	if told != 2 {
		t.Errorf("he was told %d times: want once before the loss, and once after it", told)
	}
	b.view(func(t *txn) error {
		row, err := t.user(b.person(a, 4))
		if row.User.Name != "hangzhou4@hangzhou.example" {
			w.Errorf("who offers it is %+v", row.User)
		}
		return err
	})
	a.sound()
	b.sound()
}

// TestOwnOffersComeBack: the files that an office had offered before it was restored wait there again, and may be fetched, once the others have told it; what was taken meanwhile does
// not, nor what it has itself [FED-EP-1] [FED-FILE-3].
func TestOwnOffersComeBack(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.offices[0], w.offices[1]
	bob := a.person(b, 2)
	a.do(put(testBlob(1), 1))
	a.offer(1, bob, "known", 1)
	w.settle()
	alice := b.person(a, 1)
	saved := a.backup()
	a.do(put(testBlob(2), 1))
	a.offer(1, bob, "lost", 2)
	a.offer(1, bob, "taken", 2)
	a.offer(3, a.person(b, 4), "to one whom the backup does not know", 2)
	w.settle()
	b.do(&protocol.DeleteOfflineFile{Actor: 2, From: alice, To: 2, TaskID: "taken"})
	a.forget()
	saved.restore()
	a.wantMay(b, 2, false)
	a.resume()
	for range 2 {
		w.reconcile(a)
	}
	if no := w.settle(); no != nil {
		t.Fatal(no)
	}
	equal(t, "what waits", []string{"known", "lost"}, a.waitFor(bob))
	equal(t, "what waits for the other", []string{"to one whom the backup does not know"}, a.waitFor(a.person(b, 4)))
	equal(t, "what waits there", []string{"known", "lost"}, b.waitFor(2))
	a.wantMay(b, 2, true)
	a.do(put(testBlob(2), 1)) // it is still on the disk
	a.wantAt(2, fed.ClusterID{}, 1)
	a.do(&protocol.DeleteOfflineFile{Actor: 1, From: 1, To: bob, TaskID: "lost"})
	a.do(&protocol.DeleteOfflineFile{Actor: 3, From: 3, To: a.person(b, 4), TaskID: "to one whom the backup does not know"})
	a.wantMay(b, 2, false)
	w.reconcile(a)
	equal(t, "what waits after that", []string{"known"}, a.waitFor(bob))
	a.sound()
	b.sound()
}

// TestOffersInPages: offers come in their places among the messages, however small the pages are, each once; and only as far as the rules let files out [FED-GET-1].
func TestOffersInPages(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.offices[0], w.offices[1]
	a.do(put(testBlob(1), 1))
	var want []string
	for i := range 20 {
		to := a.person(b, protocol.UserID(4-i%4))
		if i%3 == 0 {
			a.say(1, protocol.WithUser(to), fmt.Sprint("m", i))
			want = append(want, "message")
			continue
		}
		a.offer(1, to, fmt.Sprint("t", i), 1)
		want = append(want, fmt.Sprint("t", i))
	}
	w.settle()
	read := func(events int) (got []string) {
		for page := (fed.History{More: true}); page.More; {
			var err error
			if page, err = a.FedSince(b.id, 0, page.After, events, 1<<20); err != nil {
				t.Fatal(err)
			}
			for _, signed := range page.Events {
				e, err := fed.DecodeEvent(signed.Event)
				if err != nil {
					t.Fatal(err)
				}
				switch e.Type { //nolint:exhaustive // nothing else is sent here
				case fed.TypeMessage:
					got = append(got, "message")
				case fed.TypeFileOffer:
					offer, err := fed.BodyOf[fed.FileOffer](&e)
					if err != nil || e.To.Cluster != b.id {
						t.Fatal(e.To, err)
					}
					got = append(got, offer.Task)
				}
			}
		}
		return got
	}
	for _, events := range []int{1, 2, 7, 1000} {
		equal(t, fmt.Sprintf("by %d", events), want, read(events))
	}
	a.allow(b, fed.AllowAll, fed.AllowAll&^fed.AllowFiles)
	equal(t, "without files", slices.DeleteFunc(slices.Clone(want), func(s string) bool { return s != "message" }), read(3))
	a.allow(b, fed.AllowAll, fed.AllowFiles)
	equal(t, "only files", slices.DeleteFunc(slices.Clone(want), func(s string) bool { return s == "message" }), read(3))
}

// TestStrangeOwnOffers: nobody can have a restored office offer what it would not have: its signature is on it, but who it is from and what it is are looked at all the same.
func TestStrangeOwnOffers(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.offices[0], w.offices[1]
	a.do(put(testBlob(1), 1))
	good := fed.FileOffer{Name: "f", Size: 10, SHA256: testBlob(1), Task: "t", Type: "image/png"}
	give := func(author, to fed.UserRef, offer fed.FileOffer) any {
		e := fed.Event{ID: fed.NewEventID(a.id, 77, protocol.Position{Index: 1 << 20}), Author: author, To: to} // of an era that is not a's
		signed := a.signer.SignEvent(e.Encode(fed.TypeFileOffer, offer))
		return a.apply(&protocol.ReceiveHistory{Cluster: b.id, Event: signed.Event, Key: signed.Signature.Key, Sig: signed.Signature.Sig[:]})[0]
	}
	me, bob := fed.UserRef{Cluster: a.id, ID: 1}, fed.UserRef{Cluster: b.id, ID: 2}
	for name, tt := range map[string]struct {
		author, to fed.UserRef
		edit       func(*fed.FileOffer)
		code       protocol.Code
	}{
		"by the other office":  {bob, bob, func(*fed.FileOffer) {}, protocol.CodeForbidden},
		"to its own people":    {me, me, func(*fed.FileOffer) {}, protocol.CodeForbidden},
		"by nobody":            {fed.UserRef{Cluster: a.id, ID: 99}, bob, func(*fed.FileOffer) {}, protocol.CodeNotFound},
		"too large":            {me, bob, func(o *fed.FileOffer) { o.Size = 1 << 32 }, protocol.CodeTooLarge},
		"without name":         {me, bob, func(o *fed.FileOffer) { o.Name = "" }, protocol.CodeInvalid},
		"without content":      {me, bob, func(o *fed.FileOffer) { o.SHA256 = [32]byte{} }, protocol.CodeInvalid},
		"to somebody nameless": {me, fed.UserRef{Cluster: b.id}, func(*fed.FileOffer) {}, protocol.CodeInvalid},
	} {
		offer := good
		tt.edit(&offer)
		err, _ := give(tt.author, tt.to, offer).(error)
		if protocol.CodeOf(err) != tt.code {
			t.Errorf("%s: %v, want %v", name, err, tt.code)
		}
	}
	a.wantMay(b, 1, false)
	if err, bad := give(me, bob, good).(error); bad {
		t.Errorf("a good one: %v", err)
	}
	a.wantMay(b, 1, true)
	a.sound()
}
