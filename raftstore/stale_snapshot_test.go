package raftstore

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"

	"teamtalk/protocol"
)

// rerunTransport keeps the last snapshot that it sent.
type rerunTransport struct {
	*raft.InmemTransport
	mu   sync.Mutex
	id   raft.ServerID
	to   raft.ServerAddress
	req  *raft.InstallSnapshotRequest
	data []byte
}

func (r *rerunTransport) InstallSnapshot(id raft.ServerID, target raft.ServerAddress, req *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	all, err := io.ReadAll(data)
	if err != nil {
		return err
	}
	r.mu.Lock()
	c := *req
	r.id, r.to, r.req, r.data = id, target, &c, all
	r.mu.Unlock()
	return r.InmemTransport.InstallSnapshot(id, target, req, resp, bytes.NewReader(all))
}

func TestStaleSnapshot(t *testing.T) {
	c := &testCluster{t: t, tuning: Tuning{TrailingLogs: 4, TrimInterval: 50 * time.Millisecond, StreamHold: time.Millisecond}, nodes: map[NodeID]*testNode{}}
	var members []Member
	for i := range 3 {
		id := fmt.Sprintf("n%d", i+1)
		members = append(members, Member{NodeID(id), id})
	}
	sent := map[NodeID]*rerunTransport{}
	for _, m := range members {
		_, trans := raft.NewInmemTransportWithTimeout(raft.ServerAddress(m.ID), 5*time.Second)
		w := &rerunTransport{InmemTransport: trans}
		sent[m.ID] = w
		n := &testNode{id: m.ID, dir: dataPath(t), trans: trans, events: &recorder{}}
		cfg := single(t, n.dir)
		cfg.NodeID, cfg.Transport, cfg.Bootstrap, cfg.Tuning, cfg.Publisher = m.ID, w, members, c.tuning, n.events
		for _, other := range c.all() {
			other.trans.Connect(raft.ServerAddress(m.ID), trans)
			trans.Connect(raft.ServerAddress(other.id), other.trans)
		}
		s, err := Open(context.Background(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		n.Store = s
		c.nodes[m.ID] = n
	}
	t.Cleanup(func() {
		for _, n := range c.all() {
			c.cut(n)
		}
		for _, n := range c.all() {
			closeStore(t, n.Store)
		}
	})
	f := c.follower()
	l := c.leader()
	propose(t, l.Store, "first")
	c.cut(f)
	for i := range 60 {
		propose(t, l.Store, fmt.Sprint(i))
	}
	eventually(t, "a short log", func() bool { first, _ := l.logs.FirstIndex(); return first > 40 })
	at := protocol.Position{Index: uint64(l.Applied())}
	c.heal(f)
	eventually(t, "the follower has all", func() bool { return uint64(f.Applied()) >= at.Index })
	w := sent[l.id]
	w.mu.Lock()
	req, data, to, id := w.req, w.data, w.to, w.id
	w.mu.Unlock()
	if req == nil {
		t.Fatal("no snapshot was sent")
	}
	if err := l.raft.Barrier(0).Error(); err != nil { // an entry that is no command, as every election makes one
		t.Fatal(err)
	}
	head, _ := l.logs.LastIndex()
	eventually(t, "the follower has it in its log", func() bool { last, _ := f.logs.LastIndex(); return last >= head })
	last, _ := f.logs.LastIndex()
	t.Logf("follower %s: applied %d, log ends at %d; the snapshot of %d comes once more", f.id, f.Applied(), last, req.LastLogIndex)
	var resp raft.InstallSnapshotResponse
	err := w.InmemTransport.InstallSnapshot(id, to, req, &resp, bytes.NewReader(data))
	last, _ = f.logs.LastIndex()
	t.Logf("answer %+v, %v: applied %d, log ends at %d", resp, err, f.Applied(), last)
	if uint64(f.Applied()) < at.Index {
		t.Errorf("the state went back from %d to %d", at.Index, f.Applied())
	}
	if last < head {
		t.Errorf("the log lost what was acknowledged: it ends at %d, not %d", last, head)
	}
	propose(t, l.Store, "after")
	eventually(t, "the follower goes on", func() bool { return f.Applied() == l.Applied() })
}

// A snapshot that has become older than the state while it was received does not lead it back.
func TestRestoreDoesNotGoBack(t *testing.T) {
	dir := dataPath(t)
	s := open(t, single(t, dir))
	propose(t, s, "first")
	old := s.fsm.position()
	var copied bytes.Buffer
	err := s.View(func(tx *bbolt.Tx) error { _, err := tx.WriteTo(&copied); return err })
	if err != nil {
		t.Fatal(err)
	}
	propose(t, s, "second")
	received := filepath.Join(dir, installName)
	write(t, received, copied.String())
	s.fsm.pendingMu.Lock()
	s.fsm.pending = &install{path: received, meta: old}
	s.fsm.pendingMu.Unlock()
	at := s.Applied()
	if err := s.fsm.Restore(nil); err == nil {
		t.Error("no error")
	}
	if exists(received) {
		t.Error("what was received is still there")
	}
	if err := s.failed(); err != nil {
		t.Error(err)
	}
	propose(t, s, "third")
	if _, values := rows(t, s); len(values) != 3 || s.Applied() <= at {
		t.Errorf("rows are %q, at %d after %d", values, s.Applied(), at)
	}
}
