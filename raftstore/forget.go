package raftstore

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hashicorp/raft"
)

// forgetter sees that entries leave this node's log whose content was deleted. Raft shortens the log by its length only,
// and in a quiet cluster that may take for ever. Where those entries end is in the state file (stateMeta.forget).
//
// Entries stay for a third of the time, so that a follower that is a little behind still finds them, and what is deleted
// meanwhile waits for the next turn: that is over after two thirds, which leaves a third for attempts that fail.
type forgetter struct {
	fsm     *fsm
	logs    *logStore
	raft    *raft.Raft
	log     *slog.Logger
	metrics *metrics
	clock   func() time.Time
	delay   time.Duration
	retry   time.Duration
	stop    chan struct{}
	done    chan struct{}
}

const (
	// forgetTurns is what part of Tuning.ForgetWithin an entry stays at least, and forgetTries what part passes between attempts.
	forgetTurns = 3
	forgetTries = 30
	maxRetry    = time.Minute
	// firstRetry follows the first attempt that failed, others twice as late each: at a start there is no leader for a moment.
	firstRetry = 100 * time.Millisecond
)

var errStillThere = errors.New("entries with deleted content are still in the log")

func (s *Store) newForgetter(r *raft.Raft) *forgetter {
	within := s.cfg.Tuning.ForgetWithin
	return &forgetter{fsm: s.fsm, logs: s.logs, raft: r, log: s.log, metrics: s.metrics, clock: s.cfg.Clock,
		delay: within / forgetTurns, retry: min(max(within/forgetTries, time.Millisecond), maxRetry),
		stop: make(chan struct{}), done: make(chan struct{})}
}

// run is the forgetter's goroutine; close ends it. A node that starts does at once what may have been due while it was down.
func (f *forgetter) run() {
	defer close(f.done)
	t := time.NewTimer(0)
	defer t.Stop()
	upTo := f.fsm.position().forget // this turn's
	failing, retry := false, min(firstRetry, f.retry)
	for {
		select {
		case <-f.fsm.forgot:
			if upTo == 0 {
				upTo = f.begin(t)
			}
			continue
		case <-t.C:
		case <-f.stop:
			return
		}
		if upTo == 0 {
			continue
		}
		if err := f.forget(upTo); err != nil {
			if !failing && !errors.Is(err, errStillThere) {
				f.log.Warn("could not take deleted content out of the raft log yet", "up_to", upTo, "error", err)
				failing = true
			}
			t.Reset(retry)
			retry = min(2*retry, f.retry)
			continue
		}
		failing, retry = false, min(firstRetry, f.retry)
		if m := f.fsm.position(); m.forget > upTo {
			upTo = f.begin(t)
		} else {
			upTo = 0
		}
	}
}

// begin begins a turn with what is known now, and returns where its entries end. Entries that are older than a turn, as on
// a node that was away, are not kept any longer.
func (f *forgetter) begin(t *time.Timer) uint64 {
	m := f.fsm.position()
	age := f.clock().Sub(time.UnixMilli(m.forgetMs))
	t.Reset(f.delay - min(max(age, 0), f.delay))
	return m.forget
}

func (f *forgetter) close() {
	close(f.stop)
	<-f.done
}

// forget takes the entries up to an index out of the log. As raft has to find an entry at its state's position, that has to
// be beyond them: a leader of a quiet cluster adds an entry without content.
func (f *forgetter) forget(upTo uint64) error {
	first, err := f.logs.FirstIndex()
	if err != nil || first == 0 || first > upTo {
		return err
	}
	if f.fsm.position().index <= upTo {
		if err := f.pass(upTo); err != nil {
			return err
		}
	}
	if err := f.logs.deletePrefix(first, upTo); err != nil {
		return err
	}
	left, err := f.logs.FirstIndex()
	if err != nil {
		return err
	}
	if left != 0 && left <= upTo {
		return errStillThere // a stream holds them, or nothing has followed them
	}
	f.metrics.forgets.Inc()
	f.log.Info("deleted content left the raft log", "first", first, "up_to", upTo)
	return nil
}

// pass brings the state's position beyond what it has executed, as soon as the log goes on behind upTo.
func (f *forgetter) pass(upTo uint64) error {
	if f.raft.State() == raft.Leader {
		if err := f.raft.Barrier(0).Error(); err != nil {
			return fmt.Errorf("add an entry behind deleted content: %w", err)
		}
	}
	if f.raft.AppliedIndex() <= upTo {
		return errStillThere
	}
	if err := f.raft.Snapshot().Error(); err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return fmt.Errorf("lift the state behind deleted content: %w", err)
	}
	return nil
}

// toForget counts the entries with deleted content in the log, and others among them.
func (s *Store) toForget() float64 {
	upTo := s.fsm.position().forget
	first, err := s.logs.FirstIndex()
	if err != nil || first == 0 || first > upTo {
		return 0
	}
	return float64(upTo - first + 1)
}
