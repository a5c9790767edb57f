package client

import (
	"math/rand/v2"
	"time"
)

const (
	backoffBase = 200 * time.Millisecond
	backoffMost = 30 * time.Second
	stableTime  = time.Minute // online for so long: the next break begins anew
)

// backoff spaces attempts to connect: full jitter, doubling [TT-SESS-23]. A connection that was online takes back half of the doublings, so that somebody
// on the move is not made to wait for the breaks that are behind him, and a server that takes everybody in and then falls is still not stormed.
type backoff struct{ failed int }

// next is how long to wait now; never shorter than what the server asked for.
func (b *backoff) next(atLeast time.Duration) time.Duration {
	most := backoffMost
	if b.failed < 8 {
		most = min(most, backoffBase<<b.failed)
	}
	b.failed++
	return atLeast + rand.N(most)
}

// online notes for how long the last connection was live; 0: it never was.
func (b *backoff) online(d time.Duration) {
	switch {
	case d >= stableTime:
		b.failed = 0
	case d > 0:
		b.failed /= 2
	}
}
