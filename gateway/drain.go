package gateway

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/pb/sessionpb"
	"teamtalk/protocol/pdu"
)

const (
	drainPace = 500                    // clients a second: less than a node can take that they all come to
	drainLook = 100 * time.Millisecond // how often it is looked who is left
)

// Drain moves this node's clients to other nodes and returns nil when no session is left; Sessions counts them meanwhile. From its beginning on nobody
// logs in or resumes here, and Availability is NotReady, also after it has returned nil. If ctx ends first, the node takes clients again.
//
// So many clients a second, 500 if pace is 0, are sent away: extended ones by DRAIN with the endpoints, which are asked for anew for each of them, in a
// random order; nil tells none. Those that have not gone in Timing.Drain get BYE{DRAINING}. COMPAT: legacy ones know no such word. Their requests are
// answered and the connection closed, upon which they come back by themselves, after seconds: iOS and Mac ask /msg_server where to, Android does when
// trying again here has come to nothing for half a minute, and Windows keeps to the address it was told [TT-SESS-24].
func (srv *Server) Drain(ctx context.Context, pace float64, endpoints func() []string) error {
	if !srv.life.draining.TryLock() {
		return protocol.Errorf(protocol.CodeInvalid, "this node is being drained already")
	}
	defer srv.life.draining.Unlock()
	if pace <= 0 {
		pace = drainPace
	}
	srv.sessions.setDraining(true)
	began, first := time.Now(), srv.sessions.count()
	srv.log.Info("draining: clients are sent to other nodes", "sessions", first, "pace", pace)
	d := &drain{srv: srv, endpoints: endpoints}
	if err := d.run(ctx, time.Duration(float64(time.Second)/pace)); err != nil {
		srv.sessions.setDraining(false)
		srv.log.Warn("draining given up: clients are taken again", "left", srv.sessions.count(), "after", time.Since(began).Round(time.Millisecond))
		return fmt.Errorf("gateway: drain: %w", err)
	}
	srv.log.Info("drained: no session is left", "sent", first, "told", d.informed, "ended", d.ended, "after", time.Since(began).Round(time.Millisecond))
	return nil
}

// TakeAgain has a node take clients again whose Drain has returned nil.
func (srv *Server) TakeAgain() {
	srv.sessions.setDraining(false)
	srv.log.Info("clients are taken again after a drain")
}

// Sessions is the number of sessions that are logged in here.
func (srv *Server) Sessions() int { return srv.sessions.count() }

// drain is a Drain under way.
type drain struct {
	srv       *Server
	endpoints func() []string
	informed  int
	ended     int // because they had not gone in time, or are legacy ones
	told      []told
}

// told is an extended session that has been told to go.
type told struct {
	session *session
	by      time.Time
}

// run sends all sessions away, one every pause: nobody can come meanwhile.
func (d *drain) run(ctx context.Context, pause time.Duration) error {
	pacer := time.NewTicker(max(pause, time.Microsecond))
	defer pacer.Stop()
	for _, s := range d.srv.sessions.everybody(nil, nil) {
		if s.hasEnded() {
			continue
		}
		select {
		case <-pacer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		d.endOverdue(time.Now())
		d.send(s)
	}
	look := time.NewTicker(drainLook)
	defer look.Stop()
	for d.srv.sessions.count() > 0 {
		select {
		case now := <-look.C:
			d.endOverdue(now)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// send sends one session away. Its requests are answered, whatever becomes of it.
func (d *drain) send(s *session) {
	if s.ext == nil {
		d.end(s)
		return
	}
	within := math.Ceil(d.srv.timing.Drain.Seconds())
	m := &sessionpb.Drain{WithinS: uint32(within)}
	if d.endpoints != nil {
		m.Endpoints = slices.Clone(d.endpoints())
		rand.Shuffle(len(m.Endpoints), func(i, j int) { m.Endpoints[i], m.Endpoints[j] = m.Endpoints[j], m.Endpoints[i] })
	}
	if s.out.push(d.srv.appendPush(nil, pdu.CmdDrain, m), 1) == queued { // else BYE will tell it, in time
		d.srv.metrics.out(pdu.CmdDrain, 1)
		d.informed++
	}
	d.told = append(d.told, told{s, time.Now().Add(time.Duration(within) * time.Second)})
}

// endOverdue ends the sessions that should have gone by now: no faster than they were told to.
func (d *drain) endOverdue(now time.Time) {
	for len(d.told) > 0 && !now.Before(d.told[0].by) {
		d.end(d.told[0].session)
		d.told[0] = told{}
		d.told = d.told[1:]
	}
}

func (d *drain) end(s *session) {
	if s.end(ending{reason: reasonDrained, code: protocol.CodeDraining}) {
		d.ended++
	}
}

// refuseDraining sends a client that says HELLO to another node.
func (s *session) refuseDraining() {
	s.srv.metrics.refused.WithLabelValues(string(refusedDraining)).Inc()
	s.end(ending{reason: reasonDrained, code: protocol.CodeDraining, hurry: true})
}
