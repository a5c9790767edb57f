package raftstore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
)

// snapshotStore is raft's view of the state file: there is one snapshot, it is always the newest possible, and it costs
// nothing until a follower asks for it.
type snapshotStore struct {
	fsm   *fsm
	logs  *logStore
	space *spaceGuard
	stall time.Duration
	hold  time.Duration
	log   *slog.Logger
}

const (
	snapshotID = "state"
	installID  = "install"
	spaceStep  = 4 << 20
)

var errStalled = errors.New("snapshot stream ended: nobody read from it for too long")

// List reports the state as it is now; nothing while it is empty, or raft would refuse to bootstrap.
func (s *snapshotStore) List() ([]*raft.SnapshotMeta, error) {
	m := s.fsm.position()
	if m.index == 0 {
		return nil, nil
	}
	return []*raft.SnapshotMeta{metaOf(snapshotID, m, 0)}, nil
}

func metaOf(id string, m stateMeta, size int64) *raft.SnapshotMeta {
	return &raft.SnapshotMeta{Version: raft.SnapshotVersionMax, ID: id, Index: m.index, Term: m.term,
		Configuration: m.conf.Clone(), ConfigurationIndex: m.confIndex, Size: size}
}

// Open starts a consistent copy of the state as it is now, which may be newer than List said. Until it is closed, and
// for a while longer, the log keeps what follows.
func (s *snapshotStore) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	if id == installID {
		return s.openInstalled()
	}
	hold := s.logs.hold() // before the position is known, or the log could lose what follows it
	st, meta, err := s.openStream(hold)
	if err != nil {
		s.logs.release(hold, 0)
		return nil, nil, fmt.Errorf("open snapshot: %w", err)
	}
	s.fsm.metrics.streams.Inc()
	return meta, st, nil
}

// openInstalled answers raft between having received a snapshot and Restore, which doesn't read it.
func (s *snapshotStore) openInstalled() (*raft.SnapshotMeta, io.ReadCloser, error) {
	s.fsm.pendingMu.Lock()
	defer s.fsm.pendingMu.Unlock()
	if s.fsm.pending == nil {
		return nil, nil, errRestoreForbidden
	}
	return metaOf(installID, s.fsm.pending.meta, 0), io.NopCloser(bytes.NewReader(nil)), nil
}

func (s *snapshotStore) openStream(hold *logHold) (*stream, *raft.SnapshotMeta, error) {
	file := s.fsm.state.acquire()
	if file == nil {
		return nil, nil, errClosed()
	}
	tx, err := file.db.Begin(false)
	if err != nil {
		s.fsm.state.release(file)
		return nil, nil, err
	}
	m, err := s.fsm.damages.position(file.db, tx)
	if err != nil {
		err = errors.Join(err, tx.Rollback())
		s.fsm.state.release(file)
		return nil, nil, err
	}
	s.logs.setHold(hold, m.index)
	st := &stream{stall: s.stall, done: make(chan struct{})}
	var w *io.PipeWriter
	st.r, w = io.Pipe()
	st.timer = time.AfterFunc(s.stall, func() { _ = st.r.CloseWithError(errStalled) })
	size := tx.Size()
	go func() { // ends when all is read, or by Close, or by the timer; joined by Close
		defer close(st.done)
		n, err := tx.WriteTo(w)
		_ = w.CloseWithError(err)
		_ = tx.Rollback()
		s.fsm.state.release(file)
		linger := s.hold
		if err != nil {
			linger = 0 // nobody got it, so nobody will ask for what follows
		}
		s.logs.release(hold, linger)
		s.log.Info("snapshot stream ended", "index", m.index, "bytes", n, "of", size, "error", err)
	}()
	return st, metaOf(snapshotID, m, size), nil
}

// stream hands out the bytes of a read transaction. It ends by itself when nobody reads: an open transaction keeps the
// state file from reusing pages, and raft's own limit grows with the size.
type stream struct {
	r     *io.PipeReader
	timer *time.Timer
	stall time.Duration
	done  chan struct{}
}

// Read reads the copy's next bytes.
func (s *stream) Read(p []byte) (int, error) {
	s.timer.Reset(s.stall)
	return s.r.Read(p)
}

// Close ends the stream and its transaction.
func (s *stream) Close() error {
	s.timer.Stop()
	err := s.r.Close()
	<-s.done
	return err
}

// Create prepares for a local snapshot (nothing to do: Persist lifts the position) or for one of the leader (which
// writes). raft doesn't tell which it is going to be.
func (s *snapshotStore) Create(version raft.SnapshotVersion, index, term uint64, conf raft.Configuration, confIndex uint64,
	_ raft.Transport) (raft.SnapshotSink, error) {
	return &sink{store: s, want: stateMeta{index: index, term: term, conf: conf, confIndex: confIndex}}, nil
}

// localSnapshot is what raft persists from time to time in order to shorten the log.
type localSnapshot struct{ fsm *fsm }

// Persist lifts the state's position to raft's.
func (l localSnapshot) Persist(to raft.SnapshotSink) error {
	s, ok := to.(*sink)
	if !ok {
		return fmt.Errorf("persist into %T", to)
	}
	return l.fsm.lift(s.want.index, s.want.term)
}

// Release has nothing to let go.
func (localSnapshot) Release() {}

// sink receives a snapshot into a temporary file.
type sink struct {
	store *snapshotStore
	want  stateMeta
	mu    sync.Mutex // guards what follows: raft may cancel while it copies
	file  *os.File
	bytes int64
	ended bool
}

// install is a received and checked snapshot, about to become the state.
type install struct {
	path string
	meta stateMeta
}

func (in *install) discard() error {
	if err := os.Remove(in.path); err != nil {
		return fmt.Errorf("remove a snapshot: %w", err)
	}
	return nil
}

// ID tells raft what to Open.
func (s *sink) ID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file != nil || s.bytes > 0 {
		return installID
	}
	return snapshotID
}

// Write takes the next bytes of a leader's snapshot.
func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return 0, os.ErrClosed
	}
	if s.file == nil {
		if err := s.beginLocked(); err != nil {
			return 0, err
		}
	}
	if s.bytes/spaceStep != (s.bytes+int64(len(p)))/spaceStep && s.store.space.tight(0) {
		return 0, errFollowerFull
	}
	n, err := s.file.Write(p)
	s.bytes += int64(n)
	s.store.fsm.incoming.set(s.want.index, s.bytes)
	return n, err
}

func (s *sink) beginLocked() error {
	if err := s.store.fsm.checkInstall(s.want.index); err != nil {
		return err
	}
	path := s.store.fsm.dir.file(installName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return fmt.Errorf("receive a snapshot: %w", err)
	}
	s.file = f
	return nil
}

// Close finishes the snapshot: it is on disk, is a state file and is at the position that the leader said.
func (s *sink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || s.file == nil {
		s.ended = true
		return nil
	}
	s.ended = true
	s.store.fsm.incoming.set(0, 0)
	in, err := s.finishLocked()
	if err != nil {
		return errors.Join(fmt.Errorf("received snapshot: %w", err), os.Remove(s.file.Name()))
	}
	s.store.fsm.pendingMu.Lock()
	defer s.store.fsm.pendingMu.Unlock()
	s.store.fsm.pending = in
	return nil
}

func (s *sink) finishLocked() (*install, error) {
	path := s.file.Name()
	if err := errors.Join(s.file.Sync(), s.file.Close()); err != nil {
		return nil, err
	}
	var meta stateMeta
	err := guardDamage(path, func() error {
		db, err := bbolt.Open(path, fileMode, &bbolt.Options{ReadOnly: true, Timeout: lockTimeout})
		if err != nil {
			return err
		}
		meta, err = checkState(db)
		return errors.Join(err, db.Close())
	})
	if err != nil {
		return nil, err
	}
	if meta.index != s.want.index || meta.term != s.want.term || meta.confIndex != s.want.confIndex {
		return nil, fmt.Errorf("it is at entry %d of term %d, announced was entry %d of term %d",
			meta.index, meta.term, s.want.index, s.want.term)
	}
	return &install{path: path, meta: meta}, nil
}

// Cancel forgets what was received.
func (s *sink) Cancel() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || s.file == nil {
		s.ended = true
		return nil
	}
	s.ended = true
	s.store.fsm.incoming.set(0, 0)
	return errors.Join(s.file.Close(), os.Remove(s.file.Name()))
}
