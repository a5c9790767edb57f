package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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

func TestRefusals(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"pairs --server 192.0.2.1:8000", "--allow-remote"},
		{"group --server 192.0.2.1:8000", "--allow-remote"},
		{"idle --server 192.0.2.1:8000", "--allow-remote"},
		{"login --server 192.0.2.1:8000", "--allow-remote"},
		{"pairs --server 127.0.0.1:1 --payload 3", "payload"},
		{"pairs --server 127.0.0.1:1 --count 1", "refused"},
		{"echo --connections 0", "at least 1"},
		{"bench --binary /does/not/exist", "/does/not/exist"},
		{"nonsense", "nonsense"},
	} {
		var out bytes.Buffer
		if err := run(t.Context(), strings.Fields(c.args), &out); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("ttload %s: %v, want %q", c.args, err, c.want)
		}
	}
}
