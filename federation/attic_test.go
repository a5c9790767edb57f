package federation

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"teamtalk/internal/simnet"
	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// An attic is what a branch has of blobs: what it knows of them, whom it has shown them, and the content of some.
type attic struct {
	mu      sync.Mutex // guards what follows
	known   map[protocol.BlobID]protocol.Blob
	content map[protocol.BlobID][]byte
	shown   map[protocol.BlobID][]fed.ClusterID
	stuck   map[protocol.BlobID]chan struct{} // the content does not come before this is closed
	fetch   func(ctx context.Context, b protocol.Blob, w io.Writer) error
	opened  int // times
}

func newAttic() *attic {
	return &attic{known: map[protocol.BlobID]protocol.Blob{}, content: map[protocol.BlobID][]byte{}, shown: map[protocol.BlobID][]fed.ClusterID{}, stuck: map[protocol.BlobID]chan struct{}{}}
}

// lend has a node get and hand out what is in the attic.
func (a *attic) lend(c *Config) { c.Files, c.Blobs = a, a }

// put puts in some content and shows it to branches.
func (a *attic) put(content []byte, to ...*branch) protocol.BlobID {
	id := protocol.BlobID(sha256.Sum256(content))
	a.mu.Lock()
	defer a.mu.Unlock()
	a.known[id], a.content[id] = protocol.Blob{ID: id, Size: uint64(len(content))}, content
	for _, b := range to {
		a.shown[id] = append(a.shown[id], b.id)
	}
	return id
}

// hear is a blob of another branch that somebody here was shown.
func (a *attic) hear(id protocol.BlobID, size uint64, from *branch, to ...*branch) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.known[id] = protocol.Blob{ID: id, Size: size, Peer: from.id}
	for _, b := range to {
		a.shown[id] = append(a.shown[id], b.id)
	}
}

// stick has the content of a blob not come before the test says so.
func (a *attic) stick(id protocol.BlobID) (release func()) {
	c := make(chan struct{})
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stuck[id] = c
	return sync.OnceFunc(func() { close(c) })
}

// Blob is what is known of one.
func (a *attic) Blob(id protocol.BlobID) (protocol.Blob, []protocol.NodeID, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	b, ok := a.known[id]
	if !ok {
		return b, nil, protocol.Errorf(protocol.CodeNotFound, "not in the attic")
	}
	return b, nil, nil
}

// MaySeeBlob says who was shown one.
func (a *attic) MaySeeBlob(peer [16]byte, id protocol.BlobID) (bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.shown[id] {
		if c == fed.ClusterID(peer) {
			return true, nil
		}
	}
	return false, nil
}

// Open opens one, which may have to come from elsewhere.
func (a *attic) Open(ctx context.Context, id protocol.BlobID) (io.ReadSeekCloser, protocol.Blob, error) {
	b, _, err := a.Blob(id)
	if err != nil {
		return nil, b, err
	}
	a.mu.Lock()
	content, here := a.content[id]
	stuck := a.stuck[id]
	a.opened++
	a.mu.Unlock()
	if here {
		return &opening{Reader: bytes.NewReader(content), stuck: stuck, ctx: ctx}, b, nil
	}
	f := &following{ctx: ctx, news: make(chan struct{})}
	f.fetching.Go(func() { // ends with ctx
		err := a.fetch(ctx, b, f)
		f.mu.Lock()
		defer f.mu.Unlock()
		f.err = err
		close(f.news)
	})
	return f, b, nil
}

// opening is content that is here.
type opening struct {
	*bytes.Reader
	stuck chan struct{}
	ctx   context.Context
}

// Read waits if the content is stuck.
func (o *opening) Read(b []byte) (int, error) {
	if o.stuck != nil {
		select {
		case <-o.stuck:
		case <-o.ctx.Done():
			return 0, o.ctx.Err()
		}
	}
	return o.Reader.Read(b)
}

// Close does nothing.
func (o *opening) Close() error { return nil }

// following is content that is read as it comes.
type following struct {
	ctx      context.Context
	fetching sync.WaitGroup

	mu   sync.Mutex // guards what follows
	have []byte
	at   int
	news chan struct{} // closed when there is more, or nothing more to come
	err  error
}

// Write takes what comes.
func (f *following) Write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.have = append(f.have, b...)
	close(f.news)
	f.news = make(chan struct{})
	return len(b), nil
}

// Read waits for what is to come.
func (f *following) Read(b []byte) (int, error) {
	for {
		f.mu.Lock()
		n := copy(b, f.have[min(f.at, len(f.have)):])
		f.at += n
		news, err := f.news, f.err
		f.mu.Unlock()
		if n > 0 || err != nil {
			return n, err
		}
		select {
		case <-news:
		case <-f.ctx.Done():
			return 0, f.ctx.Err()
		}
	}
}

// Seek goes anywhere.
func (f *following) Seek(to int64, _ int) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at = int(to)
	return to, nil
}

// Close waits for the fetch, which whoever closes it has ended.
func (f *following) Close() error {
	f.fetching.Wait()
	return nil
}

// noise is content that is like no other.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	random := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = random.Read(b)
	return b
}

// lenders are two linked branches; the first one is shown what the second one has.
type lenders struct {
	testing.TB
	net         *simnet.Network
	a, b        *branch
	here, there *attic
	x, y        *site
}

func newLenders(t *testing.T, n *simnet.Network, change ...func(a, b *branch)) *lenders {
	t.Helper()
	l := &lenders{TB: t, net: n, a: newBranch(t, n, 1, "a:443"), b: newBranch(t, n, 2, "b:443"), here: newAttic(), there: newAttic()}
	for _, c := range change {
		c(l.a, l.b)
	}
	befriend(l.a, l.b)
	l.x, l.y = l.a.open("a:443", false, l.here.lend), l.b.open("b:443", false, l.there.lend)
	l.a.until("a link", func() bool { return linked(l.x, l.y) })
	return l
}

// linked reports whether two nodes have a link, whoever dialled.
func linked(x, y *site) bool { return x.up(y.branch) && y.up(x.branch) }

// share has b show a some content.
func (l *lenders) share(content []byte) protocol.BlobID {
	id := l.there.put(content, l.a)
	l.here.hear(id, uint64(len(content)), l.b)
	return id
}

// get gets a blob of b's to a's node.
func (l *lenders) get(id protocol.BlobID, offset uint64) ([]byte, error) {
	var w bytes.Buffer
	err := l.x.m.Fetch(context.Background(), l.b.id, id, offset, &w)
	return w.Bytes(), err
}

// writer is a function that is written to.
type writer func([]byte) (int, error)

// Write calls it.
func (w writer) Write(b []byte) (int, error) { return w(b) }

// A narrow connection lets so many bytes in a second out, and takes a queue's more.
type narrow struct {
	net.Conn
	rate   int
	queue  chan []byte
	held   atomic.Int64 // bytes of the queue
	closed chan struct{}
	once   sync.Once
}

// narrowQueue is what waits before writers have to.
const narrowQueue = 4 << 20

// narrowTo has all connections of a branch be so narrow.
func (b *branch) narrowTo(rate int) {
	var running sync.WaitGroup
	b.Cleanup(running.Wait)
	b.bend = func(c net.Conn) net.Conn {
		n := &narrow{Conn: c, rate: rate, queue: make(chan []byte, 4096), closed: make(chan struct{})}
		running.Go(n.drain) // ends when it is closed
		return n
	}
}

// Write puts bytes into the queue.
func (n *narrow) Write(b []byte) (int, error) {
	for n.held.Load() > narrowQueue {
		select {
		case <-time.After(time.Millisecond):
		case <-n.closed:
			return 0, net.ErrClosed
		}
	}
	n.held.Add(int64(len(b)))
	select {
	case n.queue <- bytes.Clone(b):
		return len(b), nil
	case <-n.closed:
		return 0, net.ErrClosed
	}
}

func (n *narrow) drain() {
	for {
		select {
		case b := <-n.queue:
			select {
			case <-time.After(time.Duration(float64(len(b)) / float64(n.rate) * float64(time.Second))):
			case <-n.closed:
				return
			}
			n.held.Add(-int64(len(b)))
			if _, err := n.Conn.Write(b); err != nil {
				return
			}
		case <-n.closed:
			return
		}
	}
}

// SetWriteDeadline does nothing: the queue takes what is written.
func (n *narrow) SetWriteDeadline(time.Time) error { return nil }

// Close closes the connection.
func (n *narrow) Close() error {
	n.once.Do(func() { close(n.closed) })
	return n.Conn.Close()
}
