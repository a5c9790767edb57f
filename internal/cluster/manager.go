package cluster

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"teamtalk/internal/peers"
	"teamtalk/protocol"
)

// Manager is one node's part in the cluster's membership and operation. Its methods may be called by several goroutines.
type Manager struct {
	cfg      Config
	metrics  *metrics
	begun    time.Time
	ctx      context.Context // ends with Close
	stop     context.CancelFunc
	wg       sync.WaitGroup
	changing chan struct{} // holds one thing while the membership is being changed by this node
	admitted admissions
	past     past
	settled  settled

	mu       sync.Mutex // guards what follows
	mesh     Mesh
	port     Port
	draining bool
	drained  bool
	then     AfterDrain

	watch watch // belongs to the loop
}

// watch is what the loop remembers from one look at the cluster to the next.
type watch struct {
	members   map[protocol.NodeID]Member // nil before the first look
	ripe      map[protocol.NodeID]time.Time
	surplus   map[protocol.NodeID]bool // told to stay without a vote, so that it is said once
	leading   bool
	refused   time.Time // since when most others say that this node was removed
	handover  time.Time // when a draining leader last tried to hand over
	moved     time.Time // when the leader was last told where this node is
	cleared   time.Time // when it last tried to remove a dead member
	levelled  time.Time // when it last tried to raise the level
	waiting   string    // for whom it waits with that, so that it is said once
	departing departing
	belonged  bool // this node was among the members
	ousted    bool
}

// New makes a manager that answers but does nothing by itself until Start.
func New(cfg Config) (*Manager, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cfg.setDefaults()
	m := &Manager{cfg: cfg, metrics: newMetrics(cfg.Registerer), changing: make(chan struct{}, 1), begun: cfg.Clock()}
	m.cfg.Log = cfg.Log.With("part", "cluster")
	m.ctx, m.stop = context.WithCancel(context.Background())
	return m, nil
}

// Start begins to look after the members, with the links and the port to the others; a node that is alone has neither: both are nil.
// It is called once.
func (m *Manager) Start(mesh Mesh, port Port) {
	m.mu.Lock()
	m.mesh, m.port = mesh, port
	m.mu.Unlock()
	m.wg.Go(m.run) // stopped by Close
}

// Close ends what the manager does by itself, a drain that goes on too, and waits for it.
func (m *Manager) Close() {
	m.mu.Lock() // a drain that begins at this moment has begun, or does not
	m.stop()
	m.mu.Unlock()
	m.wg.Wait()
}

func (m *Manager) links() Mesh {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mesh
}

// run looks at the cluster again and again.
func (m *Manager) run() {
	t := time.NewTicker(m.cfg.Policy.Tick)
	defer t.Stop()
	for {
		m.look()
		select {
		case <-t.C:
		case <-m.ctx.Done():
			return
		}
	}
}

// look is one look at the cluster, and does what has to be done.
func (m *Manager) look() {
	members, err := m.cfg.Store.Members()
	if err != nil {
		return // the store has failed, and its owner knows
	}
	now := m.cfg.Clock()
	m.follow(members)
	m.metrics.level.Set(float64(m.level()))
	if at, err := m.cfg.Store.Position(); err == nil {
		m.past.note(now, at.Applied)
		m.settled.note(m.watch.members, at)
	}
	m.noticeOusting(now, members)
	m.depart(now, members)
	leads := leaderOf(members) == m.cfg.Node
	if leads != m.watch.leading {
		// What another leader saw, or this one saw long ago, is not relied on.
		m.watch.leading, m.watch.ripe, m.watch.surplus = leads, map[protocol.NodeID]time.Time{}, map[protocol.NodeID]bool{}
		m.watch.waiting = ""
	}
	if !leads {
		m.tellAddress(now, members)
		return
	}
	if m.isDraining() {
		m.handOverWhileDraining(now)
	}
	m.promote(now, members)
	m.removeDead(now, members)
	m.raiseLevel(now, members)
}

// follow notices who came and who went.
func (m *Manager) follow(members []Member) {
	before, now := m.watch.members, make(map[protocol.NodeID]Member, len(members))
	for _, member := range members {
		now[member.ID] = member
	}
	m.watch.members = now
	m.count(members)
	mesh, port := m.mesh, m.port
	if before == nil || mesh == nil {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(before)) {
		if _, still := now[id]; still || id == m.cfg.Node {
			continue
		}
		m.cfg.Log.Info("a node is not in the cluster any more", "node", id)
		port.Disconnect(id)
	}
	same := func(a, b Member) bool { return a.Address == b.Address }
	if !maps.EqualFunc(before, now, same) {
		mesh.Refresh()
	}
}

func (m *Manager) count(members []Member) {
	n := map[string]int{roleLeader: 0, roleVoter: 0, roleNonvoter: 0, "unreachable": 0}
	for _, member := range members {
		n[role(member)]++
	}
	if m.mesh != nil {
		for _, p := range m.mesh.Peers() {
			if !p.Up {
				n["unreachable"]++
			}
		}
	}
	for label, v := range n {
		m.metrics.members.WithLabelValues(label).Set(float64(v))
	}
}

// oustedAfter is how long most others have to refuse this node before it believes them without proof.
const oustedAfter = 10 * time.Second

// noticeOusting finds out that this node was removed: it reads so in the log, or, if it was away then, the others refuse it.
func (m *Manager) noticeOusting(now time.Time, members []Member) {
	if m.watch.ousted || len(members) == 0 || m.mesh == nil {
		return
	}
	others := len(members)
	switch {
	case find(members, m.cfg.Node) != nil:
		m.watch.belonged = true
		others--
	case m.watch.belonged:
		m.oust("the log says so")
		return
	}
	links := m.mesh.Peers()
	if m.provenRemoved(members, links) {
		m.oust("others, who know the log at least as far as this node does, refuse it")
		return
	}
	refused := 0
	for _, p := range links {
		if !p.Up && strings.Contains(p.Error, peers.ErrRemoved.Error()) {
			refused++
		}
	}
	switch {
	case 2*refused <= others:
		m.watch.refused = time.Time{}
	case m.watch.refused.IsZero():
		m.watch.refused = now
	case now.Sub(m.watch.refused) >= oustedAfter:
		m.oust("the other nodes refuse it")
	}
}

func (m *Manager) oust(why string) {
	m.watch.ousted = true
	if then, drained := m.afterDrain(); then == DrainRemoves && drained {
		if !m.watch.departing.gone { // else it is what it waited for, or has left already
			m.cfg.Log.Info("drained and removed from the cluster: stopping", "node", m.cfg.Node, "why", why)
			m.leave()
		}
		return
	}
	m.cfg.Log.Error("this node was removed from the cluster: stop it; to come back it has to join anew, with an empty data directory", "node", m.cfg.Node, "why", why)
	if m.cfg.Ousted != nil {
		m.cfg.Ousted()
	}
}

// Removed reports whether a node has no business here any more. One that this node has not read of is none of them: this node may be behind, and
// the other one its leader.
func (m *Manager) Removed(id protocol.NodeID) bool { return m.cfg.Store.Removed(id) }

// change does something to the membership, one thing at a time.
func (m *Manager) change(ctx context.Context, do func() error) error {
	select {
	case m.changing <- struct{}{}:
	case <-ctx.Done():
		return protocol.Errorf(protocol.CodeUnavailable, "another change of the cluster is under way: %w", ctx.Err())
	}
	defer func() { <-m.changing }()
	return do()
}

// lead does something if this node leads.
func (m *Manager) lead(ctx context.Context, do func() error) error {
	if leader, err := m.leader(); err != nil || leader != m.cfg.Node {
		return notLeading(m.cfg.Node, leader, err)
	}
	return m.change(ctx, do)
}

func (m *Manager) leader() (protocol.NodeID, error) {
	members, err := m.cfg.Store.Members()
	return leaderOf(members), err
}

func notLeading(self, leader protocol.NodeID, err error) error {
	switch {
	case err != nil:
		return fmt.Errorf("members: %w", err)
	case leader == "":
		return protocol.Errorf(protocol.CodeUnavailable, "the cluster has no leader at the moment")
	}
	return protocol.Errorf(protocol.CodeUnavailable, "node %s does not lead, node %s does", self, leader)
}

func find(members []Member, id protocol.NodeID) *Member {
	if i := slices.IndexFunc(members, func(m Member) bool { return m.ID == id }); i >= 0 {
		return &members[i]
	}
	return nil
}

func leaderOf(members []Member) protocol.NodeID {
	for _, m := range members {
		if m.Leader {
			return m.ID
		}
	}
	return ""
}

// The roles.
const (
	roleLeader   = "leader"
	roleVoter    = "voter"
	roleNonvoter = "non-voter"
)

func role(m Member) string {
	switch {
	case m.Leader:
		return roleLeader
	case m.Voter:
		return roleVoter
	}
	return roleNonvoter
}
