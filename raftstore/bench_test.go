package raftstore

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

const benchCommand = 256 // bytes

// load runs n calls on so many goroutines and reports calls per second and how long one takes.
func load(b *testing.B, proposers int, call func([]byte) error) {
	b.Helper()
	var next atomic.Int64
	times := make([]time.Duration, b.N)
	var wg sync.WaitGroup
	b.ResetTimer()
	for range proposers {
		wg.Go(func() {
			cmd := make([]byte, benchCommand)
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				binary.BigEndian.PutUint64(cmd, uint64(i))
				start := time.Now()
				if err := call(cmd); err != nil {
					b.Error(err)
					return
				}
				times[i-1] = time.Since(start)
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "cmds/s")
	b.ReportMetric(percentile(times, 50), "p50-ms")
	b.ReportMetric(percentile(times, 99), "p99-ms")
}

func BenchmarkPropose(b *testing.B) {
	for _, window := range []int{1, 2} {
		for _, proposers := range []int{1, 64, 512} {
			b.Run(fmt.Sprintf("window=%d/proposers=%d", window, proposers), func(b *testing.B) {
				cfg := single(b, dataPath(b))
				cfg.Tuning.Window = window
				s := open(b, cfg)
				propose(b, s, "first")
				load(b, proposers, func(cmd []byte) error {
					_, err := s.Propose(context.Background(), cmd)
					return err
				})
			})
		}
	}
}

// BenchmarkProposeThree has three nodes on one disk, in one process, without a network between them.
func BenchmarkProposeThree(b *testing.B) {
	for _, window := range []int{1, 2} {
		for _, proposers := range []int{1, 64, 512} {
			b.Run(fmt.Sprintf("window=%d/proposers=%d", window, proposers), func(b *testing.B) {
				c := newCluster(b, 3, Tuning{Window: window, Heartbeat: 2 * time.Second})
				l := c.leader()
				propose(b, l.Store, "first")
				load(b, proposers, func(cmd []byte) error {
					_, err := l.Propose(context.Background(), cmd)
					return err
				})
			})
		}
	}
}

type emptyFSM struct{}

func (emptyFSM) Apply(*raft.Log) any                 { return nil }
func (emptyFSM) Snapshot() (raft.FSMSnapshot, error) { return nil, raft.ErrNothingNewToSnapshot }
func (emptyFSM) Restore(io.ReadCloser) error         { return nil }

type emptyBatchFSM struct{ emptyFSM }

func (emptyBatchFSM) ApplyBatch(l []*raft.Log) []any { return make([]any, len(l)) }

// BenchmarkRawRaftApply is what BenchmarkPropose has to be compared with: raft and raft-boltdb alone, a state machine
// that does nothing, one command per entry.
func BenchmarkRawRaftApply(b *testing.B) {
	b.Run("default/proposers=512", func(b *testing.B) {
		rawRaft(b, emptyFSM{}, nil, func(*raft.Config) {})
	})
	b.Run("tuned/proposers=512", func(b *testing.B) {
		opts := &bbolt.Options{NoFreelistSync: true, FreelistType: bbolt.FreelistMapType, InitialMmapSize: 1 << 30}
		rawRaft(b, emptyBatchFSM{}, opts, func(c *raft.Config) {
			c.BatchApplyCh = true
			c.MaxAppendEntries = 1024
			c.TrailingLogs = 1024
			c.NoLegacyTelemetry = true
		})
	})
}

func rawRaft(b *testing.B, fsm raft.FSM, opts *bbolt.Options, tune func(*raft.Config)) {
	store, err := raftboltdb.New(raftboltdb.Options{Path: filepath.Join(b.TempDir(), "raft.db"), BoltOptions: opts})
	if err != nil {
		b.Fatal(err)
	}
	c := raft.DefaultConfig()
	c.LocalID = "n1"
	c.Logger = hclog.NewNullLogger()
	tune(c)
	addr, trans := raft.NewInmemTransport("n1")
	snaps := raft.NewDiscardSnapshotStore()
	members := raft.Configuration{Servers: []raft.Server{{ID: "n1", Address: addr}}}
	if err := raft.BootstrapCluster(c, store, store, snaps, trans, members); err != nil {
		b.Fatal(err)
	}
	r, err := raft.NewRaft(c, fsm, store, store, snaps, trans)
	if err != nil {
		b.Fatal(err)
	}
	eventually(b, "a leader", func() bool { return r.State() == raft.Leader })
	load(b, 512, func(cmd []byte) error { return r.Apply(append([]byte(nil), cmd...), 0).Error() })
	if err := r.Shutdown().Error(); err != nil {
		b.Error(err)
	}
	if err := store.Close(); err != nil {
		b.Error(err)
	}
}

// BenchmarkProposeEverywhere has the proposers spread over three nodes; two thirds of the commands are forwarded.
func BenchmarkProposeEverywhere(b *testing.B) {
	for _, proposers := range []int{3, 64, 512} {
		b.Run(fmt.Sprintf("proposers=%d", proposers), func(b *testing.B) {
			c := newForwarding(b, 3, Tuning{Heartbeat: 2 * time.Second})
			propose(b, c.leader().Store, "first")
			nodes := c.all()
			var next atomic.Int64
			load(b, proposers, func(cmd []byte) error {
				_, err := nodes[int(next.Add(1))%len(nodes)].Propose(context.Background(), cmd)
				return err
			})
		})
	}
}
