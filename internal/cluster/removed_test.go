package cluster

import (
	"strings"
	"testing"
	"time"

	"teamtalk/internal/peers"
	"teamtalk/protocol"
)

// A node that was removed while it was away believes one other node at once, if that one has proof; without, it takes most of them and time.
func TestProofOfRemoval(t *testing.T) {
	for _, c := range []struct {
		name  string
		left  bool // its own log does not count it in: removed while it ran, or just let in
		proof uint64
		dead  []protocol.NodeID
		after time.Duration // until it believes; 0: never
	}{
		{name: "proof of one", proof: 1000, dead: []protocol.NodeID{"n1"}, after: time.Millisecond},
		{name: "knows less than the node itself", proof: 999, dead: []protocol.NodeID{"n1"}},
		{name: "outside, proof of one", left: true, proof: 1000, dead: []protocol.NodeID{"n1"}},
		{name: "outside, proof of most", left: true, proof: 1000, dead: []protocol.NodeID{"n1", "n2"}, after: time.Millisecond},
		{name: "most others, without proof", dead: []protocol.NodeID{"n1", "n2"}, after: oustedAfter},
		{name: "most others, that know less", proof: 999, dead: []protocol.NodeID{"n1", "n2"}, after: oustedAfter},
	} {
		t.Run(c.name, func(t *testing.T) {
			told := make(chan struct{}, 1)
			g := newGroup("n1", "n2", "n3")
			all := g.nodes(t, func(c *Config) { c.Ousted = func() { told <- struct{}{} } })
			g.kill(c.dead...)
			if c.left {
				g.members = g.members[:2]
			}
			g.refusal, g.proof = "dial: "+peers.ErrRemoved.Error(), c.proof
			began := g.clock()
			for len(told) == 0 && g.clock().Sub(began) < time.Minute {
				g.lookFor(all["n3"].Manager, all["n3"].cfg.Policy.Tick)
			}
			took := g.clock().Sub(began)
			switch {
			case c.after == 0 && len(told) != 0:
				t.Errorf("believes after %s", took)
			case c.after != 0 && (len(told) == 0 || took < c.after || took > c.after+time.Second):
				t.Errorf("believes after %s", took)
			}
		})
	}
}

// What a node tells one that was removed is certain only once all is carried out that its log held when it read of the removal.
func TestKnowsRemovedOnlyWhenDecided(t *testing.T) {
	g := newGroup("n1", "n2", "n3")
	n1 := g.nodes(t, nil)["n1"]
	if n1.Knows("n9") != 0 {
		t.Error("knows before it has looked")
	}
	g.lookFor(n1.Manager, time.Second)
	if got := n1.Knows("n9"); got != 1000 {
		t.Errorf("of a stranger it knows %d", got)
	}
	if got := n1.Knows("n3"); got != 0 {
		t.Errorf("of a member it knows %d", got)
	}
	g.mu.Lock()
	g.members = g.members[:2]
	g.commit = 1001 // the entry that says so; here it is not applied
	g.mu.Unlock()
	g.lookFor(n1.Manager, time.Second)
	if got := n1.Knows("n3"); got != 0 {
		t.Errorf("by an entry that is not decided it knows %d", got)
	}
	g.apply("n1", 1001)
	n1.look() // this look may have read the members before it was applied
	if got := n1.Knows("n3"); got != 0 {
		t.Errorf("too early it knows %d", got)
	}
	n1.look()
	if got := n1.Knows("n3"); got != 1001 {
		t.Errorf("it knows %d", got)
	}
	// The members were read before that was applied which the look found then: it may be that n4 was let in.
	s := &settled{}
	s.note(n1.watch.members, Position{Applied: 1001, Last: 1001})
	s.note(n1.watch.members, Position{Applied: 1005, Last: 1005})
	if s.at != 1001 {
		t.Errorf("the members of before are taken for those at %d", s.at)
	}
	// And one that is let in again, under whatever id, is no stranger as soon as it is seen.
	g.follower("n4", 0)
	g.mu.Lock()
	g.commit = 1002
	g.mu.Unlock()
	g.apply("n1", 1002)
	n1.look()
	if got := n1.Knows("n4"); got > 1001 {
		t.Errorf("of a member it knows %d", got)
	}
	n1.look()
	if got := n1.Knows("n4"); got != 0 || strings.Contains(n1.logs.String(), "level=ERROR") {
		t.Errorf("of a member it knows %d", got)
	}
}
