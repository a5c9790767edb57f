package bus

import (
	"context"
	"errors"
	"sync"
)

// ErrClosed is returned by Next after Close.
var ErrClosed = errors.New("bus: subscription closed")

// queue is an unbounded list with one reader; its users keep it bounded.
type queue[T any] struct {
	wake chan struct{} // holds one token while there is something to look at

	mu     sync.Mutex // guards what follows
	items  []T
	closed bool
}

func newQueue[T any]() *queue[T] { return &queue[T]{wake: make(chan struct{}, 1)} }

// update lets change work on the items and wakes the reader.
func (q *queue[T]) update(change func(items []T) []T) {
	q.mu.Lock()
	if !q.closed {
		q.items = change(q.items)
	}
	q.mu.Unlock()
	q.signal()
}

func (q *queue[T]) signal() { notify(q.wake) }

// next waits for items and takes all there are.
func (q *queue[T]) next(ctx context.Context) ([]T, error) {
	for {
		q.mu.Lock()
		items, closed := q.items, q.closed
		q.items = nil
		q.mu.Unlock()
		switch {
		case len(items) > 0:
			return items, nil
		case closed:
			q.signal() // another Next must not wait either
			return nil, ErrClosed
		}
		select {
		case <-q.wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (q *queue[T]) length() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items)
}

func (q *queue[T]) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.signal()
}
