package raftstore

import (
	"context"

	"github.com/hashicorp/raft"

	"teamtalk/protocol"
)

// Future is a command on its way through the log.
type Future struct {
	store    *Store
	proposal *proposal
}

var _ protocol.Pending = (*Future)(nil)

// Start hands a command to the log without waiting for its result. Commands started by one caller are executed in that
// order, while the leader stays. It waits while there is no leader or the queue is full. Errors are those of Wait; then the command is not carried out.
func (s *Store) Start(ctx context.Context, cmd []byte) (*Future, error) {
	s.metrics.proposals.Inc()
	p := newProposal(cmd)
	if err := s.enqueue(ctx, p); err != nil {
		s.metrics.refused.WithLabelValues(refusal(err)).Inc()
		return nil, err
	}
	return &Future{s, p}, nil
}

func (s *Store) enqueue(ctx context.Context, p *proposal) error {
	if len(p.cmd) > MaxCommand {
		return errTooLarge(len(p.cmd))
	}
	if err := s.failed(); err != nil {
		return err
	}
	if s.raft.State() != raft.Leader {
		if err := s.leader.await(ctx, s.cfg.Forwarder != nil, s.cfg.Tuning.LeaderWait, s.closed); err != nil {
			return err
		}
	}
	return s.batches.enqueue(ctx, p)
}

// Wait returns the machine's result, after the command was executed and fsynced on this node; a result that is an error
// is returned as that. Other errors are protocol.Errors: too large; or unavailable (no leader, disk full, shutting
// down), with OutcomeUnknown set if the command may have been executed all the same. After an error without it the
// command is not carried out, and Wait must not be called again.
func (f *Future) Wait(ctx context.Context) (any, error) {
	result, err := f.store.batches.await(ctx, f.proposal)
	if err != nil {
		f.store.metrics.refused.WithLabelValues(refusal(err)).Inc()
		return nil, err
	}
	if refused, ok := result.(error); ok {
		return nil, refused
	}
	return result, nil
}

// Propose is Start and Wait.
func (s *Store) Propose(ctx context.Context, cmd []byte) (any, error) {
	f, err := s.Start(ctx, cmd)
	if err != nil {
		return nil, err
	}
	return f.Wait(ctx)
}
