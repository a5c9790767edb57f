package load

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// script makes an executable that stands in for the server.
func script(t *testing.T, body string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "teamtalkd")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestStartServer(t *testing.T) {
	binary := script(t, `
		echo "$@"
		while [ "$1" != --data ]; do shift; done
		mkdir -p "$2"
		echo '{"tcp":"127.0.0.1:4711"}' >"$2/new"
		trap 'echo left; exit 0' TERM
		mv "$2/new" "$2/addresses.json"
		while :; do sleep 0.05; done`)
	dir := t.TempDir()
	s, err := StartServer(t.Context(), binary, dir, 7, "secret", "--more", "x")
	if err != nil {
		t.Fatal(err)
	}
	if s.TCP != "127.0.0.1:4711" || s.PID() == 0 {
		t.Errorf("%q, process %d", s.TCP, s.PID())
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	log, err := os.ReadFile(filepath.Join(dir, "teamtalkd.log"))
	if err != nil || !strings.HasPrefix(string(log), "dev --data ") || !strings.Contains(string(log), "--users 7 --password secret") || !strings.Contains(string(log), "--more x\n") || !strings.HasSuffix(string(log), "left\n") {
		t.Errorf("%v: log %q", err, log)
	}
}

func TestStartServerThatFails(t *testing.T) {
	if _, err := StartServer(t.Context(), script(t, "exit 3"), t.TempDir(), 1, ""); err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("a server that ends: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := StartServer(ctx, script(t, "exec sleep 100"), t.TempDir(), 1, ""); err == nil || !strings.Contains(err.Error(), "not ready") {
		t.Errorf("a server that does not listen: %v", err)
	}
}
