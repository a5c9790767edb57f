package transfer

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/pb"
)

// Engine has the tasks of one node.
type Engine struct {
	store    Store
	blobs    Blobs
	presence Presence
	limits   Limits
	timing   Timing
	log      *slog.Logger
	metrics  *metrics
	unknown  strangers
	fetching fetchers

	life context.Context // of what tasks wait for; ends with Run
	end  context.CancelFunc

	mu     sync.Mutex // guards what follows; never held with that of a task
	closed bool
	tasks  map[string]*task
	stored map[string]*task        // offline ones that are done, for who has not heard of it [TT-FILE-8]
	offers map[protocol.UserID]int // by sender
}

// New makes an engine without tasks; Run forgets those that nobody takes up.
func New(cfg Config) *Engine {
	cfg = cfg.complete()
	e := &Engine{store: cfg.Store, blobs: cfg.Blobs, presence: cfg.Presence, limits: cfg.Limits, timing: cfg.Timing, log: cfg.Log,
		metrics:  newMetrics(cfg.Registerer),
		unknown:  strangers{most: cfg.Limits.Strangers, perAddress: cfg.Limits.PerAddress, places: map[netip.Prefix]int{}},
		fetching: fetchers{most: cfg.Limits.Fetches, of: map[protocol.UserID]int{}}, tasks: map[string]*task{}, stored: map[string]*task{}, offers: map[protocol.UserID]int{}}
	e.life, e.end = context.WithCancel(context.Background())
	return e
}

// Offer makes a task for a file of size bytes, and tells how it will go: online only if that was asked for and the receiver has a client that can
// [TT-FILE-5]. CodeTooLarge or CodeQuota for what could not be stored, CodeOverloaded when there are too many tasks.
func (e *Engine) Offer(_ context.Context, from, to protocol.UserID, name string, size uint32, online bool) (id string, isOnline bool, err error) {
	t := &task{id: newTaskID(), from: from, to: to, name: name, size: size, online: online && e.takesOnline(to), limit: e.limits.Bytes}
	if !t.online && size > e.limits.File {
		return "", false, protocol.Errorf(protocol.CodeTooLarge, "a file of %d bytes: at most %d wait for their receiver", size, e.limits.File)
	}
	if !t.online {
		if err := e.blobs.Room(from, uint64(size)); err != nil {
			return "", false, fmt.Errorf("offer: %w", err)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.closed:
		return "", false, protocol.Errorf(protocol.CodeDraining, "this node is leaving")
	case len(e.tasks) >= e.limits.Tasks:
		return "", false, protocol.Errorf(protocol.CodeOverloaded, "%d files are on their way", len(e.tasks))
	case e.offers[from] >= e.limits.TasksPerUser:
		return "", false, protocol.Errorf(protocol.CodeOverloaded, "user %d sends %d files already", from, e.offers[from])
	}
	t.expires = time.Now().Add(e.timing.Resume)
	e.tasks[t.id] = t
	e.offers[from]++
	e.metrics.tasks.Inc()
	e.log.Debug("file offered", "task", t.id, "from", from, "to", to, "size", size, "online", t.online)
	return t.id, t.online, nil
}

// takesOnline reports whether the user has a client that takes a file while it is sent: those of the web and of terminals fetch what waits, and
// so does everybody in other offices [TT-FED-7].
func (e *Engine) takesOnline(u protocol.UserID) bool {
	return u < protocol.MaxLocalID && slices.ContainsFunc(e.presence.Sessions(u), func(s protocol.LiveSession) bool {
		return s.Client == protocol.ClientWindows || s.Client == protocol.ClientMac
	})
}

// newTaskID is a UUID of version 8, by which IsTask knows it [TT-FILE-6].
func newTaskID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x80
	b[8] = b[8]&0x3f | 0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// IsTask reports whether an id was given by an Engine, of whichever node and whenever [TT-FILE-6].
func (e *Engine) IsTask(id string) bool {
	return len(id) == 36 && id[8] == '-' && id[13] == '-' && id[14] == '8' && id[18] == '-' && id[23] == '-'
}

// Run forgets tasks that are not taken up, until ctx ends; then it ends all there are. Connections are for their transports to end.
func (e *Engine) Run(ctx context.Context) error {
	tick := time.NewTicker(max(time.Millisecond, min(e.timing.Resume/8, 5*time.Second)))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			e.sweep(time.Now())
		case <-ctx.Done():
			e.stop()
			return ctx.Err()
		}
	}
}

// sweep ends the tasks whose sender has been away for too long.
func (e *Engine) sweep(now time.Time) {
	for _, t := range e.all() {
		e.expire(t, now)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	maps.DeleteFunc(e.stored, func(_ string, t *task) bool { return !now.Before(t.kept) })
}

func (e *Engine) stop() {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	e.end()
	for _, t := range e.all() {
		e.finish(t, endedShutdown)
	}
}

func (e *Engine) all() []*task {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Collect(maps.Values(e.tasks))
}

// find is the task in which a user has a role, and his side of it [TT-FILE-7]; nil: there is none.
func (e *Engine) find(id string, u protocol.UserID, r pb.ClientFileRole) (*task, side) {
	e.mu.Lock()
	t := e.tasks[id]
	e.mu.Unlock()
	if t == nil {
		return nil, 0
	}
	s, ok := t.sideOf(u, r)
	if !ok {
		return nil, 0
	}
	return t, s
}

// storedTask is the task of a user's file that has been stored, a short while after that; nil: there is none.
func (e *Engine) storedTask(id string, u protocol.UserID) *task {
	e.mu.Lock()
	defer e.mu.Unlock()
	if t := e.stored[id]; t != nil && t.from == u {
		return t
	}
	return nil
}

// ended forgets a task that is over, and has those who are still connected to it go.
func (e *Engine) ended(t *task, how string, sides [2]*party) {
	e.mu.Lock()
	delete(e.tasks, t.id)
	if how == endedDone && !t.online && len(e.stored) < e.limits.Tasks {
		t.kept = time.Now().Add(e.timing.Resume)
		e.stored[t.id] = t
	}
	if e.offers[t.from]--; e.offers[t.from] == 0 {
		delete(e.offers, t.from)
	}
	e.mu.Unlock()
	e.metrics.tasks.Dec()
	e.metrics.ended.WithLabelValues(t.mode(), how).Inc()
	e.log.Debug("file transfer over", "task", t.id, "from", t.from, "to", t.to, "how", how)
	for _, p := range sides {
		if p != nil {
			p.finish()
		}
	}
}
