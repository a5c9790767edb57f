package raftstore

import (
	"bytes"
	"errors"
	"hash/crc32"
	"time"

	"go.etcd.io/bbolt"
)

const (
	// patrolRows is how many rows are read at a time, and patrolBytes at most of them, in a transaction that does not keep pages from being reused.
	patrolRows  = 1000
	patrolBytes = 1 << 20
	patrolPause = 50 * time.Millisecond
)

// patrol reads the whole state from time to time, as pages that nobody asks for may be damaged for long. Close ends it.
func (s *Store) patrol() {
	defer s.trims.Done()
	pause := time.NewTimer(s.cfg.Tuning.CheckEvery)
	defer pause.Stop()
	for at := (round{}); ; {
		select {
		case <-pause.C:
		case <-s.closed:
			return
		}
		err := s.View(at.read)
		switch {
		case err == nil && !at.done:
			pause.Reset(patrolPause)
			continue
		case errors.Is(err, errOutOfOrder):
			s.fsm.damages.report(s.statePath(), err) //nolint:errcheck // it has had its consequences
		case err == nil:
			s.log.Debug("the state was read, and no damage found", "rows", at.rows)
		}
		at = round{}
		pause.Reset(s.cfg.Tuning.CheckEvery)
	}
}

func (s *Store) statePath() string {
	f := s.state.acquire()
	if f == nil {
		return s.dir.path
	}
	defer s.state.release(f)
	return f.db.Path()
}

var errOutOfOrder = errors.New("keys are out of order")

// round is how far the patrol has come.
type round struct {
	bucket, key []byte // read last; nil: none
	rows        int
	sum         uint32 // nobody wants it; but so every byte is read
	done        bool
}

// read reads the next rows.
func (r *round) read(tx *bbolt.Tx) error {
	rows, size := 0, 0
	buckets := tx.Cursor()
	name, _ := buckets.Seek(r.bucket)
	for ; name != nil; name, _ = buckets.Next() {
		b := tx.Bucket(name)
		if b == nil {
			continue
		}
		if !bytes.Equal(name, r.bucket) {
			r.bucket, r.key = bytes.Clone(name), nil
		}
		c := b.Cursor()
		k, v := c.Seek(r.key)
		if k != nil && bytes.Equal(k, r.key) {
			k, v = c.Next()
		}
		for before := r.key; k != nil; k, v = c.Next() {
			if before != nil && bytes.Compare(before, k) >= 0 {
				return errOutOfOrder
			}
			before = k
			r.sum = crc32.Update(r.sum, crc32.IEEETable, v)
			r.rows++
			size += len(k) + len(v)
			if rows++; rows >= patrolRows || size >= patrolBytes {
				r.key = bytes.Clone(k)
				return nil
			}
		}
	}
	r.done = true
	return nil
}
