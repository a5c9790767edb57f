package federation

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"teamtalk/protocol/fed"
)

// allowances bound what a peer and each of its users may send [FED-AUTH-3]: what is above waits, and with it what comes behind it in its lane.
type allowances struct {
	perAuthor rate.Limit
	peer      *rate.Limiter

	mu      sync.Mutex // guards what follows
	authors map[fed.UserRef]*rate.Limiter
	others  *rate.Limiter // of all for whom there is no room
}

const (
	burstOf    = 60   // seconds that may come at once
	maxAuthors = 4096 // whose allowance is kept
)

func limitOf(perSecond float64) rate.Limit {
	if perSecond < 0 {
		return rate.Inf
	}
	return rate.Limit(perSecond)
}

func limiter(r rate.Limit) *rate.Limiter {
	return rate.NewLimiter(r, max(1, int(min(float64(r), 1e6)*burstOf)))
}

func (a *allowances) init(l Limits) {
	a.perAuthor = limitOf(l.Author)
	a.peer, a.others = limiter(limitOf(l.Events)), limiter(a.perAuthor)
	a.authors = map[fed.UserRef]*rate.Limiter{}
}

// wait lets an event of an author pass, zero if it has none, when there is allowance for it.
func (a *allowances) wait(ctx context.Context, author fed.UserRef) error {
	if err := a.peer.Wait(ctx); err != nil {
		return err
	}
	if author.IsZero() {
		return nil
	}
	return a.of(author).Wait(ctx)
}

func (a *allowances) of(author fed.UserRef) *rate.Limiter {
	a.mu.Lock()
	defer a.mu.Unlock()
	if l := a.authors[author]; l != nil {
		return l
	}
	if len(a.authors) >= maxAuthors {
		a.forget()
	}
	if len(a.authors) >= maxAuthors {
		return a.others
	}
	l := limiter(a.perAuthor)
	a.authors[author] = l
	return l
}

// forget drops those whose allowance is whole: they get the same again.
func (a *allowances) forget() {
	now := time.Now()
	for who, l := range a.authors {
		if l.TokensAt(now) >= float64(l.Burst()) {
			delete(a.authors, who)
		}
	}
}

// share is what one link has of something that all links have in common. It has to fit into what is the link's own first: who has all of that waits
// without standing in anybody's way.
type share struct {
	own, common *semaphore.Weighted
	held        atomic.Int64
}

func (s *share) init(common *semaphore.Weighted, most int64) {
	s.own, s.common = semaphore.NewWeighted(most), common
}

// tryTake takes so much if it is free now.
func (s *share) tryTake(n int64) bool {
	if !s.own.TryAcquire(n) {
		return false
	}
	if !s.common.TryAcquire(n) {
		s.own.Release(n)
		return false
	}
	s.held.Add(n)
	return true
}

// take waits until so much is free; more than the link's most never is.
func (s *share) take(ctx context.Context, n int64) error {
	if err := s.own.Acquire(ctx, n); err != nil {
		return err
	}
	if err := s.common.Acquire(ctx, n); err != nil {
		s.own.Release(n)
		return err
	}
	s.held.Add(n)
	return nil
}

func (s *share) give(n int64) {
	s.held.Add(-n)
	s.common.Release(n)
	s.own.Release(n)
}

// giveAll returns what a link that is over still has.
func (s *share) giveAll() { s.give(s.held.Load()) }
