package raftstore

import (
	"errors"
	"fmt"
	"os"
	"time"

	"go.etcd.io/bbolt"
)

// Peek runs fn on the state of a node that is not running, or returns os.ErrNotExist where there is none. Nothing is changed.
func Peek(dir string, fn func(*bbolt.Tx) error) error {
	d := &dataDir{path: dir}
	gens, err := d.stateFiles()
	if errors.Is(err, os.ErrNotExist) || err == nil && len(gens) == 0 {
		return os.ErrNotExist
	}
	if err != nil {
		return err
	}
	path := d.file(stateName(gens[len(gens)-1]))
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: peekPatience})
	if err != nil {
		return fmt.Errorf("open %s (is a node running on it?): %w", path, err)
	}
	return errors.Join(db.View(fn), db.Close())
}

// peekPatience is how long a process that is leaving may take to let go of its file.
const peekPatience = 5 * time.Second
