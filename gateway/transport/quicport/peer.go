package quicport

import (
	"context"
	"crypto/tls"
	"slices"

	"github.com/quic-go/quic-go"

	"teamtalk/protocol"
)

// PeerProtocol is a protocol beside those of clients, with certificates of its own: whose connections are not sessions.
type PeerProtocol struct {
	ALPN string
	// TLS is asked in each handshake of a client that names the protocol; what it says about ALPN does not count. An error ends the handshake.
	TLS func() (*tls.Config, error)
	// Handle serves a connection, on a goroutine of its own; when it returns the connection is closed.
	Handle func(*quic.Conn)
	Most   int // connections at a time; 0: 256. One more is closed after its handshake
}

const (
	defaultPeers = 256

	// peerUniStreams is what the other side of a peer's connection may open. Who speaks which protocol is known only when the limits have been told, so they are
	// everybody's; windows, however, grow later, and those of clients not as far.
	peerUniStreams    = 17
	maxPeerStream     = 4 << 20
	maxPeerConnection = 16 << 20
)

// configurePeer has clients that name the protocol see its certificates, and everybody else what others sees to.
func configurePeer(p *PeerProtocol, others *tls.Config) {
	next := others.GetConfigForClient
	others.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		switch {
		case slices.Contains(hello.SupportedProtos, p.ALPN):
			conf, err := p.TLS()
			if err != nil {
				return nil, err
			}
			conf = conf.Clone()
			conf.NextProtos = []string{p.ALPN}
			return conf, nil
		case next != nil:
			return next(hello)
		}
		return nil, nil
	}
}

// allowPeers makes room for what peers send, and leaves clients what they had.
func allowPeers(conf *quic.Config) {
	conf.MaxIncomingUniStreams = max(conf.MaxIncomingUniStreams, peerUniStreams)
	conf.MaxStreamReceiveWindow, conf.MaxConnectionReceiveWindow = maxPeerStream, maxPeerConnection
	conf.AllowConnectionWindowIncrease = func(qc *quic.Conn, delta uint64) bool {
		a, ok := qc.Context().Value(attemptKey{}).(*attempt)
		return ok && a.mayGrow(delta)
	}
}

// mayGrow reports whether a connection's window may be larger by delta bytes than it is.
func (a *attempt) mayGrow(delta uint64) bool {
	a.gate.mu.Lock()
	defer a.gate.mu.Unlock()
	if !a.peer && a.grown+delta > maxConnectionWindow-connectionWindow {
		return false
	}
	a.grown += delta
	return true
}

// enterPeer counts a peer's connection until it ends, unless there are too many.
func (g *gate) enterPeer(qc *quic.Conn, most int) bool {
	a, ok := qc.Context().Value(attemptKey{}).(*attempt)
	if !ok {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.peers >= most {
		return false
	}
	g.peers++
	a.peer = true
	return true
}

// servePeer returns when the connection is done with.
func (p *Port) servePeer(qc *quic.Conn) {
	most := p.peer.Most
	if most <= 0 {
		most = defaultPeers
	}
	if p.sessions.Stopped() {
		closeConn(qc, protocol.CodeDraining)
		return
	}
	if !p.gate.enterPeer(qc, most) {
		p.metrics.refused.WithLabelValues(refusedPeers).Inc()
		closeConn(qc, protocol.CodeOverloaded)
		return
	}
	unbind := context.AfterFunc(p.life, func() { closeConn(qc, protocol.CodeDraining) })
	defer unbind()
	p.peer.Handle(qc)
	closeConn(qc, protocol.CodeUnspecified)
}
