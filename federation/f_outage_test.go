package federation_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"teamtalk/internal/simnet"
	"teamtalk/protocol/fed"
)

// inBubble runs a test in virtual time, beside others.
func inBubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	began := time.Now()
	synctest.Test(t, test)
	t.Logf("real time %v", time.Since(began).Round(time.Millisecond))
}

// chatter has people say n things to each other and in the rooms, with a pause after each.
func (g *globe) chatter(rng *rand.Rand, n int, pause time.Duration) {
	g.Helper()
	for range n {
		from, to := rng.IntN(len(g.towns)), rng.IntN(len(g.towns)-1)
		if to >= from {
			to++
		}
		p := person{g.towns[from], rng.IntN(townUsers)}
		if k := rng.IntN(2 * max(1, len(g.rooms))); k < len(g.rooms) {
			g.mustPost(g.rooms[k].founders[rng.IntN(len(g.rooms[k].founders))], g.rooms[k])
		} else {
			g.mustSay(p, person{g.towns[to], rng.IntN(townUsers)})
		}
		g.pass(pause)
	}
}

// everywhere makes a room at an office with two people of each.
func (g *globe) everywhere(hub *town) *room {
	g.Helper()
	members := []person{{hub, 0}, {hub, 1}}
	for _, o := range g.towns {
		if o != hub {
			members = append(members, person{o, 0}, person{o, 1})
		}
	}
	return g.gather("room of "+hub.name, members...)
}

// TestF1SixHoursOfPartition: two offices are cut off each other for six hours, a third one is not, and everybody goes on talking [F1].
func TestF1SixHoursOfPartition(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		g := slowGlobe(t, 3, time.Minute)
		a, b := g.towns[0], g.towns[1]
		for _, o := range g.towns {
			g.everywhere(o)
		}
		g.settle(3 * time.Minute)
		rng := rand.New(rand.NewPCG(1, 1))
		g.chatter(rng, 30, time.Second)
		g.part(a, b, 6*time.Hour)
		over := time.Now().Add(6 * time.Hour)
		first := g.mustSay(person{a, 0}, person{b, 0})
		g.chatter(rng, 6*60-7, time.Minute)
		if got := a.states(first); !slices.Equal(got, []fed.MessageState{fed.StatePending, fed.StateDelayed}) {
			t.Errorf("in the outage the author was told %v", got)
		}
		g.pass(time.Until(over))
		waited := g.settle(3 * time.Minute)
		g.judge()
		if got := a.states(first); !slices.Equal(got, []fed.MessageState{fed.StatePending, fed.StateDelayed, fed.StateDelivered}) {
			t.Errorf("of the first message in the outage the author was told %v", got)
		}
		t.Logf("%d messages; caught up %v after the outage", len(g.said), waited)
	})
}

// states are what the author of a message was told of it.
func (o *town) states(s *said) (all []fed.MessageState) {
	at := tale{s.session().Conversation(s.by.id()), s.id}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range o.told[at] {
		all = append(all, fed.MessageState(c.State))
	}
	return all
}

// TestF2Outages: outages of many kinds and lengths. Once one is over everything arrives, although nothing new is said [F2].
func TestF2Outages(t *testing.T) {
	type outage struct {
		name string
		last time.Duration
		make func(g *globe, d time.Duration)
	}
	both := func(g *globe, d time.Duration) { g.part(g.towns[0], g.towns[1], d) }
	there := func(g *globe, d time.Duration) { g.dark(g.towns[0], g.towns[1], d) }
	back := func(g *globe, d time.Duration) { g.dark(g.towns[1], g.towns[0], d) }
	flapping := func(g *globe, d time.Duration) {
		g.ending.Go(func() { // ends with the outage
			for end := time.Now().Add(d); time.Now().Before(end); g.pass(7 * time.Second) {
				both(g, 4*time.Second)
				g.net.Cut(simnet.Reset)
			}
		})
	}
	lossy := func(g *globe, d time.Duration) {
		link := g.path(g.towns[0], g.towns[1])
		link.SetLoss(0.3)
		time.AfterFunc(d, func() { link.SetLoss(0) })
	}
	var all []outage
	for _, last := range []time.Duration{time.Second, 5 * time.Second, 40 * time.Second, time.Minute, 3 * time.Minute, 10 * time.Minute} {
		all = append(all, outage{fmt.Sprint("nothing passes for ", last), last, both}, outage{fmt.Sprint("one way is dark for ", last), last, there},
			outage{fmt.Sprint("the other way is dark for ", last), last, back})
	}
	all = append(all, outage{"flapping", 5 * time.Minute, flapping}, outage{"lossy", time.Minute, lossy})
	inBubble(t, func(t *testing.T) {
		g := newGlobe(t, 2)
		g.everywhere(g.towns[0])
		g.settle(time.Minute)
		rng := rand.New(rand.NewPCG(2, 2))
		for _, x := range all {
			over := time.Now().Add(x.last)
			x.make(g, x.last)
			g.chatter(rng, 6, min(x.last/8, 5*time.Second))
			g.pass(time.Until(over))
			if waited := g.settle(4 * time.Minute); waited > 2*time.Minute {
				t.Errorf("%s: caught up only after %v", x.name, waited)
			} else {
				t.Logf("%s: caught up after %v", x.name, waited)
			}
		}
		g.judge()
	})
}
