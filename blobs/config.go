package blobs

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"teamtalk/protocol"
)

// State is what is replicated of blobs.
type State interface {
	// Execute carries out a command, and returns once it is applied on this node.
	Execute(ctx context.Context, cmd protocol.Command) (any, error)
	// Head is the end of this node's log and whether this node leads.
	Head() (head protocol.Cursor, isLeader bool)
	// Blob is what is recorded of a blob and which nodes have it; CodeNotFound if it is not recorded.
	Blob(id protocol.BlobID) (protocol.Blob, []protocol.NodeID, error)
	// BlobPlaces are those that are recorded after one of them, in order of ids, and which nodes have them.
	BlobPlaces(after protocol.BlobID, limit int) ([]protocol.BlobPlace, error)
	// UnusedBlobs are some that nothing has shown since before a time.
	UnusedBlobs(before protocol.Time, limit int) ([]protocol.Blob, error)
	// BlobsAddedBefore are some that were added before a time.
	BlobsAddedBefore(t protocol.Time, limit int) ([]protocol.Blob, error)
	// MayStore is nil if the cluster records blobs; CodeForbidden while some of its nodes don't know what they are.
	MayStore() error
	// BlobUsage is how many bytes a user's blobs have, and all.
	BlobUsage(user protocol.UserID) (mine, all uint64, err error)
}

// Nodes are the other nodes of the cluster.
type Nodes interface {
	// Others are the members of the cluster but this one, and whether they can be reached.
	Others() map[protocol.NodeID]bool
	// Dial opens a stream to a node, on the other end of which is a Keeper's Serve.
	Dial(ctx context.Context, node protocol.NodeID) (net.Conn, error)
}

// Abroad are the clusters of other offices.
type Abroad interface {
	// Fetch writes the content of a blob of another cluster, from offset on. After an error what was written is good, and the rest can be fetched later.
	Fetch(ctx context.Context, peer [16]byte, id protocol.BlobID, offset uint64, w io.Writer) error
}

// Events tell what happened to blobs, in the order of the log.
type Events interface {
	// Next waits for events and returns all that there are.
	Next(ctx context.Context) ([]protocol.Event, error)
}

// Config says what a Keeper is made of. Backend, Temp, State and Node are needed.
type Config struct {
	Backend Backend
	// Temp is the folder of temporary files, of this Keeper alone: New empties it. For a disk it is on the same file system.
	Temp  string
	State State
	Node  protocol.NodeID
	// Nodes are the others; nil: this one is alone.
	Nodes Nodes
	// Abroad is how blobs of other clusters are got; nil: not at all.
	Abroad Abroad
	// Events tell Run what to do at once; nil: it looks from time to time.
	Events Events
	// UserQuota and Quota are bytes, of one user's blobs and of all; 0: no limit.
	UserQuota, Quota uint64
	// MaxForeign is how many bytes content of another office may have that is fetched from there; 0: no limit.
	MaxForeign uint64
	// Retention is how long a blob is kept at most; 0: as long as something shows it.
	Retention time.Duration
	// Unused is how long one is kept that nothing shows; 0: for ever.
	Unused time.Duration
	// MinFree is how many bytes of the disk stay free: what would go below is refused; see Room.
	MinFree uint64
	// FreeSpace tells the free bytes of the disk that Temp is on; nil asks the system.
	FreeSpace func() (uint64, error)
	// Log gets what an operator should know; nil drops it.
	Log *slog.Logger
	// Registerer gets the metrics; nil means none.
	Registerer prometheus.Registerer
	// Tuning has numbers that rarely need a change.
	Tuning Tuning
}

// Tuning are numbers with good defaults; zero means the default.
type Tuning struct {
	// Every is how often what is too old is dropped, and what failed is tried again (10 min).
	Every time.Duration
	// Notice is how often it is looked whether copies for safety failed, or other nodes can be reached than before (15 s). What fails again and again is tried
	// less and less often, down to Every.
	Notice time.Duration
	// Compare is how often all that is here is compared with what is recorded although nothing asks for it (6 h).
	Compare time.Duration
	// Stray is how old content has to be that is not recorded for the comparison to remove it (Unused, or a week without that): it may be about to be
	// recorded, or its record may come back with a newer backup. What is dropped while this node is up, or in what it catches up with, goes at once.
	Stray time.Duration
	// Young is how long content stays in a store that all nodes share, after it was put there, though it is not recorded (1 min): another node may be about to record it.
	Young time.Duration
	// Retry is how long a command waits for a leader (15 s).
	Retry time.Duration
	// Stall is how long another node may keep this one waiting for the next bytes, or for taking them (30 s).
	Stall time.Duration
	// Fetches is how many blobs are fetched from other nodes at once, and how many from other offices; further ones wait (16).
	Fetches int
	// Unfollowed is how long a fetch from another office goes on when nobody reads any more what it gets (30 s).
	Unfollowed time.Duration
	// Copies is how many are copied for safety at once (2).
	Copies int
	// Streams is how many streams of other nodes are served at once; further ones wait (32).
	Streams int
}

func (c *Config) check() error {
	switch {
	case c.Backend == nil:
		return errors.New("no backend given")
	case c.Temp == "":
		return errors.New("no folder for temporary files given")
	case c.State == nil:
		return errors.New("no state given")
	case c.Node == "":
		return errors.New("no node given")
	}
	return nil
}

const week = 7 * 24 * time.Hour

func (c *Config) setDefaults() {
	if c.FreeSpace == nil {
		dir := c.Temp
		c.FreeSpace = func() (uint64, error) { return freeBytes(dir) }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	t := &c.Tuning
	if c.Unused == 0 {
		orDefault(&t.Stray, week)
	}
	orDefault(&t.Every, 10*time.Minute)
	orDefault(&t.Notice, 15*time.Second)
	orDefault(&t.Compare, 6*time.Hour)
	orDefault(&t.Stray, max(c.Unused, time.Hour))
	orDefault(&t.Young, time.Minute)
	orDefault(&t.Retry, 15*time.Second)
	orDefault(&t.Stall, 30*time.Second)
	orDefault(&t.Fetches, 16)
	orDefault(&t.Unfollowed, 30*time.Second)
	orDefault(&t.Copies, 2)
	orDefault(&t.Streams, 32)
}

func orDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}
