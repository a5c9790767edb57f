package raftstore

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/bbolt"

	"teamtalk/protocol"
)

const secret = "the content that is to go"

func forgetTuning() Tuning {
	t := clusterTuning()
	t.TrailingLogs = 1 << 20 // raft by itself drops nothing
	t.ForgetWithin = 300 * time.Millisecond
	return t
}

// holdsSecret looks through the entries of a node's log, those in memory too. The command that deletes names the content: a
// toy has no other way; so only whole commands count.
func holdsSecret(t testing.TB, s *Store) bool {
	t.Helper()
	held := false
	look := func(l *raft.Log) {
		if l.Type != raft.LogCommand {
			return
		}
		e, err := decodeEntry(l.Data)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range e.commands {
			held = held || string(c) == secret
		}
	}
	first, err := s.logs.FirstIndex()
	if err != nil {
		t.Fatal(err)
	}
	last, err := s.logs.LastIndex()
	if err != nil {
		t.Fatal(err)
	}
	for i := first; i > 0 && i <= last; i++ {
		var l raft.Log
		if err := s.logs.bolt.GetLog(i, &l); err == nil { // else it was deleted meanwhile
			look(&l)
		}
	}
	s.logs.mu.Lock()
	defer s.logs.mu.Unlock()
	for _, l := range s.logs.recent {
		if l != nil {
			look(l)
		}
	}
	return held
}

// gone waits until no node's log holds the content. [TT-DEL-7]
func (c *testCluster) gone(what string) {
	c.t.Helper()
	for _, n := range c.all() {
		eventually(c.t, what+": the content to leave the log of "+string(n.id), func() bool { return !holdsSecret(c.t, n.Store) })
	}
}

// everywhere waits until all nodes have what the leader has.
func (c *testCluster) everywhere() {
	c.t.Helper()
	head, _ := c.leader().Head()
	for _, n := range c.all() {
		eventually(c.t, string(n.id)+" to catch up", func() bool { return n.Applied() >= min(head, c.leader().Applied()) })
	}
}

// TestDeletedContentLeavesTheLog: also if nothing follows the deletion, and if it is in the same entry as the content.
// [TT-DEL-7]
func TestDeletedContentLeavesTheLog(t *testing.T) {
	c := newCluster(t, 3, forgetTuning())
	for i := range 3 {
		l := c.leader()
		propose(t, l.Store, secret)
		for range 5 * i {
			propose(t, l.Store, "between")
		}
		if !holdsSecret(t, l.Store) {
			t.Fatal("the content is not in the log: the test tests nothing")
		}
		propose(t, l.Store, "delete "+secret) // the last entry
		c.gone(fmt.Sprint("round ", i))
	}
	l := c.leader()
	at := l.submit(encodeEntry(time.Now().UnixMilli(), [][]byte{[]byte(secret), []byte("delete " + secret)}))
	if _, err := at(); err != nil {
		t.Fatal(err)
	}
	c.gone("one entry")
	c.same(map[string]bool{secret: false})
}

// TestForgetWaits: followers that are a little behind find what they need.
func TestForgetWaits(t *testing.T) {
	tuning := forgetTuning()
	tuning.ForgetWithin = time.Hour
	c := newCluster(t, 3, tuning)
	f := c.follower()
	c.cut(f)
	propose(t, c.leader().Store, secret)
	propose(t, c.leader().Store, "delete "+secret)
	c.heal(f)
	c.everywhere()
	c.same(map[string]bool{secret: false})
	if len(f.events.jumps) > 0 {
		t.Error("the follower was given a snapshot")
	}
	for _, n := range c.all() {
		if !holdsSecret(t, n.Store) || n.toForget() == 0 {
			t.Errorf("%s has dropped the content at once", n.id)
		}
	}
}

// TestForgetOnANodeThatWasDown: it has the content in its log when it comes back, the deletion it learns of then, from a
// snapshot, as the others have no log any more that reaches back so far. [TT-DEL-7]
func TestForgetOnANodeThatWasDown(t *testing.T) {
	c := newCluster(t, 3, forgetTuning())
	f := c.follower()
	at := propose(t, c.leader().Store, secret)
	eventually(t, "the follower to have it", func() bool { return f.Applied() >= protocol.Cursor(at.Index) })
	c.stop(f)
	propose(t, c.leader().Store, "delete "+secret)
	c.gone("the others")
	f = c.start(f.id, f.dir, nil)
	c.gone("the one that was down")
	c.everywhere()
	if len(f.events.jumps) == 0 {
		t.Error("it got no snapshot: the test tests nothing")
	}
	c.same(map[string]bool{secret: false})
}

// TestForgetAfterRestart: a node that was restarted before the time had come knows what to forget, and does it at once. The
// restarted ones have nothing behind the deletion. [TT-DEL-7]
func TestForgetAfterRestart(t *testing.T) {
	tuning := forgetTuning()
	tuning.ForgetWithin = time.Hour
	c := newCluster(t, 3, tuning)
	propose(t, c.leader().Store, secret)
	propose(t, c.leader().Store, "delete "+secret)
	c.everywhere()
	for _, n := range c.all() {
		c.stop(n)
		c.start(n.id, n.dir, nil)
	}
	c.gone("restarted")
	c.same(map[string]bool{secret: false})
}

// TestForgetAlone is a cluster of one, with its metrics.
func TestForgetAlone(t *testing.T) {
	cfg := single(t, dataPath(t))
	cfg.Tuning = forgetTuning()
	reg := prometheus.NewRegistry()
	cfg.Registerer = reg
	s := open(t, cfg)
	propose(t, s, secret)
	propose(t, s, "delete "+secret)
	eventually(t, "the content to leave the log", func() bool { return !holdsSecret(t, s) })
	eventually(t, "nothing to be left", func() bool { return s.toForget() == 0 })
	propose(t, s, "and on")
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]float64{}
	for _, f := range all {
		m := f.GetMetric()[0]
		seen[f.GetName()] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
	}
	if seen["teamtalk_raftstore_log_forgets_total"] < 1 {
		t.Errorf("metrics are %v", seen)
	}
	if v, ok := seen["teamtalk_raftstore_log_entries_to_forget"]; v != 0 || !ok {
		t.Errorf("metrics are %v", seen)
	}
}

// TestForgetIsHeldByAStream: a follower that is given a snapshot needs what follows it.
func TestForgetIsHeldByAStream(t *testing.T) {
	cfg := single(t, dataPath(t))
	cfg.Tuning = forgetTuning()
	s := open(t, cfg)
	propose(t, s, "before")
	snaps := snapshots(s)
	snaps.stall = wait
	_, r, err := snaps.Open(snapshotID)
	if err != nil {
		t.Fatal(err)
	}
	propose(t, s, secret)
	propose(t, s, "delete "+secret)
	if err := s.forgets.forget(s.fsm.position().forget); err != errStillThere {
		t.Errorf("with a stream: %v", err)
	}
	if !holdsSecret(t, s) {
		t.Error("the log lost what the stream's reader needs")
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	eventually(t, "the content to leave the log", func() bool { return !holdsSecret(t, s) })
}

// TestForgetIsInTheState: a damaged note is an error, as the content would stay.
func TestForgetIsInTheState(t *testing.T) {
	dir := dataPath(t)
	cfg := single(t, dir)
	s := open(t, cfg)
	propose(t, s, secret)
	at := propose(t, s, "delete "+secret)
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	if err := s.WaitApplied(ctx, protocol.Cursor(at.Index)); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	path := dir + "/" + stateName(1)
	edit(t, path, func(tx *bbolt.Tx) error {
		m, err := readMeta(tx)
		if err != nil || m.forget != at.Index || time.Since(time.UnixMilli(m.forgetMs)).Abs() > wait {
			t.Errorf("the state says %+v, %v, want entry %d", m, err, at.Index)
		}
		return tx.Bucket(engineBucket()).Put(keyForget(), bytes.Repeat([]byte{1}, 15))
	})
	openFails(t, single(t, dir), "forgotten", "damaged")
}
