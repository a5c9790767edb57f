package peers

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"teamtalk/protocol"
)

// Port is where a node is reached by others and from where it reaches them.
type Port struct {
	cfg     Config
	metrics *metrics
	books   *books
	raft    *RaftLayer
	log     *slog.Logger
	quiet   limiter
	ctx     context.Context // ends with Close
	stop    context.CancelFunc
	wg      sync.WaitGroup

	mu   sync.Mutex // guards what follows: set when the parts behind the port are there
	node func(*conn)
	join func(*conn)
	lets JoinHandler
	blob *BlobListener
}

// Open begins to accept. Calls from nodes are refused as not ready until there is a Mesh, joining ones until ServeJoin.
func Open(cfg Config) (*Port, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cfg.setDefaults()
	m := newMetrics(cfg.Registerer, cfg.Identity.Expires)
	p := &Port{cfg: cfg, metrics: m, log: cfg.Logger.With("part", "peers")}
	p.books = newBooks(m, map[string]int{alpnRaft: cfg.Tuning.PerNode, alpnNode: cfg.Tuning.PerNode, alpnJoin: cfg.Tuning.Joins,
		alpnBlob: cfg.Tuning.PerNode})
	p.ctx, p.stop = context.WithCancel(context.Background())
	p.raft = newRaftLayer(p)
	// Stopped by Close, which closes the listener.
	p.wg.Go(p.accept)
	return p, nil
}

// Close stops accepting, ends all connections and waits for what served them. A Mesh has to be closed before.
func (p *Port) Close() error {
	p.stop()
	err := p.cfg.Listener.Close()
	p.raft.end()
	p.endBlobs()
	known, raw := p.books.close()
	for _, c := range raw {
		c.Close()
	}
	for _, c := range known {
		_ = c.Close()
	}
	p.wg.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Disconnect ends all connections with a node, to be called when it is removed.
func (p *Port) Disconnect(node protocol.NodeID) {
	for _, c := range p.books.of(node) {
		_ = c.Close()
	}
}

// Connected reports whether a connection that the node made to this one for raft is open.
func (p *Port) Connected(node protocol.NodeID) bool { return p.books.hosts(visitor{node, alpnRaft}) }

// Node is this node.
func (p *Port) Node() protocol.NodeID { return p.cfg.Identity.Node() }

func (p *Port) accept() {
	for p.ctx.Err() == nil {
		c, err := p.cfg.Listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// Mostly too many open files: more of them helps nobody.
			p.log.Warn("can't accept a connection from another node", "error", err)
			select {
			case <-p.ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		pushed, ok := p.books.arrive(c, p.cfg.Tuning.Handshakes)
		if !ok {
			c.Close()
			return
		}
		if pushed != nil {
			pushed.Close()
		}
		// Ends by the handshake's time limit, then with the connection, which Close closes.
		p.wg.Go(func() { p.serve(c) })
	}
}

// serve is the life of an accepted connection.
func (p *Port) serve(raw net.Conn) {
	var g guest
	t := tls.Server(raw, p.serverTLS(&g))
	ctx, cancel := context.WithTimeout(p.ctx, p.cfg.Tuning.Handshake)
	err := t.HandshakeContext(ctx)
	cancel()
	stayed := p.books.leave(raw)
	if err != nil {
		p.refuse(raw, &g, err, stayed)
		raw.Close()
		return
	}
	setUserTimeout(raw, userTimeout(g.alpn))
	next := p.next(&g)
	var c *conn
	if g.greet == greetGoAhead {
		if c = p.books.enter(t, g.node, g.alpn, true); c == nil {
			g.greet, g.reason, g.err = greetCrowded, reasonCrowded, ErrCrowded
		}
	}
	_ = t.SetWriteDeadline(time.Now().Add(p.cfg.Tuning.Handshake))
	_, err = t.Write(p.greetingFor(&g))
	_ = t.SetWriteDeadline(time.Time{})
	switch {
	case c == nil:
		p.refuse(raw, &g, g.err, true)
		_ = t.Close()
	case err != nil:
		_ = c.Close()
	default:
		next(c)
	}
}

// next is who goes on with a guest; without one it is greeted accordingly.
func (p *Port) next(g *guest) func(*conn) {
	if g.greet != greetGoAhead {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var next func(*conn)
	switch g.alpn {
	case alpnRaft:
		next = p.raft.offer
	case alpnNode:
		next = p.node
	case alpnJoin:
		next = p.join
	case alpnBlob:
		if p.blob != nil {
			next = p.blob.offer
		}
	}
	if next == nil {
		g.greet, g.reason, g.err = greetNotReady, reasonNotReady, ErrNotReady
	}
	return next
}

// refuse counts and logs. What is only early or a connection that broke is no news.
func (p *Port) refuse(c net.Conn, g *guest, err error, stayed bool) {
	if p.ctx.Err() != nil {
		return
	}
	reason := g.reason
	switch {
	case !stayed:
		reason = reasonPushed
	case reason == "":
		reason = reasonHandshake
	}
	p.metrics.refused.WithLabelValues(reason).Inc()
	if reason == reasonNotReady {
		return
	}
	if more, ok := p.quiet.allow(time.Now()); ok {
		p.log.Warn("a connection to the node port was refused", "from", c.RemoteAddr().String(), "node", g.node, "protocol", g.alpn,
			"reason", reason, "error", err, "unlogged", more)
	}
}

// limiter lets a few lines of the log pass in each window of time.
type limiter struct {
	mu      sync.Mutex // guards what follows
	since   time.Time
	passed  int
	swallow int
}

const (
	limiterWindow = 10 * time.Second
	limiterLines  = 20
)

// allow reports whether a line may be written, and how many could not be since the last one.
func (l *limiter) allow(now time.Time) (swallowed int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.since) >= limiterWindow {
		l.since, l.passed = now, 0
	}
	if l.passed >= limiterLines {
		l.swallow++
		return 0, false
	}
	l.passed++
	swallowed, l.swallow = l.swallow, 0
	return swallowed, true
}

// userTimeout is long for what is written to disks: a follower that writes a snapshot to a slow one stops reading for a while.
func userTimeout(alpn string) time.Duration {
	if alpn == alpnRaft || alpn == alpnBlob {
		return 30 * time.Second
	}
	return 5 * time.Second
}
