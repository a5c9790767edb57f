package federation_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"teamtalk/internal/simnet"
	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// TestF14QuotaFull: what waits for an office that can't be reached has an end: from there on the author is refused at once. Nobody else notices, nor does a room with people of all; and
// when the office is back all that was acknowledged arrives, and it goes on [F14] [FED-OUT-3].
func TestF14QuotaFull(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		g := slowGlobe(t, 3, 30*time.Second)
		a, b, c := g.towns[0], g.towns[1], g.towns[2]
		r := g.gather("of all", person{a, 0}, person{b, 0}, person{c, 0})
		g.settle(time.Minute)
		a.rule(b.papers, func(p *fed.Peer) { p.Quota = 60_000 })
		g.part(a, b, time.Hour)
		refused, acked := 0, 0
		for range 100 {
			if _, err := g.long(person{a, 0}, person{b, 0}, 2000); err == nil {
				acked++
			} else if protocol.CodeOf(err) == protocol.CodeQuota {
				refused++
			} else {
				t.Fatal(err)
			}
			g.mustSay(person{a, 0}, person{c, 0})
			g.mustSay(person{c, 1}, person{a, 1})
			g.pass(time.Second)
		}
		if acked < 10 || refused < 10 {
			t.Errorf("%d messages were taken and %d refused", acked, refused)
		}
		for range 20 { // a room goes on: who has no room for it asks for what is missing
			g.mustPost(person{a, 0}, r)
			g.mustPost(person{c, 0}, r)
		}
		g.settleBetween(a, c)
		g.pass(time.Hour)
		g.settle(3 * time.Minute)
		g.mustSay(person{a, 0}, person{b, 0})
		g.mustPost(person{a, 0}, r)
		g.settle(time.Minute)
		g.pass(3 * time.Minute) // what was asked for
		g.judge()
	})
}

// long is a message of many bytes.
func (g *globe) long(by, to person, size int) (*said, error) {
	g.Helper()
	s := &said{by: by, to: to, what: fmt.Sprintf("%v/%d.%s", by, len(g.said)+1, strings.Repeat("x", size))}
	return g.utter(s)
}

// TestF14SlowPeer: an office takes events and says nothing of them for an hour. What others say to each other takes no longer for that [F14].
func TestF14SlowPeer(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		g := slowGlobe(t, 3, 30*time.Second)
		a, b, c := g.towns[0], g.towns[1], g.towns[2]
		g.mustSay(person{a, 0}, person{b, 0})
		g.mustSay(person{a, 0}, person{c, 0})
		g.settle(time.Minute)
		stop := time.Now().Add(time.Hour)
		b.tap.set(func(f *fed.Frame) bool { return f.Kind != fed.KindAck || time.Now().After(stop) })
		rng := rand.New(rand.NewPCG(15, 15))
		worst := time.Duration(0)
		for range 60 {
			for range 5 {
				g.mustSay(person{a, rng.IntN(4)}, person{b, rng.IntN(4)})
			}
			g.mustSay(person{a, 0}, person{c, 0})
			began := time.Now()
			g.until("it is there", time.Minute, 5*time.Millisecond, func() error { return a.waitsFor(c) })
			worst = max(worst, time.Since(began))
			g.pass(time.Minute)
		}
		if worst > time.Second {
			t.Errorf("a message to another office took up to %v", worst)
		}
		g.net.Cut(simnet.Reset)
		g.settle(5 * time.Minute)
		g.judge()
		t.Logf("a message to another office took up to %v", worst)
	})
}

// TestF14Lanes: a conversation whose events the other office does not get along with holds up no other one with that office [F14] [FED-LANE-1].
func TestF14Lanes(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		g := newGlobe(t, 2)
		a, b := g.towns[0], g.towns[1]
		lane := func(n int) fed.Lane {
			return fed.LaneOf(protocol.WithUser(person{b, n}.seenAt(a)).Conversation(a.user(n)))
		}
		other := 1
		for lane(other) == lane(0) {
			other++
		}
		stuck := lane(0)
		g.mustSay(person{a, 0}, person{b, 0})
		g.mustSay(person{a, other}, person{b, other})
		g.settle(time.Minute)
		b.tap.set(func(f *fed.Frame) bool {
			var ack fed.Ack
			return f.Kind != fed.KindAck || f.Into(&ack) != nil || ack.Lane != stuck
		})
		var held []*said
		for range 300 {
			held = append(held, g.mustSay(person{a, 0}, person{b, 0}))
		}
		for range 20 {
			fresh := g.mustSay(person{a, other}, person{b, other})
			g.until("the fresh one is delivered", time.Second, 10*time.Millisecond, func() error {
				if f := a.fate(fresh.at); f.State != fed.StateDelivered {
					return fmt.Errorf("it is in state %d", f.State)
				}
				return nil
			})
		}
		for _, s := range held {
			if f := a.fate(s.at); f.State != fed.StatePending {
				t.Fatalf("a message that was not acknowledged is in state %d", f.State)
			}
		}
		b.tap.set(nil)
		g.net.Cut(simnet.Reset)
		g.settle(time.Minute)
		g.judge()
	})
}
