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
	waits   sync.WaitGroup // of goroutines that wait for raft's answers

	mu    sync.Mutex // guards ended
	ended bool       // no more of them may begin
}

// ask runs fn, which waits for an answer of raft: that comes at the latest when raft is shut down. false if it is too late.
func (c *clusterParts) ask(fn func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended {
		c.waits.Go(fn)
	}
	return !c.ended
}

// close waits for what ask began.
func (c *clusterParts) close() {
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	c.waits.Wait()
}

// transferTime is how long a leader that is being closed waits for another to take over.
const transferTime = 2 * time.Second

func (s *Store) newClusterParts() *clusterParts {
	m := newForwardMetrics()
	s.metrics.all = append(s.metrics.all, m.all...)
	return &clusterParts{metrics: m, nudges: newNudger(m.nudges.Inc)}
}

// startCluster starts what works beside raft; leave and close end it.
func (s *Store) startCluster() {
	if s.cfg.Forwarder != nil {
		s.batches.forwards = s.newForwards()
		go s.batches.forwards.run() // ended and joined by leave
	}
	s.cluster.ask(s.correctAddress)
}

func (s *Store) noteCommit(at logPlace) {
	if s.isLeading() {
		s.cluster.nudges.commit(at)
	}
}

// leave ends what this node does for others: commands under way end, another node takes the lead.
func (s *Store) leave() {
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
	}
	m.all = []prometheus.Collector{m.groups, m.seconds, m.again, m.doubts, m.accepted, m.refused, m.nudges}
	return m
}
