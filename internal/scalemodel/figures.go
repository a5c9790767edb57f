package scalemodel

import (
	"math"
	"time"
)

// Phase is when a message was said.
type Phase uint8

// Phases of a run.
const (
	Before Phase = iota
	During       // the outage
	After
	phases
)

// Class is what kind of message a time is of.
type Class uint8

// Classes of messages. Cut ones concern the clusters that the outage cuts off.
const (
	Local     Class = iota // between users of one cluster, until it is acked
	LocalCut               // the same, at a cluster that was cut off
	Direct                 // one to one, until the other home has committed it
	DirectCut              // the same, over a link that was cut
	Group                  // in a group, until the home of each member has committed it
	GroupCut               // the same, over a link that was cut
	Change                 // a profile
	ChangeCut
	classes
)

// figures are what the model sees of itself.
type figures struct {
	times     [phases][classes]Times
	events    int64 // committed
	messages  int64 // one to one, committed
	sentBytes float64
	ackBytes  float64
	refused   int64
	refusedAt time.Duration // first
	depth     float64       // most bytes that ever waited for one peer
	queued    int           // most commands in one log's queue
	held      float64       // most memory of a site for what had come and was not proposed
	series    []Sample
	attempts  []int32 // of all sites, by second
	linksBack time.Duration
	settledAt time.Duration
}

// Sample is a look at all queues.
type Sample struct {
	At      time.Duration `json:"at_ns"`
	Waiting int64         `json:"waiting"`       // events in all outboxes, not acknowledged
	Bytes   float64       `json:"bytes"`         // of them
	Most    float64       `json:"most_bytes"`    // for one peer
	Commits int           `json:"most_commands"` // in one log's queue
}

func (m *model) phase(said time.Duration) Phase {
	switch {
	case m.Outage.For == 0 || said < m.cutAt:
		return Before
	case said <= m.healAt:
		return During
	}
	return After
}

func (f *figures) local(m *model, s *site, took time.Duration) {
	c := Local
	if s.cut {
		c = LocalCut
	}
	f.times[m.phase(m.now)][c].add(took, 1)
}

func (f *figures) delivered(m *model, it item) {
	f.events += int64(it.n)
	c := Direct
	switch it.kind {
	case kindMessage:
		f.messages += int64(it.n)
	case kindHubPost:
		c = Group
	case kindChange:
		c = Change
	case kindMark, kindPost, kinds:
		return
	}
	if it.echo {
		return
	}
	if it.crosses {
		c++
	}
	f.times[m.phase(it.said)][c].add(m.now-it.said, int64(it.n))
}

func (f *figures) refuse(now time.Duration, it item) {
	f.refused += int64(it.n)
	f.refusedAt = min(f.refusedAt, now)
}

func (f *figures) deepest(l *link) { f.depth = math.Max(f.depth, l.waiting) }

func (f *figures) busiest(queued int) { f.queued = max(f.queued, queued) }

func (f *figures) attempt(m *model, l *link) {
	second := int(m.now / time.Second)
	f.attempts = count(f.attempts, second)
	l.from.attempts = count(l.from.attempts, second)
	if !m.dark || !l.pair.cut {
		l.to.attempts = count(l.to.attempts, second)
	}
}

// count adds one at a place.
func count(all []int32, at int) []int32 {
	for len(all) <= at {
		all = append(all, 0)
	}
	all[at]++
	return all
}

// sampleEvery is the time between two looks at all queues.
const sampleEvery = 10 * time.Second

func (m *model) sample() {
	m.after(sampleEvery, event{step: stepSample})
	s := Sample{At: m.now}
	for _, site := range m.sites {
		s.Commits = max(s.Commits, site.queued)
		for _, l := range site.out {
			if l == nil {
				continue
			}
			s.Waiting += l.depth
			s.Bytes += l.waiting
			s.Most = math.Max(s.Most, l.waiting)
		}
	}
	m.seen.series = append(m.seen.series, s)
}

// Attempts are the most attempts to connect within one second.
type Attempts struct {
	During int32 `json:"during"` // the outage: when the silence is noticed
	After  int32 `json:"after"`  // it
	One    int32 `json:"one"`    // after it, with one cluster at either end
}

// Result is what a run came to.
type Result struct {
	World World `json:"world"`
	// Events were committed at other clusters than their origin; Messages of them are one to one.
	Events   int64 `json:"events"`
	Messages int64 `json:"messages"`
	// Seconds is how long the model ran, in its own time.
	Seconds   float64 `json:"seconds"`
	SentBytes float64 `json:"sent_bytes"` // over all links
	AckBytes  float64 `json:"ack_bytes"`
	// Refused messages were told to their authors, because a quota was reached; the first one at RefusedAt.
	Refused   int64         `json:"refused"`
	RefusedAt time.Duration `json:"refused_at_ns"`
	// Depth is the most bytes that ever waited for one peer, Queued the most commands in one log's queue.
	Depth  float64 `json:"depth_bytes"`
	Queued int     `json:"queued"`
	// Held is the most memory that one leader needed for what had come and was not proposed yet.
	Held float64 `json:"held_bytes"`
	// Backlog is how many events waited when the outage ended.
	Backlog      int64   `json:"backlog"`
	BacklogBytes float64 `json:"backlog_bytes"`
	// LinksBack is how long after its end the last link stood, Settled how long until all that was said before was everywhere.
	LinksBack time.Duration `json:"links_back_ns"`
	Settled   time.Duration `json:"settled_ns"`
	Attempts  Attempts      `json:"attempts"`
	// Missing were not delivered when the model ended.
	Missing int64 `json:"missing"`

	Series []Sample `json:"series,omitempty"`
	times  [phases][classes]Times
	copies [kinds]int64
}

// Took is how long messages of a class took that were said in a phase.
func (r *Result) Took(p Phase, c Class) *Times { return &r.times[p][c] }

func (m *model) result() *Result {
	f := &m.seen
	r := &Result{World: m.World, Events: f.events, Messages: f.messages, Seconds: m.now.Seconds(), SentBytes: f.sentBytes, AckBytes: f.ackBytes,
		Refused: f.refused, RefusedAt: f.refusedAt, Depth: f.depth, Queued: f.queued, Held: f.held, LinksBack: f.linksBack, Missing: m.old, Series: f.series, times: f.times}
	if m.Outage.For == 0 {
		r.Missing = 0
	} else if f.settledAt > m.healAt {
		r.Settled = f.settledAt - m.healAt
	}
	for i := range r.Series {
		s := &r.Series[i]
		if s.At <= m.healAt {
			r.Backlog, r.BacklogBytes = s.Waiting, s.Bytes
		}
	}
	healed := int(m.healAt / time.Second)
	r.Attempts.During = most(f.attempts[:min(healed, len(f.attempts))])
	r.Attempts.After = most(f.attempts[min(healed, len(f.attempts)):])
	for _, s := range m.sites {
		r.Attempts.One = max(r.Attempts.One, most(s.attempts[min(healed, len(s.attempts)):]))
		for _, l := range s.out {
			for k := range r.copies {
				if l != nil {
					r.copies[k] += l.copies[k]
				}
			}
		}
	}
	return r
}

func most(all []int32) (n int32) {
	for _, a := range all {
		n = max(n, a)
	}
	return n
}
