package msfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"teamtalk/blobs/picture"
	"teamtalk/protocol"
)

// thumbSides are the sizes that are made: what is asked for is rounded down to them, so that nobody has a picture made in every size there is.
func thumbSides() []uint32 {
	return []uint32{16, 32, 48, 64, 100, 128, 160, 200, 256, 320, 400, 480, 640, 800, 1024, 1280, 1600, 2048}
}

// rounded is the largest size that is made and not larger than one; the smallest one if there is none.
func rounded(side uint32) uint32 {
	sides := thumbSides()
	at, found := slices.BinarySearch(sides, side)
	if !found {
		at--
	}
	return sides[max(at, 0)]
}

// thumbs keeps pictures that were made smaller, as many as fit its folder. What is lost is made again.
type thumbs struct {
	dir    string
	most   uint64
	within time.Duration
	turn   chan struct{} // holds a token while none is made: one at a time, for each may take much memory

	mu       sync.Mutex // guards what follows
	entries  map[string]*thumb
	size     uint64
	hopeless map[string]struct{} // what can't be made, as attemptAt calls it
}

// hopelessMost is how many pictures are remembered that can't be made smaller; then it is found out again.
const hopelessMost = 4096

// thumb is a file in the folder.
type thumb struct {
	size uint64
	used time.Time
}

// small is a smaller picture, open.
type small struct {
	*os.File
	name        string // of the file, without its extension
	contentType string
	how         string // it was come by, for the metrics
}

// The extensions of the files say what is in them.
const (
	extJPEG = ".jpg"
	extPNG  = ".png"
)

// openThumbs takes a folder as it was left.
func openThumbs(dir string, most uint64, within time.Duration) (*thumbs, error) {
	t := &thumbs{dir: dir, most: most, within: within, turn: make(chan struct{}, 1), entries: make(map[string]*thumb), hopeless: make(map[string]struct{})}
	t.turn <- struct{}{}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("folder of smaller pictures: %w", err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("folder of smaller pictures: %w", err)
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil {
			continue // removed just now
		}
		if ext := filepath.Ext(f.Name()); ext != extJPEG && ext != extPNG || info.Size() == 0 {
			_ = os.Remove(filepath.Join(dir, f.Name())) // half a file, of a process that was killed or a machine that lost its power
			continue
		}
		t.entries[f.Name()] = &thumb{size: uint64(info.Size()), used: info.ModTime()}
		t.size += uint64(info.Size())
	}
	return t, nil
}

// open is a picture that fits into width and height; picture.ErrNotSmaller if the original is what to show.
func (t *thumbs) open(ctx context.Context, b *protocol.Blob, width, height uint32, load func(context.Context, protocol.BlobID) (io.ReadSeekCloser, error)) (*small, error) {
	width, height = rounded(width), rounded(height)
	name := fmt.Sprintf("%s_%dx%d", b.ID, width, height)
	if b.Width != 0 && b.Width <= width && b.Height <= height || b.Size == 0 || t.isHopeless(attemptAt(b, name)) {
		return nil, picture.ErrNotSmaller
	}
	if s := t.cached(name); s != nil {
		return s, nil
	}
	loading, stop := context.WithCancel(ctx)
	defer stop()
	late := time.AfterFunc(t.within, stop)
	original, err := whole(loading, b.ID, load) // before its turn: what comes slowly from elsewhere holds up no other picture
	if err == nil {
		defer original.Close()
	}
	if !late.Stop() {
		return nil, picture.ErrNotSmaller // it is shown as it comes, and can be made smaller when it is here
	}
	if err != nil {
		return nil, err
	}
	select {
	case <-t.turn:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { t.turn <- struct{}{} }()
	if s := t.cached(name); s != nil { // made while this one waited
		return s, nil
	}
	if t.isHopeless(attemptAt(b, name)) {
		return nil, picture.ErrNotSmaller
	}
	ctx, cancel := context.WithTimeout(ctx, t.within)
	defer cancel()
	pixels, kind, err := picture.Smaller(&boundedReader{original, ctx}, int(width), int(height))
	switch {
	case errors.Is(err, picture.ErrNotSmaller), errors.Is(err, context.DeadlineExceeded):
		t.giveUp(attemptAt(b, name))
		return nil, picture.ErrNotSmaller
	case err != nil:
		return nil, err
	}
	return t.keep(name, kind, pixels)
}

// whole opens a picture, and waits until all of it is here.
func whole(ctx context.Context, id protocol.BlobID, load func(context.Context, protocol.BlobID) (io.ReadSeekCloser, error)) (io.ReadSeekCloser, error) {
	original, err := load(ctx, id)
	if err != nil {
		return nil, err
	}
	if _, err = original.Seek(-1, io.SeekEnd); err == nil {
		_, err = io.ReadFull(original, make([]byte, 1))
	}
	if err == nil {
		_, err = original.Seek(0, io.SeekStart)
	}
	if err != nil {
		original.Close()
		return nil, err
	}
	return original, nil
}

// attemptAt names what fails if a picture can't be made smaller: all sizes of it; but that one only if it came from another office, whose word does not say how
// large it is: it may be small enough for this size and not for others.
func attemptAt(b *protocol.Blob, name string) string {
	if b.Width == 0 {
		return name
	}
	return b.ID.String()
}

func (t *thumbs) isHopeless(attempt string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, is := t.hopeless[attempt]
	return is
}

// giveUp remembers a picture on which no more time is to be spent.
func (t *thumbs) giveUp(attempt string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.hopeless) >= hopelessMost {
		clear(t.hopeless)
	}
	t.hopeless[attempt] = struct{}{}
}

// boundedReader reads until its time is over: what is decoded may take any time.
type boundedReader struct {
	io.ReadSeeker
	ctx context.Context
}

// Read fails when the time is over.
func (b *boundedReader) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	return b.ReadSeeker.Read(p)
}

// cached is a picture that is there; nil: it is not.
func (t *thumbs) cached(name string) *small {
	for ext, kind := range map[string]string{extJPEG: picture.JPEG, extPNG: picture.PNG} {
		t.mu.Lock()
		e := t.entries[name+ext]
		if e != nil {
			e.used = time.Now()
		}
		t.mu.Unlock()
		if e == nil {
			continue
		}
		f, err := os.Open(filepath.Join(t.dir, name+ext))
		if err == nil {
			return &small{f, name, kind, "cached"}
		}
		t.remove(name + ext)
	}
	return nil
}

// keep writes a picture, whole or not at all, and makes room for it.
func (t *thumbs) keep(name, kind string, pixels []byte) (*small, error) {
	ext := extJPEG
	if kind == picture.PNG {
		ext = extPNG
	}
	f, err := os.CreateTemp(t.dir, "new-*")
	if err != nil {
		return nil, fmt.Errorf("smaller picture: %w", err)
	}
	_, err = f.Write(pixels)
	if err == nil {
		err = f.Sync() // else the name may outlive the pixels when the power fails
	}
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(t.dir, name+ext))
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		_ = os.Remove(f.Name())
		return nil, fmt.Errorf("smaller picture: %w", err)
	}
	t.mu.Lock()
	t.entries[name+ext] = &thumb{size: uint64(len(pixels)), used: time.Now()}
	t.size += uint64(len(pixels))
	t.mu.Unlock()
	t.trim(name + ext)
	return &small{f, name, kind, "made"}, nil
}

// trim removes what was not used for the longest time until the rest is a tenth below the bound; never the one excepted.
func (t *thumbs) trim(except string) {
	t.mu.Lock()
	var old []string
	if t.size > t.most {
		for name := range t.entries {
			if name != except {
				old = append(old, name)
			}
		}
		slices.SortFunc(old, func(a, b string) int { return t.entries[a].used.Compare(t.entries[b].used) })
		left, n := t.size, 0
		for n < len(old) && left > t.most-t.most/10 {
			left -= t.entries[old[n]].size
			n++
		}
		old = old[:n]
	}
	t.mu.Unlock()
	for _, name := range old {
		t.remove(name)
	}
}

func (t *thumbs) remove(name string) {
	t.mu.Lock()
	if e := t.entries[name]; e != nil {
		t.size -= e.size
		delete(t.entries, name)
	}
	t.mu.Unlock()
	_ = os.Remove(filepath.Join(t.dir, name)) // or it is removed when there is no room
}

// retain removes the pictures of blobs that are not to be kept.
func (t *thumbs) retain(keep func(protocol.BlobID) bool) {
	t.mu.Lock()
	names := slices.Collect(maps.Keys(t.entries))
	t.mu.Unlock()
	for _, name := range names {
		hex, _, _ := strings.Cut(name, "_")
		if id, err := protocol.ParseBlobID(hex); err != nil || !keep(id) {
			t.remove(name)
		}
	}
}

// Forget removes what was made of blobs that are gone: nothing of a recalled picture stays [TT-MSFS-5].
func (h *Handler) Forget(ids []protocol.BlobID) {
	if h.thumbs == nil {
		return
	}
	gone := make(map[protocol.BlobID]struct{}, len(ids)) // there may be a thousand, for tens of thousands of files
	for _, id := range ids {
		gone[id] = struct{}{}
	}
	h.thumbs.retain(func(id protocol.BlobID) bool {
		_, is := gone[id]
		return !is
	})
}

// Compare is Forget for all blobs that the store does not know: after a start, or when it is not known which went.
func (h *Handler) Compare() {
	if h.thumbs == nil {
		return
	}
	h.thumbs.retain(func(id protocol.BlobID) bool {
		_, err := h.cfg.Store.Blob(id)
		return protocol.CodeOf(err) != protocol.CodeNotFound
	})
}
