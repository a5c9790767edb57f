package raftstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
	"go.uber.org/goleak"

	"teamtalk/protocol"
)

// wait is far more than anything here takes: raft backs off for up to 10 s from a node that was away.
const wait = time.Minute

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		os.Exit(childMain(dir))
	}
	goleak.VerifyTestMain(m)
}

// toy is a machine with a row per command, under its position.
type toy struct {
	mu     sync.Mutex
	opened int
	format byte
}

var toyBucket, toyMeta = []byte("rows"), []byte("toy")

var errRefused = errors.New("refused by the rules")

func (m *toy) Open(tx *bbolt.Tx) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.opened++
	meta, err := tx.CreateBucketIfNotExists(toyMeta)
	if err != nil {
		return err
	}
	if f := meta.Get([]byte("format")); len(f) == 1 && f[0] > m.format {
		return fmt.Errorf("the toy has format %d", f[0])
	}
	if err := meta.Put([]byte("format"), []byte{m.format}); err != nil {
		return err
	}
	_, err = tx.CreateBucketIfNotExists(toyBucket)
	return err
}

func (m *toy) Apply(tx *bbolt.Tx, at protocol.Position, timeMs int64, cmd []byte) (Applied, error) {
	switch string(cmd) {
	case "refuse":
		return Applied{Result: errRefused}, nil
	case "break":
		return Applied{}, errors.New("the machine is broken")
	}
	b := tx.Bucket(toyBucket)
	b.FillPercent = 1
	if victim, ok := bytes.CutPrefix(cmd, []byte("delete ")); ok {
		return Applied{Result: at, Forget: at.Index}, deleteRows(b, victim)
	}
	return Applied{
		Result: at,
		Events: []protocol.Event{{At: at, Body: protocol.DirectoryChanged{}}},
	}, b.Put(toyKey(at), cmd)
}

// deleteRows empties the rows with a content.
func deleteRows(b *bbolt.Bucket, content []byte) error {
	var keys [][]byte
	err := b.ForEach(func(k, v []byte) error {
		if bytes.Equal(v, content) {
			keys = append(keys, bytes.Clone(k))
		}
		return nil
	})
	for _, k := range keys {
		err = errors.Join(err, b.Put(k, nil))
	}
	return err
}

func toyKey(at protocol.Position) []byte {
	k := binary.BigEndian.AppendUint64(make([]byte, 0, 10), at.Index)
	return binary.BigEndian.AppendUint16(k, at.Sub)
}

// rows reads all rows of a toy, in log order.
func rows(t testing.TB, s *Store) (keys, values [][]byte) {
	t.Helper()
	err := s.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(toyBucket).ForEach(func(k, v []byte) error {
			keys, values = append(keys, bytes.Clone(k)), append(values, bytes.Clone(v))
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return keys, values
}

// recorder keeps the events it is given and sees that they are in order.
type recorder struct {
	mu    sync.Mutex
	last  protocol.Position
	count int
	jumps []protocol.Jumped
	wrong []string
	look  func(e protocol.Event) // called for each event
}

func (r *recorder) Publish(events []protocol.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range events {
		if r.count > 0 && !r.last.Before(e.At) {
			r.wrong = append(r.wrong, fmt.Sprintf("%s after %s", e.At, r.last))
		}
		if r.look != nil {
			r.look(e)
		}
		r.last = e.At
		r.count++
		if j, ok := e.Body.(protocol.Jumped); ok {
			r.jumps = append(r.jumps, j)
		}
	}
}

func (r *recorder) check(t testing.TB) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.wrong {
		t.Errorf("events out of order: %s", w)
	}
}

// fatals collects what Fatal is told.
type fatals struct {
	mu   sync.Mutex
	errs []error
	ch   chan struct{}
}

func newFatals() *fatals { return &fatals{ch: make(chan struct{})} }

func (f *fatals) call(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.errs) == 0 {
		close(f.ch)
	}
	f.errs = append(f.errs, err)
}

func (f *fatals) wait(t testing.TB) error {
	t.Helper()
	select {
	case <-f.ch:
	case <-time.After(wait):
		t.Fatal("Fatal was not called")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.errs[0]
}

func quietLogger() *slog.Logger {
	if os.Getenv("RAFTSTORE_LOG") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return slog.New(slog.DiscardHandler)
}

// single is the Config of a one-node cluster in dir.
func single(t testing.TB, dir string) Config {
	_, trans := raft.NewInmemTransport("n1")
	return Config{Dir: dir, NodeID: "n1", Transport: trans, Bootstrap: []Member{{"n1", "n1"}}, Machine: &toy{}, Version: "test",
		Logger: quietLogger(), Fatal: func(err error) { t.Errorf("fatal: %v", err) }}
}

func open(t testing.TB, cfg Config) *Store {
	t.Helper()
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeStore(t, s) })
	return s
}

func closeStore(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func propose(t testing.TB, s *Store, cmd string) protocol.Position {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	r, err := s.Propose(ctx, []byte(cmd))
	if err != nil {
		t.Fatalf("propose %.20q: %v", cmd, err)
	}
	at, ok := r.(protocol.Position)
	if !ok {
		t.Fatalf("result is %T: %v", r, r)
	}
	return at
}

// eventually waits for a condition that other goroutines bring about.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(wait)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// dataPath is a directory that does not exist yet.
func dataPath(t testing.TB) string { return filepath.Join(t.TempDir(), "data") }

// percentile sorts times and returns one of them in milliseconds.
func percentile(times []time.Duration, p int) float64 {
	if len(times) == 0 {
		return 0
	}
	slices.Sort(times)
	return float64(times[(len(times)-1)*p/100]) / float64(time.Millisecond)
}
