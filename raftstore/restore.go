package raftstore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

// Rebuild says what a node is to be that goes on alone, after a backup was restored or its cluster lost the majority.
type Rebuild struct {
	// Node is the node's name; Address where others reach it (it is corrected when the node runs with another).
	Node    NodeID
	Address string
	// Program is this program's version.
	Program string
	// Renew is called in the transaction that makes the node one of its own. It must see to it that nobody takes the new
	// history for the old one's. A change of the history is why there is no default.
	Renew func(*bbolt.Tx) error
}

func (r *Rebuild) check() error {
	if r.Node == "" || len(r.Node) > maxNodeName || r.Address == "" || r.Renew == nil {
		return fmt.Errorf("a node needs a name of at most %d bytes, an address and a new history", maxNodeName)
	}
	return nil
}

func (r *Rebuild) members() raft.Configuration {
	return raft.Configuration{Servers: []raft.Server{{ID: raft.ServerID(r.Node), Address: raft.ServerAddress(r.Address)}}}
}

// RestoreBackup makes a data directory of a new cluster, of one node, out of a backup. It refuses a directory that has data.
// If it fails or is interrupted, the directory can't be opened and is to be removed.
func RestoreBackup(dir string, from io.Reader, to Rebuild) (BackupInfo, error) {
	info, err := restoreBackup(dir, from, to)
	if err != nil {
		return info, fmt.Errorf("restore a backup into %s: %w", dir, err)
	}
	return info, nil
}

func restoreBackup(dir string, from io.Reader, to Rebuild) (info BackupInfo, err error) {
	if err := to.check(); err != nil {
		return info, err
	}
	if exists(filepath.Join(dir, versionName)) {
		return info, errors.New("the directory has data")
	}
	d, err := openDataDir(dir, to.Node, to.Program)
	if err != nil {
		return info, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	tmp := d.file(stateName(1) + newSuffix)
	if info, err = receiveBackup(tmp, from); err != nil {
		return info, errors.Join(err, os.Remove(tmp), os.Remove(d.file(versionName)))
	}
	if err := makeAlone(tmp, to, &info); err != nil {
		return info, errors.Join(err, os.Remove(tmp), os.Remove(d.file(versionName)))
	}
	// The state comes first: a directory with a state and no log is refused at a start.
	if err := d.rename(tmp, stateName(1)); err != nil {
		return info, err
	}
	log, err := openLog(d)
	if err != nil {
		return info, err
	}
	// The node's first election is in a later term than anything in the state.
	err = log.SetUint64([]byte(keyCurrentTerm), info.Term+1)
	return info, errors.Join(err, log.Close(), d.sync())
}

func receiveBackup(path string, from io.Reader) (BackupInfo, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return BackupInfo{}, err
	}
	info, err := readBackup(from, f)
	return info, errors.Join(err, f.Sync(), f.Close())
}

// makeAlone makes a node the only member in a state file.
func makeAlone(path string, to Rebuild, info *BackupInfo) error {
	return editState(path, func(tx *bbolt.Tx, m *stateMeta) error {
		if m.index != info.Index || m.term != info.Term {
			return fmt.Errorf("the state is at entry %d of term %d, the backup says entry %d of term %d", m.index, m.term, info.Index, info.Term)
		}
		return becomeAlone(tx, m, to)
	})
}

func becomeAlone(tx *bbolt.Tx, m *stateMeta, to Rebuild) error {
	if err := noteRemoved(tx, m.conf, to.members()); err != nil {
		return err
	}
	m.conf, m.confIndex = to.members(), m.index
	if err := errors.Join(writePosition(tx, m), writeMembers(tx, m)); err != nil {
		return err
	}
	if err := to.Renew(tx); err != nil {
		return fmt.Errorf("begin a new history: %w", err)
	}
	return nil
}

// editState changes a state file that nobody uses.
func editState(path string, change func(*bbolt.Tx, *stateMeta) error) error {
	return guardDamage(path, func() error {
		db, err := bbolt.Open(path, fileMode, &bbolt.Options{Timeout: lockTimeout, FreelistType: bbolt.FreelistMapType})
		if err != nil {
			return err
		}
		m, err := checkState(db)
		if err == nil {
			err = db.Update(func(tx *bbolt.Tx) error { return change(tx, &m) })
		}
		return errors.Join(err, db.Close())
	})
}

// Recovery says what Recover found and did.
type Recovery struct {
	Former  []Member // of the cluster, as far as this node knew
	Applied uint64   // entries in the state
	Log     uint64   // entries in the log; those beyond Applied count as committed now, whether they were or not
	Term    uint64   // the term from which the node goes on
}

// Recover makes a stopped node a cluster of its own, because the majority of the others is lost for good. What they
// acknowledged and this node never got is lost; run it on the node with the longest log. The others must never come back as
// they are: their data is to be removed before they join anew. It may be run again if it was interrupted.
func Recover(dir string, to Rebuild) (Recovery, error) {
	r, err := recoverNode(dir, to)
	if err != nil {
		return r, fmt.Errorf("recover %s: %w", dir, err)
	}
	return r, nil
}

func recoverNode(dir string, to Rebuild) (r Recovery, err error) {
	if err := to.check(); err != nil {
		return r, err
	}
	if !exists(filepath.Join(dir, versionName)) || !exists(filepath.Join(dir, logName)) {
		return r, errors.New("there is no node's data here")
	}
	d, err := openDataDir(dir, to.Node, to.Program)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	gens, err := d.stateFiles()
	if err != nil || len(gens) == 0 {
		return r, errors.Join(err, errors.New("there is no state here"))
	}
	bolt, err := openLog(d)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, bolt.Close()) }()
	path := d.file(stateName(gens[len(gens)-1]))
	if r, err = inspect(path, bolt); err != nil {
		return r, err
	}
	err = editState(path, func(tx *bbolt.Tx, m *stateMeta) error {
		var former raft.Configuration // the log may know of members that the state doesn't yet
		for _, member := range r.Former {
			former.Servers = append(former.Servers, raft.Server{ID: raft.ServerID(member.ID)})
		}
		return errors.Join(noteRemoved(tx, former, to.members()), becomeAlone(tx, m, to))
	})
	if err != nil {
		return r, err
	}
	// The configuration also goes to the end of the log, as an older one may be in it behind the state.
	if err := bolt.SetUint64([]byte(keyCurrentTerm), r.Term); err != nil {
		return r, err
	}
	return r, bolt.StoreLog(&raft.Log{Index: r.Log + 1, Term: r.Term, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(to.members())})
}

// inspect brings log and state together as a start would, and reads what there is.
func inspect(path string, bolt *raftboltdb.BoltStore) (r Recovery, err error) {
	var meta stateMeta
	if err := editState(path, func(_ *bbolt.Tx, m *stateMeta) error { meta = *m; return nil }); err != nil {
		return r, err
	}
	logs := offlineLog(bolt)
	if err := reconcile(logs, meta); err != nil {
		return r, err
	}
	conf, err := latestConfiguration(logs, meta)
	if err != nil {
		return r, err
	}
	for _, m := range conf.Servers {
		r.Former = append(r.Former, Member{NodeID(m.ID), string(m.Address)})
	}
	last, err := logs.LastIndex()
	if err != nil {
		return r, err
	}
	term, err := logs.GetUint64([]byte(keyCurrentTerm))
	if err != nil {
		return r, fmt.Errorf("read raft's term: %w", err)
	}
	r.Applied, r.Log, r.Term = meta.index, max(last, meta.index), term+1
	if r.Log == 0 {
		return r, errors.New("this node has never been part of a cluster")
	}
	return r, nil
}

// offlineLog is the log of a node that isn't running: errors are returned, not fatal.
func offlineLog(bolt *raftboltdb.BoltStore) *logStore {
	return &logStore{bolt: bolt, fail: func(error) {}, holds: make(map[*logHold]struct{})}
}
