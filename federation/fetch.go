package federation

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

const (
	chunkBytes  = fed.MaxPiece     // that are asked for together; how they are cut the link decides
	mostChunks  = 16               // of a blob that are on their way, or wait to be written
	byLeader    = 2                // the same by way of the leader: they share a connection with what nodes have to tell each other at once
	mostFetches = 8                // of a peer's blobs at a time by a node; others wait
	fetchBegins = 3 * time.Second  // for a link if nothing has come yet: somebody waits
	fetchRests  = 90 * time.Second // for more once something has: to be sure that a link is lost takes 45 s [FED-TR-7]
	fetchAgain  = 500 * time.Millisecond
)

// fetches are the blobs that this node gets from other clusters. Its zero value is ready.
type fetches struct {
	mu    sync.Mutex // guards seats
	seats map[fed.ClusterID]*semaphore.Weighted
}

func (f *fetches) seatsOf(peer fed.ClusterID) *semaphore.Weighted {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.seats == nil {
		f.seats = map[fed.ClusterID]*semaphore.Weighted{}
	}
	s := f.seats[peer]
	if s == nil {
		s = semaphore.NewWeighted(mostFetches)
		f.seats[peer] = s
	}
	return s
}

// Fetch writes a blob of another cluster to w, from an offset on and in order [FED-FILE-5]. It goes on over links that break and come back; if nothing comes for one and a half
// minutes it gives up with CodeUnavailable, and what was written counts: the next Fetch begins there. From 0 on the content is checked against its name before
// the last part of it is written; else that is for the caller. CodeNotFound, CodeForbidden and CodeInvalid are for good.
func (m *Manager) Fetch(ctx context.Context, peer [16]byte, id protocol.BlobID, offset uint64, w io.Writer) error {
	if m.cfg.Files == nil {
		return protocol.Errorf(protocol.CodeUnavailable, "no files go over links with other clusters")
	}
	blob, _, err := m.cfg.Files.Blob(id)
	switch {
	case err != nil:
		return err
	case offset > blob.Size:
		return protocol.Errorf(protocol.CodeInvalid, "blob %v has %d bytes, it can't be got from %d on", id, blob.Size, offset)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(m.ctx, cancel)
	defer stop()
	seats := m.files.seatsOf(peer)
	if err := seats.Acquire(ctx, 1); err != nil {
		return protocol.Errorf(protocol.CodeUnavailable, "blob %v is not got: %w", id, err)
	}
	defer seats.Release(1)
	f := &fetch{m: m, peer: peer, blob: id, size: blob.Size, at: offset, w: w, moved: time.Now(), patience: fetchBegins}
	if offset == 0 {
		f.sum = sha256.New()
	}
	return f.run(ctx)
}

// fetch is a blob on its way to this node.
type fetch struct {
	m        *Manager
	peer     fed.ClusterID
	blob     protocol.BlobID
	size     uint64
	at       uint64    // up to where it is written
	w        io.Writer // gets it
	sum      hash.Hash // of what is written; nil: not from the begin
	moved    time.Time // when something came last
	patience time.Duration
	ahead    int // chunks that may be on their way
}

// run goes on until all is written, or there is no hope.
func (f *fetch) run(ctx context.Context) error {
	if f.at == f.size {
		return f.verify()
	}
	for {
		f.ahead = 1 // until it shows that something comes
		err := f.stretch(ctx)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return protocol.Errorf(protocol.CodeUnavailable, "blob %v is got up to %d of %d bytes: %w", f.blob, f.at, f.size, ctx.Err())
		case !isPassing(err) || time.Since(f.moved) >= f.patience:
			return err
		}
		t := time.NewTimer(fetchAgain)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
		}
	}
}

// isPassing reports whether the same may succeed a little later.
func isPassing(err error) bool {
	var writing *errWriting
	return !errors.As(err, &writing) && slices.Contains([]protocol.Code{protocol.CodeUnavailable, protocol.CodeRateLimited}, protocol.CodeOf(err))
}

// errWriting is an error of the one who gets the content.
type errWriting struct{ error }

// Unwrap is that error.
func (e *errWriting) Unwrap() error { return e.error }

// chunk is a part of a blob on its way.
type chunk struct {
	length int
	data   []byte
	err    error
	done   chan struct{}
}

// stretch gets chunk after chunk, several at a time, until all is there or one fails.
func (f *fetch) stretch(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	var flying []*chunk
	for next := f.at; f.at < f.size; {
		for len(flying) < f.ahead && next < f.size {
			c := &chunk{length: int(min(chunkBytes, f.size-next)), done: make(chan struct{})}
			offset := next
			group.Go(func() { // ends with ctx
				defer close(c.done)
				c.data, c.err = f.m.chunkOf(ctx, &fetchCall{Peer: f.peer, Blob: f.blob, Offset: offset, Length: uint32(c.length)})
			})
			flying, next = append(flying, c), next+uint64(c.length)
		}
		c := flying[0]
		<-c.done
		flying = flying[1:]
		if c.err != nil {
			return c.err
		}
		if err := f.take(c); err != nil {
			return err
		}
		f.ahead = min(2*f.ahead, f.m.chunksAhead())
	}
	return nil
}

// take writes a chunk.
func (f *fetch) take(c *chunk) error {
	if len(c.data) != c.length {
		return protocol.Errorf(protocol.CodeInvalid, "%d bytes were asked for, %d came", c.length, len(c.data))
	}
	if f.sum != nil {
		f.sum.Write(c.data)
		if f.at+uint64(c.length) == f.size {
			if err := f.verify(); err != nil {
				return err
			}
		}
	}
	if _, err := f.w.Write(c.data); err != nil {
		return &errWriting{err}
	}
	f.at += uint64(c.length)
	f.moved, f.patience = time.Now(), fetchRests
	return nil
}

// verify compares what came with what it is called.
func (f *fetch) verify() error {
	if f.sum == nil || protocol.BlobID(f.sum.Sum(nil)) == f.blob {
		return nil
	}
	f.m.tallyOf(f.peer).files.mismatched.Add(1)
	f.m.log.Warn("a blob of a peer is not what it is called, and is not taken", "peer", f.peer.String(), "blob", f.blob.String(), "size", f.size)
	return protocol.Errorf(protocol.CodeInvalid, "what came is not blob %v: its SHA-256 is another one", f.blob)
}

// chunkOf gets a part of a blob by the node that leads, which may be this one.
func (m *Manager) chunkOf(ctx context.Context, c *fetchCall) (data []byte, err error) {
	if m.hasLinks() {
		return m.chunkHere(ctx, c)
	}
	err = m.onLeader(ctx, opFetch, c, &data)
	return data, err
}

// hasLinks reports whether the links are this node's, and not the leader's.
func (m *Manager) hasLinks() bool {
	_, isLeader := m.cfg.State.Head()
	return isLeader || m.cfg.Leader == nil
}

// chunksAhead is how many chunks of a blob may be on their way.
func (m *Manager) chunksAhead() int {
	if m.hasLinks() {
		return mostChunks
	}
	return byLeader
}

// chunkHere gets it over this node's link.
func (m *Manager) chunkHere(ctx context.Context, c *fetchCall) ([]byte, error) {
	if c.Length == 0 || c.Length > chunkBytes {
		return nil, protocol.Errorf(protocol.CodeInvalid, "a chunk has 1 to %d bytes, not %d", chunkBytes, c.Length)
	}
	l := m.linkOf(c.Peer)
	if l == nil {
		return nil, protocol.Errorf(protocol.CodeUnavailable, "the office %s, which has the file, can't be reached now", m.officeName(c.Peer))
	}
	return l.chunk(ctx, c.Blob, c.Offset, int(c.Length))
}
