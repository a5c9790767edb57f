package node

import (
	"context"
	"crypto/x509"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"teamtalk/federation"
	"teamtalk/gateway/transport/quicport"
	"teamtalk/gateway/transport/tlsport"
	"teamtalk/internal/obs"
	"teamtalk/internal/peers"
	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// abroad is what connects this node's cluster with others.
type abroad struct {
	manager *federation.Manager
	domain  atomic.Pointer[string] // nil: it has none yet
}

// buildFederation makes what keeps the links with other clusters; it does nothing by itself yet.
func (n *Node) buildFederation(context.Context) error {
	events, signals := n.bus.Subscribe("federation"), n.bus.Signals("federation")
	n.steps.started("subscriptions of federation", func(context.Context) error {
		events.Close()
		signals.Close()
		return nil
	})
	c := federation.Config{
		Node: protocol.NodeID(n.cfg.Node.ID), State: n.store, Events: events,
		Presence: n.bus.Presence(), Signals: signals, Signaler: n.bus,
		Limits:    federation.Limits{Events: limitOrNone(n.cfg.Federation.PeerRate), Author: limitOrNone(n.cfg.Federation.UserRate)},
		Endpoints: n.federationEndpoints, Program: obs.BuildVersion().Version, Log: n.log, Registerer: n.registry,
		Files: n.store, Blobs: lentBlobs{n},
	}
	if n.peering.port != nil {
		c.Leader = n.askLeader
	}
	var err error
	n.abroad.manager, err = federation.New(c)
	return err
}

// lentBlobs are what other clusters are handed out of the blobs that they were shown.
type lentBlobs struct{ n *Node }

// Open opens a blob, wherever its content is.
func (b lentBlobs) Open(ctx context.Context, id protocol.BlobID) (io.ReadSeekCloser, protocol.Blob, error) {
	c, err := b.n.blobs.Open(ctx, id)
	if err != nil {
		return nil, protocol.Blob{}, err
	}
	return c, c.Blob, nil
}

// limitOrNone is a rate as package federation wants it, where 0 means its own default.
func limitOrNone(rate float64) float64 {
	if rate == 0 {
		return -1
	}
	return rate
}

// linkClusters begins to keep links with other clusters. They end after the sessions of clients, so that what was read of these is still sent.
func (n *Node) linkClusters(context.Context) error {
	if err := n.lookUpDomain(); err != nil {
		return err
	}
	n.background("domain of this cluster", n.followDomain)
	n.abroad.manager.Start()
	n.steps.started("links with other clusters", func(context.Context) error { n.abroad.manager.Close(); return nil })
	return nil
}

// askLeader hands a call about other clusters to the node that leads.
func (n *Node) askLeader(ctx context.Context, payload []byte) ([]byte, error) {
	members, err := n.store.Engine().Members()
	if err != nil {
		return nil, err
	}
	for _, m := range members {
		switch {
		case !m.Leader:
		case m.ID == protocol.NodeID(n.cfg.Node.ID):
			return n.abroad.manager.Handle(ctx, payload)
		default:
			mesh := n.peering.mesh.Load()
			if mesh == nil {
				return nil, protocol.Errorf(protocol.CodeUnavailable, "this node is starting, or leaving")
			}
			return mesh.Call(ctx, m.ID, peers.LaneControl, methodFederation, payload)
		}
	}
	return nil, protocol.Errorf(protocol.CodeUnavailable, "no leader is known: only the node that leads keeps links with other clusters")
}

// federationEndpoints is where other clusters reach this one: as configured, or the TLS ports of all nodes that are up.
func (n *Node) federationEndpoints() []string {
	if len(n.cfg.Federation.Endpoints) > 0 {
		return n.cfg.Federation.Endpoints
	}
	all := n.ownEndpoints()
	for _, o := range n.peering.neighbours.list() {
		all = append(all, o.Endpoints...)
	}
	var ports []string
	for _, url := range all {
		if at, ok := strings.CutPrefix(url, "tls://"); ok && !slices.Contains(ports, at) {
			ports = append(ports, at)
		}
	}
	return ports
}

// domainEvery is how often the domain is looked up: it changes when an operator says so.
const domainEvery = time.Second

// followDomain keeps what the addresses of this cluster's people end in at hand until ctx ends.
func (n *Node) followDomain(ctx context.Context) error {
	t := time.NewTicker(domainEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			if err := n.lookUpDomain(); err != nil {
				n.log.Warn("the domain of this cluster is not known", "error", err)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (n *Node) lookUpDomain() error {
	identity, err := n.store.FedIdentity()
	if err != nil || identity == nil {
		return err
	}
	m, err := identity.Manifest.Open()
	if err != nil {
		return err
	}
	n.abroad.domain.Store(&m.Domain)
	return nil
}

// domain is what the addresses of this cluster's people end in; empty as long as no other cluster can know it.
func (n *Node) domain() string {
	if d := n.abroad.domain.Load(); d != nil {
		return *d
	}
	return ""
}

// onTLS is how other clusters connect by TCP.
func (n *Node) onTLS() *tlsport.PeerProtocol {
	return &tlsport.PeerProtocol{ALPN: fed.ALPN, TLS: n.abroad.manager.ServerTLS,
		// It ends with the manager's Close, or with the connection.
		Handle: func(c net.Conn, certificates []*x509.Certificate) {
			n.abroad.manager.Accept(context.Background(), federation.NewStream(c), certificates)
		}}
}

// onQUIC is how they connect by UDP.
func (n *Node) onQUIC() *quicport.PeerProtocol {
	return &quicport.PeerProtocol{ALPN: fed.ALPN, TLS: n.abroad.manager.ServerTLS,
		Handle: func(c *quic.Conn) { // ends in the same way
			n.abroad.manager.Accept(context.Background(), federation.NewLanes(c), c.ConnectionState().TLS.PeerCertificates)
		}}
}
