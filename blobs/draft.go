package blobs

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"os"
	"sync"

	"teamtalk/protocol"
)

// Errors of drafts.
var (
	// ErrDiskFull is inside the errors of uploads for which the disk has no room.
	ErrDiskFull = errors.New("nothing is stored until disk space returns")
	// errDraftOver is what a draft answers that was kept or given up.
	errDraftOver = errors.New("the upload is over")
)

// Draft is content that is coming in. Whoever began it ends it, by Keep or Abort; between its pieces there may be any time and any number of connections.
// It does not outlive the process. One goroutine at a time writes; the rest may be called from anywhere.
type Draft struct {
	keeper   *Keeper
	isUpload bool // whose bytes are counted among those that are coming
	owner    protocol.UserID

	mu        sync.Mutex // guards what follows
	file      *os.File   // nil: over
	hash      hash.Hash
	size      uint64
	announced uint64 // bytes that are counted as coming, at least size
	err       error  // why no more is taken; sticky
}

// Begin starts a draft of so many bytes, 0 if that is not known, and refuses what Room refuses. It takes its room until it is over.
func (k *Keeper) Begin(ctx context.Context, owner protocol.UserID, size uint64) (*Draft, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	leave, err := k.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	if err := k.reserve(owner, size); err != nil {
		return nil, err
	}
	d, err := k.draft()
	if err != nil {
		k.space.coming.over(owner, size)
		return nil, err
	}
	d.isUpload, d.owner, d.announced = true, owner, size
	return d, nil
}

// draft is Begin for what comes from other nodes, too.
func (k *Keeper) draft() (*Draft, error) {
	f, err := os.CreateTemp(k.cfg.Temp, "draft-*")
	if err != nil {
		return nil, fmt.Errorf("temporary file: %w", err)
	}
	k.metrics.drafts.Inc()
	return &Draft{keeper: k, file: f, hash: sha256.New()}, nil
}

// Write appends. After an error the draft can only be aborted: CodeUnavailable, with ErrDiskFull inside, if the disk is getting full.
func (d *Draft) Write(b []byte) (int, error) {
	leave, err := d.keeper.enter()
	if err != nil {
		return 0, err
	}
	defer leave()
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check(); err != nil {
		return 0, err
	}
	if err := d.keeper.space.wrote(len(b)); err != nil {
		d.err = err
		d.keeper.metrics.refused.WithLabelValues("disk_full").Inc()
		return 0, err
	}
	n, err := d.file.Write(b)
	d.hash.Write(b[:n])
	d.size += uint64(n)
	if d.isUpload && d.size > d.announced {
		d.keeper.space.coming.grow(d.owner, d.size-d.announced)
		d.announced = d.size
	}
	if err != nil {
		d.err = fmt.Errorf("temporary file: %w", err)
	}
	return n, d.err
}

func (d *Draft) check() error {
	if d.err == nil && d.file == nil {
		return errDraftOver
	}
	return d.err
}

// failure is why no more is taken.
func (d *Draft) failure() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

// ReadAt reads what was written so far, to look at it before it is kept.
func (d *Draft) ReadAt(b []byte, off int64) (int, error) {
	d.mu.Lock()
	f := d.file
	d.mu.Unlock()
	if f == nil {
		return 0, errDraftOver
	}
	return f.ReadAt(b, off)
}

// Size is how many bytes were written.
func (d *Draft) Size() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.size
}

// Sum is the id of what was written so far.
func (d *Draft) Sum() (id protocol.BlobID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hash.Sum(id[:0])
	return id
}

// Abort ends the draft and removes what was written. After Keep it does nothing.
func (d *Draft) Abort() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.file == nil {
		return
	}
	d.file.Close()
	// What Keep has moved away is not there any more. What can't be removed is at the next start.
	_ = os.Remove(d.file.Name())
	d.file = nil
	if d.isUpload {
		d.keeper.space.coming.over(d.owner, d.announced)
	}
	d.keeper.metrics.drafts.Dec()
}

// seal syncs the content to the disk; nothing is written afterwards.
func (d *Draft) seal(sync func(*os.File) error) (path string, id protocol.BlobID, size uint64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check(); err != nil {
		return "", id, 0, err
	}
	if err := sync(d.file); err != nil {
		d.err = fmt.Errorf("sync the temporary file: %w", err)
		return "", id, 0, d.err
	}
	d.err = errDraftOver
	d.hash.Sum(id[:0])
	return d.file.Name(), id, d.size, nil
}
