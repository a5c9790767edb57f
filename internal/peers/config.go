package peers

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"teamtalk/internal/peers/authority"
	"teamtalk/protocol"
)

// Node protocols that this program understands. From 2 on a call that its caller has given up is cancelled.
const (
	protocolMin = 1
	protocolMax = 2
)

// Config says what a Port is made of. Listener and Identity are needed.
type Config struct {
	// Listener accepts plain TCP. The Port closes it.
	Listener net.Listener
	// Advertise is the address (host:port) by which other nodes reach this one; "" is the listener's.
	Advertise string
	// Identity is what this node proves itself with.
	Identity *authority.Identity
	// Removed tells nodes that must not come back, whatever certificate they have; nil knows none. It must be quick.
	Removed func(protocol.NodeID) bool
	// Knows is how far in the log of the members it is certain that a node was removed, for that node to judge; 0: it is not. It must be quick.
	Knows func(protocol.NodeID) uint64
	// Resolve tells the members and where they are reached, this node among them or not; nil knows none. It must be quick.
	Resolve func() map[protocol.NodeID]string
	// Version is the program's, for people.
	Version string
	// Dialer makes plain connections; nil is the system's.
	Dialer func(ctx context.Context, network, address string) (net.Conn, error)
	// Logger gets what an operator should know; nil drops it.
	Logger *slog.Logger
	// Registerer gets the metrics; nil means none.
	Registerer prometheus.Registerer
	// Clock is looked at for certificates' times; nil is time.Now.
	Clock func() time.Time
	// Tuning has numbers that rarely need a change.
	Tuning Tuning
}

// Tuning are numbers with good defaults; zero means the default.
type Tuning struct {
	// Handshake is how long TLS, the first byte and a lane's hello may take, each (5 s).
	Handshake time.Duration
	// Handshakes is how many accepted connections may be in their handshake at once; more push out the oldest (128).
	Handshakes int
	// PerNode is how many connections one node may have to this one (64).
	PerNode int
	// Joins is how many may be joining at once (16).
	Joins int
	// JoinTime is how long letting somebody join may take (30 s).
	JoinTime time.Duration
	// Stall is how long a node may pause in the middle of what it has begun to send to raft (20 s).
	Stall time.Duration
	// Ping is how often a lane pings; three unanswered pings end it (1 s).
	Ping time.Duration
	// Slots is how much may be under way on a lane, in calls of up to 16 KiB (1,024).
	Slots uint32
	// Largest is the largest payload of a call or an answer in bytes (65 MiB).
	Largest uint32
	// Backoff is how long to wait after a failed dial, doubled from the fourth on, up to BackoffMost (50 ms, 1 s).
	Backoff, BackoffMost time.Duration
	// Members is how often Resolve is asked (500 ms).
	Members time.Duration
	// Renewal is how often this node looks whether its certificate has to be renewed (1 h).
	Renewal time.Duration
}

func (c *Config) check() error {
	switch {
	case c.Listener == nil:
		return errors.New("no listener given")
	case c.Identity == nil:
		return errors.New("no identity given")
	}
	return nil
}

func (c *Config) setDefaults() {
	if c.Advertise == "" {
		c.Advertise = c.Listener.Addr().String()
	}
	if c.Removed == nil {
		c.Removed = func(protocol.NodeID) bool { return false }
	}
	if c.Knows == nil {
		c.Knows = func(protocol.NodeID) uint64 { return 0 }
	}
	if c.Resolve == nil {
		c.Resolve = func() map[protocol.NodeID]string { return nil }
	}
	if c.Dialer == nil {
		c.Dialer = new(net.Dialer).DialContext
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	c.Tuning.setDefaults()
}

func (t *Tuning) setDefaults() {
	orDefault(&t.Handshake, 5*time.Second)
	orDefault(&t.Handshakes, 128)
	orDefault(&t.PerNode, 64)
	orDefault(&t.Joins, 16)
	orDefault(&t.JoinTime, 30*time.Second)
	orDefault(&t.Stall, 20*time.Second)
	orDefault(&t.Ping, time.Second)
	orDefault(&t.Slots, 1024)
	orDefault(&t.Largest, 65<<20)
	orDefault(&t.Backoff, 50*time.Millisecond)
	orDefault(&t.BackoffMost, time.Second)
	orDefault(&t.Members, 500*time.Millisecond)
	orDefault(&t.Renewal, time.Hour)
}

func orDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}
