package raftstore

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"go.etcd.io/bbolt"
)

// stateSet is the state file in use and the former ones that somebody still reads.
type stateSet struct {
	mu      sync.Mutex // guards all below and the counts in the files
	cur     *stateFile
	closing sync.WaitGroup
	onClose func(path string, err error)
}

// stateFile is one generation of the state. It is closed when it is retired and nobody uses it any more: bbolt's own
// Close would wait for its readers while blocking new ones.
type stateFile struct {
	gen     uint64
	db      *bbolt.DB
	users   int
	retired bool
	idle    chan struct{} // closed when retired and unused
}

func newStateFile(gen uint64, db *bbolt.DB) *stateFile {
	return &stateFile{gen: gen, db: db, idle: make(chan struct{})}
}

// acquire returns the current file, which stays open until release; nil once closed.
func (s *stateSet) acquire() *stateFile {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cur != nil {
		s.cur.users++
	}
	return s.cur
}

func (s *stateSet) release(f *stateFile) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.users--
	f.maybeIdleLocked()
}

func (f *stateFile) maybeIdleLocked() {
	if f.retired && f.users == 0 {
		close(f.idle)
	}
}

// swap makes next the current file (nil: none) and closes the former in the background, removing it if remove is set.
// wait joins that.
func (s *stateSet) swap(next *stateFile, remove bool) {
	s.mu.Lock()
	old := s.cur
	s.cur = next
	if old != nil {
		old.retired = true
		old.maybeIdleLocked()
		s.closing.Add(1)
	}
	s.mu.Unlock()
	if old == nil {
		return
	}
	go func() { // ends when the last reader of the former file has ended; joined by wait
		defer s.closing.Done()
		<-old.idle
		path := old.db.Path()
		err := old.db.Close()
		if remove {
			err = errors.Join(err, os.Remove(path))
		}
		s.onClose(path, err)
	}()
}

func (s *stateSet) wait() { s.closing.Wait() }

// openCurrent opens the newest generation (making the first, if there is none) and removes older ones, which are
// leftovers of a crash during an install: a newer one is only put in place when it is complete.
func (d *dataDir) openCurrent(mapSize int, m Machine) (*stateFile, stateMeta, error) {
	gens, err := d.stateFiles()
	if err != nil {
		return nil, stateMeta{}, err
	}
	if len(gens) == 0 && exists(d.file(logName)) { // the state comes first into a new directory
		return nil, stateMeta{}, fmt.Errorf("%s is missing, and %s is there: the state was lost; %w", d.file(stateName(1)), logName, ErrDamaged)
	}
	if len(gens) == 0 {
		if err := d.createState(); err != nil {
			return nil, stateMeta{}, err
		}
		gens = []uint64{1}
	}
	newest := gens[len(gens)-1]
	db, meta, err := openStateDB(d.file(stateName(newest)), mapSize, m)
	if err != nil {
		return nil, meta, err
	}
	for _, gen := range gens[:len(gens)-1] {
		if err := os.Remove(d.file(stateName(gen))); err != nil {
			return nil, meta, errors.Join(fmt.Errorf("remove a former state file: %w", err), db.Close())
		}
	}
	return newStateFile(newest, db), meta, nil
}
