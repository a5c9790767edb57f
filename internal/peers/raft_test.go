package peers

import (
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"teamtalk/protocol"
)

// counter is a state machine that counts.
type counter struct{ n chan int }

func (c counter) Apply(*raft.Log) any {
	n := <-c.n + 1
	c.n <- n
	return n
}
func (counter) Snapshot() (raft.FSMSnapshot, error) { return nil, fmt.Errorf("none") }
func (counter) Restore(io.ReadCloser) error         { return fmt.Errorf("none") }

type raftNode struct {
	*raft.Raft
	port    *Port
	counter counter
}

func (n *raftNode) applied() int {
	got := <-n.counter.n
	n.counter.n <- got
	return got
}

// startRaft runs hashicorp/raft with its own network transport over a port.
func startRaft(t *testing.T, p *Port, servers []raft.Server) *raftNode {
	t.Helper()
	cfg := raft.DefaultConfig()
	cfg.LocalID = raft.ServerID(p.Node())
	cfg.HeartbeatTimeout, cfg.ElectionTimeout, cfg.LeaderLeaseTimeout = time.Second, time.Second, 500*time.Millisecond
	cfg.LogOutput = io.Discard
	transport := raft.NewNetworkTransport(p.RaftLayer(), 3, 5*time.Second, io.Discard)
	store := raft.NewInmemStore()
	n := &raftNode{port: p, counter: counter{make(chan int, 1)}}
	n.counter.n <- 0
	var err error
	if n.Raft, err = raft.NewRaft(cfg, n.counter, store, store, raft.NewInmemSnapshotStore(), transport); err != nil {
		t.Fatal(err)
	}
	if err := n.BootstrapCluster(raft.Configuration{Servers: servers}).Error(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Shutdown().Error(); err != nil {
			t.Error(err)
		}
		transport.Close()
		transport.CloseStreams()
		p.Close()
	})
	return n
}

func TestRaftOverThePort(t *testing.T) {
	w, foreign := newWorld(t), newWorld(t)
	var ports []*Port
	var servers []raft.Server
	for _, id := range []protocol.NodeID{"n1", "n2", "n3"} {
		p, _ := w.open(t, id, nil)
		w.place(id, address(p))
		ports = append(ports, p)
		servers = append(servers, raft.Server{ID: raft.ServerID(id), Address: raft.ServerAddress(address(p))})
	}
	var nodes []*raftNode
	for _, p := range ports {
		nodes = append(nodes, startRaft(t, p, servers))
	}
	leader := func() *raftNode {
		for _, n := range nodes {
			if n.State() == raft.Leader {
				return n
			}
		}
		return nil
	}
	eventually(t, "a leader", func() bool { return leader() != nil })
	const entries = 200
	for range entries {
		eventually(t, "an entry is applied", func() bool {
			l := leader()
			return l != nil && l.Apply([]byte("x"), wait).Error() == nil
		})
	}
	eventually(t, "all is applied everywhere", func() bool { // also what was said to have failed, for its leader was deposed, and was asked for again
		least, most := nodes[0].applied(), nodes[0].applied()
		for _, n := range nodes[1:] {
			least, most = min(least, n.applied()), max(most, n.applied())
		}
		return least >= entries && least == most
	})
	// A fourth one with a foreign certificate wants to lead and is not even heard.
	stranger, _ := foreign.open(t, "n3", nil)
	own := raft.Server{ID: "n3", Address: raft.ServerAddress(address(stranger))}
	alien := startRaft(t, stranger, []raft.Server{servers[0], servers[1], own})
	refused := func(p *Port) int { return p.refusals(t, reasonForeign) + p.refusals(t, reasonHandshake) } // it refuses them too, and may be first
	eventually(t, "the stranger is refused", func() bool { return refused(ports[0]) > 2 && refused(ports[1]) > 2 })
	if alien.State() == raft.Leader {
		t.Error("a stranger was elected")
	}
	eventually(t, "the cluster goes on", func() bool {
		l := leader()
		return l != nil && l.Apply([]byte("x"), wait).Error() == nil
	})
}

// raft's streams are cut with the node's removal.
func TestRaftStreamsOfARemovedNode(t *testing.T) {
	w := newWorld(t)
	a, _ := w.open(t, "n1", nil)
	b, _ := w.open(t, "n2", nil)
	go func() {
		for {
			c, err := a.RaftLayer().Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(io.Discard, c); c.Close() }()
		}
	}()
	c, err := b.RaftLayer().Dial(raft.ServerAddress(address(a)), wait)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	w.remove("n2")
	a.Disconnect("n2")
	c.SetReadDeadline(time.Now().Add(wait))
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("still connected")
	}
	if _, err := b.RaftLayer().Dial(raft.ServerAddress(address(a)), wait); err == nil {
		t.Error("let in again")
	}
}

// TestStalledQuestion: between questions there may be silence, but whoever stops in the middle of one is given up.
func TestStalledQuestion(t *testing.T) {
	w := newWorld(t)
	a, _ := w.open(t, "n1", nil)
	b, _ := w.open(t, "n2", func(c *Config) { c.Tuning.Stall = 100 * time.Millisecond })
	w.place("n1", address(a))
	w.place("n2", address(b))
	asker, err := a.RaftLayer().Dial(raft.ServerAddress(address(b)), wait)
	if err != nil {
		t.Fatal(err)
	}
	defer asker.Close()
	c, err := b.RaftLayer().Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got := make([]byte, 1)
	for _, question := range []string{"x", "y"} {
		read := make(chan error, 1)
		go func() { // ends with what is said below
			_, err := c.Read(got)
			read <- err
		}()
		select {
		case err := <-read:
			t.Fatal("silence between questions was not borne:", err)
		case <-time.After(500 * time.Millisecond): // five times as long as it may last within one
		}
		if _, err := asker.Write([]byte(question)); err != nil {
			t.Fatal(err)
		}
		if err := <-read; err != nil || string(got) != question {
			t.Fatal(err, got)
		}
		if _, err := c.Write([]byte("answer")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := asker.Write([]byte("z")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, got); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(got); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("half a question: %v", err)
	}
}
