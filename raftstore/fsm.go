package raftstore

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"

	"teamtalk/protocol"
)

// fsm executes committed entries. Everything in one call of ApplyBatch becomes one transaction of the state file,
// together with the position reached; so the state file is at every moment a snapshot of itself.
type fsm struct {
	dir       *dataDir
	state     *stateSet
	machine   Machine
	publisher Publisher
	mapSize   int
	log       *slog.Logger
	metrics   *metrics
	health    *diskHealth
	progress  *progress
	forgot    chan struct{} // holds a token when meta.forget rose
	damages   *damages
	fail      func(error)
	failed    func() error
	pendings  *pendings        // this node's commands that come back through the log
	committed func(l logPlace) // told before an entry is executed
	incoming  incoming

	mu   sync.Mutex // held while the state is written; guards what follows
	meta stateMeta  // as in the state file

	pendingMu sync.Mutex // guards pending
	pending   *install
}

var (
	_ raft.BatchingFSM = (*fsm)(nil)

	errRestoreForbidden = errors.New("only a leader's snapshot can replace the state")
)

// ApplyBatch executes entries: all in one transaction, fsync, then events, then answers.
func (f *fsm) ApplyBatch(logs []*raft.Log) []any {
	out := make([]any, len(logs))
	if len(logs) == 0 {
		return out
	}
	start := time.Now()
	f.committed(logPlace{logs[len(logs)-1].Index, logs[len(logs)-1].Term})
	f.mu.Lock()
	before := f.meta.forget
	events, err := f.applyLocked(logs, out)
	forgets := f.meta.forget > before
	f.mu.Unlock()
	if err != nil {
		f.fail(err)
		for i := range out {
			out[i] = err
		}
		return out
	}
	if len(events) > 0 {
		f.publisher.Publish(events)
	}
	f.progress.set(logs[len(logs)-1].Index)
	if forgets {
		f.noteForgot()
	}
	f.metrics.apply.Observe(time.Since(start).Seconds())
	f.pendings.flush(logs[len(logs)-1].Index)
	return out
}

func (f *fsm) applyLocked(logs []*raft.Log, out []any) (events []protocol.Event, err error) {
	if err := f.failed(); err != nil {
		return nil, err
	}
	file := f.state.acquire()
	if file == nil {
		return nil, errors.New("the state is closed")
	}
	defer f.state.release(file)
	calm := alert()
	defer calm()
	defer f.damages.ending(file.db.Path(), true, &err)
	tx, err := file.db.Begin(true)
	if err != nil {
		return nil, fmt.Errorf("begin a transaction of the state: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // does nothing after Commit
	meta := f.meta
	for i, l := range logs {
		if events, err = f.applyOne(tx, &meta, l, events, &out[i]); err != nil {
			return nil, err
		}
	}
	if err := writePosition(tx, &meta); err != nil {
		return nil, fmt.Errorf("write the position into the state: %w", err)
	}
	if meta.forget > f.meta.forget {
		if err := writeForget(tx, &meta); err != nil {
			return nil, fmt.Errorf("write into the state what is to be forgotten: %w", err)
		}
	}
	f.health.begin(ofState, time.Now())
	err = tx.Commit()
	f.health.end(ofState, time.Now())
	if err != nil {
		return nil, fmt.Errorf("commit entries up to %d to the state: %w", meta.index, err)
	}
	f.meta = meta
	return events, nil
}

// applyOne executes one entry. raft never repeats an entry: it starts after the state's position (List), and a snapshot
// that would lead back is refused (checkInstall). So an old index here means that raft and the state disagree.
func (f *fsm) applyOne(tx *bbolt.Tx, meta *stateMeta, l *raft.Log, events []protocol.Event, out *any) ([]protocol.Event, error) {
	if l.Index <= meta.index {
		return nil, fmt.Errorf("raft repeats entry %d, the state holds all up to %d", l.Index, meta.index)
	}
	meta.index, meta.term = l.Index, l.Term
	switch l.Type {
	case raft.LogCommand:
		var err error
		*out, events, err = f.applyEntry(tx, meta, l, events)
		return events, err
	case raft.LogConfiguration:
		conf, err := decodeConfiguration(l.Data)
		if err != nil {
			return nil, entryError(l.Index, err)
		}
		if err := noteRemoved(tx, meta.conf, conf); err != nil {
			return nil, err
		}
		meta.conf, meta.confIndex = conf, l.Index
		return events, writeMembers(tx, meta)
	default:
		return events, nil
	}
}

func (f *fsm) applyEntry(tx *bbolt.Tx, meta *stateMeta, l *raft.Log, events []protocol.Event) (any, []protocol.Event, error) {
	e, err := decodeEntry(l.Data)
	if err != nil {
		return nil, nil, entryError(l.Index, err)
	}
	results := make([]any, len(e.commands))
	f.pendings.note(&e, results)
	for i, cmd := range e.commands {
		at := protocol.Position{Index: l.Index, Sub: uint16(i)}
		a, err := f.machine.Apply(tx, at, e.timeMs, cmd)
		if err != nil {
			return nil, nil, fmt.Errorf("execute command %s: %w", at, err)
		}
		results[i] = a.Result
		events = append(events, a.Events...)
		if a.Forget > 0 {
			meta.forget, meta.forgetMs = max(meta.forget, a.Forget), e.timeMs
		}
	}
	return results, events, nil
}

func (f *fsm) noteForgot() {
	select {
	case f.forgot <- struct{}{}:
	default:
	}
}

// Apply is raft's for state machines that don't batch.
func (f *fsm) Apply(l *raft.Log) any { return f.ApplyBatch([]*raft.Log{l})[0] }

// Snapshot costs nothing: the state file is the snapshot.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) { return localSnapshot{f}, nil }

// lift raises the position to what raft takes for applied: barriers count there and are not seen here. Without it raft
// could drop the log up to a barrier that the state doesn't know of, and not find its place at the next start.
func (f *fsm) lift(index, term uint64) (err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if index <= f.meta.index {
		return nil
	}
	if err := f.failed(); err != nil {
		return err
	}
	file := f.state.acquire()
	if file == nil {
		return errClosed()
	}
	defer f.state.release(file)
	calm := alert()
	defer calm()
	defer f.damages.ending(file.db.Path(), true, &err)
	meta := f.meta
	meta.index, meta.term = index, term
	if err := file.db.Update(func(tx *bbolt.Tx) error { return writePosition(tx, &meta) }); err != nil {
		err = fmt.Errorf("lift the position of the state: %w", err)
		f.fail(err)
		return err
	}
	f.meta = meta
	f.progress.set(index)
	return nil
}

// position is the state's, as on disk.
func (f *fsm) position() stateMeta {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.meta
}

// Restore puts the snapshot that was just received in the place of the state. The reader is not used: the sink has the
// bytes in a file already. raft's own Restore and RecoverCluster arrive here without one and are refused.
func (f *fsm) Restore(r io.ReadCloser) error {
	f.pendingMu.Lock()
	in := f.pending
	f.pending = nil
	f.pendingMu.Unlock()
	if in == nil {
		return errRestoreForbidden
	}
	if err := f.failed(); err != nil {
		return err
	}
	f.mu.Lock()
	from := f.meta.index
	if in.meta.index == from && in.meta.term == f.meta.term {
		f.mu.Unlock()
		return in.discard() // the leader didn't hear that it was installed, and sent it again
	}
	if in.meta.index < from {
		f.mu.Unlock()
		return errors.Join(f.checkInstall(in.meta.index), in.discard())
	}
	err := f.installLocked(in)
	f.mu.Unlock()
	if err != nil {
		// From the rename on the new file is the state, so there is no way back.
		err = fmt.Errorf("install a snapshot: %w", err)
		f.fail(err)
		return err
	}
	f.metrics.installs.Inc()
	f.pendings.abandon(unknown("the command may be in the snapshot that replaced this node's state", nil))
	f.log.Info("state replaced by a snapshot of the leader", "from", from, "to", in.meta.index)
	f.publisher.Publish([]protocol.Event{{
		At:   protocol.Position{Index: in.meta.index},
		Body: protocol.Jumped{From: protocol.Cursor(from), To: protocol.Cursor(in.meta.index)},
	}})
	f.progress.set(in.meta.index)
	f.noteForgot()
	return nil
}

func (f *fsm) installLocked(in *install) error {
	old := f.state.acquire()
	if old == nil {
		return errors.New("the state is closed")
	}
	gen := old.gen + 1
	f.state.release(old)
	if err := f.dir.rename(in.path, stateName(gen)); err != nil {
		return err
	}
	db, meta, err := openStateDB(f.dir.file(stateName(gen)), f.mapSize, f.machine)
	if err != nil {
		return err
	}
	f.state.swap(newStateFile(gen, db), true)
	f.meta = meta
	return nil
}

// checkInstall refuses to be led back behind what was executed here: a delayed call of raft would otherwise make this
// node forget entries that it has acknowledged. The same position again is fine.
func (f *fsm) checkInstall(index uint64) error {
	if at := f.position().index; index < at {
		return fmt.Errorf("refused a snapshot of entry %d: the state holds all up to %d", index, at)
	}
	return nil
}

// progress tells those who wait how far the state is.
type progress struct {
	mu      sync.Mutex // guards what follows
	index   uint64
	changed chan struct{} // closed and replaced when index rises; nil if nobody waits
}

func (p *progress) set(index uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.index = max(p.index, index)
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
}

func (p *progress) get() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.index
}

// reached returns nil if index is reached, else a channel that is closed at the next change.
func (p *progress) reached(index uint64) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.index >= index {
		return nil
	}
	if p.changed == nil {
		p.changed = make(chan struct{})
	}
	return p.changed
}
