package bus

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"teamtalk/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func event(index uint64) protocol.Event {
	return protocol.Event{At: protocol.Position{Index: index}, Body: protocol.DirectoryChanged{}}
}

func events(from, to uint64) []protocol.Event {
	var es []protocol.Event
	for i := from; i <= to; i++ {
		es = append(es, event(i))
	}
	return es
}

// dropped sums teamtalk_bus_dropped_total.
func dropped(t *testing.T, reg *prometheus.Registry) (sum float64) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "teamtalk_bus_dropped_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			sum += m.GetCounter().GetValue()
		}
	}
	return sum
}

func mustNext(t *testing.T, s *Subscription) []protocol.Event {
	t.Helper()
	es, err := s.Next(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return es
}

func TestPublishReachesEverySubscriberInOrder(t *testing.T) {
	b := New(Config{})
	s1, s2 := b.Subscribe("one"), b.Subscribe("two")
	b.Publish(events(1, 3))
	b.Publish(events(4, 5))
	for _, s := range []*Subscription{s1, s2} {
		for i, e := range mustNext(t, s) {
			if e.At.Index != uint64(i+1) {
				t.Fatalf("event %d has index %d", i, e.At.Index)
			}
		}
	}
	s1.Close()
	if _, err := s1.Next(context.Background()); !errors.Is(err, ErrClosed) {
		t.Fatalf("Next after Close: %v", err)
	}
	b.Publish(events(6, 6))
	if got := mustNext(t, s2); len(got) != 1 {
		t.Fatalf("the other subscriber got %d events", len(got))
	}
	b.Close()
	if _, err := s2.Next(context.Background()); !errors.Is(err, ErrClosed) {
		t.Fatalf("Next after the bus closed: %v", err)
	}
	if _, err := b.Subscribe("late").Next(context.Background()); !errors.Is(err, ErrClosed) {
		t.Fatalf("Next of a late subscriber: %v", err)
	}
	if _, err := b.Signals("late").Next(context.Background()); !errors.Is(err, ErrClosed) {
		t.Fatalf("Next of a late subscriber to signals: %v", err)
	}
}

func TestOverflowBecomesAJump(t *testing.T) {
	reg := prometheus.NewRegistry()
	b := New(Config{QueueEvents: 4, Registerer: reg})
	s := b.Subscribe("slow")
	b.Publish(events(10, 13))
	b.Publish(events(14, 16)) // 14 pushes all out; 15 and 16 follow the jump
	got := mustNext(t, s)
	if len(got) != 3 || got[0].Body != (protocol.Jumped{From: 9, To: 14}) || got[1].At.Index != 15 || got[2].At.Index != 16 {
		t.Fatalf("got %+v", got)
	}
	if n := dropped(t, reg); n != 5 {
		t.Fatalf("%v dropped, want 5", n)
	}
	b.Publish(events(17, 17))
	if got = mustNext(t, s); len(got) != 1 || got[0].At.Index != 17 {
		t.Fatalf("after the jump: %+v", got)
	}
}

func TestOverflowByBytes(t *testing.T) {
	b := New(Config{QueueBytes: 100})
	s := b.Subscribe("slow")
	big := func(i uint64) protocol.Event {
		return protocol.Event{At: protocol.Position{Index: i}, Body: protocol.MessageSent{Message: protocol.Message{Data: make([]byte, 80)}}}
	}
	b.Publish([]protocol.Event{big(1)})
	b.Publish([]protocol.Event{big(2)})
	got := mustNext(t, s)
	if len(got) != 1 || got[0].Body != (protocol.Jumped{From: 0, To: 2}) {
		t.Fatalf("got %+v", got)
	}
}

// Whatever is published and whenever it is read: each index is seen once, in order, or lies under a jump.
func TestEveryEventIsSeenOrJumpedOver(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := New(Config{QueueEvents: rapid.IntRange(1, 8).Draw(t, "queue")})
		s := b.Subscribe("x")
		published, seen := uint64(0), uint64(0)
		read := func() {
			if published == seen {
				return
			}
			es, err := s.Next(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range es {
				if j, ok := e.Body.(protocol.Jumped); ok {
					if uint64(j.From) != seen || j.To <= j.From {
						t.Fatalf("jump from %d to %d after %d", j.From, j.To, seen)
					}
					seen = uint64(j.To)
					continue
				}
				if e.At.Index != seen+1 {
					t.Fatalf("event %d after %d", e.At.Index, seen)
				}
				seen = e.At.Index
			}
		}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "read") {
				read()
				continue
			}
			n := uint64(rapid.IntRange(1, 12).Draw(t, "n"))
			b.Publish(events(published+1, published+n))
			published += n
		}
		read()
		if seen != published {
			t.Fatalf("seen up to %d of %d", seen, published)
		}
	})
}

func TestNextEndsWithItsContext(t *testing.T) {
	b := New(Config{})
	s := b.Subscribe("x")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
}

func TestSignalsAreDroppedWhenBehind(t *testing.T) {
	reg := prometheus.NewRegistry()
	b := New(Config{QueueSignals: 2, Registerer: reg})
	s := b.Signals("x")
	for i := range protocol.UserID(3) {
		b.Signal(protocol.PresenceChanged{User: i, Online: true})
	}
	got, err := s.Next(context.Background())
	if err != nil || len(got) != 2 || got[1] != (protocol.PresenceChanged{User: 1, Online: true}) {
		t.Fatalf("got %+v, %v", got, err)
	}
	if n := dropped(t, reg); n != 1 {
		t.Fatalf("%v dropped, want 1", n)
	}
	s.Close()
	if _, err := s.Next(context.Background()); !errors.Is(err, ErrClosed) {
		t.Fatalf("Next after Close: %v", err)
	}
}

// [TT-PRES-1]: only the PC class makes a user online.
func TestPresenceCountsByClass(t *testing.T) {
	p := New(Config{}).Presence()
	p.Join(Session{User: 1, Conn: 1, Client: protocol.ClientAndroid})
	if p.PCOnline(1) || !p.MobileOnline(1) {
		t.Fatal("a mobile makes a user online, or is not seen")
	}
	p.Join(Session{User: 1, Conn: 2, Client: protocol.ClientMac})
	p.Join(Session{User: 1, Conn: 3, Client: protocol.ClientWindows}) // the successor is there before the kicked one has left
	p.Leave(1, 2)
	if !p.PCOnline(1) {
		t.Fatal("offline although one PC is left")
	}
	p.Leave(1, 3)
	p.Leave(1, 1)
	if p.PCOnline(1) || p.MobileOnline(1) || len(p.users) != 0 {
		t.Fatalf("left behind: %v", p.users)
	}
}

func TestConcurrentUse(t *testing.T) {
	b := New(Config{QueueEvents: 8})
	s := b.Subscribe("x")
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := uint64(1); i <= 1000; i++ {
			b.Publish(events(i, i))
			b.Signal(protocol.PresenceChanged{})
		}
	})
	wg.Go(func() {
		for range 100 {
			b.Signals("y").Close()
			b.Subscribe("z").Close()
		}
	})
	for last := uint64(0); last < 1000; {
		es := mustNext(t, s)
		last = es[len(es)-1].At.Index
	}
	wg.Wait()
}
