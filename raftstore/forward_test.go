package raftstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
	"pgregory.net/rapid"

	"teamtalk/protocol"
)

// testNet carries forwarded commands as the node port does: calls between two nodes arrive in order, and a broken link fails
// those under way with an unknown outcome.
type testNet struct {
	mu    sync.Mutex // guards what follows
	nodes map[NodeID]*testLink
	lanes map[[2]NodeID]chan struct{} // closed when the lane's last call has its place
	calls sync.WaitGroup
	// lose (nil: never) says of a call whether its answer is lost.
	lose func() bool
	// silent is a node that takes calls and never answers.
	silent NodeID
}

// testLink is a node's connection; down is closed when it breaks.
type testLink struct {
	store *Store
	down  chan struct{}
}

func newTestNet(t testing.TB) *testNet {
	n := &testNet{nodes: make(map[NodeID]*testLink), lanes: make(map[[2]NodeID]chan struct{})}
	t.Cleanup(n.calls.Wait)
	return n
}

func newForwarding(t testing.TB, n int, tuning Tuning) *testCluster {
	net := newTestNet(t)
	return startNodes(t, n, tuning, net)
}

func (n *testNet) join(id NodeID, s *Store) {
	if n == nil {
		return
	}
	n.cut(id)
	n.mu.Lock()
	defer n.mu.Unlock()
	if s != nil {
		n.nodes[id] = &testLink{s, make(chan struct{})}
	}
}

func (n *testNet) cut(id NodeID) {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if l := n.nodes[id]; l != nil {
		close(l.down)
		delete(n.nodes, id)
	}
}

type testForwarder struct {
	net *testNet
	id  NodeID
}

func (n *testNet) from(id NodeID) Forwarder { return testForwarder{n, id} }

func (f testForwarder) Forward(ctx context.Context, to NodeID, commands []TaggedCommand) (func() error, error) {
	n := f.net
	n.mu.Lock()
	defer n.mu.Unlock()
	here, there := n.nodes[f.id], n.nodes[to]
	if here == nil || there == nil {
		return nil, unavailable("no connection", nil)
	}
	if to == n.silent {
		return func() error { <-ctx.Done(); return unknown("gave up waiting", ctx.Err()) }, nil
	}
	lose := n.lose != nil && n.lose()
	key := [2]NodeID{f.id, to}
	before, mine := n.lanes[key], make(chan struct{})
	n.lanes[key] = mine
	result := make(chan error, 1)
	packed := EncodeTagged(commands)
	ctx, cancel := context.WithCancel(ctx)
	n.calls.Go(func() {
		var once sync.Once
		queued := func() { once.Do(func() { close(mine) }) }
		defer queued()
		if before != nil {
			<-before
		}
		got, err := DecodeTagged(packed)
		if err == nil {
			err = there.store.Accept(ctx, f.id, got, queued)
		}
		if lose {
			err = unknown("the answer was lost", nil)
		}
		result <- err
	})
	return func() error {
		defer cancel()
		select {
		case err := <-result:
			return err
		case <-here.down:
		case <-there.down:
		case <-ctx.Done():
		}
		return unknown("the connection broke", nil)
	}, nil
}

func row(t testing.TB, s *Store, at protocol.Position) (value string) {
	t.Helper()
	err := s.View(func(tx *bbolt.Tx) error {
		value = string(tx.Bucket(toyBucket).Get(toyKey(at)))
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return value
}

// Whoever proposes on a follower reads his own write there, and gets his own result.
func TestForwardReadsItsOwnWrite(t *testing.T) {
	c := newForwarding(t, 3, clusterTuning())
	c.leader()
	var wg sync.WaitGroup
	for _, n := range c.all() {
		for w := range 8 {
			wg.Go(func() {
				for i := range 20 {
					cmd := fmt.Sprintf("%s/%d/%d", n.id, w, i)
					at := propose(t, n.Store, cmd)
					if got := row(t, n.Store, at); got != cmd {
						t.Errorf("on %s at %s is %q, proposed was %q", n.id, at, got, cmd)
					}
					if n.Applied() < protocol.Cursor(at.Index) {
						t.Errorf("answered %s, applied is %d", at, n.Applied())
					}
				}
			})
		}
	}
	wg.Wait()
	f := c.follower()
	if r, err := f.Propose(t.Context(), []byte("refuse")); !errors.Is(err, errRefused) || r != nil {
		t.Errorf("a refusal by the rules arrives as %v, %v", r, err)
	}
	if _, err := f.Propose(t.Context(), make([]byte, MaxCommand+1)); protocol.CodeOf(err) != protocol.CodeTooLarge {
		t.Errorf("got %v", err)
	}
	if _, v := rows(t, f.Store); len(v) != 480 {
		t.Errorf("%d rows, want 480", len(v))
	}
}

// What one caller starts on a follower is executed in that order.
func TestForwardKeepsTheOrder(t *testing.T) {
	tuning := clusterTuning()
	tuning.Window = 2
	c := newForwarding(t, 3, tuning)
	f := c.follower()
	var futures []*Future
	for i := range 3 * batchCommands {
		fu, err := f.Start(t.Context(), fmt.Append(nil, i))
		if err != nil {
			t.Fatal(err)
		}
		futures = append(futures, fu)
	}
	var before protocol.Position
	for i, fu := range futures {
		r, err := fu.Wait(t.Context())
		at, ok := r.(protocol.Position)
		if err != nil || !ok || i > 0 && !before.Before(at) {
			t.Fatalf("command %d: %v after %s, error %v", i, r, before, err)
		}
		if got := row(t, f.Store, at); got != fmt.Sprint(i) {
			t.Fatalf("command %d finds %q", i, got)
		}
		before = at
	}
}

// A command that nobody can take ends within LeaderWait, surely not carried out.
func TestForwardWithoutALeader(t *testing.T) {
	tuning := clusterTuning()
	tuning.LeaderWait = 200 * time.Millisecond
	c := newForwarding(t, 3, tuning)
	f := c.follower()
	propose(t, f.Store, "x")
	for _, n := range c.all() {
		c.cut(n)
	}
	if _, err := f.Propose(t.Context(), []byte("y")); protocol.CodeOf(err) != protocol.CodeUnavailable || protocol.IsOutcomeUnknown(err) {
		t.Errorf("got %v, unknown: %v", err, protocol.IsOutcomeUnknown(err))
	}
	eventually(t, "no leader", func() bool { _, ok := f.Leader(); return !ok })
	if _, err := f.Propose(t.Context(), []byte("y")); protocol.CodeOf(err) != protocol.CodeUnavailable || protocol.IsOutcomeUnknown(err) {
		t.Errorf("got %v, unknown: %v", err, protocol.IsOutcomeUnknown(err))
	}
}

// A node that doesn't lead any more says so, and nothing of what it was given is executed.
func TestAcceptOnAFollower(t *testing.T) {
	c := newForwarding(t, 3, clusterTuning())
	f := c.follower()
	err := f.Accept(t.Context(), "n9", []TaggedCommand{{1, []byte("x")}}, func() { t.Error("queued") })
	if protocol.CodeOf(err) != protocol.CodeUnavailable || protocol.IsOutcomeUnknown(err) || !errors.Is(err, raft.ErrNotLeader) {
		t.Errorf("got %v", err)
	}
	l := c.leader()
	if err := l.Accept(t.Context(), "n9", nil, nil); err == nil {
		t.Error("no commands were accepted")
	}
	if err := l.Accept(t.Context(), "n9", []TaggedCommand{{7, []byte("a")}, {9, []byte("b")}}, nil); err != nil {
		t.Error(err)
	}
	if _, v := rows(t, l.Store); len(v) != 2 || string(v[0]) != "a" {
		t.Errorf("rows are %q", v)
	}
}

// staleForwarder sends its first calls to a node of the test's choice.
type staleForwarder struct {
	testForwarder
	mu    sync.Mutex // guards what follows
	left  int
	wrong NodeID
}

func (f *staleForwarder) Forward(ctx context.Context, to NodeID, commands []TaggedCommand) (func() error, error) {
	f.mu.Lock()
	if f.left > 0 {
		f.left--
		to = f.wrong
	}
	f.mu.Unlock()
	return f.testForwarder.Forward(ctx, to, commands)
}

// A command that reaches a node which just lost the lead is tried again and executed once.
func TestForwardToAFormerLeader(t *testing.T) {
	c := newForwarding(t, 3, clusterTuning())
	f := c.follower()
	var other *testNode
	for _, n := range c.all() {
		if n != f && !n.IsLeader() {
			other = n
		}
	}
	f.batches.forwards.over = &staleForwarder{testForwarder: testForwarder{c.net, f.id}, left: 3, wrong: other.id}
	sent := make(map[string]bool)
	for i := range 20 {
		cmd := fmt.Sprint(i)
		propose(t, f.Store, cmd)
		sent[cmd] = true
	}
	c.same(sent)
}

// The answer to a call is lost, but the command comes through the log: its caller is answered all the same.
func TestForwardAnswerLost(t *testing.T) {
	c := newForwarding(t, 3, clusterTuning())
	f := c.follower()
	c.net.mu.Lock()
	c.net.lose = func() bool { return true }
	c.net.mu.Unlock()
	for i := range 20 {
		propose(t, f.Store, fmt.Sprint(i))
	}
	if _, v := rows(t, f.Store); len(v) != 20 {
		t.Errorf("%d rows", len(v))
	}
}

// testLoad is what came of commands.
type testLoad struct {
	mu      sync.Mutex                   // guards what follows
	acked   map[string]protocol.Position // where they are
	doubted map[string]bool              // their outcome is unknown
	refused map[string]bool              // surely not carried out
}

// load proposes on all nodes until stopped.
func (c *testCluster) load(perNode int) (stop func() *testLoad) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	l := &testLoad{acked: make(map[string]protocol.Position), doubted: make(map[string]bool), refused: make(map[string]bool)}
	for w := range perNode {
		for _, n := range c.all() {
			wg.Go(func() { c.proposeOn(ctx, n.id, w, l) })
		}
	}
	return func() *testLoad {
		cancel()
		wg.Wait()
		return l
	}
}

func (c *testCluster) proposeOn(ctx context.Context, id NodeID, worker int, l *testLoad) {
	var before protocol.Position
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for i := 0; ctx.Err() == nil; i++ {
		c.mu.Lock()
		n := c.nodes[id]
		c.mu.Unlock()
		if n == nil {
			<-tick.C // its node is down
			continue
		}
		cmd := fmt.Sprintf("%s %d %d", id, worker, i)
		r, err := n.Propose(context.Background(), []byte(cmd))
		l.mu.Lock()
		switch {
		case err == nil:
			at := r.(protocol.Position)
			if i > 0 && !before.Before(at) {
				c.t.Errorf("%q is at %s, acknowledged after one at %s", cmd, at, before)
			}
			l.acked[cmd], before = at, at
		case protocol.IsOutcomeUnknown(err):
			l.doubted[cmd] = true
		case protocol.CodeOf(err) == protocol.CodeUnavailable:
			l.refused[cmd] = true
		default:
			c.t.Errorf("%s: %v", cmd, err)
		}
		l.mu.Unlock()
	}
}

// check wants every node to have what was acknowledged, once and where it was acknowledged, and nothing that was refused.
func (c *testCluster) check(l *testLoad) {
	c.t.Helper()
	sent := make(map[string]bool)
	for cmd := range l.acked {
		sent[cmd] = true
	}
	for cmd := range l.doubted {
		sent[cmd] = false
	}
	c.same(sent)
	keys, values := rows(c.t, c.leader().Store)
	for i, v := range values {
		if l.refused[string(v)] {
			c.t.Errorf("%q was refused as surely not carried out, and is there", v)
		}
		if at, ok := l.acked[string(v)]; ok && !bytes.Equal(keys[i], toyKey(at)) {
			c.t.Errorf("%q was acknowledged at %s, and is elsewhere", v, at)
		}
	}
}

func (c *testCluster) progress(n uint64) {
	c.t.Helper()
	at := c.leader().Applied()
	eventually(c.t, "some load", func() bool {
		for _, node := range c.all() {
			if uint64(node.Applied()) > uint64(at)+n {
				return true
			}
		}
		return false
	})
}

// The leader is lost while commands are on their way to it.
func TestForwardLeaderLost(t *testing.T) {
	c := newForwarding(t, 3, clusterTuning())
	c.leader()
	stop := c.load(8)
	for range 2 {
		c.progress(30)
		l := c.leader()
		c.stop(l)
		c.leader()
		c.start(l.id, l.dir, nil)
	}
	c.progress(30)
	c.check(stop())
}

// When the lead is handed over no command is lost, doubled or even refused.
func TestForwardThroughTransfers(t *testing.T) {
	c := newForwarding(t, 3, clusterTuning())
	c.leader()
	stop := c.load(8)
	for range 3 {
		c.progress(30)
		if err := c.leader().TransferLeadership(t.Context(), ""); err != nil {
			t.Error(err)
		}
	}
	c.progress(30)
	l := stop()
	c.check(l)
	t.Logf("%d commands, %d unknown, %d refused", len(l.acked), len(l.doubted), len(l.refused))
	if len(l.refused) > 0 {
		t.Errorf("%d commands were refused", len(l.refused))
	}
}

// The way to the leader is broken while raft's isn't: commands wait, and are refused in time.
func TestForwardLinkBroken(t *testing.T) {
	c := newForwarding(t, 3, clusterTuning())
	f := c.follower()
	propose(t, f.Store, "x")
	c.net.cut(f.id)
	if _, err := f.Propose(t.Context(), []byte("y")); protocol.CodeOf(err) != protocol.CodeUnavailable || protocol.IsOutcomeUnknown(err) {
		t.Errorf("got %v, unknown: %v", err, protocol.IsOutcomeUnknown(err))
	}
	fu, err := f.Start(t.Context(), []byte("z"))
	if err != nil {
		t.Fatal(err)
	}
	c.net.join(f.id, f.Store)
	if _, err := fu.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	if _, v := rows(t, f.Store); len(v) != 2 {
		t.Errorf("rows are %q", v)
	}
}

// A leader that died without a word keeps nobody waiting: its silence ends with its lead.
func TestForwardSilentLeader(t *testing.T) {
	c := newForwarding(t, 3, clusterTuning())
	f, l := c.follower(), c.leader()
	propose(t, f.Store, "x")
	c.net.mu.Lock()
	c.net.silent = l.id
	c.net.mu.Unlock()
	net := c.net
	c.net = nil // raft's connections only
	c.cut(l)
	c.net = net
	start := time.Now()
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			_, err := f.Propose(context.Background(), fmt.Append(nil, i))
			if err != nil && protocol.CodeOf(err) != protocol.CodeUnavailable {
				t.Errorf("got %v", err)
			}
		})
	}
	wg.Wait()
	t.Logf("all were answered after %s", time.Since(start).Round(time.Millisecond))
	if d := time.Since(start); d > 20*time.Second {
		t.Errorf("callers hung for %s", d)
	}
	eventually(t, "the cluster to go on", func() bool {
		_, err := f.Propose(context.Background(), []byte("goes on"))
		return err == nil
	})
}

// A follower that gets the state by a snapshot can't tell what became of its commands; it says so and doesn't hang.
func TestForwardOverASnapshot(t *testing.T) {
	c := newForwarding(t, 3, clusterTuning())
	f, l := c.follower(), c.leader()
	propose(t, f.Store, "before")
	// Only raft's connection breaks: the leader executes the command, but its entry never comes here.
	net := c.net
	c.net = nil
	c.cut(f)
	pending := make(chan error, 1)
	ride := &forward{to: seat{l.id, l.raft.CurrentTerm()}, proposals: []*proposal{newProposal([]byte("y"))}, cancel: func() {}}
	ride.proposals[0].seq = 1
	f.fsm.pendings.add(ride)
	go func() {
		_, err := f.batches.await(context.Background(), ride.proposals[0])
		pending <- err
	}()
	c.net = net
	stop := c.writers(4)
	away := f.Applied()
	eventually(t, "the log to be cut", func() bool {
		first, err := c.leader().logs.FirstIndex()
		return err == nil && first > uint64(away)+50
	})
	c.heal(f)
	select {
	case err := <-pending:
		if !protocol.IsOutcomeUnknown(err) {
			t.Errorf("got %v", err)
		}
	case <-time.After(wait):
		t.Error("the caller hangs")
	}
	c.same(stop())
	propose(t, f.Store, "after")
}

// forwardSeeds is how many schedules are tried; FORWARD_SEEDS and FORWARD_FIRST choose others.
const forwardSeeds = 5

// Random proposers on random nodes; the lead changes, nodes are cut off and stopped. Every command is answered once; what
// was acknowledged is in every node's state, where it was acknowledged; what was refused is not.
func TestForwardProperties(t *testing.T) {
	schedules := rapid.Custom(func(rt *rapid.T) forwardPlan {
		return forwardPlan{
			steps: rapid.SliceOfN(rapid.SampledFrom([]string{"transfer", "cut leader", "cut follower", "stop leader", "stop follower", "lose"}),
				1, 4).Draw(rt, "steps"),
			perNode: rapid.IntRange(1, 12).Draw(rt, "proposers"),
			window:  rapid.IntRange(1, 2).Draw(rt, "window"),
		}
	})
	first, n := 1, forwardSeeds
	if s := os.Getenv("FORWARD_SEEDS"); s != "" {
		n, _ = strconv.Atoi(s)
		first, _ = strconv.Atoi(os.Getenv("FORWARD_FIRST"))
	}
	for seed := first; seed < first+n; seed++ {
		plan := schedules.Example(seed)
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Logf("%+v", plan)
			plan.run(t)
		})
	}
}

type forwardPlan struct {
	steps           []string
	perNode, window int
}

func (p forwardPlan) run(t *testing.T) {
	tuning := clusterTuning()
	tuning.Window = p.window
	tuning.Heartbeat = 250 * time.Millisecond
	c := newForwarding(t, 3, tuning)
	c.leader()
	stop := c.load(p.perNode)
	for _, step := range p.steps {
		c.progress(5)
		switch step {
		case "transfer":
			if err := c.leader().TransferLeadership(context.Background(), ""); err != nil && protocol.CodeOf(err) != protocol.CodeUnavailable {
				t.Error(err)
			}
		case "cut leader", "cut follower":
			n := c.leader()
			if step == "cut follower" {
				n = c.follower()
			}
			c.cut(n)
			c.leader()
			c.heal(n)
		case "stop leader", "stop follower":
			n := c.leader()
			if step == "stop follower" {
				n = c.follower()
			}
			c.stop(n)
			c.leader()
			c.start(n.id, n.dir, nil)
		case "lose":
			c.net.mu.Lock()
			i := 0
			c.net.lose = func() bool { i++; return i%3 == 0 }
			c.net.mu.Unlock()
		}
	}
	c.progress(5)
	c.check(stop())
}
