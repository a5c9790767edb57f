package raftstore

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/bbolt"
)

// damages is what a running node does when a page of its files is not what it wrote. bbolt panics on such a page, if it sees it at all; one that can't
// be read any more, or a file that was cut off, is a fault of memory, as files are mapped.
//
// Among others the node ends, for they have all that it has, and leaves a note by which the next start looks at everything before it goes on. A node
// alone goes on as long as it can execute commands: what can be read of its state is in no other place.
type damages struct {
	dir   *dataDir
	log   *slog.Logger
	fail  func(error)
	alone func() bool
	found prometheus.Counter

	mu     sync.Mutex // guards what follows
	looked time.Time  // at the whole state, because of a panic
	torn   bool       // a write was broken off: nothing can be closed any more
}

// lookAgain is how long a panic that was not damage is believed to be none: looking takes long.
const lookAgain = time.Minute

func newDamages(s *Store) *damages {
	return &damages{dir: s.dir, log: s.log, fail: s.fail,
		found: prometheus.NewCounter(prometheus.CounterOpts{Namespace: "teamtalk", Subsystem: "raftstore", Name: "damage_found_total",
			Help: "Times a page of the state or of the log was found to be damaged while the node ran."}),
		alone: func() bool {
			r := s.acting.Load()
			return r != nil && len(r.GetConfiguration().Configuration().Servers) == 1
		}}
}

// alert makes faults of memory panics, on this goroutine until calm is called.
func alert() (calm func()) {
	before := debug.SetPanicOnFault(true)
	return func() { debug.SetPanicOnFault(before) }
}

// ending is to be deferred, after alert, by what a node can't do without: a panic that damage caused becomes an error, which ends the node.
func (d *damages) ending(path string, writes bool, err *error) {
	r := recover() //nolint:revive // deferred by its callers
	if r == nil {
		return
	}
	if d == nil { // nothing runs yet: whoever opens the files says so
		panic(r)
	}
	if fault, inBolt := panicOrigin(r); !fault && !inBolt {
		panic(r)
	}
	d.mu.Lock()
	d.torn = d.torn || writes
	d.mu.Unlock()
	*err = d.note(path, fmt.Errorf("%v", r))
	d.fail(*err)
}

// reading is to be deferred, after alert, by what reads a state file. Panics in bbolt that damage did not cause go on: a mistake in what reads costs one
// request, not the node.
func (d *damages) reading(db *bbolt.DB, err *error) {
	r := recover() //nolint:revive // deferred by its callers
	if r == nil {
		return
	}
	fault, inBolt := panicOrigin(r)
	if !fault && !(inBolt && d.look(db) != nil) {
		panic(r)
	}
	*err = d.report(db.Path(), fmt.Errorf("%v", r))
}

// position is readMeta while the node runs.
func (d *damages) position(db *bbolt.DB, tx *bbolt.Tx) (m stateMeta, err error) {
	calm := alert()
	defer calm()
	defer d.reading(db, &err)
	return readMeta(tx)
}

// report has the consequences of damage that somebody has read.
func (d *damages) report(path string, why error) error {
	err := d.note(path, why)
	if !d.alone() {
		d.fail(err)
	}
	return unavailable("the state of this node is damaged", err)
}

func (d *damages) note(path string, why error) error {
	err := fmt.Errorf("%s was damaged while this node ran: %w; %w", path, why, ErrDamaged)
	d.found.Inc()
	d.log.Error("a file of this node is damaged", "error", err)
	return err
}

// look looks at the whole state after a panic; nil: it is not damaged, or was not a moment ago.
func (d *damages) look(db *bbolt.DB) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.looked.IsZero() && time.Since(d.looked) < lookAgain {
		return nil
	}
	err := checkWhole(db)
	if err == nil {
		d.looked = time.Now()
	}
	return err
}

// isTorn reports whether a write was broken off. bbolt may hold its lock for ever then.
func (d *damages) isTorn() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.torn
}

// checkWhole looks at every page of a state file that is in use.
func checkWhole(db *bbolt.DB) error {
	return guardDamage(db.Path(), func() error {
		return db.View(func(tx *bbolt.Tx) error { return tx.ForEach(walkBucket) })
	})
}

// panicOrigin says where a panic comes from: from a fault of memory, or from bbolt. It is called by a deferred function.
func panicOrigin(r any) (fault, inBolt bool) {
	if at, ok := r.(interface{ Addr() uintptr }); ok && at != nil {
		return true, false
	}
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs)])
	for panicked := false; ; {
		f, more := frames.Next()
		switch {
		case f.Function == "runtime.gopanic":
			panicked = true
		case panicked && !strings.HasPrefix(f.Function, "runtime."):
			return false, strings.HasPrefix(f.Function, "go.etcd.io/bbolt")
		}
		if !more {
			return false, false
		}
	}
}

// markDamaged leaves a note for the next start.
func (d *dataDir) markDamaged(why error) error {
	if err := os.WriteFile(d.file(damagedName), []byte(why.Error()+"\n"), fileMode); err != nil {
		return fmt.Errorf("note the damage: %w", err)
	}
	return d.sync()
}

// damagedBefore is what was noted when the node last ended; "": nothing.
func (d *dataDir) damagedBefore() (string, error) {
	b, err := os.ReadFile(d.file(damagedName))
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(b)), err
}

// recheck looks at everything if the node ended because of damage. What only could not be read for a while, or came from elsewhere, is no reason not
// to start.
func (s *Store) recheck() error {
	before, err := s.dir.damagedBefore()
	if err != nil || before == "" {
		return err
	}
	file := s.state.acquire()
	defer s.state.release(file)
	if err := errors.Join(checkWhole(file.db), s.logs.checkEntries()); err != nil {
		return fmt.Errorf("%w (this node ended because of damage: %s); %w", err, before, ErrDamaged)
	}
	s.log.Warn("this node ended because of damage, of which nothing is to be found: it goes on", "node", s.cfg.NodeID, "damage", before)
	if err := os.Remove(s.dir.file(damagedName)); err != nil {
		return fmt.Errorf("remove the note of damage: %w", err)
	}
	return s.dir.sync()
}

// checkEntries reads every entry of the log.
func (l *logStore) checkEntries() error {
	first, err := l.FirstIndex()
	if err != nil || first == 0 {
		return err
	}
	last, err := l.LastIndex()
	if err != nil {
		return err
	}
	return checkTail(l, first, last)
}
