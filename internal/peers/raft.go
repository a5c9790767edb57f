package peers

import (
	"context"
	"net"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"teamtalk/protocol"
)

// RaftLayer is the port as raft's network transport wants it: a raft.StreamLayer.
type RaftLayer struct {
	port *Port
	handover
}

var _ raft.StreamLayer = (*RaftLayer)(nil)

func newRaftLayer(p *Port) *RaftLayer {
	return &RaftLayer{port: p, handover: newHandover(p.cfg.Tuning.Handshake)}
}

// RaftLayer is for a raft.NetworkTransport, of which there is one.
func (p *Port) RaftLayer() *RaftLayer { return p.raft }

// Accept waits for a node's connection.
func (r *RaftLayer) Accept() (net.Conn, error) {
	c, err := r.take()
	if err != nil {
		return nil, err
	}
	return &asking{conn: c, stall: r.port.cfg.Tuning.Stall}, nil
}

// asking is a connection over which a node asks raft, one question after the other. Between questions there may be silence, but not within one: raft
// does nothing else while it takes in a snapshot, votes included, and would wait for ever for a node that stands still.
type asking struct {
	*conn
	stall time.Duration
	begun atomic.Bool // something came that was not answered yet
	armed bool        // there is a deadline; belongs to the reader
}

// Read reads, for a limited time if the question has begun.
func (a *asking) Read(b []byte) (int, error) {
	begun := a.begun.Load()
	if begun || a.armed {
		var limit time.Time
		if begun {
			limit = time.Now().Add(a.stall)
		}
		if err := a.SetReadDeadline(limit); err != nil {
			return 0, err
		}
		a.armed = begun
	}
	n, err := a.conn.Read(b)
	if n > 0 {
		a.begun.Store(true)
	}
	return n, err
}

// Write answers.
func (a *asking) Write(b []byte) (int, error) {
	a.begun.Store(false)
	return a.conn.Write(b)
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

// Addr is the address this node advertises.
func (r *RaftLayer) Addr() net.Addr { return advertised(r.port.cfg.Advertise) }

// advertised is an address that may have a name in it.
type advertised string

// Network is "tcp".
func (advertised) Network() string { return "tcp" }

// String is host:port.
func (a advertised) String() string { return string(a) }
