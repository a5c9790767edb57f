package client

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"

	"teamtalk/client/dial"
	"teamtalk/protocol"
)

// saveDelay is how long changes are gathered that are no loss if they are repeated.
const saveDelay = time.Second

// cursorMark travels through the queue behind the events that a cursor completes.
type cursorMark struct {
	at     protocol.Cursor
	beyond map[string]int // what the app has had beyond it
	reset  bool           // there was a gap: forget what was before
}

// keeper owns what is to be resumed, and saves it. Without a Storage it only remembers.
type keeper struct {
	storage Storage
	outbox  func() []Queued
	saved   func() // called when a save has moved the cursor that may be acked
	log     *slog.Logger

	mu     sync.Mutex // guards the rest
	state  Saved      // but Handed, Beyond and Outbox, which are made when it is saved
	handed *seen
	dirty  uint64 // counts changes
	clean  uint64 // changes up to here are saved
	acked  protocol.Cursor
	fault  error         // of the last save
	done   chan struct{} // closed and replaced when a save has ended

	urgent chan struct{} // 1
	lazy   chan struct{} // 1
	over   chan struct{} // closed when nothing is saved any more
}

// newKeeper begins with what was loaded.
func newKeeper(storage Storage, state Saved, log *slog.Logger) *keeper {
	k := &keeper{
		storage: storage, state: state, handed: newSeen(), log: log, done: make(chan struct{}),
		urgent: make(chan struct{}, 1), lazy: make(chan struct{}, 1), over: make(chan struct{}), acked: state.Cursor,
	}
	k.handed.restore(&state)
	k.state.Handed, k.state.Beyond, k.state.Shown, k.state.Outbox = nil, nil, nil, nil
	return k
}

// with changes the state and has it saved soon.
func (k *keeper) with(change func(s *Saved)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change(&k.state)
	k.touchLocked()
}

// look returns the state without what is made when it is saved.
func (k *keeper) look() Saved {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.state.clone()
}

// me is the user; 0 before the first login.
func (k *keeper) me() protocol.UserID {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.state.User
}

// handedOver notes that the app has had an event, or all up to a cursor.
func (k *keeper) handedOver(it item) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if it.event != nil {
		k.handed.fresh(it.event)
		return
	}
	if it.cursor.reset {
		k.handed.reset()
	}
	k.handed.recent = make(map[string]int)
	maps.Copy(k.handed.recent, it.cursor.beyond)
	k.state.Cursor = it.cursor.at
	k.touchLocked()
}

func (k *keeper) touchLocked() {
	k.dirty++
	if k.storage == nil {
		k.acked = k.state.Cursor
		k.saved()
		return
	}
	poke(k.lazy)
}

// touch has the state saved soon.
func (k *keeper) touch() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.touchLocked()
}

// ackable is the cursor up to which everything is handed over and saved [TT-SESS-4].
func (k *keeper) ackable() protocol.Cursor {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.acked
}

// flush waits until everything up to now is saved.
func (k *keeper) flush(ctx context.Context) error {
	if k.storage == nil {
		return nil
	}
	k.mu.Lock()
	k.dirty++
	want := k.dirty
	for {
		done := k.done
		k.mu.Unlock()
		poke(k.urgent)
		select {
		case <-done:
		case <-k.over:
			return ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
		k.mu.Lock()
		if k.clean >= want {
			err := k.fault
			k.mu.Unlock()
			return err
		}
	}
}

// run saves until ctx ends, and then once more.
func (k *keeper) run(ctx context.Context) {
	defer close(k.over)
	if k.storage == nil {
		return
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			k.save()
			return
		case <-k.urgent:
		case <-k.lazy:
			timer.Reset(saveDelay)
			select {
			case <-ctx.Done():
			case <-timer.C:
			case <-k.urgent:
			}
		}
		k.save()
	}
}

// save writes the state as it is now.
func (k *keeper) save() {
	k.mu.Lock()
	upTo := k.dirty
	s := k.state.clone()
	k.handed.export(&s)
	k.mu.Unlock()
	s.Outbox = k.outbox()
	err := k.storage.Save(s)
	if err != nil {
		k.log.Error("session not saved", "error", err)
	}
	k.mu.Lock()
	k.fault, k.clean = err, upTo
	if err == nil {
		k.acked = s.Cursor
	}
	close(k.done)
	k.done = make(chan struct{})
	k.mu.Unlock()
	k.saved()
}

// Load is the winner remembered for a network.
func (k *keeper) Load(network string) (dial.Transport, time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if w := k.state.Winner; w != nil && w.Network == network {
		return w.Transport, w.At
	}
	return "", time.Time{}
}

// Store remembers a winner.
func (k *keeper) Store(network string, t dial.Transport, at time.Time) {
	k.with(func(s *Saved) { s.Winner = &Winner{Network: network, Transport: t, At: at} })
}
