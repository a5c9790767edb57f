package raftstore

import (
	"errors"
	"log/slog"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/bbolt"

	"teamtalk/protocol"
)

// Machine is the replicated state machine. It lives in one bbolt database; the engine owns the database and the
// transaction, and the bucket "_engine" in it.
type Machine interface {
	// Open prepares buckets, checks the format's version and rebuilds what is kept in memory. It is called at start
	// and again when an installed snapshot replaced the database; Apply never runs meanwhile, but readers of the
	// former database may. It must not scan history.
	Open(tx *bbolt.Tx) error
	// Apply executes one command. It must be deterministic and must not keep cmd. A refusal by the rules is an
	// Applied whose Result is an error; an error besides it means that this node is broken, and stops it.
	Apply(tx *bbolt.Tx, at protocol.Position, timeMs int64, cmd []byte) (Applied, error)
}

// Applied is what came of a command: Result for whoever proposed it (Wait returns an error in it as its error), Events for
// everybody.
type Applied struct {
	Result any
	Events []protocol.Event
	// Forget is a log index: the entries up to there hold what is to be gone from the log within Tuning.ForgetWithin. 0: none.
	Forget uint64
}

// Publisher is told what happened, in log order, after it is on disk. It must not block.
type Publisher interface {
	Publish(events []protocol.Event)
}

// NodeID names a node for ever: a node that lost its log or state must not come back under the same name.
type NodeID = protocol.NodeID

// Member is a node of the cluster and where its Transport is reached.
type Member struct {
	ID      NodeID
	Address string
}

// Config says what a Store is made of. Dir, NodeID, Machine and Fatal are needed; the rest has defaults.
type Config struct {
	// Dir is the data directory; it is created if its parent exists.
	Dir string
	// NodeID is this node's name in the cluster.
	NodeID NodeID
	// Transport carries raft's calls. The Store closes it. Nil: the node is a cluster of one, and Bootstrap is not looked at.
	Transport raft.Transport
	// Advertise is the address at which other nodes reach Transport; "": Transport's own. When this node leads, it corrects
	// what the members know of it: so a node that began alone can get company.
	Advertise string
	// Forwarder takes commands to the leader when this node isn't it; nil: they are refused, naming the leader.
	Forwarder Forwarder
	// Neighbours lets this node notice at once that the leader's process has ended; nil: it waits for raft's timer.
	Neighbours Neighbours
	// Bootstrap lists the first members of a new cluster, the same on each of them. It is ignored when the data
	// directory belongs to a cluster already. A node that joins later has none.
	Bootstrap []Member
	// Machine executes the commands.
	Machine Machine
	// ClusterName reads the cluster's name out of the state, for backups; nil: they name none.
	ClusterName func(*bbolt.Tx) (string, error)
	// Publisher gets the events; nil drops them.
	Publisher Publisher
	// Fatal is called once when this node can't go on (a failed write or fsync, an entry of a newer version, a broken
	// Machine). The process must exit; if Fatal returns, the Store refuses everything.
	Fatal func(error)
	// Logger gets what an operator should know; nil drops it.
	Logger *slog.Logger
	// Registerer gets the metrics; nil means none.
	Registerer prometheus.Registerer
	// Version is the program's version, written into new data directories and named in errors.
	Version string
	// Clock stamps entries; nil is time.Now.
	Clock func() time.Time
	// FreeSpace tells the free bytes on the data directory's disk; nil asks the system.
	FreeSpace func() (uint64, error)
	// Tuning has numbers that rarely need a change.
	Tuning Tuning
}

// Tuning are numbers with good defaults; zero means the default.
type Tuning struct {
	// Window is how many grouped entries may be under way at once (1).
	Window int
	// DiskReserve is how many bytes must stay free for proposals to be accepted (64 MiB).
	DiskReserve uint64
	// MapSize is how much of the address space the state file gets; growing beyond it makes writes wait for readers (8 GiB).
	MapSize int
	// LeaderWait is how long a proposal waits for a leader to be found (2 s).
	LeaderWait time.Duration
	// Heartbeat is the time without a leader after which a node stands for election (1 s); the only voter doesn't wait.
	Heartbeat time.Duration
	// CommitTimeout is how often an idle leader tells followers what is committed (50 ms).
	CommitTimeout time.Duration
	// TrimInterval is how often old log entries are looked for (10 s, up to twice that).
	TrimInterval time.Duration
	// TrailingLogs is how many applied entries stay in the log for followers that are a little behind (1,024).
	TrailingLogs uint64
	// TrailingBytes cuts them further when they are large (256 MiB).
	TrailingBytes int64
	// ForgetWithin is how long the log may hold content after its deletion (1 h) [TT-DEL-7].
	ForgetWithin time.Duration
	// CheckEvery is how often the whole state is read to see whether it is damaged (24 h).
	CheckEvery time.Duration
	// StreamStall ends a snapshot stream that nobody reads from (30 s).
	StreamStall time.Duration
	// StreamHold is how long the log is kept whole after a snapshot was streamed, for its receiver to catch up (60 s).
	StreamHold time.Duration
}

const (
	// MaxCommand is the largest command in bytes.
	MaxCommand = 64 << 20

	batchCommands = 512
	batchBytes    = 1 << 20
	queueLength   = 4096
	// appendEntries bounds what raft sends in one call: grouped entries are large.
	appendEntries = 16
)

func (c *Config) check() error {
	switch {
	case c.Dir == "":
		return errors.New("no data directory given")
	case c.NodeID == "":
		return errors.New("no node id given")
	case c.Machine == nil:
		return errors.New("no state machine given")
	case c.Fatal == nil:
		return errors.New("nothing given to call on a fatal error")
	}
	return nil
}

func (c *Config) setDefaults() {
	if c.Transport == nil {
		// raft wants a transport even if nobody is there to talk to.
		addr, alone := raft.NewInmemTransport(raft.ServerAddress(c.NodeID))
		c.Transport = alone
		c.Bootstrap = []Member{{ID: c.NodeID, Address: string(addr)}}
	}
	if c.Advertise == "" {
		c.Advertise = string(c.Transport.LocalAddr())
	}
	if c.Publisher == nil {
		c.Publisher = nobody{}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.FreeSpace == nil {
		dir := c.Dir
		c.FreeSpace = func() (uint64, error) { return freeBytes(dir) }
	}
	c.Tuning.setDefaults()
}

func (t *Tuning) setDefaults() {
	orDefault(&t.Window, 1)
	orDefault(&t.DiskReserve, 64<<20)
	orDefault(&t.MapSize, 8<<30)
	orDefault(&t.LeaderWait, 2*time.Second)
	orDefault(&t.CommitTimeout, 50*time.Millisecond)
	orDefault(&t.TrimInterval, 10*time.Second)
	orDefault(&t.TrailingLogs, 1024)
	orDefault(&t.TrailingBytes, 256<<20)
	orDefault(&t.ForgetWithin, time.Hour)
	orDefault(&t.CheckEvery, 24*time.Hour)
	orDefault(&t.StreamStall, 30*time.Second)
	orDefault(&t.StreamHold, 60*time.Second)
}

func orDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// raftConfig turns the settings into raft's. A lone voter waits for nobody all the same: newTransport tells it.
func (c *Config) raftConfig(lone bool) *raft.Config {
	rc := raft.DefaultConfig()
	rc.LocalID = raft.ServerID(c.NodeID)
	rc.Logger = newRaftLogger(c.Logger, lone)
	beat := c.Tuning.Heartbeat
	if beat == 0 {
		beat = time.Second
	}
	rc.HeartbeatTimeout, rc.ElectionTimeout, rc.LeaderLeaseTimeout = beat, beat, beat/2
	rc.CommitTimeout = c.Tuning.CommitTimeout
	rc.MaxAppendEntries = appendEntries
	rc.TrailingLogs = c.Tuning.TrailingLogs
	rc.SnapshotInterval = c.Tuning.TrimInterval
	rc.SnapshotThreshold = max(1, c.Tuning.TrailingLogs)
	rc.NoSnapshotRestoreOnStart = true
	rc.NoLegacyTelemetry = true
	rc.ShutdownOnRemove = false
	return rc
}

type nobody struct{}

func (nobody) Publish([]protocol.Event) {}
