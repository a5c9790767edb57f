package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"teamtalk/internal/admin"
	"teamtalk/internal/cluster"
	"teamtalk/internal/peers/authority"
	"teamtalk/protocol"
)

// nodes is a cluster as operators see it: each status is the next of a list, the last one for ever.
type nodes struct {
	mu       sync.Mutex // guards what follows
	statuses []admin.ClusterStatus
	asked    []string
	fail     error
	backup   string
	root     bool // the root key is in it
}

func (n *nodes) HoldsRootKey() (bool, error) { return n.root, nil }

func (n *nodes) note(what string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked = append(n.asked, what)
	return n.fail
}

func (n *nodes) Status(context.Context) admin.ClusterStatus {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.statuses[0]
	if len(n.statuses) > 1 {
		n.statuses = n.statuses[1:]
	}
	return s
}

func (n *nodes) Token(life time.Duration) (authority.Token, error) {
	if err := n.note("token " + life.String()); err != nil {
		return authority.Token{}, err
	}
	return authority.NewToken(bytes.Repeat([]byte("k"), 32), []string{"a:7000"}, authority.Fingerprint{1}, time.Unix(2_000_000_000, 0))
}

func (n *nodes) Remove(_ context.Context, id protocol.NodeID, force bool) error {
	if force {
		id += " by force"
	}
	return n.note("remove " + string(id))
}

func (n *nodes) Transfer(_ context.Context, to protocol.NodeID) (protocol.NodeID, error) {
	return "n2", n.note("transfer " + string(to))
}

func (n *nodes) Drain(_ context.Context, id protocol.NodeID, then cluster.AfterDrain) error {
	return n.note(strings.TrimSpace("drain " + string(id) + " " + string(then)))
}

func (n *nodes) Snapshot(_ context.Context, id protocol.NodeID) error {
	return n.note("snapshot " + string(id))
}

func (n *nodes) Backup(_ context.Context, to io.Writer) error {
	if _, err := io.WriteString(to, n.backup); err != nil {
		return err
	}
	return n.fail
}

// operator runs commands against a cluster.
type operator struct {
	out, err bytes.Buffer
	target   []string
	tools    offlineTools
}

func newOperator(t *testing.T, n *nodes) *operator {
	t.Helper()
	const token = "0123456789abcdef0123456789abcdef"
	api := admin.Handler(admin.Config{Cluster: n, Backups: n, Log: slog.New(slog.DiscardHandler)})
	s := httptest.NewServer(admin.RequireToken(token, api))
	t.Cleanup(s.Close)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	return &operator{target: []string{"--ops", s.URL, "--token-file", file}}
}

// run runs a command and returns what it printed.
func (o *operator) run(t *testing.T, status int, args ...string) (out, err string) {
	t.Helper()
	o.out.Reset()
	o.err.Reset()
	if got := run(append(args, o.target...), &terminal{in: os.Stdin, out: &o.out, err: &o.err, offline: o.tools}); got != status {
		t.Errorf("%v: status %d, want %d: %s", args, got, status, &o.err)
	}
	return o.out.String(), o.err.String()
}

// printed checks that there are all the texts, in this order.
func printed(t *testing.T, got string, texts ...string) {
	t.Helper()
	rest := got
	for _, text := range texts {
		_, after, ok := strings.Cut(rest, text)
		if !ok {
			t.Errorf("no %q here: %s", text, got)
			return
		}
		rest = after
	}
}

func report(sessions int, change func(*admin.ClusterMember)) admin.ClusterStatus {
	n1 := member("n1", sessions)
	if change != nil {
		change(&n1)
	}
	return admin.ClusterStatus{Asked: "n1", Leader: "n1", Members: []admin.ClusterMember{n1, {ID: "n2", Address: "b:7000", Role: "voter", Error: "connection\x1b refused"}}}
}

func TestClusterStatus(t *testing.T) {
	ms := int64(40)
	o := newOperator(t, &nodes{statuses: []admin.ClusterStatus{report(7, func(m *admin.ClusterMember) {
		m.RTTMillis, m.Lag.Entries, m.Lag.Millis = 1.25, 12, &ms
	})}})
	out, problems := o.run(t, 0, "cluster", "status")
	lines := strings.Split(out, "\n")
	printed(t, lines[0], "ID", "NAME", "ADDRESS", "ROLE", "STATE", "TERM", "APPLIED", "COMMIT", "LAG", "SESSIONS", "FREE", "UPTIME", "RTT", "LEVEL", "VERSION")
	printed(t, lines[1], "n1", "berlin", "a:7000", "leader", "up", "2", "90", "100", "12 (40 ms)", "7", "1.5 GiB", "1m30s", "1.2 ms", "v1")
	printed(t, lines[2], "n2", "-", "b:7000", "voter", "unreachable", "-")
	printed(t, problems, "n2: connection\uFFFD refused")
	out, _ = o.run(t, 0, "cluster", "status", "--json")
	printed(t, out, `"leader": "n1"`, `"reachable": true`, `"sessions": 7`, `"reachable": false`)
}

// TestLevelOfTheCluster: who sees that new features are not used also sees why.
func TestLevelOfTheCluster(t *testing.T) {
	at := func(level, highest protocol.Level, why ...admin.HeldBack) admin.ClusterStatus {
		s := report(1, func(m *admin.ClusterMember) { m.Report.Level, m.Report.HighestLevel = level, highest })
		s.Level, s.HighestLevel, s.HeldBack = level, highest, why
		return s
	}
	for _, tt := range []struct {
		status    admin.ClusterStatus
		row, said string
	}{
		{at(2, 2), " 2 ", ""},
		{at(1, 2), " 1 of 2 ", "the cluster uses level 1; all nodes know level 2, and the leader is about to raise it"},
		{at(1, 2, admin.HeldBack{Node: "n2", Why: "it is\x1b away"}), " 1 of 2 ", "the cluster uses level 1, level 2 waits until every node knows it:\n  n2: it is\uFFFD away\n"},
		{report(1, nil), " - ", ""},
	} {
		o := newOperator(t, &nodes{statuses: []admin.ClusterStatus{tt.status}})
		out, problems := o.run(t, 0, "cluster", "status")
		printed(t, strings.Split(out, "\n")[1], tt.row, "v1")
		if printed(t, problems, tt.said); tt.said == "" && strings.Contains(problems, "level") {
			t.Errorf("levels are spoken of: %s", problems)
		}
	}
}

func TestStatesOfNodes(t *testing.T) {
	for want, change := range map[string]func(*admin.ClusterMember){
		"up":               func(*admin.ClusterMember) {},
		"unreachable":      func(m *admin.ClusterMember) { m.Reachable = false },
		"up, silent":       func(m *admin.ClusterMember) { m.Report = nil },
		"draining":         func(m *admin.ClusterMember) { m.Report.Draining = true },
		"drained":          func(m *admin.ClusterMember) { m.Report.Draining, m.Report.Drained = true, true },
		"receives 25 %":    func(m *admin.ClusterMember) { m.Report.Receiving, m.Report.ReceivingOf = 1, 4 },
		"receives 2.0 KiB": func(m *admin.ClusterMember) { m.Report.Receiving = 2048 },
	} {
		s := report(1, change)
		if got := nodeState(s.Members[0]); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestClusterCommands(t *testing.T) {
	n := &nodes{statuses: []admin.ClusterStatus{report(0, nil)}}
	o := newOperator(t, n)
	out, hint := o.run(t, 0, "cluster", "token", "--for", "90m")
	if strings.Count(out, "\n") != 1 || !strings.HasPrefix(out, "tt1-") || strings.Contains(hint, strings.TrimSpace(out)) {
		t.Errorf("%q %q", out, hint)
	}
	printed(t, hint, "serve --join TOKEN")
	out, _ = o.run(t, 0, "cluster", "remove", "n3", "--force")
	printed(t, out, "node n3 removed")
	out, _ = o.run(t, 0, "cluster", "transfer")
	printed(t, out, "node n2 leads")
	o.run(t, 0, "cluster", "transfer-leader", "n2")
	o.run(t, 0, "cluster", "snapshot", "n2")
	n.fail = protocol.Errorf(protocol.CodeForbidden, "no majority")
	_, problem := o.run(t, 1, "cluster", "remove", "n3")
	printed(t, problem, "teamtalkd: no majority")
	want := "token 1h30m0s, remove n3 by force, transfer , transfer n2, snapshot n2, remove n3"
	if got := strings.Join(n.asked, ", "); got != want {
		t.Errorf("%s; want %s", got, want)
	}
}

func TestDrainShowsProgress(t *testing.T) {
	draining := func(m *admin.ClusterMember) { m.Report.Draining = true }
	drained := func(m *admin.ClusterMember) { m.Report.Draining, m.Report.Drained = true, true }
	gone := func(m *admin.ClusterMember) { m.Report = nil }
	for name, c := range map[string]struct {
		statuses []admin.ClusterStatus
		status   int
		out, err string
	}{
		"drained":   {[]admin.ClusterStatus{report(9, nil), report(9, draining), report(4, draining), report(0, drained)}, 0, "n1 drained: it can be stopped", "9 sessions left\n4 sessions left\n"},
		"left":      {[]admin.ClusterStatus{report(9, nil), report(0, draining), report(0, gone)}, 0, "it has left", "0 sessions left\n"},
		"died":      {[]admin.ClusterStatus{report(9, nil), report(5, draining), report(0, gone)}, 1, "", "can't be asked any more"},
		"gave up":   {[]admin.ClusterStatus{report(9, nil), report(5, draining), report(9, nil)}, 1, "", "has given up"},
		"not there": {[]admin.ClusterStatus{report(9, nil), {Asked: "n1"}}, 1, "", "can't be asked"},
	} {
		n := &nodes{statuses: c.statuses}
		out, problems := newOperator(t, n).run(t, c.status, "cluster", "drain")
		printed(t, out, c.out)
		printed(t, problems, c.err)
		if strings.Join(n.asked, "") != "drain n1" {
			t.Errorf("%s: asked for %v", name, n.asked)
		}
	}
}

func TestDrainWaitsForTheEnd(t *testing.T) {
	then := func(drained bool, what cluster.AfterDrain) func(m *admin.ClusterMember) {
		return func(m *admin.ClusterMember) {
			m.Report.Draining, m.Report.Drained, m.Report.AfterDrain = true, drained, what
		}
	}
	gone := func(m *admin.ClusterMember) { m.Report = nil }
	for name, c := range map[string]struct {
		flag, asked string
		statuses    []admin.ClusterStatus
		status      int
		out, err    string
	}{
		"stops": {"--stop", "stop", []admin.ClusterStatus{report(9, nil), report(4, then(false, cluster.DrainStops)), report(1, then(true, cluster.DrainStops)), report(0, gone)},
			0, "n1 drained; it has left", "4 sessions left\n1 sessions left\n"},
		"leaves": {"--remove", "remove", []admin.ClusterStatus{report(9, nil), report(4, then(true, cluster.DrainRemoves)), {Asked: "n2"}},
			0, "n1 drained; it has left", "4 sessions left\n"},
		"an older one":   {"--stop", "stop", []admin.ClusterStatus{report(9, nil), report(0, then(true, cluster.DrainStays))}, 1, "", "will not stop by itself"},
		"is not removed": {"--remove", "remove", []admin.ClusterStatus{report(9, nil), report(0, then(true, cluster.DrainRemoves)), report(0, then(true, cluster.DrainStays))}, 1, "", "will not remove"},
	} {
		n := &nodes{statuses: c.statuses}
		out, problems := newOperator(t, n).run(t, c.status, "cluster", "drain", c.flag)
		printed(t, out, c.out)
		printed(t, problems, c.err)
		if strings.Join(n.asked, "") != "drain n1 "+c.asked {
			t.Errorf("%s: asked for %v", name, n.asked)
		}
	}
	newOperator(t, &nodes{}).run(t, 2, "cluster", "drain", "--stop", "--remove")
}

func TestBackupIsWholeOrNotThere(t *testing.T) {
	n := &nodes{backup: strings.Repeat("b", 300_000)}
	o := newOperator(t, n)
	dir := t.TempDir()
	file := filepath.Join(dir, "b.tt")
	out, _ := o.run(t, 0, "backup", file)
	printed(t, out, "b.tt: 293 KiB")
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 || info.Size() != 300_000 {
		t.Errorf("%v, %v", info, err)
	}
	n.backup = "other"
	_, problem := o.run(t, 1, "backup", file)
	printed(t, problem, "overwrites nothing")
	if b, err := os.ReadFile(file); err != nil || len(b) != 300_000 {
		t.Errorf("overwritten: %d bytes, %v", len(b), err)
	}
	// Somebody else makes the file while this one is written.
	_, err = writeNew(file, func(w io.Writer) (int64, error) { return 1, nil })
	if !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
	n.backup, n.fail = strings.Repeat("b", 300_000), errors.New("torn")
	_, problem = o.run(t, 1, "backup", filepath.Join(dir, "c.tt"))
	printed(t, problem, "failed half-way")
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestOfflineCommands(t *testing.T) {
	file := filepath.Join(t.TempDir(), "b.tt")
	if err := os.WriteFile(file, []byte("backup"), 0o600); err != nil {
		t.Fatal(err)
	}
	var done []string
	found := remains{Node: "n2", Members: []string{"n1 a:7000", "n2 b:7000"}, Applied: 90, Log: 95}
	o := &operator{tools: offlineTools{
		restore: func(_ context.Context, dir string, backup io.Reader) (restored, error) {
			b, err := io.ReadAll(backup)
			done = append(done, "restore "+dir+" "+string(b))
			return restored{Node: "n1", Index: 90, Time: time.Unix(0, 0), Bytes: 2048}, err
		},
		inspect: func(context.Context, string) (remains, error) { return found, nil },
		recover: func(_ context.Context, dir string) (remains, error) {
			done = append(done, "recover "+dir)
			return found, nil
		},
	}}
	out, _ := o.run(t, 0, "restore", file, "--data", "d")
	printed(t, out, "d holds the state as node n1 had it", "entry 90, 2.0 KiB", "serve --data 'd'")
	out, problem := o.run(t, 1, "cluster", "recover", "--data", "e")
	printed(t, out, "state up to entry 90, log up to entry 95", "n1 a:7000", "Lost:", "entries 91 to 95", "two clusters")
	printed(t, problem, "nothing was done: add --yes")
	out, _ = o.run(t, 0, "cluster", "recover", "--data", "e", "--yes")
	printed(t, out, "IT IS A CLUSTER OF ITS OWN NOW")
	if got := strings.Join(done, ", "); got != "restore d backup, recover e" {
		t.Error(got)
	}
	_, problem = o.run(t, 1, "restore", file+"x")
	printed(t, problem, "no such file")
}

func member(id protocol.NodeID, sessions int) admin.ClusterMember {
	return admin.ClusterMember{ID: id, Address: "a:7000", Role: "leader", Reachable: true, Lag: &cluster.Lag{},
		Report: &cluster.Report{Name: "berlin", Version: "v1", Term: 2, Applied: 90, Commit: 100, Sessions: sessions, FreeDisk: 3 << 29, UptimeMS: 90_000}}
}
