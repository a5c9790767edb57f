package federation_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"teamtalk/protocol/fed"
)

// TestF9RotationInAnOutage: an office changes its link key twice while it can't be reached, and what was said before, between and after arrives; a third office
// checks what went through a hub [F9] [FED-ID-3].
func TestF9RotationInAnOutage(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		g := slowGlobe(t, 3, 30*time.Second)
		a, b, c := g.towns[0], g.towns[1], g.towns[2]
		g.everywhere(a) // posts of b wait at a for c
		g.settle(time.Minute)
		rng := rand.New(rand.NewPCG(9, 9))
		g.part(a, c, 2*time.Hour)
		g.part(b, c, 2*time.Hour+30*time.Minute)
		g.chatter(rng, 20, time.Second)
		g.settleBetween(a, b)
		before := b.manifest()
		for range 2 {
			b.rotate(false)
			g.chatter(rng, 20, time.Second)
		}
		if now := b.manifest(); active(now) == active(before) || now.Serial <= before.Serial {
			t.Error("the key has not changed")
		}
		g.settleBetween(a, b)
		g.pass(2*time.Hour + 30*time.Minute)
		g.settle(3 * time.Minute)
		g.judge()
		for _, o := range []*town{a, c} {
			known, err := o.peer(b.papers.id).Peer.Manifest.Open()
			if err != nil || known.Serial != b.manifest().Serial {
				t.Errorf("%s knows manifest %d, %v", o.name, known.Serial, err)
			}
		}
	})
}

// TestF9CompromisedKey: a key is left out at once. What was queued is signed anew with the next one, and links come up again [F9] [FED-ID-3].
func TestF9CompromisedKey(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		g := newGlobe(t, 2)
		g.everywhere(g.towns[0])
		g.settle(time.Minute)
		rng := rand.New(rand.NewPCG(10, 10))
		former := active(g.towns[1].manifest())
		g.part(g.towns[0], g.towns[1], 10*time.Minute)
		g.chatter(rng, 20, time.Second)
		g.towns[1].rotate(true)
		g.chatter(rng, 20, time.Second)
		g.pass(10 * time.Minute)
		g.settle(3 * time.Minute)
		g.judge()
		m := g.towns[1].manifest()
		if _, there := m.LinkKeys()[former]; there {
			t.Error("the compromised key is still in the manifest")
		}
	})
}

// TestF9Certificates: two offices are off for 400 days, in which certificates expire. Then they find each other again; what was queued is too old, which its
// author is told, and new messages go on [F9] [FED-AGE-1].
func TestF9Certificates(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		g := newGlobe(t, 2)
		a, b := g.towns[0], g.towns[1]
		r := g.everywhere(a)
		g.settle(time.Minute)
		g.part(a, b, time.Hour)
		old := []*said{g.mustSay(person{a, 0}, person{b, 0}), g.mustPost(person{b, 0}, r)}
		g.idle(400 * 24 * time.Hour)
		fresh := g.mustSay(person{a, 0}, person{b, 0})
		g.mustPost(person{b, 1}, r)
		g.settle(5 * time.Minute)
		for _, s := range old {
			s.mayFail = true
			got := s.by.at.fate(s.at).State
			there := a.texts()[s.what] && b.texts()[s.what]
			if there == (got == fed.StateUndeliverable) {
				t.Errorf("%q is in state %d, and it is there: %v", s.what, got, there)
			}
		}
		if got := a.states(fresh); !slices.Equal(got, []fed.MessageState{fed.StatePending, fed.StateDelivered}) {
			t.Errorf("of a new message its author was told %v", got)
		}
		g.judge()
	})
}

// settleBetween waits until two offices have what they have for each other.
func (g *globe) settleBetween(a, b *town) {
	g.Helper()
	g.until("two have caught up", 3*time.Minute, 100*time.Millisecond, func() error { return errors.Join(a.waitsFor(b), b.waitsFor(a)) })
}

func (o *town) rotate(now bool) {
	o.globe.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := o.life().manager.RotateKey(ctx, now); err != nil {
		o.globe.Fatalf("%s: rotate: %v", o.name, err)
	}
}

// manifest is what the office shows to others now.
func (o *town) manifest() fed.Manifest {
	o.globe.Helper()
	id, err := o.life().store.FedIdentity()
	if err != nil {
		o.globe.Fatal(err)
	}
	m, err := id.Manifest.Open()
	if err != nil {
		o.globe.Fatal(err)
	}
	return m
}

// active is the id of the key that signs.
func active(m fed.Manifest) (id fed.KeyID) {
	for _, k := range m.Keys {
		if k.Purpose == fed.KeyActive {
			id = fed.KeyIDOf(k.Public[:])
		}
	}
	return id
}
