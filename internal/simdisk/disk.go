//go:build linux

package simdisk

import (
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// A Disk is a file system in memory, mounted on a directory while it has power.
type Disk struct {
	dir    string
	server *fuse.Server // of the present mount

	mu     sync.Mutex // guards what follows, and all inodes
	root   *inode
	last   uint64        // number of the inode that was made last
	life   uint64        // which mount is the present one; those of a former one are answered EIO
	dead   chan struct{} // closed when the power goes
	used   int64         // pages that files hold now
	limit  int64         // pages that they may hold; 0: any number
	delay  time.Duration // of each fsync
	fails  bool          // fsync fails
	lies   bool          // fsync says that it has done what it has not
	counts Counts
}

// Counts is what a disk was asked to do since New.
type Counts struct {
	Writes, Syncs, DirectorySyncs int
	// Lost is how many pages and directory changes that were not synced did not survive cuts as they were last.
	Lost int
}

// New mounts an empty disk with power on a directory. Close it after the processes that use it have ended.
func New(dir string) (*Disk, error) {
	d := &Disk{dir: dir, dead: make(chan struct{})}
	d.root = d.newInode(true, 0o755)
	if err := d.mount(); err != nil {
		return nil, err
	}
	return d, nil
}

// Cut takes the power away. Of what was not synced nothing survives, or, with a source of random numbers, what that says. It may be called while
// processes use the disk: they get errors from then on, and must have ended before PowerOn.
func (d *Disk) Cut(random *rand.Rand) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.onLocked() {
		return
	}
	close(d.dead)
	d.life++
	d.used = 0
	d.surviveLocked(d.root, random)
}

// PowerOn mounts the disk again with what survived the cut.
func (d *Disk) PowerOn() error {
	if err := d.unmount(); err != nil {
		return err
	}
	d.mu.Lock()
	d.dead = make(chan struct{})
	d.mu.Unlock()
	return d.mount()
}

// Close unmounts the disk; its content is gone.
func (d *Disk) Close() error {
	d.Cut(nil)
	return d.unmount()
}

// Settle makes all durable that was written so far, as a machine does that is left alone for a minute.
func (d *Disk) Settle() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.root.walk(func(i *inode) { i.sync() })
}

// SlowSync makes each fsync take at least so long.
func (d *Disk) SlowSync(delay time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.delay = delay
}

// FailSync lets each fsync fail with EIO, or no longer.
func (d *Disk) FailSync(fails bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fails = fails
}

// LieSync lets each fsync say that it has done what it has not, or no longer: a program that never syncs is as good on it as one that does.
func (d *Disk) LieSync(lies bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lies = lies
}

// Limit says how many bytes there is room for, 0 for as many as there is memory. Files may hold more already: then nothing can be added.
func (d *Disk) Limit(bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.limit = (bytes + pageSize - 1) / pageSize
}

// Used is how many bytes the files hold.
func (d *Disk) Used() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.used * pageSize
}

// Counts is what the disk was asked to do.
func (d *Disk) Counts() Counts {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.counts
}

func (d *Disk) onLocked() bool {
	select {
	case <-d.dead:
		return false
	default:
		return true
	}
}

// sync is fsync: it takes its time, then all that the inode has so far is durable.
func (d *Disk) sync(i *inode, life uint64) syscall.Errno {
	d.mu.Lock()
	delay, dead := d.delay, d.dead
	d.mu.Unlock()
	if delay > 0 {
		t := time.NewTimer(delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-dead:
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if life != d.life || !d.onLocked() || d.fails {
		return syscall.EIO
	}
	if d.counts.Syncs++; i.folder {
		d.counts.DirectorySyncs++
	}
	if !d.lies {
		i.sync()
	}
	return 0
}

// surviveLocked brings what is below a directory to what is left of it after a cut.
func (d *Disk) surviveLocked(i *inode, random *rand.Rand) {
	d.counts.Lost += i.survive(random)
	d.used += int64(len(i.pages))
	for _, name := range i.names() {
		d.surviveLocked(i.entries[name], random)
	}
}

func (d *Disk) newInode(folder bool, mode uint32) *inode {
	d.last++
	i := &inode{id: d.last, folder: folder, mode: mode & 0o7777, changed: time.Now()}
	if folder {
		i.entries, i.safeEntries = map[string]*inode{}, map[string]*inode{}
	} else {
		i.pages, i.safe, i.dirty = map[int64]page{}, map[int64]page{}, map[int64][]page{}
	}
	return i
}

// Available tells why there can be no such disk on this machine; nil: there can.
func Available() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("simdisk: mounting needs root")
	}
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("simdisk: %w", err)
	}
	return f.Close()
}
