// Package bus tells the parts of one node what happened: durable events in log order, ephemeral signals, and who is present. The last
// two it exchanges with the other nodes of the cluster, each telling each other directly: nothing is passed on.
//
// Publishing never blocks. Each subscriber has a bounded queue of its own; one that falls behind loses what is queued and gets a
// protocol.Jumped instead, so that it knows that it has to look at the state again. Nothing is lost silently.
package bus

import (
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"teamtalk/protocol"
)

// Config sets the bounds of a Bus and its place in a cluster. The zero value is a node alone, ready for use.
type Config struct {
	QueueEvents  int // events a subscriber may be behind; 0: 16,384
	QueueBytes   int // message data a subscriber may be behind; 0: 64 MiB
	QueueSignals int // signals a subscriber may be behind; 0: 16,384

	Node       protocol.NodeID // of this node; empty: there are no others, and nothing below counts but Devices and TouchEvery
	Generation uint64          // must be greater at every start of this node; 0: the time
	PeerItems  int             // signals and changes that another node may be behind; 0: 16,384
	PeerBytes  int             // the same in bytes; 0: 16 MiB

	Devices    int           // extended sessions of a user in the cluster [TT-SESS-8]; 0: 10, below: any number
	TouchEvery time.Duration // how coarsely the nodes know when a session was last used; 0: 5 minutes
	Grace      time.Duration // how long the sessions of a node that says nothing are kept once its link is down; 0: 3 s
	Settle     time.Duration // after which presence that no node has announced is; longer than the gateway waits with OFFLINE [TT-DIFF-7]; 0: 4 s

	Registerer prometheus.Registerer // nil: no metrics
	Log        *slog.Logger          // nil: none
}

func (c *Config) setDefaults() {
	orElse(&c.QueueEvents, 16_384)
	orElse(&c.QueueBytes, 64<<20)
	orElse(&c.QueueSignals, 16_384)
	orElse(&c.PeerItems, 16_384)
	orElse(&c.PeerBytes, 16<<20)
	orElse(&c.TouchEvery, 5*time.Minute)
	orElse(&c.Grace, 3*time.Second)
	orElse(&c.Settle, 4*time.Second)
	if c.Devices == 0 {
		c.Devices = 10
	}
	if c.Generation == 0 {
		c.Generation = uint64(time.Now().UnixMicro())
	}
	c.Log = quiet(c.Log)
}

func orElse[T ~int | ~int64](v *T, standard T) {
	if *v <= 0 {
		*v = standard
	}
}

// Bus is one node's exchange of events and signals, with the other nodes too while Serve runs. All methods may be called from any goroutine.
type Bus struct {
	cfg      Config
	metrics  *metrics
	presence *Presence
	links    *links

	mu       sync.RWMutex // guards the two sets below
	subs     map[*Subscription]struct{}
	signals  map[*SignalSubscription]struct{}
	isClosed bool
}

// New makes a bus that nobody listens to yet.
func New(cfg Config) *Bus {
	cfg.setDefaults()
	b := &Bus{
		cfg:     cfg,
		metrics: newMetrics(cfg.Registerer),
		subs:    make(map[*Subscription]struct{}),
		signals: make(map[*SignalSubscription]struct{}),
	}
	b.links = newLinks(&b.cfg, b.metrics)
	b.presence = newPresence(&b.cfg, b.metrics, b.links, b.deliver)
	return b
}

// Presence is the table of who is connected.
func (b *Bus) Presence() *Presence { return b.presence }

// Publish hands events to every subscriber. The caller keeps log order by calling it from one goroutine; it never blocks.
func (b *Bus) Publish(events []protocol.Event) {
	if len(events) == 0 {
		return
	}
	b.metrics.events.Add(float64(len(events)))
	b.mu.RLock()
	defer b.mu.RUnlock()
	for s := range b.subs {
		s.add(events)
	}
}

// Signal tells every node, this one included, once and best effort; it never blocks.
func (b *Bus) Signal(sig protocol.Signal) {
	b.metrics.signals.Inc()
	b.publish(sig)
	if !b.presence.isAlone() {
		b.spread(sig)
	}
}

// Close ends all subscriptions; their Next returns ErrClosed once they are read empty.
func (b *Bus) Close() {
	b.presence.closeDisplaced()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.isClosed = true
	for s := range b.subs {
		s.queue.close()
	}
	for s := range b.signals {
		s.queue.close()
	}
	clear(b.subs)
	clear(b.signals)
}
