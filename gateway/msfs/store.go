package msfs

import (
	"context"
	"errors"
	"io"

	"teamtalk/protocol"
)

// ErrNoSpace is in the chain of errors that say that the disk is full.
var ErrNoSpace = errors.New("the disk is full")

// Store keeps content.
type Store interface {
	// Begin starts content of a user's that comes in, so many bytes, 0 if that is not known, or says why he may not bring it: CodeQuota, ErrNoSpace, CodeForbidden.
	// User 0 is nobody in particular.
	Begin(ctx context.Context, u protocol.UserID, size uint64) (Draft, error)
	// Keep makes a draft a blob: when it returns, the content is safe and recorded. Type, dimensions and owner are the caller's, the rest is filled in.
	// The draft is over in any case.
	Keep(ctx context.Context, d Draft, b protocol.Blob) (protocol.Blob, error)
	// Blob is what is recorded of a blob; CodeNotFound if it is not.
	Blob(id protocol.BlobID) (protocol.Blob, error)
	// Open reads a blob, wherever it is.
	Open(ctx context.Context, id protocol.BlobID) (io.ReadSeekCloser, error)
}

// Draft is content that is coming in.
type Draft interface {
	io.Writer
	// Abort removes what was written; after Keep it does nothing.
	Abort()
}
