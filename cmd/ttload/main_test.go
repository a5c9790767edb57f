package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"teamtalk/internal/e2e"
)

func TestMain(m *testing.M) {
	remove, err := e2e.Prepare()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) { remove(); os.Exit(code) }))
}

func TestEchoReports(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"echo", "--connections", "2", "--window", "3", "--duration", "20ms"}, &out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "per second") {
		t.Errorf("table: %s", out.String())
	}
	out.Reset()
	if err := run(t.Context(), []string{"echo", "--duration", "20ms", "--json", "--disk-dir", t.TempDir()}, &out); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Mode    string
		Machine struct{ Cores int }
		Result  struct{ Connections int }
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || got.Mode != "echo" || got.Machine.Cores == 0 || got.Result.Connections != 64 {
		t.Errorf("%v: %s", err, out.String())
	}
}

// TestData takes the server's address from its data directory.
func TestData(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "addresses.json"), []byte(`{"tcp":"127.0.0.1:1","http":"192.0.2.1:80"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{"--count 1": "refused", "--via longpoll": "--allow-remote", "--via quic": "no port for quic"} {
		var out bytes.Buffer
		if err := run(t.Context(), append(strings.Fields("pairs --data "+dir), strings.Fields(args)...), &out); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
}

// TestServersThatFail: what the servers said stays.
func TestServersThatFail(t *testing.T) {
	for _, command := range []string{"bench", "transports", "reconnect --clients 1", "storm --logins 1", "cluster --only lag"} {
		dir := t.TempDir()
		var out bytes.Buffer
		if err := run(t.Context(), append(strings.Fields(command), "--binary", "/bin/false", "--dir", dir), &out); err == nil {
			t.Errorf("%s with a server that ends at once", command)
		}
		logs, err := filepath.Glob(filepath.Join(dir, "*", "*", "teamtalkd.log"))
		ofNode, err2 := filepath.Glob(filepath.Join(dir, "*", "*", "n1", "teamtalkd.log"))
		if err := errors.Join(err, err2); err != nil || len(logs)+len(ofNode) != 1 {
			t.Errorf("%s: logs %v %v, %v", command, logs, ofNode, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"pairs --server 192.0.2.1:8000", "--allow-remote"},
		{"group --server 192.0.2.1:8000", "--allow-remote"},
		{"idle --server 192.0.2.1:8000", "--allow-remote"},
		{"login --server 192.0.2.1:8000", "--allow-remote"},
		{"pairs --server 192.0.2.1:8443 --via quic", "--allow-remote"},
		{"pairs --server 127.0.0.1:1 --payload 3", "payload"},
		{"pairs --via smoke", "--via"},
		{"idle --data /does/not/exist", "/does/not/exist"},
		{"idle --ca /does/not/exist", "/does/not/exist"},
		{"pairs --server 127.0.0.1:1 --count 1", "refused"},
		{"echo --connections 0", "at least 1"},
		{"echo --via smoke", "--via"},
		{"transports --binary /does/not/exist", "/does/not/exist"},
		{"transports --binary /bin/false --via tcp,smoke", "--via"},
		{"reconnect --binary /does/not/exist", "/does/not/exist"},
		{"storm --binary /does/not/exist", "/does/not/exist"},
		{"storm --binary /bin/false --via smoke", "--via"},
		{"bench --binary /does/not/exist", "/does/not/exist"},
		{"cluster --binary /does/not/exist", "/does/not/exist"},
		{"cluster --binary /bin/false --only lag,smoke", "--only"},
		{"cluster --binary /bin/false --kills 0", "number"},
		{"cluster --binary /bin/false --idle 0s", "duration"},
		{"cluster --binary /bin/false --payload 3", "payload"},
		{"federation --binary /does/not/exist", "/does/not/exist"},
		{"federation --binary /bin/false --via tcp", "--via"},
		{"federation --binary /bin/false --only link,smoke", "--only"},
		{"federation --binary /bin/false --queued 0", "number"},
		{"scale --clusters 1", "clusters"},
		{"nonsense", "nonsense"},
	} {
		var out bytes.Buffer
		if err := run(t.Context(), strings.Fields(c.args), &out); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("ttload %s: %v, want %q", c.args, err, c.want)
		}
	}
}
