package raftstore

import (
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"
)

// Why a leader gives up the lead, as the label of the counter.
const (
	givenUpFull = "disk_full"
	givenUpSlow = "disk_slow"
	givenUpHung = "disk_hung"
)

const (
	// slowWrite is when a write of the log is slow, slowWrites how many of them in a row are more than a mishap.
	slowWrite  = 250 * time.Millisecond
	slowWrites = 3
	// hungWrite is when the others should not wait any longer for a leader's write.
	hungWrite = 3 * time.Second
	// lookPause is between two looks at the disk.
	lookPause = 250 * time.Millisecond
	// keepLead is how long a node leads at least before it gives up the lead again: others may be no better.
	keepLead = time.Minute
	// handOverAgain is how long a leader waits that found nobody to take over.
	handOverAgain = 10 * time.Second
	// heardOf is how recently a node must have answered to be one that can take over.
	heardOf = 2 * time.Second
)

// diskHealth knows whether this node's disk is fit for a leader's. A leader writes each entry before the others get it, so that its disk
// holds up everybody; a follower's holds up nobody, as long as most others are faster.
type diskHealth struct {
	space   *spaceGuard
	seconds prometheus.Histogram
	givenUp *prometheus.CounterVec

	mu      sync.Mutex           // guards what follows
	began   map[string]time.Time // of the writes under way, by what is written
	inARow  int                  // slow writes of the log up to now
	noticed bool                 // what is under way was found to hang
}

func newDiskHealth(space *spaceGuard) *diskHealth {
	return &diskHealth{space: space, began: map[string]time.Time{},
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "teamtalk", Subsystem: "raftstore", Name: "log_write_seconds",
			Help: "Writing entries to the log, with its fsyncs.", Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16)}),
		givenUp: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "teamtalk", Subsystem: "raftstore", Name: "leadership_given_up_total",
			Help: "Times this node gave up the lead because of its disk, by reason."}, []string{"reason"}),
	}
}

// What a node writes, one at a time of each.
const (
	ofLog   = "log"
	ofState = "state" // a leader takes the next commands when it has executed the last ones
)

// begin notes that a write begins, end that it has ended.
func (h *diskHealth) begin(what string, now time.Time) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.began[what] = now
}

func (h *diskHealth) end(what string, now time.Time) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	took := now.Sub(h.began[what])
	delete(h.began, what)
	h.noticed = false
	if what != ofLog {
		return // how long that takes depends on more than the disk
	}
	h.seconds.Observe(took.Seconds())
	if h.inARow++; took < slowWrite {
		h.inARow = 0
	}
}

// hangs reports whether a write takes so long that nobody should wait for it.
func (h *diskHealth) hangs() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, began := range h.began {
		if time.Since(began) > hungWrite {
			return true
		}
	}
	return false
}

// noticeHang is hangs, once for each write.
func (h *diskHealth) noticeHang() bool {
	hangs := h.hangs()
	h.mu.Lock()
	defer h.mu.Unlock()
	first := hangs && !h.noticed
	h.noticed = h.noticed || hangs
	return first
}

// trouble is why this node should not lead; "": nothing is wrong. A disk counts as full a little before writes are refused.
func (h *diskHealth) trouble() string {
	if h.space.nearlyFull() {
		return givenUpFull
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.inARow >= slowWrites {
		return givenUpSlow
	}
	return ""
}

// forgive forgets what was slow: it has had its consequences.
func (h *diskHealth) forgive() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.inARow = 0
}

// watchDisk has another node lead when this node's disk is not fit for it. close ends it.
func (s *Store) watchDisk() {
	tick := time.NewTicker(lookPause)
	defer tick.Stop()
	var next time.Time
	for {
		select {
		case <-tick.C:
		case <-s.closed:
			return
		}
		if !s.IsLeader() || !s.hasOtherVoters() {
			continue
		}
		if s.cluster.health.noticeHang() {
			s.cluster.health.givenUp.WithLabelValues(givenUpHung).Inc()
			s.log.Error("a write hangs: this node falls silent so that another one takes the lead", "node", s.cfg.NodeID, "after", hungWrite)
		}
		if now := time.Now(); now.After(next) {
			if pause := s.giveUpLead(); pause > 0 {
				next = now.Add(pause)
			}
		}
	}
}

// giveUpLead hands the lead over if the disk is in trouble and somebody is there; it returns for how long not to try again, 0 for not at all.
func (s *Store) giveUpLead() time.Duration {
	reason := s.cluster.health.trouble()
	if reason == "" || s.cluster.health.hangs() || !s.hasSuccessor() {
		return 0
	}
	free, _ := s.space.free() // for the log only
	s.log.Warn("this node's disk is not fit for a leader: handing over the lead", "node", s.cfg.NodeID, "reason", reason, "free_bytes", free)
	if err := s.raft.LeadershipTransfer().Error(); err != nil && s.IsLeader() { // raft may be slow to learn how it ended
		s.log.Warn("nobody took over the lead", "node", s.cfg.NodeID, "reason", reason, "error", err)
		return handOverAgain
	}
	s.cluster.health.givenUp.WithLabelValues(reason).Inc()
	s.cluster.health.forgive()
	return keepLead
}

// hasSuccessor reports whether another voter has just answered and is not far behind.
func (s *Store) hasSuccessor() bool {
	last, term := s.raft.LastIndex(), s.raft.CurrentTerm()
	for _, m := range s.raft.GetConfiguration().Configuration().Servers {
		if m.Suffrage != raft.Voter || m.ID == raft.ServerID(s.cfg.NodeID) {
			continue
		}
		p := MemberProgress{MemberStatus: MemberStatus{Member: Member{ID: NodeID(m.ID)}}}
		s.cluster.nudges.describe(&p, term, last)
		if p.Known && time.Since(p.Contact) < heardOf && p.Lag < s.cfg.Tuning.TrailingLogs {
			return true
		}
	}
	return false
}
