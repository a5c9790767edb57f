package gateway

import (
	"container/list"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// resumesMost is how many sessions may be resuming while logins still begin. A resume takes well under a millisecond of a processor, a login
	// tens of them: as many as this at the same time means that a crowd is coming back, which is served first.
	resumesMost = 64
	// resumeCounts bounds how long one of them counts: a client that reads its replay slowly must not hold up other people's logins.
	resumeCounts = 2 * time.Second

	queueTick   = 50 * time.Millisecond // how often it is looked who has to be told: news are that late at most, and the less of them are due at once
	queueTell   = 2 * time.Second       // between two QUEUE to a session, at least [TT-QUEUE-2]
	queueBuilds = time.Second           // a wait that is worth a line in the log
)

// admission lets logins begin in the order in which they came, a few at a time: checking a password keeps a processor busy for tens of milliseconds
// [TT-QUEUE-1].
type admission struct {
	slots   int // logins under way at the same time
	most    int // logins that wait
	log     *slog.Logger
	length  prometheus.Gauge
	waited  prometheus.Histogram
	late    prometheus.Histogram
	crowded chan struct{} // holds a token after the first has begun to wait

	mu       sync.Mutex // guards what follows
	running  int
	resuming int
	waiting  list.List // of *ticket, in the order of their arrival
	pace     pace
	building struct { // since the last line in the log that said that logins wait; zero: none has to be followed by one that says they no longer do
		since time.Time
		begun int
	}
}

// ticket is the place of one login. Its fields without a note are guarded by the mutex of its admission.
type ticket struct {
	called chan struct{} // closed when it no longer waits. Fixed
	news   chan place    // where it stands now; nil: does not want to know. Fixed
	over   chan struct{} // closed by whoever carries out the login when that is decided, or given up. Fixed

	state   ticketState
	element *list.Element
	since   time.Time
	told    int // the position last told
	toldAt  time.Time
	stoodAt time.Time // when it was last seen not to have moved since
}

type ticketState uint8

const (
	ticketWaits ticketState = iota
	ticketRuns
	ticketGone
)

// place is how far a login has come.
type place struct {
	position int           // 1 is next
	eta      time.Duration // until it begins
	due      time.Time     // when it had to be told
}

func newAdmission(l *Limits, log *slog.Logger, r prometheus.Registerer) *admission {
	a := &admission{
		slots: l.ConcurrentLogins, most: l.QueuedLogins, log: log, crowded: make(chan struct{}, 1), pace: newPace(l.ConcurrentLogins),
		length: prometheus.NewGauge(prometheus.GaugeOpts{Name: "teamtalk_login_queue_length", Help: "Logins that wait for their turn."}),
		waited: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "teamtalk_login_queue_wait_seconds",
			Help: "How long logins waited for their turn; those that gave up are not counted.", Buckets: []float64{0.001, 0.01, 0.1, 0.5, 1, 2, 3, 5, 10, 30, 60, 120, 300, 600}}),
		late: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "teamtalk_login_queue_news_late_seconds",
			Help: "How long after they were due news of the queue were written to a connection.", Buckets: []float64{0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10}}),
	}
	if r != nil {
		r.MustRegister(a.length, a.waited, a.late)
	}
	return a
}

// arrive gives a login its place, at most patience from its beginning, or says why it can't have one; 0: it has all the time there is. A ticket that
// runs has to be given back by done.
func (a *admission) arrive(patience time.Duration) (*ticket, place, refusal) {
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	t := &ticket{since: now}
	if !a.mustWaitLocked() {
		a.beginLocked(t, now)
		return t, place{}, ""
	}
	p := place{position: a.waiting.Len() + 1, due: now}
	p.eta = a.pace.time(p.position)
	switch {
	case a.waiting.Len() >= a.most:
		return nil, p, refusedQueueFull
	case patience > 0 && p.eta > patience:
		return nil, p, refusedNoTime
	}
	t.called, t.over = make(chan struct{}), make(chan struct{})
	if patience == 0 {
		t.news, t.told, t.toldAt = make(chan place, 1), p.position, now
	}
	t.element = a.waiting.PushBack(t)
	a.length.Inc()
	select {
	case a.crowded <- struct{}{}:
	default:
	}
	return t, p, ""
}

// leave takes a login out of the queue; false: it does not wait (any more).
func (a *admission) leave(t *ticket) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if t.state != ticketWaits {
		return false
	}
	a.removeLocked(t)
	t.state = ticketGone
	close(t.called)
	return true
}

// abandon is for a login that nobody will carry out: it leaves, or gives back what it was given meanwhile.
func (a *admission) abandon(t *ticket) {
	if !a.leave(t) && a.runs(t) {
		a.done(t)
	}
}

// runs reports whether it is the login's turn; false: it waits or has left.
func (a *admission) runs(t *ticket) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return t.state == ticketRuns
}

// done gives back what a login that runs has, once: the next may begin.
func (a *admission) done(t *ticket) {
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	t.state = ticketGone
	a.pace.decide(now)
	a.running--
	a.callLocked(now)
}

// resume counts a session that resumes until the function returned is called, or for as long as one may count.
func (a *admission) resume() (done func()) {
	a.mu.Lock()
	a.resuming++
	a.mu.Unlock()
	over := sync.OnceFunc(func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.resuming--
		a.callLocked(time.Now())
	})
	bound := time.AfterFunc(resumeCounts, over)
	return func() {
		bound.Stop()
		over()
	}
}

// mustWait reports whether a login that came now would have to wait.
func (a *admission) mustWait() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.mustWaitLocked()
}

// begins reports whether a login that came now would be let in, and begin within a time.
func (a *admission) begins(within time.Duration) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := a.waiting.Len()
	return !a.mustWaitLocked() || n < a.most && a.pace.time(n+1) <= within
}

// crowd is the number of logins that wait.
func (a *admission) crowd() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.waiting.Len()
}

func (a *admission) mustWaitLocked() bool {
	return a.waiting.Len() > 0 || !a.mayBeginLocked()
}

func (a *admission) mayBeginLocked() bool { return a.running < a.slots && a.resuming <= resumesMost }

// callLocked begins as many of those that wait as there is room for.
func (a *admission) callLocked(now time.Time) {
	for a.waiting.Len() > 0 && a.mayBeginLocked() {
		t := a.waiting.Front().Value.(*ticket) //nolint:forcetypeassert // the list holds nothing else
		a.removeLocked(t)
		a.building.begun++
		a.beginLocked(t, now)
		close(t.called)
	}
	a.pace.work(a.running >= a.slots, now)
}

func (a *admission) beginLocked(t *ticket, now time.Time) {
	t.state = ticketRuns
	a.running++
	a.pace.work(a.running >= a.slots, now)
	a.waited.Observe(now.Sub(t.since).Seconds())
}

func (a *admission) removeLocked(t *ticket) {
	a.waiting.Remove(t.element)
	t.element = nil
	a.length.Dec()
}

// tell lets those know where they stand who have moved up and were not told lately, and writes to the log when a queue has built up and when it is
// gone. False: nothing has to be told until the next one waits.
func (a *admission) tell(now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	position := 0
	for e := a.waiting.Front(); e != nil; e = e.Next() {
		position++
		t := e.Value.(*ticket) //nolint:forcetypeassert // the list holds nothing else
		if t.told == position {
			t.stoodAt = now
		}
		if t.news == nil || t.told == position || now.Sub(t.toldAt) < queueTell {
			continue
		}
		due := t.toldAt.Add(queueTell)
		if t.stoodAt.After(due) {
			due = t.stoodAt
		}
		select {
		case t.news <- place{position, a.pace.time(position), due}:
			t.told, t.toldAt = position, now
		default: // it has not even taken the former
		}
	}
	a.noteLocked(now)
	return a.waiting.Len() > 0
}

// noteLocked writes a line when a queue has built up and another when it is gone.
func (a *admission) noteLocked(now time.Time) {
	b := &a.building
	switch front := a.waiting.Front(); {
	case front == nil && !b.since.IsZero():
		a.log.Info("no login waits any more", "after", now.Sub(b.since).Round(time.Millisecond), "begun", b.begun)
		b.since = time.Time{}
	case front != nil && b.since.IsZero():
		since := front.Value.(*ticket).since //nolint:forcetypeassert // the list holds nothing else
		if now.Sub(since) < queueBuilds {
			return
		}
		b.since, b.begun = since, 0
		a.log.Info("logins wait for their turn", "waiting", a.waiting.Len(), "resuming", a.resuming, "eta", a.pace.time(a.waiting.Len()).Round(time.Second))
	}
}
