package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"teamtalk/protocol"
)

// TestPlaces: those of a pair are at different nodes, and all nodes have as many users and as many senders.
func TestPlaces(t *testing.T) {
	for _, nodes := range []int{1, 2, 3} {
		users, senders := make([]int, nodes), make([]int, nodes)
		for pair := range 4 * nodes {
			a, b := placeInPair(2*pair)%nodes, placeInPair(2*pair+1)%nodes
			if a == b && nodes > 1 {
				t.Errorf("%d nodes: both of pair %d at node %d", nodes, pair, a)
			}
			users[a]++
			users[b]++
			senders[a]++
		}
		for n := range nodes {
			if users[n] != 8 || senders[n] != 4 {
				t.Errorf("%d nodes: %v users, %v of them send", nodes, users, senders)
			}
		}
	}
}

func TestLongestSilence(t *testing.T) {
	at := func(ms ...int) (all []time.Duration) {
		for _, m := range ms {
			all = append(all, time.Duration(m)*time.Millisecond)
		}
		return all
	}
	for _, c := range []struct {
		name string
		at   []time.Duration
		dies int
		want int
	}{
		{"nothing", nil, 5, 0},
		{"across the death", at(1, 2, 10, 11), 5, 8},
		{"an ack that was on its way when it died", at(1, 2, 6, 14, 15), 5, 8},
		{"a longer one before it", at(1, 100, 101, 110), 105, 9},
		{"nobody goes on", at(1, 2), 5, 0},
	} {
		if got := longestSilence(c.at, time.Duration(c.dies)*time.Millisecond); got != time.Duration(c.want)*time.Millisecond {
			t.Errorf("%s: %v, want %d ms", c.name, got, c.want)
		}
	}
}

func TestLags(t *testing.T) {
	var nobody *moments
	nobody.acked(0, 1)
	nobody.arrived(0, 1)
	m := newMoments()
	for n, late := range []time.Duration{time.Millisecond, 3 * time.Millisecond, -time.Millisecond} {
		m.acked(uint32(n), 10*time.Millisecond)
		m.arrived(uint32(n), 10*time.Millisecond+late)
		m.arrived(uint32(n), 11*time.Millisecond+late)
	}
	m.arrived(9, time.Second) // never acked
	if lag, before := m.lags(); lag.Count != 6 || lag.Max < 3990 || lag.Max > 4010 || before != 1 {
		t.Errorf("%+v, %d before", lag, before)
	}
}

// TestLagOfARun: each delivery of a run is compared with its ack.
func TestLagOfARun(t *testing.T) {
	target := startFake(t, fault{})
	var row LagRow
	if err := row.measure(t.Context(), []Target{target, target, target}, ClusterOptions{Lags: 20, LagPace: time.Millisecond, Payload: MinPayload}); err != nil {
		t.Fatal(err)
	}
	if row.Lag.Count != 40 || row.Ack.Count != 20 || row.Delivery.Count != 40 {
		t.Errorf("%+v", row)
	}
}

func TestProcessTimes(t *testing.T) {
	got, err := parseCPUTime([]byte("4711 (a name) with) S 1 4711 4711 0 -1 4194560 100 200 3 4 1234 66 7 8 20 0 9 0 12345"))
	if err != nil || got != 13*time.Second {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := parseCPUTime([]byte("4711 (x) S 1")); err == nil {
		t.Error("a short line was read")
	}
	used, err := watchUsage(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if p, err := used.percent(); err != nil || len(p) != 1 || p[0] < 0 {
		t.Errorf("%v, %v", p, err)
	}
	if rss, err := peakResident(os.Getpid()); err != nil || rss < 1<<20 {
		t.Errorf("%d, %v", rss, err)
	}
	if _, err := watchUsage(os.Getpid(), 1<<30); err == nil {
		t.Error("a process that is not there has times")
	}
}

func TestCounters(t *testing.T) {
	c, err := parseCounters(bytes.NewBufferString("# HELP bytes_total x\nbytes_total{a=\"1\",direction=\"in\"} 5\nbytes_total{a=\"2\",direction=\"in\"} 1e3\n" +
		"bytes_total{a=\"2\",direction=\"out\"} 7\nbytes_total_more{direction=\"in\"} 9\n"))
	if err != nil || c.sum("bytes_total", `direction="in"`) != 1005 || c.sum("bytes_total", `direction="in"`, `a="2"`) != 1000 {
		t.Errorf("%v, %v", c, err)
	}
	if _, err := parseCounters(bytes.NewBufferString("x{} y\n")); err == nil {
		t.Error("no number was read")
	}
}

// TestTalkersVerdict: whatever is wrong with what was heard is found.
func TestTalkersVerdict(t *testing.T) {
	ids := func(all ...protocol.MsgID) []protocol.MsgID { return all }
	for _, c := range []struct {
		name         string
		acked, heard []protocol.MsgID
		gaps         []string
		bad          bool
	}{
		{"all is well", ids(1, 2, 3), ids(1, 2, 3), nil, false},
		{"lost", ids(1, 2, 3), ids(1, 2), nil, true},
		{"twice", ids(1, 2), ids(1, 1, 2), nil, true},
		{"twice at the end", ids(1, 2), ids(1, 2, 2), nil, true},
		{"out of order", ids(1, 2, 3), ids(1, 3, 2), nil, true},
		{"stored twice", ids(1, 3), ids(1, 3), nil, true},
		{"another id", ids(1, 2), ids(1, 3), nil, true},
		{"gap", ids(1), ids(1), []string{"too long away"}, true},
	} {
		talk := &talker{heard: c.heard, gaps: c.gaps}
		for _, id := range c.acked {
			talk.acks = append(talk.acks, acked{id: id})
		}
		if err := talk.verdict(); (err != nil) != c.bad {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// fakeMember answers as a node's ops listener does.
func fakeMember(t *testing.T, answer func(path string) (string, http.Header)) *member {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, trailer := answer(r.URL.Path)
		if r.Header.Get("Authorization") != "Bearer secret" || body == "" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		for name := range trailer {
			w.Header().Add("Trailer", name)
		}
		_, _ = w.Write([]byte(body))
		for name := range trailer {
			w.Header().Set(name, trailer.Get(name))
		}
	}))
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		s.Close()
	})
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, tokenFile), []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return &member{Server: &Server{Place: Place{Addresses: Addresses{Ops: strings.TrimPrefix(s.URL, "http://")}, dir: dir}}, dir: dir}
}

// statusOf is a node's answer about a cluster of two, changed in one place.
func statusOf(asked string, old, changed string) string {
	text := `{"asked":"` + asked + `","leader":"a","members":[
		{"id":"a","role":"leader","report":{"applied":500,"commit":500,"links":[{"node":"b","up":true}]}},
		{"id":"b","role":"voter","report":{"applied":300,"commit":490,"links":[{"node":"a","up":true}]}}]}`
	return strings.ReplaceAll(text, old, changed)
}

// TestShortcomings: a cluster that lacks something is not taken for whole.
func TestShortcomings(t *testing.T) {
	for _, c := range []struct{ name, old, changed, want string }{
		{"whole", "", "", ""},
		{"no leader", `"leader":"a"`, `"leader":""`, "knows no leader"},
		{"another leader", `"leader":"a"`, `"leader":"b"`, "follows"},
		{"no vote", "voter", "non-voter", "does not vote"},
		{"behind", `"applied":300`, `"applied":299`, "299 entries of 500"},
		{"no link", `"node":"a","up":true`, `"node":"a","up":false`, "no link to node a"},
		{"silent", `"report":{"applied":300`, `"x":{"applied":300`, "nothing is heard of node b"},
		{"one more", `{"id":"b"`, `{"id":"c"},{"id":"b"`, "knows 3 members of 2"},
	} {
		s := &servers{members: []*member{
			fakeMember(t, func(string) (string, http.Header) { return statusOf("a", "\x00", ""), nil }),
			fakeMember(t, func(string) (string, http.Header) { return statusOf("b", c.old, c.changed), nil }),
		}}
		if c.old == "" {
			s.members[1] = fakeMember(t, func(string) (string, http.Header) { return statusOf("b", "\x00", ""), nil })
		}
		err := s.shortcoming(t.Context())
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// TestWhole waits until a cluster is whole, and says who leads; one that never gets there is an error.
func TestWhole(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var asked atomic.Int32
	late := fakeMember(t, func(string) (string, http.Header) {
		n := asked.Add(1)
		if n == -1 {
			cancel() // in the middle of a question
		}
		if n < 3 {
			return statusOf("b", "voter", "non-voter"), nil
		}
		return statusOf("b", "\x00", ""), nil
	})
	first := fakeMember(t, func(string) (string, http.Header) { return statusOf("a", "\x00", ""), nil })
	first.id, late.id = "a", "b"
	s := &servers{members: []*member{late, first}}
	leader, followers, err := s.roles(t.Context())
	if err != nil || leader != first || len(followers) != 1 || followers[0] != late || asked.Load() < 3 {
		t.Errorf("%v leads %v, %v", leader, followers, err)
	}
	if err := s.stillLeads(t.Context(), late); !errors.Is(err, errDeposed) {
		t.Errorf("another leader: %v", err)
	}
	asked.Store(-4)
	if err := s.whole(ctx); err == nil || !strings.Contains(err.Error(), "does not vote") {
		t.Errorf("a cluster without all votes: %v", err)
	}
}

// TestBackupCopy: only a copy that the server says is whole counts.
func TestBackupCopy(t *testing.T) {
	for verdict, good := range map[string]bool{backupComplete: true, "disk full": false, "": false} {
		m := fakeMember(t, func(path string) (string, http.Header) {
			if path != "/api/v1/cluster/backup" {
				return "", nil
			}
			return "a copy", http.Header{backupTrailer: {verdict}}
		})
		var row BackupRow
		if err := row.copy(t.Context(), m, filepath.Join(t.TempDir(), "copy")); (err == nil) != good || good && row.Bytes != 6 {
			t.Errorf("%q: %v, %+v", verdict, err, row)
		}
	}
}

// TestClusterReport: every table of the report has as many cells in each row as columns, and the figures are in it.
func TestClusterReport(t *testing.T) {
	sum := Summary{Count: 1, P50: 1_230_000, P99: 2_340_000, P999: 3_450_000, Max: 4_560_000}
	messages := &MessageResult{AckedPerSecond: 777, Ack: sum, Delivery: sum}
	r := &ClusterResult{
		Machine:  &Machine{Cores: 2},
		Traffic:  []TrafficRow{{Senders: 64, Window: 1, Place: "all nodes", Messages: messages, Servers: 150}},
		Lag:      []LagRow{{From: "a follower", Ack: sum, Delivery: sum, Lag: sum}},
		Idle:     []IdleNodeRow{{Node: "n1", Leads: true, CPU: 1.5, RSS: 30 << 20}},
		Failover: &FailoverResult{Kills: 20, Messages: 888, Anybody: sum, Elsewhere: sum, There: sum, Back: sum},
		Growth:   &GrowthResult{Messages: 999, Joins: []JoinRow{{Node: "n2", Seconds: 3}}, Backups: []BackupRow{{From: "the leader", Before: messages, During: messages}}},
		Presence: &PresenceResult{Users: 10, Within: 60, Quiet: []PresenceRow{{Node: "n1"}}, Busy: []PresenceRow{{Node: "n1", Here: true}, {Node: "n2"}}},
	}
	var out bytes.Buffer
	if err := r.Print(&out); err != nil {
		t.Fatal(err)
	}
	tables, columns := 0, 0
	for line := range strings.Lines(out.String()) {
		cells := strings.Count(line, "|")
		switch {
		case cells == 0:
			columns = 0
		case columns == 0:
			columns = cells
			tables++
		case cells != columns:
			t.Errorf("%d cells, not %d: %s", cells-1, columns-1, line)
		}
	}
	if tables != 7 {
		t.Errorf("%d tables", tables)
	}
	for _, want := range []string{"777", "1230.00 / 2340.00 / 3450.00", "1.50", "888 messages", "| the whole cluster | 1 | 1.23 | 2.34 | 4.56 |", "999 messages", "elsewhere"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in %s", want, out.String())
		}
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
}

// TestNodesThatFail: what a cluster could not start from is said, and nothing is left running.
func TestNodesThatFail(t *testing.T) {
	o := ClusterOptions{Binary: script(t, "exit 3"), Dir: t.TempDir()}
	err := withServers(t.Context(), o, "x", clusterSize, 1, func(*servers) error { return fmt.Errorf("it was measured") })
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || strings.Contains(err.Error(), "measured") {
		t.Error(err)
	}
}

// TestKill ends a server that does not want to, and a new start does not take what it left for a sign of life.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	binary := script(t, `
		while [ "$1" != --data ]; do shift; done
		mkdir -p "$2"
		echo '{"tcp":"127.0.0.1:'$$'"}' >"$2/new"
		trap '' TERM
		mv "$2/new" "$2/addresses.json"
		while :; do sleep 0.05; done`)
	for range 2 {
		s, err := launch(t.Context(), binary, dir, []string{"dev", "--data", filepath.Join(dir, "data")})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Kill(); err != nil {
			t.Error(err)
		}
		if s.TCP != fmt.Sprint("127.0.0.1:", s.PID()) {
			t.Errorf("process %d is taken to be at %s", s.PID(), s.TCP)
		}
		if _, err := cpuTime(s.PID()); err == nil {
			t.Error("it is still there")
		}
	}
}
