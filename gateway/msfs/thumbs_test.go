package msfs

import (
	"bytes"
	"context"
	"image"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"teamtalk/protocol"
)

// slowStore has one blob that comes from far away.
type slowStore struct {
	*fakeStore
	slow  protocol.BlobID
	asked chan struct{} // gets one for each time that it is opened
	comes chan struct{} // closed when it is here
}

func (s *slowStore) Open(ctx context.Context, id protocol.BlobID) (io.ReadSeekCloser, error) {
	if id == s.slow {
		s.asked <- struct{}{}
		select {
		case <-s.comes:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return s.fakeStore.Open(ctx, id)
}

func (w *world) widthOf(t *testing.T, path string) int {
	t.Helper()
	rsp, b := w.do("GET", "/"+path, nil, nil)
	img, _, err := image.DecodeConfig(bytes.NewReader(b))
	if rsp.StatusCode != 200 || err != nil {
		t.Errorf("%s: %d %v", path, rsp.StatusCode, err)
	}
	return img.Width
}

// A picture that comes slowly holds up no other one; one that takes too long is shown as it comes, and made smaller when it is here.
func TestSlowPicture(t *testing.T) {
	for _, within := range []time.Duration{time.Hour, time.Millisecond} {
		store := &slowStore{asked: make(chan struct{}, 9), comes: make(chan struct{})}
		w := newWorld(t, func(c *Config) {
			store.fakeStore = c.Store.(*fakeStore)
			c.Store, c.Thumbs, c.Tuning.ThumbTime = store, t.TempDir(), within
		})
		slow, id := w.stored("a.png", picturePNG(t, 400, 200))
		store.slow = id
		want := 100
		var wait sync.WaitGroup
		wait.Go(func() { // ends when the picture comes, below
			if got := w.widthOf(t, slow+"_100x100.jpg"); got != want {
				t.Errorf("within %v: the slow one is %d wide, want %d", within, got, want)
			}
		})
		<-store.asked
		if within == time.Hour {
			near, _ := w.stored("b.png", picturePNG(t, 300, 300))
			if got := w.widthOf(t, near+"_100x100.jpg"); got != 100 {
				t.Errorf("another one is %d wide", got)
			}
		} else {
			want = 400
			<-store.asked // the second time, to be shown
		}
		close(store.comes)
		wait.Wait()
		if within != time.Hour && w.handler.thumbs.isHopeless(id.String()) {
			t.Error("it came slowly, and is given up for good")
		}
	}
}

// What another office says of a picture has no dimensions: they are found out.
func TestForeignPicture(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Thumbs = t.TempDir() })
	path, id := w.stored("a.png", picturePNG(t, 400, 200))
	w.store.mu.Lock()
	b := w.store.blobs[id]
	b.Width, b.Height = 0, 0
	w.store.blobs[id] = b
	w.store.mu.Unlock()
	for range 2 {
		for suffix, want := range map[string]int{"_640x640.jpg": 400, "_100x100.jpg": 100, "_32x32.jpg": 32} {
			if got := w.widthOf(t, path+suffix); got != want {
				t.Errorf("%s: %d wide, want %d", suffix, got, want)
			}
		}
	}
}

// A machine that lost its power may have left the name of a smaller picture without its pixels.
func TestEmptyThumbs(t *testing.T) {
	dir := t.TempDir()
	for name, pixels := range map[string]string{"empty.jpg": "", "whole.jpg": "pixels", "new-1": "half"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(pixels), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	th, err := openThumbs(dir, 1000, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || left[0].Name() != "whole.jpg" || len(th.entries) != 1 || th.entries["whole.jpg"] == nil {
		t.Errorf("left: %v, %v, known: %v", left, err, th.entries)
	}
}
