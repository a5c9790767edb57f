package quicport

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"

	"github.com/quic-go/quic-go"

	"teamtalk/gateway/transport"
)

// gate decides about clients that knock. A datagram can lie about its address, and a handshake costs two round trips and a signature; so above a number of
// handshakes at a time a client has to prove its address first, by one round trip that costs the server no memory, and above others
// it is refused [TT-QUIC-7].
type gate struct {
	limits  Limits
	metrics *metrics

	mu          sync.Mutex // guards what follows
	connections int        // handshakes included
	handshakes  int
	byAddress   map[netip.Prefix]int // handshakes
	peers       int                  // connections of the PeerProtocol
}

func newGate(limits Limits, m *metrics) *gate {
	return &gate{limits: limits, metrics: m, byAddress: make(map[netip.Prefix]int)}
}

var errRefused = errors.New("quicport: refused")

// mustValidate reports whether a client has to prove its address. One that has proved it already is not asked.
func (g *gate) mustValidate(a net.Addr) bool {
	from := origin(a)
	g.mu.Lock()
	must := g.handshakes >= g.limits.ValidateAbove || g.byAddress[from] >= g.limits.HandshakesPerAddress/2
	g.mu.Unlock()
	if must {
		g.metrics.retries.Inc()
	}
	return must
}

// admit counts a connection that begins its handshake, until ctx ends with it, or refuses it.
func (g *gate) admit(ctx context.Context, client *quic.ClientInfo) (context.Context, error) {
	a := &attempt{gate: g, from: origin(client.RemoteAddr)}
	if reason := g.enter(a.from); reason != "" {
		g.metrics.refused.WithLabelValues(reason).Inc()
		return nil, errRefused
	}
	context.AfterFunc(ctx, a.ended)
	return context.WithValue(ctx, attemptKey{}, a), nil
}

func (g *gate) enter(from netip.Prefix) (refused string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.connections >= g.limits.Connections:
		return refusedConnections
	case g.handshakes >= g.limits.Handshakes:
		return refusedHandshakes
	case g.byAddress[from] >= g.limits.HandshakesPerAddress:
		return refusedAddress
	}
	g.connections++
	g.handshakes++
	g.byAddress[from]++
	g.metrics.open.Set(float64(g.connections))
	return ""
}

// attempt is a connection that the gate counts.
type attempt struct {
	gate *gate
	from netip.Prefix

	// What follows is guarded by the gate's mu.
	done  bool   // with the handshake
	peer  bool   // it speaks the PeerProtocol
	grown uint64 // bytes by which its window is larger than at first
}

type attemptKey struct{}

// established notes that a connection's handshake is done.
func established(qc *quic.Conn) {
	a, ok := qc.Context().Value(attemptKey{}).(*attempt)
	if !ok {
		return
	}
	a.gate.mu.Lock()
	defer a.gate.mu.Unlock()
	a.leaveHandshakeLocked()
}

func (a *attempt) ended() {
	g := a.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	if !a.done {
		g.metrics.failed.Inc()
		a.leaveHandshakeLocked()
	}
	if a.peer {
		g.peers--
	}
	g.connections--
	g.metrics.open.Set(float64(g.connections))
}

func (a *attempt) leaveHandshakeLocked() {
	if a.done {
		return
	}
	a.done = true
	g := a.gate
	g.handshakes--
	if g.byAddress[a.from]--; g.byAddress[a.from] == 0 {
		delete(g.byAddress, a.from)
	}
}

// origin is whom a datagram is counted for; the zero Prefix if it has no address.
func origin(a net.Addr) netip.Prefix {
	u, ok := a.(*net.UDPAddr)
	if !ok {
		return netip.Prefix{}
	}
	return transport.PlaceOf(u.AddrPort().Addr())
}
