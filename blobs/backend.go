package blobs

import (
	"context"
	"errors"
	"io"
	"time"

	"teamtalk/protocol"
)

// ErrMissing: a Backend does not have the blob.
var ErrMissing = errors.New("the blob is not here")

// A Backend keeps the content of blobs. It checks no hashes and knows nothing of the replicated state. All methods may be called at the same time.
type Backend interface {
	// Put makes a temporary file the content of a blob, replacing what was there. It returns once that would outlive a loss of power. The file may be
	// gone afterwards, or still be there.
	Put(ctx context.Context, id protocol.BlobID, path string, size uint64) error
	// Open reads a blob, from its begin or from where it is sought to; ErrMissing if it is not here.
	Open(ctx context.Context, id protocol.BlobID) (io.ReadSeekCloser, error)
	// Stat tells what is known of a blob without reading it; ErrMissing if it is not here.
	Stat(ctx context.Context, id protocol.BlobID) (Stat, error)
	// Remove forgets a blob. One that is not here is forgotten already.
	Remove(ctx context.Context, id protocol.BlobID) error
	// List calls found for every blob in order of ids, until it returns an error, which List returns.
	List(ctx context.Context, found func(protocol.BlobID, Stat) error) error
	// Shared reports whether all nodes have the same content, so that none has to copy it.
	Shared() bool
}

// Stat is what a Backend knows of a blob.
type Stat struct {
	Size uint64    // bytes
	Put  time.Time // when it was put the last time
}
