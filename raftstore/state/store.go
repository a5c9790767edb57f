package state

import (
	"context"
	"errors"
	"fmt"

	"teamtalk/protocol"
	"teamtalk/raftstore"
)

// Config says what a Store is made of: the engine's settings. Machine is set by Open.
type Config struct {
	raftstore.Config
	// HighestLevel holds this node back, which behaves then like one whose program knows no more; 0, or more than Level: Level.
	HighestLevel protocol.Level
}

// Store is the replicated state of this node: commands go in, queries read.
type Store struct {
	Queries
	engine  *raftstore.Store
	machine *machine
}

// Open opens the state in cfg.Dir, or makes an empty one. Close it.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	m := newMachine(cfg.Version, dedupeSpan, HighestLevel(cfg.HighestLevel))
	cfg.Machine = m
	engine, err := raftstore.Open(ctx, cfg.Config)
	if err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	return &Store{
		Queries: Queries{members: m.members, read: engine.View, applied: engine.Applied},
		engine:  engine,
		machine: m,
	}, nil
}

// Start hands a command to the log. Commands started by one caller are executed in that order. The result of Wait is the
// command's protocol.XxxResult, or nil; errors are *protocol.Error.
func (s *Store) Start(ctx context.Context, cmd protocol.Command) (protocol.Pending, error) {
	b, err := s.machine.propose(cmd)
	var refusal *protocol.Error
	switch {
	case errors.As(err, &refusal):
		return nil, refusal
	case err != nil:
		return nil, protocol.Errorf(protocol.CodeInternal, "the command can't be encoded: %w", err)
	}
	f, err := s.engine.Start(ctx, b)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Execute has a command executed and waits until it is on this node's disk.
func (s *Store) Execute(ctx context.Context, cmd protocol.Command) (any, error) {
	p, err := s.Start(ctx, cmd)
	if err != nil {
		return nil, err
	}
	return p.Wait(ctx)
}

// Engine is the replicated log below, for what concerns nodes and not commands.
func (s *Store) Engine() *raftstore.Store { return s.engine }

// Applied is the log index that the state on this node holds on disk.
func (s *Store) Applied() protocol.Cursor { return s.engine.Applied() }

// WaitApplied waits until the state holds c.
func (s *Store) WaitApplied(ctx context.Context, c protocol.Cursor) error {
	return s.engine.WaitApplied(ctx, c)
}

// Head is the last index of this node's log, which may be ahead of what is applied, and whether this node leads: the
// leader's log holds all that the cluster has committed.
func (s *Store) Head() (head protocol.Cursor, isLeader bool) { return s.engine.Head() }

// Ready tells why commands can't be executed now; nil if they can.
func (s *Store) Ready() error { return s.engine.Ready() }

// Close ends the store. Commands under way may be left with an unknown outcome.
func (s *Store) Close() error { return s.engine.Close() }
