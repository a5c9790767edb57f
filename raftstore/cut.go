package raftstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hashicorp/raft"
)

// Snapshot cuts this node's log as far as its state on the disk allows. Nothing to cut is no error.
func (s *Store) Snapshot(ctx context.Context) error {
	f := s.raft.Snapshot()
	done := make(chan error, 1)
	go func() { done <- f.Error() }() // raft answers every snapshot, at the latest when it is shut down
	select {
	case err := <-done:
		if err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) {
			return fmt.Errorf("cut the log: %w", err)
		}
		return nil
	case <-ctx.Done():
		return unavailable("the log is still being cut", context.Cause(ctx))
	}
}

// NetworkTransport carries raft's calls over a layer of connections.
func NetworkTransport(layer raft.StreamLayer, log *slog.Logger) raft.Transport {
	return raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{Stream: layer, MaxPool: transportConnections, Timeout: transportPatience,
		Logger: newRaftLogger(log, false)})
}

const (
	transportConnections = 3
	transportPatience    = 10 * time.Second
)
