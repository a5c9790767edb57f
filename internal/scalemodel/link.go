package scalemodel

import "time"

// link is one direction between two sites: the outbox of the one for the other, and what the other does with it.
type link struct {
	pair     *pair
	from, to *site
	lanes    [messageLanes + 1]lane
	turn     int     // the lane that is next
	inRing   bool    // it waits for the uplink
	waiting  float64 // bytes in the outbox that are not acknowledged
	depth    int64   // events of them
	refused  int64   // messages, because the quota was reached
	copies   [kinds]int64

	come    [messageLanes + 1]incoming     // each lane's
	served  float64                        // of the lane that was served last, before that
	outside [messageLanes + 1]fifo[*batch] // in the network, before the memory of this side
	outTurn int
	waits   bool          // for memory
	pending int           // events being committed
	free    time.Duration // when the peer's events are within its rate again
	limited bool          // a stepTake is planned
	stalled bool          // it waits for a place in the log's queue
}

// incoming is what has come of a lane and is not proposed yet. Of several lanes the one is served that has had least.
type incoming struct {
	fifo[*batch]
	served float64
}

// lane is a queue of its own: those of other lanes don't wait for it.
type lane struct {
	queue    fifo[item]
	flight   fifo[*batch] // sent and not acknowledged
	inflight int          // events of it
}

func (m *model) size(k kind) float64 {
	s := &m.Traffic.Size
	return [kinds]float64{s.Message, s.Mark, s.Post, s.HubPost, s.Change}[k]
}

// stored is what it takes in the outbox.
func (m *model) stored(k kind) float64 { return m.size(k) - m.Traffic.Size.Signed }

// put adds an event to the outbox, unless the quota says no [FED-OUT-3].
func (m *model) put(l *link, lane int, it item) {
	it.crosses = it.crosses || l.pair.cut
	bytes := float64(it.n) * m.stored(it.kind)
	if l.waiting+bytes > m.Rules.Quota {
		l.refused += int64(it.n)
		m.seen.refuse(m.now, it)
		return
	}
	l.waiting += bytes
	l.depth += int64(it.n)
	m.seen.deepest(l)
	if it.said <= m.healAt {
		m.old += int64(it.n)
	}
	l.lanes[lane].queue.push(it)
	m.ready(l)
}

// ready puts a link into the ring of its uplink if it has something to send and may.
func (m *model) ready(l *link) {
	if l.inRing || !l.pair.up || !l.sendable(m.Rules.Window) {
		return
	}
	l.inRing = true
	l.from.ring.push(l)
	m.send(l.from)
}

func (l *link) sendable(window int) bool {
	for i := range l.lanes {
		if l.lanes[i].may(window) {
			return true
		}
	}
	return false
}

func (l *lane) may(window int) bool { return l.queue.len() > 0 && l.inflight < window }

// send gives a free uplink the next batch.
func (m *model) send(s *site) {
	for !s.sending && s.ring.len() > 0 {
		l := s.ring.pop()
		l.inRing = false
		b := m.cutBatch(l)
		if b == nil {
			continue // the connection is gone
		}
		s.sending = true
		took := seconds(8 * b.bytes / m.Site.Uplink)
		m.seen.sentBytes += b.bytes
		m.after(took, event{step: stepUplink, site: s})
		m.after(took+m.Delay, event{step: stepArrive, link: l, batch: b, gen: b.gen})
		m.ready(l)
	}
}

// cutBatch takes the next events of the lane whose turn it is.
func (m *model) cutBatch(l *link) *batch {
	if !l.pair.up {
		return nil
	}
	for range l.lanes {
		n := l.turn
		l.turn = (l.turn + 1) % len(l.lanes)
		lane := &l.lanes[n]
		if !lane.may(m.Rules.Window) {
			continue
		}
		b := &batch{lane: n, gen: l.pair.gen, bytes: m.Traffic.Size.Batch}
		for lane.queue.len() > 0 {
			it := lane.queue.peek()
			if b.events > 0 && b.events+int(it.n) > m.Rules.Batch {
				break
			}
			b.items = append(b.items, *it)
			b.events += int(it.n)
			b.queued += float64(it.n) * m.stored(it.kind)
			b.bytes += float64(it.n) * m.size(it.kind)
			l.copies[it.kind] += int64(it.n)
			lane.queue.pop()
		}
		lane.flight.push(b)
		lane.inflight += b.events
		return b
	}
	return nil
}

// arrive is the other end of the path; in the dark it waits there for the network to send it again, or for the end of the connection.
func (m *model) arrive(e *event) {
	p := e.link.pair
	switch {
	case e.gen != p.gen:
	case m.dark && p.cut:
		p.held = append(p.held, *e)
	default:
		to := e.link.to
		to.downFree = max(to.downFree, m.now) + seconds(8*e.batch.bytes/m.Site.Downlink)
		m.after(to.downFree-m.now, event{step: stepRead, link: e.link, batch: e.batch})
	}
}

func (m *model) read(l *link, b *batch) {
	if b.gen != l.pair.gen {
		return
	}
	l.outside[b.lane].push(b)
	if !l.waits {
		l.waits = true
		l.to.noRoom.push(l)
	}
	m.makeRoom(l.to)
}

// makeRoom reads from the network as far as there is memory: a batch of each link in turn, and of each of its lanes.
func (m *model) makeRoom(s *site) {
	for s.noRoom.len() > 0 {
		l := *s.noRoom.peek()
		q := l.nextOutside()
		if q != nil {
			w := (*q.peek()).weight()
			if s.held > 0 && s.held+w > m.Rules.Received {
				return
			}
			s.held += w
			m.seen.held = max(m.seen.held, s.held)
			l.outTurn = (l.outTurn + 1) % len(l.outside)
		}
		s.noRoom.pop()
		if q == nil {
			l.waits = false
			continue
		}
		s.noRoom.push(l) // behind the others, in case there is more
		m.come(l, q.pop())
	}
}

// nextOutside is the lane whose turn it is to be read, nil if nothing is there. What came by a connection that is gone is forgotten.
func (l *link) nextOutside() *fifo[*batch] {
	for range l.outside {
		q := &l.outside[l.outTurn]
		for q.len() > 0 && (*q.peek()).gen != l.pair.gen {
			q.pop()
		}
		if q.len() > 0 {
			return q
		}
		l.outTurn = (l.outTurn + 1) % len(l.outside)
	}
	return nil
}

func (m *model) come(l *link, b *batch) {
	in := &l.come[b.lane]
	if in.len() == 0 {
		in.served = max(in.served, l.served) // having had nothing to say is no merit
	}
	in.push(b)
	m.take(l, false)
}

// next is the lane whose turn it is, nil if nothing has come. What came by a connection that is gone is forgotten.
func (l *link) next() (least *incoming) {
	for i := range l.come {
		in := &l.come[i]
		for in.len() > 0 && (*in.peek()).gen != l.pair.gen {
			l.to.held -= in.pop().weight()
		}
		if in.len() > 0 && (least == nil || in.served < least.served) {
			least = in
		}
	}
	return least
}

// take starts commands for what has come, as far as the limits let it; first: it is this link's turn among those that wait for the log.
func (m *model) take(l *link, first bool) {
	for !l.limited && !l.stalled {
		in := l.next()
		if in == nil {
			return
		}
		b := *in.peek()
		switch {
		case m.Rules.PeerRate > 0 && l.free > m.now:
			l.limited = true
			m.after(l.free-m.now, event{step: stepTake, link: l})
			return
		case l.pending > 0 && l.pending+b.events > m.Rules.Pending:
			return
		case l.to.queued > 0 && l.to.queued+b.events > m.Site.Queue, l.to.stalled.len() > 0 && !first:
			l.stalled = true
			l.to.stalled.push(l)
			return
		}
		first = false
		in.pop()
		l.served = in.served
		in.served += float64(b.events)
		if m.Rules.PeerRate > 0 {
			l.free = max(l.free, m.now-m.Rules.Burst) + seconds(float64(b.events)/m.Rules.PeerRate)
		}
		m.propose(l, b)
	}
}

func (m *model) propose(l *link, b *batch) {
	s := l.to
	b.fate = fateTaken
	s.held -= b.weight()
	l.pending += b.events
	s.queued += b.events
	m.seen.busiest(s.queued)
	s.checkFree = max(s.checkFree, m.now) + seconds(b.signatures()/m.Site.Checks)
	s.commitFree = max(s.commitFree, s.checkFree) + seconds(float64(b.events)/m.spare)
	m.after(s.commitFree-m.now+m.Site.Commit, event{step: stepCommit, link: l, batch: b})
}

// commit is the moment at which a batch has its effect.
func (m *model) commit(l *link, b *batch) {
	s := l.to
	s.queued -= b.events
	l.pending -= b.events
	b.fate = fateCommitted
	for _, it := range b.items {
		m.effect(l, b.lane, it)
	}
	m.seen.ackBytes += m.Traffic.Size.Ack
	m.after(m.Delay, event{step: stepAck, link: l, batch: b, gen: b.gen})
	for s.stalled.len() > 0 {
		next := *s.stalled.peek()
		if in := next.next(); in != nil && s.queued > 0 && s.queued+(*in.peek()).events > m.Site.Queue {
			break
		}
		s.stalled.pop()
		next.stalled = false
		m.take(next, true)
	}
	m.take(l, false)
	m.makeRoom(s)
}

func (m *model) effect(l *link, lane int, it item) {
	m.seen.delivered(m, it)
	if it.said <= m.healAt {
		m.old -= int64(it.n)
		m.seen.settledAt = m.now
	}
	switch it.kind {
	case kindMessage:
		if m.random.Float64() < m.Traffic.Marks {
			m.put(l.to.out[l.from.number], lane, item{said: m.now, n: it.n, kind: kindMark, crosses: it.crosses})
		}
	case kindPost:
		m.fanOut(l.to, l.from, it)
	case kindMark, kindHubPost, kindChange, kinds:
	}
}

// ack is an acknowledgement that is back at the sender: the window moves.
func (m *model) ack(e *event) {
	l, b := e.link, e.batch
	switch {
	case b.gen != l.pair.gen:
		return // the next hello will tell
	case m.dark && l.pair.cut:
		l.pair.held = append(l.pair.held, *e)
		return
	}
	l.acked(b)
	m.ready(l)
}

func (l *link) acked(b *batch) {
	lane := &l.lanes[b.lane]
	b.fate = fateAcked
	for lane.flight.len() > 0 && (*lane.flight.peek()).fate == fateAcked {
		done := lane.flight.pop()
		lane.inflight -= done.events
		l.waiting -= done.queued
		l.depth -= int64(done.events)
	}
}
