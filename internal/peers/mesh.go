package peers

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"teamtalk/internal/peers/authority"
	"teamtalk/internal/peers/rpc"
	"teamtalk/protocol"
)

// The words of package rpc that users of this package need.
type (
	// Lane is what a call travels by.
	Lane = rpc.Lane
	// Handler answers calls.
	Handler = rpc.Handler
	// Call is a call that was started.
	Call = rpc.Call
)

// The lanes.
const (
	LanePropose = rpc.LanePropose
	LaneSignal  = rpc.LaneSignal
	LaneControl = rpc.LaneControl
)

// Accepted says that the call whose context this is has its place in its lane's order; see rpc.Accepted.
func Accepted(ctx context.Context) { rpc.Accepted(ctx) }

// Methods from here on are this package's own.
const (
	FirstReserved uint8 = 240
	methodRenew   uint8 = 240
	methodJoin    uint8 = 241
)

// MeshConfig says what a Mesh does with what it gets. Handler is needed.
type MeshConfig struct {
	// Handler answers calls of methods below FirstReserved. Each lane of each node is served in order, and a lane that was dialled anew
	// only when all handlers of the broken one have returned: they have to look at their context.
	Handler Handler
	// Links is told each time a link to a node goes up or down, in order for each node; nil tells nobody. It delays only its own
	// link, and must not wait for Close.
	Links func(peer protocol.NodeID, up bool)
	// Refused is told each time a link can't be made because the node's machine is there and nobody listens at the node's address: its
	// process has ended, or there is something between that pretends so. It comes between a Links of the node and the next; nil tells
	// nobody.
	Refused func(peer protocol.NodeID)
	// Sign gives a node a certificate (PEM) for its request, if it may have one; nil signs none. See authority.Authority.Sign.
	Sign func(ctx context.Context, node protocol.NodeID, request []byte) ([]byte, error)
	// Renewed is told that this node's identity has got a new certificate, to write it down; nil tells nobody. Its error is logged.
	Renewed func(*authority.Identity) error
}

// Mesh are the calls between this node and all others.
type Mesh struct {
	port *Port
	cfg  MeshConfig
	ctx  context.Context // ends with Close
	stop context.CancelFunc
	wg   sync.WaitGroup
	poke chan struct{}

	mu       sync.Mutex // guards what follows
	peers    map[protocol.NodeID]*peer
	followed chan struct{} // closed after the next look at the members
	serving  map[servingKey]*serving
}

// OpenMesh begins to hold links to the members and to answer their calls. A Port has one Mesh.
func (p *Port) OpenMesh(cfg MeshConfig) (*Mesh, error) {
	if cfg.Handler == nil {
		return nil, errors.New("no handler given")
	}
	if cfg.Links == nil {
		cfg.Links = func(protocol.NodeID, bool) {}
	}
	if cfg.Refused == nil {
		cfg.Refused = func(protocol.NodeID) {}
	}
	m := &Mesh{port: p, cfg: cfg, poke: make(chan struct{}, 1), peers: map[protocol.NodeID]*peer{}, serving: map[servingKey]*serving{}, followed: make(chan struct{})}
	m.ctx, m.stop = context.WithCancel(context.Background())
	p.mu.Lock()
	taken := p.node != nil
	if !taken {
		p.node = m.serve
	}
	p.mu.Unlock()
	if taken {
		m.stop()
		return nil, errors.New("the port has a mesh already")
	}
	// Both are stopped by Close.
	m.wg.Go(m.watch)
	m.wg.Go(m.renew)
	return m, nil
}

// Close takes all links down, lets handlers that are at work still answer for a moment, and waits for all of it.
func (m *Mesh) Close() {
	m.port.mu.Lock()
	m.port.node = nil
	m.port.mu.Unlock()
	m.mu.Lock()
	m.stop() // under the mutex, so that no serve is added to the group after it
	m.mu.Unlock()
	m.wg.Wait()
}

// Refresh looks at the members again, at once.
func (m *Mesh) Refresh() {
	select {
	case m.poke <- struct{}{}:
	default:
	}
}

// watch starts and stops peers as members come and go.
func (m *Mesh) watch() {
	t := time.NewTicker(m.port.cfg.Tuning.Members)
	defer t.Stop()
	for {
		m.follow(m.port.cfg.Resolve())
		select {
		case <-m.ctx.Done():
			m.follow(nil)
			return
		case <-t.C:
		case <-m.poke:
		}
	}
}

// follow makes the peers those of members, and returns when those who left are gone.
func (m *Mesh) follow(members map[protocol.NodeID]string) {
	var left []*peer
	m.mu.Lock()
	for id, p := range m.peers {
		if _, stays := members[id]; !stays {
			left = append(left, p)
			delete(m.peers, id)
		}
	}
	for id, address := range members {
		if id == m.port.Node() || address == "" {
			continue
		}
		p := m.peers[id]
		if p == nil {
			p = newPeer(m, id, address)
			m.peers[id] = p
		}
		p.move(address)
	}
	close(m.followed)
	m.followed = make(chan struct{})
	m.mu.Unlock()
	for _, p := range left {
		p.close()
		m.port.metrics.forget(p.id)
	}
}

// peer finds a member, even one since a moment ago: whoever calls it may know more than the last look at the members.
func (m *Mesh) peer(ctx context.Context, id protocol.NodeID) (*peer, error) {
	for range 2 { // the first look to end may have begun before this call
		m.mu.Lock()
		p, followed := m.peers[id], m.followed
		m.mu.Unlock()
		if p != nil {
			return p, nil
		}
		if _, member := m.port.cfg.Resolve()[id]; !member || id == m.port.Node() {
			break
		}
		m.Refresh()
		select {
		case <-followed:
		case <-m.ctx.Done():
		case <-ctx.Done():
		}
	}
	m.mu.Lock()
	p := m.peers[id]
	m.mu.Unlock()
	if p == nil {
		return nil, protocol.Errorf(protocol.CodeUnavailable, "node %q is not reachable: it is no other member of this cluster", id)
	}
	return p, nil
}

// Start queues a call and returns; calls of a lane are handed over in the order in which they were started. It dials if need be, and
// waits while too much is under way. The context's deadline travels along. The payload must not be changed any more.
func (m *Mesh) Start(ctx context.Context, to protocol.NodeID, lane Lane, method uint8, payload []byte) (*Call, error) {
	c, err := m.lane(ctx, to, lane)
	if err != nil {
		return nil, err
	}
	return c.Start(ctx, method, payload)
}

// Call is Start and the call's Wait. Errors are of type *protocol.Error: the handler's, or CodeUnavailable, with OutcomeUnknown set if
// the call may have been carried out.
func (m *Mesh) Call(ctx context.Context, to protocol.NodeID, lane Lane, method uint8, payload []byte) ([]byte, error) {
	c, err := m.lane(ctx, to, lane)
	if err != nil {
		return nil, err
	}
	return c.Call(ctx, method, payload)
}

// Send queues a call that nobody waits for; it is lost without notice if the connection breaks, which the link's down tells. It waits
// as Start does.
func (m *Mesh) Send(ctx context.Context, to protocol.NodeID, lane Lane, method uint8, payload []byte) error {
	c, err := m.lane(ctx, to, lane)
	if err != nil {
		return err
	}
	return c.Send(ctx, method, payload)
}

func (m *Mesh) lane(ctx context.Context, to protocol.NodeID, which Lane) (*rpc.Client, error) {
	p, err := m.peer(ctx, to)
	if err != nil {
		return nil, err
	}
	l := p.lane(which)
	if l == nil {
		return nil, protocol.Errorf(protocol.CodeInvalid, "there is no %s", which)
	}
	return l.use(ctx)
}

// Broadcast sends over the signal lane to every node whose link is up, without waiting, and returns the members that did not get it:
// their links are down, or too much is under way to them.
func (m *Mesh) Broadcast(method uint8, payload []byte) (missed []protocol.NodeID) {
	m.mu.Lock()
	peers := slices.Collect(maps.Values(m.peers))
	m.mu.Unlock()
	for _, p := range peers {
		if !p.trySend(method, payload) {
			missed = append(missed, p.id)
		}
	}
	slices.Sort(missed)
	return missed
}

// TrySend sends over the signal lane without waiting, and reports whether it could; see Broadcast.
func (m *Mesh) TrySend(to protocol.NodeID, method uint8, payload []byte) bool {
	m.mu.Lock()
	p := m.peers[to]
	m.mu.Unlock()
	return p != nil && p.trySend(method, payload)
}

// PeerState is what is known about another node.
type PeerState struct {
	Node     protocol.NodeID
	Address  string
	Up       bool
	Since    time.Time     // of the link's last change
	RTT      time.Duration // of the last ping; 0: none yet
	Version  string        // of its program; "" if it never was connected
	Protocol uint16        // newest node protocol it understands
	Error    string        // why the link is down
	// RemovedAt is set if the link is down because that node says this one was removed: how far in the log of the members it is certain of that.
	RemovedAt uint64
}

// Peers are the other members, in order of their ids.
func (m *Mesh) Peers() []PeerState {
	m.mu.Lock()
	peers := slices.Collect(maps.Values(m.peers))
	m.mu.Unlock()
	states := make([]PeerState, 0, len(peers))
	for _, p := range peers {
		states = append(states, p.state())
	}
	slices.SortFunc(states, func(a, b PeerState) int { return cmp.Compare(a.Node, b.Node) })
	return states
}

type servingKey struct {
	node protocol.NodeID
	lane Lane
}

// serving is a lane of another node that is being served.
type serving struct {
	conn  *conn
	stop  context.CancelFunc
	ended chan struct{}
}

// serve answers the calls of a connection until it ends.
func (m *Mesh) serve(c *conn) {
	m.mu.Lock()
	if m.ctx.Err() != nil {
		m.mu.Unlock()
		_ = c.Close()
		return
	}
	m.wg.Add(1)
	m.mu.Unlock()
	defer m.wg.Done()
	ctx, stop := context.WithCancel(m.ctx)
	me := &serving{conn: c, stop: stop, ended: make(chan struct{})}
	var key servingKey
	defer func() {
		stop()
		m.mu.Lock()
		if m.serving[key] == me {
			delete(m.serving, key)
		}
		m.mu.Unlock()
		close(me.ended)
	}()
	err := rpc.Callee{
		Config: m.port.rpcConfig(0), From: c.node, Handler: m.answer, Logger: m.port.log,
		Greeted: func(h rpc.Hello) error {
			key = servingKey{c.node, h.Lane}
			return m.supersede(ctx, key, me)
		},
	}.Serve(ctx, c)
	if m.ctx.Err() == nil {
		m.port.log.Debug("a node's lane ended", "node", c.node, "lane", key.lane.String(), "error", err)
	}
}

// supersede ends the connection that a lane had before and waits for its handlers, so that what comes later is handed over later.
func (m *Mesh) supersede(ctx context.Context, key servingKey, me *serving) error {
	m.mu.Lock()
	before := m.serving[key]
	m.serving[key] = me
	m.mu.Unlock()
	if before == nil {
		return nil
	}
	before.stop()
	_ = before.conn.Close() // the caller has given it up: no farewell
	<-before.ended
	return ctx.Err()
}

func (m *Mesh) answer(ctx context.Context, from protocol.NodeID, method uint8, payload []byte) ([]byte, error) {
	switch {
	case method == methodRenew:
		return m.signFor(ctx, from, payload)
	case method == methodJoin:
		return m.letInFor(ctx, from, payload)
	case method >= FirstReserved:
		return nil, protocol.Errorf(protocol.CodeInvalid, "this node does not know method %d", method)
	}
	return m.cfg.Handler(ctx, from, method, payload)
}

func (p *Port) rpcConfig(lane Lane) rpc.Config {
	t := p.cfg.Tuning
	return rpc.Config{
		Hello:     rpc.Hello{Program: p.cfg.Version, Min: protocolMin, Max: protocolMax, Lane: lane, Slots: t.Slots, Largest: t.Largest},
		Handshake: t.Handshake, Ping: t.Ping, Idle: 10 * t.Ping,
	}
}

// result is what a call's end is called in metrics.
func result(err error) string {
	var e *protocol.Error
	switch {
	case err == nil:
		return "answered"
	case protocol.IsOutcomeUnknown(err):
		return "unknown"
	case errors.As(err, &e) && e.Code == protocol.CodeUnavailable:
		return "unsent"
	}
	return "failed"
}

func counted(calls *prometheus.CounterVec, id protocol.NodeID, lane Lane) func(bool, error) {
	by := map[string]prometheus.Counter{}
	for _, r := range []string{"answered", "failed", "unsent", "unknown"} {
		by[r] = calls.WithLabelValues(string(id), lane.String(), r)
	}
	return func(_ bool, err error) { by[result(err)].Inc() }
}
