package raftstore_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/rpc"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"

	"teamtalk/protocol"
	"teamtalk/raftstore"
	"teamtalk/raftstore/state"
)

const (
	benchNodes = 3
	// benchText is a message's text in bytes; benchRaw what its command has in the log, for the comparison.
	benchText = 100
	benchRaw  = 156
	benchWait = time.Minute
)

// BenchmarkStoreThree has three nodes in this process and on one disk, with raft on TCP over loopback, that do all there is to do for a message: the
// leader for those who send at its own node ("leader"), and for those who send at all three ("everywhere"), so that two thirds are forwarded. Compare
// with BenchmarkRawRaftThree.
func BenchmarkStoreThree(b *testing.B) {
	for _, where := range []string{"leader", "everywhere"} {
		b.Run(where, func(b *testing.B) {
			nodes := openThree(b)
			leader := nodes[slices.IndexFunc(nodes, func(s *state.Store) bool { _, leads := s.Head(); return leads })]
			at := func(int) *state.Store { return leader }
			if where == "everywhere" {
				at = func(who int) *state.Store { return nodes[who%len(nodes)] }
			}
			sent := 0
			benchThree(b, func(who, n int) error {
				_, err := at(who).Execute(context.Background(), benchMessage(who, sent+n))
				return err
			}, func(n int) { sent += n })
		})
	}
}

// benchThree measures calls of 64 and of 512 proposers; ended is told how many were made.
func benchThree(b *testing.B, call func(who, n int) error, ended func(n int)) {
	b.Helper()
	for _, proposers := range []int{64, 512} {
		b.Run(fmt.Sprintf("proposers=%d", proposers), func(b *testing.B) {
			proposeEach(b, proposers, call)
			ended(b.N)
		})
	}
}

// benchMessage is the n-th message of a user to one who gets messages of nobody else.
func benchMessage(who, n int) *protocol.SendMessage {
	c := &protocol.SendMessage{From: protocol.UserID(2*who + 1), To: protocol.WithUser(protocol.UserID(2*who + 2)), Type: protocol.MsgSingleText, Data: make([]byte, benchText)}
	binary.BigEndian.PutUint64(c.ClientMsgID[:], uint64(n)+1) // in time, as those of clients are
	return c
}

// BenchmarkRawRaftThree is raft and raft-boltdb alone, laid out in the same way: three nodes, TCP over loopback, a state machine that does nothing, one
// command per entry, proposed at the leader.
func BenchmarkRawRaftThree(b *testing.B) {
	for _, tuning := range []string{"default", "tuned"} {
		b.Run(tuning, func(b *testing.B) {
			leader := rawThree(b, tuning == "tuned")
			benchThree(b, func(_, n int) error {
				cmd := make([]byte, benchRaw)
				binary.BigEndian.PutUint64(cmd, uint64(n))
				return leader.Apply(cmd, 0).Error()
			}, func(int) {})
		})
	}
}

// proposeEach runs b.N calls on so many goroutines and reports calls per second and how long one takes.
func proposeEach(b *testing.B, proposers int, call func(who, n int) error) {
	b.Helper()
	var next atomic.Int64
	times := make([]time.Duration, b.N)
	var all sync.WaitGroup
	b.ResetTimer()
	for who := range proposers {
		all.Go(func() {
			for n := int(next.Add(1)) - 1; n < b.N; n = int(next.Add(1)) - 1 {
				start := time.Now()
				if err := call(who, n); err != nil {
					b.Error(err)
					return
				}
				times[n] = time.Since(start)
			}
		})
	}
	all.Wait()
	b.StopTimer()
	slices.Sort(times)
	at := func(percent int) float64 {
		return float64(times[(len(times)-1)*percent/100]) / float64(time.Millisecond)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "cmds/s")
	b.ReportMetric(at(50), "p50-ms")
	b.ReportMetric(at(99), "p99-ms")
}

// benchAddresses opens the transports of three nodes.
func benchAddresses(b *testing.B) (transports []*raft.NetworkTransport) {
	b.Helper()
	for range benchNodes {
		t, err := raft.NewTCPTransport("127.0.0.1:0", nil, benchNodes, 5*time.Second, io.Discard)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(t.CloseStreams) // after the nodes
		transports = append(transports, t)
	}
	return transports
}

func openThree(b *testing.B) (nodes []*state.Store) {
	b.Helper()
	transports := benchAddresses(b)
	var members []raftstore.Member
	for i, t := range transports {
		members = append(members, raftstore.Member{ID: raftstore.NodeID(fmt.Sprint("n", i+1)), Address: string(t.LocalAddr())})
	}
	doors := &benchDoors{lines: map[raftstore.NodeID]*rpc.Client{}}
	b.Cleanup(func() { // after the stores
		if err := doors.close(); err != nil {
			b.Error(err)
		}
	})
	for i, m := range members {
		s, err := state.Open(b.Context(), state.Config{Config: raftstore.Config{
			Dir: filepath.Join(b.TempDir(), "data"), NodeID: m.ID, Transport: transports[i], Bootstrap: members, Version: "bench", Forwarder: benchWay{doors, m.ID},
			Fatal: func(err error) { b.Errorf("fatal: %v", err) },
			// No failover is wanted here, and the machine is busier than the heartbeats of a usual cluster expect.
			Tuning: raftstore.Tuning{Heartbeat: 2 * time.Second},
		}})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() {
			if err := s.Close(); err != nil {
				b.Error(err)
			}
		})
		if err := doors.open(m.ID, s); err != nil {
			b.Fatal(err)
		}
		nodes = append(nodes, s)
	}
	await(b, "a leader", func() bool {
		return slices.ContainsFunc(nodes, func(s *state.Store) bool { _, leads := s.Head(); return leads }) &&
			!slices.ContainsFunc(nodes, func(s *state.Store) bool { return s.Ready() != nil })
	})
	addBenchUsers(b, nodes)
	return nodes
}

// addBenchUsers makes a sender and a receiver for each proposer, known at all nodes.
func addBenchUsers(b *testing.B, nodes []*state.Store) {
	b.Helper()
	var add protocol.AddUsers
	for i := range 2 * 512 {
		add.Users = append(add.Users, protocol.NewUser{User: protocol.User{Name: fmt.Sprint("u", i)}})
	}
	_, err := nodes[0].Execute(b.Context(), &add)
	for _, s := range nodes {
		if err == nil {
			err = s.WaitApplied(b.Context(), nodes[0].Applied())
		}
	}
	if err != nil {
		b.Fatal(err)
	}
}

func rawThree(b *testing.B, tuned bool) (leader *raft.Raft) {
	b.Helper()
	transports := benchAddresses(b)
	var members raft.Configuration
	for i, t := range transports {
		members.Servers = append(members.Servers, raft.Server{ID: raft.ServerID(fmt.Sprint("n", i+1)), Address: t.LocalAddr()})
	}
	var nodes []*raft.Raft
	for i, t := range transports {
		c := raft.DefaultConfig()
		c.LocalID, c.Logger = members.Servers[i].ID, hclog.NewNullLogger()
		c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = 2*time.Second, 2*time.Second, time.Second
		var fsm raft.FSM = nothing{}
		var opts *bbolt.Options
		if tuned {
			fsm = nothingAtOnce{}
			opts = &bbolt.Options{NoFreelistSync: true, FreelistType: bbolt.FreelistMapType, InitialMmapSize: 1 << 30}
			c.BatchApplyCh, c.MaxAppendEntries, c.TrailingLogs, c.NoLegacyTelemetry = true, 1024, 1024, true
		}
		store, err := raftboltdb.New(raftboltdb.Options{Path: filepath.Join(b.TempDir(), "raft.db"), BoltOptions: opts})
		if err != nil {
			b.Fatal(err)
		}
		snaps := raft.NewDiscardSnapshotStore()
		if err := raft.BootstrapCluster(c, store, store, snaps, t, members); err != nil {
			b.Fatal(err)
		}
		r, err := raft.NewRaft(c, fsm, store, store, snaps, t)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() {
			if err := errors.Join(r.Shutdown().Error(), t.Close(), store.Close()); err != nil {
				b.Error(err)
			}
		})
		nodes = append(nodes, r)
	}
	await(b, "a leader", func() bool {
		i := slices.IndexFunc(nodes, func(r *raft.Raft) bool { return r.State() == raft.Leader })
		if i >= 0 {
			leader = nodes[i]
		}
		return i >= 0
	})
	return leader
}

// nothing is a state machine that does nothing; nothingAtOnce does it for many commands in one call.
type nothing struct{}

func (nothing) Apply(*raft.Log) any                 { return nil }
func (nothing) Snapshot() (raft.FSMSnapshot, error) { return nil, raft.ErrNothingNewToSnapshot }
func (nothing) Restore(io.ReadCloser) error         { return nil }

type nothingAtOnce struct{ nothing }

func (nothingAtOnce) ApplyBatch(logs []*raft.Log) []any { return make([]any, len(logs)) }

func await(b *testing.B, what string, cond func() bool) {
	b.Helper()
	limit, look := time.After(benchWait), time.NewTicker(5*time.Millisecond)
	defer look.Stop()
	for !cond() {
		select {
		case <-look.C:
		case <-limit:
			b.Fatalf("waited in vain: %s", what)
		}
	}
}

// benchDoors forward commands over TCP connections on loopback, one to each node.
type benchDoors struct {
	mu        sync.Mutex // guards the rest
	lines     map[raftstore.NodeID]*rpc.Client
	listeners []net.Listener
	serving   sync.WaitGroup
}

// benchDoor is where a node takes in what others forward. Calls are not kept in order: here nobody sends before he has the ack of what he sent last.
type benchDoor struct{ store *raftstore.Store }

// BenchBatch is what is forwarded; net/rpc wants the name exported.
type BenchBatch struct {
	From     string
	Commands []byte
}

// Take has the node execute commands.
func (d *benchDoor) Take(in BenchBatch, _ *struct{}) error {
	commands, err := raftstore.DecodeTagged(in.Commands)
	if err != nil {
		return err
	}
	return d.store.Accept(context.Background(), raftstore.NodeID(in.From), commands, func() {})
}

func (d *benchDoors) open(id raftstore.NodeID, s *state.Store) error {
	server := rpc.NewServer()
	if err := server.RegisterName("Door", &benchDoor{s.Engine()}); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	d.serving.Go(func() { // ends when the only client is closed
		if c, err := l.Accept(); err == nil {
			server.ServeConn(c)
		}
	})
	line, err := rpc.Dial("tcp", l.Addr().String())
	if err != nil {
		return errors.Join(err, l.Close())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines[id], d.listeners = line, append(d.listeners, l)
	return nil
}

func (d *benchDoors) close() (err error) {
	for _, l := range d.lines {
		err = errors.Join(err, l.Close())
	}
	for _, l := range d.listeners {
		err = errors.Join(err, l.Close())
	}
	d.serving.Wait()
	return err
}

// benchWay is one node's way to the others.
type benchWay struct {
	*benchDoors
	from raftstore.NodeID
}

// Forward hands commands to another node.
func (d benchWay) Forward(ctx context.Context, to raftstore.NodeID, commands []raftstore.TaggedCommand) (func() error, error) {
	d.mu.Lock()
	line := d.lines[to]
	d.mu.Unlock()
	call := line.Go("Door.Take", BenchBatch{From: string(d.from), Commands: raftstore.EncodeTagged(commands)}, &struct{}{}, make(chan *rpc.Call, 1))
	return func() error {
		select {
		case <-call.Done:
			return call.Error
		case <-ctx.Done():
			return ctx.Err()
		}
	}, nil
}
