package federation

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
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
	Invitations() ([][32]byte, error) // hashes of those that can be used
	FedPeers() ([]fed.PeerStatus, error)
	FedLanes(peer fed.ClusterID) ([]fed.LaneStatus, error)
	FedOut(peer fed.ClusterID, lane fed.Lane, from uint64, events, size int) (out [][]byte, epoch uint64, err error)
	FateOf(at protocol.Position) (f fed.Fate, ok bool, err error)
	DeadLetters(peer fed.ClusterID, limit int) ([]fed.DeadLetter, error)
}

// History is what is missing here of groups, and what another cluster may be missing.
type History interface {
	// FedGaps are the places that are missing here of a hub's groups; FedChains its groups as far as they are here.
	FedGaps(hub fed.ClusterID) ([]fed.Gap, error)
	FedChains(hub fed.ClusterID) ([]fed.Gap, error)
	// FedRange reads places of a group of this cluster's for a cluster that is in it, FedSince what went to and fro since a time.
	FedRange(g protocol.GroupID, asker fed.ClusterID, from, to uint64, events, size int) (out [][]byte, more bool, err error)
	FedSince(peer fed.ClusterID, since protocol.Time, after protocol.Position, events, size int) (fed.History, error)
	Forks() ([]fed.Fork, error)
}

// Tracer finds messages again.
type Tracer interface {
	TraceEvent(e fed.EventID) (fed.Trace, error)
	TraceMessage(c protocol.Conversation, id protocol.MsgID) (fed.Trace, error)
}

// Names translates between the numbers of this cluster and those of others.
type Names interface {
	UserAbroad(u protocol.UserID) (fed.UserRef, error)
	GroupAbroad(g protocol.GroupID) (fed.GroupRef, error)
	AliasOf(r fed.UserRef) (protocol.UserID, error)
	// AliasesOf lists a peer's people that are known here, in order of their numbers here.
	AliasesOf(peer fed.ClusterID, after protocol.UserID, limit int) ([]fed.AliasRow, error)
}

// People are those of this cluster, whom others ask for.
type People interface {
	UserByID(id protocol.UserID) (protocol.User, error)
	// UsersSince lists all users who have not left for t 0, else those updated at t or later; newest is the latest update.
	UsersSince(t protocol.Time) (users []protocol.User, newest protocol.Time, err error)
	GroupByID(id protocol.GroupID) (protocol.Group, error)
	Members(g protocol.GroupID) ([]protocol.UserID, error)
	IsMember(g protocol.GroupID, u protocol.UserID) (bool, error)
	// KnownTo returns those of users whom a peer may know of without a shared directory.
	KnownTo(peer fed.ClusterID, users []protocol.UserID) ([]protocol.UserID, error)
}

// State is the replicated state of this cluster.
type State interface {
	Store
	Records
	History
	Tracer
	Names
	People
}

// Files is what the replicated state knows of blobs.
type Files interface {
	// Blob is CodeNotFound for one that is not recorded.
	Blob(id protocol.BlobID) (protocol.Blob, []protocol.NodeID, error)
	// MaySeeBlob reports whether this cluster has shown a blob to a peer, in a message or as a file, and still does.
	MaySeeBlob(peer [16]byte, id protocol.BlobID) (bool, error)
}

// Blobs has the content of blobs, wherever it has to be got from.
type Blobs interface {
	// Open opens one; when ctx ends, what still has to come does not.
	Open(ctx context.Context, id protocol.BlobID) (io.ReadSeekCloser, protocol.Blob, error)
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
	// Files and Blobs are what files go by; nil: none go over links.
	Files Files
	Blobs Blobs
	// Dialer is nil for QUIC and TLS.
	Dialer Dialer
	// Endpoints is where other clusters reach this one (host:port), unless an operator has said so; nil: nowhere, it only dials.
	Endpoints func() []string
	// Leader hands a call to the node that leads, whose Handle answers it; nil: this node is alone.
	Leader func(ctx context.Context, payload []byte) ([]byte, error)
	// Program is this program's version, which others log.
	Program string
	Timing  Timing
	Limits  Limits

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

// Limits bound what a peer may send [FED-AUTH-3]. What is above waits. Zero values mean the default given, negative ones no limit.
type Limits struct {
	Events float64 // of a peer in a second, 2,000; a minute's worth may come at once
	Author float64 // of one of its users in a second, 20; a minute's worth may come at once
}

func (c *Config) setDefaults() {
	t := &c.Timing
	for _, d := range []struct {
		value    *time.Duration
		standard time.Duration
	}{
		{&t.Tick, 250 * time.Millisecond}, {&t.Race, 250 * time.Millisecond}, {&t.RetryLeast, time.Second}, {&t.RetryMost, time.Minute},
		{&t.Ping, 15 * time.Second}, {&t.Silence, 45 * time.Second}, {&t.Presence, 5 * time.Second}, {&t.Request, 3 * time.Second},
	} {
		if *d.value <= 0 {
			*d.value = d.standard
		}
	}
	if c.Limits.Events == 0 {
		c.Limits.Events = 2000
	}
	if c.Limits.Author == 0 {
		c.Limits.Author = 20
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Dialer == nil {
		c.Dialer = NewDialer(t.Race)
	}
}
