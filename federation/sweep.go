package federation

import (
	"context"
	"slices"
	"sync"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

const (
	sweepLeast  = time.Hour        // it is swept at least that often
	sweepQueued = time.Minute      // it is swept at most that often because something was queued while something else is due later
	sweepBurst  = 16               // commands in a row, if there is much to do
	retrySweep  = 10 * time.Second // after it failed
	lookEvery   = 10 * time.Second // at whether peers were changed on another node
	tidyEvery   = time.Minute      // keys and endpoints
	searchAfter = 10 * time.Minute // the directory for searches is forgotten when nobody has searched that long
)

// talk looks after all that is not a link's own: it sweeps, keeps the manifest right, and reads the signals that are for people abroad. It ends with ctx.
func (m *Manager) talk(ctx context.Context) {
	var wg sync.WaitGroup
	if m.cfg.Signals != nil {
		wg.Go(func() { m.readSignals(ctx) }) // ends with ctx
	}
	m.tend(ctx)
	wg.Wait()
}

// observe notes what concerns the sweeper and the links' attendants. It never blocks.
func (m *Manager) observe(events []protocol.Event) {
	for i := range events {
		switch events[i].Body.(type) {
		case protocol.FederationQueued, protocol.Jumped:
			m.ops.queued.Store(true)
		}
	}
}

// changed has the links and the sweeper follow what an operator has changed.
func (m *Manager) changed() {
	m.ops.edited.Store(true)
	m.poke()
}

// sweeper is when there is something to do again.
type sweeper struct {
	due     time.Time // zero: nothing is waiting
	last    time.Time // that it was swept, or tried to be
	looked  time.Time // that the peers were looked at
	peers   uint64    // the sum of their records' versions then
	tidied  time.Time
	reached []string // the configuration's endpoints when that was
}

// tend sweeps while this node leads [FED-AGE-1] [FED-OUT-3].
func (m *Manager) tend(ctx context.Context) {
	t := time.NewTicker(m.cfg.Timing.Tick)
	defer t.Stop()
	var s sweeper
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		m.ops.people.forget(time.Now())
		if !m.leads() {
			s = sweeper{}
			continue
		}
		if err := m.sweep(ctx, &s); err != nil && ctx.Err() == nil {
			m.log.Warn("what is due for other clusters can't be done; it is tried again", "error", err)
			s.due = time.Now().Add(retrySweep)
		}
		if err := m.tidy(ctx, &s, time.Now()); err != nil && ctx.Err() == nil {
			m.log.Warn("this cluster's manifest can't be brought up to date; it is tried again", "error", err)
		}
	}
}

// sweep does what is due, or what may be because something was queued or changed.
func (m *Manager) sweep(ctx context.Context, s *sweeper) error {
	now := time.Now()
	edited := m.ops.edited.Swap(false)
	if now.Sub(s.looked) >= lookEvery {
		sum, err := m.peerVersions()
		if err != nil {
			return err
		}
		edited = edited || sum != s.peers
		s.looked, s.peers = now, sum
	}
	idle := s.due.IsZero()
	switch {
	case edited, now.Sub(s.last) >= sweepLeast:
	case m.ops.queued.Load() && (idle || now.Sub(s.last) >= sweepQueued): // it may be due before what is known
	case !idle && !now.Before(s.due):
	default:
		return nil
	}
	m.ops.queued.Store(false)
	s.last = now
	for range sweepBurst {
		got, err := m.cfg.State.Execute(ctx, &protocol.SweepFederation{})
		if err != nil {
			return err
		}
		res, _ := got.(protocol.SweepResult)
		s.due = time.Time{}
		if res.Next != 0 {
			s.due = res.Next.Std()
		}
		if res.Next == 0 || s.due.After(now) {
			return nil
		}
	}
	return nil
}

// peerVersions changes with any peer's record.
func (m *Manager) peerVersions() (sum uint64, err error) {
	peers, err := m.cfg.State.FedPeers()
	for i := range peers {
		sum += uint64(peers[i].Peer.Version)
	}
	return sum, err
}

// tidy takes former keys out of the manifest when their time is over, and has it say where this cluster is reached, unless an operator has said so. The
// configuration has to say the same twice: a node that restarts is no news.
func (m *Manager) tidy(ctx context.Context, s *sweeper, now time.Time) error {
	if now.Sub(s.tidied) < tidyEvery {
		return nil
	}
	s.tidied = now
	reached := m.configured()
	settled := slices.Equal(reached, s.reached)
	s.reached = reached
	id, mf, err := m.working()
	if err != nil {
		return err
	}
	moved := func(id *fed.Identity, mf *fed.Manifest) bool {
		return settled && !id.Fixed && len(reached) > 0 && !slices.Equal(reached, mf.Endpoints)
	}
	if !outdated(id, now) && !moved(id, &mf) {
		return nil
	}
	return m.editIdentity(ctx, func(id *fed.Identity, mf *fed.Manifest) error {
		outdated(id, now)
		if moved(id, mf) {
			mf.Endpoints = reached
		}
		m.log.Info("this cluster's manifest is brought up to date", "endpoints", mf.Endpoints, "keys", len(id.Keys))
		return nil
	})
}
