package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"teamtalk/client/dial"
	"teamtalk/protocol"
	"teamtalk/protocol/pb/sessionpb"
)

const (
	idleTime     = 5 * time.Second // nothing said or heard but heartbeats, before a better transport is looked for
	probeTime    = 20 * time.Second
	probeEvery   = time.Minute
	probeRarely  = time.Hour // once a few probes have failed
	probesOften  = 5
	moveWithin   = 10 * time.Second // for a connection that was found to be taken
	defaultDrain = 10 * time.Second
)

// probes spaces the looks for a better transport, over all connections [TT-SESS-23]: once a minute, after five in vain once an hour, until the
// network changes.
type probes struct {
	failed int
	last   time.Time
}

// due is when to look next; zero: as soon as the session idles.
func (p *probes) due() time.Time {
	switch {
	case p.last.IsZero():
		return time.Time{}
	case p.failed >= probesOften:
		return p.last.Add(probeRarely)
	}
	return p.last.Add(probeEvery)
}

func (p *probes) begun(now time.Time) { p.failed, p.last = p.failed+1, now }

func (p *probes) moved(now time.Time) { p.failed, p.last = 0, now }

// online lets a new connection settle for a minute, unless it is the first.
func (p *probes) online(now time.Time) {
	if !p.last.IsZero() && now.Sub(p.last) > probeRarely {
		p.failed = 0
	}
}

// mover finds the connection that a session goes on with, while it lives: a better one when it idles, another one when its node drains.
type mover struct {
	s *session

	looks  sync.WaitGroup
	end    context.CancelFunc // of the look
	result chan dial.Conn     // 1: what the look came to, nil for nothing; itself nil while nobody looks

	got     dial.Conn // to be moved to as soon as the session is quiet
	until   time.Time // when it is given up, or moved to all the same
	drainAt time.Time // when to look for another node; zero: no need
	drainBy time.Time
}

// results is where a look reports; nil while there is none.
func (m *mover) results() <-chan dial.Conn { return m.result }

// turn begins a look when it is time.
func (m *mover) turn(ctx context.Context, now time.Time) {
	at := m.lookAt()
	if at.IsZero() || now.Before(at) {
		return
	}
	if !m.drainAt.IsZero() {
		m.drainAt = now.Add(time.Second) // if it comes to nothing
		m.look(ctx, func(ctx context.Context) (dial.Conn, error) { return m.s.e.dialer.Race(m.s.l.conn.Route()).Next(ctx) })
		return
	}
	m.s.e.tries.probes.begun(now)
	m.look(ctx, func(ctx context.Context) (dial.Conn, error) { return m.s.e.dialer.Better(ctx, m.s.l.conn.Route()) })
}

// lookAt is when the next look begins; zero: none.
func (m *mover) lookAt() time.Time {
	if m.result != nil || m.got != nil || m.s.replaying || m.s.legacy {
		return time.Time{}
	}
	if !m.drainAt.IsZero() {
		return m.drainAt
	}
	return later(m.s.l.spoke.Add(idleTime), m.s.e.tries.probes.due())
}

// look runs one attempt in a goroutine; stop ends it.
func (m *mover) look(ctx context.Context, find func(context.Context) (dial.Conn, error)) {
	ctx, m.end = context.WithTimeout(ctx, probeTime)
	result := make(chan dial.Conn, 1)
	m.result = result
	log := m.s.e.log
	m.looks.Go(func() {
		conn, err := find(ctx)
		if err != nil {
			log.Debug("no other connection found", "why", err)
			conn = nil
		}
		result <- conn
	})
}

// found takes what a look came to.
func (m *mover) found(conn dial.Conn, now time.Time) {
	m.end()
	m.looks.Wait()
	m.result = nil
	if conn == nil {
		return
	}
	m.got, m.until = conn, now.Add(moveWithin)
	if !m.drainBy.IsZero() {
		m.until = m.drainBy
	}
}

// ready returns the connection to move to, once the session is quiet; a node that drains is left in time even if it is not.
func (m *mover) ready(now time.Time) dial.Conn {
	if m.got == nil {
		return nil
	}
	expired := !now.Before(m.until)
	if m.s.quiet() || expired && !m.drainBy.IsZero() {
		conn := m.got
		m.got = nil
		return conn
	}
	if expired {
		_ = m.got.Close(protocol.CodeUnspecified, "") // never used
		m.got = nil
	}
	return nil
}

// next is when turn or ready have something to do; zero: not by time alone.
func (m *mover) next() time.Time {
	if m.got != nil {
		return m.until
	}
	return m.lookAt()
}

// drain goes elsewhere at some time in the first half of what the server gives, so that not all clients go at once [TT-SESS-22].
func (m *mover) drain(d *sessionpb.Drain, now time.Time) {
	within := time.Duration(d.GetWithinS()) * time.Second
	if within <= 0 {
		within = defaultDrain
	}
	m.s.e.prefer(d.GetEndpoints())
	m.drainAt, m.drainBy = now.Add(rand.N(within/2)), now.Add(within)
}

// rebind moves a connection that can be moved to the network there is now.
func (m *mover) rebind(ctx context.Context) {
	r, ok := m.s.l.conn.(dial.Rebinder)
	if !ok || m.result != nil {
		return
	}
	m.look(ctx, func(ctx context.Context) (dial.Conn, error) {
		if err := r.Rebind(ctx); err != nil {
			return nil, err
		}
		return nil, errors.New("client: still on the same connection")
	})
}

// stop joins the look and closes what it found and nobody took.
func (m *mover) stop() {
	if m.result != nil {
		m.end()
		m.looks.Wait()
		if conn := <-m.result; conn != nil {
			_ = conn.Close(protocol.CodeUnspecified, "") // never used
		}
		m.result = nil
	}
	if m.got != nil {
		_ = m.got.Close(protocol.CodeUnspecified, "") // never used
		m.got = nil
	}
}
