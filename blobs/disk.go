package blobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"teamtalk/protocol"
)

// Disk is a Backend of files: DIR/ab/cd/<64 hexadecimal digits>, where ab and cd are the first digits.
type Disk struct {
	dir  string
	sync func(*os.File) error
}

var _ Backend = (*Disk)(nil)

// NewDisk keeps blobs below a folder, which is made if it is missing.
func NewDisk(dir string) (*Disk, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("folder of blobs: %w", err)
	}
	return &Disk{dir: dir, sync: (*os.File).Sync}, nil
}

// Shared is false: each node has a disk of its own.
func (d *Disk) Shared() bool { return false }

func (d *Disk) path(id protocol.BlobID) string {
	name := id.String()
	return filepath.Join(d.dir, name[:2], name[2:4], name)
}

// Put moves a synced file, which has to be on the same file system, to its place.
func (d *Disk) Put(_ context.Context, id protocol.BlobID, path string, size uint64) error {
	if at, err := os.Stat(path); err != nil || uint64(at.Size()) != size {
		return wrongSize(at, size, err)
	}
	to := d.path(id)
	inner := filepath.Dir(to)
	if err := d.folder(filepath.Dir(inner), d.dir); err != nil {
		return err
	}
	if err := d.folder(inner, filepath.Dir(inner)); err != nil {
		return err
	}
	if err := os.Rename(path, to); err != nil {
		return err
	}
	return d.syncFolder(inner)
}

func wrongSize(at fs.FileInfo, size uint64, err error) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("the temporary file has %d bytes instead of %d", at.Size(), size)
}

// folder makes a folder that outlives a loss of power.
func (d *Disk) folder(dir, parent string) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		// Perhaps made just now by somebody who has not synced it yet: what is put into it must not be said to be safe before.
		return d.syncFolder(parent)
	}
	if err != nil {
		return err
	}
	return d.syncFolder(parent)
}

func (d *Disk) syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return d.sync(f)
}

// Open opens the file.
func (d *Disk) Open(_ context.Context, id protocol.BlobID) (io.ReadSeekCloser, error) {
	f, err := os.Open(d.path(id))
	if err != nil {
		return nil, missing(err)
	}
	return f, nil
}

// Stat looks at the file.
func (d *Disk) Stat(_ context.Context, id protocol.BlobID) (Stat, error) {
	at, err := os.Stat(d.path(id))
	if err != nil {
		return Stat{}, missing(err)
	}
	return statOf(at), nil
}

func statOf(at fs.FileInfo) Stat { return Stat{Size: uint64(at.Size()), Put: at.ModTime()} }

func missing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return ErrMissing
	}
	return err
}

// Remove removes the file; those who read it may go on.
func (d *Disk) Remove(_ context.Context, id protocol.BlobID) error {
	if err := os.Remove(d.path(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// List walks the folders. What is not named like a blob is passed over.
func (d *Disk) List(ctx context.Context, found func(protocol.BlobID, Stat) error) error {
	return eachFolder(d.dir, func(outer string) error {
		return eachFolder(outer, func(inner string) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			files, err := os.ReadDir(inner)
			if err != nil {
				return err
			}
			for _, f := range files {
				id, err := protocol.ParseBlobID(f.Name())
				if err != nil || d.path(id) != filepath.Join(inner, f.Name()) {
					continue
				}
				at, err := f.Info()
				if errors.Is(err, fs.ErrNotExist) {
					continue // removed meanwhile
				}
				if err != nil {
					return err
				}
				if err := found(id, statOf(at)); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// eachFolder calls f for the folders of a level, whose names have two characters.
func eachFolder(dir string, f func(string) error) error {
	all, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range all {
		if !e.IsDir() || len(e.Name()) != 2 {
			continue
		}
		if err := f(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}
