package node

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	evacuationLook = time.Second
	// evacuationSettle is how long things have to be as they are before clients are moved because of it.
	evacuationSettle = 3 * time.Second
)

// evacuation sends the clients to other nodes while this one's disk is full, for nobody can say anything here: what came of a command is learnt from the
// own log, which takes no entries. It takes them again when there is room, or when no other node takes clients: to read is better than nothing.
type evacuation struct {
	refuses   func() bool // what clients say is refused, for the disk is full
	roomy     func() bool // there is enough space again, and more than at the moment when it was refused
	elsewhere func() bool // other nodes take clients
	drain     func(context.Context) error
	takeAgain func() // after drain has returned nil
	log       *slog.Logger

	mu       sync.Mutex // guards what follows
	operator bool       // has drained this node: only he has it take clients again
	away     *away      // nil: clients are here
}

// away is a drain because of the disk.
type away struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error // when done
}

func (n *Node) newEvacuation() *evacuation {
	return &evacuation{refuses: n.store.Engine().Full, roomy: func() bool { return n.store.Ready() == nil }, elsewhere: n.peering.neighbours.take,
		drain:     func(ctx context.Context) error { return n.gateway.Drain(ctx, 0, n.peering.neighbours.elsewhere) },
		takeAgain: n.gateway.TakeAgain, log: n.log}
}

// run looks at the disk until ctx ends.
func (e *evacuation) run(ctx context.Context) error {
	t := time.NewTicker(evacuationLook)
	defer t.Stop()
	var since time.Time // when it began that something is to be done
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			e.mu.Lock()
			e.endLocked()
			e.mu.Unlock()
			return ctx.Err()
		}
		switch now := time.Now(); {
		case !e.wantsChange():
			since = time.Time{}
		case since.IsZero():
			since = now
		case now.Sub(since) >= evacuationSettle:
			since = time.Time{}
			e.change(ctx)
		}
	}
}

func (e *evacuation) wantsChange() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.operator:
		return false
	case e.away != nil:
		return e.roomy() || !e.elsewhere()
	}
	return e.refuses() && e.elsewhere()
}

// change sends the clients away, or takes them again.
func (e *evacuation) change(ctx context.Context) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.operator {
		return
	}
	if e.away != nil {
		e.endLocked()
		e.log.Info("clients are taken again", "room", e.roomy())
		return
	}
	e.log.Error("the disk of this node is full: its clients are sent to other nodes until there is room")
	ctx, cancel := context.WithCancel(ctx)
	a := &away{cancel: cancel, done: make(chan struct{})}
	e.away = a
	go func() { // ended and joined by endLocked
		defer close(a.done)
		a.err = e.drain(ctx)
	}()
}

// endLocked has the node take clients again; where drain was given up, it does so by itself.
func (e *evacuation) endLocked() {
	if e.away == nil {
		return
	}
	e.away.cancel()
	<-e.away.done
	if e.away.err == nil {
		e.takeAgain()
	}
	e.away = nil
}

// byOperator is a drain that an operator wants. It goes before one because of the disk, and stays when there is room.
func (e *evacuation) byOperator(ctx context.Context) error {
	e.mu.Lock()
	e.operator = true
	e.endLocked()
	e.mu.Unlock()
	err := e.drain(ctx)
	if err != nil {
		e.mu.Lock()
		e.operator = false
		e.mu.Unlock()
	}
	return err
}
