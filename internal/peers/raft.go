package peers

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"teamtalk/protocol"
)

// RaftLayer is the port as raft's network transport wants it: a raft.StreamLayer.
type RaftLayer struct {
	port     *Port
	accepted chan *conn
	once     sync.Once
	closed   chan struct{}
}

var _ raft.StreamLayer = (*RaftLayer)(nil)

func newRaftLayer(p *Port) *RaftLayer {
	return &RaftLayer{port: p, accepted: make(chan *conn), closed: make(chan struct{})}
}

// RaftLayer is for a raft.NetworkTransport, of which there is one.
func (p *Port) RaftLayer() *RaftLayer { return p.raft }

// offer gives a connection to whoever accepts, or closes it.
func (r *RaftLayer) offer(c *conn) {
	t := time.NewTimer(r.port.cfg.Tuning.Handshake)
	defer t.Stop()
	select {
	case r.accepted <- c:
	case <-r.closed:
		_ = c.Close()
	case <-t.C:
		// Nobody accepts yet: the other side will try again.
		_ = c.Close()
	}
}

// Accept waits for a node's connection.
func (r *RaftLayer) Accept() (net.Conn, error) {
	select {
	case c := <-r.accepted:
		return c, nil
	case <-r.closed:
		return nil, net.ErrClosed
	}
}

// Dial connects to the node at an address: if it is a member's, that member has to be there.
func (r *RaftLayer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	if timeout <= 0 {
		timeout = 2 * r.port.cfg.Tuning.Handshake
	}
	ctx, cancel := context.WithTimeout(r.port.ctx, timeout)
	defer cancel()
	var want protocol.NodeID
	for node, at := range r.port.cfg.Resolve() {
		if at == string(address) {
			want = node
		}
	}
	return r.port.Dial(ctx, string(address), want, alpnRaft)
}

// Close ends accepting; the port goes on.
func (r *RaftLayer) Close() error {
	r.end()
	return nil
}

func (r *RaftLayer) end() { r.once.Do(func() { close(r.closed) }) }

// Addr is the address this node advertises.
func (r *RaftLayer) Addr() net.Addr { return advertised(r.port.cfg.Advertise) }

// advertised is an address that may have a name in it.
type advertised string

// Network is "tcp".
func (advertised) Network() string { return "tcp" }

// String is host:port.
func (a advertised) String() string { return string(a) }
