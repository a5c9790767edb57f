package cluster

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"teamtalk/protocol"
)

// changeTime is how long a change that the leader makes by itself may take.
const changeTime = 10 * time.Second

// promote gives a vote to a member that has stayed close to the commit index for long enough.
func (m *Manager) promote(now time.Time, members []Member) {
	waiting := m.withoutVote(members)
	for id := range m.watch.ripe {
		if !slices.Contains(waiting, id) {
			delete(m.watch.ripe, id)
		}
	}
	if len(waiting) == 0 {
		return
	}
	close := m.caughtUp(waiting)
	for _, id := range waiting {
		switch since, known := m.watch.ripe[id]; {
		case !close[id]:
			delete(m.watch.ripe, id)
		case !known:
			m.watch.ripe[id] = now
		case now.Sub(since) >= m.cfg.Policy.Settle:
			m.giveVote(id)
			return // the next one when this one is known to have it
		}
	}
}

// withoutVote are the members that should get a vote, in order of their ids; those beyond MaxVoters do not.
func (m *Manager) withoutVote(members []Member) []protocol.NodeID {
	voters := 0
	var ids []protocol.NodeID
	for _, member := range members {
		if member.Voter {
			voters++
		} else {
			ids = append(ids, member.ID)
		}
	}
	slices.Sort(ids)
	if voters < m.cfg.Policy.MaxVoters {
		return ids
	}
	for _, id := range ids {
		if !m.watch.surplus[id] {
			m.watch.surplus[id] = true
			m.cfg.Log.Info("there are voters enough: this node follows without a vote", "node", id, "voters", voters)
		}
	}
	return nil
}

// caughtUp asks the nodes that have a link how far they are.
func (m *Manager) caughtUp(ids []protocol.NodeID) map[protocol.NodeID]bool {
	up := m.up()
	ctx, cancel := context.WithTimeout(m.ctx, m.cfg.Policy.Patience)
	defer cancel()
	var (
		mu      sync.Mutex // guards applied
		applied = map[protocol.NodeID]protocol.Cursor{}
		calls   sync.WaitGroup
	)
	for _, id := range ids {
		if !up[id] {
			continue
		}
		calls.Go(func() { // ends with ctx
			var p progress
			if err := m.call(ctx, id, methodProgress, nothing{}, &p); err != nil {
				m.cfg.Log.Debug("a node does not say how far it is", "node", id, "error", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			applied[id] = p.Applied
		})
	}
	calls.Wait()
	close := map[protocol.NodeID]bool{}
	// The commit index is read after the answers: what was committed while they were on their way counts against them.
	at, err := m.cfg.Store.Position()
	if err != nil {
		return close
	}
	for id, p := range applied {
		close[id] = uint64(p)+m.cfg.Policy.CaughtUp >= uint64(at.Commit)
	}
	return close
}

func (m *Manager) giveVote(id protocol.NodeID) {
	delete(m.watch.ripe, id) // after a failure it has to prove itself anew
	ctx, cancel := context.WithTimeout(m.ctx, changeTime)
	defer cancel()
	if err := m.change(ctx, func() error { return m.cfg.Store.Promote(ctx, id) }); err != nil {
		m.metrics.failed.WithLabelValues("promote").Inc()
		m.cfg.Log.Warn("a node that has caught up can't be given a vote; it is tried again", "node", id, "error", err)
		return
	}
	m.metrics.promoted.Inc()
	m.cfg.Log.Info("a node has caught up and got a vote", "node", id)
}

// keepsMajority reports whether the voters other than one can decide without it, going by who is alive.
func keepsMajority(members []Member, alive map[protocol.NodeID]bool, without protocol.NodeID) bool {
	voters, there := 0, 0
	for _, m := range members {
		if !m.Voter || m.ID == without {
			continue
		}
		voters++
		if alive[m.ID] {
			there++
		}
	}
	return 2*there > voters
}

// removeDead removes a member that nobody has reached for as long as the policy says, one at a time.
func (m *Manager) removeDead(now time.Time, members []Member) {
	after := m.cfg.Policy.RemoveDeadAfter
	mesh := m.links()
	if after == 0 || mesh == nil || now.Sub(m.watch.cleared) < max(after/10, m.cfg.Policy.Tick) {
		return
	}
	for _, p := range mesh.Peers() {
		if p.Up || now.Sub(p.Since) < after || find(members, p.Node) == nil {
			continue
		}
		m.watch.cleared = now
		if m.clear(p.Node, now.Sub(p.Since)) {
			return
		}
	}
}

// clear removes a member that this node has not reached for a while, if no other node reaches it either.
func (m *Manager) clear(id protocol.NodeID, away time.Duration) bool {
	ctx, cancel := context.WithTimeout(m.ctx, changeTime)
	defer cancel()
	err := m.change(ctx, func() error {
		s := m.Status(ctx)
		if by := s.reachedBy(id); by != "" {
			return protocol.Errorf(protocol.CodeForbidden, "node %s reaches it", by)
		}
		return m.take(ctx, s, id, false)
	})
	if err != nil {
		m.metrics.failed.WithLabelValues("remove").Inc()
		m.cfg.Log.Warn("a dead node is not removed", "node", id, "away", away.Round(time.Second), "error", err)
		return false
	}
	m.metrics.removed.WithLabelValues("dead").Inc()
	m.cfg.Log.Warn("a node was removed that nobody has reached for long; to come back it has to join anew", "node", id, "away", away.Round(time.Second))
	return true
}

// take removes a member, but not from those without whom the rest can't decide.
func (m *Manager) take(ctx context.Context, s Status, id protocol.NodeID, force bool) error {
	members, err := m.cfg.Store.Members()
	if err != nil {
		return err
	}
	if find(members, id) == nil {
		return protocol.Errorf(protocol.CodeNotFound, "there is no member %s", id)
	}
	if err := spare(members, s, id); err != nil && !force {
		return err
	}
	return m.cfg.Store.Remove(ctx, id)
}

// spare refuses to do without a node without whom those who answer are no majority.
func spare(members []Member, s Status, id protocol.NodeID) error {
	alive := s.answering()
	delete(alive, id)
	if keepsMajority(members, alive, id) {
		return nil
	}
	return protocol.Errorf(protocol.CodeForbidden, "without node %s those that answer now (%s) are no majority of the voters that are left, and nothing could be written any more: "+
		"bring others back or remove them first (--force does it all the same)", id, names(slices.Sorted(maps.Keys(alive))))
}
