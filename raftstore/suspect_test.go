package raftstore

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"
)

// circle is the links of nodes by which they ask each other.
type circle struct {
	mu        sync.Mutex // guards what follows
	stores    map[NodeID]*Store
	connected map[NodeID]bool
	silent    map[NodeID]bool // don't answer
}

func newCircle() *circle {
	return &circle{stores: map[NodeID]*Store{}, connected: map[NodeID]bool{}, silent: map[NodeID]bool{}}
}

// Ask asks a store.
func (c *circle) Ask(ctx context.Context, node NodeID, question []byte) ([]byte, error) {
	c.mu.Lock()
	s, silent := c.stores[node], c.silent[node]
	c.mu.Unlock()
	if silent {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if s == nil {
		return nil, errors.New("no such node")
	}
	return s.Answer(question)
}

// Connected is as the test says.
func (c *circle) Connected(node NodeID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.connected[node]
}

func (c *circle) connect(node NodeID, is bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.connected[node] = is
}

func (c *circle) silence(node NodeID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.silent[node] = true
}

// patient is a timer of raft's that no test waits for: who is elected in time was hurried.
const patient = 5 * wait

// newCircleCluster is nodes whose leader is n1, in the first term after the founding one, and that never elect another by a timer.
func newCircleCluster(t *testing.T, n int) (*testCluster, *circle) {
	t.Helper()
	ring := newCircle()
	c := &testCluster{t: t, tuning: Tuning{Heartbeat: patient}, neighbours: ring, nodes: make(map[NodeID]*testNode)}
	c.found(n)
	for _, n := range c.all() {
		ring.stores[n.id] = n.Store
	}
	if !c.node("n1").cluster.suspects.stand(1, func() bool { return true }) {
		t.Fatal("n1 does not stand")
	}
	c.follow("n1")
	return c, ring
}

func (c *testCluster) node(id NodeID) *testNode {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes[id]
}

// follow waits until all know that leader.
func (c *testCluster) follow(id NodeID) {
	c.t.Helper()
	for _, n := range c.all() {
		eventually(c.t, "following "+string(id), func() bool { at, ok := n.leader.seat(); return ok && at.node == id })
	}
}

// lose tells nodes that a link broke and new ones are refused.
func lose(leader NodeID, nodes ...*testNode) {
	for _, n := range nodes {
		n.Linked(leader, false)
		n.Refused(leader)
	}
	<-time.After(refusalGap)
	for _, n := range nodes {
		n.Refused(leader)
	}
}

func (n *testNode) hurried(t *testing.T) float64 {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(n.cluster.metrics.hurried)
	all, err := reg.Gather()
	if err != nil || len(all) != 1 {
		t.Fatalf("%d metrics, %v", len(all), err)
	}
	return all[0].Metric[0].GetCounter().GetValue()
}

// A leader whose process is gone is replaced without a timer, in one election, by the lowest id among those with the longest log.
func TestLostLeaderIsReplacedAtOnce(t *testing.T) {
	for _, n := range []int{3, 5} {
		c, _ := newCircleCluster(t, n)
		propose(t, c.node("n1").Store, "before")
		others := slices.DeleteFunc(c.all(), func(n *testNode) bool { return n.id == "n1" })
		for _, n := range others {
			eventually(t, "a full log", func() bool { return n.raft.LastIndex() == c.node("n1").raft.LastIndex() })
		}
		term := c.node("n1").raft.CurrentTerm()
		c.stop(c.node("n1"))
		if now := others[0].raft.CurrentTerm(); now != term {
			t.Fatalf("%d nodes: somebody was elected before the loss was told: term %d after %d", n, now, term)
		}
		begun := time.Now()
		lose("n1", others...)
		c.follow("n2")
		t.Logf("%d nodes: a new leader after %s", n, time.Since(begun).Round(time.Millisecond))
		propose(t, c.node("n2").Store, "after")
		var hurried float64
		for _, n := range others {
			hurried += n.hurried(t)
		}
		if now := c.node("n2").raft.CurrentTerm(); now != term+1 || hurried != 1 {
			t.Errorf("%d nodes: term %d after %d, %v hurried elections", n, now, term, hurried)
		}
	}
}

// The one with the longest log stands, and not the one with the lowest id, who would lose and raise the term.
func TestTheLongestLogStands(t *testing.T) {
	c, _ := newCircleCluster(t, 3)
	leader, behind, ahead := c.node("n1"), c.node("n2"), c.node("n3")
	c.cut(behind)
	propose(t, leader.Store, "n2 misses this")
	term := leader.raft.CurrentTerm()
	eventually(t, "a longer log", func() bool { return ahead.raft.LastIndex() == leader.raft.LastIndex() })
	if behind.raft.LastIndex() >= ahead.raft.LastIndex() {
		t.Fatal("n2 is not behind")
	}
	c.stop(leader)
	c.heal(behind)
	lose("n1", behind, ahead)
	c.follow("n3")
	if now := ahead.raft.CurrentTerm(); now != term+1 || behind.hurried(t) != 0 {
		t.Errorf("term %d after %d, n2 stood %v times", now, term, behind.hurried(t))
	}
}

// One who has more right and doesn't stand is not waited for for ever.
func TestAnotherStandsIfTheFirstDoesNot(t *testing.T) {
	c, _ := newCircleCluster(t, 3)
	first, second := c.node("n2"), c.node("n3")
	eventually(t, "a full log", func() bool { return first.raft.LastIndex() == second.raft.LastIndex() })
	c.stop(c.node("n1"))
	first.Linked("n1", false)
	first.Refused("n1") // once: it can say so, but not stand
	lose("n1", second)
	c.follow("n3")
}

// A leader stays if there is any doubt that its process is gone. The cases leave out one thing each of what a hurried election needs.
func TestLivingLeaderIsNotSuspected(t *testing.T) {
	cases := []struct {
		name    string
		arrange func(c *testCluster, ring *circle, me, other *testNode)
	}{
		{"nothing happened", func(*testCluster, *circle, *testNode, *testNode) {}},
		{"refused once", func(_ *testCluster, _ *circle, me, other *testNode) {
			lose("n1", other)
			me.Linked("n1", false)
			me.Refused("n1")
		}},
		{"refused twice at once", func(_ *testCluster, _ *circle, me, other *testNode) {
			lose("n1", other)
			me.Linked("n1", false)
			for range 2 {
				me.Refused("n1")
			}
		}},
		{"never linked", func(_ *testCluster, _ *circle, me, other *testNode) {
			lose("n1", other)
			me.Refused("n1")
			<-time.After(refusalGap)
			me.Refused("n1")
		}},
		{"linked again", func(_ *testCluster, _ *circle, me, other *testNode) {
			lose("n1", me, other)
			me.Linked("n1", true)
		}},
		{"heard of since", func(c *testCluster, _ *circle, me, other *testNode) {
			lose("n1", me, other)
			before := me.raft.LastContact()
			propose(c.t, c.node("n1").Store, "alive")
			eventually(c.t, "the leader's word", func() bool { return me.raft.LastContact().After(before) })
		}},
		{"still connected", func(_ *testCluster, ring *circle, me, other *testNode) {
			ring.connect("n1", true)
			lose("n1", me, other)
		}},
		{"only this node lost it", func(_ *testCluster, _ *circle, me, _ *testNode) { lose("n1", me) }},
		{"nobody else answers", func(_ *testCluster, ring *circle, me, other *testNode) {
			ring.silence(other.id)
			lose("n1", me, other)
		}},
		{"another one is gone", func(_ *testCluster, _ *circle, me, _ *testNode) { lose("n3", me) }},
		{"no vote", func(c *testCluster, _ *circle, me, other *testNode) {
			if err := c.node("n1").raft.DemoteVoter("n2", 0, 0).Error(); err != nil {
				c.t.Fatal(err)
			}
			eventually(c.t, "the loss of the vote", func() bool { return !slices.Contains(me.cluster.suspects.voters(), "n2") })
			lose("n1", me, other)
		}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			c, ring := newCircleCluster(t, 3)
			u := c.node("n2").cluster.suspects
			for _, n := range c.all() { // what is decided is looked at below
				n.cluster.suspects.close()
			}
			tc.arrange(c, ring, c.node("n2"), c.node("n3"))
			at, suspected := u.suspected()
			if !suspected || !u.gone(at.node, 2) {
				return
			}
			if agree, _ := u.inquire(at); agree {
				t.Error("the leader would be deposed")
			}
		})
	}
}

// The same with nothing left out, so that the cases above can fail.
func TestLostLeaderIsSuspected(t *testing.T) {
	c, _ := newCircleCluster(t, 3)
	for _, n := range c.all() {
		n.cluster.suspects.close()
	}
	me, other := c.node("n2"), c.node("n3")
	eventually(t, "a full log", func() bool { return me.raft.LastIndex() == other.raft.LastIndex() })
	c.cut(c.node("n1"))
	lose("n1", me, other)
	at, ok := me.cluster.suspects.suspected()
	agree, ahead := me.cluster.suspects.inquire(at)
	if !ok || at.node != "n1" || !me.cluster.suspects.gone("n1", 2) || !agree || ahead != 0 {
		t.Errorf("suspected %v (%v), agree %v, ahead %v", at, ok, agree, ahead)
	}
	if agree, ahead = other.cluster.suspects.inquire(at); !agree || ahead != 1 {
		t.Errorf("n3: agree %v, ahead %v", agree, ahead)
	}
}

// The others hear at once that a new leader's first entry is committed, although raft has no reason to tell them.
func TestNewLeadIsAnnounced(t *testing.T) {
	c := newCluster(t, 3, Tuning{CommitTimeout: patient})
	leader := c.leader()
	for _, n := range c.all() {
		eventually(t, string(n.id)+" knowing it", func() bool { return n.raft.CommitIndex() >= leader.raft.LastIndex() })
	}
}

// A wish to stand yields to what changed, and to another node that has just asked for this one's vote.
func TestStandingYields(t *testing.T) {
	_, inner := raft.NewInmemTransport("n1")
	_, other := raft.NewInmemTransport("n2")
	other.Connect("n1", inner)
	tr, asRaftSeesIt := newTransport(inner, newNudger(func() {}), false, nil)
	var reading sync.WaitGroup
	defer reading.Wait()
	defer tr.detach()
	calls := make(chan any, 10)
	reading.Go(func() { // ends with detach
		for {
			select {
			case call := <-asRaftSeesIt.Consumer():
				calls <- call.Command
				call.Respond(&raft.RequestVoteResponse{}, nil)
			case <-tr.stop:
				return
			}
		}
	})
	if tr.stand(6, func() bool { return false }) || len(calls) > 0 {
		t.Error("stood although things have changed")
	}
	if err := other.RequestVote("n1", "n1", &raft.RequestVoteRequest{Term: 7}, &raft.RequestVoteResponse{}); err != nil {
		t.Fatal(err)
	}
	if call, ok := (<-calls).(*raft.RequestVoteRequest); !ok || call.Term != 7 {
		t.Fatalf("raft gets %v", call)
	}
	if tr.stand(6, func() bool { return true }) || len(calls) > 0 {
		t.Error("stood against one who was just voted for")
	}
	if !tr.stand(7, func() bool { return true }) {
		t.Error("did not stand after the term of one who was voted for before")
	}
	if call, ok := (<-calls).(*raft.TimeoutNowRequest); !ok {
		t.Errorf("raft gets %v", call)
	}
}

// Answers to what no program of this version asks are errors or "no", never a crash.
func FuzzSuspicion(f *testing.F) {
	f.Add(encodeQuestion(seat{"n1", 7}), testimony{lostHim, logPlace{9, 7}}.encode())
	f.Add([]byte{}, []byte{suspectFormat, 2})
	f.Fuzz(func(t *testing.T, question, answer []byte) {
		if at, err := decodeQuestion(question); err == nil && string(encodeQuestion(at)) != string(question) {
			t.Errorf("question %x is %v", question, at)
		}
		if said, err := decodeTestimony(answer); err == nil {
			if again, err := decodeTestimony(said.encode()); err != nil || again != said {
				t.Errorf("answer %x is %v, then %v, %v", answer, said, again, err)
			}
		}
	})
}
