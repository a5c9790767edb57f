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

// seat is who leads in which term.
type seat struct {
	node NodeID
	term uint64
}

// seat is who leads now, as far as this node knows; false if it knows nobody.
func (w *leaderWatch) seat() (seat, bool) {
	for {
		term := w.raft.CurrentTerm()
		node := w.self
		if w.raft.State() != raft.Leader {
			_, id := w.raft.LeaderWithID()
			if node = NodeID(id); node == w.self {
				node = "" // it is just becoming one, or ceasing to be
			}
		}
		if w.raft.CurrentTerm() == term { // so both belong together
			return seat{node, term}, node != ""
		}
	}
}

// changes returns a channel that is closed at the next change.
func (w *leaderWatch) changes() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changed
}

// await waits until this node leads, or (if elsewhere is set) another; an error if that doesn't come about.
func (w *leaderWatch) await(ctx context.Context, elsewhere bool, limit time.Duration, closed <-chan struct{}) error {
	if _, ok := w.seat(); ok && elsewhere {
		return nil
	}
	t := time.NewTimer(limit)
	defer t.Stop()
	for {
		changed := w.changes()
		if s, ok := w.seat(); ok && (elsewhere || s.node == w.self) {
			return nil
		} else if ok {
			return unavailable(fmt.Sprintf("the leader is %s", s.node), raft.ErrNotLeader)
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
