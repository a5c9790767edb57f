package transfer

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"teamtalk/protocol"
)

// Store is the replicated state.
type Store interface {
	// OfflineFileByTask is the file of a task that waits for a user; CodeNotFound if there is none.
	OfflineFileByTask(to protocol.UserID, task string) (protocol.OfflineFile, error)
	// Execute carries out a command, and returns once it is applied on this node.
	Execute(ctx context.Context, cmd protocol.Command) (any, error)
}

// Blobs keeps the content of files that wait.
type Blobs interface {
	// Room is nil if a user may store size bytes more; CodeQuota, CodeForbidden or CodeUnavailable otherwise.
	Room(u protocol.UserID, size uint64) error
	// Begin starts a file of a user's that comes in, and refuses what Room refuses. It takes its room until it is over.
	Begin(ctx context.Context, u protocol.UserID, size uint64) (Draft, error)
	// Open reads one, wherever it is.
	Open(ctx context.Context, id protocol.BlobID) (io.ReadSeekCloser, error)
}

// Draft is a file that comes in; whoever began it ends it, by Keep or Abort.
type Draft interface {
	io.Writer
	// Size is how many bytes were written.
	Size() uint64
	// Keep stores it, and returns once it would outlive a loss of power and is known to the cluster. The draft is over then, also after an error.
	Keep(ctx context.Context, b protocol.Blob) (protocol.BlobID, error)
	// Abort gives it up; nothing happens after Keep.
	Abort()
}

// Presence knows who is connected anywhere in the cluster.
type Presence interface {
	Sessions(u protocol.UserID) []protocol.LiveSession
}

// Config is what an Engine is made of. All parts are required, except where a nil or zero value is explained.
type Config struct {
	Store    Store
	Blobs    Blobs
	Presence Presence

	Limits Limits
	Timing Timing

	Log        *slog.Logger          // nil: slog.Default()
	Registerer prometheus.Registerer // nil: no metrics
}

// Limits bound what clients may use. Zero values mean the default given.
type Limits struct {
	File         uint32 // bytes of an offline file, 4 GiB-1
	Tasks        int    // that wait or are under way, of all users, 10,000
	TasksPerUser int    // that a user has offered, 64
	Strangers    int    // connections that have not logged in, 10,000 [TT-FILE-7]
	PerAddress   int    // of these from one address, 100
	Fetches      int    // connections that fetch files, of one user, 16 [TT-FILE-11]
	Bytes        int    // that are between two sides of an online task, or wait for one who fetches a file, 256 KiB; one block always may be
}

// Timing holds the times of tasks. Zero values mean the default given.
type Timing struct {
	Login  time.Duration // from the connection to 0x0501, 30 s [TT-FILE-7]
	Idle   time.Duration // without a PDU, 120 s [TT-FILE-7]
	Flush  time.Duration // for the client to take the last bytes and to close, 2 s
	Resume time.Duration // that a task waits while its sender is not connected, 10 min [TT-FILE-8]
	Commit time.Duration // for a whole file to be recorded while there is no leader, 15 s
}

func (c Config) complete() Config {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	orDefault(&c.Limits.File, 1<<32-1)
	orDefault(&c.Limits.Tasks, 10_000)
	orDefault(&c.Limits.TasksPerUser, 64)
	orDefault(&c.Limits.Strangers, 10_000)
	orDefault(&c.Limits.PerAddress, 100)
	orDefault(&c.Limits.Fetches, 16)
	orDefault(&c.Limits.Bytes, 256<<10)
	orDefault(&c.Timing.Login, 30*time.Second)
	orDefault(&c.Timing.Idle, 120*time.Second)
	orDefault(&c.Timing.Flush, 2*time.Second)
	orDefault(&c.Timing.Resume, 10*time.Minute)
	orDefault(&c.Timing.Commit, 15*time.Second)
	return c
}

func orDefault[T int | uint32 | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}
