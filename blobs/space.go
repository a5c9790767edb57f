package blobs

import (
	"fmt"
	"sync/atomic"
	"syscall"

	"teamtalk/protocol"
)

const (
	// reserveFactor keeps uploads further from the end of the disk than commands: when no upload is taken any more, messages still are.
	reserveFactor = 2
	// lookEvery is how many bytes all drafts together write between two looks at the disk.
	lookEvery = 1 << 20
)

// spaceGuard refuses uploads well before the disk is full. It asks the system, so it recovers by itself when space returns.
type spaceGuard struct {
	free    func() (uint64, error)
	reserve uint64
	since   atomic.Uint64 // bytes written since the last look
	coming  coming
}

// check is nil if size more bytes may be written.
func (g *spaceGuard) check(size uint64) error {
	free, err := g.free()
	if err != nil {
		return protocol.Errorf(protocol.CodeUnavailable, "can't tell how much disk space is left: %w", err)
	}
	if free < g.reserve || free-g.reserve < size {
		return protocol.Errorf(protocol.CodeUnavailable, "%w: %d MiB are free, %d MiB must stay free", ErrDiskFull, free>>20, g.reserve>>20)
	}
	return nil
}

// wrote is told of each piece before it is written; it looks at the disk from time to time.
func (g *spaceGuard) wrote(size int) error {
	if g.since.Add(uint64(size)) < lookEvery && size < lookEvery {
		return nil
	}
	g.since.Store(0)
	return g.check(uint64(size))
}

func freeBytes(dir string) (uint64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("statfs %s: %w", dir, err)
	}
	return st.Bavail * uint64(st.Bsize), nil
}
