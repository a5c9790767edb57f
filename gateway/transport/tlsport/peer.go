package tlsport

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"slices"
	"sync"
)

// PeerProtocol is a protocol beside those of clients, with certificates of its own: whose connections are not sessions.
type PeerProtocol struct {
	ALPN string
	// TLS is asked in each handshake of a client that names the protocol; what it says about ALPN does not count. An error ends the handshake.
	TLS func() (*tls.Config, error)
	// Handle serves a connection, on a goroutine of its own; when it returns the connection is closed. The certificates are those that the other side showed.
	Handle func(c net.Conn, certificates []*x509.Certificate)
	Most   int // connections at a time; 0: 256. One more is closed after its handshake
}

const defaultPeers = 256

// peers are the connections of the PeerProtocol.
type peers struct {
	*PeerProtocol
	handlers sync.WaitGroup

	mu      sync.Mutex // guards what follows
	conns   map[net.Conn]struct{}
	stopped bool
}

func newPeers(p *PeerProtocol) *peers {
	if p == nil {
		return nil
	}
	own := *p
	if own.Most <= 0 {
		own.Most = defaultPeers
	}
	return &peers{PeerProtocol: &own, conns: make(map[net.Conn]struct{})}
}

// configure has clients that name the protocol see its certificates, and everybody else what others sees to.
func (p *peers) configure(others *tls.Config) {
	next := others.GetConfigForClient
	others.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if slices.Contains(hello.SupportedProtos, p.ALPN) {
			return p.config()
		}
		if next == nil {
			return nil, nil
		}
		return next(hello)
	}
}

func (p *peers) config() (*tls.Config, error) {
	conf, err := p.TLS()
	if err != nil {
		return nil, err
	}
	conf = conf.Clone()
	conf.NextProtos = []string{p.ALPN}
	return conf, nil
}

// spawn serves a connection, or says why not; then it is the caller's to close.
func (p *peers) spawn(c net.Conn, certificates []*x509.Certificate) (refused outcome) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.stopped:
		return stopping
	case len(p.conns) >= p.Most:
		return full
	}
	p.conns[c] = struct{}{}
	p.handlers.Go(func() { // ends with its connection; joined by close
		defer p.forget(c)
		p.Handle(c, certificates)
	})
	return ""
}

func (p *peers) forget(c net.Conn) {
	p.mu.Lock()
	delete(p.conns, c)
	p.mu.Unlock()
	_ = c.Close() // nobody is left who could do anything about an error
}

// stop takes no more connections; nil has none.
func (p *peers) stop() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
}

// close stops, breaks the connections and waits for their handlers.
func (p *peers) close() {
	if p == nil {
		return
	}
	p.stop()
	p.mu.Lock()
	for c := range p.conns {
		_ = c.Close() // its handler notices
	}
	p.mu.Unlock()
	p.handlers.Wait()
}

// peerConn is a connection of the PeerProtocol, which nobody can hold up by taking no goodbye.
type peerConn struct {
	*tls.Conn
	wire *wire
}

// Close says goodbye and closes.
func (c *peerConn) Close() error {
	c.wire.hasten()
	return c.Conn.Close()
}
