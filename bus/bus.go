// Package bus tells the parts of one node what happened: durable events in log order, ephemeral signals, and who is present.
//
// Publishing never blocks. Each subscriber has a bounded queue of its own; one that falls behind loses what is queued and gets a
// protocol.Jumped instead, so that it knows that it has to look at the state again. Nothing is lost silently.
package bus

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"teamtalk/protocol"
)

// Config sets the bounds of a Bus. The zero value is ready for use.
type Config struct {
	QueueEvents  int // events a subscriber may be behind; 0: 16,384
	QueueBytes   int // message data a subscriber may be behind; 0: 64 MiB
	QueueSignals int // signals a subscriber may be behind; 0: 16,384

	Registerer prometheus.Registerer // nil: no metrics
}

// Bus is one node's exchange of events and signals. All methods may be called from any goroutine.
type Bus struct {
	cfg      Config
	metrics  *metrics
	presence *Presence

	mu       sync.RWMutex // guards the two sets below
	subs     map[*Subscription]struct{}
	signals  map[*SignalSubscription]struct{}
	isClosed bool
}

// New makes a bus that nobody listens to yet.
func New(cfg Config) *Bus {
	if cfg.QueueEvents <= 0 {
		cfg.QueueEvents = 16_384
	}
	if cfg.QueueBytes <= 0 {
		cfg.QueueBytes = 64 << 20
	}
	if cfg.QueueSignals <= 0 {
		cfg.QueueSignals = 16_384
	}
	return &Bus{
		cfg:      cfg,
		metrics:  newMetrics(cfg.Registerer),
		presence: newPresence(),
		subs:     make(map[*Subscription]struct{}),
		signals:  make(map[*SignalSubscription]struct{}),
	}
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
	b.mu.RLock()
	defer b.mu.RUnlock()
	for s := range b.signals {
		s.add(sig)
	}
}

// Close ends all subscriptions; their Next returns ErrClosed once they are read empty.
func (b *Bus) Close() {
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
