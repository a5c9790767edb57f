package blobs

import (
	"bytes"
	"context"
	"crypto/rand"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"teamtalk/bus"
	"teamtalk/internal/peers"
	"teamtalk/internal/peers/authority"
	"teamtalk/protocol"
	"teamtalk/raftstore"
	"teamtalk/raftstore/state"
)

// cluster are three nodes that reach each other over their real ports on loopback. What is replicated is the real state, of which they share one copy.
type cluster struct {
	*testing.T
	store *state.Store
	bus   *bus.Bus
	nodes []*member

	mu sync.Mutex // guards at
	at map[protocol.NodeID]string
}

type member struct {
	*site
	cluster *cluster
	port    *peers.Port
	id      protocol.NodeID
	leads   bool
}

func newCluster(t *testing.T, nodes int) *cluster {
	c := &cluster{T: t, bus: bus.New(bus.Config{}), at: map[protocol.NodeID]string{}}
	var err error
	c.store, err = state.Open(t.Context(), state.Config{Config: raftstore.Config{Dir: t.TempDir(), NodeID: "n1", Publisher: c.bus, Version: "test",
		Logger: slog.New(slog.DiscardHandler), Fatal: func(err error) { t.Error(err) }}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.store.Close(); err != nil {
			t.Error(err)
		}
		c.bus.Close()
	})
	eventually(t, "the state is ready", func() bool { return c.store.Ready() == nil })
	var founding protocol.Cluster
	for _, secret := range [][]byte{founding.ID[:], founding.History[:], founding.TokenKey[:], founding.AddressKey[:]} {
		_, _ = rand.Read(secret)
	}
	c.must(c.store.Execute(t.Context(), &protocol.FoundCluster{Cluster: founding}))
	if err := c.store.RaiseLevel(t.Context(), state.Level); err != nil {
		t.Fatal(err)
	}
	c.must(c.store.Execute(t.Context(), &protocol.AddUsers{Users: []protocol.NewUser{{User: protocol.User{ID: 7, Name: "seven"}}}}))
	papers, err := authority.New(authority.ClusterID{1}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for i := range nodes {
		c.add(papers, protocol.NodeID("n"+string(rune('1'+i))), i == 0)
	}
	for _, m := range c.nodes {
		m.work()
	}
	return c
}

func (c *cluster) must(_ any, err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

// add opens a node's port and makes its Keeper.
func (c *cluster) add(papers *authority.Authority, id protocol.NodeID, leads bool) {
	l, err := new(net.ListenConfig).Listen(c.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		c.Fatal(err)
	}
	identity, err := papers.Identify(id, time.Now(), 0)
	if err != nil {
		c.Fatal(err)
	}
	m := &member{cluster: c, id: id, leads: leads}
	if m.port, err = peers.Open(peers.Config{Listener: l, Identity: identity, Resolve: c.resolve, Logger: slog.New(slog.DiscardHandler)}); err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() {
		if err := m.port.Close(); err != nil {
			c.Error(err)
		}
	})
	c.mu.Lock()
	c.at[id] = l.Addr().String()
	c.mu.Unlock()
	events := c.bus.Subscribe("blobs " + string(id))
	c.Cleanup(events.Close)
	m.site = open(c.T, id, part{c.store, leads}, func(conf *Config) { conf.Nodes, conf.Events, conf.Unused = m, events, time.Hour })
	c.nodes = append(c.nodes, m)
}

func (c *cluster) resolve() map[protocol.NodeID]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := map[protocol.NodeID]string{}
	for id, at := range c.at {
		all[id] = at
	}
	return all
}

// part is the state at a node that leads, or does not.
type part struct {
	*state.Store
	leads bool
}

// Head says which.
func (p part) Head() (protocol.Cursor, bool) {
	head, _ := p.Store.Head()
	return head, p.leads
}

// work has a node do all it does.
func (m *member) work() {
	m.run(m.cluster.T)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { // ended and joined by the clean-up
		if err := m.Serve(ctx, m.port.BlobListener()); err != nil {
			m.cluster.Error(err)
		}
	})
	m.cluster.Cleanup(func() {
		cancel()
		wg.Wait()
	})
}

// Others are all but this one.
func (m *member) Others() map[protocol.NodeID]bool {
	others := map[protocol.NodeID]bool{}
	for id := range m.cluster.resolve() {
		if id != m.id {
			others[id] = true
		}
	}
	return others
}

// Dial is the port's.
func (m *member) Dial(ctx context.Context, node protocol.NodeID) (net.Conn, error) {
	return m.port.DialBlob(ctx, node)
}

// TestThreeNodes: what one stores, two keep and all can read; what no message shows any more vanishes everywhere.
func TestThreeNodes(t *testing.T) {
	c := newCluster(t, 3)
	contents := [][]byte{nil, []byte("x"), random(t, 100_000), random(t, 5<<20)}
	var ids []protocol.BlobID
	for _, content := range contents {
		b := c.nodes[1].bring(t, content)
		if b.Owner != 7 || b.Added == 0 {
			t.Errorf("recorded: %+v", b)
		}
		ids = append(ids, b.ID)
	}
	for i, id := range ids {
		eventually(t, "two nodes have it", func() bool {
			_, holders, err := c.store.Blob(id)
			return err == nil && len(holders) == 2
		})
		for _, m := range c.nodes {
			if got, err := m.read(t.Context(), id); err != nil || !bytes.Equal(got, contents[i]) {
				t.Errorf("%s: %d bytes of %d, %v", m.id, len(got), len(contents[i]), err)
			}
		}
		eventually(t, "all have it", func() bool {
			_, holders, err := c.store.Blob(id)
			return err == nil && slices.Equal(holders, []protocol.NodeID{"n1", "n2", "n3"})
		})
	}
	c.must(c.store.Execute(t.Context(), &protocol.DropBlobs{IDs: ids[1:]}))
	for _, m := range c.nodes {
		eventually(t, string(m.id)+" has removed them", func() bool { return slices.Equal(m.files(t), []string{ids[0].String()}) })
		for _, id := range ids[1:] {
			if _, err := m.Open(t.Context(), id); protocol.CodeOf(err) != protocol.CodeNotFound {
				t.Errorf("%s opens it: %v", m.id, err)
			}
		}
	}
}

// TestQuotaOfTheState: the state machine refuses what is over a quota, and the content is not left.
func TestQuotaOfTheState(t *testing.T) {
	c := newCluster(t, 1)
	k := c.nodes[0]
	k.cfg.UserQuota = 1000
	kept := k.bring(t, random(t, 600))
	if _, err := k.upload(random(t, 600), protocol.Blob{Owner: 7}); protocol.CodeOf(err) != protocol.CodeQuota {
		t.Errorf("over the quota: %v", err)
	}
	if got := k.files(t); !slices.Equal(got, []string{kept.ID.String()}) {
		t.Errorf("left: %v", got)
	}
	if err := k.Room(7, 401); protocol.CodeOf(err) != protocol.CodeQuota {
		t.Errorf("room: %v", err)
	}
	if err := k.Room(7, 400); err != nil {
		t.Error(err)
	}
}

// TestComparisonWithTheState: a file that was never recorded goes, one that is stays; the state takes the command that asks for nothing.
func TestComparisonWithTheState(t *testing.T) {
	c := newCluster(t, 1)
	k := c.nodes[0]
	kept := k.bring(t, []byte("recorded"))
	stray := []byte("stray")
	put(t, k.disk, stray)
	for _, id := range []protocol.BlobID{kept.ID, of(stray).ID} {
		old := time.Now().Add(-2 * time.Hour)
		if err := os.Chtimes(k.disk.path(id), old, old); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.compare(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := k.files(t); !slices.Equal(got, []string{kept.ID.String()}) {
		t.Errorf("left: %v", got)
	}
}
