package cluster

import (
	"context"
	"fmt"
	"strings"
	"time"

	"teamtalk/internal/peers"
	"teamtalk/protocol"
)

// Features that older programs do not know are used when every member's program knows them: the leader raises the level then. A member that
// can't be asked may come back with an older program, so it counts as one that does not know them.

// firstLevel is what programs know that say nothing of levels.
const firstLevel protocol.Level = 1

// levelEvery is how often the leader tries to raise the level.
const levelEvery = time.Second

// HeldBack is a member that keeps the cluster from a level, and why.
type HeldBack struct {
	Node protocol.NodeID `json:"node"`
	Why  string          `json:"why"`
}

// level is what the cluster uses, as far as this node knows; 0: it does not.
func (m *Manager) level() protocol.Level {
	if m.cfg.Levels == nil {
		return 0
	}
	return m.cfg.Levels.Level()
}

// judgeLevels says what level the cluster is at, and who keeps it there.
func (m *Manager) judgeLevels(s *Status) {
	if s.Level = m.level(); s.Level == 0 {
		return
	}
	s.HighestLevel = s.Level
	for _, member := range s.Members {
		if member.Report != nil {
			s.HighestLevel = max(s.HighestLevel, member.Report.HighestLevel)
		}
	}
	if s.HighestLevel == s.Level {
		return
	}
	for _, member := range s.Members {
		switch r := member.Report; {
		case r == nil:
			s.HeldBack = append(s.HeldBack, HeldBack{member.ID, "it can't be asked which level it knows"})
		case r.knows() <= s.Level && r.knows() < s.HighestLevel:
			s.HeldBack = append(s.HeldBack, HeldBack{member.ID, levelText(r.knows(), r.Version)})
		}
	}
}

// knows is the highest level that a node may use.
func (r *Report) knows() protocol.Level { return max(firstLevel, r.HighestLevel) }

// common is the highest level that all members are known to know.
func (s *Status) common() protocol.Level {
	to := s.HighestLevel
	for _, member := range s.Members {
		if member.Report == nil {
			return firstLevel
		}
		to = min(to, member.Report.knows())
	}
	return to
}

// raiseLevel has the cluster use what all members know.
func (m *Manager) raiseLevel(now time.Time, members []Member) {
	l := m.cfg.Levels
	if l == nil || l.Level() >= l.HighestLevel() || now.Sub(m.watch.levelled) < levelEvery {
		return
	}
	up := m.up()
	for _, member := range members {
		if !up[member.ID] {
			m.noteWaiting(string(member.ID) + " is out of reach")
			return
		}
	}
	m.watch.levelled = now
	ctx, cancel := context.WithTimeout(m.ctx, changeTime)
	defer cancel()
	from, to := l.Level(), protocol.Level(0)
	// Nobody joins meanwhile: that is a change, too.
	err := m.change(ctx, func() error {
		s := m.Status(ctx)
		if to = s.common(); to > s.Level {
			return l.RaiseLevel(ctx, to)
		}
		var why []string
		for _, h := range s.HeldBack {
			why = append(why, string(h.Node)+": "+h.Why)
		}
		m.noteWaiting(strings.Join(why, "; "))
		return nil
	})
	switch {
	case err != nil:
		m.metrics.failed.WithLabelValues("raise").Inc()
		m.cfg.Log.Warn("the level of the cluster can't be raised; it is tried again", "from", from, "to", to, "error", err)
	case to > from:
		m.cfg.Log.Info("all nodes know a higher level: the cluster uses it from now on, and versions that don't know it are refused", "from", from, "to", to)
	}
}

func (m *Manager) noteWaiting(why string) {
	if why == "" || why == m.watch.waiting {
		return
	}
	m.watch.waiting = why
	m.cfg.Log.Info("new features wait until every node knows them", "level", m.level(), "this node knows", m.cfg.Levels.HighestLevel(), "because", why)
}

// checkNewcomer refuses a node that would have to stop at once.
func (m *Manager) checkNewcomer(r peers.JoinRequest) error {
	level, knows := m.level(), max(firstLevel, r.Level)
	if knows >= level {
		return nil
	}
	return protocol.Errorf(protocol.CodeForbidden, "the cluster uses level %d, and the new node can't: %s; run version %s or a newer one there, without cluster.highest_level",
		level, levelText(knows, r.Version), m.cfg.Version)
}

func levelText(knows protocol.Level, version string) string {
	return fmt.Sprintf("version %q knows level %d, or is held there", version, knows)
}
