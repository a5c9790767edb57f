package client

import (
	"context"
	"sync"
)

// queue is what lies between the connection and the app: events in order, and between them the cursors that they complete. It is bounded
// by not reading the connection while it is full: at 256 events, or 4,096 while a call waits for an answer that must be read behind them.
type queue struct {
	mu     sync.Mutex // guards items, calls and closed
	items  []item
	calls  int
	closed bool

	wake chan struct{} // 1: there is something to take
	room chan struct{} // 1: full may have become false
}

// item is an event, or what a CURSOR said.
type item struct {
	event  Event
	cursor *cursorMark
}

func newQueue() *queue {
	return &queue{wake: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

// poke leaves one token in a channel of capacity 1.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// put adds at the end, whether full or not.
func (q *queue) put(it item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	q.items = append(q.items, it)
	poke(q.wake)
}

// putState adds a StateChanged; it takes the place of one that nobody has seen in a full queue, and if both are about the place of a login.
func (q *queue) putState(ev *StateChanged) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	if n := len(q.items); n > 0 {
		last, ok := q.items[n-1].event.(*StateChanged)
		if ok && (n >= eventsBound || last.Position > 0 && ev.Position > 0) {
			q.items[n-1].event = ev
			return
		}
	}
	q.items = append(q.items, item{event: ev})
	poke(q.wake)
}

// full reports whether the connection should not be read.
func (q *queue) full() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	bound := eventsBound
	if q.calls > 0 {
		bound = eventsReserve
	}
	return len(q.items) >= bound
}

// calling notes that a call of the app waits (n = 1) or no longer does (-1).
func (q *queue) calling(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.calls += n
	poke(q.room)
}

// take waits for the first item; false when the queue has ended or ctx has.
func (q *queue) take(ctx context.Context) (item, bool) {
	for {
		q.mu.Lock()
		if len(q.items) > 0 {
			it := q.items[0]
			q.items[0] = item{}
			q.items = q.items[1:]
			q.mu.Unlock()
			poke(q.room)
			return it, ctx.Err() == nil
		}
		closed := q.closed
		q.mu.Unlock()
		if closed {
			return item{}, false
		}
		select {
		case <-q.wake:
		case <-ctx.Done():
			return item{}, false
		}
	}
}

// end lets take finish what is there and then fail.
func (q *queue) end() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	poke(q.wake)
}

// waiting counts events.
func (q *queue) waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for _, it := range q.items {
		if it.event != nil {
			n++
		}
	}
	return n
}
