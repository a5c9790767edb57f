package load

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Latencies from 1 µs to a minute are kept to three digits.
const (
	shortest = 1
	longest  = 60_000_000
	digits   = 3
	shards   = 8
)

// Summary is a distribution of times in microseconds.
type Summary struct {
	Count int64   `json:"count"`
	Mean  float64 `json:"mean_us"`
	P50   int64   `json:"p50_us"`
	P90   int64   `json:"p90_us"`
	P99   int64   `json:"p99_us"`
	P999  int64   `json:"p999_us"`
	Max   int64   `json:"max_us"`
}

// latency collects times from many goroutines. A histogram is large and a lock is cheap when few share it.
type latency struct {
	shards [shards]struct {
		mu   sync.Mutex // guards hist
		hist *hdrhistogram.Histogram
	}
}

func newLatency() *latency {
	l := &latency{}
	for i := range l.shards {
		l.shards[i].hist = hdrhistogram.New(shortest, longest, digits)
	}
	return l
}

// record takes one time in; who spreads the callers over the shards.
func (l *latency) record(who int, d time.Duration) {
	us := min(max(d.Microseconds(), shortest), longest)
	s := &l.shards[who%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.hist.RecordValue(us) // fails only outside the bounds
}

func (l *latency) summary() Summary {
	all := hdrhistogram.New(shortest, longest, digits)
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		all.Merge(s.hist)
		s.mu.Unlock()
	}
	return Summary{
		Count: all.TotalCount(), Mean: all.Mean(), P50: all.ValueAtQuantile(50), P90: all.ValueAtQuantile(90),
		P99: all.ValueAtQuantile(99), P999: all.ValueAtQuantile(99.9), Max: all.Max(),
	}
}

// clock counts from the start of a run, so that a time fits into a message.
type clock struct{ start time.Time }

func newClock() clock { return clock{time.Now()} }

func (c clock) now() time.Duration { return time.Since(c.start) }

// turns hands out a bounded number of turns.
type turns struct {
	endless bool
	left    atomic.Int64
}

// newTurns makes n turns; 0 is no bound.
func newTurns(n int) *turns {
	t := &turns{endless: n == 0}
	t.left.Store(int64(n))
	return t
}

func (t *turns) take() bool { return t.endless || t.left.Add(-1) >= 0 }
