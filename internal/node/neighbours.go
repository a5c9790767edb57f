package node

import (
	"context"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"teamtalk/gateway"
	"teamtalk/internal/peers"
	"teamtalk/protocol"
)

// neighbours is what the other nodes last said of where clients reach them, and whether they take any.
type neighbours struct {
	mu sync.Mutex // guards by
	by map[protocol.NodeID]neighbour
}

// neighbour is what a node tells the others of itself. As JSON: what an older one does not know, it leaves out.
type neighbour struct {
	Endpoints []string           `json:"endpoints"` // for clients of the session extension
	Native    gateway.NodeStatus `json:"native"`    // for those of today
}

const (
	neighboursEvery = time.Second // so old may be what is known of another node's load
	neighboursWait  = 2 * time.Second
)

// followNeighbours asks the other nodes until ctx ends.
func (n *Node) followNeighbours(ctx context.Context) error {
	t := time.NewTicker(neighboursEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if mesh := n.peering.mesh.Load(); mesh != nil {
			n.peering.neighbours.set(askNeighbours(ctx, mesh))
		}
	}
}

func askNeighbours(ctx context.Context, mesh *peers.Mesh) map[protocol.NodeID]neighbour {
	ctx, cancel := context.WithTimeout(ctx, neighboursWait)
	defer cancel()
	var mu sync.Mutex
	var all sync.WaitGroup
	by := make(map[protocol.NodeID]neighbour)
	for _, p := range mesh.Peers() {
		if !p.Up {
			continue
		}
		all.Go(func() { // ends with the call
			b, err := mesh.Call(ctx, p.Node, peers.LaneControl, methodAbout, nil)
			var about neighbour
			if err != nil || json.Unmarshal(b, &about) != nil {
				return // it is not there, or too old to answer: no client is sent to it
			}
			mu.Lock()
			defer mu.Unlock()
			by[p.Node] = about
		})
	}
	all.Wait()
	return by
}

func (b *neighbours) set(by map[protocol.NodeID]neighbour) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.by = by
}

// list is what is known, in the order of the nodes' ids.
func (b *neighbours) list() []neighbour {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make([]neighbour, 0, len(b.by))
	for _, id := range slices.Sorted(maps.Keys(b.by)) {
		all = append(all, b.by[id])
	}
	return all
}

// elsewhere is where clients may go that have to leave this node: those that take any, in random order.
func (b *neighbours) elsewhere() []string {
	list := slices.DeleteFunc(b.list(), func(o neighbour) bool { return o.Native.Availability != gateway.Available })
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	var all []string
	for _, o := range list {
		all = append(all, o.Endpoints...)
	}
	return all
}

// about is what this node tells the others.
func (n *Node) about() ([]byte, error) {
	return json.Marshal(neighbour{Endpoints: n.ownEndpoints(), Native: n.nativeStatus()})
}

// nativeStatus is this node for clients of today. One whose store takes no writes is not for them.
func (n *Node) nativeStatus() gateway.NodeStatus {
	s := gateway.NodeStatus{Host: n.publicHost(), Port: n.nativePort(), Availability: n.gateway.Availability(), Load: n.gateway.Load()}
	if n.serving() != nil || n.store.Ready() != nil || s.Port == 0 {
		s.Availability = gateway.NotReady
	}
	return s
}

// natives are all nodes, for those who ask /msg_server.
func (n *Node) natives() []gateway.NodeStatus {
	all := []gateway.NodeStatus{n.nativeStatus()}
	for _, o := range n.peering.neighbours.list() {
		all = append(all, o.Native)
	}
	return all
}

// endpoints is where clients of the session extension may connect to: this node, the best way first, and then the others.
func (n *Node) endpoints() []string {
	return append(n.ownEndpoints(), n.peering.neighbours.elsewhere()...)
}

// drain moves the clients to the other nodes.
func (n *Node) drain(ctx context.Context) error {
	return n.gateway.Drain(ctx, 0, n.peering.neighbours.elsewhere)
}
