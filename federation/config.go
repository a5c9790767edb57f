package federation

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// Store is where commands go, and how far this node's copy of the log is.
type Store interface {
	// Start hands a command to the log; those started by one caller keep their order.
	Start(ctx context.Context, cmd protocol.Command) (protocol.Pending, error)
	Execute(ctx context.Context, cmd protocol.Command) (any, error)
	// Head is the end of the log here, which is that of the cluster's if this node leads.
	Head() (head protocol.Cursor, isLeader bool)
	Cluster() (protocol.Cluster, error)
	Level() protocol.Level
}

// Records are what the replicated state knows of other clusters.
type Records interface {
	FedIdentity() (*fed.Identity, error)
	FedPeers() ([]fed.PeerStatus, error)
	FedLanes(peer fed.ClusterID) ([]fed.LaneStatus, error)
	FedOut(peer fed.ClusterID, lane fed.Lane, from uint64, events, size int) (out [][]byte, epoch uint64, err error)
	FateOf(at protocol.Position) (f fed.Fate, ok bool, err error)
	DeadLetters(peer fed.ClusterID, limit int) ([]fed.DeadLetter, error)
}

// Names translates between the numbers of this cluster and those of others.
type Names interface {
	UserAbroad(u protocol.UserID) (fed.UserRef, error)
	GroupAbroad(g protocol.GroupID) (fed.GroupRef, error)
	AliasOf(r fed.UserRef) (protocol.UserID, error)
}

// State is the replicated state of this cluster.
type State interface {
	Store
	Records
	Names
}

// Presence is this node's table of who is connected, where people of other clusters are entered as if they were here.
type Presence interface {
	Join(s protocol.LiveSession, instead ...protocol.ConnID)
	Leave(u protocol.UserID, c protocol.ConnID)
	PCOnline(u protocol.UserID) bool
	MobileOnline(u protocol.UserID) bool
}

// Signals is a subscription to what is ephemeral.
type Signals interface {
	Next(ctx context.Context) ([]protocol.Signal, error)
}

// Signaler tells all nodes of this cluster, this one included.
type Signaler interface {
	Signal(sig protocol.Signal)
}

// Events is a subscription to what happened, in log order.
type Events interface {
	Next(ctx context.Context) ([]protocol.Event, error)
}

// Dialer connects with a node of another cluster.
type Dialer interface {
	// Dial connects with an endpoint (host:port), through an HTTP proxy (host:port) unless that is empty, and returns the certificates it showed.
	Dial(ctx context.Context, endpoint, proxy string, conf *tls.Config) (Wire, []*x509.Certificate, error)
}

// Config says what a Manager is made of. State and Events are needed.
type Config struct {
	Node   protocol.NodeID
	State  State
	Events Events // of this node's bus: FederationQueued wakes the links
	// Presence, Signals and Signaler carry what is ephemeral; nil: nothing ephemeral goes over links.
	Presence Presence
	Signals  Signals
	Signaler Signaler
	// Dialer is nil for QUIC and TLS.
	Dialer Dialer
	// Endpoints is where other clusters reach this one (host:port), unless an operator has said so; nil: nowhere, it only dials.
	Endpoints func() []string
	// Leader hands a call to the node that leads, whose Handle answers it; nil: this node is alone.
	Leader func(ctx context.Context, payload []byte) ([]byte, error)
	// Program is this program's version, which others log.
	Program string
	Timing  Timing

	Log        *slog.Logger          // nil: none
	Registerer prometheus.Registerer // nil: no metrics
}

// Timing holds the times of links. Zero values mean the default given.
type Timing struct {
	Tick       time.Duration // between two looks at who leads and which peers there are, 250 ms
	Race       time.Duration // that QUIC is ahead of TLS, 250 ms [FED-TR-2]
	RetryLeast time.Duration // 1 s [FED-TR-4]
	RetryMost  time.Duration // 60 s
	Ping       time.Duration // of silence before the peer is asked whether it is there, 15 s [FED-TR-7]
	Silence    time.Duration // that ends a connection, 45 s
	Presence   time.Duration // for which changes are collected, 5 s [FED-EPH-1]
	Request    time.Duration // that a hub has to answer, 3 s [FED-HUB-1]
}
