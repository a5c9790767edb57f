package e2e

import (
	"context"
	"net"
	"slices"
	"time"

	"teamtalk/internal/cluster"
	"teamtalk/internal/peers"
	nodeca "teamtalk/internal/peers/authority"
	"teamtalk/protocol"
	"teamtalk/raftstore"
	"teamtalk/raftstore/state"
)

// What follows are the seams between the parts of a star, as package node has them.

// starCalls is what the store and the bus ask of other nodes.
type starCalls struct{ *life }

// Forward hands commands to the leader.
func (l starCalls) Forward(ctx context.Context, to protocol.NodeID, commands []raftstore.TaggedCommand) (func() error, error) {
	mesh := l.mesh.Load()
	if mesh == nil {
		return nil, errLifeless()
	}
	call, err := mesh.Start(ctx, to, peers.LanePropose, callPropose, raftstore.EncodeTagged(commands))
	if err != nil {
		return nil, err
	}
	return func() error {
		_, err := call.Wait(ctx)
		return err
	}, nil
}

// Send is what the bus tells another node.
func (l starCalls) Send(ctx context.Context, to protocol.NodeID, payload []byte) error {
	mesh := l.mesh.Load()
	if mesh == nil {
		return errLifeless()
	}
	return mesh.Send(ctx, to, peers.LaneSignal, callBus, payload)
}

// starPolls hands long-poll requests to the node that has their session.
type starPolls struct{ *life }

// Forward asks a node to answer a request of one of its sessions.
func (l starPolls) Forward(ctx context.Context, node string, request []byte) ([]byte, error) {
	mesh := l.mesh.Load()
	if mesh == nil {
		return nil, errLifeless()
	}
	return mesh.Call(ctx, protocol.NodeID(node), peers.LaneControl, callPoll, request)
}

// starMembers is the replicated log as far as its members go.
type starMembers struct{ *raftstore.Store }

// Members are the nodes of the cluster.
func (m starMembers) Members() ([]cluster.Member, error) {
	list, err := m.Store.Members()
	all := make([]cluster.Member, len(list))
	for i, s := range list {
		all[i] = cluster.Member{ID: s.ID, Address: s.Address, Voter: s.Voter, Leader: s.Leader}
	}
	return all, err
}

// Position is how far a node is.
func (m starMembers) Position() (cluster.Position, error) {
	s, err := m.Status()
	return cluster.Position{Term: s.Term, Applied: s.Applied, Commit: s.Commit, Receiving: s.Receiving.Bytes, ReceivingOf: s.Receiving.Total}, err
}

// AddNonvoter lets a node follow.
func (m starMembers) AddNonvoter(ctx context.Context, id protocol.NodeID, address string) error {
	return m.Store.AddNonvoter(ctx, raftstore.Member{ID: id, Address: address})
}

// starPapers are the cluster's secrets, as they are in the state.
type starPapers struct{ store *state.Store }

// Key makes and checks join tokens.
func (p starPapers) Key() []byte {
	c, err := p.store.Cluster()
	if err != nil {
		return nil
	}
	return c.JoinKey[:]
}

// Root is the fingerprint of the cluster's authority.
func (p starPapers) Root() nodeca.Fingerprint {
	a, err := p.authority()
	if err != nil {
		return nodeca.Fingerprint{}
	}
	return a.Root().Fingerprint()
}

// Sign gives a node a certificate. It begins long ago, for clocks are wrong here by hours.
func (p starPapers) Sign(request []byte, node protocol.NodeID) ([]byte, error) {
	a, err := p.authority()
	if err != nil {
		return nil, err
	}
	return a.Sign(request, node, longAgo(), 0)
}

func (p starPapers) authority() (*nodeca.Authority, error) {
	c, err := p.store.Cluster()
	if err != nil {
		return nil, err
	}
	return nodeca.Load([]byte(c.NodeCert), []byte(c.NodeKey))
}

func longAgo() time.Time { return time.Now().Add(-30 * 24 * time.Hour) }

// starLocal is what the manager asks of its node.
type starLocal struct{ *life }

// Vitals is how the node is.
func (l starLocal) Vitals() cluster.Vitals { return cluster.Vitals{Sessions: l.gateway.Sessions()} }

// Drain moves the clients elsewhere.
func (l starLocal) Drain(ctx context.Context) error {
	return l.gateway.Drain(ctx, 0, func() []string {
		return allWays(l.c.others(l.star))
	})
}

// Snapshot cuts the log.
func (l starLocal) Snapshot(ctx context.Context) error { return l.store.Engine().Snapshot(ctx) }

// endpoints is where clients reach the members, this star first, as it knows them itself.
func (l *life) endpoints() []string {
	members, err := l.store.Engine().Members()
	if err != nil {
		return nil
	}
	at := []*star{l.star}
	for _, m := range members {
		if place, _, err := net.SplitHostPort(m.Address); err == nil && m.ID != l.star.id() {
			at = append(at, &star{place: place})
		}
	}
	return allWays(at)
}

func allWays(to []*star) []string {
	return slices.Concat(ways(0, to, 0), ways(1, to, 0), ways(2, to, 0), ways(3, to, 0))
}
