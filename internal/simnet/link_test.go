package simnet

import (
	"testing"
	"testing/synctest"
	"time"
)

// fates are what becomes of the first n packets of a direction.
func fates(l *Link, d Direction, n int) (all []time.Duration) {
	for range n {
		due, ok := l.packet(d)
		if !ok {
			all = append(all, -1)
			continue
		}
		all = append(all, time.Until(due))
	}
	return all
}

func TestSeedDecides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faults := Faults{Delay: 45 * time.Millisecond, Jitter: 10 * time.Millisecond, Loss: 0.1}
		const n = 20_000
		one, two, other := NewLink(1, faults), NewLink(1, faults), NewLink(2, faults)
		fates(two, Down, 7) // the other direction has luck of its own
		a, b, c := fates(one, Up, n), fates(two, Up, n), fates(other, Up, n)
		same, lost := 0, 0
		for i := range n {
			if a[i] != b[i] {
				t.Fatalf("packet %d: %s and %s with the same seed", i, a[i], b[i])
			}
			if a[i] == c[i] {
				same++
			}
			switch {
			case a[i] < 0:
				lost++
			case a[i] < faults.Delay || a[i] > faults.Delay+faults.Jitter:
				t.Fatalf("packet %d takes %s", i, a[i])
			}
		}
		if same > n/10 {
			t.Errorf("%d of %d packets have the same fate with another seed", same, n)
		}
		if lost < n*9/100 || lost > n*11/100 {
			t.Errorf("%d of %d packets are lost at 10 %%", lost, n)
		}
		if got := one.Stats().Up.Lost; got != uint64(lost) {
			t.Errorf("%d are counted as lost, %d were", got, lost)
		}
	})
}

func TestBlackoutOfPackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLink(1, Faults{Delay: 50 * time.Millisecond})
		due, ok := l.packet(Up)
		if !ok {
			t.Fatal("lost without loss")
		}
		end := l.Blackout(5 * time.Second)
		if !l.Blackout(time.Second).Equal(end) {
			t.Error("a shorter blackout shortened the one before")
		}
		time.Sleep(time.Until(due))
		if l.arrives(Up, 1) {
			t.Error("what was on its way arrived in the dark")
		}
		if _, ok := l.packet(Up); ok {
			t.Error("a packet passed in the dark")
		}
		time.Sleep(time.Until(end))
		if _, ok := l.packet(Up); !ok {
			t.Error("a packet was lost after the dark")
		}
		if got := l.Stats(); got.Up.Dark != 2 || got.Down.Dark != 0 {
			t.Errorf("%+v", got)
		}
	})
}

// TestRetransmission: bytes sent in the dark come with the first retransmission after it, and the timer doubles.
func TestRetransmission(t *testing.T) {
	for name, c := range map[string]struct{ dark, want time.Duration }{
		"no dark":            {0, 50 * time.Millisecond},
		"first again":        {100 * time.Millisecond, 250 * time.Millisecond},
		"second again":       {300 * time.Millisecond, 650 * time.Millisecond},
		"after five seconds": {5 * time.Second, 6250 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := NewLink(1, Faults{Delay: 50 * time.Millisecond})
				l.Blackout(c.dark)
				start := time.Now()
				due := l.stream(Up, start, 100)
				for arrived := false; !arrived; {
					time.Sleep(time.Until(due))
					due, arrived = l.streamArrives(Up, start, 100)
				}
				if took := time.Since(start); took != c.want {
					t.Errorf("arrived after %s, want %s", took, c.want)
				}
			})
		})
	}
}

// TestPacketsWait: they come in the order of their times, each when it is due.
func TestPacketsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLink(1, Faults{Delay: 50 * time.Millisecond})
		q := NewPackets(l, Down)
		var got []string
		start := time.Now()
		deliver := func(b []byte) { got = append(got, string(b)+time.Since(start).String()) }
		q.Send([]byte("a"), deliver)
		q.Send([]byte("b"), deliver)
		l.SetDelay(10*time.Millisecond, 0)
		go q.Run(t.Context())
		q.Send([]byte("c"), deliver)
		time.Sleep(time.Second)
		synctest.Wait()
		if want := []string{"c10ms", "a50ms", "b50ms"}; len(got) != 3 || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
			t.Errorf("%q, want %q", got, want)
		}
		l.SetDelay(time.Hour, 0)
		for range mostUnderway + 5 {
			q.Send(nil, deliver)
		}
		if n := l.Stats().Down.Overflow; n != 5 {
			t.Errorf("%d packets too many were dropped, want 5", n)
		}
	})
}
