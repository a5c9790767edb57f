package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"teamtalk/internal/obs"
	"teamtalk/internal/peers"
	"teamtalk/internal/peers/authority"
	"teamtalk/protocol"
)

// wait is far more than anything here takes.
const wait = 30 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// group is a replicated log as far as its members go: one truth for all its nodes.
type group struct {
	mu       sync.Mutex // guards what follows
	now      time.Time
	members  []Member
	gone     []protocol.NodeID // members of before
	leader   protocol.NodeID
	term     uint64
	commit   protocol.Cursor
	applied  map[protocol.NodeID]protocol.Cursor
	dead     map[protocol.NodeID]time.Time // since when
	cut      map[[2]protocol.NodeID]bool   // links that are down besides
	managers map[protocol.NodeID]*Manager
	changes  []string // "promote n2"
	broken   []string // changes that took away a majority there was
	fail     error    // of the next change
	refusal  string   // what links to dead nodes say
	proof    uint64   // and what they know besides
}

func newGroup(voters ...protocol.NodeID) *group {
	g := &group{now: time.Unix(1_000_000, 0), term: 1, commit: 1000, applied: map[protocol.NodeID]protocol.Cursor{}, dead: map[protocol.NodeID]time.Time{},
		cut: map[[2]protocol.NodeID]bool{}, managers: map[protocol.NodeID]*Manager{}, leader: voters[0], refusal: "connection refused"}
	for _, id := range voters {
		g.members = append(g.members, Member{ID: id, Address: string(id) + ":7000", Voter: true})
		g.applied[id] = g.commit
	}
	return g
}

func (g *group) clock() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.now
}

func (g *group) pass(d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.now = g.now.Add(d)
}

// follower adds a member without a vote.
func (g *group) follower(id protocol.NodeID, applied protocol.Cursor) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.members = append(g.members, Member{ID: id, Address: string(id) + ":7000"})
	g.applied[id] = applied
}

func (g *group) apply(id protocol.NodeID, at protocol.Cursor) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.applied[id] = at
}

func (g *group) kill(ids ...protocol.NodeID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, id := range ids {
		g.dead[id] = g.now
	}
}

// lead makes another one the leader, "" nobody.
func (g *group) lead(leader protocol.NodeID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.leader = leader
}

func (g *group) history() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return strings.Join(g.changes, ", ")
}

// majority reports whether the living voters can decide. The mutex is held.
func (g *group) majority() bool {
	voters, there := 0, 0
	for _, m := range g.members {
		if m.Voter {
			voters++
			if _, dead := g.dead[m.ID]; !dead {
				there++
			}
		}
	}
	return 2*there > voters
}

// change is what the leader's log does.
func (g *group) change(self protocol.NodeID, what string, do func()) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.leader != self {
		return protocol.Errorf(protocol.CodeUnavailable, "node %s does not lead", self)
	}
	if g.fail != nil {
		err := g.fail
		g.fail = nil
		return err
	}
	before := g.majority()
	do()
	g.changes = append(g.changes, what)
	if before && !g.majority() {
		g.broken = append(g.broken, what)
	}
	return nil
}

// store is one node's view of a group.
type store struct {
	*group
	self protocol.NodeID
}

func (s store) Members() ([]Member, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	members := slices.Clone(s.members)
	for i := range members {
		members[i].Leader = members[i].ID == s.leader
	}
	return members, nil
}

func (s store) Removed(id protocol.NodeID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.gone, id)
}

func (s store) Position() (Position, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Position{Term: s.term, Applied: s.applied[s.self], Commit: s.commit, Last: s.commit}, nil
}

func (s store) AddNonvoter(_ context.Context, id protocol.NodeID, address string) error {
	return s.change(s.self, "add "+address, func() { s.members = append(s.members, Member{ID: id, Address: address}) })
}

func (s store) Promote(_ context.Context, id protocol.NodeID) error {
	return s.change(s.self, "promote "+string(id), func() {
		for i := range s.members {
			if s.members[i].ID == id {
				s.members[i].Voter = true
			}
		}
	})
}

func (s store) Remove(_ context.Context, id protocol.NodeID) error {
	return s.change(s.self, "remove "+string(id), func() {
		s.members = slices.DeleteFunc(s.members, func(m Member) bool { return m.ID == id })
		s.gone = append(s.gone, id)
	})
}

func (s store) SetAddress(_ context.Context, id protocol.NodeID, address string) error {
	return s.change(s.self, "move "+string(id)+" to "+address, func() {
		for i := range s.members {
			if s.members[i].ID == id {
				s.members[i].Address = address
			}
		}
	})
}

func (s store) TransferLeadership(_ context.Context, to protocol.NodeID) error {
	return s.change(s.self, "transfer", func() {
		for _, m := range s.members {
			if _, dead := s.dead[m.ID]; m.Voter && !dead && m.ID != s.self && (to == "" || to == m.ID) {
				s.leader = m.ID
				s.term++
				return
			}
		}
	})
}

// mesh calls the group's other managers at once.
type mesh struct {
	*group
	self protocol.NodeID
}

func (l mesh) linked(to protocol.NodeID) (since time.Time, up bool) {
	if since, dead := l.dead[to]; dead {
		return since, false
	}
	return l.now, !l.cut[[2]protocol.NodeID{l.self, to}] && l.managers[to] != nil
}

func (l mesh) Call(ctx context.Context, to protocol.NodeID, _ peers.Lane, method uint8, payload []byte) ([]byte, error) {
	l.mu.Lock()
	_, up := l.linked(to)
	m := l.managers[to]
	l.mu.Unlock()
	if !up {
		return nil, protocol.Errorf(protocol.CodeUnavailable, "there is no link to node %s", to)
	}
	return m.Handle(ctx, l.self, method, payload)
}

func (l mesh) ForwardJoin(ctx context.Context, to protocol.NodeID, r peers.JoinRequest) (peers.JoinReply, error) {
	l.mu.Lock()
	m := l.managers[to]
	l.mu.Unlock()
	r.By = l.self
	return m.Join(ctx, r)
}

func (l mesh) Peers() []peers.PeerState {
	l.mu.Lock()
	defer l.mu.Unlock()
	var states []peers.PeerState
	for _, m := range l.members {
		if m.ID == l.self {
			continue
		}
		since, up := l.linked(m.ID)
		p := peers.PeerState{Node: m.ID, Address: m.Address, Up: up, Since: since, RTT: 1500 * time.Microsecond}
		if !up {
			p.RTT, p.Error, p.RemovedAt = 0, l.refusal, l.proof
		}
		states = append(states, p)
	}
	return states
}

func (mesh) Refresh() {}

// port notes who was disconnected.
type port struct{ cut chan protocol.NodeID }

func (p port) Disconnect(id protocol.NodeID) { p.cut <- id }

// self is the rest of a node.
type self struct {
	mu       sync.Mutex // guards sessions
	sessions int
	drain    func(context.Context) error
	cuts     chan struct{}
}

func (s *self) Vitals() Vitals {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Vitals{Sessions: s.sessions, FreeDisk: 5 << 30}
}

func (s *self) Drain(ctx context.Context) error { return s.drain(ctx) }

func (s *self) Snapshot(context.Context) error {
	s.cuts <- struct{}{}
	return nil
}

// papers sign anything as their own name.
type papers struct{}

func (papers) Key() []byte                 { return bytes.Repeat([]byte("k"), 32) }
func (papers) Root() authority.Fingerprint { return authority.Fingerprint{1} }
func (papers) Sign(request []byte, node protocol.NodeID) ([]byte, error) {
	if len(request) == 0 {
		return nil, errors.New("empty")
	}
	return []byte("certificate of " + node), nil
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

// node is a manager of a group, whose looks the test does.
type node struct {
	*Manager
	self *self
	port port
	logs *logs
	reg  *prometheus.Registry
}

func (g *group) node(t testing.TB, id protocol.NodeID, change func(*Config)) *node {
	t.Helper()
	n := &node{self: &self{sessions: 3, cuts: make(chan struct{}, 10)}, port: port{make(chan protocol.NodeID, 100)}, logs: &logs{}, reg: prometheus.NewRegistry()}
	cfg := Config{Node: id, Name: "host-" + string(id), Version: "v1", Store: store{g, id}, Local: n.self, Papers: papers{},
		Log: slog.New(slog.NewTextHandler(n.logs, &slog.HandlerOptions{Level: slog.LevelDebug})), Registerer: n.reg, Clock: g.clock}
	if change != nil {
		change(&cfg)
	}
	m, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	n.Manager = m
	m.mesh, m.port = mesh{g, id}, n.port
	g.mu.Lock()
	g.managers[id] = m
	g.mu.Unlock()
	t.Cleanup(m.Close)
	return n
}

// nodes are the managers of all members.
func (g *group) nodes(t testing.TB, change func(*Config)) map[protocol.NodeID]*node {
	all := map[protocol.NodeID]*node{}
	for _, m := range slices.Clone(g.members) {
		all[m.ID] = g.node(t, m.ID, change)
	}
	return all
}

// lookFor lets a manager look at the cluster at each tick of a time.
func (g *group) lookFor(m *Manager, d time.Duration) {
	for ; d > 0; d -= m.cfg.Policy.Tick {
		m.look()
		g.pass(m.cfg.Policy.Tick)
	}
}

func (n *node) metric(t testing.TB, name string) float64 {
	t.Helper()
	r := httptest.NewRecorder()
	obs.MetricsHandler(n.reg).ServeHTTP(r, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for line := range strings.Lines(r.Body.String()) {
		if value, ok := strings.CutPrefix(line, "teamtalk_cluster_"+name+" "); ok {
			f, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return f
		}
	}
	return 0
}

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	t.Cleanup(cancel)
	return ctx
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

func wantCode(t testing.TB, what string, err error, code protocol.Code, text string) {
	t.Helper()
	var e *protocol.Error
	if !errors.As(err, &e) || e.Code != code || !strings.Contains(err.Error(), text) {
		t.Errorf("%s: %v (code %s); want %s with %q", what, err, protocol.CodeOf(err), code, text)
	}
}

func wantHistory(t testing.TB, g *group, want string) {
	t.Helper()
	if got := g.history(); got != want {
		t.Errorf("changes: %s; want %s", got, want)
	}
}

func id(n int) protocol.NodeID { return protocol.NodeID(fmt.Sprintf("n%d", n)) }
