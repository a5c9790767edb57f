package raftstore

import (
	"context"
	"fmt"

	"github.com/hashicorp/raft"

	"teamtalk/protocol"
)

// MemberStatus is a member of the cluster as this node knows it.
type MemberStatus struct {
	Member
	Voter  bool
	Leader bool
}

// Members lists the members in the configuration that is in force on this node, committed or not.
func (s *Store) Members() ([]MemberStatus, error) {
	if err := s.failed(); err != nil {
		return nil, err
	}
	leader, _ := s.Leader()
	var out []MemberStatus
	for _, m := range s.raft.GetConfiguration().Configuration().Servers {
		id := NodeID(m.ID)
		out = append(out, MemberStatus{Member: Member{ID: id, Address: string(m.Address)}, Voter: m.Suffrage == raft.Voter,
			Leader: id == leader.ID})
	}
	return out, nil
}

func (s *Store) member(id NodeID) (raft.Server, bool) {
	for _, m := range s.raft.GetConfiguration().Configuration().Servers {
		if m.ID == raft.ServerID(id) {
			return m, true
		}
	}
	return raft.Server{}, false
}

// AddNonvoter lets a node get the log without a vote. Its NodeID must be new. All changes of the membership are the leader's
// to make: elsewhere they are unavailable, and the error names the leader. nil means that the change is committed.
func (s *Store) AddNonvoter(ctx context.Context, m Member) error {
	if m.ID == "" || len(m.ID) > maxNodeName || m.Address == "" {
		return protocol.Errorf(protocol.CodeInvalid, "a member needs a name of at most %d bytes and an address", maxNodeName)
	}
	if known, ok := s.member(m.ID); ok && (known.Suffrage == raft.Voter || string(known.Address) != m.Address) {
		return protocol.Errorf(protocol.CodeInvalid, "node %s is a member already", m.ID)
	}
	return s.change(ctx, "add a node", func() raft.Future {
		return s.raft.AddNonvoter(raft.ServerID(m.ID), raft.ServerAddress(m.Address), 0, 0)
	})
}

// Promote gives a member a vote. It should have caught up (Status says): until then it can't help to form a majority.
func (s *Store) Promote(ctx context.Context, id NodeID) error {
	m, ok := s.member(id)
	if !ok {
		return noMember(id)
	}
	return s.change(ctx, "promote a node", func() raft.Future { return s.raft.AddVoter(m.ID, m.Address, 0, 0) })
}

// Remove takes a member out of the cluster for ever. A leader that removes itself steps down then.
func (s *Store) Remove(ctx context.Context, id NodeID) error {
	m, ok := s.member(id)
	if !ok {
		return noMember(id)
	}
	if m.Suffrage == raft.Voter && s.voters() == 1 {
		return protocol.Errorf(protocol.CodeInvalid, "node %s has the only vote", id)
	}
	return s.change(ctx, "remove a node", func() raft.Future { return s.raft.RemoveServer(m.ID, 0, 0) })
}

// SetAddress tells the others where a member is reached now.
func (s *Store) SetAddress(ctx context.Context, id NodeID, address string) error {
	m, ok := s.member(id)
	if !ok {
		return noMember(id)
	}
	if address == "" {
		return protocol.Errorf(protocol.CodeInvalid, "no address given")
	}
	return s.change(ctx, "change a node's address", func() raft.Future {
		if m.Suffrage == raft.Voter {
			return s.raft.AddVoter(m.ID, raft.ServerAddress(address), 0, 0)
		}
		return s.raft.AddNonvoter(m.ID, raft.ServerAddress(address), 0, 0)
	})
}

// TransferLeadership makes another voter the leader; "": the one that is most up to date.
func (s *Store) TransferLeadership(ctx context.Context, to NodeID) error {
	if to == "" {
		return s.change(ctx, "hand over the lead", s.raft.LeadershipTransfer)
	}
	m, ok := s.member(to)
	if !ok {
		return noMember(to)
	}
	if m.Suffrage != raft.Voter {
		return protocol.Errorf(protocol.CodeInvalid, "node %s has no vote and can't lead", to)
	}
	if to == s.cfg.NodeID && s.IsLeader() {
		return nil
	}
	return s.change(ctx, "hand over the lead", func() raft.Future { return s.raft.LeadershipTransferToServer(m.ID, m.Address) })
}

func (s *Store) voters() (n int) {
	for _, m := range s.raft.GetConfiguration().Configuration().Servers {
		if m.Suffrage == raft.Voter {
			n++
		}
	}
	return n
}

func noMember(id NodeID) error {
	return protocol.Errorf(protocol.CodeNotFound, "there is no member %s", id)
}

// change asks raft for something that only a leader can do.
func (s *Store) change(ctx context.Context, what string, ask func() raft.Future) error {
	if err := s.failed(); err != nil {
		return err
	}
	if !s.IsLeader() {
		return s.notLeading()
	}
	done := make(chan error, 1)
	if !s.cluster.ask(func() { done <- ask().Error() }) {
		return errClosed()
	}
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("%s: %w", what, ofRaft(err))
		}
		s.log.Info("the cluster was changed", "node", s.cfg.NodeID, "change", what)
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", what, expired(ctx, true))
	}
}
