package cluster

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"teamtalk/internal/peers"
	"teamtalk/internal/peers/authority"
	"teamtalk/protocol"
)

// Member is a node of the replicated log's configuration.
type Member struct {
	ID      protocol.NodeID
	Address string // host:port of its node port
	Voter   bool
	Leader  bool // as far as this node knows
}

// Position is how far this node's log and state are.
type Position struct {
	Term    uint64
	Applied protocol.Cursor
	Commit  protocol.Cursor
	Last    protocol.Cursor // of the log, decided or not
	// Receiving is how many bytes of the leader's state have come in, of ReceivingOf (0: not known); 0 when none is being sent.
	Receiving, ReceivingOf int64
}

// Store is the replicated log as far as its members go. Changes are the leader's to make: elsewhere they fail with CodeUnavailable.
type Store interface {
	Members() ([]Member, error)
	// Removed reports whether a node was a member and is none any more, as far as this node has executed the log.
	Removed(id protocol.NodeID) bool
	Position() (Position, error)
	AddNonvoter(ctx context.Context, id protocol.NodeID, address string) error
	Promote(ctx context.Context, id protocol.NodeID) error
	Remove(ctx context.Context, id protocol.NodeID) error
	SetAddress(ctx context.Context, id protocol.NodeID, address string) error
	// TransferLeadership makes another voter the leader; "": the one that is most up to date.
	TransferLeadership(ctx context.Context, to protocol.NodeID) error
}

// Levels is which features the cluster uses, and how that is raised.
type Levels interface {
	// Level is what the cluster uses, as far as this node's state is.
	Level() protocol.Level
	// HighestLevel is what this node may use.
	HighestLevel() protocol.Level
	RaiseLevel(ctx context.Context, to protocol.Level) error
}

// Vitals is what a status tells of a node besides its log.
type Vitals struct {
	Sessions int    // of clients
	FreeDisk uint64 // bytes, where the data is
}

// Local is the rest of this node.
type Local interface {
	Vitals() Vitals
	// Drain moves the clients to other nodes and lets no new ones in; it returns when none is left.
	Drain(ctx context.Context) error
	// Snapshot cuts the log as far as the state on the disk allows.
	Snapshot(ctx context.Context) error
}

// Papers are the secrets by which nodes are let in.
type Papers interface {
	// Key makes and checks join tokens; nil while there is none.
	Key() []byte
	// Root is the fingerprint of the cluster's authority.
	Root() authority.Fingerprint
	// Sign gives a node a certificate (PEM) for its request.
	Sign(request []byte, node protocol.NodeID) ([]byte, error)
}

// Mesh is the calls to other nodes: *peers.Mesh.
type Mesh interface {
	Call(ctx context.Context, to protocol.NodeID, lane peers.Lane, method uint8, payload []byte) ([]byte, error)
	ForwardJoin(ctx context.Context, to protocol.NodeID, r peers.JoinRequest) (peers.JoinReply, error)
	Peers() []peers.PeerState
	Refresh()
}

// Port is where other nodes connect: *peers.Port.
type Port interface {
	Disconnect(node protocol.NodeID)
}

// Policy is when the membership changes by itself; zero means the default.
type Policy struct {
	// MaxVoters is how many members get a vote at most (7); the others follow without.
	MaxVoters int
	// CaughtUp is how many entries behind the commit index a non-voter may be (64), and Settle how long it has to stay there (2 s),
	// before it gets a vote.
	CaughtUp uint64
	Settle   time.Duration
	// RemoveDeadAfter is how long a member may be out of reach before it is removed; 0: for ever.
	RemoveDeadAfter time.Duration
	// Tick is how often the members are looked at (250 ms).
	Tick time.Duration
	// Patience is how long other nodes may take to answer (2 s).
	Patience time.Duration
}

// Config says what a Manager is made of. Node, Store and Local are needed, Papers for nodes to join, Levels for new features to be used.
type Config struct {
	Node    protocol.NodeID
	Address string // where other nodes reach this one, host:port; a cluster that knows another one is told. "": it is not
	Name    string // for people
	Version string // of the program
	Store   Store
	Local   Local
	Papers  Papers
	Levels  Levels
	Policy  Policy
	// Ousted is told, once, that this node is not in the cluster any more; nil tells nobody. It must not wait for Close.
	Ousted func()
	// Depart is told, once, that this node was drained to end and that its process may: well, for all is done. Nil: it can't be drained for that.
	// It must not wait for Close.
	Depart func()
	// Log gets what an operator should know; nil drops it.
	Log *slog.Logger
	// Registerer gets the metrics; nil means none.
	Registerer prometheus.Registerer
	// Clock tells the time; nil is time.Now.
	Clock func() time.Time
}

func (c *Config) check() error {
	if c.Store == nil || c.Local == nil {
		return errors.New("cluster: no store or no local part given")
	}
	return authority.CheckNode(c.Node)
}

func (c *Config) setDefaults() {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	p := &c.Policy
	orDefault(&p.MaxVoters, 7)
	orDefault(&p.CaughtUp, 64)
	orDefault(&p.Settle, 2*time.Second)
	orDefault(&p.Tick, 250*time.Millisecond)
	orDefault(&p.Patience, 2*time.Second)
}

func orDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}
