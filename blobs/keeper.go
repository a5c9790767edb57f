package blobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"teamtalk/protocol"
)

// Keeper keeps the blobs of one node and gets those of others.
type Keeper struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	space   *spaceGuard
	sound   sound
	later   removals
	sync    func(*os.File) error
	ids     locks                // who puts or removes the content of a blob
	slots   chan struct{}        // of fetches
	afar    chan struct{}        // of those that only other offices can answer
	held    chan protocol.BlobID // got, not recorded yet
	copies  chan protocol.BlobID // to be got for safety
	again   atomic.Bool          // something was left to a comparison
	lacking atomic.Bool          // a copy for safety was not made, or not recorded

	ctx  context.Context // ends with Close
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu      sync.Mutex // guards what follows
	closed  bool
	fetches map[protocol.BlobID]*fetch
}

// Numbers that bound queues. What does not fit is found by the next comparison.
const (
	heldQueue = 1024
	copyQueue = 4096
)

// New makes a Keeper and empties its folder of temporary files. Run has it work in the background, Close ends it.
func New(c Config) (*Keeper, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("blobs: %w", err)
	}
	c.setDefaults()
	if err := emptyFolder(c.Temp); err != nil {
		return nil, fmt.Errorf("blobs: temporary files: %w", err)
	}
	m, err := newMetrics(c.Registerer)
	if err != nil {
		return nil, fmt.Errorf("blobs: metrics: %w", err)
	}
	k := &Keeper{
		cfg: c, log: c.Log.With("part", "blobs"), metrics: m, sync: (*os.File).Sync,
		space:   &spaceGuard{free: c.FreeSpace, reserve: reserveFactor * c.MinFree},
		slots:   make(chan struct{}, c.Tuning.Fetches),
		afar:    make(chan struct{}, c.Tuning.Fetches),
		held:    make(chan protocol.BlobID, heldQueue),
		copies:  make(chan protocol.BlobID, copyQueue),
		fetches: map[protocol.BlobID]*fetch{},
	}
	k.ctx, k.stop = context.WithCancel(context.Background())
	return k, nil
}

// emptyFolder makes a folder, or removes the files in it.
func emptyFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		if f.IsDir() {
			continue // not ours
		}
		if err := os.Remove(filepath.Join(dir, f.Name())); err != nil {
			return err
		}
	}
	return nil
}

// errLeaving is what is answered once the Keeper is closed.
var errLeaving = protocol.Errorf(protocol.CodeUnavailable, "this node is leaving")

// enter has Close wait until leave is called: who brings something is not joined by anybody else, and writes to the folder, which may soon be another Keeper's.
func (k *Keeper) enter() (leave func(), err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return nil, errLeaving
	}
	k.wg.Add(1)
	return k.wg.Done, nil
}

// Close ends what is being fetched and stored, and waits for it; nothing comes in any more. Run has ended before.
func (k *Keeper) Close() {
	k.mu.Lock()
	k.closed = true // so that nothing is added to the group after this
	k.mu.Unlock()
	k.stop()
	k.wg.Wait()
}

// Keep stores a draft as a blob: on this node's disk for good, then recorded by the cluster. Of b, what is known of the content besides its id and size is
// taken. It returns the blob as recorded, which may have been known before. The draft is over in any case, and after an error nothing is stored. The wish of
// the caller's context to stop is not heeded once the content is safe.
func (k *Keeper) Keep(ctx context.Context, d *Draft, b protocol.Blob) (protocol.Blob, error) {
	defer d.Abort()
	leave, err := k.enter()
	if err != nil {
		return protocol.Blob{}, err
	}
	defer leave()
	if err := ctx.Err(); err != nil {
		return protocol.Blob{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(k.ctx, cancel) // a store elsewhere may take its time
	defer stop()
	path, id, size, err := d.seal(k.sync)
	if err != nil {
		return protocol.Blob{}, err
	}
	if !b.ID.IsZero() && b.ID != id {
		return protocol.Blob{}, protocol.Errorf(protocol.CodeInvalid, "the content is another than was announced: %s", id)
	}
	b.ID, b.Size = id, size
	unlock := k.ids.lock(id)
	defer unlock()
	if err := k.cfg.Backend.Put(ctx, id, path, size); err != nil {
		k.discard(id)
		return protocol.Blob{}, fmt.Errorf("store a blob: %w", err)
	}
	kept, err := k.record(ctx, b, path)
	if err != nil {
		return protocol.Blob{}, err
	}
	k.metrics.stored.Inc()
	k.metrics.storedBytes.Add(float64(size))
	return kept, nil
}

// record has the cluster know of a blob whose content is safe here.
func (k *Keeper) record(ctx context.Context, b protocol.Blob, path string) (protocol.Blob, error) {
	r, unknown, err := k.execute(&protocol.PutBlob{Blob: b, Node: k.cfg.Node, UserQuota: k.cfg.UserQuota, Quota: k.cfg.Quota})
	if err != nil {
		if protocol.CodeOf(err) == protocol.CodeQuota {
			k.metrics.refused.WithLabelValues("quota").Inc()
		}
		if unknown {
			k.again.Store(true) // a comparison will find out
		} else {
			k.discard(b.ID)
		}
		return protocol.Blob{}, fmt.Errorf("record a blob: %w", err)
	}
	result, ok := r.(protocol.PutBlobResult)
	if !ok {
		return protocol.Blob{}, fmt.Errorf("record a blob: the result is a %T", r)
	}
	if !k.cfg.Backend.Shared() {
		return result.Blob, nil
	}
	// Another node may have removed the content, for the blob was dropped just before; it is recorded now, so none does any more.
	if _, err := k.cfg.Backend.Stat(ctx, b.ID); errors.Is(err, ErrMissing) {
		if err := k.cfg.Backend.Put(ctx, b.ID, path, b.Size); err != nil {
			return protocol.Blob{}, fmt.Errorf("store a blob: %w", err)
		}
	}
	return result.Blob, nil
}

// discard removes the content of a blob unless it is recorded. The id is locked.
func (k *Keeper) discard(id protocol.BlobID) {
	removed, err := k.removeUnrecorded(k.ctx, id)
	if err != nil {
		k.again.Store(true)
		k.log.Warn("content that is not recorded can't be removed; it will be tried again", "blob", id.String(), "error", err)
	}
	if removed {
		k.metrics.removed.WithLabelValues("refused").Inc()
	}
}

// removeUnrecorded removes the content of a blob that is not recorded. The id is locked.
func (k *Keeper) removeUnrecorded(ctx context.Context, id protocol.BlobID) (removed bool, err error) {
	_, _, err = k.cfg.State.Blob(id)
	if protocol.CodeOf(err) != protocol.CodeNotFound {
		return false, err
	}
	if k.cfg.Backend.Shared() {
		return k.removeShared(ctx, id)
	}
	if err := k.cfg.Backend.Remove(ctx, id); err != nil {
		return false, err
	}
	return true, nil
}

// retryFirst and retryMost are between attempts to have a command executed.
const (
	retryFirst = 50 * time.Millisecond
	retryMost  = time.Second
)

// execute carries out a command that may be repeated, and waits for a leader for a while; unknown: it may have been carried out in spite of the error.
func (k *Keeper) execute(cmd protocol.Command) (result any, unknown bool, err error) {
	ctx, cancel := context.WithTimeout(k.ctx, k.cfg.Tuning.Retry)
	defer cancel()
	for wait := retryFirst; ; wait = min(2*wait, retryMost) {
		result, err = k.cfg.State.Execute(ctx, cmd)
		if err == nil {
			return result, false, nil
		}
		unknown = unknown || protocol.IsOutcomeUnknown(err) || ctx.Err() != nil
		if protocol.CodeOf(err) != protocol.CodeUnavailable || !pause(ctx, wait) {
			return nil, unknown, err
		}
	}
}

// pause waits, and reports whether ctx is still good.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// locks are mutexes by blob.
type locks struct {
	mu   sync.Mutex // guards what follows
	held map[protocol.BlobID]*idLock
}

type idLock struct {
	mu      sync.Mutex
	waiting int
}

func (l *locks) lock(id protocol.BlobID) (unlock func()) {
	l.mu.Lock()
	if l.held == nil {
		l.held = map[protocol.BlobID]*idLock{}
	}
	one := l.held[id]
	if one == nil {
		one = &idLock{}
		l.held[id] = one
	}
	one.waiting++
	l.mu.Unlock()
	one.mu.Lock()
	return func() {
		one.mu.Unlock()
		l.mu.Lock()
		defer l.mu.Unlock()
		if one.waiting--; one.waiting == 0 {
			delete(l.held, id)
		}
	}
}
