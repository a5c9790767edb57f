package cluster

import (
	"context"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"teamtalk/protocol"
)

// departures are the nodes of a group that have ended by themselves, in the order in which they did.
type departures struct {
	group *group
	all   map[protocol.NodeID]*node
	ended chan string
}

// draining is a group whose nodes are drained at once, or when end is closed.
func draining(t *testing.T, end chan struct{}) *departures {
	g := newGroup("n1", "n2", "n3")
	d := &departures{group: g, all: map[protocol.NodeID]*node{}, ended: make(chan string, 10)}
	for _, m := range g.members {
		d.all[m.ID] = g.node(t, m.ID, func(c *Config) {
			c.Depart = func() { d.ended <- "departed " + string(m.ID) }
			c.Ousted = func() { d.ended <- "ousted " + string(m.ID) }
		})
		d.all[m.ID].self.drain = func(context.Context) error { <-end; return nil }
	}
	return d
}

func (d *departures) drained(t *testing.T, id protocol.NodeID) {
	t.Helper()
	eventually(t, "drained", func() bool { _, drained := d.all[id].afterDrain(); return drained })
}

func (d *departures) want(t *testing.T, what string) {
	t.Helper()
	got := ""
	for len(d.ended) > 0 {
		got += <-d.ended
	}
	if got != what {
		t.Errorf("ended: %q, want %q", got, what)
	}
}

// A node that was drained to stop does so once, when another node leads and not before no client is left.
func TestDrainedNodeStops(t *testing.T) {
	end := make(chan struct{})
	d := draining(t, end)
	g, n1 := d.group, d.all["n1"]
	if err := d.all["n2"].Drain(within(t), "n1", DrainStops); err != nil { // by another node
		t.Fatal(err)
	}
	g.lookFor(n1.Manager, time.Second) // hands over
	if g.leader == "n1" {
		t.Error("a node that is drained leads")
	}
	d.want(t, "")
	if r := d.all["n2"].Status(within(t)).Members[0].Report; !r.Draining || r.Drained || r.AfterDrain != DrainStops {
		t.Errorf("%+v", r)
	}
	close(end)
	d.drained(t, "n1")
	g.leader = "" // who knows
	g.lookFor(n1.Manager, time.Second)
	g.leader = "n1"
	g.kill("n2", "n3") // nobody to hand over to
	g.lookFor(n1.Manager, 2*lingers)
	d.want(t, "")
	g.mu.Lock()
	clear(g.dead)
	g.mu.Unlock()
	g.lookFor(n1.Manager, 2*leaderPatience)
	d.want(t, "departed n1")
	if len(g.members) != 3 {
		t.Error("it was removed")
	}
}

// A node that was drained already can be told to stop, or to leave.
func TestDrainedNodeIsToldLater(t *testing.T) {
	end := make(chan struct{})
	close(end)
	d := draining(t, end)
	n3 := d.all["n3"]
	if err := n3.Drain(within(t), "", DrainStays); err != nil {
		t.Fatal(err)
	}
	d.drained(t, "n3")
	d.group.lookFor(n3.Manager, time.Minute)
	d.want(t, "")
	if err := n3.Drain(within(t), "", DrainRemoves); err != nil {
		t.Fatal(err)
	}
	if err := n3.Drain(within(t), "", DrainStays); err != nil { // asked once more, it does not forget
		t.Fatal(err)
	}
	d.group.lookFor(n3.Manager, 3*time.Second)
	d.want(t, "departed n3")
	wantHistory(t, d.group, "remove n3")
}

// A node that leaves is removed before it ends, by a leader that is another one, and takes its removal for no misfortune.
func TestDrainedNodeLeaves(t *testing.T) {
	end := make(chan struct{})
	close(end)
	d := draining(t, end)
	g, n1 := d.group, d.all["n1"]
	n1.look() // it belongs
	if err := n1.Drain(within(t), "n1", DrainRemoves); err != nil {
		t.Fatal(err)
	}
	d.drained(t, "n1")
	g.lookFor(n1.Manager, lingers) // hands over
	d.want(t, "")
	g.mu.Lock()
	g.fail = protocol.OutcomeUnknownf("the lead was lost")
	g.mu.Unlock()
	g.lookFor(n1.Manager, time.Second)
	d.want(t, "")
	if !strings.Contains(n1.logs.String(), "it tries again") {
		t.Error("does not say that it could not")
	}
	n1.look()
	wantHistory(t, g, "transfer") // not at once again
	g.pass(leaderPatience)
	g.lookFor(n1.Manager, time.Second)
	d.want(t, "departed n1")
	wantHistory(t, g, "transfer, remove n1")

	// It was removed, but the answer got lost: the log tells.
	d = draining(t, end)
	n3 := d.all["n3"]
	n3.look()
	d.group.mu.Lock()
	d.group.fail = protocol.OutcomeUnknownf("the lead was lost")
	d.group.mu.Unlock()
	if err := n3.Drain(within(t), "", DrainRemoves); err != nil {
		t.Fatal(err)
	}
	d.drained(t, "n3")
	d.group.lookFor(n3.Manager, lingers+time.Second)
	d.group.mu.Lock()
	d.group.members = d.group.members[:2]
	d.group.mu.Unlock()
	d.group.lookFor(n3.Manager, time.Minute)
	d.want(t, "departed n3")
}

// What can't be done is refused at once; what can't be done any more leaves the node drained.
func TestDrainedNodeThatIsNeededStays(t *testing.T) {
	end := make(chan struct{})
	d := draining(t, end)
	wantCode(t, "nonsense", d.all["n3"].Drain(within(t), "n2", "explode"), protocol.CodeInvalid, "explode")
	if err := d.all["n3"].Drain(within(t), "", DrainRemoves); err != nil {
		t.Fatal(err)
	}
	d.group.kill("n2")
	close(end)
	d.drained(t, "n3")
	d.group.lookFor(d.all["n3"].Manager, time.Minute)
	d.want(t, "")
	if r := d.all["n1"].Status(within(t)).Members[2].Report; !r.Drained || r.AfterDrain != DrainStays || !strings.Contains(d.all["n3"].logs.String(), "no majority") {
		t.Errorf("%+v", r)
	}
	wantHistory(t, d.group, "")
	wantCode(t, "needed from the start", d.all["n1"].Drain(within(t), "n1", DrainRemoves), protocol.CodeForbidden, "no majority")
	g := newGroup("n1", "n2")
	wantCode(t, "one whose process can't be ended", g.nodes(t, nil)["n1"].Drain(within(t), "", DrainStops), protocol.CodeInvalid, "by itself")
}

// A drain that begins while the manager is closed either ends with it or does not begin.
func TestDrainDuringClose(t *testing.T) {
	for range 50 {
		g := newGroup("n1", "n2", "n3")
		n := g.nodes(t, nil)["n1"]
		var under atomic.Int32
		n.self.drain = func(ctx context.Context) error {
			under.Add(1)
			defer under.Add(-1)
			<-ctx.Done()
			runtime.Gosched()
			return ctx.Err()
		}
		var asked sync.WaitGroup
		for range 4 {
			asked.Go(func() { _ = n.Drain(within(t), "", DrainStays) }) // which of both is first is up to chance
		}
		n.Close()
		if left := under.Load(); left != 0 {
			t.Fatalf("%d drains after the end", left)
		}
		asked.Wait()
		if left := under.Load(); left != 0 {
			t.Fatalf("%d drains begun after the end", left)
		}
	}
}
