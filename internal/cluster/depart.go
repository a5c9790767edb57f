package cluster

import (
	"context"
	"time"

	"teamtalk/protocol"
)

// AfterDrain is what a node does when no client is left on it.
type AfterDrain string

// The ends of a drain.
const (
	DrainStays   AfterDrain = ""       // it stays a member, takes no clients and does not lead
	DrainStops   AfterDrain = "stop"   // its process ends well as soon as another node leads
	DrainRemoves AfterDrain = "remove" // it is removed from the cluster, and then its process ends well
)

// check refuses what this program does not know, or can't do here.
func (a AfterDrain) check(c *Config) error {
	switch {
	case a != DrainStays && a != DrainStops && a != DrainRemoves:
		return protocol.Errorf(protocol.CodeInvalid, "what to do when drained is %q, %q or nothing, not %q", DrainStops, DrainRemoves, string(a))
	case a != DrainStays && c.Depart == nil:
		return protocol.Errorf(protocol.CodeInvalid, "node %s can't end its process by itself", c.Node)
	}
	return nil
}

// lingers is how long a drained node stays for those to see it who asked for that.
const lingers = 2 * time.Second

// departing is what the loop remembers of the end of a drain.
type departing struct {
	since time.Time // when all was done for it
	tried time.Time // when it was last tried to leave the cluster
	gone  bool
}

func (m *Manager) afterDrain() (then AfterDrain, drained bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.then, m.drained
}

// depart ends what a drain was begun for: another node leads, so this one can go.
func (m *Manager) depart(now time.Time, members []Member) {
	then, drained := m.afterDrain()
	leader := leaderOf(members)
	if !drained || then == DrainStays || m.watch.departing.gone || leader == "" || leader == m.cfg.Node {
		m.watch.departing.since = time.Time{}
		return
	}
	if m.watch.departing.since.IsZero() {
		m.watch.departing.since = now
	}
	if now.Sub(m.watch.departing.since) < lingers {
		return
	}
	if then == DrainStops {
		m.cfg.Log.Info("drained, and another node leads: stopping", "node", m.cfg.Node)
		m.leave()
		return
	}
	if now.Sub(m.watch.departing.tried) < leaderPatience {
		return
	}
	m.watch.departing.tried = now
	ctx, cancel := context.WithTimeout(m.ctx, leaderPatience)
	defer cancel()
	switch err := m.remove(ctx, m.cfg.Node, false); { // not patiently: it is tried again anyway
	case err == nil || protocol.CodeOf(err) == protocol.CodeNotFound:
		m.cfg.Log.Info("drained and removed from the cluster: stopping; to come back it has to join anew, with an empty data directory", "node", m.cfg.Node)
		m.leave()
	case protocol.CodeOf(err) == protocol.CodeForbidden:
		m.mu.Lock()
		m.then = DrainStays
		m.mu.Unlock()
		m.cfg.Log.Error("this node is drained but was not removed: it stays a member, without clients", "error", err)
	default:
		m.cfg.Log.Warn("this node is drained and can't be removed now; it tries again", "error", err)
	}
}

// leave tells, once, that there is nothing more to do here.
func (m *Manager) leave() {
	m.watch.departing.gone = true
	m.cfg.Depart()
}
