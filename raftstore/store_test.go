package raftstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/bbolt"

	"teamtalk/protocol"
)

func TestProposeReadsItsOwnWrite(t *testing.T) {
	rec := &recorder{}
	cfg := single(t, dataPath(t))
	cfg.Publisher = rec
	var s *Store
	rec.look = func(e protocol.Event) { // an event comes after its command is on disk
		err := s.View(func(tx *bbolt.Tx) error {
			if tx.Bucket(toyBucket).Get(toyKey(e.At)) == nil {
				t.Errorf("the event of %s came before its row", e.At)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	s = open(t, cfg)
	var wg sync.WaitGroup
	for w := range 40 {
		wg.Go(func() {
			for i := range 10 {
				cmd := fmt.Sprintf("%d/%d", w, i)
				at := propose(t, s, cmd)
				err := s.View(func(tx *bbolt.Tx) error {
					if got := tx.Bucket(toyBucket).Get(toyKey(at)); string(got) != cmd {
						t.Errorf("at %s is %q, proposed was %q", at, got, cmd)
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
				if s.Applied() < protocol.Cursor(at.Index) {
					t.Errorf("answered %s, applied is %d", at, s.Applied())
				}
			}
		})
	}
	wg.Wait()
	rec.check(t)
	if keys, _ := rows(t, s); len(keys) != 400 || rec.count != 400 {
		t.Errorf("%d rows and %d events, want 400", len(keys), rec.count)
	}
}

func TestStateSurvivesRestart(t *testing.T) {
	dir := dataPath(t)
	s := open(t, single(t, dir))
	at := propose(t, s, "kept")
	closeStore(t, s)
	s = open(t, single(t, dir))
	if s.Applied() < protocol.Cursor(at.Index) {
		t.Errorf("applied is %d before there is a leader, want %d", s.Applied(), at.Index)
	}
	if next := propose(t, s, "more"); !at.Before(next) {
		t.Errorf("%s came after %s", next, at)
	}
	if _, values := rows(t, s); len(values) != 2 || string(values[0]) != "kept" {
		t.Errorf("rows are %q", values)
	}
}

func TestRefusalIsAnAnswer(t *testing.T) {
	s := open(t, single(t, dataPath(t)))
	r, err := s.Propose(t.Context(), []byte("refuse"))
	if !errors.Is(err, errRefused) || r != nil {
		t.Errorf("got %v, %v", r, err)
	}
	propose(t, s, "goes on")
}

// What one caller starts is executed in that order, whether he waits in between or not.
func TestStartKeepsTheOrder(t *testing.T) {
	cfg := single(t, dataPath(t))
	cfg.Tuning.Window = 2
	s := open(t, cfg)
	const n = 3 * batchCommands
	var wg sync.WaitGroup
	for caller := range 3 {
		wg.Go(func() {
			var futures []*Future
			for i := range n {
				f, err := s.Start(context.Background(), fmt.Appendf(nil, "%d %d", caller, i))
				if err != nil {
					t.Error(err)
					return
				}
				futures = append(futures, f)
			}
			var before protocol.Position
			for i, f := range futures {
				r, err := f.Wait(context.Background())
				at, ok := r.(protocol.Position)
				if err != nil || !ok || i > 0 && !before.Before(at) {
					t.Errorf("command %d of caller %d: %v after %s, error %v", i, caller, r, before, err)
				}
				before = at
			}
		})
	}
	wg.Wait()
}

// A command whose caller lost interest is executed all the same, and hinders nobody.
func TestStartWithoutWait(t *testing.T) {
	s := open(t, single(t, dataPath(t)))
	for range 100 {
		if _, err := s.Start(t.Context(), []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	propose(t, s, "y")
	if _, values := rows(t, s); len(values) != 101 {
		t.Errorf("%d rows", len(values))
	}
}

func TestBrokenMachineStopsTheNode(t *testing.T) {
	f := newFatals()
	cfg := single(t, dataPath(t))
	cfg.Fatal = f.call
	s := open(t, cfg)
	propose(t, s, "before")
	_, err := s.Propose(t.Context(), []byte("break"))
	if !protocol.IsOutcomeUnknown(err) {
		t.Errorf("got %v", err)
	}
	if f.wait(t) == nil {
		t.Error("no reason given")
	}
	if _, err := s.Propose(t.Context(), []byte("after")); !errors.Is(err, errFailed) {
		t.Errorf("a failed node answered %v", err)
	}
	if s.Ready() == nil {
		t.Error("a failed node is ready")
	}
	if _, values := rows(t, s); len(values) != 1 {
		t.Errorf("rows are %q", values)
	}
}

func TestTooLarge(t *testing.T) {
	s := open(t, single(t, dataPath(t)))
	if _, err := s.Propose(t.Context(), make([]byte, MaxCommand+1)); protocol.CodeOf(err) != protocol.CodeTooLarge {
		t.Errorf("got %v", err)
	}
	at := propose(t, s, string(make([]byte, MaxCommand)))
	err := s.View(func(tx *bbolt.Tx) error {
		if n := len(tx.Bucket(toyBucket).Get(toyKey(at))); n != MaxCommand {
			t.Errorf("%d bytes were stored", n)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestCloseRefusesWithWords(t *testing.T) {
	s := open(t, single(t, dataPath(t)))
	propose(t, s, "x")
	closeStore(t, s)
	if _, err := s.Propose(context.Background(), []byte("y")); protocol.CodeOf(err) != protocol.CodeUnavailable || protocol.IsOutcomeUnknown(err) {
		t.Errorf("got %v", err)
	}
	if err := s.View(func(*bbolt.Tx) error { return nil }); protocol.CodeOf(err) != protocol.CodeUnavailable {
		t.Errorf("got %v", err)
	}
	if s.Ready() == nil {
		t.Error("a closed store is ready")
	}
}

func TestCloseUnderLoad(t *testing.T) {
	s := open(t, single(t, dataPath(t)))
	propose(t, s, "first")
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for {
				if _, err := s.Propose(context.Background(), []byte("x")); err != nil {
					if protocol.CodeOf(err) != protocol.CodeUnavailable {
						t.Errorf("got %v", err)
					}
					return
				}
			}
		})
	}
	eventually(t, "some load", func() bool { return s.Applied() > 20 })
	closeStore(t, s)
	wg.Wait()
}

func TestWaitApplied(t *testing.T) {
	s := open(t, single(t, dataPath(t)))
	at := propose(t, s, "x")
	if err := s.WaitApplied(t.Context(), protocol.Cursor(at.Index)); err != nil {
		t.Error(err)
	}
	done := make(chan error)
	go func() { done <- s.WaitApplied(context.Background(), protocol.Cursor(at.Index+1)) }()
	propose(t, s, "y")
	if err := <-done; err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.WaitApplied(ctx, 1<<40); protocol.CodeOf(err) != protocol.CodeUnavailable {
		t.Errorf("got %v", err)
	}
}

func TestReadyAndLeader(t *testing.T) {
	s := open(t, single(t, dataPath(t)))
	eventually(t, "ready", func() bool { return s.Ready() == nil })
	if m, ok := s.Leader(); !ok || m.ID != "n1" || !s.IsLeader() {
		t.Errorf("leader is %v, %v", m, ok)
	}
	st, err := s.Stats()
	if err != nil || st.Leader != "n1" || st.LastLog == 0 || st.StateSize == 0 {
		t.Errorf("stats are %+v, %v", st, err)
	}
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	cfg := single(t, dataPath(t))
	cfg.Registerer = reg
	s := open(t, cfg)
	propose(t, s, "x")
	_, _ = s.Propose(t.Context(), make([]byte, MaxCommand+1))
	got := make(map[string]float64)
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, mf := range all {
		for _, m := range mf.Metric {
			got[mf.GetName()] += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	for name, least := range map[string]float64{
		"teamtalk_raftstore_proposals_total": 2, "teamtalk_raftstore_refused_total": 1, "teamtalk_raftstore_batch_commands": 1,
		"teamtalk_raftstore_commit_seconds": 1, "teamtalk_raftstore_apply_seconds": 1, "teamtalk_raftstore_applied_index": 2,
		"teamtalk_raftstore_disk_free_bytes": 1,
	} {
		if got[name] < least {
			t.Errorf("%s is %v, want at least %v", name, got[name], least)
		}
	}
	closeStore(t, s)
	if all, _ := reg.Gather(); len(all) != 0 {
		t.Errorf("%d collectors stayed", len(all))
	}
}

// raft's barriers raise its index unseen by the state machine; the log may be cut up to there.
func TestBarrierDoesNotLoseThePlace(t *testing.T) {
	dir := dataPath(t)
	cfg := single(t, dir)
	cfg.Tuning.TrailingLogs = 1
	s := open(t, cfg)
	for i := range 5 {
		propose(t, s, fmt.Sprint(i))
	}
	for range 3 {
		if err := s.raft.Barrier(wait).Error(); err != nil {
			t.Fatal(err)
		}
	}
	last, err := s.logs.LastIndex()
	if err != nil {
		t.Fatal(err)
	}
	if s.Applied() >= protocol.Cursor(last) {
		t.Fatalf("the test tests nothing: applied is %d, the log ends at %d", s.Applied(), last)
	}
	if err := s.raft.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	if s.Applied() != protocol.Cursor(last) {
		t.Errorf("applied is %d after a snapshot at %d", s.Applied(), last)
	}
	if first, _ := s.logs.FirstIndex(); first < 5 {
		t.Errorf("the log begins at %d, it was not cut", first)
	}
	closeStore(t, s)
	s = open(t, cfg2(t, cfg))
	propose(t, s, "more")
	if _, values := rows(t, s); len(values) != 6 || !bytes.Equal(values[5], []byte("more")) {
		t.Errorf("rows are %q", values)
	}
}

// cfg2 is cfg with a fresh transport, for opening again.
func cfg2(t testing.TB, cfg Config) Config {
	cfg.Transport = single(t, cfg.Dir).Transport
	return cfg
}

func TestForbiddenRaftDoors(t *testing.T) {
	s := open(t, single(t, dataPath(t)))
	propose(t, s, "x")
	if err := s.fsm.Restore(nil); !errors.Is(err, errRestoreForbidden) {
		t.Errorf("Restore answers %v", err)
	}
	snap := s.raft.Snapshot()
	if err := snap.Error(); err != nil {
		t.Fatal(err)
	}
	meta, r, err := snap.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	if err := s.raft.Restore(meta, r, wait); err == nil {
		t.Error("raft.Restore was let through")
	}
	propose(t, s, "still works")
}
