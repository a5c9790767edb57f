package raftstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"

	"teamtalk/protocol"
)

// testCluster is nodes in one process, on real files.
type testCluster struct {
	t      testing.TB
	tuning Tuning
	free   func(NodeID) (uint64, error) // nil: the disk's
	net    *testNet                     // between the nodes, besides raft's; nil: nothing is forwarded
	mu     sync.Mutex                   // guards nodes
	nodes  map[NodeID]*testNode
	// neighbours are each node's; nil: none.
	neighbours Neighbours
}

type testNode struct {
	*Store
	id     NodeID
	dir    string
	trans  *raft.InmemTransport
	events *recorder
}

func newCluster(t testing.TB, n int, tuning Tuning) *testCluster {
	return startNodes(t, n, tuning, nil)
}

func startNodes(t testing.TB, n int, tuning Tuning, net *testNet) *testCluster {
	if testing.Short() && n > 1 {
		t.Skip("several nodes: not with -short")
	}
	c := &testCluster{t: t, tuning: tuning, net: net, nodes: make(map[NodeID]*testNode)}
	c.found(n)
	return c
}

// found starts the first nodes.
func (c *testCluster) found(n int) {
	t := c.t
	var members []Member
	for i := range n {
		id := fmt.Sprintf("n%d", i+1)
		members = append(members, Member{NodeID(id), id})
	}
	for _, m := range members {
		c.start(m.ID, dataPath(t), members)
	}
	t.Cleanup(func() {
		for _, n := range c.all() {
			c.cut(n) // raft waits long for a node that is there and doesn't answer
		}
		for _, n := range c.all() {
			closeStore(t, n.Store)
		}
	})
}

func (c *testCluster) start(id NodeID, dir string, members []Member) *testNode {
	c.t.Helper()
	_, trans := raft.NewInmemTransportWithTimeout(raft.ServerAddress(id), 5*time.Second)
	n := &testNode{id: id, dir: dir, trans: trans, events: &recorder{}}
	cfg := single(c.t, dir)
	cfg.NodeID, cfg.Transport, cfg.Bootstrap, cfg.Tuning, cfg.Publisher = id, trans, members, c.tuning, n.events
	cfg.Neighbours = c.neighbours
	for _, other := range c.all() {
		other.trans.Connect(raft.ServerAddress(id), trans)
		trans.Connect(raft.ServerAddress(other.id), other.trans)
	}
	if c.free != nil {
		cfg.FreeSpace = func() (uint64, error) { return c.free(id) }
	}
	if c.net != nil {
		cfg.Forwarder = c.net.from(id)
	}
	s, err := Open(context.Background(), cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	n.Store = s
	c.net.join(id, s)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes[id] = n
	return n
}

func (c *testCluster) all() []*testNode {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*testNode
	for _, n := range c.nodes {
		out = append(out, n)
	}
	return out
}

// stop closes a node and forgets it.
func (c *testCluster) stop(n *testNode) {
	c.t.Helper()
	c.mu.Lock()
	delete(c.nodes, n.id)
	c.mu.Unlock()
	c.cut(n)
	closeStore(c.t, n.Store)
	c.net.join(n.id, nil)
}

// cut takes a node off the network.
func (c *testCluster) cut(n *testNode) {
	c.net.cut(n.id)
	n.trans.DisconnectAll()
	for _, other := range c.all() {
		other.trans.Disconnect(raft.ServerAddress(n.id))
	}
}

func (c *testCluster) heal(n *testNode) {
	c.net.join(n.id, n.Store)
	for _, other := range c.all() {
		if other != n {
			other.trans.Connect(raft.ServerAddress(n.id), n.trans)
			n.trans.Connect(raft.ServerAddress(other.id), other.trans)
		}
	}
}

func (c *testCluster) leader() *testNode {
	c.t.Helper()
	var leader *testNode
	eventually(c.t, "a leader", func() bool {
		for _, n := range c.all() {
			if n.raft.VerifyLeader().Error() == nil {
				leader = n
				return true
			}
		}
		return false
	})
	return leader
}

// writers propose until they are stopped; result maps commands to whether they were acknowledged.
func (c *testCluster) writers(n int) (stop func() map[string]bool) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var mu sync.Mutex
	sent := make(map[string]bool)
	for w := range n {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				for _, node := range c.all() {
					if !node.IsLeader() {
						continue
					}
					cmd := fmt.Sprintf("%d %d", w, i)
					_, err := node.Propose(context.Background(), []byte(cmd))
					if err == nil || protocol.IsOutcomeUnknown(err) {
						mu.Lock()
						sent[cmd] = err == nil
						mu.Unlock()
						i++
					} else if protocol.CodeOf(err) != protocol.CodeUnavailable {
						c.t.Errorf("%s: %v", cmd, err)
					}
				}
			}
		})
	}
	return func() map[string]bool {
		cancel()
		wg.Wait()
		return sent
	}
}

// same waits until all nodes have everything and wants identical states with all that was acknowledged, once.
func (c *testCluster) same(sent map[string]bool) {
	c.t.Helper()
	at := propose(c.t, c.leader().Store, "the end")
	var keys, values [][]byte
	for i, n := range c.all() {
		ctx, cancel := context.WithTimeout(context.Background(), wait)
		if err := n.WaitApplied(ctx, protocol.Cursor(at.Index)); err != nil {
			c.t.Fatalf("%s: %v", n.id, err)
		}
		cancel()
		k, v := rows(c.t, n.Store)
		if i == 0 {
			keys, values = k, v
		}
		if !equalRows(k, keys) || !equalRows(v, values) {
			c.t.Errorf("%s has %d rows that differ from %s's %d", n.id, len(k), c.all()[0].id, len(keys))
		}
		n.events.check(c.t)
	}
	count := make(map[string]int)
	for _, v := range values {
		count[string(v)]++
	}
	for cmd, acked := range sent {
		if acked && count[cmd] != 1 || count[cmd] > 1 {
			c.t.Errorf("%q is there %d times, acknowledged: %v", cmd, count[cmd], acked)
		}
	}
	if len(sent) == 0 {
		c.t.Error("nothing was sent: the test tests nothing")
	}
}

func equalRows(a, b [][]byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !bytes.Equal(a[i], b[i]) {
			return false
		}
	}
	return true
}

func clusterTuning() Tuning {
	return Tuning{Heartbeat: 500 * time.Millisecond, TrimInterval: 20 * time.Millisecond, TrailingLogs: 32, StreamHold: 10 * time.Second,
		MapSize: 1 << 28}
}

func TestThreeNodesAgree(t *testing.T) {
	c := newCluster(t, 3, clusterTuning())
	c.leader()
	stop := c.writers(8)
	eventually(t, "some load", func() bool { return c.follower().Applied() > 100 })
	c.same(stop())
}

func TestProposeElsewhere(t *testing.T) {
	c := newCluster(t, 3, clusterTuning())
	f, l := c.follower(), c.leader()
	_, err := f.Propose(t.Context(), []byte("x"))
	if protocol.CodeOf(err) != protocol.CodeUnavailable || protocol.IsOutcomeUnknown(err) || !errors.Is(err, raft.ErrNotLeader) {
		t.Errorf("got %v", err)
	}
	if m, ok := f.Leader(); !ok || m.ID != l.id {
		t.Errorf("the follower takes %v for the leader", m)
	}
}

// TestHead: the leader's log holds what anybody has committed, a follower's at least what it has applied; and a leader that
// lost its followers notices that it leads no more.
func TestHead(t *testing.T) {
	c := newCluster(t, 3, clusterTuning())
	f, l := c.follower(), c.leader()
	at := protocol.Cursor(propose(t, l.Store, "x").Index)
	if head, leads := l.Head(); !leads || head < at {
		t.Errorf("the leader is at %d, %v, after entry %d", head, leads, at)
	}
	if _, leads := f.Head(); leads {
		t.Error("the follower says that it leads")
	}
	eventually(t, "the follower to have the entry", func() bool { head, _ := f.Head(); return head >= at })
	eventually(t, "the follower to have applied it", func() bool { return f.Applied() >= at })
	if head, _ := f.Head(); head < f.Applied() {
		t.Errorf("the follower's log ends at %d, but %d is applied", head, f.Applied())
	}
	c.cut(l)
	eventually(t, "the leader to step down", func() bool { _, leads := l.Head(); return !leads })
	eventually(t, "another leader", func() bool {
		head, leads := c.leader().Head()
		return leads && head >= at
	})
}

// A follower that was away for longer than the log reaches back gets the state streamed while writes go on.
func TestLaggingFollowerGetsASnapshot(t *testing.T) {
	c := newCluster(t, 3, clusterTuning())
	f := c.follower()
	c.cut(f)
	stop := c.writers(8)
	away := f.Applied()
	eventually(t, "the log to be cut", func() bool {
		first, err := c.leader().logs.FirstIndex()
		return err == nil && first > uint64(away)+50
	})
	c.heal(f)
	eventually(t, "the follower to catch up", func() bool { return f.Applied()+50 > c.leader().Applied() })
	sent := stop()
	c.same(sent)
	f.events.mu.Lock()
	jumps := f.events.jumps
	f.events.mu.Unlock()
	if len(jumps) == 0 || jumps[0].From < away || jumps[0].To <= jumps[0].From {
		t.Errorf("jumps are %v, was away from %d", jumps, away)
	}
	eventually(t, "the former state file to be gone", func() bool {
		names, _ := filepath.Glob(filepath.Join(f.dir, "state-*.db"))
		return len(names) == 1 && filepath.Base(names[0]) != stateName(1)
	})
	c.stop(f)
	c.start(f.id, f.dir, nil)
	c.same(sent)
}

// A node that lost everything comes back as a new member, while writes go on.
func TestWipedFollowerJoinsAnew(t *testing.T) {
	c := newCluster(t, 3, clusterTuning())
	f := c.follower()
	stop := c.writers(8)
	eventually(t, "the log to be cut", func() bool {
		first, err := c.leader().logs.FirstIndex()
		return err == nil && first > 50
	})
	c.stop(f)
	if err := os.RemoveAll(f.dir); err != nil {
		t.Fatal(err)
	}
	if err := c.leader().raft.RemoveServer(raft.ServerID(f.id), 0, wait).Error(); err != nil {
		t.Fatal(err)
	}
	n := c.start("n4", dataPath(t), nil)
	if err := c.leader().raft.AddVoter("n4", "n4", 0, wait).Error(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new node to catch up", func() bool { return n.Applied()+50 > c.leader().Applied() })
	c.same(stop())
	if len(n.events.jumps) == 0 {
		t.Error("the new node got no snapshot")
	}
	servers := n.fsm.position().conf.Servers
	isNew := func(s raft.Server) bool { return s.ID == "n4" && s.Suffrage == raft.Voter }
	if len(servers) != 3 || !slices.ContainsFunc(servers, isNew) {
		t.Errorf("the new node's state knows the members %v", servers)
	}
}

func TestLeaderGoesAway(t *testing.T) {
	c := newCluster(t, 3, clusterTuning())
	stop := c.writers(8)
	for range 2 {
		l := c.leader()
		at := l.Applied()
		eventually(t, "some load", func() bool { return l.Applied() > at+50 || !l.IsLeader() })
		c.stop(l)
		c.leader()
		c.start(l.id, l.dir, nil)
	}
	l := c.leader()
	at := l.Applied()
	eventually(t, "more load", func() bool { return c.leader().Applied() > at+50 })
	c.same(stop())
}

// Without a quorum a command is refused, or its outcome is unknown, soon; reads go on.
func TestNoQuorum(t *testing.T) {
	tuning := clusterTuning()
	tuning.LeaderWait = 100 * time.Millisecond
	c := newCluster(t, 3, tuning)
	l := c.leader()
	propose(t, l.Store, "x")
	for _, n := range c.all() {
		c.cut(n)
	}
	_, err := l.Propose(t.Context(), []byte("into the void"))
	if protocol.CodeOf(err) != protocol.CodeUnavailable {
		t.Errorf("got %v", err)
	}
	eventually(t, "the leader to step down", func() bool { return !l.IsLeader() })
	if _, err := l.Propose(t.Context(), []byte("y")); protocol.CodeOf(err) != protocol.CodeUnavailable || protocol.IsOutcomeUnknown(err) {
		t.Errorf("got %v", err)
	}
	if _, values := rows(t, l.Store); len(values) != 1 {
		t.Errorf("rows are %q", values)
	}
}

func snapshots(s *Store) *snapshotStore {
	return &snapshotStore{fsm: s.fsm, logs: s.logs, space: s.space, stall: 50 * time.Millisecond, hold: 0, log: s.log}
}

// A stream is a consistent copy, whatever is written meanwhile.
func TestStreamIsConsistent(t *testing.T) {
	s := open(t, single(t, dataPath(t)))
	for i := range 50 {
		propose(t, s, fmt.Sprint(i))
	}
	snaps := snapshots(s)
	snaps.stall = wait
	meta, r, err := snaps.Open(snapshotID)
	if err != nil {
		t.Fatal(err)
	}
	var copied bytes.Buffer
	for {
		propose(t, s, "meanwhile")
		if _, err := io.CopyN(&copied, r, 8192); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if int64(copied.Len()) != meta.Size {
		t.Errorf("%d bytes, announced were %d", copied.Len(), meta.Size)
	}
	path := filepath.Join(t.TempDir(), "copy.db")
	write(t, path, copied.String())
	db, m, err := openStateDB(path, 1<<20, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if m.index != meta.Index || m.index >= uint64(s.Applied()) || len(m.conf.Servers) != 1 {
		t.Errorf("the copy is at %d, announced was %d, applied is %d", m.index, meta.Index, s.Applied())
	}
	tx, err := db.Begin(false)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	for err := range tx.Check() {
		t.Error(err)
	}
}

// A stream that nobody reads lets go of its transaction and of the log.
func TestStalledStreamEnds(t *testing.T) {
	s := open(t, single(t, dataPath(t)))
	propose(t, s, "x")
	_, r, err := snapshots(s).Open(snapshotID)
	if err != nil {
		t.Fatal(err)
	}
	if _, held := s.logs.floor(); !held {
		t.Error("the log is not held")
	}
	eventually(t, "the stream to end", func() bool { _, held := s.logs.floor(); return !held })
	if _, err := io.Copy(io.Discard, r); err == nil {
		t.Error("the stream went on as if nothing had happened")
	}
	_ = r.Close()
}

// What a follower is sent is checked before it replaces anything.
func TestBadSnapshotsAreRefused(t *testing.T) {
	s := open(t, single(t, dataPath(t)))
	for range 5 {
		propose(t, s, "x")
	}
	snaps := snapshots(s)
	snaps.stall = wait
	meta, r, err := snaps.Open(snapshotID)
	if err != nil {
		t.Fatal(err)
	}
	good, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	propose(t, s, "more")
	tests := map[string]struct {
		index, term uint64
		bytes       []byte
	}{
		"behind the state":   {meta.Index, meta.Term, good},
		"not what was said":  {meta.Index + 100, meta.Term, good},
		"another term":       {meta.Index, meta.Term + 1, good},
		"cut off":            {meta.Index + 100, meta.Term, good[:len(good)/2]},
		"not a state at all": {meta.Index + 100, meta.Term, bytes.Repeat([]byte("x"), 100000)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			sink, err := snaps.Create(1, tt.index, tt.term, meta.Configuration, meta.ConfigurationIndex, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, err = sink.Write(tt.bytes)
			if err == nil {
				err = sink.Close()
			} else {
				_ = sink.Cancel()
			}
			if err == nil {
				t.Error("was taken")
			}
			if exists(filepath.Join(s.cfg.Dir, installName)) {
				t.Error("the file is still there")
			}
		})
	}
	propose(t, s, "still works")
}

// An install, step by step: the state is replaced under a reader that goes on reading the former one.
func TestInstall(t *testing.T) {
	cfg := single(t, dataPath(t))
	machine, rec := &toy{}, &recorder{}
	cfg.Machine, cfg.Publisher = machine, rec
	s := open(t, cfg)
	propose(t, s, "in both")
	path := filepath.Join(t.TempDir(), "copy.db")
	var from uint64
	err := s.View(func(tx *bbolt.Tx) error {
		from = s.fsm.position().index
		return tx.CopyFile(path, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	to := from + 100
	edit(t, path, func(tx *bbolt.Tx) error {
		m, err := readMeta(tx)
		if err != nil {
			return err
		}
		m.index = to
		return errors.Join(writePosition(tx, &m), tx.Bucket(toyBucket).Put([]byte("new"), []byte("only in the snapshot")))
	})
	waiting := make(chan error, 1)
	go func() { waiting <- s.WaitApplied(context.Background(), protocol.Cursor(to)) }()
	former := filepath.Join(cfg.Dir, stateName(1))
	err = s.View(func(tx *bbolt.Tx) error {
		installFile(t, s, path, to)
		if err := <-waiting; err != nil {
			t.Error(err)
		}
		if tx.Bucket(toyBucket).Get([]byte("new")) != nil || !exists(former) {
			t.Error("the former state went away under a reader")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the former file to be gone", func() bool { return !exists(former) })
	if _, values := rows(t, s); len(values) != 2 || machine.opened != 2 {
		t.Errorf("rows are %q, the machine was opened %d times", values, machine.opened)
	}
	want := protocol.Jumped{From: protocol.Cursor(from), To: protocol.Cursor(to)}
	if len(rec.jumps) != 1 || rec.jumps[0] != want || rec.last.Index != to {
		t.Errorf("jumps are %v, last event is at %s", rec.jumps, rec.last)
	}
	installFile(t, s, filepath.Join(cfg.Dir, stateName(2)), to) // again: the leader did not hear of it
	if machine.opened != 2 || exists(filepath.Join(cfg.Dir, installName)) || len(rec.jumps) != 1 {
		t.Errorf("the same snapshot again was not passed over")
	}
}

// installFile does what raft does with a snapshot of the leader.
func installFile(t *testing.T, s *Store, path string, index uint64) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	snaps, m := snapshots(s), s.fsm.position()
	sink, err := snaps.Create(1, index, m.term, m.conf, m.confIndex, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = sink.Write(b)
	if err := errors.Join(err, sink.Close()); err != nil {
		t.Fatal(err)
	}
	if _, r, err := snaps.Open(sink.ID()); err != nil {
		t.Fatal(err)
	} else if err := s.fsm.Restore(r); err != nil {
		t.Fatal(err)
	}
}
