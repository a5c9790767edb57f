package raftstore

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// leaderWatch wakes those who wait for a leader.
type leaderWatch struct {
	raft     *raft.Raft
	self     NodeID
	log      *slog.Logger
	observer *raft.Observer
	events   chan raft.Observation
	stop     chan struct{}
	done     chan struct{}

	mu      sync.Mutex // guards changed
	changed chan struct{}
}

func watchLeader(r *raft.Raft, self NodeID, log *slog.Logger) *leaderWatch {
	w := &leaderWatch{raft: r, self: self, log: log, events: make(chan raft.Observation, 16), stop: make(chan struct{}),
		done: make(chan struct{}), changed: make(chan struct{})}
	w.observer = raft.NewObserver(w.events, false, func(o *raft.Observation) bool {
		switch o.Data.(type) {
		case raft.LeaderObservation, raft.RaftState:
			return true
		}
		return false
	})
	r.RegisterObserver(w.observer)
	go w.run()
	return w
}

// run passes raft's observations on; close ends it.
func (w *leaderWatch) run() {
	defer close(w.done)
	for {
		select {
		case o := <-w.events:
			if l, ok := o.Data.(raft.LeaderObservation); ok {
				w.log.Info("leader changed", "node", w.self, "leader", l.LeaderID, "term", w.raft.CurrentTerm())
			}
			w.mu.Lock()
			close(w.changed)
			w.changed = make(chan struct{})
			w.mu.Unlock()
		case <-w.stop:
			return
		}
	}
}

func (w *leaderWatch) close() {
	w.raft.DeregisterObserver(w.observer)
	close(w.stop)
	<-w.done
}

// await waits until this node leads; an error if another does, or if nobody does for too long.
func (w *leaderWatch) await(ctx context.Context, limit time.Duration, closed <-chan struct{}) error {
	t := time.NewTimer(limit)
	defer t.Stop()
	for {
		w.mu.Lock()
		changed := w.changed
		w.mu.Unlock()
		if w.raft.State() == raft.Leader {
			return nil
		}
		if _, id := w.raft.LeaderWithID(); id != "" && NodeID(id) != w.self {
			return unavailable(fmt.Sprintf("the leader is %s", id), raft.ErrNotLeader)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return expired(ctx, false)
		case <-closed:
			return errClosed()
		case <-t.C:
			return unavailable("no leader", raft.ErrNotLeader)
		}
	}
}
