package federation_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"teamtalk/protocol"
)

// disaster is the loss of an office's disk and its return from a backup. What its people said since the backup counts as far as it has reached others.
func (g *globe) disaster(o *town, backup []byte, index uint64) {
	g.Helper()
	reached := map[string]bool{}
	for _, other := range g.towns {
		if other == o {
			continue
		}
		for what := range other.texts() {
			reached[what] = true
		}
	}
	for _, s := range g.said {
		if s.by.at == o && s.at.Index > index {
			s.moved, s.lost = true, s.lost || !reached[s.what]
		}
	}
	o.restore(backup)
}

// texts are all that anybody of the office has.
func (o *town) texts() map[string]bool {
	all := map[string]bool{}
	for n := range townUsers {
		sessions, err := o.life().store.RecentSessions(o.user(n), 0, 1000)
		if err != nil {
			o.globe.Fatal(err)
		}
		for _, in := range sessions {
			for _, m := range o.box(o.user(n), in.Session) {
				all[string(m.Data)] = true
			}
		}
	}
	return all
}

// logged is how far the office's log is.
func (o *town) logged() uint64 { return uint64(o.life().store.Applied()) }

// goOn is an operator who says that the restored office's former cluster is gone.
func (o *town) goOn() {
	o.globe.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := o.life().manager.Resume(ctx, "", true); err != nil {
		o.globe.Fatalf("%s: resume: %v", o.name, err)
	}
}

// TestF4Restored: an office loses its disk and comes back from a backup. Until an operator has spoken its links are down; then it gets back what others have
// of its people's, and what others have said to them, and nothing acknowledged is lost that was not only there [F4] [FED-EP-1].
func TestF4Restored(t *testing.T) {
	for _, c := range []struct {
		name    string
		arrived bool // before the disaster all has arrived everywhere
		hub     int  // office that orders the room; the restored one is 0
		swept   bool // what was acknowledged is longer ago than it is kept
	}{
		{"all had arrived", true, 1, false},
		{"in the midst of talk", false, 1, false},
		{"after what is kept", true, 1, true},
		{"the hub itself", true, 0, false},
		{"the hub itself in the midst of talk", false, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				g := newGlobe(t, 3)
				o := g.towns[0]
				g.everywhere(g.towns[c.hub])
				g.settle(time.Minute)
				rng := rand.New(rand.NewPCG(5, 5))
				g.chatter(rng, 25, 100*time.Millisecond)
				backup, index := o.backup(), o.logged()
				g.chatter(rng, 25, 100*time.Millisecond)
				if c.arrived {
					g.chatter(rng, 15, 100*time.Millisecond)
					g.settle(time.Minute)
				} else {
					g.part(o, g.towns[1], 30*time.Second)
					g.chatter(rng, 15, 100*time.Millisecond)
				}
				if c.swept {
					g.idle(26 * time.Hour)
				}
				g.disaster(o, backup, index)
				g.pass(2 * time.Minute)
				if why := g.quietLinks(o); why != "" {
					t.Errorf("before anybody has said that the former cluster is gone: %s", why)
				}
				g.mustSay(person{g.towns[1], 0}, person{o, 0})
				o.goOn()
				g.pass(time.Minute)
				g.chatter(rng, 20, 100*time.Millisecond)
				g.settle(3 * time.Minute)
				g.pass(time.Minute) // what came by way of histories
				g.judge()
				lost := slices.Collect(func(yield func(*said) bool) {
					for _, s := range g.said {
						if s.lost && !yield(s) {
							return
						}
					}
				})
				if c.arrived != (len(lost) == 0) {
					t.Errorf("%d messages were only on the disk that was lost", len(lost))
				}
				t.Logf("%d messages, %d of them were only on the disk that was lost", len(g.said), len(lost))
			})
		})
	}
}

// idle lets a long time go by in which all offices are off.
func (g *globe) idle(d time.Duration) {
	g.Helper()
	for _, o := range g.towns {
		o.strike()
	}
	g.pass(d)
	for _, o := range g.towns {
		o.begin()
	}
	g.pass(20 * time.Second) // they do what is due
}

// quietLinks tells of a link of the office that is up.
func (g *globe) quietLinks(o *town) string {
	status, err := o.life().manager.Status(context.Background())
	if err != nil {
		return "no status: " + err.Error()
	}
	for _, l := range status.Links {
		if l.Up {
			return "the link with " + l.Domain + " is up"
		}
	}
	if !status.Self.Restored {
		return "the status does not say that it was restored"
	}
	return ""
}

// TestF4LostSilently: an office's directory is put back by hand, as it was a while ago, and nobody says so. Its peers notice that they have more of it than it
// has itself, and the link stops rather than that numbers are used twice [FED-EP-2].
func TestF4LostSilently(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		g := newGlobe(t, 2)
		a, b := g.towns[0], g.towns[1]
		for range 3 {
			g.mustSay(person{a, 0}, person{b, 0})
		}
		g.settle(time.Minute)
		former := g.copyOf(a)
		for range 3 {
			g.mustSay(person{a, 0}, person{b, 0})
		}
		g.settle(time.Minute)
		before := b.box(b.user(0), protocol.WithUser(person{a, 0}.seenAt(b)))
		a.strike()
		a.dir = former
		a.begin()
		if _, err := g.say(person{a, 0}, person{b, 0}); err != nil {
			t.Fatal(err)
		}
		g.pass(5 * time.Minute)
		if got := b.box(b.user(0), protocol.WithUser(person{a, 0}.seenAt(b))); len(got) != len(before) {
			t.Errorf("%d messages came although numbers are used twice", len(got)-len(before))
		}
		status, err := a.life().manager.Status(context.Background())
		if err != nil || len(status.Links) != 1 || status.Links[0].Up || status.Links[0].Error == "" {
			t.Errorf("the status is %+v, %v", status, err)
		}
		g.said = nil
	})
}

// TestF4Offers: files that were offered since the backup, by the office that lost its disk and to it, wait again on both sides when it is back, however long ago they were acknowledged,
// each once [F4] [FED-EP-1] [FED-FILE-3].
func TestF4Offers(t *testing.T) {
	for _, lost := range []int{0, 1} {
		t.Run(fmt.Sprint("office ", lost), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				g := newGlobe(t, 2)
				a, b := g.towns[0], g.towns[1]
				ann, ben := person{a, 0}, person{b, 0}
				blob := protocol.BlobID{7}
				for _, o := range g.towns {
					o.do(&protocol.RaiseLevel{To: 4})
				}
				a.do(&protocol.PutBlob{Blob: protocol.Blob{ID: blob, Size: 10, Type: "text/plain"}, Node: "n1"})
				offer := func(task string) {
					a.do(&protocol.AddOfflineFile{File: protocol.OfflineFile{From: ann.id(), To: ben.seenAt(a), TaskID: task, Name: "f", Size: 10, Blob: blob}})
				}
				waiting := func(o *town, u protocol.UserID) (tasks []string) {
					files, err := o.life().store.OfflineFiles(u)
					if err != nil {
						t.Fatal(err)
					}
					for _, f := range files {
						tasks = append(tasks, f.TaskID)
					}
					return tasks
				}
				offer("before")
				g.settle(time.Minute)
				o := g.towns[lost]
				backup, index := o.backup(), o.logged()
				for _, task := range []string{"lost", "taken"} {
					offer(task)
				}
				g.mustSay(ann, ben)
				g.settle(time.Minute)
				b.do(&protocol.DeleteOfflineFile{Actor: ben.id(), From: ann.seenAt(b), To: ben.id(), TaskID: "taken"})
				g.idle(26 * time.Hour)
				g.disaster(o, backup, index)
				o.goOn()
				g.pass(2 * time.Minute)
				g.settle(time.Minute)
				want := []string{"before", "lost"}
				if lost == 1 { // that he has taken one only the lost disk knew
					want = []string{"before", "lost", "taken"}
				}
				if got := waiting(b, ben.id()); !slices.Equal(got, want) {
					t.Errorf("for him there wait %q, want %q", got, want)
				}
				if got := waiting(a, ben.seenAt(a)); !slices.Equal(got, want) {
					t.Errorf("at its origin there wait %q, want %q", got, want)
				}
				if may, err := a.life().store.MaySeeBlob(b.papers.id, blob); err != nil || !may {
					t.Errorf("the content may be fetched: %t, %v", may, err)
				}
			})
		})
	}
}
