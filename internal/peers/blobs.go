package peers

import (
	"context"
	"net"

	"teamtalk/protocol"
)

// BlobListener accepts the streams by which other nodes ask this one for pictures and files.
type BlobListener struct {
	port *Port
	handover
}

var _ net.Listener = (*BlobListener)(nil)

// BlobListener is for the one who answers such streams, of which there is one. Without it they are refused as not ready.
func (p *Port) BlobListener() *BlobListener {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.blob == nil {
		p.blob = &BlobListener{port: p, handover: newHandover(p.cfg.Tuning.Handshake)}
	}
	return p.blob
}

// DialBlob opens such a stream to a member.
func (p *Port) DialBlob(ctx context.Context, node protocol.NodeID) (net.Conn, error) {
	address := p.cfg.Resolve()[node]
	if address == "" {
		return nil, protocol.Errorf(protocol.CodeUnavailable, "node %q is not reachable: it is no member of this cluster", node)
	}
	return p.Dial(ctx, address, node, alpnBlob)
}

// Accept waits for a stream.
func (l *BlobListener) Accept() (net.Conn, error) {
	c, err := l.take()
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Close ends accepting; the port goes on.
func (l *BlobListener) Close() error {
	l.end()
	return nil
}

// Addr is the address this node advertises.
func (l *BlobListener) Addr() net.Addr { return advertised(l.port.cfg.Advertise) }

// endBlobs is for when the port closes.
func (p *Port) endBlobs() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.blob != nil {
		p.blob.end()
	}
}
