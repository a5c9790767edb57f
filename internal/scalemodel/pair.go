package scalemodel

import "time"

// pair is the connection between two sites.
type pair struct {
	ends  [2]*site
	cut   bool // by the outage
	up    bool
	gen   uint32  // of the connection: what was on its way in another one is lost
	held  []event // in the dark, for when it is over before anybody has noticed
	tries [2]int  // of either side, in vain
}

// retransmit is how long after the end of a short outage at most the network sends again what was lost in it.
const retransmit = 2 * time.Second

func (m *model) cut() {
	m.dark = true
	for _, p := range m.pairs {
		if p.cut {
			m.after(m.Rules.Silence, event{step: stepSilence, link: p.ends[0].out[p.ends[1].number], gen: p.gen})
		}
	}
}

func (m *model) heal() {
	m.dark = false
	for _, p := range m.pairs {
		again := m.uniform(retransmit)
		for _, e := range p.held {
			m.after(again, e)
		}
		p.held = nil
	}
}

// silence ends a connection whose sides have not heard of each other, and lets both begin to dial.
func (m *model) silence(e *event) {
	p := e.link.pair
	if !m.dark || !p.up || e.gen != p.gen {
		return
	}
	p.up, p.held = false, nil
	p.gen++
	p.tries = [2]int{}
	for side := range p.ends {
		m.again(p, side, 0)
	}
}

// again plans the next attempt of one side, with full jitter [FED-TR-4].
func (m *model) again(p *pair, side int, after time.Duration) {
	most := m.Rules.RetryLeast
	for range min(p.tries[side], 30) {
		most = min(2*most, m.Rules.RetryMost)
	}
	p.tries[side]++
	wait := most
	if !m.Rules.NoJitter {
		wait = m.uniform(most)
	}
	m.after(after+wait, event{step: stepDial, link: p.ends[side].out[p.ends[1-side].number], side: uint8(side)})
}

func (m *model) dial(e *event) {
	p, side := e.link.pair, int(e.side)
	if p.up {
		return
	}
	m.seen.attempt(m, e.link)
	if m.dark && p.cut {
		m.again(p, side, m.Rules.DialLimit)
		return
	}
	m.after(4*m.Delay, event{step: stepUp, link: e.link, side: e.side}) // the handshake, and both hellos
}

// connected is a connection on which both have said hello. If there is one already, the newer one ends.
func (m *model) connected(e *event) {
	p := e.link.pair
	switch {
	case p.up:
		return
	case m.dark && p.cut:
		m.again(p, int(e.side), m.Rules.DialLimit)
		return
	}
	p.up = true
	if m.now > m.healAt {
		m.seen.linksBack = m.now - m.healAt
	}
	for side := range p.ends {
		l := p.ends[side].out[p.ends[1-side].number]
		l.resume()
		m.ready(l)
	}
}

// resume takes up where the receiver says that it is: what it has not taken is sent again, in the same order.
func (l *link) resume() {
	for i := range l.lanes {
		lane := &l.lanes[i]
		var kept []*batch
		var again []item
		for lane.flight.len() > 0 {
			b := lane.flight.pop()
			switch b.fate {
			case fateTaken: // its acknowledgement will come by this connection
				b.gen = l.pair.gen
				kept = append(kept, b)
			case fateSent:
				lane.inflight -= b.events
				again = append(again, b.items...)
				for _, it := range b.items {
					l.copies[it.kind] -= int64(it.n)
				}
			case fateCommitted, fateAcked:
				lane.inflight -= b.events
				l.waiting -= b.queued
				l.depth -= int64(b.events)
			}
		}
		lane.flight.prepend(kept)
		if len(again) > 0 {
			lane.queue.prepend(again)
		}
	}
}
