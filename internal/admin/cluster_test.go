package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"teamtalk/internal/cluster"
	"teamtalk/internal/peers/authority"
	"teamtalk/protocol"
)

// nodes is a cluster that notes what it was asked for.
type nodes struct {
	status cluster.Status
	asked  []string
	fail   error
}

func (n *nodes) note(format string, args ...any) error {
	n.asked = append(n.asked, fmt.Sprintf(format, args...))
	return n.fail
}

func (n *nodes) Status(context.Context) cluster.Status { return n.status }

func (n *nodes) Token(life time.Duration) (authority.Token, error) {
	if err := n.note("token %s", life); err != nil {
		return authority.Token{}, err
	}
	return authority.NewToken(bytes.Repeat([]byte("k"), 32), []string{"a:7000"}, authority.Fingerprint{1}, time.Unix(2_000_000_000, 0))
}

func (n *nodes) Remove(_ context.Context, id protocol.NodeID, force bool) error {
	return n.note("remove %s %t", id, force)
}

func (n *nodes) Transfer(_ context.Context, to protocol.NodeID) (protocol.NodeID, error) {
	return "n2", n.note("transfer %q", to)
}

func (n *nodes) Drain(_ context.Context, id protocol.NodeID, then cluster.AfterDrain) error {
	return n.note("drain %q then %q", id, then)
}

func (n *nodes) Snapshot(_ context.Context, id protocol.NodeID) error {
	return n.note("snapshot %q", id)
}

// copies is a backup.
type copies struct {
	size int
	fail error // after size bytes
	root bool  // the root key is in it
}

func (c copies) HoldsRootKey() (bool, error) { return c.root, nil }

func (c copies) Backup(_ context.Context, to io.Writer) error {
	for done := 0; done < c.size; done += 1000 {
		if _, err := to.Write(bytes.Repeat([]byte("b"), min(1000, c.size-done))); err != nil {
			return err
		}
	}
	return c.fail
}

func startCluster(t *testing.T, n *nodes, b Backups) (*Client, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	p := newPeople()
	c := Config{Users: p, Departments: p, Groups: p, Backups: b, Log: slog.New(slog.NewTextHandler(&log, nil))}
	if n != nil {
		c.Cluster = n
	}
	s := httptest.NewServer(RequireToken(testToken, Handler(c)))
	t.Cleanup(s.Close)
	client, err := NewClient(s.URL, testToken)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client, &log
}

func TestClusterTravelsWhole(t *testing.T) {
	ms := int64(7)
	n := &nodes{status: cluster.Status{Asked: "n1", Leader: "n2", Members: []cluster.MemberStatus{
		{ID: "n1", Address: "a:7000", Role: "voter", Reachable: true, RTTMillis: 1.5, Lag: &cluster.Lag{Entries: 3, Millis: &ms},
			Report: &cluster.Report{Name: "berlin", Version: "v1", Term: 2, Applied: 3, Commit: 6, Sessions: 5, FreeDisk: 6, Draining: true, UptimeMS: 8, Receiving: 9, ReceivingOf: 10,
				Links: []cluster.Link{{Node: "n2", Up: true, RTTMillis: 1}}}},
		{ID: "n2", Address: "b:7000", Role: "leader", Error: "gone"}}}}
	c, _ := startCluster(t, n, nil)
	got, err := c.Cluster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(n.status, got); diff != "" {
		t.Error(diff)
	}
}

func TestClusterRequests(t *testing.T) {
	n := &nodes{}
	c, log := startCluster(t, n, nil)
	ctx := t.Context()
	leader, err := c.TransferLead(ctx, "n2")
	if err != nil || leader != "n2" {
		t.Errorf("%s, %v", leader, err)
	}
	token, err := c.JoinToken(ctx, 90*time.Minute)
	if err != nil || token.Addresses[0] != "a:7000" || !strings.HasPrefix(token.Token, "tt1-") || token.Expires.Unix() != 2_000_000_000 {
		t.Errorf("%+v, %v", token, err)
	}
	_, err = c.JoinToken(ctx, 0)
	if err := errors.Join(err, c.RemoveNode(ctx, "n3", true), c.DrainNode(ctx, "", cluster.DrainStops), c.SnapshotNode(ctx, "n4")); err != nil {
		t.Error(err)
	}
	want := []string{`transfer "n2"`, "token 1h30m0s", "token 0s", "remove n3 true", `drain "" then "stop"`, `snapshot "n4"`}
	if diff := cmp.Diff(want, n.asked); diff != "" {
		t.Error(diff)
	}
	if strings.Contains(log.String(), token.Token) || !strings.Contains(log.String(), "change=remove node=n3 force=true") {
		t.Errorf("log: %s", log)
	}
	n.fail = protocol.Errorf(protocol.CodeForbidden, "no majority")
	var refused *Error
	if err := c.RemoveNode(ctx, "n3", false); !errors.As(err, &refused) || refused.Status != http.StatusForbidden || refused.Message != "no majority" {
		t.Errorf("%v", err)
	}
	for path, body := range map[string]string{"cluster/remove": `{}`, "cluster/token": `{"for":"soon"}`, "cluster/drain": `{"nod":"n1"}`} {
		req, err := c.request(ctx, "POST", path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.do(req)
		if err == nil {
			resp.Body.Close()
		}
		if !errors.As(err, &refused) || refused.Status != http.StatusBadRequest {
			t.Errorf("%s %s: %v", path, body, err)
		}
	}
}

func TestBackup(t *testing.T) {
	for _, test := range []struct {
		name string
		copies
		want string
	}{
		{"whole", copies{size: 100_500}, ""},
		{"empty", copies{}, ""},
		{"fails at once", copies{fail: protocol.Errorf(protocol.CodeUnavailable, "closed")}, "closed"},
		{"fails later", copies{size: 100_000, fail: errors.New("page 7 is torn")}, "failed half-way: internal error"},
		{"client's fault", copies{size: 100_000, fail: protocol.Errorf(protocol.CodeUnavailable, "stopping")}, "half-way: stopping"},
	} {
		c, _ := startCluster(t, nil, test.copies)
		var got bytes.Buffer
		n, err := c.Backup(t.Context(), &got, false)
		switch {
		case test.want == "" && (err != nil || n != int64(test.size) || got.Len() != test.size):
			t.Errorf("%s: %d bytes, %v", test.name, n, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// [FED-ID-4]
func TestBackupWithRootKey(t *testing.T) {
	c, _ := startCluster(t, nil, copies{size: 1000, root: true})
	var refused *Error
	if _, err := c.Backup(t.Context(), io.Discard, false); !errors.As(err, &refused) || refused.Status != http.StatusForbidden || !strings.Contains(refused.Message, "--passphrase-file") {
		t.Errorf("not encrypted: %v", err)
	}
	if n, err := c.Backup(t.Context(), io.Discard, true); err != nil || n != 1000 {
		t.Errorf("encrypted: %d bytes, %v", n, err)
	}
}

// A server that dies in the middle leaves no backup that looks whole.
func TestBackupOfAServerThatDies(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", backupTrailer)
		_, _ = w.Write(make([]byte, 1000))
	}))
	defer s.Close()
	c, err := NewClient(s.URL, testToken)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Backup(t.Context(), io.Discard, false); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v", err)
	}
}

func TestWithoutClusterOrBackups(t *testing.T) {
	c, _ := startCluster(t, nil, nil)
	_, err := c.Backup(t.Context(), io.Discard, false)
	_, err2 := c.Cluster(t.Context())
	for _, err := range []error{err, err2} {
		var refused *Error
		if !errors.As(err, &refused) || refused.Status != http.StatusNotFound {
			t.Errorf("%v", err)
		}
	}
}
