package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"teamtalk/internal/admin"
	"teamtalk/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is many times what anything here takes.
const patience = 60 * time.Second

// testConfig is a node on free ports of loopback.
func testConfig(t *testing.T, dir string, flags map[string]string) *Config {
	t.Helper()
	all := map[string]string{"data": dir, "listen.tcp": "127.0.0.1:0", "listen.tls": "127.0.0.1:0", "listen.quic": "127.0.0.1:0",
		"listen.http": "127.0.0.1:0", "listen.ops": "127.0.0.1:0", "listen.login": "127.0.0.1:0", "listen.files": "127.0.0.1:0", "listen.node": "127.0.0.1:0", "tls.development": "true"}
	for k, v := range flags {
		all[k] = v
	}
	cfg, _, err := Load(Sources{Flags: all})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func testLog(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}

func startNode(t *testing.T, cfg *Config) *Node {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	n, err := Start(ctx, cfg, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func stopNode(t *testing.T, n *Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := n.Close(ctx); err != nil {
		t.Error(err)
	}
}

func fetch(t *testing.T, url string) (int, string) {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestStartAndStopTwiceOnTheSameData(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	for round := range 2 {
		n := startNode(t, testConfig(t, dir, nil))
		at := n.Addresses()
		for _, name := range []string{"tcp", "tls", "quic", "http", "login", "ops"} {
			if at[name] == "" || strings.HasSuffix(at[name], ":0") {
				t.Errorf("address of %s: %q", name, at[name])
			}
		}
		if code, body := fetch(t, "http://"+at["ops"]+"/readyz"); code != 200 {
			t.Errorf("not ready: %d %s", code, body)
		}
		_, port, _ := net.SplitHostPort(at["tcp"])
		if code, body := fetch(t, "http://"+at["http"]+"/msg_server"); code != 200 || !strings.Contains(body, `"port" : "`+port+`"`) {
			t.Errorf("/msg_server: %d %s", code, body)
		}
		api, err := admin.ClientOf(dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := api.AddUser(t.Context(), admin.NewUser{Name: fmt.Sprintf("user%d", round)}); err != nil {
			t.Error(err)
		}
		users, err := api.Users(t.Context(), 0, 10)
		if err != nil || len(users.Users) != round+1 {
			t.Errorf("round %d: %d users, %v", round, len(users.Users), err)
		}
		api.Close()
		stopNode(t, n)
		if _, err := os.Stat(filepath.Join(dir, admin.AddressesFile)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the note of the addresses is still there: %v", err)
		}
	}
}

func TestFailedStartLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, err = Start(t.Context(), testConfig(t, dir, map[string]string{"listen.http": taken.Addr().String()}), testLog(t))
	if err == nil || !strings.Contains(err.Error(), "listen.http: cannot listen on "+taken.Addr().String()) || !strings.Contains(err.Error(), "--http") {
		t.Errorf("got %v", err)
	}
	stopNode(t, startNode(t, testConfig(t, dir, nil))) // the lock and the other ports are free again
}

func TestSecondNodeOnTheSameDataIsRefused(t *testing.T) {
	dir := t.TempDir()
	n := startNode(t, testConfig(t, dir, nil))
	defer stopNode(t, n)
	if _, err := Start(t.Context(), testConfig(t, dir, nil), testLog(t)); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, admin.AddressesFile)); err != nil {
		t.Errorf("the second one took the first one's note away: %v", err)
	}
}

func TestStartWithoutAPortToTellIsRefused(t *testing.T) {
	_, err := Start(t.Context(), testConfig(t, t.TempDir(), map[string]string{"listen.tcp": "off"}), testLog(t))
	if err == nil || !strings.Contains(err.Error(), "set public.tcp_port") {
		t.Errorf("got %v", err)
	}
}

func TestListenersThatAreOff(t *testing.T) {
	off := map[string]string{"listen.tcp": "off", "listen.tls": "off", "listen.quic": "off", "listen.http": "off", "listen.login": "off", "listen.files": "off", "listen.ops": "off", "listen.node": "off"}
	n := startNode(t, testConfig(t, t.TempDir(), off))
	defer stopNode(t, n)
	if at := n.Addresses(); len(at) != 0 {
		t.Errorf("addresses %v", at)
	}
}

func TestFailureEndsTheWait(t *testing.T) {
	n := startNode(t, testConfig(t, t.TempDir(), nil))
	defer stopNode(t, n)
	broken := errors.New("fsync failed")
	n.fail(broken)
	n.fail(errors.New("and more"))
	if err := n.Wait(t.Context()); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

func TestStopIsNotReady(t *testing.T) {
	n := startNode(t, testConfig(t, t.TempDir(), nil))
	stopNode(t, n)
	if len(n.health.Missing()) != 2 {
		t.Errorf("after the stop only %v is missing", n.health.Missing())
	}
}

func TestAddressesOfTheWildcard(t *testing.T) {
	for text, want := range map[string]string{"[::]:80": "127.0.0.1:80", "0.0.0.0:80": "127.0.0.1:80", "192.0.2.1:80": "192.0.2.1:80"} {
		a, err := net.ResolveTCPAddr("tcp", text)
		if err != nil {
			t.Fatal(err)
		}
		if got := reachable(a); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

// TestManyDemoUsers makes more users than fit into one command, with few entries of the log, each of which costs its fsyncs; and not again.
func TestManyDemoUsers(t *testing.T) {
	const users, fewEntries = 6000, 60
	dir := t.TempDir()
	var before protocol.Cursor
	for _, what := range []string{"first", "second"} {
		cfg := testConfig(t, dir, nil)
		cfg.Demo = DemoConfig{Users: users, Password: "12345"}
		n := startNode(t, cfg)
		if at := n.store.Applied(); at > before+fewEntries {
			t.Errorf("the %s start took %d entries of the log", what, at-before)
		}
		before = n.store.Applied()
		if count, err := n.admin.UserCount(t.Context()); err != nil || count != users {
			t.Errorf("%d users, %v", count, err)
		}
		stopNode(t, n)
	}
}
