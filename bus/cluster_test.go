package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"teamtalk/protocol"
)

// network connects buses in memory, in virtual time. Its faults are those of a network: delay, links that go down with or without what is under way,
// payloads that vanish, nodes that die and come back.
type network struct {
	t     *testing.T
	cfg   Config
	delay time.Duration

	mu    sync.Mutex // guards what follows
	nodes map[protocol.NodeID]*testNode
	pipes map[[2]protocol.NodeID]*pipe
	lives uint64
}

// testNode is one life of a node.
type testNode struct {
	*Bus
	id       protocol.NodeID
	registry *prometheus.Registry
	net      *network
	stop     func()

	mu    sync.Mutex // guards what follows
	shown map[protocol.UserID][]bool
	heard []protocol.Signal // but for PresenceChanged
}

// pipe is one direction of a link that stands.
type pipe struct {
	payloads chan []byte
	down     chan struct{}
	late     bool // what is under way when it goes down arrives all the same, after what a new link carried
	swallow  int  // so many payloads vanish
	sent     int
	paused   chan struct{} // nil: not
}

func newNetwork(t *testing.T, cfg Config) *network {
	return &network{t: t, cfg: cfg, delay: time.Millisecond, nodes: make(map[protocol.NodeID]*testNode), pipes: make(map[[2]protocol.NodeID]*pipe)}
}

// start begins a life of a node and links it with all others.
func (n *network) start(id protocol.NodeID) *testNode {
	n.mu.Lock()
	n.lives++
	cfg := n.cfg
	cfg.Node, cfg.Generation, cfg.Registerer = id, n.lives, prometheus.NewRegistry()
	node := &testNode{Bus: New(cfg), id: id, registry: cfg.Registerer.(*prometheus.Registry), net: n, shown: make(map[protocol.UserID][]bool)}
	n.nodes[id] = node
	others := slices.Sorted(maps.Keys(n.nodes))
	n.mu.Unlock()

	ctx, cancel := context.WithCancel(context.Background())
	signals := node.Signals("test")
	var parts sync.WaitGroup
	parts.Go(func() {
		if err := node.Serve(ctx, node); !errors.Is(err, context.Canceled) {
			n.t.Errorf("Serve: %v", err)
		}
	})
	parts.Go(func() { node.record(ctx, signals) })
	node.stop = func() { cancel(); parts.Wait() }
	for _, o := range others {
		n.link(id, o, true)
	}
	return node
}

// kill ends a node without a word to anybody; the links notice if told.
func (n *network) kill(id protocol.NodeID, isNoticed bool) {
	n.mu.Lock()
	node := n.nodes[id]
	delete(n.nodes, id)
	others := slices.Sorted(maps.Keys(n.nodes))
	n.mu.Unlock()
	node.stop()
	for _, o := range others {
		n.cut(id, o, false, isNoticed)
	}
}

// stopAll ends the test's goroutines.
func (n *network) stopAll() {
	for _, id := range n.live() {
		n.kill(id, false)
	}
	synctest.Wait()
}

func (n *network) live() []protocol.NodeID {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Sorted(maps.Keys(n.nodes))
}

func (n *network) node(id protocol.NodeID) *testNode {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.nodes[id]
}

// link makes both directions of a link stand, if both nodes live.
func (n *network) link(a, b protocol.NodeID, isNoticed bool) {
	if a == b || n.node(a) == nil || n.node(b) == nil {
		return
	}
	n.mu.Lock()
	for _, way := range [][2]protocol.NodeID{{a, b}, {b, a}} {
		if n.pipes[way] == nil {
			p := &pipe{payloads: make(chan []byte, 4), down: make(chan struct{})}
			n.pipes[way] = p
			to := n.nodes[way[1]]
			go n.carry(p, way[0], to) // ends when the pipe is down
		}
	}
	n.mu.Unlock()
	if isNoticed {
		n.node(a).Link(b, true)
		n.node(b).Link(a, true)
	}
}

func (n *network) cut(a, b protocol.NodeID, late, isNoticed bool) {
	n.mu.Lock()
	for _, way := range [][2]protocol.NodeID{{a, b}, {b, a}} {
		if p := n.pipes[way]; p != nil {
			p.late = late
			close(p.down)
			delete(n.pipes, way)
		}
	}
	n.mu.Unlock()
	if !isNoticed {
		return
	}
	for _, way := range [][2]protocol.NodeID{{a, b}, {b, a}} {
		if node := n.node(way[0]); node != nil {
			node.Link(way[1], false)
		}
	}
}

func (n *network) swallow(from, to protocol.NodeID, count int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p := n.pipes[[2]protocol.NodeID{from, to}]; p != nil {
		p.swallow += count
	}
}

// pause lets one direction stand still, until what it returns is called.
func (n *network) pause(from, to protocol.NodeID) (resume func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.pipes[[2]protocol.NodeID{from, to}]
	c := make(chan struct{})
	p.paused = c
	return func() { close(c) }
}

// carry delivers to a life of a node, in order.
func (n *network) carry(p *pipe, from protocol.NodeID, to *testNode) {
	for {
		select {
		case payload := <-p.payloads:
			n.mu.Lock()
			paused := p.paused
			vanishes := p.swallow > 0
			if vanishes {
				p.swallow--
			}
			n.mu.Unlock()
			if paused != nil {
				select {
				case <-paused:
				case <-p.down:
				}
			}
			select {
			case <-time.After(n.delay):
			case <-p.down:
			}
			select {
			case <-p.down:
				if !p.late {
					return
				}
				<-time.After(300 * time.Millisecond)
			default:
			}
			if !vanishes {
				to.Receive(from, payload)
			}
		case <-p.down:
			if p.late && len(p.payloads) > 0 {
				continue
			}
			return
		}
	}
}

// Send is Peers.
func (node *testNode) Send(ctx context.Context, to protocol.NodeID, payload []byte) error {
	n := node.net
	n.mu.Lock()
	p := n.pipes[[2]protocol.NodeID{node.id, to}]
	if p != nil {
		p.sent++
	}
	n.mu.Unlock()
	if p == nil {
		return errors.New("no link")
	}
	select {
	case p.payloads <- payload:
		return nil
	case <-p.down:
		return errors.New("link went down")
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (node *testNode) record(ctx context.Context, signals *SignalSubscription) {
	defer signals.Close()
	for {
		batch, err := signals.Next(ctx)
		if err != nil {
			return
		}
		node.mu.Lock()
		for _, sig := range batch {
			if p, ok := sig.(protocol.PresenceChanged); ok {
				node.shown[p.User] = append(node.shown[p.User], p.Online)
			} else {
				node.heard = append(node.heard, sig)
			}
		}
		node.mu.Unlock()
	}
}

func (node *testNode) shownOf(u protocol.UserID) []bool {
	node.mu.Lock()
	defer node.mu.Unlock()
	return slices.Clone(node.shown[u])
}

func (node *testNode) signalsHeard() []protocol.Signal {
	node.mu.Lock()
	defer node.mu.Unlock()
	return slices.Clone(node.heard)
}

// own are the sessions of this node.
func (node *testNode) own() []Session {
	var own []Session
	for _, s := range node.all() {
		if s.Node == node.id {
			own = append(own, s)
		}
	}
	return own
}

func byName(x, y Session) int {
	return cmp.Or(cmp.Compare(x.User, y.User), cmp.Compare(x.Node, y.Node), cmp.Compare(x.Conn, y.Conn))
}

// all are the sessions that the node knows of.
func (node *testNode) all() []Session {
	p := node.Presence()
	p.mu.RLock()
	users := slices.Collect(maps.Keys(p.users))
	p.mu.RUnlock()
	var all []Session
	for _, u := range users {
		all = append(all, p.Sessions(u)...)
	}
	slices.SortFunc(all, byName)
	return all
}

// checkTables compares what every node knows with what there is.
func (n *network) checkTables() error {
	var want []Session
	for _, id := range n.live() {
		want = append(want, n.node(id).own()...)
	}
	slices.SortFunc(want, byName)
	for _, id := range n.live() {
		if got := n.node(id).all(); !slices.Equal(got, want) {
			return fmt.Errorf("node %s knows %d sessions and there are %d: %s", id, len(got), len(want), difference(got, want))
		}
	}
	return nil
}

// difference is the first session that is in one list only.
func difference(got, want []Session) string {
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			return fmt.Sprintf("not known: %+v", want[i])
		case i >= len(want):
			return fmt.Sprintf("not there: %+v", got[i])
		case got[i] != want[i]:
			return fmt.Sprintf("known: %+v, there: %+v", got[i], want[i])
		}
	}
	return "none"
}

// checkShown compares what was published last with the table; strictly: that it was a change each time.
func (n *network) checkShown(users []protocol.UserID, strictly bool) error {
	for _, id := range n.live() {
		node := n.node(id)
		for _, u := range users {
			shown, online := node.shownOf(u), node.Presence().PCOnline(u)
			if was := len(shown) > 0 && shown[len(shown)-1]; was != online {
				return fmt.Errorf("node %s: user %d is online: %v; published: %v", id, u, online, shown)
			}
			for i, on := range shown {
				if strictly && on != (i%2 == 0) {
					return fmt.Errorf("node %s: user %d: published without a change: %v", id, u, shown)
				}
			}
		}
	}
	return nil
}

// value sums a metric of the node over its labels, or those with this value of one.
func (node *testNode) value(name, label string) (sum float64) {
	families, err := node.registry.Gather()
	if err != nil {
		node.net.t.Error(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			matches := label == ""
			for _, l := range m.GetLabel() {
				matches = matches || l.GetValue() == label
			}
			if f.GetName() == name && matches {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// inCluster runs a test with nodes a, b and c in virtual time, once they have met.
func inCluster(t *testing.T, cfg Config, test func(t *testing.T, n *network, a, b, c *testNode)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, cfg)
		a, b, c := n.start("a"), n.start("b"), n.start("c")
		defer n.stopAll()
		pass(10 * time.Millisecond)
		test(t, n, a, b, c)
	})
}

// pass lets virtual time pass, and all goroutines get done what they can.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// await lets virtual time pass until something is so, and returns how much did; at most a minute.
func await(t *testing.T, what string, isSo func() bool) time.Duration {
	t.Helper()
	begin := time.Now()
	for !isSo() {
		if time.Since(begin) > time.Minute {
			t.Fatalf("not within a minute: %s", what)
		}
		pass(10 * time.Millisecond)
	}
	return time.Since(begin)
}
