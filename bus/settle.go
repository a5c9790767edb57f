package bus

import (
	"time"

	"teamtalk/protocol"
)

// settling holds the users of whom clients are shown something else than the table says, until it is clear that no announcement follows.
type settling struct {
	due   map[protocol.UserID]slot
	slots map[slot][]protocol.UserID // when to look at whom; a user whose due is another one by then is passed over
	next  slot                       // all before have been looked at
	ready []protocol.UserID          // whose time has come
}

// slot counts time in steps.
type slot int64

const slotLength = 100 * time.Millisecond

// slotAt is the first slot that begins at t or later.
func slotAt(t time.Time) slot {
	return slot((t.UnixMilli() + slotLength.Milliseconds() - 1) / slotLength.Milliseconds())
}

func newSettling() settling {
	return settling{due: make(map[protocol.UserID]slot), slots: make(map[slot][]protocol.UserID)}
}

// add has a user looked at when a time has come, unless that is to happen earlier already.
func (s *settling) add(u protocol.UserID, at time.Time) {
	due := max(slotAt(at), s.next)
	if known, ok := s.due[u]; ok && known <= due {
		return
	}
	s.due[u] = due
	s.slots[due] = append(s.slots[due], u)
}

// ripen moves the users whose time has come to ready.
func (s *settling) ripen(now time.Time) {
	end := slot(now.UnixMilli()/slotLength.Milliseconds()) + 1
	for at := range s.slots { // as many as there are slots in the longest wait
		if at < end {
			s.take(at)
		}
	}
	s.next = end
}

func (s *settling) take(at slot) {
	for _, u := range s.slots[at] {
		if s.due[u] == at {
			s.ready = append(s.ready, u)
		}
	}
	delete(s.slots, at)
}

// settleLocked is called when a user's sessions have changed, or what is shown of him: if the two differ, they must not any more at the given time.
func (p *Presence) settleLocked(u protocol.UserID, at time.Time) {
	if p.isAlone() {
		return
	}
	if who := p.users[u]; who.isOnline() == who.isShown {
		delete(p.settling.due, u)
		return
	}
	p.settling.add(u, at)
}

// settle publishes what is true of the users whose time has come, at most so many; it reports whether there are more.
func (p *Presence) settle(now time.Time, most int) (more bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.settling
	s.ripen(now)
	for ; len(s.ready) > 0 && most > 0; s.ready = s.ready[1:] {
		u := s.ready[0]
		due, ok := s.due[u]
		if !ok || due >= s.next {
			continue // settled by itself, and perhaps differs again since
		}
		who := p.users[u]
		p.showLocked(u, who.isOnline())
		p.metrics.corrected.Inc()
		most--
	}
	if len(s.ready) == 0 {
		s.ready = nil
	}
	return len(s.ready) > 0
}

// show publishes an announcement on this node, unless it says that somebody has gone who was not there.
func (p *Presence) show(sig protocol.PresenceChanged) {
	if p.isAlone() {
		p.deliver(sig)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !sig.Online && !p.users[sig.User].isShown {
		return
	}
	p.showLocked(sig.User, sig.Online)
	p.settleLocked(sig.User, time.Now().Add(p.cfg.Settle))
}

// showLocked publishes and remembers what was published, in one order for all.
func (p *Presence) showLocked(u protocol.UserID, isOnline bool) {
	who := p.users[u]
	who.isShown = isOnline
	p.storeLocked(u, who)
	delete(p.settling.due, u)
	p.deliver(protocol.PresenceChanged{User: u, Online: isOnline})
}

// isAlone reports whether there is no cluster.
func (p *Presence) isAlone() bool { return p.cfg.Node == "" }
