package node

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"teamtalk/gateway/transport/longpoll"
	"teamtalk/internal/cluster"
	"teamtalk/internal/obs"
	"teamtalk/internal/peers"
	"teamtalk/internal/peers/authority"
	"teamtalk/protocol"
	"teamtalk/raftstore"
)

// peering is what connects this node to the others of its cluster. Without listen.node it is alone, and there is but the manager.
type peering struct {
	listener net.Listener
	identity *authority.Identity
	founding protocol.Cluster // secrets that a new cluster gets
	isGuest  bool             // let in by a token just now: the cluster is there already
	port     *peers.Port
	mesh     atomic.Pointer[peers.Mesh]
	manager  atomic.Pointer[cluster.Manager] // asked before it is there

	polls      atomic.Pointer[longpoll.Handler]
	neighbours neighbours
	evacuation *evacuation
	passwords  *passwords
}

// The methods of calls between nodes that are not the manager's.
const (
	methodPropose uint8 = 1
	methodBus     uint8 = 2
	methodAbout   uint8 = 3
	methodPoll    uint8 = 4
	methodProofs  uint8 = 5
	methodAsk     uint8 = 6

	methodFederation uint8 = 7
	methodHome       uint8 = 8
)

// pingEvery lets a node that is gone be noticed within 2 s, so that its users are shown as offline within 5.
const pingEvery = 500 * time.Millisecond

// missedAfter is how long a leader is not heard of before another one is sought, half as long again on average: so that writes stop for about a second.
const missedAfter = 600 * time.Millisecond

// remindEvery is how often an idle leader repeats what is committed. Followers are told of each commit at once, so this is for what was lost on the way,
// and most of what an idle cluster costs.
const remindEvery = 250 * time.Millisecond

// listenNode opens the port for other nodes; it is known from then on where they reach this one.
func (n *Node) listenNode(ctx context.Context) error {
	at := n.cfg.Listen.Node
	if at.Off() {
		return nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", string(at))
	if err != nil {
		return portError("node", at, err)
	}
	n.peering.listener = l
	n.steps.started("node listener", closing(l))
	return nil
}

// advertised is where other nodes reach this one.
func (n *Node) advertised() string {
	if n.cfg.Public.Node != "" {
		return n.cfg.Public.Node
	}
	host, _, err := net.SplitHostPort(string(n.cfg.Listen.Node))
	if err != nil || n.cfg.Listen.Node.Wildcard() {
		host = n.publicHost()
	}
	return net.JoinHostPort(host, strconv.Itoa(int(portOf(n.peering.listener.Addr()))))
}

// nodeAddress is that, or nothing if there is no port for them.
func (n *Node) nodeAddress() string {
	if n.peering.listener == nil {
		return ""
	}
	return n.advertised()
}

// openPort begins to accept other nodes. What they ask is answered when the parts behind it are there.
func (n *Node) openPort(context.Context) (err error) {
	p := &n.peering
	if p.listener == nil {
		return nil
	}
	p.port, err = peers.Open(peers.Config{
		Listener: p.listener, Advertise: n.advertised(), Identity: p.identity, Version: obs.BuildVersion().Version,
		Removed: func(id protocol.NodeID) bool { m := p.manager.Load(); return m != nil && m.Removed(id) },
		Knows:   n.knows,
		Resolve: n.addresses, Logger: n.log, Registerer: n.registry, Tuning: peers.Tuning{Ping: pingEvery},
	})
	if err != nil {
		return err
	}
	n.steps.started("node port", func(context.Context) error { return p.port.Close() })
	return nil
}

// knows is how far in the log it is certain that a node was removed.
func (n *Node) knows(id protocol.NodeID) uint64 {
	if m := n.peering.manager.Load(); m != nil {
		return m.Knows(id)
	}
	return 0
}

// addresses are the members and where they are reached.
func (n *Node) addresses() map[protocol.NodeID]string {
	m := n.peering.manager.Load()
	if m == nil {
		return nil
	}
	members, err := n.store.Engine().Members()
	if err != nil {
		return nil
	}
	at := make(map[protocol.NodeID]string, len(members))
	for _, m := range members {
		at[m.ID] = m.Address
	}
	return at
}

// engage is the store's part in a cluster of several nodes.
func (p *peering) engage(c *raftstore.Config, layer *peers.RaftLayer, log *slog.Logger) {
	c.Transport = raftstore.NetworkTransport(layer, log)
	c.Advertise = layer.Addr().String()
	c.Forwarder = p
	c.Neighbours = p
	c.Tuning.Heartbeat, c.Tuning.CommitTimeout = missedAfter, remindEvery
	if !p.isGuest {
		c.Bootstrap = []raftstore.Member{{ID: c.NodeID, Address: c.Advertise}}
	}
}

// Forward hands commands to the leader, in order, without waiting for the answer of those before.
func (p *peering) Forward(ctx context.Context, to protocol.NodeID, commands []raftstore.TaggedCommand) (func() error, error) {
	mesh := p.mesh.Load()
	if mesh == nil {
		return nil, protocol.Errorf(protocol.CodeUnavailable, "this node is starting, or leaving")
	}
	call, err := mesh.Start(ctx, to, peers.LanePropose, methodPropose, raftstore.EncodeTagged(commands))
	if err != nil {
		return nil, err
	}
	return func() error {
		_, err := call.Wait(ctx)
		return err
	}, nil
}

// Ask has the store of another node answer a question of this one's.
func (p *peering) Ask(ctx context.Context, node protocol.NodeID, question []byte) ([]byte, error) {
	mesh := p.mesh.Load()
	if mesh == nil {
		return nil, protocol.Errorf(protocol.CodeUnavailable, "this node is starting, or leaving")
	}
	return mesh.Call(ctx, node, peers.LaneControl, methodAsk, question)
}

// Connected reports whether a connection that another node made for its log is open.
func (p *peering) Connected(node protocol.NodeID) bool { return p.port.Connected(node) }

// Send is what the bus tells another node.
func (p *peering) Send(ctx context.Context, to protocol.NodeID, payload []byte) error {
	mesh := p.mesh.Load()
	if mesh == nil {
		return protocol.Errorf(protocol.CodeUnavailable, "this node is starting, or leaving")
	}
	return mesh.Send(ctx, to, peers.LaneSignal, methodBus, payload)
}

// forwardPolls hands long-poll requests to the node that has their session.
type forwardPolls struct{ peering *peering }

// Forward asks a node to answer a request of one of its sessions.
func (f forwardPolls) Forward(ctx context.Context, node string, request []byte) ([]byte, error) {
	mesh := f.peering.mesh.Load()
	if mesh == nil {
		return nil, protocol.Errorf(protocol.CodeUnavailable, "this node is starting, or leaving")
	}
	return mesh.Call(ctx, protocol.NodeID(node), peers.LaneControl, methodPoll, request)
}

// pollKey authenticates the ids of long-poll sessions on all nodes alike.
func (n *Node) pollKey() ([]byte, error) { return n.clusterKey("long-poll sessions") }

// clusterKey is a key that all nodes have alike, for one purpose.
func (n *Node) clusterKey(purpose string) ([]byte, error) {
	c, err := n.store.Cluster()
	if err != nil {
		return nil, err
	}
	mac := hmac.New(sha256.New, c.TokenKey[:])
	_, _ = mac.Write([]byte(purpose))
	return mac.Sum(nil), nil
}

// openMesh begins to talk to the other nodes: the store and the bus are there.
func (n *Node) openMesh(context.Context) error {
	p := &n.peering
	manager, err := cluster.New(cluster.Config{
		Node: protocol.NodeID(n.cfg.Node.ID), Name: n.cfg.nodeName(), Version: obs.BuildVersion().Version, Address: n.nodeAddress(),
		Store: members{n.store.Engine()}, Local: local{n}, Papers: papers{n.store}, Levels: n.store, Policy: cluster.Policy{RemoveDeadAfter: n.cfg.Cluster.RemoveDeadAfter},
		Ousted: func() {
			n.fail(errors.New("this node was removed from its cluster: to come back, remove its data directory and join anew"))
		},
		Depart: n.depart, Log: n.log, Registerer: n.registry,
	})
	if err != nil {
		return err
	}
	p.manager.Store(manager)
	p.evacuation = n.newEvacuation()
	if p.port == nil {
		manager.Start(nil, nil)
		n.steps.started("membership", func(context.Context) error { manager.Close(); return nil })
		return nil
	}
	mesh, err := p.port.OpenMesh(peers.MeshConfig{
		Handler: n.handleCall, Links: n.linked, Refused: n.store.Engine().Refused, Renewed: n.saveIdentity,
		Sign: func(_ context.Context, node protocol.NodeID, request []byte) ([]byte, error) {
			return papers{n.store}.Sign(request, node)
		},
	})
	if err != nil {
		return err
	}
	p.mesh.Store(mesh)
	n.steps.started("calls between nodes", func(context.Context) error { p.mesh.Store(nil); mesh.Close(); return nil })
	n.background("signals between nodes", func(ctx context.Context) error { return n.bus.Serve(ctx, p) })
	n.background("news of other nodes", n.followNeighbours)
	n.background("evacuation", p.evacuation.run)
	manager.Start(mesh, p.port)
	n.steps.started("membership", func(context.Context) error { manager.Close(); return nil })
	return nil
}

// linked tells what depends on it that the link to another node is up, or down.
func (n *Node) linked(peer protocol.NodeID, up bool) {
	n.store.Engine().Linked(peer, up)
	n.bus.Link(peer, up)
	n.peering.passwords.link(peer, up)
}

// handleCall answers another node.
func (n *Node) handleCall(ctx context.Context, from protocol.NodeID, method uint8, payload []byte) ([]byte, error) {
	switch {
	case method == methodPropose:
		commands, err := raftstore.DecodeTagged(payload)
		if err != nil {
			return nil, protocol.Errorf(protocol.CodeInvalid, "commands of %s: %w", from, err)
		}
		return nil, n.store.Engine().Accept(ctx, from, commands, func() { peers.Accepted(ctx) })
	case method == methodBus:
		n.bus.Receive(from, payload)
		return nil, nil
	case method == methodPoll:
		peers.Accepted(ctx) // a poll is held for a while, and others behind it have nothing to do with it
		polls := n.peering.polls.Load()
		if polls == nil {
			return nil, protocol.Errorf(protocol.CodeUnavailable, "this node is starting")
		}
		return polls.Serve(ctx, payload)
	case method == methodAbout:
		return n.about()
	case method == methodAsk:
		return n.store.Engine().Answer(payload)
	case method == methodProofs:
		return nil, n.peering.passwords.receive(payload)
	case method == methodFederation:
		peers.Accepted(ctx) // some ask another cluster
		return n.abroad.manager.Handle(ctx, payload)
	case method == methodHome:
		return n.serveHome(payload)
	case cluster.Owns(method):
		return n.peering.manager.Load().Handle(ctx, from, method, payload)
	}
	return nil, protocol.Errorf(protocol.CodeInvalid, "call %d is not known to version %s", method, obs.BuildVersion().Version)
}

// letJoin accepts new nodes, once the cluster has what it signs their certificates with.
func (n *Node) letJoin(context.Context) error {
	if n.peering.port != nil {
		n.peering.port.ServeJoin(papers{n.store}.Key, n.peering.manager.Load().Join)
	}
	return nil
}

// members is the replicated log as far as its members go.
type members struct{ *raftstore.Store }

// Members are the nodes of the cluster.
func (m members) Members() ([]cluster.Member, error) {
	list, err := m.Store.Members()
	all := make([]cluster.Member, len(list))
	for i, s := range list {
		all[i] = cluster.Member{ID: s.ID, Address: s.Address, Voter: s.Voter, Leader: s.Leader}
	}
	return all, err
}

// Position is how far this node is.
func (m members) Position() (cluster.Position, error) {
	s, err := m.Status()
	return cluster.Position{Term: s.Term, Applied: s.Applied, Commit: s.Commit, Last: protocol.Cursor(s.LastLog), Receiving: s.Receiving.Bytes, ReceivingOf: s.Receiving.Total}, err
}

// AddNonvoter lets a node follow.
func (m members) AddNonvoter(ctx context.Context, id protocol.NodeID, address string) error {
	return m.Store.AddNonvoter(ctx, raftstore.Member{ID: id, Address: address})
}

// papers are the cluster's secrets by which nodes are let in, as they are in the state.
type papers struct {
	store interface {
		Cluster() (protocol.Cluster, error)
	}
}

// Key makes and checks join tokens; nil as long as there is none.
func (p papers) Key() []byte {
	c, err := p.store.Cluster()
	if err != nil || c.NodeCert == "" {
		return nil
	}
	return c.JoinKey[:]
}

// Root is the fingerprint of the cluster's authority.
func (p papers) Root() authority.Fingerprint {
	a, err := p.authority()
	if err != nil {
		return authority.Fingerprint{}
	}
	return a.Root().Fingerprint()
}

// Sign gives a node a certificate.
func (p papers) Sign(request []byte, node protocol.NodeID) ([]byte, error) {
	a, err := p.authority()
	if err != nil {
		return nil, err
	}
	return a.Sign(request, node, time.Now(), 0)
}

func (p papers) authority() (*authority.Authority, error) {
	c, err := p.store.Cluster()
	if err != nil {
		return nil, err
	}
	if c.NodeCert == "" {
		return nil, protocol.Errorf(protocol.CodeUnavailable, "this cluster has no authority for nodes yet: set listen.node and restart")
	}
	a, err := authority.Load([]byte(c.NodeCert), []byte(c.NodeKey))
	if err != nil {
		return nil, fmt.Errorf("authority of the cluster: %w", err)
	}
	return a, nil
}

// local is what the manager tells and asks of this node.
type local struct{ n *Node }

// Vitals is how this node is.
func (l local) Vitals() cluster.Vitals {
	v := cluster.Vitals{Sessions: l.n.gateway.Sessions()}
	if s, err := l.n.store.Engine().Stats(); err == nil {
		v.FreeDisk = s.FreeBytes
	}
	return v
}

// Drain moves the clients elsewhere.
func (l local) Drain(ctx context.Context) error { return l.n.peering.evacuation.byOperator(ctx) }

// Snapshot cuts the log.
func (l local) Snapshot(ctx context.Context) error { return l.n.store.Engine().Snapshot(ctx) }
