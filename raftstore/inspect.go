package raftstore

import (
	"errors"
	"fmt"
	"path/filepath"
)

// Inspect tells what Recover would start from on a stopped node. Log and state are brought together, as a start would do.
func Inspect(dir string, node NodeID, program string) (r Recovery, err error) {
	if !exists(filepath.Join(dir, versionName)) || !exists(filepath.Join(dir, logName)) {
		return r, fmt.Errorf("%s: there is no node's data here", dir)
	}
	d, err := openDataDir(dir, node, program)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	gens, err := d.stateFiles()
	if err != nil || len(gens) == 0 {
		return r, errors.Join(err, fmt.Errorf("%s: there is no state here", dir))
	}
	bolt, err := openLog(d)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, bolt.Close()) }()
	return inspect(d.file(stateName(gens[len(gens)-1])), bolt)
}
