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
	mu    sync.Mutex // guards what follows
	by    map[protocol.NodeID]neighbour
	known map[protocol.NodeID][]string // endpoints of each member when it last took clients; it may be away now
}

// neighbour is what a node tells the others of itself. As JSON: what an older one does not know, it leaves out.
type neighbour struct {
	Endpoints []string           `json:"endpoints"` // for clients of the session extension
	Native    gateway.NodeStatus `json:"native"`    // for those of today
	Takes     bool               `json:"takes"`     // those of the session extension; older nodes do not say
}

func (o neighbour) takes() bool { return o.Takes || o.Native.Availability == gateway.Available }

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
			n.peering.neighbours.retain(mesh.Peers())
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

// retain remembers where the members were reached when they last took clients, and forgets who is no member any more: so where the cluster is reached
// changes with its members and their addresses, not whenever one of them is away or too busy.
func (b *neighbours) retain(members []peers.PeerState) {
	b.mu.Lock()
	defer b.mu.Unlock()
	known := make(map[protocol.NodeID][]string, len(members))
	for _, m := range members {
		endpoints := b.known[m.Node]
		if o, ok := b.by[m.Node]; ok && o.takes() {
			endpoints = o.Endpoints
		}
		if len(endpoints) > 0 {
			known[m.Node] = endpoints
		}
	}
	b.known = known
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
	list := slices.DeleteFunc(b.list(), func(o neighbour) bool { return !o.takes() })
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	var all []string
	for _, o := range list {
		all = append(all, o.Endpoints...)
	}
	return all
}

// take reports whether any of them takes clients.
func (b *neighbours) take() bool { return slices.ContainsFunc(b.list(), neighbour.takes) }

// all is elsewhere and behind it where the other members are, which take no clients now: a client that comes back later may find them well, and nobody else.
func (b *neighbours) all() []string {
	all := b.elsewhere()
	b.mu.Lock()
	away := slices.Collect(maps.Values(b.known)) // in random order, too
	b.mu.Unlock()
	for _, endpoints := range away {
		for _, e := range endpoints {
			if !slices.Contains(all, e) {
				all = append(all, e)
			}
		}
	}
	return all
}

// about is what this node tells the others.
func (n *Node) about() ([]byte, error) {
	return json.Marshal(neighbour{Endpoints: n.ownEndpoints(), Native: n.nativeStatus(), Takes: n.availability() == gateway.Available})
}

// availability is this node for clients of any kind. One whose store takes no writes is not for them.
func (n *Node) availability() gateway.Availability {
	if n.serving() != nil || n.store.Ready() != nil {
		return gateway.NotReady
	}
	return n.gateway.Availability()
}

// nativeStatus is this node for clients of today.
func (n *Node) nativeStatus() gateway.NodeStatus {
	s := gateway.NodeStatus{Host: n.publicHost(), Port: n.nativePort(), Availability: n.availability(), Load: n.gateway.Load()}
	if s.Port == 0 {
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
	return append(n.ownEndpoints(), n.peering.neighbours.all()...)
}
