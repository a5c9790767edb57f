package bus

import (
	"context"

	"teamtalk/protocol"
)

// Subscription is one reader's view of the events. Next is for one goroutine.
type Subscription struct {
	bus   *Bus
	name  string
	queue *queue[protocol.Event]
	bytes int // message data queued; guarded by queue.mu
}

// Subscribe starts to collect events for a reader; the name appears in metrics.
func (b *Bus) Subscribe(name string) *Subscription {
	s := &Subscription{bus: b, name: name, queue: newQueue[protocol.Event]()}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.isClosed {
		s.queue.close()
		return s
	}
	b.subs[s] = struct{}{}
	return s
}

// Next waits for events and returns all that are queued, in log order. If some had to be dropped, the first is a protocol.Jumped
// over them. The slice is the caller's, what the events point to is shared.
func (s *Subscription) Next(ctx context.Context) ([]protocol.Event, error) {
	return s.queue.next(ctx)
}

// Close ends the subscription.
func (s *Subscription) Close() {
	s.bus.mu.Lock()
	delete(s.bus.subs, s)
	s.bus.mu.Unlock()
	s.queue.close()
}

func (s *Subscription) add(events []protocol.Event) {
	dropped := 0
	s.queue.update(func(items []protocol.Event) []protocol.Event {
		if len(items) == 0 {
			s.bytes = 0
		}
		for _, e := range events {
			size := sizeOf(e)
			if len(items) >= s.bus.cfg.QueueEvents || len(items) > 0 && s.bytes+size > s.bus.cfg.QueueBytes {
				dropped += len(items) + 1
				items = append(items[:0], jumpOver(items[0], e))
				s.bytes = 0
				continue
			}
			items = append(items, e)
			s.bytes += size
		}
		return items
	})
	if dropped > 0 {
		s.bus.metrics.dropped.WithLabelValues(s.name, "behind").Add(float64(dropped))
	}
}

// jumpOver is a jump over everything from first to last; first may itself be a jump.
func jumpOver(first, last protocol.Event) protocol.Event {
	from := protocol.Cursor(first.At.Index)
	if j, ok := first.Body.(protocol.Jumped); ok {
		from = j.From
	} else if from > 0 {
		from-- // what was seen for certain
	}
	to := protocol.Cursor(last.At.Index)
	if j, ok := last.Body.(protocol.Jumped); ok {
		to = j.To
	}
	return protocol.Event{At: last.At, Body: protocol.Jumped{From: from, To: to}}
}

func sizeOf(e protocol.Event) int {
	if m, ok := e.Body.(protocol.MessageSent); ok {
		return len(m.Message.Data)
	}
	return 0
}

// SignalSubscription is one reader's view of the signals. Next is for one goroutine.
type SignalSubscription struct {
	bus   *Bus
	name  string
	queue *queue[protocol.Signal]
}

// Signals starts to collect signals for a reader; the name appears in metrics.
func (b *Bus) Signals(name string) *SignalSubscription {
	s := &SignalSubscription{bus: b, name: name, queue: newQueue[protocol.Signal]()}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.isClosed {
		s.queue.close()
		return s
	}
	b.signals[s] = struct{}{}
	return s
}

// Next waits for signals and returns all that are queued, in the order in which this node learnt of them.
func (s *SignalSubscription) Next(ctx context.Context) ([]protocol.Signal, error) {
	return s.queue.next(ctx)
}

// Close ends the subscription.
func (s *SignalSubscription) Close() {
	s.bus.mu.Lock()
	delete(s.bus.signals, s)
	s.bus.mu.Unlock()
	s.queue.close()
}

// add drops the new signal when the reader is behind: what is ephemeral is not worth waiting for.
func (s *SignalSubscription) add(sig protocol.Signal) {
	dropped := false
	s.queue.update(func(items []protocol.Signal) []protocol.Signal {
		if len(items) >= s.bus.cfg.QueueSignals {
			dropped = true
			return items
		}
		return append(items, sig)
	})
	if dropped {
		s.bus.metrics.dropped.WithLabelValues(s.name, "signal").Inc()
	}
}
