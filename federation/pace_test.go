package federation

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// pipe is a way with a bandwidth and a queue that never ends: what is asked for comes one after the other.
type pipe struct {
	rate   float64 // bytes in a second
	trip   time.Duration
	jitter time.Duration
	stalls float64   // the share of pieces that come 300 ms late
	free   time.Time // when all that was asked for has passed the narrowest place
}

// arrival is when a piece that is asked for now arrives.
func (p *pipe) arrival(now time.Time, n int, random *rand.Rand) time.Time {
	p.free = maxTime(p.free, now.Add(p.trip/2)).Add(time.Duration(float64(n) / p.rate * float64(time.Second)))
	late := time.Duration(random.Float64() * float64(p.jitter))
	if random.Float64() < p.stalls {
		late += 300 * time.Millisecond
	}
	return p.free.Add(p.trip / 2).Add(late)
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// TestPace: pieces use what the way has, whatever that is, and don't have others wait longer than they should [FED-FILE-6].
func TestPace(t *testing.T) {
	for _, c := range []struct {
		name string
		pipe
		share float64       // of what is possible, at least
		wait  time.Duration // for a message that comes by, on average in the second half
	}{
		{"thin", pipe{rate: 128 << 10, trip: 90 * time.Millisecond}, 0.9, 600 * time.Millisecond}, // two pieces of the least size
		{"10 Mbit", pipe{rate: 1.25e6, trip: 90 * time.Millisecond}, 0.9, 70 * time.Millisecond},
		{"100 Mbit", pipe{rate: 12.5e6, trip: 90 * time.Millisecond}, 0.8, 70 * time.Millisecond},
		{"100 Mbit, unsteady", pipe{rate: 12.5e6, trip: 90 * time.Millisecond, jitter: 20 * time.Millisecond}, 0.7, 70 * time.Millisecond},
		{"100 Mbit, busy machines", pipe{rate: 12.5e6, trip: 90 * time.Millisecond, stalls: 0.05}, 0.9, 70 * time.Millisecond},
		{"1 Gbit near by", pipe{rate: 125e6, trip: time.Millisecond}, 0.8, 70 * time.Millisecond},
		{"1 Gbit", pipe{rate: 125e6, trip: 90 * time.Millisecond}, 0.3, 70 * time.Millisecond}, // the window's end: 4 MiB in a round trip
	} {
		t.Run(c.name, func(t *testing.T) {
			pace := newPace()
			got, wait := c.drive(&pace, time.Minute)
			t.Logf("%.0f %% of %.1f MB/s, a message waits %s", got*100, c.rate/1e6, wait.Round(time.Millisecond))
			if got < c.share || wait > c.wait {
				t.Errorf("%.0f %% are used and a message waits %s; want at least %.0f %% and at most %s", got*100, wait, c.share*100, c.wait)
			}
		})
	}
}

// TestPaceFollows: hours of asking, and ways that become longer, narrower or wide again, don't make it wait for more or ask for less than it should [FED-FILE-6].
func TestPaceFollows(t *testing.T) {
	pace, p := newPace(), pipe{rate: 1.25e6, trip: 90 * time.Millisecond}
	for _, step := range []struct {
		name   string
		change func()
		length time.Duration
	}{
		{"hours", func() {}, 3 * time.Hour},
		{"farther", func() { p.trip = 250 * time.Millisecond }, 10 * time.Minute},
		{"narrower", func() { p.rate = 250e3 }, 5 * time.Minute},
		{"wide", func() { p.rate, p.trip = 5e6, 40*time.Millisecond }, 5 * time.Minute},
	} {
		step.change()
		got, wait := p.drive(&pace, step.length)
		t.Logf("%s: %.0f %%, a message waits %s", step.name, got*100, wait.Round(time.Millisecond))
		if got < 0.8 || wait > 110*time.Millisecond {
			t.Errorf("%s: %.0f %% are used and a message waits %s; want at least 80 %% and at most 110ms", step.name, got*100, wait)
		}
	}
}

// drive asks for as much as the pace allows, for so long, and returns the share of the rate that came in the second half, and how long a message would have waited.
func (p *pipe) drive(pace *pace, length time.Duration) (share float64, wait time.Duration) {
	type piece struct {
		at, due time.Time
		n       int
		full    bool
	}
	random := rand.New(rand.NewPCG(1, 2))
	begin := maxTime(p.free, time.Unix(1, 0))
	var way []piece
	flying, came, looks := 0, 0, 0
	var waited time.Duration
	for now := begin; now.Before(begin.Add(length)); {
		for n := pace.piece(); flying == 0 || flying+n <= int(pace.window); n = pace.piece() {
			way = append(way, piece{now, p.arrival(now, n, random), n, flying+2*n > int(pace.window)})
			flying += n
		}
		first := 0
		for i := range way {
			if way[i].due.Before(way[first].due) {
				first = i
			}
		}
		next := way[first]
		way = slices.Delete(way, first, first+1)
		now = maxTime(now, next.due)
		flying -= next.n
		pace.took(next.n, now.Sub(next.at), next.full, now)
		if now.Sub(begin) > length/2 {
			came += next.n
			waited += max(0, p.free.Sub(now)-p.trip/2)
			looks++
		}
	}
	return float64(came) / p.rate / (length / 2).Seconds(), waited / time.Duration(looks)
}
