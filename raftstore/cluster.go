package raftstore

import (
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"
)

// clusterParts is what a store needs because there are other nodes.
type clusterParts struct {
	metrics *forwardMetrics
	nudges  *nudger
	// suspects is nil without Neighbours.
	suspects *suspects
	health   *diskHealth
	waits    sync.WaitGroup // of goroutines that wait for raft's answers

	mu    sync.Mutex // guards ended
	ended bool       // no more of them may begin
}

// ask runs fn, which waits for an answer of raft. false if it is too late.
func (c *clusterParts) ask(fn func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended {
		c.waits.Go(fn)
	}
	return !c.ended
}

// settle waits for what ask began, and reports whether it ended in time. raft answers at the latest when it is shut down, but for what is with the
// state machine at that moment: that it forgets.
func (c *clusterParts) settle(limit time.Duration) bool {
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	settled := make(chan struct{})
	go func() { // ends with the last answer
		c.waits.Wait()
		close(settled)
	}()
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-settled:
		return true
	case <-t.C:
		return false
	}
}

// transferTime is how long a leader that is being closed waits for another to take over.
const transferTime = 2 * time.Second

func (s *Store) newClusterParts() *clusterParts {
	m := newForwardMetrics()
	s.metrics.all = append(append(s.metrics.all, m.all...), s.logs.health.seconds, s.logs.health.givenUp)
	return &clusterParts{metrics: m, health: s.logs.health, nudges: newNudger(m.nudges.Inc)}
}

// startCluster starts what works beside raft; leave and close end it.
func (s *Store) startCluster(t *transport, beat time.Duration) {
	if s.cfg.Neighbours != nil {
		s.cluster.suspects = s.newSuspects(t, beat)
		go s.cluster.suspects.run() // ended and joined by leave
	}
	if s.cfg.Forwarder != nil {
		s.batches.forwards = s.newForwards()
		go s.batches.forwards.run() // ended and joined by leave
	}
	s.cluster.ask(s.correctAddress)
	s.cluster.ask(s.announceLead)
	s.cluster.ask(s.watchDisk)
}

func (s *Store) noteCommit(at logPlace) {
	if s.isLeading() {
		s.cluster.nudges.commit(at)
	}
}

// announceLead tells the others at once that the first entry of this node's lead is committed: with it they know what became of the
// commands of the leader before. raft's state machine is not told of it. Close ends it.
func (s *Store) announceLead() {
	const again, most = 2 * time.Millisecond, time.Second // raft says nothing of it
	for {
		changed := s.leader.changes()
		for begun := time.Now(); s.IsLeader() && time.Since(begun) < most; {
			var l raft.Log
			if s.logs.GetLog(s.raft.CommitIndex(), &l) == nil && l.Term == s.raft.CurrentTerm() {
				s.noteCommit(logPlace{l.Index, l.Term})
				break
			}
			select {
			case <-time.After(again):
			case <-s.closed:
				return
			}
		}
		select {
		case <-changed:
		case <-s.closed:
			return
		}
	}
}

// leave ends what this node does for others: commands under way end, another node takes the lead.
func (s *Store) leave() {
	if u := s.cluster.suspects; u != nil {
		u.close()
	}
	if s.IsLeader() {
		s.batches.settle(settleTime)
	}
	if f := s.batches.forwards; f != nil {
		f.close()
	}
	if !s.IsLeader() || !s.hasOtherVoters() {
		return
	}
	done := make(chan error, 1)
	s.cluster.ask(func() { done <- s.raft.LeadershipTransfer().Error() })
	t := time.NewTimer(transferTime)
	defer t.Stop()
	select {
	case err := <-done:
		if err != nil {
			s.log.Warn("could not hand over the lead before closing", "node", s.cfg.NodeID, "error", err)
		}
	case <-t.C:
		s.log.Warn("nobody took over the lead in time", "node", s.cfg.NodeID)
	}
}

func (s *Store) hasOtherVoters() bool {
	for _, m := range s.raft.GetConfiguration().Configuration().Servers {
		if m.Suffrage == raft.Voter && m.ID != raft.ServerID(s.cfg.NodeID) {
			return true
		}
	}
	return false
}

// isLone reports whether a node is the only member, with a vote.
func isLone(conf raft.Configuration, node NodeID) bool {
	return len(conf.Servers) == 1 && conf.Servers[0].ID == raft.ServerID(node) && conf.Servers[0].Suffrage == raft.Voter
}

// correctAddress tells the members this node's address when it leads and they have another: it may have begun alone, without
// a transport. Close ends it.
func (s *Store) correctAddress() {
	const again = time.Second
	for {
		changed := s.leader.changes()
		var retry <-chan time.Time
		if former := s.knownAddress(); s.IsLeader() && former != "" && former != s.cfg.Advertise {
			err := s.raft.AddVoter(raft.ServerID(s.cfg.NodeID), raft.ServerAddress(s.cfg.Advertise), 0, 0).Error()
			if err != nil {
				s.log.Debug("could not correct this node's address yet", "node", s.cfg.NodeID, "error", err)
				retry = time.After(again)
			} else {
				s.log.Info("this node's address was corrected", "node", s.cfg.NodeID, "from", former, "to", s.cfg.Advertise)
			}
		}
		select {
		case <-changed:
		case <-retry:
		case <-s.closed:
			return
		}
	}
}

// knownAddress is where the members look for this node; "" if it is none with a vote.
func (s *Store) knownAddress() string {
	for _, m := range s.raft.GetConfiguration().Configuration().Servers {
		if m.ID == raft.ServerID(s.cfg.NodeID) && m.Suffrage == raft.Voter {
			return string(m.Address)
		}
	}
	return ""
}

// notLeading is the error for what only a leader can do.
func (s *Store) notLeading() error {
	if m, ok := s.Leader(); ok && m.ID != s.cfg.NodeID {
		return unavailable(fmt.Sprintf("the leader is %s", m.ID), raft.ErrNotLeader)
	}
	return unavailable("no leader", raft.ErrNotLeader)
}

type forwardMetrics struct {
	groups   prometheus.Histogram
	seconds  prometheus.Histogram
	again    prometheus.Counter
	doubts   prometheus.Counter
	accepted prometheus.Counter
	refused  *prometheus.CounterVec
	nudges   prometheus.Counter
	hurried  prometheus.Counter
	all      []prometheus.Collector
}

func newForwardMetrics() *forwardMetrics {
	const ns, sub = "teamtalk", "raftstore"
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help})
	}
	m := &forwardMetrics{
		groups: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: ns, Subsystem: sub, Name: "forward_commands",
			Help: "Commands per group forwarded to the leader.", Buckets: prometheus.ExponentialBuckets(1, 2, 10)}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: ns, Subsystem: sub, Name: "forward_seconds",
			Help: "From forwarding a group to the leader's answer.", Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16)}),
		again:  counter("forward_again_total", "Commands that were surely not taken by a leader and are tried again."),
		doubts: counter("forward_unknown_total", "Forwarded commands whose outcome stayed unknown."),
		accepted: counter("forward_accepted_total",
			"Commands of other nodes that came to this one."),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: "forward_refused_total",
			Help: "Commands of other nodes that are not known to be carried out, by reason."}, []string{"reason"}),
		nudges: counter("nudges_total", "Commits that a follower was told of at once."),
		hurried: counter("hurried_elections_total",
			"Times this node stood for election at once, as the leader's process was gone."),
	}
	m.all = []prometheus.Collector{m.groups, m.seconds, m.again, m.doubts, m.accepted, m.refused, m.nudges, m.hurried}
	return m
}
