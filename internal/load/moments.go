package load

import (
	"sync"
	"time"
)

// moments notes when each message of one lane was acked and when it arrived, so that the two can be compared. A nil one notes nothing.
type moments struct {
	mu    sync.Mutex // guards the rest
	acks  map[uint32]time.Duration
	comes map[uint32][]time.Duration
}

func newMoments() *moments {
	return &moments{acks: map[uint32]time.Duration{}, comes: map[uint32][]time.Duration{}}
}

func (m *moments) acked(n uint32, at time.Duration) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.acks[n] = at
}

func (m *moments) arrived(n uint32, at time.Duration) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.comes[n] = append(m.comes[n], at)
}

// lags is how long after its ack each message was there, at each receiver. One that was there before counts as at once.
func (m *moments) lags() (all Summary, before int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	times := newLatency()
	for n, acked := range m.acks {
		for _, came := range m.comes[n] {
			times.record(0, came-acked)
			if came < acked {
				before++
			}
		}
	}
	return times.summary(), before
}
