package raftstore

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"teamtalk/protocol"
)

func (c *testCluster) memberIDs() (all, voters []NodeID) {
	c.t.Helper()
	members, err := c.leader().Members()
	if err != nil {
		c.t.Fatal(err)
	}
	for _, m := range members {
		all = append(all, m.ID)
		if m.Voter {
			voters = append(voters, m.ID)
		}
	}
	return all, voters
}

// The life of a cluster: a node joins, catches up, gets a vote, takes the lead, another leaves.
func TestMembership(t *testing.T) {
	c := newForwarding(t, 1, clusterTuning())
	founder := c.leader()
	stop := c.load(4)
	c.progress(50)
	ctx := t.Context()
	for _, id := range []NodeID{"n2", "n3"} {
		n := c.start(id, dataPath(t), nil)
		if err := founder.AddNonvoter(ctx, Member{id, string(id)}); err != nil {
			t.Fatal(err)
		}
		if err := founder.AddNonvoter(ctx, Member{id, string(id)}); err != nil {
			t.Errorf("the same again: %v", err)
		}
		eventually(t, "the new node to catch up", func() bool {
			st, err := founder.Status()
			i := slices.IndexFunc(st.Members, func(m MemberProgress) bool { return m.ID == id })
			return err == nil && i >= 0 && st.Members[i].Known && st.Members[i].Lag < 10
		})
		if _, voters := c.memberIDs(); slices.Contains(voters, id) {
			t.Errorf("%s has a vote already", id)
		}
		propose(t, n.Store, "by a node without a vote")
		if err := founder.Promote(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
	if all, voters := c.memberIDs(); len(all) != 3 || len(voters) != 3 {
		t.Errorf("members are %v, with a vote %v", all, voters)
	}
	if err := founder.TransferLeadership(ctx, "n2"); err != nil {
		t.Fatal(err)
	}
	if l := c.leader(); l.id != "n2" {
		t.Errorf("%s leads", l.id)
	}
	if err := c.leader().Remove(ctx, "n1"); err != nil {
		t.Fatal(err)
	}
	c.stop(founder)
	c.check(stop())
	if all, _ := c.memberIDs(); len(all) != 2 || slices.Contains(all, "n1") {
		t.Errorf("members are %v", all)
	}
	// Whoever has executed the log knows it; a newcomer learns it from the state that he is sent, and nobody takes him for one that was removed.
	last := c.leader()
	late := c.start("n4", dataPath(t), nil)
	if err := last.AddNonvoter(ctx, Member{"n4", "n4"}); err != nil {
		t.Fatal(err)
	}
	for _, n := range []*testNode{last, late} {
		eventually(t, "it to be known who was removed", func() bool { return n.Removed("n1") && !n.Removed("n3") && !n.Removed("n4") && !n.Removed("n9") })
	}
}

// follower is one that knows who leads.
func (c *testCluster) follower() *testNode {
	c.t.Helper()
	var follower *testNode
	eventually(c.t, "a follower", func() bool {
		leader := c.leader()
		for _, n := range c.all() {
			if l, ok := n.Leader(); n != leader && ok && l.ID == leader.cfg.NodeID {
				follower = n
				return true
			}
		}
		return false
	})
	return follower
}

func TestMembershipRefusals(t *testing.T) {
	c := newForwarding(t, 3, clusterTuning())
	f, l := c.follower(), c.leader()
	ctx := t.Context()
	for name, err := range map[string]error{
		"add":      f.AddNonvoter(ctx, Member{"n4", "n4"}),
		"promote":  f.Promote(ctx, "n1"),
		"remove":   f.Remove(ctx, "n1"),
		"address":  f.SetAddress(ctx, "n1", "x"),
		"transfer": f.TransferLeadership(ctx, ""),
	} {
		want := "the leader is " + string(l.id)
		if protocol.CodeOf(err) != protocol.CodeUnavailable || protocol.IsOutcomeUnknown(err) || err.Error()[:len(want)] != want {
			t.Errorf("%s on a follower: %v", name, err)
		}
	}
	for name, tt := range map[string]struct {
		err  error
		code protocol.Code
	}{
		"promote nobody":      {l.Promote(ctx, "n9"), protocol.CodeNotFound},
		"remove nobody":       {l.Remove(ctx, "n9"), protocol.CodeNotFound},
		"move nobody":         {l.SetAddress(ctx, "n9", "x"), protocol.CodeNotFound},
		"move to nowhere":     {l.SetAddress(ctx, "n1", ""), protocol.CodeInvalid},
		"transfer to nobody":  {l.TransferLeadership(ctx, "n9"), protocol.CodeNotFound},
		"nameless":            {l.AddNonvoter(ctx, Member{"", "x"}), protocol.CodeInvalid},
		"a voter as nonvoter": {l.AddNonvoter(ctx, Member{f.id, string(f.id)}), protocol.CodeInvalid},
	} {
		if protocol.CodeOf(tt.err) != tt.code {
			t.Errorf("%s: %v", name, tt.err)
		}
	}
	lone := open(t, single(t, dataPath(t)))
	propose(t, lone, "x")
	if err := lone.Remove(ctx, "n1"); protocol.CodeOf(err) != protocol.CodeInvalid {
		t.Errorf("the last voter: %v", err)
	}
}

func TestSetAddress(t *testing.T) {
	c := newForwarding(t, 3, clusterTuning())
	f, l := c.follower(), c.leader()
	l.trans.Connect("moved", f.trans)
	if err := l.SetAddress(t.Context(), f.id, "moved"); err != nil {
		t.Fatal(err)
	}
	members, err := l.Members()
	i := slices.IndexFunc(members, func(m MemberStatus) bool { return m.ID == f.id })
	if err != nil || members[i].Address != "moved" || !members[i].Voter {
		t.Errorf("members are %+v, %v", members, err)
	}
	at := propose(t, l.Store, "x")
	if err := f.WaitApplied(t.Context(), protocol.Cursor(at.Index)); err != nil {
		t.Error(err)
	}
}

// A cluster of one that ran without a transport gets company later.
func TestAddressOfALoneNodeIsCorrected(t *testing.T) {
	dir := dataPath(t)
	cfg := Config{Dir: dir, NodeID: "n1", Machine: &toy{}, Version: "test", Fatal: func(err error) { t.Errorf("fatal: %v", err) }}
	s := open(t, cfg)
	propose(t, s, "x")
	closeStore(t, s)
	_, trans := raft.NewInmemTransport("10.0.0.1:7000")
	cfg.Transport, cfg.Advertise = trans, "node1.example:7000"
	s = open(t, cfg)
	propose(t, s, "y")
	eventually(t, "the address to be corrected", func() bool {
		m, err := s.Members()
		return err == nil && len(m) == 1 && m[0].Address == "node1.example:7000" && m[0].Voter
	})
}

// A leader that is closed hands the lead over first: nobody waits for an election.
func TestCloseHandsOver(t *testing.T) {
	tuning := clusterTuning()
	tuning.Heartbeat = 2 * time.Second
	c := newForwarding(t, 3, tuning)
	l := c.leader()
	propose(t, l.Store, "x")
	start := time.Now()
	closeStore(t, l.Store)
	eventually(t, "another leader", func() bool {
		for _, n := range c.all() {
			if n != l && n.IsLeader() {
				return true
			}
		}
		return false
	})
	if d := time.Since(start); d > 1500*time.Millisecond {
		t.Errorf("it took %s, as an election", d)
	}
	c.stop(l)
}

// A node that was cut off, and comes back, doesn't depose the leader: it asks for votes in advance, and gets none.
func TestReturningNodeDoesNotDepose(t *testing.T) {
	c := newForwarding(t, 3, clusterTuning())
	f, l := c.follower(), c.leader()
	term := l.raft.CurrentTerm()
	c.cut(f)
	eventually(t, "the node to miss the leader", func() bool { return f.raft.State() == raft.Candidate })
	for range 3 {
		propose(t, l.Store, "meanwhile")
	}
	c.heal(f)
	propose(t, f.Store, "back")
	if now := c.leader(); now != l || l.raft.CurrentTerm() != term {
		t.Errorf("%s leads in term %d, it was %s in term %d", now.id, now.raft.CurrentTerm(), l.id, term)
	}
}

// Without a majority a change ends with its context.
func TestMembershipWithoutQuorum(t *testing.T) {
	tuning := clusterTuning()
	tuning.Heartbeat = 2 * time.Second
	c := newForwarding(t, 3, tuning)
	l := c.leader()
	for _, n := range c.all() {
		if n != l {
			c.cut(n)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := l.AddNonvoter(ctx, Member{"n4", "n4"}); !protocol.IsOutcomeUnknown(err) {
		t.Errorf("got %v", err)
	}
}
