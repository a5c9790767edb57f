package federation_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"teamtalk/protocol/fed"
)

// TestF11Clocks: clocks are an hour off to either side and jump. The order does not change, and operators see it [F11].
func TestF11Clocks(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		g := newGlobe(t, 3)
		for _, o := range g.towns {
			g.everywhere(o)
		}
		g.settle(time.Minute)
		rng := rand.New(rand.NewPCG(12, 12))
		for round := range 6 {
			g.towns[0].skew.Store(int64(time.Hour))
			g.towns[1].skew.Store(-int64(time.Hour))
			g.towns[2].skew.Store(int64(time.Duration(round-3) * time.Hour))
			g.chatter(rng, 15, 50*time.Millisecond)
		}
		g.settle(time.Minute)
		g.judge()
		for _, s := range g.said { // what is shown as its time never falls within a conversation, whatever clocks say
			last := int64(0)
			for _, m := range s.by.at.box(s.by.id(), s.session()) {
				if int64(m.Time) < last {
					t.Fatalf("at %s the time of message %d is before the one before", s.by.at.name, m.ID)
				}
				last = int64(m.Time)
			}
		}
	})
}

// fromTheFuture has an office speak as a later version would: a range of versions beyond ours, and fields that nobody knows.
func (o *town) fromTheFuture() {
	o.tap.set(func(f *fed.Frame) bool {
		if f.Kind == fed.KindHello {
			var h fed.Hello
			if err := f.Into(&h); err == nil {
				h.Versions = fed.Versions{Least: 1, Most: fed.Current().Most + 1}
				*f = fed.NewFrame(fed.KindHello, h)
			}
		}
		if f.Kind != fed.KindPong { // that has to be what was asked
			f.Body = extended(f.Body)
		}
		return true
	})
}

// extended is a CBOR map with one more field.
func extended(body cbor.RawMessage) cbor.RawMessage {
	fields := map[int]cbor.RawMessage{}
	if err := cbor.Unmarshal(body, &fields); err != nil {
		panic(fmt.Sprintf("a frame's body is no map: %v", err))
	}
	fields[99] = cbor.RawMessage("\x63new")
	b, err := cbor.Marshal(fields)
	if err != nil {
		panic(err)
	}
	return b
}

// TestF12Rolling: offices are upgraded one after the other while people talk; versions N and N-1 understand each other all the time [F12] [FED-TR-6].
func TestF12Rolling(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		g := newGlobe(t, 3)
		for _, o := range g.towns {
			g.everywhere(o)
		}
		g.settle(time.Minute)
		rng := rand.New(rand.NewPCG(13, 13))
		for _, o := range g.towns {
			g.chatter(rng, 15, 20*time.Millisecond)
			o.strike()
			o.fromTheFuture()
			g.pass(3 * time.Second)
			o.begin()
			g.chatter(rng, 15, 20*time.Millisecond)
		}
		g.settle(time.Minute)
		g.towns[1].restart() // and back: a version that turned out bad
		g.towns[1].tap.set(nil)
		g.chatter(rng, 15, 20*time.Millisecond)
		g.settle(time.Minute)
		g.judge()
	})
}

// TestF12NothingInCommon: versions that don't overlap say so to operators, nothing is lost, and the link comes up once one of them is upgraded [F12] [FED-TR-6].
func TestF12NothingInCommon(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		g := newGlobe(t, 2)
		a, b := g.towns[0], g.towns[1]
		g.settle(time.Minute)
		b.tap.set(func(f *fed.Frame) bool {
			var h fed.Hello
			if f.Kind == fed.KindHello && f.Into(&h) == nil {
				h.Versions = fed.Versions{Least: 7, Most: 9}
				*f = fed.NewFrame(fed.KindHello, h)
			}
			return true
		})
		b.restart()
		rng := rand.New(rand.NewPCG(14, 14))
		g.chatter(rng, 20, time.Second)
		g.pass(5 * time.Minute)
		status, err := a.life().manager.Status(context.Background())
		if err != nil || len(status.Links) != 1 || status.Links[0].Up || status.Links[0].Error == "" {
			t.Errorf("the status is %+v, %v", status, err)
		}
		b.tap.set(nil)
		b.restart()
		g.settle(90 * time.Minute) // it is tried again in an hour
		g.judge()
	})
}
