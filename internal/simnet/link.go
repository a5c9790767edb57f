package simnet

import (
	"math/rand/v2"
	"sync"
	"time"
)

// Direction is one of the two ways along a path.
type Direction int

// Up leads from those who dial to those who listen, Down back.
const (
	Up Direction = iota
	Down
)

// Faults are what is wrong with a path, the same both ways.
type Faults struct {
	Delay  time.Duration // one way
	Jitter time.Duration // up to this much more; packets may overtake each other, the bytes of a stream don't
	Loss   float64       // share of the packets, 0 to 1
}

// Counts are what has become of the packets that went one way; for a stream, of its segments.
type Counts struct {
	Passed   uint64
	Bytes    uint64 // of those passed
	Lost     uint64 // by chance; in a stream they came later
	Dark     uint64 // sent or on their way while nothing passed; in a stream they came later
	Overflow uint64 // dropped because too many were on their way
}

// Stats are the counts of both ways.
type Stats struct{ Up, Down Counts }

// Link is a path with its faults. All methods may be called at any time by anybody; what is on its way already keeps its delay.
type Link struct {
	mu        sync.Mutex // guards all below
	random    [2]*rand.Rand
	faults    Faults
	darkUntil [2]time.Time
	counts    [2]Counts
}

// NewLink makes a path. With the same seed the n-th packet of a direction has the same luck.
func NewLink(seed uint64, f Faults) *Link {
	return &Link{faults: f, random: [2]*rand.Rand{rand.New(rand.NewPCG(seed, 1)), rand.New(rand.NewPCG(seed, 2))}}
}

// known is what is wrong with the path now.
func (l *Link) known() Faults {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.faults
}

// SetDelay changes how long a packet takes one way: delay, and up to jitter more.
func (l *Link) SetDelay(delay, jitter time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults.Delay, l.faults.Jitter = delay, jitter
}

// SetLoss changes the share of the packets that is lost, 0 to 1.
func (l *Link) SetLoss(share float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults.Loss = share
}

// Blackout lets nothing pass for this long from now, and returns when that will be over. A blackout that would end later stays.
func (l *Link) Blackout(d time.Duration) time.Time {
	up, down := l.BlackoutOneWay(Up, d), l.BlackoutOneWay(Down, d)
	if down.After(up) {
		return down
	}
	return up
}

// BlackoutOneWay is a Blackout of one direction: what goes the other way passes.
func (l *Link) BlackoutOneWay(way Direction, d time.Duration) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if end := time.Now().Add(d); end.After(l.darkUntil[way]) {
		l.darkUntil[way] = end
	}
	return l.darkUntil[way]
}

// Stats says what has become of the packets so far.
func (l *Link) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Stats{Up: l.counts[Up], Down: l.counts[Down]}
}

// packet decides about a packet that is sent now: when it arrives, or that it doesn't.
func (l *Link) packet(d Direction) (due time.Time, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	lost, delay := l.chanceLocked(d)
	switch {
	case now.Before(l.darkUntil[d]):
		l.counts[d].Dark++
		return time.Time{}, false
	case lost:
		l.counts[d].Lost++
		return time.Time{}, false
	}
	return now.Add(delay), true
}

// chanceLocked draws the luck of a packet: always the same number of draws, so that one packet's luck doesn't change the next one's.
func (l *Link) chanceLocked(d Direction) (lost bool, delay time.Duration) {
	r := l.random[d]
	lost = r.Float64() < l.faults.Loss
	delay = l.faults.Delay + time.Duration(r.Float64()*float64(l.faults.Jitter))
	return lost, delay
}

// arrives tells whether a packet whose time has come gets out at the other end, and counts it.
func (l *Link) arrives(d Direction, size int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Now().Before(l.darkUntil[d]) {
		l.counts[d].Dark++
		return false
	}
	l.counts[d].Passed++
	l.counts[d].Bytes += uint64(size)
	return true
}

func (l *Link) overflow(d Direction) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts[d].Overflow++
}

// roundTrip is the time there and back without jitter.
func (l *Link) roundTrip() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return 2 * l.faults.Delay
}

// The retransmission timer of a stream, as kernels have it.
const (
	minRTO         = 200 * time.Millisecond
	segmentSize    = 1400
	mostRetransmit = 60 * time.Second
)

// stream decides about bytes of a stream that are sent at a moment: when they are there. A lost segment comes a retransmission timeout later,
// a segment lost again twice that later still.
func (l *Link) stream(d Direction, sent time.Time, size int) (due time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	rto := l.rtoLocked()
	longest := time.Duration(0)
	for range (size + segmentSize - 1) / segmentSize {
		lost, delay := l.chanceLocked(d)
		for wait := rto; lost && wait < mostRetransmit; wait *= 2 {
			l.counts[d].Lost++
			delay += wait
			lost, _ = l.chanceLocked(d)
		}
		longest = max(longest, delay)
	}
	return sent.Add(longest)
}

func (l *Link) rtoLocked() time.Duration { return max(minRTO, 3*l.faults.Delay) }

// streamArrives tells when bytes that were sent at a moment, and whose time has come, really are there: now, or in a blackout with the first
// retransmission after it.
func (l *Link) streamArrives(d Direction, sent time.Time, size int) (due time.Time, now bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !time.Now().Before(l.darkUntil[d]) {
		l.counts[d].Passed += uint64((size + segmentSize - 1) / segmentSize)
		l.counts[d].Bytes += uint64(size)
		return time.Time{}, true
	}
	l.counts[d].Dark++
	again, wait := sent, l.rtoLocked()
	for again.Before(l.darkUntil[d]) {
		again = again.Add(wait)
		wait = min(2*wait, mostRetransmit)
	}
	return again.Add(l.faults.Delay), false
}
