package scalemodel

import (
	"math/rand/v2"
	"time"
)

// model is a world in motion.
type model struct {
	World
	now    time.Duration
	events heap
	random *rand.Rand
	sites  []*site
	pairs  []*pair
	dark   bool          // the outage goes on
	cutAt  time.Duration // when it begins
	healAt time.Duration // and ends
	spare  float64       // commands a second that a log has left for what comes from other clusters
	old    int64         // events of what was said before healAt that are not committed yet
	seen   figures
}

// site is a cluster.
type site struct {
	number  int
	cut     bool        // by the outage
	out     []*link     // to each other site, by number; nil for itself
	ring    fifo[*link] // those with something to send, in turn
	sending bool

	downFree   time.Duration // when the downlink has delivered all that has come
	checkFree  time.Duration // when all signatures of what has come are checked
	commitFree time.Duration // when the log has carried out all that was proposed
	queued     int           // commands in the log's queue
	held       float64       // memory of what has come and is not proposed
	noRoom     fifo[*link]   // those that wait for some of it
	stalled    fifo[*link]   // those that wait for a place in it
	attempts   []int32       // to connect, with this site at either end, by second
}

// Run models a world to its end: until what was said before the end of the outage has arrived everywhere, or the tail is over.
func Run(w World) (*Result, error) {
	if err := w.check(); err != nil {
		return nil, err
	}
	m := build(w)
	m.begin()
	last := m.healAt + w.Tail
	for {
		e, ok := m.events.pop()
		if !ok || e.at > last || m.settled() {
			break
		}
		m.now = e.at
		m.do(&e)
	}
	return m.result(), nil
}

// settleFor is how long the model goes on when all has arrived, to see that nothing builds up.
const settleFor = 5 * time.Second

func (m *model) settled() bool {
	return m.Outage.For > 0 && m.now > m.healAt && m.old == 0 && m.now > m.seen.settledAt+settleFor
}

func build(w World) *model {
	m := &model{World: w, random: rand.New(rand.NewPCG(w.Seed, 1)), cutAt: w.Lead, healAt: w.Lead + w.Outage.For}
	m.seen.refusedAt, m.spare = never, w.spare()
	for i := range w.Clusters {
		m.sites = append(m.sites, &site{number: i, cut: i < w.Outage.Sites && w.Outage.For > 0, out: make([]*link, w.Clusters)})
	}
	for i, a := range m.sites {
		for _, b := range m.sites[i+1:] {
			p := &pair{ends: [2]*site{a, b}, cut: a.cut || b.cut, up: true}
			a.out[b.number] = &link{pair: p, from: a, to: b}
			b.out[a.number] = &link{pair: p, from: b, to: a}
			m.pairs = append(m.pairs, p)
		}
	}
	return m
}

func (m *model) begin() {
	for _, s := range m.sites {
		m.after(m.exponential(m.away()/float64(m.Bundle)), event{step: stepSay, site: s})
		m.after(m.exponential(m.Traffic.Changes*float64(m.Clusters-1)), event{step: stepChange, site: s})
		m.after(m.uniform(time.Second), event{step: stepProbe, site: s})
	}
	m.after(sampleEvery, event{step: stepSample})
	if m.Outage.For > 0 {
		m.after(m.cutAt, event{step: stepCut})
		m.after(m.healAt, event{step: stepHeal})
	}
}

// after plans an event; never is one that does not come.
func (m *model) after(d time.Duration, e event) {
	if d == never {
		return
	}
	e.at = m.now + d
	m.events.push(e)
}

const never = time.Duration(1<<63 - 1)

// exponential is the time to the next of events that come at random, so many a second.
func (m *model) exponential(rate float64) time.Duration {
	if rate <= 0 {
		return never
	}
	return seconds(m.random.ExpFloat64() / rate)
}

func (m *model) uniform(most time.Duration) time.Duration {
	return time.Duration(m.random.Float64() * float64(most))
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func (m *model) do(e *event) {
	switch e.step {
	case stepSay:
		m.say(e.site)
	case stepChange:
		m.change(e.site)
	case stepProbe:
		m.probe(e.site)
	case stepUplink:
		e.site.sending = false
		m.send(e.site)
	case stepArrive:
		m.arrive(e)
	case stepRead:
		m.read(e.link, e.batch)
	case stepTake:
		e.link.limited = false
		m.take(e.link, false)
	case stepCommit:
		m.commit(e.link, e.batch)
	case stepAck:
		m.ack(e)
	case stepCut:
		m.cut()
	case stepHeal:
		m.heal()
	case stepSilence:
		m.silence(e)
	case stepDial:
		m.dial(e)
	case stepUp:
		m.connected(e)
	case stepSample:
		m.sample()
	}
}
