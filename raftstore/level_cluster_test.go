package raftstore_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"teamtalk/protocol"
	"teamtalk/raftstore"
	"teamtalk/raftstore/state"
)

// levelMessage is one that every version knows.
func levelMessage() protocol.Command {
	return &protocol.SendMessage{From: 1, To: protocol.WithUser(2), Type: protocol.MsgSingleText, Data: []byte("one")}
}

// trio is a cluster of three stores without anything around them.
type trio struct {
	*testing.T
	members []raftstore.Member
	dirs    map[raftstore.NodeID]string
	nodes   map[raftstore.NodeID]*state.Store
	trans   map[raftstore.NodeID]*raft.InmemTransport
	fatal   chan error
}

func newTrio(t *testing.T) *trio {
	c := &trio{T: t, dirs: map[raftstore.NodeID]string{}, nodes: map[raftstore.NodeID]*state.Store{}, trans: map[raftstore.NodeID]*raft.InmemTransport{}, fatal: make(chan error, 9)}
	for _, id := range []raftstore.NodeID{"n1", "n2", "n3"} {
		c.members = append(c.members, raftstore.Member{ID: id, Address: string(id)})
		c.dirs[id] = filepath.Join(t.TempDir(), "data")
	}
	t.Cleanup(func() {
		for id := range c.nodes {
			c.halt(id)
		}
	})
	return c
}

func (c *trio) start(id raftstore.NodeID, highest protocol.Level) {
	c.Helper()
	_, trans := raft.NewInmemTransportWithTimeout(raft.ServerAddress(id), 5*time.Second)
	for other, t := range c.trans {
		t.Connect(raft.ServerAddress(id), trans)
		trans.Connect(raft.ServerAddress(other), t)
	}
	s, err := state.Open(c.Context(), state.Config{HighestLevel: highest, Config: raftstore.Config{Dir: c.dirs[id], NodeID: id, Transport: trans, Bootstrap: c.members,
		Version: "test", Fatal: func(err error) { c.fatal <- err },
		Tuning: raftstore.Tuning{MapSize: 1 << 28, Heartbeat: 500 * time.Millisecond, LeaderWait: 10 * time.Second, TrailingLogs: 1, StreamHold: time.Millisecond}}})
	if err != nil {
		c.Fatal(err)
	}
	c.nodes[id], c.trans[id] = s, trans
}

func (c *trio) halt(id raftstore.NodeID) {
	c.Helper()
	c.trans[id].DisconnectAll()
	for _, t := range c.trans {
		t.Disconnect(raft.ServerAddress(id))
	}
	if err := c.nodes[id].Close(); err != nil {
		c.Error(err)
	}
	delete(c.nodes, id)
	delete(c.trans, id)
}

func (c *trio) eventually(what string, cond func() bool) {
	c.Helper()
	deadline := time.After(30 * time.Second)
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

// do has the leader execute a command.
func (c *trio) do(cmd protocol.Command) {
	c.Helper()
	c.eventually("a command to be executed", func() bool {
		for _, s := range c.nodes {
			if _, leads := s.Head(); !leads || s.Ready() != nil {
				continue
			}
			_, err := s.Execute(c.Context(), cmd)
			if err != nil && protocol.CodeOf(err) != protocol.CodeUnavailable {
				c.Fatal(err)
			}
			return err == nil
		}
		return false
	})
}

// raiseWithout raises the level while n3 is away, and has the logs forget it; all were held at a level before.
func (c *trio) raiseWithout(before protocol.Level) {
	c.Helper()
	for _, m := range c.members {
		c.start(m.ID, before)
	}
	c.do(&protocol.AddUsers{Users: []protocol.NewUser{{User: protocol.User{Name: "a"}}, {User: protocol.User{Name: "b"}}}})
	c.do(levelMessage())
	for _, m := range c.members {
		c.eventually("all to be equal", func() bool { return c.nodes[m.ID].Applied() >= c.nodes["n1"].Applied() })
	}
	for _, m := range c.members {
		c.halt(m.ID)
	}
	c.start("n1", state.Level)
	c.start("n2", state.Level)
	c.do(&protocol.RaiseLevel{To: state.Level})
	var raised protocol.Cursor
	for _, s := range c.nodes {
		raised = max(raised, s.Applied())
	}
	for range 20 {
		c.do(levelMessage())
	}
	c.do(&protocol.DeleteMessage{Actor: 1, Session: protocol.WithUser(2), ID: 1, Deletion: protocol.Recalled, Within: 1e6})
	for _, s := range c.nodes {
		c.eventually("the log to be short", func() bool {
			if err := s.Engine().Snapshot(c.Context()); err != nil {
				c.Fatal(err)
			}
			stats, err := s.Engine().Stats()
			return err == nil && stats.FirstLog > uint64(raised) && s.Level() == state.Level
		})
	}
}

// TestLevelInASnapshot: the level was raised while a node was away, and the log does not have that any more. It gets it with the snapshot.
func TestLevelInASnapshot(t *testing.T) {
	c := newTrio(t)
	c.raiseWithout(state.Level)
	c.start("n3", state.Level)
	c.eventually("the level on the node that was away", func() bool { return c.nodes["n3"].Level() == state.Level })
	if len(c.fatal) > 0 {
		t.Error(<-c.fatal)
	}
}

// TestSnapshotAboveTheProgram: so a node of the version before can't go on.
func TestSnapshotAboveTheProgram(t *testing.T) {
	c := newTrio(t)
	c.raiseWithout(1)
	c.start("n3", 1)
	c.eventually("an end of that node", func() bool { return len(c.fatal) > 0 })
	if err := <-c.fatal; !errors.As(err, new(*state.LevelError)) || !strings.Contains(err.Error(), "install a snapshot") {
		t.Errorf("it stops with: %v", err)
	}
	if l := c.nodes["n3"].Level(); l != 1 {
		t.Errorf("it is at level %d", l)
	}
}
