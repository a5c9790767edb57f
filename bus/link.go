package bus

import (
	"context"
	"sync"

	"teamtalk/protocol"
)

// links are the ways to the nodes that can be reached.
type links struct {
	cfg     *Config
	metrics *metrics
	changed chan struct{} // holds one token when a link was opened

	mu   sync.Mutex // guards what follows
	open map[protocol.NodeID]*link
}

// link is the bounded queue to one node, until the link goes down: one that comes up again is another link.
type link struct {
	to     protocol.NodeID
	wake   chan struct{} // holds one token while there is something to send
	down   chan struct{} // closed when the link is down
	served bool          // by a goroutine; guarded by links.mu

	mu    sync.Mutex // guards what follows
	items [][]byte
	bytes int
	wants wants
}

// wants are what a link's goroutine is to send besides the queue.
type wants struct{ tick, ask, table bool }

func newLinks(cfg *Config, m *metrics) *links {
	return &links{cfg: cfg, metrics: m, changed: make(chan struct{}, 1), open: make(map[protocol.NodeID]*link)}
}

// set opens or closes the link with a node. A link that opens begins with a tick: the other node then knows whether it has missed something.
func (l *links) set(to protocol.NodeID, up bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	known := l.open[to]
	if known != nil && !up {
		close(known.down)
		delete(l.open, to)
	}
	if known == nil && up {
		known = &link{to: to, wake: make(chan struct{}, 1), down: make(chan struct{})}
		l.open[to] = known
		notify(l.changed)
	}
	if up {
		known.request(wants{tick: true})
	}
}

func (l *links) isOpen(to protocol.NodeID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open[to] != nil
}

// unserved returns the links that nobody serves yet, and has them served.
func (l *links) unserved() []*link {
	l.mu.Lock()
	defer l.mu.Unlock()
	var fresh []*link
	for _, k := range l.open {
		if !k.served {
			k.served = true
			fresh = append(fresh, k)
		}
	}
	return fresh
}

// tell queues an item for every node once. One that is too slow misses it; what names what it was.
func (l *links) tell(item []byte, what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range l.open {
		if !k.add(item, l.cfg) {
			l.metrics.peerDropped.WithLabelValues(string(k.to), what).Inc()
		}
	}
}

// request asks for something to be sent to a node, if it can be reached.
func (l *links) request(to protocol.NodeID, w wants) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k := l.open[to]; k != nil {
		k.request(w)
	}
}

// tick has all nodes told that this one is alive.
func (l *links) tick() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range l.open {
		k.request(wants{tick: true})
	}
}

func (k *link) add(item []byte, cfg *Config) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.items) >= cfg.PeerItems || len(k.items) > 0 && k.bytes+len(item) > cfg.PeerBytes {
		return false
	}
	k.items = append(k.items, item)
	k.bytes += len(item)
	notify(k.wake)
	return true
}

func (k *link) request(w wants) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.wants = wants{tick: k.wants.tick || w.tick, ask: k.wants.ask || w.ask, table: k.wants.table || w.table}
	notify(k.wake)
}

// take removes what is to be sent next: as many items as go into one payload, and what else is wanted. A tick waits until the queue is empty.
func (k *link) take() ([][]byte, wants) {
	k.mu.Lock()
	defer k.mu.Unlock()
	n, size := 0, 0
	for n < len(k.items) && (n == 0 || size+len(k.items[n]) <= payloadBytes) {
		size += len(k.items[n])
		n++
	}
	items := k.items[:n:n]
	k.items, k.bytes = k.items[n:], k.bytes-size
	w := k.wants
	k.wants = wants{}
	if len(k.items) > 0 {
		k.wants.tick, w.tick = w.tick, false
	} else {
		k.items = nil
	}
	return items, w
}

// left counts what is queued and will not be sent.
func (k *link) left() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.items)
}

func notify(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

const (
	payloadBytes  = 64 << 10 // about the most that goes into one payload
	tableSessions = 512      // of a part of a table: 45 KB with the longest device ids
)

// sender is the goroutine's view of a link.
type sender struct {
	*link
	presence *Presence
	peers    Peers
	metrics  *metrics
}

// run sends until the link is down or ctx ends.
func (s *sender) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watched := make(chan struct{})
	go func() { // ends with ctx, which the caller of run or the next line ends
		defer close(watched)
		select {
		case <-s.down:
			cancel()
		case <-ctx.Done():
		}
	}()
	defer func() { cancel(); <-watched }()
	for {
		select {
		case <-s.wake:
		case <-ctx.Done():
			s.lost(s.left(), "link")
			return
		}
		for s.sendSome(ctx) {
			continue
		}
	}
}

// sendSome sends a payload and, if it was asked for, the table; false: there was nothing to send, or ctx has ended.
func (s *sender) sendSome(ctx context.Context) bool {
	number := s.presence.number() // before the take: then all changes up to it have been queued
	items, w := s.take()
	if ctx.Err() != nil {
		s.lost(len(items), "link")
		return false
	}
	if len(items) == 0 && w == (wants{}) {
		return false
	}
	payload, err := s.payload(items, w, number)
	if err == nil && payload != nil {
		err = s.send(ctx, payload)
	}
	if err != nil {
		s.lost(len(items), "send")
	}
	if w.table {
		s.sendTable(ctx)
	}
	return true
}

func (s *sender) payload(items [][]byte, w wants, number uint64) ([]byte, error) {
	if len(items) == 0 && !w.ask && !w.tick {
		return nil, nil
	}
	payload, err := newPayload(s.presence.here.generation)
	for _, item := range items {
		payload = append(payload, item...)
	}
	if w.ask && err == nil {
		payload, err = appendItem(payload, kindAsk, ask{})
	}
	if w.tick && err == nil {
		payload, err = appendItem(payload, kindTick, tick{Number: number})
	}
	return payload, err
}

// sendTable sends this node's sessions, part by part. If it fails, the other node asks again.
func (s *sender) sendTable(ctx context.Context) {
	sessions, number := s.presence.table()
	for part := 0; ; part++ {
		n := min(len(sessions), tableSessions)
		t := tablePart{Number: number, Part: part, IsLast: n == len(sessions), Sessions: sessions[:n]}
		payload, err := newPayload(s.presence.here.generation)
		if err == nil {
			payload, err = appendItem(payload, kindTable, t)
		}
		if err == nil {
			err = s.send(ctx, payload)
		}
		if err != nil {
			s.lost(1, "table")
			return
		}
		if sessions = sessions[n:]; t.IsLast {
			s.metrics.exchanges.WithLabelValues("sent").Inc()
			return
		}
	}
}

func (s *sender) send(ctx context.Context, payload []byte) error {
	s.metrics.peerBytes.WithLabelValues(string(s.to)).Add(float64(len(payload)))
	return s.peers.Send(ctx, s.to, payload)
}

func (s *sender) lost(n int, why string) {
	if n > 0 {
		s.metrics.peerDropped.WithLabelValues(string(s.to), why).Add(float64(n))
	}
}
