package federation

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"teamtalk/internal/simnet"
	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// TestFilesPass: blobs of all sizes, whole and from somewhere on, several at once and both ways, are what they were [FED-FILE-5].
func TestFilesPass(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		l := newLenders(t, n)
		var all sync.WaitGroup
		total := uint64(0)
		for i, size := range []int{0, 1, 1000, fed.MaxPiece, fed.MaxPiece + 1, 3<<20 + 5} {
			content := noise(uint64(i), size)
			id := l.share(content)
			for _, offset := range slices.Compact([]int{0, size / 3, size}) {
				total += uint64(size - offset)
				all.Go(func() {
					got, err := l.get(id, uint64(offset))
					if err != nil || !bytes.Equal(got, content[offset:]) {
						t.Errorf("%d bytes from %d on: %d bytes, %v", size, offset, len(got), err)
					}
				})
			}
			if _, err := l.get(id, uint64(size)+1); protocol.CodeOf(err) != protocol.CodeInvalid {
				t.Errorf("from beyond the end: %v", err)
			}
		}
		back := noise(99, 1<<20)
		id := l.here.put(back, l.b)
		l.there.hear(id, 1<<20, l.a)
		all.Go(func() {
			var w bytes.Buffer
			if err := l.y.m.Fetch(context.Background(), l.a.id, id, 0, &w); err != nil || !bytes.Equal(w.Bytes(), back) {
				t.Errorf("the other way: %d bytes, %v", w.Len(), err)
			}
		})
		all.Wait()
		x, y := l.x.m.linkViews()[l.b.id], l.y.m.linkViews()[l.a.id]
		if x.FilesIn != total || y.FilesOut != total || y.FilesIn != 1<<20 || x.FilesOut != 1<<20 {
			t.Errorf("%d and %d bytes are counted, want %d; the other way %d and %d, want %d", x.FilesIn, y.FilesOut, total, y.FilesIn, x.FilesOut, 1<<20)
		}
		if l.there.opened > 10 {
			t.Errorf("content was opened %d times", l.there.opened)
		}
	})
}

// TestFileThroughCuts: a link that is cut again and again does not end a transfer, and what has come does not come again but for what was on its way [FED-FILE-5].
func TestFileThroughCuts(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		l := newLenders(t, n)
		content := noise(1, 6<<20)
		id := l.share(content)
		var got bytes.Buffer
		cuts := []simnet.Cut{simnet.Reset, simnet.ResetDialer, simnet.ResetListener, simnet.Reset}
		next := 1 << 20
		err := l.x.m.Fetch(context.Background(), l.b.id, id, 0, writer(func(b []byte) (int, error) {
			if got.Len() > next && len(cuts) > 0 {
				n.Cut(cuts[0])
				cuts, next = cuts[1:], next+1<<20
			}
			return got.Write(b)
		}))
		if err != nil || !bytes.Equal(got.Bytes(), content) || len(cuts) > 0 {
			t.Fatalf("%d bytes, %v, %d cuts to go", got.Len(), err, len(cuts))
		}
		again := l.x.m.linkViews()[l.b.id].FilesIn - uint64(len(content))
		t.Logf("%d KiB came twice", again>>10)
		if again > 4*paceMost {
			t.Errorf("%d bytes came twice", again)
		}
	})
}

// TestFileGivesUp: a link that does not come back ends a transfer, which goes on where it was when it is asked for again [FED-FILE-5].
func TestFileGivesUp(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		l := newLenders(t, n)
		content := noise(1, 12<<20)
		id := l.share(content)
		var got bytes.Buffer
		paused := false
		began := time.Now()
		err := l.x.m.Fetch(context.Background(), l.b.id, id, 0, writer(func(b []byte) (int, error) {
			if got.Len() > 1<<20 && !paused {
				paused = true
				l.b.rule(l.a, func(p *fed.Peer) { p.State = fed.PeerPaused })
				l.b.until("the link ends", func() bool { return l.x.m.linkOf(l.b.id) == nil })
			}
			return got.Write(b)
		}))
		if took := time.Since(began); protocol.CodeOf(err) != protocol.CodeUnavailable || took < fetchRests || took > 2*fetchRests {
			t.Fatalf("after %v: %v", took, err)
		}
		began = time.Now()
		if _, err := l.get(id, 0); protocol.CodeOf(err) != protocol.CodeUnavailable || time.Since(began) > 2*fetchBegins {
			t.Errorf("without a link: %v after %v", err, time.Since(began))
		}
		l.b.rule(l.a, func(p *fed.Peer) { p.State = fed.PeerConfirmed })
		l.a.until("a link", func() bool { return linked(l.x, l.y) })
		before := l.x.m.linkViews()[l.b.id].FilesIn
		rest, err := l.get(id, uint64(got.Len()))
		if err != nil || !bytes.Equal(append(got.Bytes(), rest...), content) {
			t.Errorf("%d bytes and then %d, %v", got.Len(), len(rest), err)
		}
		if came := l.x.m.linkViews()[l.b.id].FilesIn - before; came != uint64(len(rest)) {
			t.Errorf("%d bytes came for %d", came, len(rest))
		}
	})
}

// TestFileByFollower: a node that does not lead gets blobs by the one that does, and goes on with the next one when that changes [FED-FILE-6] [FED-TR-3].
func TestFileByFollower(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		a, b := newBranch(t, n, 1, "a1:443", "a2:443"), newBranch(t, n, 2, "b:443")
		befriend(a, b)
		here, there := newAttic(), newAttic()
		var nodes [3]*site
		leader := func(c *Config) {
			c.Leader = func(ctx context.Context, payload []byte) ([]byte, error) {
				for _, s := range nodes[:2] {
					if !s.follows.Load() {
						return s.m.Handle(ctx, payload)
					}
				}
				return nil, protocol.Errorf(protocol.CodeUnavailable, "nobody leads")
			}
		}
		for i, address := range []string{"a1:443", "a2:443", ""} {
			nodes[i] = a.open(address, i > 0, here.lend, leader)
		}
		y := b.open("b:443", false, there.lend)
		a.until("a link", func() bool { return linked(nodes[0], y) })
		content := noise(7, 4<<20)
		id := there.put(content, a)
		here.hear(id, uint64(len(content)), b)
		var got bytes.Buffer
		changed := false
		err := nodes[2].m.Fetch(context.Background(), b.id, id, 0, writer(func(p []byte) (int, error) {
			if got.Len() > 1<<20 && !changed {
				changed = true
				nodes[0].follows.Store(true)
				nodes[1].follows.Store(false)
			}
			return got.Write(p)
		}))
		if err != nil || !bytes.Equal(got.Bytes(), content) {
			t.Fatalf("%d bytes, %v", got.Len(), err)
		}
		if first, second := nodes[0].m.tallyOf(b.id).files.in.Load(), nodes[1].m.tallyOf(b.id).files.in.Load(); first == 0 || second == 0 {
			t.Errorf("%d bytes came by the first leader, %d by the second", first, second)
		}
		if nodes[2].m.tallyOf(b.id).files.in.Load() != 0 {
			t.Error("a node that does not lead has got something over a link")
		}
	})
}

// TestFileRules: nothing is handed out that was not shown to the asker, or that either side's rules don't allow [FED-FILE-2] [FED-ON-2].
func TestFileRules(t *testing.T) {
	secret := []byte("nobody's business")
	for name, c := range map[string]struct {
		change func(l *lenders, id protocol.BlobID)
		want   protocol.Code
		asked  bool // of the other side
	}{
		"not shown": {func(l *lenders, id protocol.BlobID) { l.there.shown[id] = nil }, protocol.CodeNotFound, true},
		"shown to another": {func(l *lenders, id protocol.BlobID) { l.there.shown[id] = []fed.ClusterID{{7}} },
			protocol.CodeNotFound, true},
		"not there": {func(l *lenders, id protocol.BlobID) { delete(l.there.known, id) }, protocol.CodeNotFound, true},
		"not known": {func(l *lenders, id protocol.BlobID) { delete(l.here.known, id) }, protocol.CodeNotFound, false},
		"nobody's": {func(l *lenders, id protocol.BlobID) {
			l.here.known[id] = protocol.Blob{ID: id, Size: 3, Peer: fed.ClusterID{7}}
		}, protocol.CodeNotFound, true},
		"not let out": {func(l *lenders, _ protocol.BlobID) { l.b.rule(l.a, func(p *fed.Peer) { p.Out &^= fed.AllowFiles }) }, protocol.CodeForbidden, true},
		"not let in":  {func(l *lenders, _ protocol.BlobID) { l.a.rule(l.b, func(p *fed.Peer) { p.In &^= fed.AllowFiles }) }, protocol.CodeForbidden, false},
		"gone meanwhile": {func(l *lenders, id protocol.BlobID) {
			if _, err := l.get(id, 0); err != nil {
				l.Error(err)
			}
			l.there.shown[id] = nil
		}, protocol.CodeNotFound, true},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *simnet.Network) {
				l := newLenders(t, n)
				id := l.share(secret)
				if name == "nobody's" {
					l.there.shown[id] = nil
				}
				c.change(l, id)
				<-time.After(10 * time.Second) // other rules renew the link
				l.a.until("a link", func() bool { return linked(l.x, l.y) })
				refused := l.y.m.tallyOf(l.a.id).files.refusedOut.Load()
				got, err := l.get(id, 0)
				if protocol.CodeOf(err) != c.want || len(got) > 0 {
					t.Errorf("%q, %v", got, err)
				}
				if asked := l.y.m.tallyOf(l.a.id).files.refusedOut.Load() > refused; asked != c.asked {
					t.Errorf("the other side was asked: %t", asked)
				}
			})
		})
	}
}

// TestFilesOfOldVersions: a cluster of a version before files is never asked for one, which would end the link [FED-TR-6].
func TestFilesOfOldVersions(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		a, b := newBranch(t, n, 1, "a:443"), newBranch(t, n, 2)
		befriend(a, b)
		attic := newAttic()
		x := a.open("a:443", false, attic.lend)
		p := newPuppet(t, b)
		p.hello.Versions = fed.Versions{Least: 1, Most: 1}
		w, _, err := p.connect(n, a, "a:443")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = w.Close() }()
		a.until("a link", func() bool { return x.up(b) })
		id := protocol.BlobID{1}
		attic.hear(id, 10, b)
		asked := make(chan struct{})
		go func() { // ends with the connection
			if _, err := p.next(w, fed.KindFileGet); err == nil {
				close(asked)
			}
		}()
		var none bytes.Buffer
		if err := x.m.Fetch(context.Background(), b.id, id, 0, &none); protocol.CodeOf(err) != protocol.CodeUnavailable {
			t.Errorf("%v", err)
		}
		select {
		case <-asked:
			t.Error("it was asked for a piece")
		default:
		}
		if err := w.Write(fed.LaneMedia, fed.NewFrame(fed.KindFileGet, fed.FileGet{ID: 1, Length: 1})); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Second) // long before it would be missed for its silence
		if x.up(b) {
			t.Error("the link did not end: there is no such word in its version")
		}
	})
}

// TestFileByHub: a blob of a third office comes by the hub, which gets it from its origin when somebody asks, piece by piece [FED-FILE-7].
func TestFileByHub(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		l := newLenders(t, n)
		c := newBranch(t, n, 3, "c:443")
		befriend(l.b, c)
		far := newAttic()
		z := c.open("c:443", false, far.lend)
		c.until("a link", func() bool { return linked(l.y, z) })
		content := noise(3, 2<<20)
		id := far.put(content, l.b)
		l.there.hear(id, uint64(len(content)), c, l.a)
		l.here.hear(id, uint64(len(content)), l.b)
		l.there.fetch = func(ctx context.Context, b protocol.Blob, w io.Writer) error {
			return l.y.m.Fetch(ctx, b.Peer, b.ID, 0, w)
		}
		got, err := l.get(id, 0)
		if err != nil || !bytes.Equal(got, content) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		z.stop()
		l.b.until("the origin is gone", func() bool { return !l.y.up(c) })
		began := time.Now()
		<-time.After(2 * shelfIdle) // until the hub has closed it
		if _, err := l.get(id, 0); protocol.CodeOf(err) != protocol.CodeUnavailable {
			t.Errorf("without its origin: %v after %v", err, time.Since(began))
		}
		if !linked(l.x, l.y) {
			t.Error("the link with the hub did not stay")
		}
	})
}

// TestFilesHoldUpNothing: content that does not come, of one blob or of as many as may be asked for at once, and somebody who does not take his, hold up neither messages
// nor other blobs nor other offices [FED-FILE-6].
func TestFilesHoldUpNothing(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		l := newLenders(t, n)
		c := newBranch(t, n, 3, "c:443")
		befriend(l.a, c)
		far := newAttic()
		z := c.open("c:443", false, far.lend)
		l.a.until("a link", func() bool { return linked(l.x, z) })
		ctx, cancel := context.WithCancel(context.Background())
		var waiting sync.WaitGroup
		defer waiting.Wait()
		defer cancel()
		untaken := l.share(noise(50, 4<<20))
		waiting.Go(func() { // he takes a piece, and then nothing
			err := l.x.m.Fetch(ctx, l.b.id, untaken, 0, writer(func(b []byte) (int, error) {
				<-ctx.Done()
				return 0, ctx.Err()
			}))
			if !errors.Is(err, context.Canceled) {
				t.Errorf("who does not take it: %v", err)
			}
		})
		stuck := l.share(noise(51, 2<<20))
		release := l.there.stick(stuck)
		var fate error
		var stopped time.Duration
		began := time.Now()
		ended := make(chan struct{})
		go func() { // ends when the other side says that there is no content
			defer close(ended)
			_, fate = l.get(stuck, 0)
			stopped = time.Since(began)
		}()
		<-time.After(time.Second)
		content := noise(52, 1<<20)
		if got, err := l.get(l.share(content), 0); err != nil || !bytes.Equal(got, content) || time.Since(began) > 4*time.Second {
			t.Errorf("another blob: %d bytes, %v, after %v", len(got), err, time.Since(began))
		}
		l.b.say(2, l.a, 1, "meanwhile")
		l.b.until("the message is there", func() bool { return l.b.acked(l.a) })
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("a message took until %v", took)
		}
		<-ended
		if protocol.CodeOf(fate) != protocol.CodeUnavailable || stopped < lendWait || stopped > 2*lendWait {
			t.Errorf("content that does not come: %v after %v", fate, stopped)
		}
		release()
		if _, err := l.get(stuck, 0); err != nil {
			t.Errorf("when it comes again: %v", err)
		}
		for i := range 2 * mostFetches {
			id := l.share(noise(uint64(100+i), 1000))
			l.there.stick(id)
			waiting.Go(func() { _ = l.x.m.Fetch(ctx, l.b.id, id, 0, new(bytes.Buffer)) })
		}
		<-time.After(time.Second)
		id := far.put(content, l.a)
		l.here.hear(id, uint64(len(content)), c)
		began = time.Now()
		var got bytes.Buffer
		if err := l.x.m.Fetch(ctx, c.id, id, 0, &got); err != nil || !bytes.Equal(got.Bytes(), content) || time.Since(began) > 3*time.Second {
			t.Errorf("from another office: %d bytes, %v, after %v", got.Len(), err, time.Since(began))
		}
	})
}

// TestFilesLeaveRoom: over a narrow way, with a queue in which seconds of bytes could wait, a large file comes about as fast as the way allows, and a message is hardly later
// than without it [FED-FILE-6].
func TestFilesLeaveRoom(t *testing.T) {
	const rate = 1 << 20 // bytes in a second
	bubble(t, func(t *testing.T, n *simnet.Network) {
		l := newLenders(t, n, func(_, b *branch) { b.narrowTo(rate) })
		content := noise(1, 12<<20)
		id := l.share(content)
		slowest := func(for_ func() bool) (most time.Duration, messages int) {
			for for_() {
				began := time.Now()
				l.b.say(2, l.a, 1, "small")
				l.b.until("the message is there", func() bool { return l.b.acked(l.a) })
				most = max(most, time.Since(began))
				messages++
				<-time.After(100 * time.Millisecond)
			}
			return most, messages
		}
		turns := 20
		without, _ := slowest(func() bool { turns--; return turns >= 0 })
		began := time.Now()
		done := make(chan error, 1)
		var took time.Duration
		go func() { // ends with the transfer
			got, err := l.get(id, 0)
			took = time.Since(began)
			if err == nil && !bytes.Equal(got, content) {
				err = errors.New("something else came")
			}
			done <- err
		}()
		with, messages := slowest(func() bool { return len(done) == 0 })
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		speed := float64(len(content)) / took.Seconds()
		t.Logf("%.0f KiB/s of %d; a message takes %v without, %d with the file %v at most", speed/1024, rate/1024, without, messages, with)
		if speed < 0.75*rate {
			t.Errorf("%.0f bytes in a second, of %d", speed, rate)
		}
		if with > without+300*time.Millisecond {
			t.Errorf("a message took %v beside the file, %v without", with, without)
		}
	})
}
