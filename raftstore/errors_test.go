package raftstore

import (
	"context"
	"errors"
	"testing"

	"github.com/hashicorp/raft"

	"teamtalk/protocol"
)

// Only what raft refuses before it writes anything is surely not carried out.
func TestOutcomes(t *testing.T) {
	tests := map[string]struct {
		err     error
		unknown bool
		reason  string
	}{
		"not the leader":    {raft.ErrNotLeader, false, refusedNoLeader},
		"being handed over": {raft.ErrLeadershipTransferInProgress, false, refusedNoLeader},
		"leader lost":       {raft.ErrLeadershipLost, true, refusedLost},
		"shut down":         {raft.ErrRaftShutdown, true, refusedLost},
		"write failed":      {errors.New("input/output error"), true, refusedLost},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := ofRaft(tt.err)
			if protocol.CodeOf(err) != protocol.CodeUnavailable || protocol.IsOutcomeUnknown(err) != tt.unknown || !errors.Is(err, tt.err) {
				t.Errorf("got %v, outcome unknown: %v", err, protocol.IsOutcomeUnknown(err))
			}
			if got := refusal(err); got != tt.reason {
				t.Errorf("counted as %q, want %q", got, tt.reason)
			}
		})
	}
	if ofRaft(nil) != nil {
		t.Error("success is an error")
	}
}

func TestReasons(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	full := &spaceGuard{free: func() (uint64, error) { return 0, nil }, reserve: 1}
	tests := map[string]error{
		refusedTooLarge: errTooLarge(MaxCommand + 1),
		refusedClosed:   errClosed(),
		refusedExpired:  expired(ctx, true),
		refusedDiskFull: full.check(1),
		refusedFailed:   unknown("x", errFailed),
	}
	for want, err := range tests {
		if got := refusal(err); got != want {
			t.Errorf("%v is counted as %q, want %q", err, got, want)
		}
	}
}
