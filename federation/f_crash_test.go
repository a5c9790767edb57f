package federation_test

import (
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"teamtalk/internal/simnet"
	"teamtalk/protocol/fed"
)

// TestF3KilledBetweenCommitAndAck: an office has committed what came, and is killed before it says so; or the other one, before it hears of it [F3].
func TestF3KilledBetweenCommitAndAck(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		g := newGlobe(t, 3)
		for _, o := range g.towns {
			g.everywhere(o)
		}
		g.settle(time.Minute)
		rng := rand.New(rand.NewPCG(3, 3))
		for round := range 12 {
			receiver, sender := g.towns[round%3], g.towns[(round+1)%3]
			var swallowed atomic.Bool
			receiver.tap.set(func(f *fed.Frame) bool { // acknowledgements are written, but nobody gets them
				if f.Kind == fed.KindAck {
					swallowed.Store(true)
				}
				return f.Kind != fed.KindAck
			})
			g.mustSay(person{sender, 0}, person{receiver, 1})
			g.chatter(rng, 10, 15*time.Millisecond)
			g.until("something is committed and not acknowledged", time.Minute, 5*time.Millisecond, func() error {
				if !swallowed.Load() {
					return errors.New("no")
				}
				return nil
			})
			for i, o := range []*town{receiver, sender} {
				if round%4 == 0 || round%2 == i {
					o.strike()
				}
			}
			receiver.tap.set(nil)
			g.net.Cut(simnet.Reset) // acknowledgements don't get lost on connections that go on
			g.pass(time.Duration(rng.IntN(5000)) * time.Millisecond)
			for _, o := range g.towns {
				if o.life() == nil {
					o.begin()
				}
			}
		}
		g.settle(3 * time.Minute)
		g.judge()
		t.Logf("%d messages", len(g.said))
	})
}

// TestF3KilledAtAnyMoment: offices are killed at random moments in the midst of talk, and come back [F3].
func TestF3KilledAtAnyMoment(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		g := newGlobe(t, 2)
		for _, o := range g.towns {
			g.everywhere(o)
		}
		g.settle(time.Minute)
		rng := rand.New(rand.NewPCG(4, 4))
		for range 20 {
			g.chatter(rng, 6, time.Duration(rng.IntN(30))*time.Millisecond)
			o := g.towns[rng.IntN(2)]
			o.strike()
			g.pass(time.Duration(rng.IntN(3000)) * time.Millisecond)
			o.begin()
		}
		g.settle(3 * time.Minute)
		g.judge()
	})
}
