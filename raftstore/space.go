package raftstore

import (
	"fmt"
	"syscall"
)

// spaceFactor: a command is written to the log and to the state, each time with pages around it.
const spaceFactor = 4

// spaceGuard refuses writes well before the disk is full: raft can't go on when it fails to persist its term.
// It asks the system each time (a microsecond per batch), so it recovers by itself when space returns.
type spaceGuard struct {
	free    func() (uint64, error)
	reserve uint64
}

// check is nil if size more bytes may be proposed.
func (g *spaceGuard) check(size int) error {
	free, err := g.free()
	if err != nil {
		return unavailable("can't tell how much disk space is left", err)
	}
	if need := g.reserve + uint64(size)*spaceFactor; free < need {
		return unavailable(fmt.Sprintf("nothing is written until disk space returns (%d MiB are free, %d MiB must stay free)",
			free>>20, need>>20), errDiskFull)
	}
	return nil
}

// tight reports whether a follower should stop taking entries; lower than check's threshold, as the leader decides first.
func (g *spaceGuard) tight(size int) bool {
	free, err := g.free()
	return err == nil && free < g.reserve/2+uint64(size)*spaceFactor
}

// nearlyFull reports whether check will soon refuse.
func (g *spaceGuard) nearlyFull() bool {
	free, err := g.free()
	return err == nil && free < g.reserve+g.reserve/4
}

func freeBytes(dir string) (uint64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("statfs %s: %w", dir, err)
	}
	return st.Bavail * uint64(st.Bsize), nil
}
