package peers

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"time"

	"teamtalk/internal/peers/rpc"
	"teamtalk/protocol"
)

// peer is another node as this one sees it.
type peer struct {
	mesh  *Mesh
	id    protocol.NodeID
	lanes [rpc.Lanes]*lane
	stop  context.CancelFunc
	wg    sync.WaitGroup

	mu      sync.Mutex // guards what follows
	address string
	up      bool
	since   time.Time
	rtt     time.Duration
	hello   rpc.Hello
	err     error
}

func newPeer(m *Mesh, id protocol.NodeID, address string) *peer {
	p := &peer{mesh: m, id: id, address: address, since: time.Now()}
	ctx, stop := context.WithCancel(m.ctx)
	p.stop = stop
	for i := range p.lanes {
		p.lanes[i] = &lane{peer: p, which: Lane(i + 1), ctx: ctx}
	}
	m.port.metrics.up.WithLabelValues(string(id)).Set(0)
	// Stopped by close.
	p.wg.Go(func() { p.keep(ctx) })
	return p
}

// close takes the link down and waits for all that belongs to it.
func (p *peer) close() {
	p.stop()
	p.wg.Wait()
	for _, l := range p.lanes {
		l.close()
	}
}

func (p *peer) move(address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.address = address
}

func (p *peer) lane(which Lane) *lane {
	if which < 1 || int(which) > len(p.lanes) {
		return nil
	}
	return p.lanes[which-1]
}

// keep holds the link up, until ctx ends.
func (p *peer) keep(ctx context.Context) {
	control, signal := p.lane(LaneControl), p.lane(LaneSignal)
	for ctx.Err() == nil {
		c, err := control.use(ctx)
		var s *rpc.Client
		if err == nil {
			s, err = signal.use(ctx)
		}
		if err != nil {
			p.failed(ctx, err)
			continue
		}
		p.turn(true, nil, c.Peer())
		select {
		case <-ctx.Done():
			err = rpc.ErrClosed
		case <-c.Done():
			err = c.Err()
		case <-s.Done():
			err = s.Err()
		}
		// Both, so that between up and down nothing is lost. The propose lane has pings of its own.
		control.hangUp()
		signal.hangUp()
		p.turn(false, err, c.Peer())
	}
}

// failed notes why there is no link, and says so when it is another reason than before. How long to wait is the lanes' business.
func (p *peer) failed(ctx context.Context, err error) {
	p.mu.Lock()
	news := p.err == nil || p.err.Error() != err.Error()
	p.err = err
	p.mu.Unlock()
	if news && ctx.Err() == nil {
		p.mesh.port.log.Warn("can't link to another node", "node", p.id, "error", err)
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		p.mesh.cfg.Refused(p.id)
	}
}

// turn notes that the link is up or down and tells everybody.
func (p *peer) turn(up bool, err error, hello rpc.Hello) {
	p.mu.Lock()
	p.up, p.since, p.err = up, time.Now(), err
	p.hello = hello
	p.mu.Unlock()
	log, gauge := p.mesh.port.log, p.mesh.port.metrics.up.WithLabelValues(string(p.id))
	switch {
	case up:
		gauge.Set(1)
		log.Info("link to another node is up", "node", p.id, "version", hello.Program)
	case errors.Is(err, rpc.ErrClosed):
		gauge.Set(0)
		log.Info("link to another node closed", "node", p.id)
	default:
		gauge.Set(0)
		log.Warn("link to another node is down", "node", p.id, "error", err)
	}
	p.mesh.cfg.Links(p.id, up)
}

func (p *peer) trySend(method uint8, payload []byte) bool {
	c := p.lane(LaneSignal).current()
	reason := "down"
	if c != nil {
		if c.TrySend(method, payload) {
			return true
		}
		if c.Err() == nil {
			reason = "busy"
		}
	}
	p.mesh.port.metrics.dropped.WithLabelValues(string(p.id), reason).Inc()
	return false
}

func (p *peer) state() PeerState {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := PeerState{Node: p.id, Address: p.address, Up: p.up, Since: p.since, RTT: p.rtt, Version: p.hello.Program, Protocol: p.hello.Max}
	if !p.up && p.err != nil {
		s.Error = p.err.Error()
		var removed *RemovedError
		if errors.As(p.err, &removed) {
			s.RemovedAt = removed.At
		}
	}
	return s
}

// eager is how many more attempts follow each other quickly after a failed one: whether the other process is gone shows at once.
const eager = 2

// lane is one lane to a peer; its connection is dialled when it is used.
type lane struct {
	peer  *peer
	which Lane
	ctx   context.Context // ends with the peer

	mu       sync.Mutex // guards what follows
	client   *rpc.Client
	attempt  *attempt // under way
	failures int
	notUntil time.Time // when the next attempt may begin
}

// attempt is one dial that all who need the lane wait for.
type attempt struct {
	done   chan struct{}
	client *rpc.Client
	err    error
}

// current is the connection there is, or nil.
func (l *lane) current() *rpc.Client {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.client != nil && l.client.Err() == nil {
		return l.client
	}
	return nil
}

// use is the connection there is, or that one attempt gives. Errors mean that nothing was sent.
func (l *lane) use(ctx context.Context) (*rpc.Client, error) {
	l.mu.Lock()
	if l.client != nil && l.client.Err() == nil {
		defer l.mu.Unlock()
		return l.client, nil
	}
	if l.ctx.Err() != nil {
		l.mu.Unlock()
		return nil, protocol.Errorf(protocol.CodeUnavailable, "node %s is not reachable: its link is closed", l.peer.id)
	}
	a := l.attempt
	if a == nil {
		a = &attempt{done: make(chan struct{})}
		l.attempt = a
		// Ended by the handshake's limits or by the peer's end; joined by lane.close.
		go l.dial(a, l.client, time.Until(l.notUntil))
	}
	l.mu.Unlock()
	select {
	case <-a.done:
	case <-ctx.Done():
		return nil, protocol.Errorf(protocol.CodeUnavailable, "node %s was not reached in time: %w", l.peer.id, context.Cause(ctx))
	}
	if a.err != nil {
		return nil, protocol.Errorf(protocol.CodeUnavailable, "node %s is not reachable: %w", l.peer.id, a.err)
	}
	return a.client, nil
}

// dial makes one attempt, after a pause if the ones before failed.
func (l *lane) dial(a *attempt, before *rpc.Client, pause time.Duration) {
	if before != nil {
		before.Close()
	}
	begun := time.Now()
	client, err := l.connect(pause)
	t := l.peer.mesh.port.cfg.Tuning
	l.mu.Lock()
	l.attempt, l.client = nil, client
	if err != nil {
		wait := min(t.BackoffMost, t.Backoff<<min(max(l.failures-eager, 0), 16))
		l.failures++
		// Spread, so that nodes that lost the same one do not come back at once.
		l.notUntil = time.Now().Add(wait/2 + rand.N(wait/2+1))
	} else {
		l.failures = 0
		// One that breaks at once is no better than one that fails.
		l.notUntil = begun.Add(t.Backoff)
	}
	a.client, a.err = client, err
	close(a.done)
	l.mu.Unlock()
}

func (l *lane) connect(pause time.Duration) (*rpc.Client, error) {
	if pause > 0 {
		timer := time.NewTimer(pause)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-l.ctx.Done():
			return nil, l.ctx.Err()
		}
	}
	p := l.peer
	port := p.mesh.port
	p.mu.Lock()
	address := p.address
	p.mu.Unlock()
	conn, err := port.dial(l.ctx, address, p.id, alpnNode)
	if err != nil {
		port.metrics.dials.WithLabelValues(string(p.id), l.which.String(), "failed").Inc()
		return nil, err
	}
	cfg := port.rpcConfig(l.which)
	cfg.RTT = l.noteRTT()
	inFlight := port.metrics.inFlight.WithLabelValues(string(p.id), l.which.String())
	count := counted(port.metrics.calls, p.id, l.which)
	cfg.Started = inFlight.Inc
	cfg.Ended = func(awaited bool, err error) {
		inFlight.Dec()
		count(awaited, err)
	}
	client, err := rpc.NewClient(l.ctx, conn, cfg)
	if err != nil {
		port.metrics.dials.WithLabelValues(string(p.id), l.which.String(), "failed").Inc()
		return nil, fmt.Errorf("dial %s: %w", address, err)
	}
	port.metrics.dials.WithLabelValues(string(p.id), l.which.String(), "ok").Inc()
	return client, nil
}

func (l *lane) noteRTT() func(time.Duration) {
	p := l.peer
	seconds := p.mesh.port.metrics.rtt.WithLabelValues(string(p.id), l.which.String())
	return func(d time.Duration) {
		seconds.Observe(d.Seconds())
		if l.which == LaneControl {
			p.mu.Lock()
			p.rtt = d
			p.mu.Unlock()
		}
	}
}

// hangUp ends the connection there is; the next use dials anew.
func (l *lane) hangUp() {
	l.mu.Lock()
	c := l.client
	l.mu.Unlock()
	if c != nil {
		c.Close()
	}
}

// close ends the connection and an attempt that is under way; the lane's context has ended before.
func (l *lane) close() {
	l.mu.Lock()
	a := l.attempt
	l.mu.Unlock()
	if a != nil {
		<-a.done
	}
	l.hangUp()
}
