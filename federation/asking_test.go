package federation

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"teamtalk/internal/simnet"
	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// crowd are people who want pieces of a link's.
type crowd struct {
	*asking
	mu      sync.Mutex // guards granted
	granted map[protocol.BlobID][]*pieceAsk
	wg      sync.WaitGroup
}

// want wants so many pieces of a blob at once.
func (c *crowd) want(ctx context.Context, id protocol.BlobID, pieces int) {
	for i := range pieces {
		c.wg.Go(func() { // ends with ctx
			ask, err := c.begin(ctx, id, uint64(i)*fed.MaxPiece, fed.MaxPiece)
			if err != nil {
				return
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			c.granted[id] = append(c.granted[id], ask)
		})
	}
	synctest.Wait()
}

// bytesOf are those that were asked for.
func (c *crowd) bytesOf(id protocol.BlobID) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, ask := range c.granted[id] {
		n += ask.length
	}
	return n
}

// answer has the first piece come that was asked for of a blob.
func (c *crowd) answer(id protocol.BlobID, waited time.Duration) {
	c.mu.Lock()
	ask := c.granted[id][0]
	c.granted[id] = c.granted[id][1:]
	c.mu.Unlock()
	c.take(&fed.FilePiece{ID: ask.id, Offset: ask.offset, Data: make([]byte, ask.length), Waited: uint32(waited.Milliseconds())})
	synctest.Wait()
}

func newCrowd(t *testing.T) (*crowd, context.Context) {
	ctx, cancel := context.WithCancel(t.Context())
	m := newMedia()
	c := &crowd{asking: &m.asks, granted: map[protocol.BlobID][]*pieceAsk{}}
	t.Cleanup(func() {
		cancel()
		c.wg.Wait()
	})
	return c, ctx
}

// TestShares: one blob has the whole window, a second one half of what becomes free, however many pieces the first one wants; of further blobs there is a piece each, of as many as may be on
// their way [FED-FILE-6].
func TestShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, ctx := newCrowd(t)
		big, small := protocol.BlobID{1}, protocol.BlobID{2}
		c.want(ctx, big, 1000)
		if n := c.bytesOf(big); n != paceFirst {
			t.Errorf("%d bytes of one blob, want %d", n, paceFirst)
		}
		c.want(ctx, small, 1000)
		if n := c.bytesOf(small); n != pieceLeast {
			t.Errorf("%d bytes of another one, want a piece, %d", n, pieceLeast)
		}
		for range 100 {
			<-time.After(time.Millisecond)
			c.answer(big, 0)
			c.answer(small, 0)
		}
		if a, b, window := c.bytesOf(big), c.bytesOf(small), int(c.pace.window); a+b > window+fed.MaxPiece || a > window/2+fed.MaxPiece || b < a/2 {
			t.Errorf("%d and %d bytes of a window of %d", a, b, window)
		}
		for i := range byte(20) {
			c.want(ctx, protocol.BlobID{3, i}, 5)
		}
		if len(c.flying) != mostBlobs {
			t.Errorf("%d blobs are on their way, want %d", len(c.flying), mostBlobs)
		}
	})
}

// TestWaitIsNoQueue: a source that is slow does not make the way seem crowded; a way that is, does [FED-FILE-6].
func TestWaitIsNoQueue(t *testing.T) {
	for name, c := range map[string]struct {
		source bool // what takes long is the source
		grows  bool
	}{"the source's": {true, true}, "the network's": {false, false}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				crowd, ctx := newCrowd(t)
				id := protocol.BlobID{1}
				crowd.want(ctx, id, 1000)
				<-time.After(100 * time.Millisecond)
				crowd.answer(id, 0)
				for range 50 {
					<-time.After(time.Second)
					waited := time.Duration(0)
					if c.source {
						waited = time.Since(crowd.granted[id][0].at) - 100*time.Millisecond
					}
					crowd.answer(id, waited)
				}
				if grew := crowd.pace.window > paceFirst; grew != c.grows {
					t.Errorf("the window is %.0f bytes", crowd.pace.window)
				}
			})
		})
	}
}

// TestFileWaited: an office says how long it has waited for content, to each who asked meanwhile [FED-FILE-6].
func TestFileWaited(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		g := newGreedy(t, n)
		id := g.attic.put(noise(1, 1000), g.of)
		release := g.attic.stick(id)
		g.ask(fed.FileGet{ID: 1, Blob: id, Length: 10})
		<-time.After(time.Second)
		g.ask(fed.FileGet{ID: 2, Blob: id, Length: 10, Offset: 10})
		<-time.After(time.Second)
		release()
		first, second := g.answer().Waited, g.answer().Waited
		if first < 1800 || first > 2200 || second < 800 || second > 2200 {
			t.Errorf("%d and %d ms", first, second)
		}
		<-time.After(time.Second)
		g.ask(fed.FileGet{ID: 3, Blob: id, Length: 10, Offset: 20})
		if third := g.answer().Waited; third > 0 {
			t.Errorf("%d ms for what is there", third)
		}
	})
}
