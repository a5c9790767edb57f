package raftstore

import (
	"context"
	"errors"

	"github.com/hashicorp/raft"

	"teamtalk/protocol"
)

func unavailable(message string, cause error) *protocol.Error {
	if cause == nil {
		return protocol.Errorf(protocol.CodeUnavailable, "%s", message)
	}
	return protocol.Errorf(protocol.CodeUnavailable, "%s: %w", message, cause)
}

// unknown is for commands that may have been carried out.
func unknown(message string, cause error) *protocol.Error {
	e := unavailable(message, cause)
	e.OutcomeUnknown = true
	return e
}

func errClosed() error { return unavailable("this node is shutting down", nil) }

func errTooLarge(n int) error {
	return protocol.Errorf(protocol.CodeTooLarge, "a command of %d MiB is over the limit of %d MiB", n>>20, MaxCommand>>20)
}

func expired(ctx context.Context, mayHappen bool) error {
	e := unavailable("gave up waiting for the command", context.Cause(ctx))
	e.OutcomeUnknown = mayHappen
	return e
}

// ofRaft says in our words why raft did not confirm an entry. Only where raft refuses before it writes anything is the
// entry surely not carried out.
func ofRaft(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader):
		return unavailable("this node is not the leader", err)
	case errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return unavailable("the leader is changing", err)
	case errors.Is(err, raft.ErrLeadershipLost):
		return unknown("the leader was lost meanwhile", err)
	case errors.Is(err, raft.ErrRaftShutdown):
		return unknown("this node is shutting down", err)
	default:
		return unknown("the log did not confirm the command", err)
	}
}

// refusal is the reason under which an error is counted.
func refusal(err error) string {
	var e *protocol.Error
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return refusedNoLeader
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return refusedExpired
	case errors.Is(err, errFailed):
		return refusedFailed
	case errors.Is(err, errDiskFull):
		return refusedDiskFull
	case errors.As(err, &e) && e.Code == protocol.CodeTooLarge:
		return refusedTooLarge
	case errors.As(err, &e) && e.OutcomeUnknown:
		return refusedLost
	default:
		return refusedClosed
	}
}

var (
	errFailed   = errors.New("this node has failed and must be restarted")
	errDiskFull = errors.New("the disk is full")
)
