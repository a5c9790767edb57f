package raftstore_test

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/bbolt"

	"teamtalk/protocol"
	"teamtalk/raftstore"
	"teamtalk/raftstore/state"
	"teamtalk/service"
)

const (
	burnWait  = time.Minute
	burnPiece = "burn after reading"
	burnCount = 20
)

// burnNode is a node with the state that messages are in, and somebody who has them burned.
type burnNode struct {
	*state.Store
	id    string
	dir   string
	trans *raft.InmemTransport
	reg   *prometheus.Registry
	stop  context.CancelFunc
	wg    sync.WaitGroup
}

// burnCluster is three of them, one of which may be down.
type burnCluster struct {
	*testing.T
	members []raftstore.Member
	nodes   map[string]*burnNode
}

func newBurnCluster(t *testing.T) *burnCluster {
	c := &burnCluster{T: t, nodes: make(map[string]*burnNode)}
	for i := range 3 {
		id := fmt.Sprintf("n%d", i+1)
		c.members = append(c.members, raftstore.Member{ID: raftstore.NodeID(id), Address: id})
	}
	for _, m := range c.members {
		c.start(string(m.ID), filepath.Join(t.TempDir(), "data"))
	}
	t.Cleanup(func() {
		for _, n := range c.nodes {
			c.halt(n)
		}
	})
	return c
}

func (c *burnCluster) start(id, dir string) {
	c.Helper()
	_, trans := raft.NewInmemTransportWithTimeout(raft.ServerAddress(id), 5*time.Second)
	for _, other := range c.nodes {
		other.trans.Connect(raft.ServerAddress(id), trans)
		trans.Connect(raft.ServerAddress(other.id), other.trans)
	}
	reg := prometheus.NewRegistry()
	s, err := state.Open(c.Context(), state.Config{Config: raftstore.Config{
		Dir: dir, NodeID: raftstore.NodeID(id), Transport: trans, Bootstrap: c.members, Version: "test", Registerer: reg,
		Fatal: func(err error) { c.Errorf("fatal: %v", err) },
		Tuning: raftstore.Tuning{MapSize: 1 << 28, Heartbeat: 500 * time.Millisecond, LeaderWait: 10 * time.Second,
			ForgetWithin: 300 * time.Millisecond},
	}})
	if err != nil {
		c.Fatal(err)
	}
	n := &burnNode{Store: s, id: id, dir: dir, trans: trans, reg: reg}
	burner, err := service.NewBurner(service.BurnerConfig{Store: s, Registerer: reg, Every: 20 * time.Millisecond})
	if err != nil {
		c.Fatal(err)
	}
	var ctx context.Context
	ctx, n.stop = context.WithCancel(context.Background())
	n.wg.Go(func() { // halt ends it
		if err := burner.Run(ctx); err != nil {
			c.Error(err)
		}
	})
	c.nodes[id] = n
}

// halt takes a node down.
func (c *burnCluster) halt(n *burnNode) {
	c.Helper()
	delete(c.nodes, n.id)
	n.trans.DisconnectAll()
	for _, other := range c.nodes {
		other.trans.Disconnect(raft.ServerAddress(n.id))
	}
	n.stop()
	n.wg.Wait()
	if err := n.Close(); err != nil {
		c.Error(err)
	}
}

func (c *burnCluster) eventually(what string, cond func() bool) {
	c.Helper()
	deadline := time.After(burnWait)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			c.Fatalf("waited in vain: %s", what)
		}
	}
}

func (c *burnCluster) leader() (leader *burnNode) {
	c.Helper()
	c.eventually("a leader", func() bool {
		for _, n := range c.nodes {
			if _, leads := n.Head(); leads && n.Ready() == nil {
				leader = n
			}
		}
		return leader != nil
	})
	return leader
}

// do has the leader execute a command, whoever that is.
func (c *burnCluster) do(cmd protocol.Command) {
	c.Helper()
	c.eventually(fmt.Sprintf("%T to be executed", cmd), func() bool {
		_, err := c.leader().Execute(c.Context(), cmd)
		if err != nil && protocol.CodeOf(err) != protocol.CodeUnavailable {
			c.Fatal(err)
		}
		return err == nil
	})
}

// burned wants all messages burned on a node, and nothing but a placeholder left of each.
func (c *burnCluster) burned(n *burnNode) {
	c.Helper()
	c.eventually("all to be burned on "+n.id, func() bool {
		msgs, err := n.History(2, protocol.WithUser(1), 0, 100)
		if err != nil {
			c.Fatal(err)
		}
		burned := 0
		for _, m := range msgs {
			if m.Deleted == protocol.Burned && len(m.Data) == 0 {
				burned++
			}
		}
		return burned == burnCount
	})
}

// TestBurnedEverywhere has the leader go after messages to be burned were read. Those that remain burn them, and have their
// content out of their logs; the one that was away does so, too, when it is back. [TT-DEL-3] [TT-DEL-7]
func TestBurnedEverywhere(t *testing.T) {
	c := newBurnCluster(t)
	c.do(&protocol.RaiseLevel{To: state.Level})
	c.do(&protocol.AddUsers{Users: []protocol.NewUser{{User: protocol.User{Name: "a"}}, {User: protocol.User{Name: "b"}}}})
	for i := range burnCount {
		c.do(&protocol.SendMessage{From: 1, To: protocol.WithUser(2), Type: protocol.MsgSingleText, Data: []byte(burnPiece + strings.Repeat(".", i)),
			ClientMsgID: protocol.ClientMsgID{byte(i + 1)}, Extras: protocol.Extras{BurnAfter: 2}})
	}
	c.do(&protocol.MarkRead{User: 2, Session: protocol.WithUser(1)})
	old := c.leader()
	c.halt(old)
	if holds := logHolds(t, old.dir); !holds {
		t.Fatal("the content was not in the log: the test tests nothing")
	}
	for _, n := range c.nodes {
		c.burned(n)
	}
	c.start(old.id, old.dir)
	c.burned(c.nodes[old.id])
	var dirs []string
	for _, n := range c.nodes {
		c.eventually("the log to be shortened on "+n.id, func() bool {
			return n.gauge(t, "teamtalk_raftstore_log_entries_to_forget") == 0
		})
		dirs = append(dirs, n.dir)
	}
	for _, n := range c.nodes {
		c.halt(n)
	}
	for _, dir := range dirs {
		if logHolds(t, dir) {
			t.Errorf("the content is still in the log in %s", dir)
		}
		if stateHolds(t, dir) {
			t.Errorf("the content is still in the state in %s", dir)
		}
	}
}

// gauge reads a metric of a node.
func (n *burnNode) gauge(t *testing.T, name string) float64 {
	t.Helper()
	all, err := n.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// logHolds looks for the content in all entries of a closed log.
func logHolds(t *testing.T, dir string) (holds bool) {
	t.Helper()
	logs, err := raftboltdb.New(raftboltdb.Options{Path: filepath.Join(dir, "raft.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = logs.Close() }()
	first, err := logs.FirstIndex()
	if err != nil {
		t.Fatal(err)
	}
	last, err := logs.LastIndex()
	if err != nil {
		t.Fatal(err)
	}
	for i := first; i > 0 && i <= last; i++ { // it is empty after a snapshot was installed
		var l raft.Log
		if err := logs.GetLog(i, &l); err != nil {
			t.Fatal(err)
		}
		holds = holds || bytes.Contains(l.Data, []byte(burnPiece))
	}
	return holds
}

// stateHolds looks for the content in all buckets of closed state files.
func stateHolds(t *testing.T, dir string) (holds bool) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "state-*.db"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		db, err := bbolt.Open(f, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		err = db.View(func(tx *bbolt.Tx) error {
			return tx.ForEach(func(_ []byte, b *bbolt.Bucket) error {
				return b.ForEach(func(k, v []byte) error {
					holds = holds || bytes.Contains(k, []byte(burnPiece)) || bytes.Contains(v, []byte(burnPiece))
					return nil
				})
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return holds
}
