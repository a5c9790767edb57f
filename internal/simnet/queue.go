package simnet

import (
	"container/heap"
	"context"
	"net"
	"sync"
	"time"
)

// mostUnderway is how many packets may be on their way in one direction; the next one is dropped, as by a router whose buffer is full.
const mostUnderway = 20_000

// A packet is on its way until its time comes.
type packet struct {
	due     time.Time
	order   uint64 // of those due at the same moment
	data    []byte
	deliver func([]byte)

	// In memory:
	from *net.UDPAddr
	link *Link
	way  Direction
}

// Packets carries packets over one direction of a link.
type Packets struct {
	link      *Link
	direction Direction
	fresh     chan struct{} // holds one token when the earliest packet may be another

	mu    sync.Mutex // guards all below
	heap  packetHeap
	count uint64
}

// NewPackets makes a queue for one direction of a link; nothing arrives unless Run runs.
func NewPackets(l *Link, d Direction) *Packets {
	return &Packets{link: l, direction: d, fresh: make(chan struct{}, 1)}
}

// Send sends a packet that belongs to the queue from now on. If it arrives, deliver is called with it, by Run.
func (q *Packets) Send(data []byte, deliver func([]byte)) {
	due, ok := q.link.packet(q.direction)
	if !ok {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.heap) >= mostUnderway {
		q.link.overflow(q.direction)
		return
	}
	q.count++
	q.heap.add(packet{due: due, order: q.count, data: data, deliver: deliver})
	select {
	case q.fresh <- struct{}{}:
	default:
	}
}

// Run delivers packets when they are due, until the context ends.
func (q *Packets) Run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		p, wait := q.next()
		if wait == 0 {
			if q.link.arrives(q.direction, len(p.data)) {
				p.deliver(p.data)
			}
			continue
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-q.fresh:
		case <-ctx.Done():
			return
		}
	}
}

// next takes the packet that is due, or says how long to wait.
func (q *Packets) next() (p packet, wait time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.heap) == 0 {
		return packet{}, time.Hour
	}
	if wait = time.Until(q.heap[0].due); wait > 0 {
		return packet{}, wait
	}
	return q.heap.first(), 0
}

// packetHeap has the packet that is due first at its root.
type packetHeap []packet

func (h *packetHeap) add(p packet)  { heap.Push(h, p) }
func (h *packetHeap) first() packet { return heap.Pop(h).(packet) }

// Len implements heap.Interface.
func (h packetHeap) Len() int { return len(h) }

// Less implements heap.Interface.
func (h packetHeap) Less(i, j int) bool {
	if h[i].due.Equal(h[j].due) {
		return h[i].order < h[j].order
	}
	return h[i].due.Before(h[j].due)
}

// Swap implements heap.Interface.
func (h packetHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *packetHeap) Push(x any) { *h = append(*h, x.(packet)) }

// Pop implements heap.Interface.
func (h *packetHeap) Pop() any {
	last := len(*h) - 1
	p := (*h)[last]
	(*h)[last] = packet{}
	*h = (*h)[:last]
	return p
}
