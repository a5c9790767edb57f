package raftstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"

	"teamtalk/protocol"
)

// settleTime is how long Close waits for commands under way: local work takes milliseconds, a lost quorum for ever.
const settleTime = 5 * time.Second

// Store is this node's part of the replicated state.
type Store struct {
	cfg     Config
	log     *slog.Logger
	dir     *dataDir
	logs    *logStore
	state   *stateSet
	fsm     *fsm
	raft    *raft.Raft
	cluster *clusterParts
	batches *batcher
	metrics *metrics
	space   *spaceGuard
	leader  *leaderWatch
	trims   sync.WaitGroup // trimLogs and patrol
	forgets *forgetter

	running atomic.Bool               // false while Open works: then an error is returned, not fatal
	acting  atomic.Pointer[raft.Raft] // raft, for raft's own goroutines, which run before NewRaft returns
	failure atomic.Pointer[error]
	closing sync.Once
	closed  chan struct{}
	closeEr error
}

// Open opens or creates the data directory and starts the node. It doesn't wait for a leader. If it fails, closing the
// transport is left to the caller.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("raftstore: %w", err)
	}
	cfg.setDefaults()
	s := &Store{cfg: cfg, log: cfg.Logger, closed: make(chan struct{}),
		space: &spaceGuard{free: cfg.FreeSpace, reserve: cfg.Tuning.DiskReserve}}
	s.state = &stateSet{onClose: s.stateClosed}
	if err := s.open(ctx); err != nil {
		return nil, fmt.Errorf("raftstore: %w", errors.Join(err, s.closeFiles()))
	}
	return s, nil
}

func (s *Store) open(ctx context.Context) (err error) {
	if s.dir, err = openDataDir(s.cfg.Dir, s.cfg.NodeID, s.cfg.Version); err != nil {
		return err
	}
	hadLog := exists(s.dir.file(logName))
	file, meta, err := s.dir.openCurrent(s.cfg.Tuning.MapSize, s.cfg.Machine)
	if err != nil {
		return err
	}
	s.state.swap(file, false)
	if !hadLog && meta.index > 0 {
		return fmt.Errorf("%s is missing: with it this node's votes are lost; %w", s.dir.file(logName), ErrDamaged)
	}
	bolt, err := openLog(s.dir)
	if err != nil {
		return err
	}
	s.assemble(bolt, meta)
	if err := s.prepareLog(meta); err != nil {
		return err
	}
	if err := s.recheck(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.start()
}

// assemble makes the parts that need each other.
func (s *Store) assemble(bolt *raftboltdb.BoltStore, meta stateMeta) {
	progress, health := &progress{index: meta.index}, newDiskHealth(s.space)
	s.metrics = newMetrics(func() float64 { return float64(progress.get()) }, s.freeGauge, s.toForget)
	damages := newDamages(s)
	s.metrics.all = append(s.metrics.all, damages.found)
	s.fsm = &fsm{dir: s.dir, state: s.state, machine: s.cfg.Machine, publisher: s.cfg.Publisher, mapSize: s.cfg.Tuning.MapSize,
		damages: damages, log: s.log, metrics: s.metrics, health: health, progress: progress, forgot: make(chan struct{}, 1), fail: s.fail, failed: s.failed, meta: meta}
	s.logs = &logStore{bolt: bolt, path: s.dir.file(logName), damages: damages, fail: s.fail, durable: func() uint64 { return s.fsm.position().index }, leading: s.isLeading,
		space: s.space, health: health, clock: s.cfg.Clock, limit: s.cfg.Tuning.TrailingBytes, large: make(chan struct{}, 1),
		holds: make(map[*logHold]struct{})}
	s.batches = newBatcher(s.cfg.Tuning.Window, s.submit, s.space, s.cfg.Clock, s.metrics)
	s.fsm.pendings, s.fsm.committed = newPendings(s.cfg.NodeID), s.noteCommit
	s.cluster = s.newClusterParts()
}

func (s *Store) prepareLog(meta stateMeta) error {
	return guardDamage(s.dir.file(logName), func() error {
		if err := reconcile(s.logs, meta); err != nil {
			return err
		}
		return bootstrap(s.logs, meta, s.cfg.Bootstrap)
	})
}

// start lets raft run. From here on errors of the disk are fatal.
func (s *Store) start() error {
	meta := s.fsm.position()
	conf, err := latestConfiguration(s.logs, meta)
	if err != nil {
		return err
	}
	lone := isLone(conf, s.cfg.NodeID)
	snaps := &snapshotStore{fsm: s.fsm, logs: s.logs, space: s.space, stall: s.cfg.Tuning.StreamStall,
		hold: s.cfg.Tuning.StreamHold, log: s.log}
	if err := s.metrics.register(s.cfg.Registerer); err != nil {
		return err
	}
	s.running.Store(true)
	rc := s.cfg.raftConfig(lone)
	wrapped, trans := newTransport(s.cfg.Transport, s.cluster.nudges, lone, s.hasAlready)
	wrapped.silent = s.logs.health.hangs
	r, err := raft.NewRaft(rc, s.fsm, s.logs, s.logs, snaps, trans)
	if err != nil {
		wrapped.detach()
		s.metrics.unregister(s.cfg.Registerer)
		return fmt.Errorf("start raft: %w", err)
	}
	s.raft = r
	s.acting.Store(r)
	s.leader = watchLeader(r, s.cfg.NodeID, s.log)
	s.startCluster(wrapped, rc.HeartbeatTimeout)
	s.trims.Add(2)
	go s.trimLogs()
	go s.patrol()
	s.forgets = s.newForgetter(r)
	go s.forgets.run() // ended and joined by close
	go s.batches.run() // ended and joined by halt
	s.log.Info("store opened", "node", s.cfg.NodeID, "applied", meta.index, "members", len(conf.Servers))
	return nil
}

// trimLogs keeps the log's size in bounds; Close ends it and waits for it.
func (s *Store) trimLogs() {
	defer s.trims.Done()
	for {
		select {
		case <-s.logs.large:
			if err := s.logs.trim(); err != nil {
				s.log.Warn("could not shorten the raft log", "error", err)
			}
		case <-s.closed:
			return
		}
	}
}

// submit hands an entry to raft.
func (s *Store) submit(entry []byte) waiter {
	f := s.raft.Apply(entry, 0)
	return func() ([]any, error) {
		if err := f.Error(); err != nil {
			return nil, ofRaft(err)
		}
		switch r := f.Response().(type) {
		case []any:
			return r, nil
		case error:
			return nil, unknown("the command could not be executed", r)
		default:
			return nil, unknown("the log gave no results", nil)
		}
	}
}

// View runs fn in a read transaction on the state. What fn reads is as of one log position; it must not keep slices of
// the database, and should be quick, as an open transaction keeps pages from being reused.
func (s *Store) View(fn func(*bbolt.Tx) error) (err error) {
	f := s.state.acquire()
	if f == nil {
		return errClosed()
	}
	defer s.state.release(f)
	calm := alert()
	defer calm()
	defer s.fsm.damages.reading(f.db, &err)
	return f.db.View(fn)
}

// Applied is the log position that the state on this node holds on disk.
func (s *Store) Applied() protocol.Cursor { return protocol.Cursor(s.fsm.progress.get()) }

// WaitApplied waits until the state on this node holds the cursor's entry.
func (s *Store) WaitApplied(ctx context.Context, c protocol.Cursor) error {
	for {
		changed := s.fsm.progress.reached(uint64(c))
		if changed == nil {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return unavailable("this node has not caught up yet", context.Cause(ctx))
		case <-s.closed:
			return errClosed()
		}
	}
}

// Leader is the member that leads now, as far as this node knows; false if it knows none.
func (s *Store) Leader() (Member, bool) {
	addr, id := s.raft.LeaderWithID()
	return Member{ID: NodeID(id), Address: string(addr)}, id != ""
}

// IsLeader reports whether this node leads.
func (s *Store) IsLeader() bool { return s.raft.State() == raft.Leader }

// Head is the last index of this node's log, applied or not, and whether this node leads: then nothing committed is beyond it.
func (s *Store) Head() (head protocol.Cursor, isLeader bool) {
	isLeader = s.IsLeader() // asked first: a leader's log only grows
	return protocol.Cursor(s.raft.LastIndex()), isLeader
}

func (s *Store) isLeading() bool {
	r := s.acting.Load()
	return r == nil || r.State() == raft.Leader
}

// Ready is nil when commands can be expected to be carried out; else it says why not. Reads work in any case until Close.
func (s *Store) Ready() error {
	select {
	case <-s.closed:
		return errClosed()
	default:
	}
	if err := s.failed(); err != nil {
		return err
	}
	if _, ok := s.Leader(); !ok {
		return unavailable("no leader", nil)
	}
	return s.space.check(0)
}

// Full reports whether commands given to this node are refused because its disk is full.
func (s *Store) Full() bool {
	if s.IsLeader() {
		return errors.Is(s.space.check(0), errDiskFull)
	}
	return s.space.tight(0) // others lead, and carry out what this node forwards for as long as it can follow
}

// Stats are numbers for the operator.
type Stats struct {
	Applied   protocol.Cursor
	FirstLog  uint64
	LastLog   uint64
	Term      uint64
	Leader    NodeID
	IsLeader  bool
	FreeBytes uint64
	StateSize int64 // of the file, in bytes
}

// Stats looks at the store.
func (s *Store) Stats() (Stats, error) {
	st := Stats{Applied: s.Applied(), Term: s.raft.CurrentTerm(), IsLeader: s.IsLeader()}
	leader, _ := s.Leader()
	st.Leader = leader.ID
	var e1, e2, e3 error
	st.FirstLog, e1 = s.logs.FirstIndex()
	st.LastLog, e2 = s.logs.LastIndex()
	st.FreeBytes, e3 = s.space.free()
	e4 := s.View(func(tx *bbolt.Tx) error {
		st.StateSize = tx.Size()
		return nil
	})
	return st, errors.Join(e1, e2, e3, e4)
}

func (s *Store) freeGauge() float64 {
	free, err := s.space.free()
	if err != nil {
		return -1
	}
	return float64(free)
}

// fail stops the node for good: after a failed write or fsync nothing is certain.
func (s *Store) fail(err error) {
	if s.failure.CompareAndSwap(nil, &err) && s.running.Load() {
		s.log.Error("this node can't go on", "node", s.cfg.NodeID, "error", err)
		if errors.Is(err, ErrDamaged) {
			if err := s.dir.markDamaged(err); err != nil {
				s.log.Error("the next start will not know of the damage", "node", s.cfg.NodeID, "error", err)
			}
		}
		s.cfg.Fatal(err)
	}
}

// failed is the error that stopped the node, for those who propose.
func (s *Store) failed() error {
	if e := s.failure.Load(); e != nil {
		return unknown(errFailed.Error(), errors.Join(errFailed, *e))
	}
	return nil
}

func (s *Store) stateClosed(path string, err error) {
	if err != nil {
		s.log.Warn("could not close a state file", "file", path, "error", err)
	}
}

// Close ends the node. Commands under way get a few seconds to finish; later ones are refused.
func (s *Store) Close() error {
	s.closing.Do(func() { s.closeEr = s.close() })
	return s.closeEr
}

// close takes the parts down: first what starts work, last what work stands on.
func (s *Store) close() error {
	s.batches.halt()
	s.leave()
	if s.IsLeader() {
		s.batches.settle(settleTime) // raft forgets to answer what is with the state machine when it is shut down
	}
	s.forgets.close() // raft still answers
	close(s.closed)
	s.cluster.settle(settleTime)
	err := s.raft.Shutdown().Error() // closes the transport
	s.batches.abandon(unknown("this node is shutting down", nil))
	if !s.batches.settle(settleTime) {
		s.log.Warn("raft left a command unanswered")
	}
	s.leader.close()
	if !s.cluster.settle(settleTime) {
		s.log.Warn("raft left a change of the members unanswered")
	}
	s.trims.Wait()
	s.metrics.unregister(s.cfg.Registerer)
	return errors.Join(err, s.closeFiles())
}

func (s *Store) closeFiles() error {
	if s.fsm != nil && s.fsm.damages.isTorn() { // closing would wait for ever, and has nothing to save
		return s.dir.close()
	}
	var errs []error
	if s.logs != nil {
		errs = append(errs, s.logs.close())
	}
	s.state.swap(nil, false)
	s.state.wait()
	if s.dir != nil {
		errs = append(errs, s.dir.close())
	}
	return errors.Join(errs...)
}

// hasAlready reports whether a snapshot brings what this node has: what it executed, or an entry of its log, which is committed then. A leader of a
// former term is left to raft.
func (s *Store) hasAlready(term, index, of uint64) bool {
	r := s.acting.Load()
	if r == nil || term < r.CurrentTerm() {
		return false
	}
	if index <= s.fsm.position().index {
		return true
	}
	var at raft.Log
	return s.logs.GetLog(index, &at) == nil && at.Term == of
}
