//go:build linux

package e2e

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// A balancer is what a company has in front of its nodes: one address, from which requests go to the first node that takes them.
type balancer struct {
	front http.Server
	at    string
	links http.Transport

	mu      sync.Mutex        // guards the rest
	nodes   []string          // host:port, those that are preferred first
	refused []string          // prefixes of paths that it answers itself, with 503
	conns   map[net.Conn]bool // true: it passes nothing any more
	losing  string            // "up": what goes to nodes is lost, "down": what they send; "": nothing is
	lost    int               // bytes
}

// newBalancer starts one; it goes with the test.
func newBalancer(t *testing.T, nodes ...*ClusterNode) *balancer {
	t.Helper()
	b := &balancer{conns: map[net.Conn]bool{}}
	for _, n := range nodes {
		b.nodes = append(b.nodes, net.JoinHostPort(n.Host.IP, clusterHTTP))
	}
	b.links = http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return b.dial(ctx) }}
	quiet := log.New(io.Discard, "", 0) // that nodes go is what is tested
	proxy := &httputil.ReverseProxy{Transport: &b.links, ErrorLog: quiet, FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: "node"})
		r.Out.Host = r.In.Host // the page's origin is the balancer's
	}}
	b.front = http.Server{ReadHeaderTimeout: time.Minute, ErrorLog: quiet, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if b.refuses(r.URL.Path) {
			http.Error(w, "not now", http.StatusServiceUnavailable)
			return
		}
		proxy.ServeHTTP(w, r)
	})}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.at = l.Addr().String()
	var serving sync.WaitGroup
	serving.Go(func() { // ends with Close
		if err := b.front.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		_ = b.front.Close() // there is nobody left to tell
		b.cut()
		b.links.CloseIdleConnections()
		serving.Wait()
	})
	return b
}

// dial connects to the first node that answers.
func (b *balancer) dial(ctx context.Context) (net.Conn, error) {
	b.mu.Lock()
	nodes := b.nodes
	b.mu.Unlock()
	var failed error
	for _, n := range nodes {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", n)
		if err == nil {
			return b.keep(conn), nil
		}
		failed = errors.Join(failed, err)
	}
	return nil, failed
}

// keep notes a connection, so that it can be cut.
func (b *balancer) keep(conn net.Conn) net.Conn {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.conns[conn] = false
	return balanced{conn, b}
}

// balanced is a connection to a node, which the balancer forgets when it ends.
type balanced struct {
	net.Conn
	b *balancer
}

func (c balanced) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if err != nil || !c.b.loses(c.Conn, "down", n) {
			return n, err
		}
	}
}

func (c balanced) Write(p []byte) (int, error) {
	if c.b.loses(c.Conn, "up", len(p)) {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

func (c balanced) Close() error {
	c.b.mu.Lock()
	delete(c.b.conns, c.Conn)
	c.b.mu.Unlock()
	return c.Conn.Close()
}

// lose has it lose what goes one way, "up" to the nodes or "down" from them, until the next cut.
func (b *balancer) lose(way string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.losing, b.lost = way, 0
}

// silence has the connections that there are stay open and pass nothing any more, either way; those that are made later do. It returns how many it silenced.
func (b *balancer) silence() int {
	b.links.CloseIdleConnections() // or the next request would be given one of them
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lost = 0
	for c := range b.conns {
		b.conns[c] = true
	}
	return len(b.conns)
}

// loses counts bytes that are lost now.
func (b *balancer) loses(on net.Conn, way string, n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	lost := b.losing == way || b.conns[on]
	if lost {
		b.lost += n
	}
	return lost
}

// hasLost is how many bytes it has lost since it was told to.
func (b *balancer) hasLost() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lost
}

func (b *balancer) refuses(path string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, prefix := range b.refused {
		if strings.HasPrefix(path, prefix) {
			return true
		}
	}
	return false
}

// refuse has it answer 503 for what begins so from now on, and only for that.
func (b *balancer) refuse(prefixes ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refused = prefixes
}

// prefer changes which node gets what comes from now on.
func (b *balancer) prefer(nodes ...*ClusterNode) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.nodes = nil
	for _, n := range nodes {
		b.nodes = append(b.nodes, net.JoinHostPort(n.Host.IP, clusterHTTP))
	}
}

// cut ends all connections to nodes, WebSockets among them, without a word, and returns how many there were.
func (b *balancer) cut() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.conns {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // a reset
		}
		_ = c.Close()
	}
	n := len(b.conns)
	clear(b.conns)
	b.losing = ""
	return n
}
