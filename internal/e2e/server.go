package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Patience is how long the harness waits for anything that must happen; far more than any of it takes.
const Patience = 30 * time.Second

// commandPatience is how long an operator's command may take, of which some wait for a node to be left by its clients.
const commandPatience = 2 * Patience

// Addresses is what a ready server writes into addresses.json of its data directory.
type Addresses struct {
	TCP   string `json:"tcp"`
	TLS   string `json:"tls"`
	QUIC  string `json:"quic"`
	CA    string `json:"ca"` // file of the authority that signed the development certificate
	HTTP  string `json:"http"`
	Ops   string `json:"ops"`
	Login string `json:"login"`
}

// ServerConfig says which server to start.
type ServerConfig struct {
	// Dir is the data directory; empty: a new one that goes with the test.
	Dir string
	// Mode is "dev" (the zero value) or "serve".
	Mode string
	// Args are added to the command line; what they say wins over what the harness sets.
	Args []string
	// Wrap is a command to run the server under, such as strace.
	Wrap []string
}

// A Server is a real teamtalkd process on ephemeral ports of the loopback.
type Server struct {
	Addr Addresses
	Dir  string

	config  ServerConfig
	cmd     *exec.Cmd
	exited  chan struct{} // closed when the process has ended and been waited for
	exitErr error         // valid once exited is closed
	logs    *os.File
}

// Start runs a server and waits until it is ready; the test fails if it doesn't become so. The process ends with the test.
func Start(tb testing.TB, config ServerConfig) *Server {
	tb.Helper()
	s := New(tb, config)
	if err := s.Run(tb); err != nil {
		tb.Fatal(err)
	}
	return s
}

// New prepares a server without starting it.
func New(tb testing.TB, config ServerConfig) *Server {
	tb.Helper()
	if config.Dir == "" {
		config.Dir = tb.TempDir()
	}
	if config.Mode == "" {
		config.Mode = "dev"
	}
	logs, err := os.Create(filepath.Join(tb.TempDir(), "teamtalkd.log"))
	if err != nil {
		tb.Fatal(err)
	}
	s := &Server{Dir: config.Dir, config: config, logs: logs}
	tb.Cleanup(func() {
		if trouble := s.trouble(); trouble != "" {
			tb.Errorf("the server's log has\n%s", trouble)
		}
		if tb.Failed() {
			tb.Logf("what the server said last:\n%s", s.lastWords())
		}
		s.Kill()
		_ = logs.Close() // read above; nothing is left to lose
	})
	return s
}

// Run starts the process and waits until it is ready. The error says how it ended if it did.
func (s *Server) Run(tb testing.TB) error {
	tb.Helper()
	ready := filepath.Join(s.Dir, "addresses.json")
	if err := os.Remove(ready); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	line := append(slices.Clone(s.config.Wrap), Binary(tb), s.config.Mode)
	line = append(line, s.arguments()...)
	s.cmd = exec.Command(line[0], line[1:]...)
	s.cmd.Stdout, s.cmd.Stderr = s.logs, s.logs
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a wrapper and the server are killed together
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) { // ends with the process; Kill waits for it
		s.exitErr = cmd.Wait()
		close(exited)
	}(s.cmd, s.exited)
	return s.awaitReady(ready)
}

func (s *Server) arguments() []string {
	args := []string{"--data", s.Dir}
	for _, option := range []struct{ flag, value string }{{"--tcp", "127.0.0.1:0"}, {"--tls", "127.0.0.1:0"}, {"--quic", "127.0.0.1:0"},
		{"--http", "127.0.0.1:0"}, {"--ops", "127.0.0.1:0"}, {"--login", "127.0.0.1:0"}, {"--files", "127.0.0.1:0"}, {"--node", "127.0.0.1:0"}, {"--tls-development", "true"}} {
		if !slices.ContainsFunc(s.config.Args, func(a string) bool { return a == option.flag || strings.HasPrefix(a, option.flag+"=") }) {
			args = append(args, option.flag, option.value)
		}
	}
	return append(args, s.config.Args...)
}

func (s *Server) awaitReady(path string) error {
	limit := time.After(Patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		raw, err := os.ReadFile(path)
		if err == nil && json.Unmarshal(raw, &s.Addr) == nil && s.Addr.TCP != "" {
			return nil
		}
		select {
		case <-tick.C:
		case <-s.exited:
			return fmt.Errorf("the server ended before it was ready: %w\n%s", s.exitErr, s.Log(4000))
		case <-limit:
			return fmt.Errorf("the server isn't ready after %s\n%s", Patience, s.Log(4000))
		}
	}
}

// Kill ends the process as a power cut would, and waits for the end. Nothing happens if it has ended already.
func (s *Server) Kill() {
	if s.cmd == nil || s.cmd.Process == nil {
		return
	}
	_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) // fails only if it is gone
	<-s.exited
}

// quit has a process that still runs say what all its goroutines do, which ends it; false: it had ended.
func (s *Server) quit() bool {
	if s.exited == nil {
		return false
	}
	select {
	case <-s.exited:
		return false
	default:
	}
	return s.cmd.Process.Signal(syscall.SIGQUIT) == nil && s.Wait(Patience) != nil
}

// Stop asks the process to leave (SIGTERM) and waits for it; the error is how it ended, nil for status 0.
func (s *Server) Stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return s.Wait(Patience)
}

// Wait waits for the process to end by itself; the error is how it ended, nil for status 0.
func (s *Server) Wait(limit time.Duration) error {
	select {
	case <-s.exited:
		return s.exitErr
	case <-time.After(limit):
		return fmt.Errorf("the server has not ended after %s", limit)
	}
}

// Alive tells whether the process runs.
func (s *Server) Alive() bool {
	select {
	case <-s.exited:
		return false
	default:
		return true
	}
}

// Restart kills the process and starts it again on the same directory, on other ports.
func (s *Server) Restart(tb testing.TB) error {
	tb.Helper()
	s.Kill()
	return s.Run(tb)
}

// trouble is what no server may ever print: a data race, or a panic even if it was caught. It is shown with the lines after it; "": there is none.
func (s *Server) trouble() string {
	const most = 60
	var found []string
	for line := range strings.Lines(s.Log(1 << 30)) {
		if len(found) > 0 || strings.Contains(line, "DATA RACE") || strings.Contains(line, "panic") {
			found = append(found, strings.TrimRight(line, "\n"))
		}
		if len(found) == most {
			break
		}
	}
	return strings.Join(found, "\n")
}

// Log is the end of what the process printed, at most n bytes.
func (s *Server) Log(n int) string {
	raw, err := os.ReadFile(s.logs.Name())
	if err != nil {
		return err.Error()
	}
	return string(raw[max(0, len(raw)-n):])
}

// Pid is the process id (of the wrapper, if there is one).
func (s *Server) Pid() int { return s.cmd.Process.Pid }

// Ctl runs an operator command of the real executable against this server and returns what it printed.
func (s *Server) Ctl(tb testing.TB, dir string, args ...string) (string, error) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), commandPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, Binary(tb), append(args, "--data", s.Dir)...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("no end in %s: %w", commandPatience, err)
		}
		err = fmt.Errorf("teamtalkd %s: %w", strings.Join(args, " "), err)
	}
	return string(out), err
}

// Metrics fetches the value of a Prometheus series, named as it is exposed, labels included; the sum if several begin so.
func (s *Server) Metrics(ctx context.Context, series string) (float64, error) {
	body, err := s.fetch(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	sum, found := 0.0, false
	for line := range strings.Lines(body) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || !strings.HasPrefix(name, series) {
			continue
		}
		var v float64
		if _, err := fmt.Sscan(value, &v); err == nil {
			sum, found = sum+v, true
		}
	}
	if !found {
		return 0, fmt.Errorf("no series %s", series)
	}
	return sum, nil
}

func (s *Server) fetch(ctx context.Context, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Addr.Ops+path, nil)
	if err != nil {
		return "", err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", path, res.Status)
	}
	return string(raw), err
}

// MemoryKiB is the resident memory of the process, in KiB (Linux).
func (s *Server) MemoryKiB() (int, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.Pid()))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			var kib int
			_, err := fmt.Sscan(rest, &kib)
			return kib, err
		}
	}
	return 0, errors.New("no VmRSS")
}

// Eventually polls a condition until it holds; the test fails if it never does.
func Eventually(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	limit := time.After(Patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-limit:
			tb.Fatalf("waited %s for: %s", Patience, what)
		}
	}
}
