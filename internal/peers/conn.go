package peers

import (
	"crypto/tls"
	"net"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"teamtalk/protocol"
)

const (
	alpnRaft = "teamtalk-raft/1"
	alpnNode = "teamtalk-node/1"
	alpnJoin = "teamtalk-join/1"
	alpnBlob = "teamtalk-blob/1"
)

// conn is a connection whose other side is known; nobody's in the case of one who joins.
type conn struct {
	*tls.Conn
	node    protocol.NodeID
	alpn    string
	in, out prometheus.Counter
	gone    func()
	once    sync.Once
}

// Read counts.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.in.Add(float64(n))
	return n, err
}

// Write counts.
func (c *conn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.out.Add(float64(n))
	return n, err
}

// Close ends the connection and takes it out of the books.
func (c *conn) Close() error {
	c.once.Do(c.gone)
	return c.Conn.Close()
}

// books are the connections there are.
type books struct {
	metrics *metrics
	most    map[string]int // by protocol: how many one node may have

	mu      sync.Mutex // guards what follows
	closed  bool
	raw     []net.Conn // accepted and in their handshakes, oldest first
	known   map[*conn]bool
	perNode map[visitor]int // accepted ones
}

type visitor struct {
	node protocol.NodeID
	alpn string
}

func newBooks(m *metrics, most map[string]int) *books {
	return &books{metrics: m, most: most, known: map[*conn]bool{}, perNode: map[visitor]int{}}
}

// arrive notes a connection before its handshake, and returns the one that has to make room for it, if any.
func (b *books) arrive(c net.Conn, most int) (pushed net.Conn, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, false
	}
	if len(b.raw) >= most {
		pushed = b.raw[0]
		b.raw = append(b.raw[:0], b.raw[1:]...)
	}
	b.raw = append(b.raw, c)
	return pushed, true
}

// leave ends the time of a connection before its handshake, and reports whether it was not pushed out.
func (b *books) leave(c net.Conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.raw {
		if b.raw[i] == c {
			b.raw = append(b.raw[:i], b.raw[i+1:]...)
			return true
		}
	}
	return false
}

// enter notes a connection after its handshake; nil if that node has too many, or the port is closed.
func (b *books) enter(t *tls.Conn, node protocol.NodeID, alpn string, accepted bool) *conn {
	direction := "out"
	if accepted {
		direction = "in"
	}
	c := &conn{Conn: t, node: node, alpn: alpn, in: b.metrics.bytes.WithLabelValues(string(node), alpn, "in"),
		out: b.metrics.bytes.WithLabelValues(string(node), alpn, "out")}
	v := visitor{node, alpn}
	c.gone = func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.known, c)
		if accepted {
			if b.perNode[v]--; b.perNode[v] == 0 {
				delete(b.perNode, v)
			}
		}
		b.metrics.connections.WithLabelValues(alpn, direction).Dec()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || accepted && b.perNode[v] >= b.most[alpn] {
		return nil
	}
	b.known[c] = true
	if accepted {
		b.perNode[v]++
	}
	b.metrics.connections.WithLabelValues(alpn, direction).Inc()
	return c
}

// of are the connections with a node.
func (b *books) of(node protocol.NodeID) []*conn {
	b.mu.Lock()
	defer b.mu.Unlock()
	var found []*conn
	for c := range b.known {
		if c.node == node {
			found = append(found, c)
		}
	}
	return found
}

// hosts reports whether a connection that was accepted from a visitor is open.
func (b *books) hosts(v visitor) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.perNode[v] > 0
}

// close closes the books and returns what is open.
func (b *books) close() (known []*conn, raw []net.Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	for c := range b.known {
		known = append(known, c)
	}
	return known, slices.Clone(b.raw)
}
