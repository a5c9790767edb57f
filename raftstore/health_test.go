package raftstore

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"
)

// gaveUp is how often a node gave up the lead for a reason.
func (n *testNode) gaveUp(reason string) (times float64) {
	r := prometheus.NewRegistry()
	r.MustRegister(n.cluster.health.givenUp)
	all, err := r.Gather()
	if err != nil {
		return -1
	}
	for _, f := range all {
		for _, m := range f.GetMetric() {
			if m.GetLabel()[0].GetValue() == reason {
				times += m.GetCounter().GetValue()
			}
		}
	}
	return times
}

// A leader whose disk gets nearly full hands the lead over before it has to refuse anything; and keeps it if nobody else is there.
func TestFullLeaderHandsOver(t *testing.T) {
	var full atomic.Value
	full.Store(NodeID(""))
	c := &testCluster{t: t, nodes: make(map[NodeID]*testNode)}
	c.free = func(id NodeID) (uint64, error) {
		if full.Load() == id {
			return 70 << 20, nil // writes are refused from 64 MiB on
		}
		return 1 << 40, nil
	}
	c.found(3)
	old := c.leader()
	propose(t, old.Store, "before")
	full.Store(old.id)
	eventually(t, "another leader", func() bool { return !old.IsLeader() })
	next := c.leader()
	if next == old || old.gaveUp(givenUpFull) != 1 {
		t.Errorf("node %s leads after %s, which gave up %v times", next.id, old.id, old.gaveUp(givenUpFull))
	}
	propose(t, next.Store, "after")
	eventually(t, "the full node to follow", func() bool { return old.Applied() == next.Applied() })
	for _, n := range c.all() {
		if n != next {
			c.cut(n)
		}
	}
	full.Store(next.id)
	if next.hasSuccessor() {
		eventually(t, "nobody to be there", func() bool { return !next.hasSuccessor() })
	}
	if next.gaveUp(givenUpFull) != 0 {
		t.Error("the lead was given up to nobody")
	}
}

// A leader hands over after some slow writes in a row; one slow write is none, and neither are a follower's.
func TestSlowLeaderHandsOver(t *testing.T) {
	c := newCluster(t, 3, Tuning{})
	old := c.leader()
	propose(t, old.Store, "before")
	slow := func(n *testNode, took ...time.Duration) {
		for _, d := range took {
			n.cluster.health.begin(ofLog, time.Now().Add(-d))
			n.cluster.health.end(ofLog, time.Now())
		}
	}
	for _, n := range c.all() {
		if n != old {
			slow(n, time.Second, time.Second, time.Second, time.Second)
		}
	}
	slow(old, 300*time.Millisecond, 300*time.Millisecond, time.Millisecond, 300*time.Millisecond, 300*time.Millisecond)
	if got := old.cluster.health.trouble(); got != "" {
		t.Errorf("two slow writes in a row: %s", got)
	}
	slow(old, 300*time.Millisecond)
	eventually(t, "another leader", func() bool { return !old.IsLeader() })
	next := c.leader()
	if next == old || old.gaveUp(givenUpSlow) != 1 {
		t.Errorf("node %s leads after %s, which gave up %v times", next.id, old.id, old.gaveUp(givenUpSlow))
	}
	propose(t, next.Store, "after")
}

// A node whose write of the log hangs says nothing to the others, so that they choose another leader, and talks again afterwards.
func TestHungNodeIsSilent(t *testing.T) {
	h := newDiskHealth(&spaceGuard{free: func() (uint64, error) { return 1 << 40, nil }})
	inner := &sentRequests{sent: make(chan *raft.AppendEntriesRequest, 10)}
	outer := &transport{Transport: inner, nudges: newNudger(func() {}), silent: h.hangs}
	defer outer.nudges.close()
	beat := &raft.AppendEntriesRequest{Term: 1}
	entries := &raft.AppendEntriesRequest{Term: 1, PrevLogEntry: 1, PrevLogTerm: 1}
	for _, c := range []struct {
		what   string
		began  time.Duration // ago; 0: no write is under way
		silent bool
	}{{ofLog, 0, false}, {ofLog, hungWrite / 2, false}, {ofLog, hungWrite + time.Second, true}, {ofState, hungWrite + time.Second, true}, {ofLog, 0, false}} {
		if c.began > 0 {
			h.begin(c.what, time.Now().Add(-c.began))
		}
		if first, second := h.noticeHang(), h.noticeHang(); first != c.silent || second {
			t.Errorf("after %s: noticed %v and %v", c.began, first, second)
		}
		for _, req := range []*raft.AppendEntriesRequest{beat, entries} {
			err := outer.AppendEntries("n2", "n2", req, &raft.AppendEntriesResponse{})
			if silent := err != nil; silent != c.silent || silent == (len(inner.sent) > 0) {
				t.Errorf("after %s: %v, %d sent", c.began, err, len(inner.sent))
			}
			for len(inner.sent) > 0 {
				<-inner.sent
			}
		}
		p := &pipeline{silent: outer.isSilent, nudges: outer.nudges, id: "n2", inner: brokenPipeline{}}
		if _, err := p.AppendEntries(entries, nil); errors.Is(err, errSilent) != c.silent {
			t.Errorf("after %s: the pipeline says %v", c.began, err)
		}
		if c.began > 0 {
			h.end(c.what, time.Now())
		}
	}
}

type brokenPipeline struct{ raft.AppendPipeline }

func (brokenPipeline) AppendEntries(*raft.AppendEntriesRequest, *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	return nil, errors.New("broken")
}
