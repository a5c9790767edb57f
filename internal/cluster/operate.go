package cluster

import (
	"context"
	"slices"
	"strings"
	"time"

	"teamtalk/protocol"
)

// leaderPatience is how long a request of an operator waits for another leader.
const leaderPatience = 5 * time.Second

// onLeader has the leader do something: this node, or the one that leads, by a call.
func (m *Manager) onLeader(ctx context.Context, do func() error, method uint8, body, answer any) error {
	leader, err := m.leader()
	switch {
	case err == nil && leader == m.cfg.Node:
		return m.change(ctx, do)
	case err == nil && leader != "":
		return m.call(ctx, leader, method, body, answer)
	}
	return notLeading(m.cfg.Node, leader, err)
}

// again is how long it takes until what could not be done without a leader is tried once more.
const again = 100 * time.Millisecond

// patiently does what an operator asks for. Where nobody could do it, it tries again for a while: the lead may be changing hands.
func (m *Manager) patiently(ctx context.Context, do func() error) error {
	over := time.After(leaderPatience)
	for {
		err := do()
		if protocol.CodeOf(err) != protocol.CodeUnavailable || protocol.IsOutcomeUnknown(err) {
			return err
		}
		select {
		case <-time.After(again):
		case <-over:
			return err
		case <-ctx.Done():
			return err
		}
	}
}

// Remove takes a member out of the cluster for ever, this node or the leader too. Unless forced it is refused if the voters that are left
// and answer now are no majority. Wherever it is asked, the leader does it; without one it waits a little for the next.
func (m *Manager) Remove(ctx context.Context, id protocol.NodeID, force bool) error {
	return m.patiently(ctx, func() error { return m.remove(ctx, id, force) })
}

func (m *Manager) remove(ctx context.Context, id protocol.NodeID, force bool) error {
	members, err := m.cfg.Store.Members()
	if err != nil {
		return err
	}
	if find(members, id) == nil {
		return protocol.Errorf(protocol.CodeNotFound, "there is no member %s", id)
	}
	r := removal{Node: id, Force: force}
	if leaderOf(members) == id {
		// A leader that removes itself leaves its last entries to chance: another one does it.
		if len(members) == 1 {
			return protocol.Errorf(protocol.CodeInvalid, "node %s is all there is of the cluster", id)
		}
		if err := spare(members, m.Status(ctx), id); err != nil && !force {
			return err
		}
		l := leadership{}
		if err := m.onLeader(ctx, func() error { return m.handOver(ctx, &l) }, methodTransfer, leadership{}, &l); err != nil {
			return err
		}
		if err := m.awaitLeader(ctx, id); err != nil { // as this node sees it
			return err
		}
	}
	return m.onLeader(ctx, func() error { return m.removeMember(ctx, r) }, methodRemove, r, &nothing{})
}

// removeMember is the leader's part of Remove.
func (m *Manager) removeMember(ctx context.Context, r removal) error {
	if r.Node == m.cfg.Node {
		return protocol.Errorf(protocol.CodeUnavailable, "node %s leads and does not remove itself: try again", r.Node)
	}
	if err := m.take(ctx, m.Status(ctx), r.Node, r.Force); err != nil {
		return err
	}
	m.metrics.removed.WithLabelValues("operator").Inc()
	m.cfg.Log.Warn("a node was removed by an operator; to come back it has to join anew", "node", r.Node, "force", r.Force)
	return nil
}

// Transfer makes another voter the leader, "" the one that is most up to date, and tells who leads then.
func (m *Manager) Transfer(ctx context.Context, to protocol.NodeID) (protocol.NodeID, error) {
	l := leadership{Node: to}
	err := m.onLeader(ctx, func() error { return m.handOver(ctx, &l) }, methodTransfer, l, &l)
	return l.Node, err
}

// handOver is the leader's part of Transfer; l says to whom, and then who leads.
func (m *Manager) handOver(ctx context.Context, l *leadership) error {
	if l.Node == m.cfg.Node {
		return nil
	}
	if err := m.cfg.Store.TransferLeadership(ctx, l.Node); err != nil {
		return err
	}
	if err := m.awaitLeader(ctx, m.cfg.Node); err != nil {
		return err
	}
	leader, err := m.leader()
	l.Node = leader
	return err
}

// awaitLeader waits until another node leads than the given one.
func (m *Manager) awaitLeader(ctx context.Context, other protocol.NodeID) error {
	ctx, cancel := context.WithTimeout(ctx, leaderPatience)
	defer cancel()
	t := time.NewTicker(10 * time.Millisecond)
	defer t.Stop()
	for {
		leader, err := m.leader()
		if err != nil || leader != "" && leader != other {
			return err
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return protocol.OutcomeUnknownf("no other leader than node %s was seen: %w", other, ctx.Err())
		}
	}
}

// Drain has a node ("": this one) send its clients elsewhere, hand over the lead and take no new clients until it is started anew. It
// returns when that has begun; Status tells how many sessions are left. If Local can't do it, the node is as it was. Once drained, the node goes
// on as then says; a node that is being drained, or is drained, can be told so later too.
func (m *Manager) Drain(ctx context.Context, id protocol.NodeID, then AfterDrain) error {
	if id == "" || id == m.cfg.Node {
		return m.drainHere(ctx, then)
	}
	return m.onMember(ctx, id, methodDrain, drainage{Then: then})
}

// Snapshot has a node ("": this one) cut its log.
func (m *Manager) Snapshot(ctx context.Context, id protocol.NodeID) error {
	if id == "" || id == m.cfg.Node {
		return m.cfg.Local.Snapshot(ctx)
	}
	return m.onMember(ctx, id, methodSnapshot, nothing{})
}

func (m *Manager) onMember(ctx context.Context, id protocol.NodeID, method uint8, body any) error {
	members, err := m.cfg.Store.Members()
	if err != nil {
		return err
	}
	if find(members, id) == nil {
		return protocol.Errorf(protocol.CodeNotFound, "there is no member %s", id)
	}
	return m.call(ctx, id, method, body, &nothing{})
}

// drainHere begins to drain this node, once. What is to follow is refused now if it could not be done now.
func (m *Manager) drainHere(ctx context.Context, then AfterDrain) error {
	if err := then.check(&m.cfg); err != nil {
		return err
	}
	if then == DrainRemoves {
		members, err := m.cfg.Store.Members()
		if err != nil {
			return err
		}
		if err := spare(members, m.Status(ctx), m.cfg.Node); err != nil {
			return err
		}
	}
	others := false
	for id, up := range m.up() {
		others = others || up && id != m.cfg.Node
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.draining:
		if then != DrainStays {
			m.then = then
		}
		return nil
	case !others:
		return protocol.Errorf(protocol.CodeInvalid, "there is no other node now to which node %s could send its clients", m.cfg.Node)
	case m.ctx.Err() != nil:
		return protocol.Errorf(protocol.CodeUnavailable, "node %s is stopping", m.cfg.Node)
	}
	m.draining, m.then = true, then
	m.metrics.draining.Set(1)
	m.cfg.Log.Info("draining: clients are sent to other nodes, new ones are not taken")
	m.wg.Go(func() { // ends with Close
		err := m.cfg.Local.Drain(m.ctx)
		m.mu.Lock()
		m.draining, m.drained = err == nil, err == nil
		if err != nil {
			m.then = DrainStays
		}
		m.mu.Unlock()
		if err != nil {
			m.metrics.draining.Set(0)
			m.cfg.Log.Warn("draining ended early", "error", err)
			return
		}
		m.cfg.Log.Info("drained: no client is left")
	})
	return nil
}

func (m *Manager) isDraining() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.draining
}

// leadsOthers reports whether this node leads although another voter is there that could.
func (m *Manager) leadsOthers() bool {
	members, err := m.cfg.Store.Members()
	if err != nil || leaderOf(members) != m.cfg.Node {
		return false
	}
	up := m.up()
	return slices.ContainsFunc(members, func(o Member) bool { return o.Voter && o.ID != m.cfg.Node && up[o.ID] })
}

// handOverWhileDraining gives the lead away as often as this node gets it.
func (m *Manager) handOverWhileDraining(now time.Time) {
	if !m.leadsOthers() || now.Sub(m.watch.handover) < leaderPatience {
		return
	}
	m.watch.handover = now
	ctx, cancel := context.WithTimeout(m.ctx, changeTime)
	defer cancel()
	if err := m.change(ctx, func() error { return m.cfg.Store.TransferLeadership(ctx, "") }); err != nil {
		m.metrics.failed.WithLabelValues("transfer").Inc()
		m.cfg.Log.Warn("this node is being drained and can't hand over the lead; it tries again", "error", err)
	}
}

func names(ids []protocol.NodeID) string {
	if len(ids) == 0 {
		return "none"
	}
	var words []string
	for _, id := range ids {
		words = append(words, "node "+string(id))
	}
	return strings.Join(words, ", ")
}
