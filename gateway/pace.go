package gateway

import (
	"math"
	"time"
)

const (
	// What was measured longer ago hardly counts. A crowd takes half a minute to arrive, and its handshakes slow down its first logins: those alone must
	// not say how long the last ones will wait.
	paceMemory = 30 * time.Second
	// Before anything is measured a login takes as long as argon2id at its default costs, and that counts like five seconds of measuring.
	paceGuess  = 40 * time.Millisecond
	paceWeight = 5 * time.Second
)

// pace measures how many logins are decided in a second while all slots are at work. Time in which they are not does not count, so that a quiet
// night does not look like a slow server.
type pace struct {
	decided float64   // logins; the longer ago the less they count
	worked  float64   // seconds, weighted alike
	since   time.Time // all slots have been at work since then, and it has not been counted; zero: they are not
}

func newPace(slots int) pace {
	return pace{decided: float64(slots) * float64(paceWeight) / float64(paceGuess), worked: paceWeight.Seconds()}
}

// work says whether all slots are at work from now on.
func (p *pace) work(all bool, now time.Time) {
	p.count(now)
	p.since = time.Time{}
	if all {
		p.since = now
	}
}

// decide counts a login that was decided.
func (p *pace) decide(now time.Time) {
	if p.since.IsZero() {
		return
	}
	p.count(now)
	p.decided++
}

func (p *pace) count(now time.Time) {
	if p.since.IsZero() {
		return
	}
	rest := math.Exp(-now.Sub(p.since).Seconds() / paceMemory.Seconds())
	p.decided *= rest
	p.worked = p.worked*rest + paceMemory.Seconds()*(1-rest)
	p.since = now
}

// time is how long n logins take.
func (p *pace) time(n int) time.Duration {
	seconds := float64(n) * p.worked / max(p.decided, 1e-3)
	return time.Duration(min(seconds, math.MaxUint32) * float64(time.Second))
}
