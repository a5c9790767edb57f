package blobs

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"teamtalk/protocol"
)

// patience is far more than anything here takes.
const patience = 60 * time.Second

func TestMain(m *testing.M) {
	if dir := os.Getenv(victimDir); dir != "" {
		victim(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

// ledger is what a cluster has recorded, the same for all its nodes at any time. What the real one does is tested with the real one, in cluster_test.go.
type ledger struct {
	mu      sync.Mutex // guards what follows
	rows    map[protocol.BlobID]*ledgerRow
	fails   []error // what the next commands are answered with, without effect
	held    error   // why none are recorded
	readers []chan protocol.Event
	done    []protocol.Command
}

type ledgerRow struct {
	blob  protocol.Blob
	nodes []protocol.NodeID
	shown bool
}

func newLedger() *ledger { return &ledger{rows: map[protocol.BlobID]*ledgerRow{}} }

// Execute carries out a command.
func (l *ledger) Execute(ctx context.Context, cmd protocol.Command) (any, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(l.fails) > 0 {
		err := l.fails[0]
		l.fails = l.fails[1:]
		return nil, err
	}
	l.done = append(l.done, cmd)
	return l.apply(cmd)
}

func (l *ledger) apply(cmd protocol.Command) (any, error) {
	switch c := cmd.(type) {
	case *protocol.PutBlob:
		r := l.rows[c.Blob.ID]
		known := r != nil
		if !known {
			if c.Quota != 0 && c.Blob.Size > c.Quota {
				return nil, protocol.Errorf(protocol.CodeQuota, "no room")
			}
			r = &ledgerRow{blob: c.Blob}
			r.blob.Added = protocol.TimeOf(time.Now())
			l.rows[c.Blob.ID] = r
		}
		r.hold(c.Node)
		if !known {
			l.tell(protocol.BlobAdded{Blob: r.blob, Node: c.Node})
		}
		return protocol.PutBlobResult{Blob: r.blob, Known: known}, nil
	case *protocol.HoldBlobs:
		var result protocol.HoldBlobsResult
		for _, id := range c.IDs {
			r := l.rows[id]
			switch {
			case r == nil:
				result.Unknown = append(result.Unknown, id)
			case c.Lost:
				r.nodes = slices.DeleteFunc(r.nodes, func(n protocol.NodeID) bool { return n == c.Node })
			default:
				r.hold(c.Node)
			}
		}
		return result, nil
	case *protocol.DropBlobs:
		var result protocol.DropBlobsResult
		for _, id := range c.IDs {
			if r := l.rows[id]; r != nil && !(c.Unused && r.shown) {
				delete(l.rows, id)
				result.Dropped = append(result.Dropped, id)
			}
		}
		l.tell(protocol.BlobsDropped{IDs: result.Dropped})
		return result, nil
	}
	return nil, errors.New("another command")
}

func (r *ledgerRow) hold(n protocol.NodeID) {
	if !slices.Contains(r.nodes, n) {
		r.nodes = append(r.nodes, n)
	}
}

func (l *ledger) tell(body protocol.EventBody) {
	for _, r := range l.readers {
		r <- protocol.Event{Body: body}
	}
}

// events are those of the ledger from now on.
func (l *ledger) events() Events {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := make(chan protocol.Event, 1024)
	l.readers = append(l.readers, r)
	return reader(r)
}

type reader chan protocol.Event

// Next waits for one.
func (r reader) Next(ctx context.Context) ([]protocol.Event, error) {
	select {
	case e := <-r:
		return []protocol.Event{e}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Head says that this node leads.
func (l *ledger) Head() (protocol.Cursor, bool) { return 1, true }

// Blob is what is recorded of one.
func (l *ledger) Blob(id protocol.BlobID) (protocol.Blob, []protocol.NodeID, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.rows[id]
	if r == nil {
		return protocol.Blob{}, nil, protocol.Errorf(protocol.CodeNotFound, "not recorded")
	}
	return r.blob, slices.Clone(r.nodes), nil
}

// BlobPlaces are those after one.
func (l *ledger) BlobPlaces(after protocol.BlobID, limit int) (all []protocol.BlobPlace, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range slices.SortedFunc(maps.Keys(l.rows), compareIDs) {
		if compareIDs(id, after) > 0 && len(all) < limit {
			all = append(all, protocol.BlobPlace{Blob: l.rows[id].blob, Nodes: slices.Clone(l.rows[id].nodes)})
		}
	}
	return all, nil
}

func compareIDs(a, b protocol.BlobID) int { return bytes.Compare(a[:], b[:]) }

// UnusedBlobs are those that nothing shows.
func (l *ledger) UnusedBlobs(before protocol.Time, limit int) ([]protocol.Blob, error) {
	return l.older(before, limit, func(r *ledgerRow) bool { return !r.shown })
}

// BlobsAddedBefore are those that are older.
func (l *ledger) BlobsAddedBefore(before protocol.Time, limit int) ([]protocol.Blob, error) {
	return l.older(before, limit, func(*ledgerRow) bool { return true })
}

func (l *ledger) older(before protocol.Time, limit int, wanted func(*ledgerRow) bool) (all []protocol.Blob, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.rows {
		if r.blob.Added < before && wanted(r) {
			all = append(all, r.blob)
		}
	}
	slices.SortFunc(all, func(a, b protocol.Blob) int { return cmp.Compare(a.Added, b.Added) })
	return all[:min(limit, len(all))], nil
}

// BlobUsage counts those that some node has.
func (l *ledger) BlobUsage(user protocol.UserID) (mine, all uint64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.rows {
		if len(r.nodes) == 0 {
			continue
		}
		all += r.blob.Size
		if r.blob.Owner == user {
			mine += r.blob.Size
		}
	}
	return mine, all, nil
}

// MayStore says that blobs are recorded, unless a test says otherwise.
func (l *ledger) MayStore() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held
}

// holders are the nodes that are recorded to have a blob.
func (l *ledger) holders(id protocol.BlobID) []protocol.NodeID {
	_, nodes, _ := l.Blob(id)
	slices.Sort(nodes)
	return nodes
}

// record notes a blob that is elsewhere.
func (l *ledger) record(b protocol.Blob, nodes ...protocol.NodeID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b.Added = protocol.TimeOf(time.Now())
	l.rows[b.ID] = &ledgerRow{blob: b, nodes: nodes}
}

// site is a Keeper, and what it was made of.
type site struct {
	*Keeper
	dir  string
	disk *Disk
}

// open makes a Keeper of a disk.
func open(t testing.TB, node protocol.NodeID, state State, change func(*Config)) *site {
	t.Helper()
	return openIn(t, t.TempDir(), node, state, change)
}

func openIn(t testing.TB, dir string, node protocol.NodeID, state State, change func(*Config)) *site {
	t.Helper()
	disk, err := NewDisk(dir)
	if err != nil {
		t.Fatal(err)
	}
	c := Config{Backend: disk, Temp: filepath.Join(dir, "tmp"), State: state, Node: node, Log: testLog(t), FreeSpace: func() (uint64, error) { return 1 << 40, nil }}
	if change != nil {
		change(&c)
	}
	k, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return &site{Keeper: k, dir: dir, disk: disk}
}

func testLog(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// run has a site work in the background until the test ends.
func (s *site) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { // ended and joined by the clean-up
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
}

// bring uploads.
func (s *site) bring(t testing.TB, content []byte) protocol.Blob {
	t.Helper()
	b, err := s.upload(content, protocol.Blob{Owner: 7, Type: "text/plain"})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (s *site) upload(content []byte, b protocol.Blob) (protocol.Blob, error) {
	d, err := s.Begin(context.Background(), b.Owner, 0)
	if err != nil {
		return b, err
	}
	defer d.Abort()
	if _, err := d.Write(content); err != nil {
		return b, err
	}
	return s.Keep(context.Background(), d, b)
}

// read reads all of a blob.
func (s *site) read(ctx context.Context, id protocol.BlobID) ([]byte, error) {
	c, err := s.Open(ctx, id)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return io.ReadAll(c)
}

// files are what is in a site's folder, with the temporary ones.
func (s *site) files(t testing.TB) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(s.dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			all = append(all, d.Name())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// random is content that does not repeat.
func random(t testing.TB, size int) []byte {
	t.Helper()
	b := make([]byte, size)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return b
}

// of is the blob that content makes.
func of(content []byte) protocol.Blob {
	return protocol.Blob{ID: sha256.Sum256(content), Size: uint64(len(content))}
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, reached func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(patience)
	for !reached() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("not in %s: %s", patience, what)
		}
	}
}

// town are nodes that reach each other in memory.
type town struct {
	mu    sync.Mutex // guards what follows
	sites map[protocol.NodeID]*site
	down  map[protocol.NodeID]bool
	dials map[protocol.NodeID]int
	// bend gets at what a node sends; nil: nothing does.
	bend func(net.Conn) net.Conn
	wg   sync.WaitGroup
}

func newTown(t testing.TB) *town {
	w := &town{sites: map[protocol.NodeID]*site{}, down: map[protocol.NodeID]bool{}, dials: map[protocol.NodeID]int{}}
	t.Cleanup(w.wg.Wait)
	return w
}

// seen is the town from one of its nodes.
type seen struct {
	*town
	from protocol.NodeID
}

// Others are all but that.
func (w seen) Others() map[protocol.NodeID]bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	others := map[protocol.NodeID]bool{}
	for n := range w.sites {
		if n != w.from {
			others[n] = !w.down[n]
		}
	}
	return others
}

// Dial makes a pipe.
func (w seen) Dial(_ context.Context, n protocol.NodeID) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.sites[n]
	if s == nil || w.down[n] {
		return nil, errors.New("nobody there")
	}
	w.dials[n]++
	ours, theirs := net.Pipe()
	if w.bend != nil {
		theirs = w.bend(theirs)
	}
	w.wg.Go(func() { // ends with the pipe
		defer theirs.Close()
		_ = s.answer(context.Background(), theirs)
	})
	return ours, nil
}

// add makes a node of the town.
func (w *town) add(t testing.TB, n protocol.NodeID, state State, change func(*Config)) *site {
	t.Helper()
	s := open(t, n, state, func(c *Config) {
		c.Nodes = seen{w, n}
		if change != nil {
			change(c)
		}
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sites[n] = s
	return s
}

func (w *town) dialled(n protocol.NodeID) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dials[n]
}

func (w *town) cut(n protocol.NodeID, down bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down[n] = down
}
