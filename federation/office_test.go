package federation

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fxamacker/cbor/v2"

	"teamtalk/bus"
	"teamtalk/internal/simnet"
	"teamtalk/protocol"
	"teamtalk/protocol/fed"
	"teamtalk/raftstore"
	"teamtalk/raftstore/state"
)

// A branch is an office for tests of links: one real store, and as many nodes with managers as a test wants, one of which leads. In a bubble of virtual time, on a
// network in memory, with real TLS.
type branch struct {
	testing.TB
	net      *simnet.Network
	place    *simnet.Host
	id       fed.ClusterID
	identity fed.Identity
	store    *state.Store
	bus      *bus.Bus
	bend     func(net.Conn) net.Conn // nil: connections are as the network makes them
	skew     atomic.Int64            // of its clock, in nanoseconds
	nodes    []*site
}

// A site is one node of a branch.
type site struct {
	branch  *branch
	m       *Manager
	address string
	follows atomic.Bool // it does not lead
	lags    atomic.Bool // it leads, and has not applied what is committed until a command went through its log
	stuck   atomic.Bool // nothing can be committed
	faded   atomic.Bool // as if its machine had lost power
	count   struct{ dialled, accepted atomic.Int64 }
	running sync.WaitGroup
	stop    func()
}

// steered is the state as seen by a node that may not lead.
type steered struct {
	*state.Store
	site *site
}

// Head says who leads.
func (s steered) Head() (protocol.Cursor, bool) {
	head, leads := s.Store.Head()
	return head, leads && !s.site.follows.Load()
}

// FedLanes are what is applied here.
func (s steered) FedLanes(peer fed.ClusterID) ([]fed.LaneStatus, error) {
	if s.site.lags.Load() {
		return nil, nil
	}
	return s.Store.FedLanes(peer)
}

// Start fails while nothing can be committed.
func (s steered) Start(ctx context.Context, c protocol.Command) (protocol.Pending, error) {
	if s.site.stuck.Load() {
		return nil, protocol.Errorf(protocol.CodeUnavailable, "the disk is full")
	}
	return s.Store.Start(ctx, c)
}

// Execute has everything before it be applied here.
func (s steered) Execute(ctx context.Context, c protocol.Command) (any, error) {
	if s.site.m.current() == nil { // it does so before it leads
		s.site.lags.Store(false)
	}
	return s.Store.Execute(ctx, c)
}

// bubble runs a test in virtual time with a network that has a round trip of 90 ms.
func bubble(t *testing.T, run func(t *testing.T, n *simnet.Network)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		run(t, simnet.NewNetwork(simnet.NewLink(1, simnet.Faults{Delay: 45 * time.Millisecond})))
	})
}

func seedOf(branch, purpose byte) [32]byte { return sha256.Sum256([]byte{branch, purpose}) }

func publicKeyOf(seed [32]byte) [32]byte {
	public, _ := ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey)
	return [32]byte(public)
}

func packed(v any) []byte {
	b, err := cbor.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// newBranch founds an office with four people; endpoints are its nodes' addresses.
func newBranch(t testing.TB, n *simnet.Network, i byte, endpoints ...string) *branch {
	t.Helper()
	b := &branch{TB: t, net: n, id: fed.ClusterID(bytes.Repeat([]byte{i}, 16)), bus: bus.New(bus.Config{})}
	if n != nil {
		b.place = n.Host(b.name())
	}
	dir := "/dev/shm/teamtalk-links-" + rand.Text()
	if os.Mkdir(dir, 0o700) != nil {
		dir = t.TempDir()
	}
	var err error
	clock := func() time.Time { return time.Now().Add(time.Duration(b.skew.Load())) }
	b.store, err = state.Open(context.Background(), state.Config{Config: raftstore.Config{Dir: dir + "/s", NodeID: "n1", Publisher: b.bus, Clock: clock, Version: "test",
		Fatal:  func(err error) { t.Errorf("the store of branch %d can't go on: %v", i, err) },
		Tuning: raftstore.Tuning{Heartbeat: 20 * time.Second, CommitTimeout: 10 * time.Second, TrimInterval: time.Hour, LeaderWait: time.Minute}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.store.Close(); err != nil {
			t.Error(err)
		}
		b.bus.Close()
		_ = os.RemoveAll(dir)
	})
	b.until("it leads", func() bool { return b.store.Ready() == nil })
	b.do(&protocol.FoundCluster{Cluster: protocol.Cluster{ID: b.id, History: [16]byte{i}, TokenKey: [32]byte{i}, AddressKey: [32]byte{i}}})
	b.do(&protocol.RaiseLevel{To: 3})
	now := protocol.TimeOf(time.Now())
	b.identity = fed.Identity{Root: seedOf(i, 0), Epoch: 1, History: [16]byte{i},
		Keys: []fed.OwnKey{{Seed: seedOf(i, 1), Purpose: fed.KeyActive, Since: now}, {Seed: seedOf(i, 2), Purpose: fed.KeyNext, Since: now}}}
	b.publish(fed.Manifest{Endpoints: endpoints})
	for u := range 4 {
		b.do(&protocol.AddUsers{Users: []protocol.NewUser{{User: protocol.User{Name: fmt.Sprintf("%s%d", b.name(), u+1), Nick: "N"}}}})
	}
	return b
}

func (b *branch) name() string { return string('a' + rune(b.id[0]) - 1) }

// publish has the next manifest signed and stored.
func (b *branch) publish(m fed.Manifest) {
	b.Helper()
	var after uint64
	if len(b.identity.Manifest.Manifest) > 0 {
		after = b.manifest().Serial
	}
	m.Cluster, m.Root, m.Serial, m.Domain, m.Office = b.id, publicKeyOf(b.identity.Root), after+1, b.name()+".example", "office "+b.name()
	m.Versions, m.Keys = fed.Current(), nil
	for _, k := range b.identity.Keys {
		m.Keys = append(m.Keys, fed.LinkKey{Public: publicKeyOf(k.Seed), Purpose: k.Purpose})
	}
	b.identity.Manifest = fed.SignManifest(&m, ed25519.NewKeyFromSeed(b.identity.Root[:]))
	b.do(&protocol.SetIdentity{Identity: packed(b.identity), After: after})
}

func (b *branch) manifest() fed.Manifest {
	m, err := b.identity.Manifest.Open()
	if err != nil {
		b.Fatal(err)
	}
	return m
}

func (b *branch) do(c protocol.Command) any {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	res, err := b.store.Execute(ctx, c)
	if err != nil {
		b.Fatalf("%T: %v", c, err)
	}
	return res
}

// until waits for a condition, ten minutes at most.
func (b *branch) until(what string, is func() bool) {
	b.Helper()
	for end := time.Now().Add(10 * time.Minute); !is(); <-time.After(20 * time.Millisecond) {
		if time.Now().After(end) {
			b.Fatalf("branch %s: never so: %s", b.name(), what)
		}
	}
}

// rule stores what the branch keeps of another one, changed.
func (b *branch) rule(of *branch, change func(*fed.Peer)) {
	b.Helper()
	next := fed.Peer{Manifest: of.identity.Manifest, State: fed.PeerConfirmed, In: fed.AllowAll, Out: fed.AllowAll}
	if p := b.peer(of.id); p != nil {
		next = p.Peer
	}
	after := next.Version
	change(&next)
	b.do(&protocol.SetPeer{Cluster: of.id, Peer: packed(next), After: after})
}

func (b *branch) peer(id fed.ClusterID) *fed.PeerStatus {
	peers, err := b.store.FedPeers()
	if err != nil {
		b.Fatal(err)
	}
	for i := range peers {
		if peers[i].Cluster == id {
			return &peers[i]
		}
	}
	return nil
}

// befriend links branches with each other.
func befriend(all ...*branch) {
	for _, a := range all {
		for _, b := range all {
			if a != b {
				a.rule(b, func(*fed.Peer) {})
			}
		}
	}
}

// open starts a node with a manager that listens at an address.
func (b *branch) open(address string, follows bool, change ...func(*Config)) *site {
	b.Helper()
	s := &site{branch: b, address: address}
	s.follows.Store(follows)
	events := b.bus.Subscribe("federation")
	cfg := Config{Node: "n1", State: steered{b.store, s}, Events: events, Presence: b.bus.Presence(), Signaler: b.bus, Dialer: s, Program: "test",
		Timing: Timing{Tick: 100 * time.Millisecond}}
	if os.Getenv("TT_LOG") != "" {
		cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("branch", b.name())
	}
	for _, c := range change {
		c(&cfg)
	}
	var err error
	if s.m, err = New(cfg); err != nil {
		b.Fatal(err)
	}
	listener := net.Listener(nil)
	if address != "" {
		if listener, err = b.net.Listen(address); err != nil {
			b.Fatal(err)
		}
		s.serve(listener)
	}
	s.m.Start()
	s.stop = sync.OnceFunc(func() {
		s.m.Close()
		events.Close()
		if listener != nil {
			_ = listener.Close()
		}
		s.running.Wait()
	})
	b.Cleanup(s.stop)
	b.nodes = append(b.nodes, s)
	return s
}

func (s *site) serve(l net.Listener) {
	s.running.Go(func() { // ends with the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.running.Go(func() { s.take(c) }) // ends with the connection
		}
	})
}

// bent is a connection of the branch's as a test wants it.
func (b *branch) bent(c net.Conn) net.Conn {
	if b.bend == nil {
		return c
	}
	return b.bend(c)
}

func (s *site) take(c net.Conn) {
	c = s.branch.bent(c)
	conf, err := s.m.ServerTLS()
	if err != nil {
		_ = c.Close()
		return
	}
	w, certs, err := shaken(context.Background(), tls.Server(c, conf))
	if err != nil {
		return
	}
	s.count.accepted.Add(1)
	s.m.Accept(context.Background(), &fading{Wire: w, site: s, closed: make(chan struct{})}, certs)
}

func shaken(ctx context.Context, c *tls.Conn) (Wire, []*x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := c.HandshakeContext(ctx); err != nil {
		_ = c.Close()
		return nil, nil, err
	}
	return NewStream(c), c.ConnectionState().PeerCertificates, nil
}

// Dial connects in memory.
func (s *site) Dial(ctx context.Context, endpoint, _ string, conf *tls.Config) (Wire, []*x509.Certificate, error) {
	s.count.dialled.Add(1)
	c, err := s.branch.net.DialContext(ctx, "tcp", endpoint)
	if err != nil {
		return nil, nil, err
	}
	w, certs, err := shaken(ctx, tls.Client(s.branch.bent(c), conf))
	if err != nil {
		return nil, nil, err
	}
	return &fading{Wire: w, site: s, closed: make(chan struct{})}, certs, nil
}

// fading is a wire over which nothing goes any more once its site has faded away, and of which nobody else hears.
type fading struct {
	Wire
	site   *site
	once   sync.Once
	closed chan struct{}
}

// Read waits for ever once the site has faded.
func (f *fading) Read() (fed.Frame, error) {
	frame, err := f.Wire.Read()
	if f.site.faded.Load() {
		<-f.closed
		return frame, net.ErrClosed
	}
	return frame, err
}

// Write says nothing once the site has faded.
func (f *fading) Write(lane fed.Lane, frame fed.Frame) error {
	if f.site.faded.Load() {
		return nil
	}
	return f.Wire.Write(lane, frame)
}

// Close tells nobody once the site has faded.
func (f *fading) Close() error {
	f.once.Do(func() { close(f.closed) })
	if f.site.faded.Load() {
		return nil
	}
	return f.Wire.Close()
}

// up reports whether a node has a link.
func (s *site) up(with *branch) bool { return s.m.linkOf(with.id) != nil }

// alias is what a user of another branch is called here.
func (b *branch) alias(of *branch, u protocol.UserID) protocol.UserID {
	b.Helper()
	res, _ := b.do(&protocol.AddAlias{Cluster: of.id, User: uint32(u), Profile: packed(fed.Profile{Login: fmt.Sprintf("%s%d", of.name(), u), Nick: "N", Updated: 1})}).(protocol.AddAliasResult)
	return res.User
}

// say has a user write to another branch's.
func (b *branch) say(from protocol.UserID, to *branch, u protocol.UserID, text string) {
	b.Helper()
	b.do(&protocol.SendMessage{From: from, To: protocol.WithUser(b.alias(to, u)), Type: protocol.MsgSingleText, Data: []byte(text)})
}

// read is what a user has of another branch's, the oldest first.
func (b *branch) read(u protocol.UserID, of *branch, from protocol.UserID) (texts []string) {
	b.Helper()
	alias, err := b.store.AliasOf(fed.UserRef{Cluster: of.id, ID: from})
	if err != nil {
		b.Fatal(err)
	}
	if alias == 0 {
		return nil
	}
	var begin protocol.MsgID
	for {
		msgs, err := b.store.History(u, protocol.WithUser(alias), begin, 100)
		if err != nil {
			b.Fatal(err)
		}
		for _, m := range msgs {
			texts = append([]string{string(m.Data)}, texts...)
		}
		if len(msgs) == 0 || msgs[len(msgs)-1].ID == 1 {
			return texts
		}
		begin = msgs[len(msgs)-1].ID - 1
	}
}

// acked reports whether nothing waits for another branch.
func (b *branch) acked(by *branch) bool {
	lanes, err := b.store.FedLanes(by.id)
	if err != nil {
		b.Fatal(err)
	}
	for _, l := range lanes {
		if l.Acked < l.Sent {
			return false
		}
	}
	return true
}

// numbered are texts from … to, as tests write them.
func numbered(prefix string, n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprint(prefix, i))
	}
	return all
}

var _ Dialer = (*site)(nil)
