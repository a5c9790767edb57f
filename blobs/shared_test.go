package blobs

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"teamtalk/protocol"
)

// common is a disk that nodes share, and whose clock is that of the test.
type common struct {
	*Disk
	mu  sync.Mutex // guards what follows
	put map[protocol.BlobID]time.Time
}

func newCommon(t *testing.T) *common {
	t.Helper()
	d, err := NewDisk(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return &common{Disk: d, put: map[protocol.BlobID]time.Time{}}
}

// Shared is true.
func (c *common) Shared() bool { return true }

// Put notes the time.
func (c *common) Put(ctx context.Context, id protocol.BlobID, path string, size uint64) error {
	c.mu.Lock()
	c.put[id] = time.Now()
	c.mu.Unlock()
	return c.Disk.Put(ctx, id, path, size)
}

// Stat tells that time.
func (c *common) Stat(ctx context.Context, id protocol.BlobID) (Stat, error) {
	at, err := c.Disk.Stat(ctx, id)
	c.mu.Lock()
	defer c.mu.Unlock()
	at.Put = c.put[id]
	return at, err
}

func (c *common) has(t *testing.T, id protocol.BlobID) bool {
	t.Helper()
	_, err := c.Stat(t.Context(), id)
	if err != nil && !errors.Is(err, ErrMissing) {
		t.Fatal(err)
	}
	return err == nil
}

// beforehand is a ledger in which something happens as soon as a blob was looked up.
type beforehand struct {
	*ledger
	then func()
}

// Blob looks it up first.
func (b *beforehand) Blob(id protocol.BlobID) (protocol.Blob, []protocol.NodeID, error) {
	row, nodes, err := b.ledger.Blob(id)
	if then := b.then; then != nil {
		b.then = nil
		then()
	}
	return row, nodes, err
}

// TestBroughtElsewhereWhileRemoved: what one node is about to remove from the store that all share stays if another one brings it again just then.
func TestBroughtElsewhereWhileRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, l := newCommon(t), newLedger()
		looks := &beforehand{ledger: l}
		a := open(t, "n1", looks, func(c *Config) { c.Backend = store })
		b := open(t, "n2", l, func(c *Config) { c.Backend = store })
		content := random(t, 1000)
		id := b.bring(t, content).ID
		time.Sleep(time.Hour)
		drop := func() {
			if _, err := l.Execute(t.Context(), &protocol.DropBlobs{IDs: []protocol.BlobID{id}}); err != nil {
				t.Fatal(err)
			}
		}
		drop()
		looks.then = func() { b.bring(t, content) }
		a.removeDropped(t.Context(), []protocol.BlobID{id})
		time.Sleep(time.Hour)
		a.removeDue(t.Context())
		if got, err := b.read(t.Context(), id); err != nil || !bytes.Equal(got, content) {
			t.Errorf("it is recorded, and %d bytes are there: %v", len(got), err)
		}
		drop()
		a.removeDropped(t.Context(), []protocol.BlobID{id})
		if store.has(t, id) {
			t.Error("the second time it stays, too")
		}
	})
}

// TestYoungInASharedStore: what was put there just now and is not recorded goes a little later, not with what is left over after days.
func TestYoungInASharedStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, l := newCommon(t), newLedger()
		s := open(t, "n1", l, func(c *Config) { c.Backend = store })
		s.run(t)
		l.fails = []error{protocol.Errorf(protocol.CodeQuota, "no room")}
		content := random(t, 1000)
		id := of(content).ID
		if _, err := s.upload(content, protocol.Blob{}); protocol.CodeOf(err) != protocol.CodeQuota {
			t.Fatal(err)
		}
		if !store.has(t, id) {
			t.Error("another node may have put it: it is removed")
		}
		time.Sleep(2 * time.Minute)
		if store.has(t, id) || len(s.later.due) > 0 {
			t.Errorf("it is there after two minutes, %d wait", len(s.later.due))
		}
	})
}

// TestDroppedWithoutLeader: what is dropped goes from a shared store even if no node leads at that moment, or the one that did has died.
func TestDroppedWithoutLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, l, w := newCommon(t), newLedger(), newTown(t)
		follows := func(c *Config) { c.Backend, c.State = store, led{l, false} }
		a := w.work(t, "n1", l, follows)
		w.work(t, "n2", l, follows)
		id := a.bring(t, random(t, 1000)).ID
		stays := a.bring(t, random(t, 1000)).ID
		time.Sleep(time.Hour)
		if _, err := l.Execute(t.Context(), &protocol.DropBlobs{IDs: []protocol.BlobID{id}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Minute)
		if store.has(t, id) || !store.has(t, stays) {
			t.Errorf("dropped: %v, not dropped: %v", store.has(t, id), store.has(t, stays))
		}
	})
}

// TestRemovalsAreBounded: what waits to be removed takes a limited place.
func TestRemovalsAreBounded(t *testing.T) {
	s := open(t, "n1", newLedger(), nil)
	for i := range laterMost + 10 {
		s.removeLater(protocol.BlobID{byte(i), byte(i >> 8), byte(i >> 16)}, time.Hour)
	}
	if n := total(t, s.metrics.left)["removal"]; len(s.later.due) != laterMost || n != 10 {
		t.Errorf("%d wait, %v were left", len(s.later.due), n)
	}
}
