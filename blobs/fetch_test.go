package blobs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"teamtalk/protocol"
)

func TestFetchOnAMiss(t *testing.T) {
	l, w := newLedger(), newTown(t)
	a, b := w.add(t, "n1", l, nil), w.add(t, "n2", l, nil)
	b.run(t)
	for _, content := range [][]byte{nil, []byte("x"), random(t, 3<<20)} {
		id := a.bring(t, content).ID
		got, err := b.read(t.Context(), id)
		if err != nil || !bytes.Equal(got, content) {
			t.Fatalf("%d bytes came of %d, %v", len(got), len(content), err)
		}
		eventually(t, "it is recorded that n2 has it", func() bool { return slices.Equal(l.holders(id), []protocol.NodeID{"n1", "n2"}) })
		w.cut("n1", true)
		if got, err := b.read(t.Context(), id); err != nil || !bytes.Equal(got, content) {
			t.Errorf("the second time: %d bytes of %d, %v", len(got), len(content), err)
		}
		w.cut("n1", false)
	}
	if _, err := b.Open(t.Context(), protocol.BlobID{1}); protocol.CodeOf(err) != protocol.CodeNotFound {
		t.Errorf("a blob that nobody knows: %v", err)
	}
}

// TestOneFetchForAll: those who open a missing blob at the same time share one fetch, wherever they read.
func TestOneFetchForAll(t *testing.T) {
	l, w := newLedger(), newTown(t)
	a, b := w.add(t, "n1", l, nil), w.add(t, "n2", l, nil)
	content := random(t, 2<<20)
	id := a.bring(t, content).ID
	hold := make(chan struct{})
	w.bend = func(c net.Conn) net.Conn { return &gated{Conn: c, after: 1 << 20, open: hold} }
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			c, err := b.Open(t.Context(), id)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			from := int64(i) * 100_000
			if _, err := c.Seek(from, io.SeekStart); err != nil {
				t.Error(err)
			}
			if i == 0 { // the others are on their way
				head := make([]byte, 1000)
				if _, err := io.ReadFull(c, head); err != nil || !bytes.Equal(head, content[:1000]) {
					t.Errorf("the begin: %v", err)
				}
				from = 1000
				close(hold)
			}
			if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, content[from:]) {
				t.Errorf("from %d: %d bytes, %v", from, len(got), err)
			}
		})
	}
	wg.Wait()
	if n := w.dialled("n1"); n != 1 {
		t.Errorf("fetched %d times", n)
	}
}

// gated lets so many bytes pass, and the rest when it is opened.
type gated struct {
	net.Conn
	after int
	open  <-chan struct{}
}

func (g *gated) Write(b []byte) (int, error) {
	if g.after -= len(b); g.after < 0 {
		<-g.open
	}
	return g.Conn.Write(b)
}

// bent changes the byte at a place in what is sent.
type bent struct {
	net.Conn
	at, sent int
}

func (c *bent) Write(b []byte) (int, error) {
	b = bytes.Clone(b)
	if i := c.at - c.sent; i >= 0 && i < len(b) {
		b[i] ^= 1
	}
	c.sent += len(b)
	return c.Conn.Write(b)
}

// answerHead is how many bytes are before the content.
const answerHead = 1 + 8

// TestWrongContent: what another node sends that is not the blob is never handed out whole, nor kept.
func TestWrongContent(t *testing.T) {
	content := random(t, 300_000)
	for name, at := range map[string]int{"first byte": 0, "middle": 150_000, "last byte": len(content) - 1} {
		t.Run(name, func(t *testing.T) {
			l, w := newLedger(), newTown(t)
			a, b := w.add(t, "n1", l, nil), w.add(t, "n2", l, nil)
			id := a.bring(t, content).ID
			w.bend = func(c net.Conn) net.Conn { return &bent{Conn: c, at: answerHead + at} }
			got, err := b.read(t.Context(), id)
			if err == nil || errors.Is(err, io.EOF) || len(got) >= len(content) {
				t.Errorf("%d bytes of %d, %v", len(got), len(content), err)
			}
			b.Close()
			if left := b.files(t); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
	t.Run("another size", func(t *testing.T) {
		l, w := newLedger(), newTown(t)
		a, b := w.add(t, "n1", l, nil), w.add(t, "n2", l, nil)
		r := a.bring(t, content)
		for _, size := range []uint64{r.Size - 1, r.Size + 1} {
			wrong := r
			wrong.Size = size
			l.record(wrong, "n1")
			if got, err := b.read(t.Context(), r.ID); err == nil || len(got) > 0 {
				t.Errorf("%d bytes of what should be %d, %v", len(got), size, err)
			}
		}
	})
}

// TestAnotherIsAsked: of two that have it, one sends something else.
func TestAnotherIsAsked(t *testing.T) {
	l, w := newLedger(), newTown(t)
	a, b, c := w.add(t, "n1", l, nil), w.add(t, "n2", l, nil), w.add(t, "n3", l, nil)
	content := random(t, 300_000)
	id := a.bring(t, content).ID
	b.bring(t, content)
	var first atomic.Bool
	w.bend = func(c net.Conn) net.Conn {
		if first.CompareAndSwap(false, true) {
			return &bent{Conn: c, at: answerHead + 5}
		}
		return c
	}
	// Who has read something wrong must not go on; who comes later gets the right thing.
	if got, err := c.read(t.Context(), id); err == nil && !bytes.Equal(got, content) {
		t.Error("another content was handed out")
	}
	if got, err := c.read(t.Context(), id); err != nil || !bytes.Equal(got, content) {
		t.Errorf("the second time: %d bytes, %v", len(got), err)
	}
	if w.dialled("n1") != 1 || w.dialled("n2") != 1 {
		t.Errorf("asked %d and %d times", w.dialled("n1"), w.dialled("n2"))
	}
}

// TestReadersOfWrongContent: of two who wait for the same blob, the one who has read something wrong gets an error; the other one gets the right content, from
// the next who has it.
func TestReadersOfWrongContent(t *testing.T) {
	content := random(t, 500_000)
	b := of(content)
	b.Peer = [16]byte{9}
	l, w := newLedger(), newTown(t)
	liar := w.add(t, "n1", l, nil)
	put(t, liar.disk, content)
	s := w.add(t, "n2", l, func(c *Config) { c.Abroad = &office{content: content} })
	l.record(b, "n1")
	hold := make(chan struct{})
	w.bend = func(c net.Conn) net.Conn {
		return &gated{Conn: &bent{Conn: c, at: answerHead + 5}, after: 300_000, open: hold}
	}
	var readers [2]*Content
	for i := range readers {
		c, err := s.Open(t.Context(), b.ID)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		readers[i] = c
	}
	if _, err := io.ReadFull(readers[0], make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	close(hold)
	f := readers[0].from.(*follower).fetch
	eventually(t, "the right content is there", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.good
	})
	if got, err := io.ReadAll(readers[1]); err != nil || !bytes.Equal(got, content) {
		t.Errorf("who had read nothing: %d bytes, %v", len(got), err)
	}
	if got, err := io.ReadAll(readers[0]); !errors.Is(err, errMismatch) || len(got) > 0 {
		t.Errorf("who had read something else: %d more bytes, %v", len(got), err)
	}
}

// liar is an office that sends another content, and waits before it says that this is all.
type liar struct {
	content []byte
	release <-chan struct{}
}

// Fetch writes.
func (o liar) Fetch(_ context.Context, _ [16]byte, _ protocol.BlobID, offset uint64, w io.Writer) error {
	_, err := w.Write(o.content[offset:])
	<-o.release
	return err
}

// TestLastByteWaits: until the hash is known to be right, the last byte is not handed out, though it is here.
func TestLastByteWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, right := range []bool{true, false} {
			content := random(t, 100_000)
			b := of(content)
			b.Peer = [16]byte{9}
			release := make(chan struct{})
			if !right {
				content = bytes.Clone(content)
				content[7] ^= 1
			}
			l := newLedger()
			s := open(t, "n1", l, func(c *Config) { c.Abroad = liar{content, release} })
			l.record(b)
			var got int
			ended := make(chan error, 1)
			go func() { // ends with what it reads
				c, err := s.Open(t.Context(), b.ID)
				for buf := make([]byte, 30_000); err == nil; {
					var n int
					n, err = c.Read(buf)
					got += n
				}
				if c != nil {
					_ = c.Close()
				}
				ended <- err
			}()
			synctest.Wait()
			if got != len(content)-1 {
				t.Errorf("%d of %d bytes were handed out before the hash was known", got, len(content))
			}
			close(release)
			if err := <-ended; errors.Is(err, io.EOF) != right || got == len(content) != right {
				t.Errorf("in the end %d of %d bytes, %v", got, len(content), err)
			}
		}
	})
}

// broken breaks after so many bytes.
type broken struct {
	net.Conn
	left int
	sent *atomic.Int64
}

func (c *broken) Write(b []byte) (int, error) {
	if len(b) > c.left {
		b = b[:c.left]
	}
	n, err := c.Conn.Write(b)
	c.sent.Add(int64(n))
	if c.left -= n; c.left == 0 && err == nil {
		err = errors.Join(io.ErrClosedPipe, c.Close())
	}
	return n, err
}

// TestFetchGoesOn: after a broken stream it goes on where it was, with the same node or another one.
func TestFetchGoesOn(t *testing.T) {
	for _, holders := range []int{1, 2} {
		l, w := newLedger(), newTown(t)
		a, b, c := w.add(t, "n1", l, nil), w.add(t, "n2", l, nil), w.add(t, "n3", l, nil)
		content := random(t, 2<<20)
		id := a.bring(t, content).ID
		if holders == 2 {
			b.bring(t, content)
		}
		var sent atomic.Int64
		w.bend = func(c net.Conn) net.Conn { return &broken{Conn: c, left: 300_000, sent: &sent} }
		if got, err := c.read(t.Context(), id); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%d bytes of %d, %v", len(got), len(content), err)
		}
		if n := sent.Load(); n > int64(len(content))+10*answerHead {
			t.Errorf("%d bytes were sent for %d", n, len(content))
		}
	}
}

// TestNobodyHasIt: those who open it are told soon, and may stop waiting at any time.
func TestNobodyHasIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, w := newLedger(), newTown(t)
		a, b := w.add(t, "n1", l, nil), w.add(t, "n2", l, nil)
		b1, b2 := of([]byte("nowhere")), of([]byte("at a node that has left"))
		l.record(b1, "n1")
		l.record(b2, "n9")
		began := time.Now()
		for _, id := range []protocol.BlobID{b1.ID, b2.ID} {
			if _, err := b.read(t.Context(), id); protocol.CodeOf(err) != protocol.CodeUnavailable {
				t.Errorf("got %v", err)
			}
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("told after %s", took)
		}
		w.cut("n1", true)
		l.record(of([]byte("down")), "n1")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := b.Open(ctx, of([]byte("down")).ID); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		a.Close()
		b.Close() // ends what is still being tried
		if _, err := b.Open(t.Context(), b1.ID); protocol.CodeOf(err) != protocol.CodeUnavailable {
			t.Errorf("of one that is closed: %v", err)
		}
	})
}

// TestStalledNode: a node that has begun to send and stands still is given up for another one.
func TestStalledNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, w := newLedger(), newTown(t)
		a, b, c := w.add(t, "n1", l, nil), w.add(t, "n2", l, nil), w.add(t, "n3", l, nil)
		content := random(t, 1<<20)
		id := a.bring(t, content).ID
		b.bring(t, content)
		var first atomic.Bool
		never := make(chan struct{})
		w.bend = func(c net.Conn) net.Conn {
			if first.CompareAndSwap(false, true) {
				return &gated{Conn: c, after: 500_000, open: never}
			}
			return c
		}
		began := time.Now()
		got, err := c.read(t.Context(), id)
		if took := time.Since(began); err != nil || !bytes.Equal(got, content) || took > 35*time.Second {
			t.Errorf("%d bytes after %s, %v", len(got), took, err)
		}
		close(never)
	})
}

// office is the cluster of another office.
type office struct {
	mu      sync.Mutex // guards what follows
	content []byte
	at      []uint64 // offsets asked for
	breaks  int      // how often it breaks off after 100,000 bytes
	endless bool     // it sends on for ever
}

// Fetch writes.
func (o *office) Fetch(_ context.Context, peer [16]byte, id protocol.BlobID, offset uint64, w io.Writer) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.at = append(o.at, offset)
	rest := o.content[offset:]
	if peer != [16]byte{9} {
		return protocol.Errorf(protocol.CodeNotFound, "no such office")
	}
	if o.breaks > 0 {
		o.breaks--
		_, err := w.Write(rest[:100_000])
		return errors.Join(err, protocol.Errorf(protocol.CodeUnavailable, "the link is down"))
	}
	_, err := w.Write(rest)
	for o.endless && err == nil {
		_, err = w.Write(rest)
	}
	return err
}

func TestFetchFromAnotherOffice(t *testing.T) {
	content := random(t, 500_000)
	b := of(content)
	b.Peer = [16]byte{9}
	l, w := newLedger(), newTown(t)
	o := &office{content: content, breaks: 2}
	s, other := w.add(t, "n1", l, func(c *Config) { c.Abroad = o }), w.add(t, "n2", l, nil)
	s.run(t)
	l.record(b)
	if got, err := s.read(t.Context(), b.ID); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if !slices.Equal(o.at, []uint64{0, 100_000, 200_000}) {
		t.Errorf("asked at %v", o.at)
	}
	eventually(t, "it is recorded that n1 has it", func() bool { return slices.Equal(l.holders(b.ID), []protocol.NodeID{"n1"}) })
	if got, err := other.read(t.Context(), b.ID); err != nil || !bytes.Equal(got, content) || len(o.at) != 3 {
		t.Errorf("from the node that has it: %d bytes, %v, asked at %v", len(got), err, o.at)
	}

	wrong := of([]byte("what was announced"))
	wrong.Peer, wrong.Size = [16]byte{9}, b.Size
	l.record(wrong)
	if got, err := s.read(t.Context(), wrong.ID); err == nil || len(got) >= len(content) {
		t.Errorf("another content than announced: %d bytes, %v", len(got), err)
	}
	o.endless = true
	longer := wrong
	longer.Size = 10
	l.record(longer)
	if got, err := s.read(t.Context(), wrong.ID); err == nil || len(got) >= 10 {
		t.Errorf("more than announced: %d bytes, %v", len(got), err)
	}
	eventually(t, "nothing is left of the wrong ones", func() bool { return slices.Equal(s.files(t), []string{b.ID.String()}) })
}

// silent is an office that is asked and never answers.
type silent struct{ asked chan struct{} }

// Fetch waits.
func (s silent) Fetch(ctx context.Context, _ [16]byte, _ protocol.BlobID, _ uint64, _ io.Writer) error {
	close(s.asked)
	<-ctx.Done()
	return ctx.Err()
}

// TestSlowOffice: what only another office has, and does not hand out, holds up nothing that another node has.
func TestSlowOffice(t *testing.T) {
	l, w := newLedger(), newTown(t)
	far := silent{make(chan struct{})}
	a, b := w.add(t, "n1", l, nil), w.add(t, "n2", l, func(c *Config) { c.Abroad, c.Tuning.Fetches = far, 1 })
	content := random(t, 100_000)
	id := a.bring(t, content).ID
	foreign := of([]byte("never comes"))
	foreign.Peer = [16]byte{9}
	l.record(foreign)
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() { // ends with ctx
		if _, err := b.Open(ctx, foreign.ID); err == nil {
			t.Error("it came")
		}
	})
	<-far.asked
	soon, enough := context.WithTimeout(t.Context(), 30*time.Second)
	defer enough()
	if got, err := b.read(soon, id); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	cancel()
	wait.Wait()
}

// TestDroppedWhileFetched: who reads it may end, but it is not kept.
func TestDroppedWhileFetched(t *testing.T) {
	l, w := newLedger(), newTown(t)
	a, b := w.add(t, "n1", l, nil), w.add(t, "n2", l, nil)
	content := random(t, 1<<20)
	id := a.bring(t, content).ID
	hold := make(chan struct{})
	w.bend = func(c net.Conn) net.Conn { return &gated{Conn: c, after: 500_000, open: hold} }
	c, err := b.Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Execute(t.Context(), &protocol.DropBlobs{IDs: []protocol.BlobID{id}}); err != nil {
		t.Fatal(err)
	}
	close(hold)
	if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	b.Close()
	if left := b.files(t); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestDiskFullWhileFetching: it is not tried elsewhere, and what came is removed.
func TestDiskFullWhileFetching(t *testing.T) {
	l, w := newLedger(), newTown(t)
	a := w.add(t, "n1", l, nil)
	b := w.add(t, "n2", l, func(c *Config) { c.MinFree, c.FreeSpace = 1, func() (uint64, error) { return 0, nil } })
	id := a.bring(t, random(t, 4<<20)).ID
	got, err := b.read(t.Context(), id)
	if !errors.Is(err, ErrDiskFull) || len(got) > 2*lookEvery || w.dialled("n1") != 1 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	b.Close()
	if left := b.files(t); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestLargeFileInLittleMemory has 64 MiB uploaded, fetched by another node and read, and counts all that was ever allocated meanwhile.
func TestLargeFileInLittleMemory(t *testing.T) {
	l, w := newLedger(), newTown(t)
	a, b := w.add(t, "n1", l, nil), w.add(t, "n2", l, nil)
	const size = 64 << 20
	before := allocated()
	d, err := a.Begin(t.Context(), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.CopyBuffer(struct{ io.Writer }{d}, io.LimitReader(zeros{}, size), make([]byte, 64<<10)); n != size || err != nil {
		t.Fatal(n, err)
	}
	r, err := a.Keep(t.Context(), d, protocol.Blob{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := b.Open(t.Context(), r.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, make([]byte, 64<<10)); n != size || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	if used := allocated() - before; used > 4<<20 {
		t.Errorf("%d KiB were allocated for %d MiB", used>>10, size>>20)
	} else {
		t.Logf("%d KiB", used>>10)
	}
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// zeros has no end.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// TestDamagedFile: a file that was cut here is got anew from another node.
func TestDamagedFile(t *testing.T) {
	l, w := newLedger(), newTown(t)
	a, b := w.add(t, "n1", l, nil), w.add(t, "n2", l, nil)
	content := random(t, 100_000)
	id := a.bring(t, content).ID
	b.bring(t, content)
	if err := os.Truncate(a.disk.path(id), 1000); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got, err := a.read(t.Context(), id); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}
	if n := w.dialled("n2"); n != 1 {
		t.Errorf("fetched %d times", n)
	}
}
