package raftstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sort"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
)

const (
	statePrefix = "state-"
	stateSuffix = ".db"
	stateFormat = 1
	lockTimeout = time.Second
	fileMode    = 0o600
)

func engineBucket() []byte { return []byte("_engine") }
func keyFormat() []byte    { return []byte("format") }
func keyPosition() []byte  { return []byte("position") }
func keyMembers() []byte   { return []byte("members") }
func keyForget() []byte    { return []byte("forget") }

// stateMeta is what the state file says of itself: which entry it holds last, and the configuration in force there.
type stateMeta struct {
	index, term uint64
	confIndex   uint64
	conf        raft.Configuration
	forget      uint64 // the log up to here holds content that was deleted; 0: none does
	forgetMs    int64  // when the last of it was, in log time
}

// readMeta reads the engine's bucket.
func readMeta(tx *bbolt.Tx) (m stateMeta, err error) {
	b := tx.Bucket(engineBucket())
	if b == nil {
		return m, errors.New("not a state file: the engine's bucket is missing")
	}
	if f := b.Get(keyFormat()); len(f) != 1 || f[0] == 0 {
		return m, errors.New("format of the state file is damaged")
	} else if f[0] > stateFormat {
		return m, fmt.Errorf("the state file has format %d, this program knows formats up to %d: run the newer version", f[0], stateFormat)
	}
	p := b.Get(keyPosition())
	if len(p) != 24 {
		return m, errors.New("position in the state file is damaged")
	}
	m.index, m.term, m.confIndex = binary.BigEndian.Uint64(p), binary.BigEndian.Uint64(p[8:]), binary.BigEndian.Uint64(p[16:])
	if f := b.Get(keyForget()); len(f) == 16 {
		m.forget, m.forgetMs = binary.BigEndian.Uint64(f), int64(binary.BigEndian.Uint64(f[8:]))
	} else if f != nil {
		return m, errors.New("what is to be forgotten is damaged in the state file")
	}
	m.conf, err = decodeConfiguration(b.Get(keyMembers()))
	return m, err
}

// writePosition notes the last entry that the transaction holds.
func writePosition(tx *bbolt.Tx, m *stateMeta) error {
	p := make([]byte, 0, 24)
	p = binary.BigEndian.AppendUint64(p, m.index)
	p = binary.BigEndian.AppendUint64(p, m.term)
	p = binary.BigEndian.AppendUint64(p, m.confIndex)
	return tx.Bucket(engineBucket()).Put(keyPosition(), p)
}

// writeForget notes up to where the log has to be emptied.
func writeForget(tx *bbolt.Tx, m *stateMeta) error {
	f := make([]byte, 0, 16)
	f = binary.BigEndian.AppendUint64(f, m.forget)
	f = binary.BigEndian.AppendUint64(f, uint64(m.forgetMs))
	return tx.Bucket(engineBucket()).Put(keyForget(), f)
}

func writeMembers(tx *bbolt.Tx, m *stateMeta) error {
	return tx.Bucket(engineBucket()).Put(keyMembers(), raft.EncodeConfiguration(m.conf))
}

// removedPrefix begins the keys of members of before. They stay for ever, as node ids do not come back.
const removedPrefix = "removed "

// noteRemoved keeps the ids of members that another configuration does not have any more.
func noteRemoved(tx *bbolt.Tx, before, now raft.Configuration) error {
	for _, m := range before.Servers {
		if slices.ContainsFunc(now.Servers, func(s raft.Server) bool { return s.ID == m.ID }) {
			continue
		}
		if err := tx.Bucket(engineBucket()).Put([]byte(removedPrefix+string(m.ID)), []byte{1}); err != nil {
			return fmt.Errorf("note that node %s was removed: %w", m.ID, err)
		}
	}
	return nil
}

// Removed reports whether a node was a member and is none any more, as far as this node has executed the log. One that is behind does not
// refuse newcomers that it has not read of.
func (s *Store) Removed(id NodeID) (removed bool) {
	err := s.View(func(tx *bbolt.Tx) error {
		removed = tx.Bucket(engineBucket()).Get([]byte(removedPrefix+string(id))) != nil
		return nil
	})
	return removed && err == nil
}

// decodeConfiguration is raft's, without its panic.
func decodeConfiguration(b []byte) (c raft.Configuration, err error) {
	if len(b) == 0 {
		return c, nil
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("cluster configuration is damaged: %v", r)
		}
	}()
	return raft.DecodeConfiguration(b), nil
}

// stateFiles lists the generations that exist, oldest first.
func (d *dataDir) stateFiles() ([]uint64, error) {
	names, err := filepath.Glob(filepath.Join(globEscape(d.path), statePrefix+"*"+stateSuffix))
	if err != nil {
		return nil, fmt.Errorf("list state files: %w", err)
	}
	var gens []uint64
	for _, n := range names {
		var gen uint64
		if _, err := fmt.Sscanf(filepath.Base(n), statePrefix+"%d"+stateSuffix, &gen); err == nil {
			gens = append(gens, gen)
		}
	}
	sort.Slice(gens, func(i, j int) bool { return gens[i] < gens[j] })
	return gens, nil
}

// globEscape keeps characters of the directory's own name from being taken for a pattern.
func globEscape(path string) string {
	out := make([]byte, 0, len(path))
	for _, c := range []byte(path) {
		if c == '*' || c == '?' || c == '[' || c == '\\' {
			out = append(out, '\\')
		}
		out = append(out, c)
	}
	return string(out)
}

func stateName(gen uint64) string { return fmt.Sprintf("%s%06d%s", statePrefix, gen, stateSuffix) }

// createState makes the first, empty state file; under another name first, so that a crash leaves none or a whole one.
func (d *dataDir) createState() error {
	tmp := d.file(stateName(1) + newSuffix)
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("create state file: %w", err)
	}
	db, err := bbolt.Open(tmp, fileMode, &bbolt.Options{Timeout: lockTimeout})
	if err != nil {
		return fmt.Errorf("create state file: %w", err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket(engineBucket())
		if err != nil {
			return err
		}
		if err := b.Put(keyFormat(), []byte{stateFormat}); err != nil {
			return err
		}
		return writePosition(tx, &stateMeta{})
	})
	if err := errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("create state file: %w", err)
	}
	return d.rename(tmp, stateName(1))
}

// openStateDB opens a state file and lets the machine look at it. A damaged file is an error that names it, not a panic.
func openStateDB(path string, mapSize int, m Machine) (db *bbolt.DB, meta stateMeta, err error) {
	err = guardDamage(path, func() error {
		size := mapSize
		if fi, err := os.Stat(path); err == nil {
			size = max(size, 2*int(fi.Size()))
		}
		var err error
		db, err = bbolt.Open(path, fileMode, &bbolt.Options{
			Timeout: lockTimeout, InitialMmapSize: size, FreelistType: bbolt.FreelistMapType,
		})
		if err != nil {
			return err
		}
		if meta, err = checkState(db); err == nil && m != nil {
			err = db.Update(m.Open)
		}
		if err != nil {
			err = errors.Join(err, db.Close())
		}
		return err
	})
	return db, meta, err
}

// checkState reads the position and sees that the file is as long as it should be.
func checkState(db *bbolt.DB) (meta stateMeta, err error) {
	err = db.View(func(tx *bbolt.Tx) error {
		fi, err := os.Stat(db.Path())
		if err != nil {
			return err
		}
		if fi.Size() < tx.Size() {
			return fmt.Errorf("the file was cut off: %d bytes of %d", fi.Size(), tx.Size())
		}
		meta, err = readMeta(tx)
		return err
	})
	return meta, err
}

// guardDamage runs open and turns what damaged pages cause (panics of bbolt, faults beyond the file's end) into an error.
func guardDamage(path string, open func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
		if err == nil {
			return
		}
		if errors.Is(err, os.ErrPermission) || errors.Is(err, os.ErrNotExist) {
			err = fmt.Errorf("open %s: %w", path, err)
			return
		}
		if errors.Is(err, ErrDamaged) {
			err = fmt.Errorf("%s can't be used: %w", path, err)
			return
		}
		err = fmt.Errorf("%s can't be used: %w; if the file is damaged: %w", path, err, ErrDamaged)
	}()
	return open()
}
