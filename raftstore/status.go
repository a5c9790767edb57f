package raftstore

import (
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"teamtalk/protocol"
)

// Status is how this node and, if it leads, its peers are, for the operator.
type Status struct {
	Stats
	Commit protocol.Cursor
	// Contact is when this node last heard of the leader; zero if it leads itself, or never did.
	Contact time.Time
	// Members are all, this node included.
	Members []MemberProgress
	// Receiving is the state that the leader is sending this node.
	Receiving Transfer
}

// MemberProgress is a member and, on the leader, how far it is.
type MemberProgress struct {
	MemberStatus
	// Known: this node leads and has heard of the member in this term, so the rest is set.
	Known bool
	// Matched is the last entry that the member is known to hold, Lag how many of the leader's log it lacks.
	Matched protocol.Cursor
	Lag     uint64
	// Contact is when the member last answered.
	Contact time.Time
	// Sending is the state that is being sent to the member.
	Sending Transfer
}

// Status looks at the store.
func (s *Store) Status() (Status, error) {
	stats, err1 := s.Stats()
	members, err2 := s.Members()
	if err := errors.Join(err1, err2); err != nil {
		return Status{}, err
	}
	st := Status{Stats: stats, Commit: protocol.Cursor(s.raft.CommitIndex()), Receiving: s.fsm.incoming.get()}
	if !stats.IsLeader {
		st.Contact = s.raft.LastContact()
	}
	for _, m := range members {
		p := MemberProgress{MemberStatus: m}
		switch {
		case m.ID == s.cfg.NodeID:
			p.Known, p.Matched, p.Contact = true, protocol.Cursor(stats.LastLog), s.cfg.Clock()
		case stats.IsLeader:
			s.cluster.nudges.describe(&p, stats.Term, stats.LastLog)
		}
		st.Members = append(st.Members, p)
	}
	return st, nil
}

// describe fills in what is known of a peer.
func (n *nudger) describe(m *MemberProgress, term, last uint64) {
	n.mu.Lock()
	p := n.peers[raft.ServerID(m.ID)]
	n.mu.Unlock()
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	m.Sending = p.sending
	if p.term == term && !p.heard.IsZero() {
		m.Known, m.Matched, m.Contact = true, protocol.Cursor(p.matched.index), p.heard
		m.Lag = last - min(last, p.matched.index)
	}
}

// incoming is how far a snapshot of the leader has come in.
type incoming struct {
	mu sync.Mutex // guards at
	at Transfer
}

func (i *incoming) set(index uint64, bytes int64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.at = Transfer{Index: index, Bytes: bytes}
}

func (i *incoming) get() Transfer {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.at
}
