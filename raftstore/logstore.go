package raftstore

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

const (
	cachedLogs    = 64
	cachedLogSize = 128 << 10 // larger entries are not cached
	keptLogs      = 16        // stay even if they are larger than Tuning.TrailingBytes
)

// logStore is raft's log, term and vote in one bbolt file, with what our kind of snapshot needs: the log may only lose
// entries that the state holds on disk, and none that a follower needs after a snapshot that is being streamed to it.
type logStore struct {
	bolt    *raftboltdb.BoltStore
	path    string
	damages *damages
	fail    func(error)   // stops the node: a write failed, nothing is certain
	durable func() uint64 // last index in the fsynced state
	leading func() bool
	space   *spaceGuard
	health  *diskHealth // nil: nobody asks
	clock   func() time.Time
	limit   int64         // bytes to keep
	large   chan struct{} // holds a token when there are more

	mu     sync.Mutex // guards what follows
	recent [cachedLogs]*raft.Log
	sizes  []logSize // of the entries written since the start, in order
	bytes  int64     // their sum
	holds  map[*logHold]struct{}
	// cut is set between a truncation and the append that follows: to refuse the second would leave raft with a wrong
	// idea of its last entry.
	cut bool
}

type logSize struct {
	index uint64
	bytes int64
}

// logHold keeps the log from losing index and what follows.
type logHold struct {
	index uint64    // 0: not known yet, keeps everything
	until time.Time // zero: until released
}

func openLog(d *dataDir) (*raftboltdb.BoltStore, error) {
	path := d.file(logName)
	if !exists(path) {
		fresh, err := openBolt(path + newSuffix)
		if err != nil {
			return nil, err
		}
		if err := fresh.Close(); err != nil {
			return nil, fmt.Errorf("create raft log: %w", err)
		}
		if err := d.rename(path+newSuffix, logName); err != nil {
			return nil, err
		}
	}
	return openBolt(path)
}

// openBolt opens the file without a freelist on disk: the log is small enough to find its free pages by looking.
func openBolt(path string) (s *raftboltdb.BoltStore, err error) {
	err = guardDamage(path, func() error {
		if err := checkLog(path); err != nil {
			return err
		}
		var err error
		s, err = raftboltdb.New(raftboltdb.Options{Path: path, BoltOptions: &bbolt.Options{
			Timeout: lockTimeout, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType, InitialMmapSize: 1 << 30,
		}})
		return err
	})
	return s, err
}

// checkLog looks at every page of the file before it is opened for writing. There bbolt searches it for free pages in
// a goroutine of its own, where a damaged page would be a panic that nobody can catch.
func checkLog(path string) error {
	fi, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) || err == nil && fi.Size() == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	db, err := bbolt.Open(path, fileMode, &bbolt.Options{ReadOnly: true, Timeout: lockTimeout})
	if err != nil {
		return err
	}
	err = db.View(func(tx *bbolt.Tx) error {
		if fi.Size() < tx.Size() {
			return fmt.Errorf("the file was cut off: %d bytes of %d", fi.Size(), tx.Size())
		}
		return tx.ForEach(walkBucket)
	})
	return errors.Join(err, db.Close())
}

// walkBucket touches all pages of a bucket, values at both ends; keys must rise.
func walkBucket(name []byte, b *bbolt.Bucket) error {
	var before []byte
	var touched byte
	return b.ForEach(func(k, v []byte) error {
		if before != nil && bytes.Compare(before, k) >= 0 {
			return fmt.Errorf("keys of bucket %q are out of order", name)
		}
		if nested := b.Bucket(k); v == nil && nested != nil {
			return walkBucket(k, nested)
		}
		if before = k; len(v) > 0 {
			touched ^= v[0] ^ v[len(v)-1]
		}
		return nil
	})
}

// IsMonotonic tells raft to drop the whole log after an installed snapshot rather than leave a gap.
func (l *logStore) IsMonotonic() bool { return true }

// FirstIndex is the first entry's index, 0 if there is none.
func (l *logStore) FirstIndex() (index uint64, err error) {
	err = l.safely(false, func() (err error) { index, err = l.bolt.FirstIndex(); return err })
	return index, err
}

// LastIndex is the last entry's index, 0 if there is none.
func (l *logStore) LastIndex() (index uint64, err error) {
	err = l.safely(false, func() (err error) { index, err = l.bolt.LastIndex(); return err })
	return index, err
}

// safely is what touches the file.
func (l *logStore) safely(writes bool, fn func() error) (err error) {
	calm := alert()
	defer calm()
	defer l.damages.ending(l.path, writes, &err)
	return fn()
}

// GetLog reads an entry. A damaged one stops the node here, as raft would panic.
func (l *logStore) GetLog(index uint64, log *raft.Log) error {
	l.mu.Lock()
	if c := l.recent[index%cachedLogs]; c != nil && c.Index == index {
		*log = *c
		l.mu.Unlock()
		return nil
	}
	l.mu.Unlock()
	err := l.safely(false, func() error { return l.bolt.GetLog(index, log) })
	if err == nil && log.Type == raft.LogCommand {
		if err = checkEntry(log.Data); err != nil { // a follower that is sent a damaged one would be stopped by it, and this node not
			err = fmt.Errorf("it is damaged: %w; %w", err, ErrDamaged)
		}
	}
	if err != nil && !errors.Is(err, raft.ErrLogNotFound) {
		err = fmt.Errorf("raft log: entry %d can't be read: %w", index, err)
		l.fail(err)
	}
	return err
}

// StoreLog appends an entry.
func (l *logStore) StoreLog(log *raft.Log) error { return l.StoreLogs([]*raft.Log{log}) }

// StoreLogs appends entries durably. A follower whose disk gets full refuses before it writes anything.
func (l *logStore) StoreLogs(logs []*raft.Log) error {
	total := 0
	for _, log := range logs {
		total += len(log.Data)
	}
	l.mu.Lock()
	cut := l.cut
	l.cut = false
	l.mu.Unlock()
	if !cut && l.refuses(total) {
		return errFollowerFull
	}
	l.health.begin(ofLog, time.Now())
	err := l.safely(true, func() error { return l.bolt.StoreLogs(logs) })
	l.health.end(ofLog, time.Now())
	if err != nil {
		err = fmt.Errorf("write raft log: %w", err)
		l.fail(err)
		return err
	}
	l.mu.Lock()
	for _, log := range logs {
		l.noteLocked(log)
	}
	over := l.bytes > l.limit
	l.mu.Unlock()
	if over {
		select {
		case l.large <- struct{}{}:
		default:
		}
	}
	return nil
}

var errFollowerFull = fmt.Errorf("no entries are taken until space returns: %w", errDiskFull)

func (l *logStore) refuses(size int) bool { return !l.leading() && l.space.tight(size) }

func (l *logStore) noteLocked(log *raft.Log) {
	size := int64(len(log.Data)) + 64
	l.sizes = append(l.sizes, logSize{log.Index, size})
	l.bytes += size
	l.recent[log.Index%cachedLogs] = nil
	if len(log.Data) <= cachedLogSize {
		c := *log
		l.recent[log.Index%cachedLogs] = &c
	}
}

// DeleteRange deletes a prefix (old entries; only as far as allowed), a suffix (entries that a new leader replaces) or
// everything (after a snapshot was installed). Both ends are included.
func (l *logStore) DeleteRange(low, high uint64) error {
	first, err := l.FirstIndex()
	if err != nil {
		return err
	}
	last, err := l.LastIndex()
	if err != nil {
		return err
	}
	switch {
	case first == 0:
		return nil
	case high >= last:
		return l.deleteTail(first, low, last)
	case low <= first:
		return l.deletePrefix(first, high)
	default:
		return fmt.Errorf("raft log: refused to delete %d to %d from the middle of %d to %d", low, high, first, last)
	}
}

func (l *logStore) deleteTail(first, low, last uint64) error {
	if low > first && low <= l.durable() {
		err := fmt.Errorf("raft log: entries from %d are to be replaced, but the state holds all up to %d: this node or the leader is broken",
			low, l.durable())
		l.fail(err)
		return err
	}
	if low > first && l.refuses(0) {
		return errFollowerFull
	}
	if err := l.delete(low, last); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = true
	for len(l.sizes) > 0 && l.sizes[len(l.sizes)-1].index >= low {
		l.bytes -= l.sizes[len(l.sizes)-1].bytes
		l.sizes = l.sizes[:len(l.sizes)-1]
	}
	return nil
}

func (l *logStore) deletePrefix(first, high uint64) error {
	at := l.durable()
	if at == 0 {
		return nil
	}
	high = min(high, at-1) // raft asks for the entry at a snapshot's position when it goes on behind it
	if floor, held := l.floor(); held {
		if floor == 0 {
			return nil
		}
		high = min(high, floor-1)
	}
	if high < first {
		return nil
	}
	if err := l.delete(first, high); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for n < len(l.sizes) && l.sizes[n].index <= high {
		l.bytes -= l.sizes[n].bytes
		n++
	}
	l.sizes = append(l.sizes[:0], l.sizes[n:]...)
	return nil
}

func (l *logStore) delete(low, high uint64) error {
	l.mu.Lock()
	for i, c := range l.recent {
		if c != nil && c.Index >= low && c.Index <= high {
			l.recent[i] = nil
		}
	}
	l.mu.Unlock()
	if err := l.safely(true, func() error { return l.bolt.DeleteRange(low, high) }); err != nil {
		err = fmt.Errorf("delete from raft log: %w", err)
		l.fail(err)
		return err
	}
	return nil
}

// trim deletes the oldest entries until what is left is small enough.
func (l *logStore) trim() error {
	l.mu.Lock()
	var high uint64
	left := l.bytes
	for i := 0; i < len(l.sizes)-keptLogs && left > l.limit/2; i++ {
		left -= l.sizes[i].bytes
		high = l.sizes[i].index
	}
	l.mu.Unlock()
	first, err := l.FirstIndex()
	if err != nil || first == 0 || high == 0 {
		return err
	}
	return l.deletePrefix(first, high)
}

// hold keeps the log whole until its index is set, and from that index on until it is let go.
func (l *logStore) hold() *logHold {
	h := &logHold{}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.holds[h] = struct{}{}
	return h
}

func (l *logStore) setHold(h *logHold, index uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h.index = index
}

// release lets a hold end after linger.
func (l *logStore) release(h *logHold, linger time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if linger <= 0 {
		delete(l.holds, h)
		return
	}
	h.until = l.clock().Add(linger)
}

// floor is the lowest index that must stay.
func (l *logStore) floor() (index uint64, held bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.clock()
	for h := range l.holds {
		if !h.until.IsZero() && now.After(h.until) {
			delete(l.holds, h)
			continue
		}
		if !held || h.index < index {
			index, held = h.index, true
		}
	}
	return index, held
}

// Set stores a value of raft's own; a failure stops the node, as raft would panic.
func (l *logStore) Set(key, value []byte) error {
	return l.must(l.safely(true, func() error { return l.bolt.Set(key, value) }))
}

// SetUint64 is Set for a number.
func (l *logStore) SetUint64(key []byte, value uint64) error {
	return l.must(l.safely(true, func() error { return l.bolt.SetUint64(key, value) }))
}

func (l *logStore) must(err error) error {
	if err != nil {
		err = fmt.Errorf("write raft's term or vote: %w", err)
		l.fail(err)
	}
	return err
}

// Get reads a value; raft wants the bare "not found".
func (l *logStore) Get(key []byte) (value []byte, err error) {
	err = l.safely(false, func() (err error) { value, err = l.bolt.Get(key); return err })
	return value, err
}

// GetUint64 is Get for a number.
func (l *logStore) GetUint64(key []byte) (value uint64, err error) {
	err = l.safely(false, func() (err error) { value, err = l.bolt.GetUint64(key); return err })
	return value, err
}

func (l *logStore) close() error { return l.bolt.Close() }
