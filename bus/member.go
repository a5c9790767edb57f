package bus

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"teamtalk/protocol"
)

// member is a life of a node, and what is known of its sessions; of this node itself, only the first group counts.
type member struct {
	id         protocol.NodeID
	generation uint64 // which of the node's lives this is
	number     uint64 // of the last change that is known
	sessions   int
	gauge      prometheus.Gauge

	isOver     bool // its sessions are being forgotten
	isLinked   bool
	heard      time.Time // when it last said something that counted
	quietUntil time.Time // its table has been asked for, or is coming
	coming     table
	mark       uint16 // of the sessions of its last table and since; the others are swept when that is whole
}

// table is a member's table of which parts have come; no parts: none is coming.
type table struct {
	number uint64 // of the last change in it
	parts  int
}

// sweep is a member of which sessions are to be forgotten: all if it is over, else those without its mark. That is done step by step, as there may be
// very many and nobody can look anything up meanwhile.
type sweep struct {
	member  *member
	settled time.Time // what clients are shown of their users must be right by then
}

func newMember(id protocol.NodeID, generation uint64, m *metrics) *member {
	return &member{id: id, generation: generation, gauge: m.sessions.WithLabelValues(string(id))}
}

func (m *member) count(delta int) {
	m.sessions += delta
	m.gauge.Add(float64(delta)) // the lives of a node share it
}

// askEvery is the time after which a table that does not come is asked for again.
const askEvery = time.Second

// enterLocked prepares for what a node says in one of its lives; nil: that one is over.
func (p *Presence) enterLocked(from protocol.NodeID, generation uint64, now time.Time) *member {
	m := p.remote[from]
	if m != nil && generation < m.generation {
		return nil
	}
	if m != nil && generation > m.generation { // it has started anew, with no sessions
		p.endLocked(m, laterOf(now, m.heard.Add(p.cfg.Grace)))
		m = nil
	}
	if m == nil {
		m = newMember(from, generation, p.metrics)
		m.isLinked = p.links.isOpen(from)
		p.remote[from] = m
	}
	m.heard = now
	return m
}

// endLocked ends a life of a node: its sessions are forgotten from now on.
func (p *Presence) endLocked(m *member, settled time.Time) {
	m.isOver, m.isLinked = true, false
	delete(p.remote, m.id)
	p.sweepLocked(m, settled)
}

func (p *Presence) sweepLocked(m *member, settled time.Time) {
	p.sweeps = append(p.sweeps, sweep{member: m, settled: settled})
	notify(p.swept)
}

func laterOf(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// hear takes in what another node says of its sessions; false: it was said in a former life.
func (p *Presence) hear(from protocol.NodeID, generation uint64, items []any) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	m := p.enterLocked(from, generation, now)
	if m == nil {
		return false
	}
	for _, item := range items {
		switch item := item.(type) {
		case change:
			p.applyLocked(m, item, now)
		case tablePart:
			p.mergeLocked(m, item, now)
		case ask:
			p.links.request(from, wants{table: true})
		case tick:
			if item.Number > m.number {
				p.askLocked(m, now)
			}
		}
	}
	return true
}

// applyLocked carries out the next change of a node. One that is known already does nothing; behind a hole nothing can be carried out, nor while a table is
// coming: it holds what came before.
func (p *Presence) applyLocked(m *member, c change, now time.Time) {
	switch {
	case c.Number <= m.number:
		return
	case c.Number > m.number+1 || m.coming.parts > 0:
		p.askLocked(m, now)
		return
	}
	m.number = c.Number
	w := &c.Session
	switch c.kind {
	case kindJoined:
		p.putLocked(w.User, w.held(m))
		p.settleLocked(w.User, now.Add(p.cfg.Settle))
		p.displaceLocked(w.User)
	case kindLeft:
		p.removeLocked(w.User, m, w.Conn)
		p.settleLocked(w.User, now.Add(p.cfg.Settle))
	case kindTouched:
		if h := p.findLocked(w.User, m, w.Conn); h != nil {
			h.idle = w.Idle
		}
	default: // hear gets no other kind
	}
}

func (w *wireSession) held(m *member) held {
	return held{node: m, conn: w.Conn, client: w.Client, device: protocol.DeviceID(w.Device), since: w.Since, idle: w.Idle, mark: m.mark}
}

// askLocked asks a node for its table, unless that was done just now. If it cannot be asked, its next tick leads here again.
func (p *Presence) askLocked(m *member, now time.Time) {
	if now.Before(m.quietUntil) {
		return
	}
	m.quietUntil = now.Add(askEvery)
	p.metrics.exchanges.WithLabelValues("asked").Inc()
	p.links.request(m.id, wants{ask: true})
}

// mergeLocked takes in a part of a node's table, if that is newer than what is known. With the last part, what is in none of them is forgotten.
func (p *Presence) mergeLocked(m *member, t tablePart, now time.Time) {
	if t.Number <= m.number {
		return
	}
	if t.Part == 0 {
		m.coming = table{number: t.Number}
		m.mark++
		p.sweeps = slices.DeleteFunc(p.sweeps, func(s sweep) bool { return s.member == m }) // what this table marks is not marked yet
	}
	if t.Number != m.coming.number || t.Part != m.coming.parts {
		m.coming = table{}
		p.metrics.skipped.WithLabelValues("stray_part").Inc()
		return
	}
	m.quietUntil = now.Add(askEvery)
	m.coming.parts++
	for i := range t.Sessions {
		w := &t.Sessions[i]
		p.putLocked(w.User, w.held(m))
		p.settleLocked(w.User, now.Add(p.cfg.Settle))
		p.displaceLocked(w.User)
	}
	if !t.IsLast {
		return
	}
	m.number, m.coming, m.quietUntil = t.Number, table{}, time.Time{}
	p.metrics.exchanges.WithLabelValues("received").Inc()
	p.sweepLocked(m, now.Add(p.cfg.Settle))
}

// sweepAll forgets the sessions that are to be forgotten.
func (p *Presence) sweepAll() {
	for {
		p.mu.Lock()
		if len(p.sweeps) == 0 {
			p.mu.Unlock()
			return
		}
		s := p.sweeps[0]
		p.sweeps = p.sweeps[1:]
		p.mu.Unlock()
		users := p.usersOf(s.member)
		for len(users) > 0 {
			n := min(len(users), sweepUsers)
			p.sweepSome(s, users[:n])
			users = users[n:]
		}
	}
}

// sweepUsers is how many users are swept in one step: about a millisecond.
const sweepUsers = 512

// usersOf lists the users of whom sessions are to be forgotten.
func (p *Presence) usersOf(m *member) []protocol.UserID {
	var users []protocol.UserID
	p.scan(func(u protocol.UserID, sessions []held) {
		if slices.ContainsFunc(sessions, func(h held) bool { return h.isLeftOver(m) }) {
			users = append(users, u)
		}
	})
	return users
}

// scanUsers is how many users are scanned in one step: well below a millisecond.
const scanUsers = 1024

// scan visits all users who are there from its begin to its end, and perhaps others. Between steps it lets others have the table: a range over a map
// bears that it is changed.
func (p *Presence) scan(visit func(protocol.UserID, []held)) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	n := 0
	for u, who := range p.users {
		visit(u, who.sessions)
		if n++; n%scanUsers == 0 {
			p.mu.RUnlock()
			p.mu.RLock()
		}
	}
}

func (p *Presence) sweepSome(s sweep, users []protocol.UserID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.member.coming.parts > 0 && !s.member.isOver {
		return // another table is coming, and has its own sweep
	}
	for _, u := range users {
		for {
			of := p.users[u].sessions
			i := slices.IndexFunc(of, func(h held) bool { return h.isLeftOver(s.member) })
			if i < 0 {
				break
			}
			p.removeLocked(u, s.member, of[i].conn)
		}
		p.settleLocked(u, s.settled)
	}
}

// isLeftOver reports whether the session is one of m's to be forgotten.
func (h *held) isLeftOver(m *member) bool {
	return h.node == m && (m.isOver || h.mark != m.mark)
}

// linked notes whether the link with a node stands.
func (p *Presence) linked(id protocol.NodeID, up bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m := p.remote[id]; m != nil {
		m.isLinked = up
	}
	if !up { // nobody can tell any more when a former session of that node has stopped
		for u := range p.waiting {
			p.wakeLocked(u)
		}
	}
}

// departed is a node whose sessions have been dropped.
type departed struct {
	node     protocol.NodeID
	sessions int
	silent   time.Duration
}

// dropSilent forgets the nodes that have said nothing for the grace while their links are down, or for several times as long with links that seem to stand.
func (p *Presence) dropSilent(now time.Time) []departed {
	p.mu.Lock()
	defer p.mu.Unlock()
	var gone []departed
	for id, m := range p.remote {
		patience := p.cfg.Grace
		if m.isLinked {
			patience *= 4
		}
		silent := now.Sub(m.heard)
		if silent < patience {
			continue
		}
		gone = append(gone, departed{node: id, sessions: m.sessions, silent: silent})
		p.endLocked(m, now)
	}
	return gone
}

// tellLocked numbers a change of this node's sessions and tells all other nodes.
func (p *Presence) tellLocked(k kind, w wireSession) {
	if p.isAlone() {
		return
	}
	p.here.number++
	item, err := appendItem(nil, k, change{Number: p.here.number, Session: w})
	if err != nil { // the others will notice that a number is missing
		p.metrics.skipped.WithLabelValues("not_encoded").Inc()
		return
	}
	p.links.tell(item, "change")
}

// number is that of this node's last change.
func (p *Presence) number() uint64 {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.here.number
}

// table is a copy of this node's sessions, and the number of a change up to which all are in it; some later ones may be too, and do no harm when they
// are told again.
func (p *Presence) table() ([]wireSession, uint64) {
	number := p.number()
	var own []wireSession
	p.scan(func(u protocol.UserID, sessions []held) {
		for i := range sessions {
			if h := &sessions[i]; h.node == p.here {
				own = append(own, h.wire(u))
			}
		}
	})
	return own, number
}
