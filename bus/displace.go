package bus

import (
	"context"

	"teamtalk/protocol"
)

// DisplacedSubscription is the one reader's view of the sessions of this node that must go.
type DisplacedSubscription struct{ queue *queue[Displaced] }

// Displaced starts to look for sessions of this node that others displace, those of other nodes too; of one reader: a second call ends the first's
// subscription. Each session is named once. Its owner ends it, and calls Leave when none of its requests is carried out any more.
func (p *Presence) Displaced() *DisplacedSubscription {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.displaced != nil {
		p.displaced.close()
	}
	p.displaced = newQueue[Displaced]()
	return &DisplacedSubscription{queue: p.displaced}
}

// Next waits for sessions that must go and returns all there are.
func (d *DisplacedSubscription) Next(ctx context.Context) ([]Displaced, error) {
	return d.queue.next(ctx)
}

// Close ends the subscription.
func (d *DisplacedSubscription) Close() { d.queue.close() }

// displaceLocked looks whether sessions of the user on this node must go, now that somebody has joined. A session that finds no room in the reader's queue
// is looked at again when the user's next one joins.
func (p *Presence) displaceLocked(u protocol.UserID) {
	if p.displaced == nil || len(p.users[u].sessions) < 2 {
		return
	}
	for _, d := range mustGo(p.sessionsLocked(u), p.cfg.Devices) {
		if d.Session.Node != p.here.id {
			continue
		}
		h := p.findLocked(u, p.here, d.Session.Conn)
		if h == nil || h.mustGo {
			continue
		}
		p.displaced.update(func(items []Displaced) []Displaced {
			if len(items) >= p.cfg.QueueSignals {
				p.metrics.dropped.WithLabelValues("displaced", "signal").Inc()
				return items
			}
			h.mustGo = true
			return append(items, d)
		})
	}
}

func (p *Presence) closeDisplaced() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.displaced != nil {
		p.displaced.close()
	}
}
