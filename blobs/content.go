package blobs

import (
	"context"
	"errors"
	"fmt"
	"io"

	"teamtalk/protocol"
)

// Content is the content of a blob, to be read from its begin or from where it is sought to. One goroutine at a time uses it.
type Content struct {
	// Blob is what is recorded of it.
	Blob protocol.Blob
	from io.ReadSeekCloser
}

// Read reads. What is being fetched is waited for, as long as the context given to Open is good. An error other than io.EOF: the rest can't be had, or what
// was read so far is not the blob.
func (c *Content) Read(b []byte) (int, error) { return c.from.Read(b) }

// Seek sets where the next Read begins.
func (c *Content) Seek(offset int64, whence int) (int64, error) { return c.from.Seek(offset, whence) }

// Close has to be called.
func (c *Content) Close() error { return c.from.Close() }

// Open opens a blob, wherever its content is: CodeNotFound if it is not recorded, CodeUnavailable if nobody who has it can be reached.
func (k *Keeper) Open(ctx context.Context, id protocol.BlobID) (*Content, error) {
	b, holders, err := k.cfg.State.Blob(id)
	if err != nil {
		return nil, err
	}
	local, err := k.openLocal(ctx, b)
	if err != nil {
		k.log.Error("the content of a blob can't be read here, trying elsewhere", "blob", id.String(), "error", err)
	}
	if local != nil {
		return &Content{Blob: b, from: local}, nil
	}
	f, err := k.fetch(b, holders)
	if err != nil {
		return nil, err
	}
	r := &follower{fetch: f, ctx: ctx}
	if err := r.begin(); err != nil {
		_ = r.Close()
		return nil, err
	}
	return &Content{Blob: b, from: r}, nil
}

// openLocal is the content of a blob if it is here, else nil.
func (k *Keeper) openLocal(ctx context.Context, b protocol.Blob) (io.ReadSeekCloser, error) {
	at, err := k.cfg.Backend.Stat(ctx, b.ID)
	if errors.Is(err, ErrMissing) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if at.Size != b.Size {
		return nil, fmt.Errorf("it has %d bytes instead of %d", at.Size, b.Size)
	}
	r, err := k.cfg.Backend.Open(ctx, b.ID)
	if errors.Is(err, ErrMissing) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := k.checkSound(&b, r); err != nil {
		_ = r.Close()
		return nil, err
	}
	return r, nil
}
