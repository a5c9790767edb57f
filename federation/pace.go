package federation

import (
	"slices"
	"time"

	"teamtalk/protocol/fed"
)

// How many bytes of pieces may be on their way to this side [FED-FILE-6].
const (
	paceLeast  = 32 << 10
	paceFirst  = 128 << 10
	paceMost   = 4 << 20
	pieceLeast = 16 << 10
)

const (
	queueMost = 50 * time.Millisecond // that pieces may have messages wait for them on the way
	baseFor   = 2 * time.Minute       // the way may become longer: what was measured counts so long, and as long again
)

// pace decides how much is asked for at a time. Pieces yield to everything else on the way: it grows as long as they are not slower than the fastest were, and
// shrinks as soon as they seem to wait for each other in some queue, where messages would wait with them.
type pace struct {
	window       float64          // bytes that may be on their way
	steady       bool             // its first growth, which is quick, is over
	base, former time.Duration    // the least delay of now, and of the time before that; 0: none
	since        time.Time        // when the measurement of base began
	recent       [8]time.Duration // delays of the last pieces
	turn         int              // where the next one goes
	cut          time.Time        // when it shrank last
}

func newPace() pace { return pace{window: paceFirst} }

// piece is how much is asked for at once.
func (p *pace) piece() int {
	const round = 4 << 10
	return min(max(int(p.window)/8/round*round, pieceLeast), fed.MaxPiece)
}

// took notes that a piece of n bytes took so long. full: no more could have been asked for at that time.
func (p *pace) took(n int, delay time.Duration, full bool, now time.Time) {
	least := p.least(delay, now)
	free := 1 - float64(p.standing(delay)-least)/float64(queueMost) // 1: nothing waits; 0: as long as it may
	switch {
	case free < -1:
		p.steady = true
		if now.Sub(p.cut) > delay { // once for all that was on its way
			p.window, p.cut = p.window*0.6, now
		}
	case !p.steady && free > 0.5:
		if full {
			p.window += float64(n)
		}
	case free < 0 || full:
		p.steady = true
		p.window += free * float64(n) * float64(p.piece()) / p.window
	}
	p.window = min(max(p.window, paceLeast), paceMost)
}

// standing is the least delay of the last few pieces: what waits in a queue all of them wait for, and not only one whose packets were lost or that a busy machine has
// forgotten for a moment.
func (p *pace) standing(delay time.Duration) time.Duration {
	p.recent[p.turn%len(p.recent)] = delay
	p.turn++
	return slices.Min(p.recent[:min(p.turn, len(p.recent))])
}

// least is how long a piece takes if nothing waits. To see that anew, little is asked for at first: what pieces have queued up would count as the way's length.
func (p *pace) least(delay time.Duration, now time.Time) time.Duration {
	if p.base == 0 || now.Sub(p.since) > baseFor {
		if p.base != 0 {
			p.window, p.steady = paceLeast, false
		}
		p.former, p.base, p.since = p.base, delay, now
	}
	p.base = min(p.base, delay)
	if p.former != 0 {
		return min(p.base, p.former)
	}
	return p.base
}
