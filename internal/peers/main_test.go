package peers

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"teamtalk/internal/obs"
	"teamtalk/internal/peers/authority"
	"teamtalk/protocol"
)

// wait is far more than anything here takes.
const wait = 30 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a cluster's authority, time and membership.
type world struct {
	authority *authority.Authority

	mu      sync.Mutex // guards what follows
	ahead   time.Duration
	members map[protocol.NodeID]string
	removed map[protocol.NodeID]bool
}

func newWorld(t testing.TB) *world {
	t.Helper()
	a, err := authority.New(authority.ClusterID{1, 2, 3}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return &world{authority: a, members: map[protocol.NodeID]string{}, removed: map[protocol.NodeID]bool{}}
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.ahead)
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ahead += d
}

func (w *world) resolve() map[protocol.NodeID]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.members)
}

func (w *world) place(id protocol.NodeID, address string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.members[id] = address
}

func (w *world) isRemoved(id protocol.NodeID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.removed[id]
}

func (w *world) remove(id protocol.NodeID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.removed[id] = true
}

func (w *world) identity(t testing.TB, id protocol.NodeID, life time.Duration) *authority.Identity {
	t.Helper()
	i, err := w.authority.Identify(id, w.now(), life)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// logs keeps what is logged.
type logs struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logs) logger() *slog.Logger {
	if os.Getenv("PEERS_LOG") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// config is that of a node on loopback, with times short enough for tests.
func (w *world) config(t testing.TB, id *authority.Identity, l *logs) Config {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return Config{Listener: listener, Identity: id, Removed: w.isRemoved, Resolve: w.resolve, Version: "test", Logger: l.logger(), Clock: w.now,
		Registerer: prometheus.NewRegistry(), Tuning: Tuning{Members: 10 * time.Millisecond, Backoff: 5 * time.Millisecond, BackoffMost: 50 * time.Millisecond}}
}

// open is a port that is closed with the test. It is no member.
func (w *world) open(t testing.TB, id protocol.NodeID, change func(*Config)) (*Port, *logs) {
	t.Helper()
	l := new(logs)
	cfg := w.config(t, w.identity(t, id, 0), l)
	if change != nil {
		change(&cfg)
	}
	p, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p, l
}

// node is a member with a mesh.
type node struct {
	*Mesh
	port  *Port
	logs  *logs
	links chan string // "n2 up"
}

func (w *world) join(t testing.TB, id protocol.NodeID, h Handler, change func(*Config), changeMesh func(*MeshConfig)) *node {
	t.Helper()
	n := &node{links: make(chan string, 1000)}
	n.port, n.logs = w.open(t, id, change)
	cfg := MeshConfig{Handler: h, Links: func(peer protocol.NodeID, up bool) {
		word := "down"
		if up {
			word = "up"
		}
		n.links <- fmt.Sprintf("%s %s", peer, word)
	}}
	if changeMesh != nil {
		changeMesh(&cfg)
	}
	m, err := n.port.OpenMesh(cfg)
	if err != nil {
		t.Fatal(err)
	}
	n.Mesh = m
	t.Cleanup(m.Close)
	w.place(id, n.port.cfg.Advertise)
	return n
}

// expect waits for the next news of links.
func (n *node) expect(t testing.TB, want string) {
	t.Helper()
	select {
	case got := <-n.links:
		if got != want {
			t.Fatalf("node %s: %s, want %s", n.port.Node(), got, want)
		}
	case <-time.After(wait):
		t.Fatalf("node %s: waited in vain for %s; %+v", n.port.Node(), want, n.Peers())
	}
}

func echo(_ context.Context, _ protocol.NodeID, _ uint8, payload []byte) ([]byte, error) {
	return payload, nil
}

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	t.Cleanup(cancel)
	return ctx
}

// metric reads one of a port's metrics, 0 if it is not there: "refused_total{reason=\"foreign\"}".
func (p *Port) metric(t testing.TB, name string) float64 {
	t.Helper()
	r := httptest.NewRecorder()
	obs.MetricsHandler(p.cfg.Registerer.(*prometheus.Registry)).ServeHTTP(r, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for line := range strings.Lines(r.Body.String()) {
		if value, ok := strings.CutPrefix(line, "teamtalk_peers_"+name+" "); ok {
			f, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return f
		}
	}
	return 0
}

// eventually waits for a condition that other goroutines bring about.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(wait)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}
