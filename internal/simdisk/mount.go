//go:build linux

package simdisk

import (
	"context"
	"errors"
	"fmt"
	"log"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// mount shows the disk at its directory, to the kernel a new one: nothing that it cached of a former mount counts.
func (d *Disk) mount() error {
	forever := time.Hour // nobody changes files behind the kernel's back
	d.mu.Lock()
	root := &entry{disk: d, at: d.root, life: d.life}
	d.mu.Unlock()
	server, err := fs.Mount(d.dir, root, &fs.Options{
		EntryTimeout: &forever, AttrTimeout: &forever, RootStableAttr: &fs.StableAttr{Ino: d.root.id},
		// No write-back cache: each write arrives here when it is made, and in the kernel's pages, which mappings of files show.
		MountOptions: fuse.MountOptions{DirectMountStrict: true, FsName: "simdisk", Name: "simdisk", ExplicitDataCacheControl: true,
			DisableXAttrs: true, Logger: log.New(silence{}, "", 0)},
	})
	if err != nil {
		return fmt.Errorf("simdisk: mount on %s: %w", d.dir, err)
	}
	d.server = server
	return nil
}

// How long a mount may be busy after the processes that used it have ended, and its server needs to notice that it is gone.
const (
	busyTime = 2 * time.Second
	lastTime = 3 * time.Second
)

// unmount takes the disk away from its directory. Another mount namespace may have a copy of the mount for as long as it likes: it gets EIO only.
func (d *Disk) unmount() error {
	limit := time.After(busyTime)
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		err := syscall.Unmount(d.dir, 0)
		if errors.Is(err, syscall.EINVAL) {
			return nil // it is not mounted
		}
		if err == nil {
			break
		}
		select {
		case <-again.C:
			continue
		case <-limit:
			return fmt.Errorf("simdisk: unmount %s: %w", d.dir, errors.Join(err, syscall.Unmount(d.dir, syscall.MNT_DETACH)))
		}
	}
	ended := make(chan struct{})
	go func(server *fuse.Server) { // ends with the last copy of the mount
		server.Wait()
		close(ended)
	}(d.server)
	select {
	case <-ended:
	case <-time.After(lastTime):
	}
	return nil
}

// silence drops what the library has to say about requests that were interrupted.
type silence struct{}

func (silence) Write(b []byte) (int, error) { return len(b), nil }

// An entry is an inode as the kernel knows it in one mount.
type entry struct {
	fs.Inode
	disk *Disk
	at   *inode
	life uint64
}

var _ = struct {
	fs.NodeLookuper
	fs.NodeReaddirer
	fs.NodeCreater
	fs.NodeMkdirer
	fs.NodeUnlinker
	fs.NodeRmdirer
	fs.NodeRenamer
	fs.NodeOpener
	fs.NodeReader
	fs.NodeWriter
	fs.NodeFsyncer
	fs.NodeGetattrer
	fs.NodeSetattrer
}{&entry{}, &entry{}, &entry{}, &entry{}, &entry{}, &entry{}, &entry{}, &entry{}, &entry{}, &entry{}, &entry{}, &entry{}, &entry{}}

// enter locks the disk for an operation, unless there is no power; then leave must not be called.
func (e *entry) enter() (leave func(), errno syscall.Errno) {
	e.disk.mu.Lock()
	if e.life != e.disk.life || !e.disk.onLocked() {
		e.disk.mu.Unlock()
		return nil, syscall.EIO
	}
	return e.disk.mu.Unlock, 0
}

// child is what the kernel is to know of an inode in this directory.
func (e *entry) child(ctx context.Context, i *inode, out *fuse.EntryOut) *fs.Inode {
	describe(i, &out.Attr)
	return e.NewInode(ctx, &entry{disk: e.disk, at: i, life: e.life}, fs.StableAttr{Mode: out.Mode, Ino: i.id})
}

func describe(i *inode, out *fuse.Attr) {
	out.Ino, out.Mode, out.Nlink, out.Blksize = i.id, syscall.S_IFREG|i.mode, 1, pageSize
	if i.folder {
		out.Mode, out.Nlink = syscall.S_IFDIR|i.mode, 2
	}
	out.Size, out.Blocks = uint64(i.size), uint64(len(i.pages))*(pageSize/sectorSize)
	out.SetTimes(&i.changed, &i.changed, &i.changed)
}

// Lookup finds a name in the directory.
func (e *entry) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	leave, errno := e.enter()
	if errno != 0 {
		return nil, errno
	}
	defer leave()
	i := e.at.entries[name]
	if i == nil {
		return nil, syscall.ENOENT
	}
	return e.child(ctx, i, out), 0
}

// Readdir lists the directory.
func (e *entry) Readdir(context.Context) (fs.DirStream, syscall.Errno) {
	leave, errno := e.enter()
	if errno != 0 {
		return nil, errno
	}
	defer leave()
	var list []fuse.DirEntry
	for _, name := range e.at.names() {
		var a fuse.Attr
		describe(e.at.entries[name], &a)
		list = append(list, fuse.DirEntry{Name: name, Mode: a.Mode, Ino: a.Ino})
	}
	return fs.NewListDirStream(list), 0
}

func (e *entry) add(ctx context.Context, name string, folder bool, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	leave, errno := e.enter()
	if errno != 0 {
		return nil, errno
	}
	defer leave()
	if e.at.entries[name] != nil {
		return nil, syscall.EEXIST
	}
	i := e.disk.newInode(folder, mode)
	e.at.alter(change{comes: name, what: i})
	return e.child(ctx, i, out), 0
}

// Create makes a file and opens it.
func (e *entry) Create(ctx context.Context, name string, _, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	child, errno := e.add(ctx, name, false, mode, out)
	return child, nil, 0, errno
}

// Mkdir makes a directory.
func (e *entry) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return e.add(ctx, name, true, mode, out)
}

// Unlink removes a file.
func (e *entry) Unlink(_ context.Context, name string) syscall.Errno { return e.remove(name, false) }

// Rmdir removes an empty directory.
func (e *entry) Rmdir(_ context.Context, name string) syscall.Errno { return e.remove(name, true) }

func (e *entry) remove(name string, folder bool) syscall.Errno {
	leave, errno := e.enter()
	if errno != 0 {
		return errno
	}
	defer leave()
	i := e.at.entries[name]
	switch {
	case i == nil:
		return syscall.ENOENT
	case i.folder != folder:
		return syscall.EISDIR
	case len(i.entries) > 0:
		return syscall.ENOTEMPTY
	}
	e.disk.used -= int64(len(i.pages)) // also if somebody has it open
	e.at.alter(change{goes: name})
	return 0
}

// Rename gives something in the directory another name there, replacing what has it.
func (e *entry) Rename(_ context.Context, name string, parent fs.InodeEmbedder, to string, flags uint32) syscall.Errno {
	leave, errno := e.enter()
	if errno != 0 {
		return errno
	}
	defer leave()
	other, ok := parent.(*entry)
	what := e.at.entries[name]
	switch {
	case what == nil:
		return syscall.ENOENT
	case !ok || other.at != e.at || flags != 0:
		return syscall.EXDEV
	case name == to:
		return 0
	}
	if old := e.at.entries[to]; old != nil {
		e.disk.used -= int64(len(old.pages))
	}
	e.at.alter(change{goes: name, comes: to, what: what})
	return 0
}

// Open has nothing to remember.
func (e *entry) Open(_ context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	leave, errno := e.enter()
	if errno != 0 {
		return nil, 0, errno
	}
	defer leave()
	if flags&syscall.O_TRUNC != 0 {
		e.disk.used -= e.at.resize(0)
	}
	return nil, fuse.FOPEN_KEEP_CACHE, 0
}

// Read reads what was written last, synced or not.
func (e *entry) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	leave, errno := e.enter()
	if errno != 0 {
		return nil, errno
	}
	defer leave()
	return fuse.ReadResultData(dest[:e.at.read(dest, off)]), 0
}

// Write keeps the data for the next sync.
func (e *entry) Write(_ context.Context, _ fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	leave, errno := e.enter()
	if errno != 0 {
		return 0, errno
	}
	defer leave()
	d := e.disk
	more := e.at.grows(len(data), off)
	if d.limit > 0 && more > 0 && d.used+more > d.limit {
		return 0, syscall.ENOSPC
	}
	d.used += more
	d.counts.Writes++
	e.at.write(data, off)
	return uint32(len(data)), 0
}

// Fsync is fsync, fdatasync and fsync of a directory.
func (e *entry) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	return e.disk.sync(e.at, e.life)
}

// Getattr describes the inode.
func (e *entry) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	leave, errno := e.enter()
	if errno != 0 {
		return errno
	}
	defer leave()
	describe(e.at, &out.Attr)
	return 0
}

// Setattr changes size and mode; times and owners are not kept.
func (e *entry) Setattr(_ context.Context, _ fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	leave, errno := e.enter()
	if errno != 0 {
		return errno
	}
	defer leave()
	if size, ok := in.GetSize(); ok && !e.at.folder {
		e.disk.used -= e.at.resize(int64(size))
	}
	if mode, ok := in.GetMode(); ok {
		e.at.mode = mode & 0o7777
	}
	describe(e.at, &out.Attr)
	return 0
}

// Statfs tells how much room there is.
func (e *entry) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	leave, errno := e.enter()
	if errno != 0 {
		return errno
	}
	defer leave()
	const plenty = 1 << 28 // pages: 1 TiB
	out.Bsize, out.Frsize, out.NameLen, out.Blocks = pageSize, pageSize, 255, plenty
	if e.disk.limit > 0 {
		out.Blocks = uint64(e.disk.limit)
	}
	out.Bfree = uint64(max(0, int64(out.Blocks)-e.disk.used))
	out.Bavail = out.Bfree
	return 0
}
