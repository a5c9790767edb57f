package raftstore

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"teamtalk/protocol"
)

var keyHistory = []byte("history")

// renew is what a machine does that has a history id.
func renew(id string) func(*bbolt.Tx) error {
	return func(tx *bbolt.Tx) error { return tx.Bucket(toyMeta).Put(keyHistory, []byte(id)) }
}

func history(t testing.TB, s *Store) (id string) {
	t.Helper()
	err := s.View(func(tx *bbolt.Tx) error {
		id = string(tx.Bucket(toyMeta).Get(keyHistory))
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return id
}

// A backup made while commands are carried out holds all that was acknowledged before it began, and a node made of it works.
func TestBackupWhileWriting(t *testing.T) {
	c := newForwarding(t, 3, clusterTuning())
	f := c.follower()
	f.cfg.ClusterName = func(*bbolt.Tx) (string, error) { return "here", nil }
	stop := c.load(4)
	c.progress(30)
	for range 3 {
		at := propose(t, f.Store, "marked")
		var b bytes.Buffer
		info, err := f.Backup(t.Context(), &b)
		if err != nil {
			t.Fatal(err)
		}
		head, err := ReadBackupInfo(bytes.NewReader(b.Bytes()))
		if err != nil || head != info || info.Cluster != "here" || info.Node != f.id || info.Index < at.Index {
			t.Errorf("the header says %+v, %v, Backup said %+v", head, err, info)
		}
		c.progress(10)
		restored(t, &b, at, info)
	}
	l := stop()
	c.check(l)
}

// restored makes a node of a backup and looks whether it goes on where that ended.
func restored(t *testing.T, b *bytes.Buffer, marked protocol.Position, info BackupInfo) {
	t.Helper()
	dir := dataPath(t)
	to := Rebuild{Node: "r1", Address: "elsewhere", Program: "test", Renew: renew("second")}
	if got, err := RestoreBackup(dir, b, to); err != nil || got != info {
		t.Fatalf("restored %+v, %v, want %+v", got, err, info)
	}
	if _, err := RestoreBackup(dir, b, to); err == nil {
		t.Error("a directory with data was overwritten")
	}
	cfg := Config{Dir: dir, NodeID: "r1", Machine: &toy{}, Version: "test", Fatal: func(err error) { t.Errorf("fatal: %v", err) }}
	for range 2 {
		s := open(t, cfg)
		at := propose(t, s, "more")
		if at.Index <= info.Index || row(t, s, marked) != "marked" || history(t, s) != "second" {
			t.Errorf("goes on at %s after %d, finds %q, history %q", at, info.Index, row(t, s, marked), history(t, s))
		}
		if m, err := s.Members(); err != nil || len(m) != 1 || m[0].ID != "r1" || !m[0].Voter {
			t.Errorf("members are %+v, %v", m, err)
		}
		closeStore(t, s)
	}
}

func TestDamagedBackups(t *testing.T) {
	s := open(t, single(t, dataPath(t)))
	propose(t, s, "x")
	var b bytes.Buffer
	if _, err := s.Backup(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	good := b.Bytes()
	flip := func(at int) []byte {
		bad := bytes.Clone(good)
		bad[at] ^= 1
		return bad
	}
	to := Rebuild{Node: "r1", Address: "r1", Renew: renew("x")}
	for name, bad := range map[string][]byte{
		"empty": {}, "magic": flip(0), "version": flip(8), "length": flip(12), "header": flip(20), "state": flip(len(good) / 2),
		"sum": flip(len(good) - 1), "cut": good[:len(good)-1], "cut early": good[:50], "something else": []byte(strings.Repeat("x", 1000)),
	} {
		dir := dataPath(t)
		if _, err := RestoreBackup(dir, bytes.NewReader(bad), to); err == nil {
			t.Errorf("%s: was taken", name)
		}
		if _, err := RestoreBackup(dir, bytes.NewReader(good), to); err != nil {
			t.Errorf("%s: then the good one is refused: %v", name, err)
		}
	}
	to.Renew = func(*bbolt.Tx) error { return errRefused }
	if _, err := RestoreBackup(dataPath(t), bytes.NewReader(good), to); !errors.Is(err, errRefused) {
		t.Errorf("got %v", err)
	}
	to.Renew = nil
	if _, err := RestoreBackup(dataPath(t), bytes.NewReader(good), to); err == nil {
		t.Error("restored without a new history")
	}
}

func TestBackupEnds(t *testing.T) {
	s := open(t, single(t, dataPath(t)))
	propose(t, s, "x")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Backup(ctx, &bytes.Buffer{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	closeStore(t, s)
	if _, err := s.Backup(t.Context(), &bytes.Buffer{}); protocol.CodeOf(err) != protocol.CodeUnavailable {
		t.Errorf("got %v", err)
	}
}

func FuzzReadBackup(f *testing.F) {
	var b bytes.Buffer
	if err := writeHeader(&b, BackupInfo{Node: "n", Index: 7, Term: 1, Time: time.Unix(1, 0), Size: 3}); err != nil {
		f.Fatal(err)
	}
	f.Add(append(b.Bytes(), make([]byte, 35)...))
	f.Add([]byte(backupMagic + "\x01\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var out bytes.Buffer
		if info, err := readBackup(bytes.NewReader(b), &out); err == nil && int64(out.Len()) != info.Size {
			t.Errorf("%d bytes, said were %d", out.Len(), info.Size)
		}
	})
}

// The majority is lost for good: what this node was told is still there, also what it had not executed yet.
func TestRecover(t *testing.T) {
	c := newForwarding(t, 3, clusterTuning())
	c.leader()
	stop := c.load(4)
	c.progress(30)
	last := c.follower()
	l := stop()
	c.check(l)
	for _, n := range c.all() {
		c.stop(n)
	}
	appendTail(t, last.dir, "acknowledged by others")
	to := Rebuild{Node: last.id, Address: "alone", Program: "test", Renew: renew("after")}
	for range 2 { // also again
		r, err := Recover(last.dir, to)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%+v", r)
		if r.Applied == 0 || r.Log <= r.Applied || len(r.Former) == 0 {
			t.Errorf("found %+v", r)
		}
	}
	cfg := Config{Dir: last.dir, NodeID: last.id, Machine: &toy{}, Version: "test", Fatal: func(err error) { t.Errorf("fatal: %v", err) }}
	s := open(t, cfg)
	propose(t, s, "alone")
	_, values := rows(t, s)
	count := make(map[string]int)
	for _, v := range values {
		count[string(v)]++
	}
	for cmd := range l.acked {
		if count[cmd] != 1 {
			t.Errorf("%q is there %d times", cmd, count[cmd])
		}
	}
	if count["acknowledged by others"] != 1 || history(t, s) != "after" {
		t.Errorf("the end of the log is there %d times, history is %q", count["acknowledged by others"], history(t, s))
	}
	if m, err := s.Members(); err != nil || len(m) != 1 || m[0].ID != last.id {
		t.Errorf("members are %+v, %v", m, err)
	}
}

// appendTail writes an entry to the log of a stopped node.
func appendTail(t *testing.T, dir, cmd string) {
	t.Helper()
	appendLog(t, dir, encodeEntry(5, [][]byte{[]byte(cmd)}))
}

func TestRecoverRefuses(t *testing.T) {
	to := Rebuild{Node: "n1", Address: "n1", Renew: renew("x")}
	if _, err := Recover(dataPath(t), to); err == nil {
		t.Error("recovered nothing")
	}
	dir := dataPath(t)
	s := open(t, single(t, dir))
	propose(t, s, "x")
	if _, err := Recover(dir, to); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a running node: %v", err)
	}
	closeStore(t, s)
	other := to
	other.Node = "n2"
	if _, err := Recover(dir, other); err == nil {
		t.Error("recovered as another node")
	}
	if err := os.Remove(filepath.Join(dir, stateName(1))); err != nil {
		t.Fatal(err)
	}
	if _, err := Recover(dir, to); err == nil {
		t.Error("recovered without a state")
	}
}
