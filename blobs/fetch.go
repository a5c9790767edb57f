package blobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"teamtalk/protocol"
)

// errMismatch: what somebody sent is not the content of the blob.
var errMismatch = errors.New("the content received is not that of the blob")

// fetch gets one missing blob for everybody who wants it, and for this node.
type fetch struct {
	keeper  *Keeper
	blob    protocol.Blob
	sources []source           // the best first
	stop    context.CancelFunc // gives it up

	mu      sync.Mutex    // guards what follows
	changed chan struct{} // closed when there is news; nil: nobody waits
	draft   *Draft        // what came so far
	have    uint64        // bytes in it
	attempt int           // counts drafts: one whose hash is wrong is begun anew
	good    bool          // all is there and is the blob
	err     error         // there will be no more
	users   int           // followers, and the fetch itself
	alone   *time.Timer   // ends it if nobody joins; nil: it has followers, or may go on without
}

// fetch joins the fetch of a blob, or begins one. The caller is one of its users then.
func (k *Keeper) fetch(b protocol.Blob, holders []protocol.NodeID) (*fetch, error) {
	sources := k.sources(b, holders)
	k.mu.Lock()
	defer k.mu.Unlock()
	f := k.fetches[b.ID]
	if f != nil && f.join() {
		return f, nil
	}
	if k.closed {
		return nil, errLeaving
	}
	if len(sources) == 0 {
		return nil, protocol.Errorf(protocol.CodeUnavailable, "nobody who has the blob can be reached")
	}
	ctx, stop := context.WithCancel(k.ctx)
	f = &fetch{keeper: k, blob: b, sources: sources, stop: stop, users: 2}
	k.fetches[b.ID] = f
	// Ends with what it fetches; Close stops and joins it.
	k.wg.Go(func() {
		defer stop()
		f.run(ctx)
		f.leave()
	})
	return f, nil
}

// join makes the caller a user of a fetch that has not failed.
func (f *fetch) join() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil || f.users == 0 {
		return false
	}
	f.users++
	f.stopTimer()
	return true
}

// leave ends that; the last one puts out the light.
func (f *fetch) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.users--
	switch {
	case f.users == 0:
		f.stopTimer()
		if f.draft != nil {
			f.draft.Abort()
		}
	case f.users == 1 && !f.isOver() && f.isAfar():
		f.alone = time.AfterFunc(f.keeper.cfg.Tuning.Unfollowed, f.abandon)
	}
}

// stopTimer has it not end for want of followers. The caller holds the mutex.
func (f *fetch) stopTimer() {
	if f.alone != nil {
		f.alone.Stop()
		f.alone = nil
	}
}

// isOver reports whether all is there, or no more will be. The caller holds the mutex.
func (f *fetch) isOver() bool { return f.good || f.err != nil }

// isAfar reports whether another office may be asked. It sends as slowly as it likes, so such a fetch needs somebody who waits.
func (f *fetch) isAfar() bool { return slices.Contains(f.sources, source(fromAbroad{f.keeper})) }

// abandon gives up what nobody follows.
func (f *fetch) abandon() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.users > 1 || f.isOver() {
		return // somebody came, or it is done
	}
	f.err = protocol.Errorf(protocol.CodeUnavailable, "nobody waited for the blob any more") // and nobody joins it from here on
	f.stop()
	f.keeper.metrics.failures.WithLabelValues(fromAbroad{}.kind(), "abandoned").Inc()
}

// tell wakes those who wait. The caller holds the mutex.
func (f *fetch) tell() {
	if f.changed != nil {
		close(f.changed)
		f.changed = nil
	}
}

// run fetches, stores, and takes the fetch out of the books.
func (f *fetch) run(ctx context.Context) {
	k := f.keeper
	slots := k.slotsFor(f.sources)
	done, err := f.admit(ctx, slots)
	if err == nil {
		defer done()
		err = f.collect(ctx, f.sources)
		<-slots
	}
	if err == nil {
		err = f.store(k.ctx)
		if err != nil { // who reads it has it all the same
			k.log.Warn("a blob that was fetched can't be stored here", "blob", f.blob.ID.String(), "error", err)
		}
	} else {
		f.mu.Lock()
		f.err = err
		f.tell()
		f.mu.Unlock()
		if ctx.Err() == nil {
			k.log.Warn("a blob can't be fetched", "blob", f.blob.ID.String(), "error", err)
		}
	}
	k.mu.Lock()
	if k.fetches[f.blob.ID] == f {
		delete(k.fetches, f.blob.ID)
	}
	k.mu.Unlock()
}

// slotsFor keeps those who wait for other offices among themselves: slow ones hold up nothing that is in this cluster.
func (k *Keeper) slotsFor(sources []source) chan struct{} {
	if slices.ContainsFunc(sources, func(s source) bool { return s != fromAbroad{k} }) {
		return k.slots
	}
	return k.afar
}

// admit waits for its turn; done is called when the fetch is over.
func (f *fetch) admit(ctx context.Context, slots chan struct{}) (done func(), err error) {
	k := f.keeper
	isBound := slots == k.afar // within this cluster it was let in before
	if isBound {
		if err := f.mayCome(k.Room); err != nil {
			return nil, err // which nobody has to wait for
		}
	}
	select {
	case slots <- struct{}{}:
	case <-ctx.Done():
		return nil, errLeaving
	}
	if !isBound {
		return func() {}, nil
	}
	if err := f.mayCome(k.reserve); err != nil { // others have come meanwhile
		<-slots
		return nil, err
	}
	return func() { k.space.coming.over(0, f.blob.Size) }, nil
}

// mayCome bounds what only another office has: how much that is, is its word alone, and nobody's disk is filled by it.
func (f *fetch) mayCome(room func(protocol.UserID, uint64) error) error {
	k := f.keeper
	if most := k.cfg.MaxForeign; most != 0 && f.blob.Size > most {
		k.metrics.refused.WithLabelValues("too_large").Inc()
		return protocol.Errorf(protocol.CodeTooLarge, "the other office's file has %d bytes: at most %d are fetched", f.blob.Size, most)
	}
	if err := room(0, f.blob.Size); err != nil {
		return fmt.Errorf("the other office's file is not fetched: %w", err)
	}
	return nil
}

// collect fetches until the content has the right hash or nobody is left who may have it.
func (f *fetch) collect(ctx context.Context, sources []source) error {
	for {
		from, err := f.attemptFrom(ctx, sources)
		if err == nil {
			f.keeper.metrics.fetched.WithLabelValues(from[len(from)-1].kind()).Inc()
			return nil
		}
		if !errors.Is(err, errMismatch) {
			return err
		}
		// If several had a part in it, those before the last one broke off and one of them may have been wrong: the last one has to do it alone.
		wrong := from[:max(1, len(from)-1)]
		for _, s := range wrong {
			f.keeper.metrics.failures.WithLabelValues(s.kind(), "mismatch").Inc()
			f.keeper.log.Error("what was sent is not the content of the blob", "blob", f.blob.ID.String(), "from", s.String())
		}
		sources = slices.DeleteFunc(slices.Clone(sources), func(s source) bool { return slices.Contains(wrong, s) })
		if len(sources) == 0 {
			return protocol.Errorf(protocol.CodeUnavailable, "the content of the blob can't be got: %w", err)
		}
	}
}

// fetchPauses are the waits before the sources are asked once more after none of them has sent anything.
func fetchPauses() []time.Duration { return []time.Duration{500 * time.Millisecond, 2 * time.Second} }

// attemptFrom fills a new draft from the sources, one after the other, each going on where the one before broke off. It returns those that sent something.
func (f *fetch) attemptFrom(ctx context.Context, sources []source) (from []source, err error) {
	if err := f.restart(); err != nil {
		return nil, err
	}
	pauses := fetchPauses()
	for {
		before := f.size()
		err := error(protocol.Errorf(protocol.CodeUnavailable, "nobody has it"))
		for _, s := range sources {
			had := f.size()
			err = f.ask(ctx, s, had)
			if broken := f.draft.failure(); broken != nil {
				return nil, broken // nobody else can help
			}
			if f.size() > had && (len(from) == 0 || from[len(from)-1] != s) {
				from = append(from, s)
			}
			if errors.Is(err, errMismatch) || err == nil && f.size() == f.blob.Size {
				if len(from) == 0 {
					from = append(from, s)
				}
				return from, f.verify(err)
			}
		}
		if f.size() > before && ctx.Err() == nil {
			pauses = fetchPauses()
			continue
		}
		if len(pauses) == 0 || !pause(ctx, pauses[0]) {
			return from, protocol.Errorf(protocol.CodeUnavailable, "the content of the blob can't be got now: %w", err)
		}
		pauses = pauses[1:]
	}
}

// ask has one source write what is missing.
func (f *fetch) ask(ctx context.Context, s source, had uint64) error {
	err := s.fetch(ctx, f.blob, had, f)
	switch {
	case err == nil && f.size() < f.blob.Size:
		err = io.ErrUnexpectedEOF
	case err == nil, errors.Is(err, errMismatch):
		return err
	}
	if ctx.Err() == nil {
		reason := "broken"
		if errors.Is(err, ErrMissing) || protocol.CodeOf(err) == protocol.CodeNotFound {
			reason = "missing"
		}
		f.keeper.metrics.failures.WithLabelValues(s.kind(), reason).Inc()
		f.keeper.log.Info("a blob could not be fetched from one of those who have it", "blob", f.blob.ID.String(), "from", s.String(), "error", err)
	}
	return fmt.Errorf("from %s: %w", s, err)
}

// restart begins with nothing.
func (f *fetch) restart() error {
	d, err := f.keeper.draft()
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.draft != nil {
		f.draft.Abort()
	}
	f.draft, f.have = d, 0
	f.attempt++
	f.tell()
	return nil
}

func (f *fetch) size() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.have
}

// Write takes what a source sends; more than the blob has is another blob.
func (f *fetch) Write(b []byte) (int, error) {
	f.mu.Lock()
	d, have := f.draft, f.have
	f.mu.Unlock()
	if have+uint64(len(b)) > f.blob.Size {
		return 0, errMismatch
	}
	n, err := d.Write(b)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.have += uint64(n)
	f.tell()
	return n, err
}

// verify looks whether what came is the blob. Only now its last byte is handed out.
func (f *fetch) verify(err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil && f.draft.Sum() != f.blob.ID {
		err = errMismatch
	}
	f.good = err == nil
	f.tell()
	return err
}

// store makes what was fetched this node's own, if it was not dropped meanwhile.
func (f *fetch) store(ctx context.Context) error {
	k := f.keeper
	path, id, size, err := f.draft.seal(k.sync)
	if err != nil {
		return err
	}
	unlock := k.ids.lock(id)
	defer unlock()
	_, _, err = k.cfg.State.Blob(id)
	if protocol.CodeOf(err) == protocol.CodeNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	if err := k.cfg.Backend.Put(ctx, id, path, size); err != nil {
		return err
	}
	k.hold(id)
	return nil
}

// follower reads what a fetch gets.
type follower struct {
	fetch   *fetch
	ctx     context.Context //nolint:containedctx // a reader's: it has no other way to be told to stop
	off     int64
	attempt int  // of which it has read
	read    bool // something
	left    bool
}

// begin waits until something can be read, or it is certain that nothing will be.
func (r *follower) begin() error {
	_, _, err := r.await()
	return err
}

// await returns how far can be read.
func (r *follower) await() (d *Draft, limit int64, err error) {
	f := r.fetch
	for {
		f.mu.Lock()
		switch {
		case r.read && r.attempt != f.attempt:
			err = errMismatch
		case f.good:
			d, limit = f.draft, int64(f.blob.Size)
		case f.err != nil:
			err = f.err
		case f.have > uint64(r.off) && f.blob.Size > uint64(r.off)+1:
			d, limit = f.draft, min(int64(f.have), int64(f.blob.Size)-1)
		}
		if d != nil || err != nil {
			r.attempt = f.attempt
			f.mu.Unlock()
			return d, limit, err
		}
		if f.changed == nil {
			f.changed = make(chan struct{})
		}
		changed := f.changed
		f.mu.Unlock()
		select {
		case <-changed:
		case <-r.ctx.Done():
			return nil, 0, context.Cause(r.ctx)
		}
	}
}

// Read waits for something to read.
func (r *follower) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	for {
		d, limit, err := r.await()
		if err != nil {
			return 0, err
		}
		if r.off >= limit {
			return 0, io.EOF // await lets nobody pass who is at the end of what is there, but at that of the blob
		}
		n, err := d.ReadAt(b[:min(int64(len(b)), limit-r.off)], r.off)
		r.fetch.mu.Lock()
		stale := r.attempt != r.fetch.attempt
		r.fetch.mu.Unlock()
		if stale { // the draft was given up while it was read
			continue
		}
		r.off += int64(n)
		r.read = r.read || n > 0
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return n, err
	}
}

// Seek sets where the next Read begins.
func (r *follower) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.off
	case io.SeekEnd:
		offset += int64(r.fetch.blob.Size)
	}
	if offset < 0 {
		return 0, errors.New("seek before the begin of a blob")
	}
	r.off = offset
	return offset, nil
}

// Close leaves the fetch to the others.
func (r *follower) Close() error {
	if !r.left {
		r.left = true
		r.fetch.leave()
	}
	return nil
}
