package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

const (
	startLimit = time.Minute
	stopLimit  = 30 * time.Second
	lookEvery  = 20 * time.Millisecond
)

// Server is a "teamtalkd dev" that was started for a benchmark.
type Server struct {
	// TCP is the address of the native protocol.
	TCP  string
	cmd  *exec.Cmd
	log  *os.File
	done chan error
}

// StartServer runs the binary on a fresh directory with users user1 … and waits until it is ready.
func StartServer(ctx context.Context, binary, dir string, users int, password string) (*Server, error) {
	data := filepath.Join(dir, "data")
	log, err := os.Create(filepath.Join(dir, "teamtalkd.log"))
	if err != nil {
		return nil, err
	}
	const free = "127.0.0.1:0"
	// Not CommandContext: the process is to leave in order, see Stop.
	cmd := exec.Command(binary, "dev", "--data", data, "--users", fmt.Sprint(users), "--password", password, //nolint:gosec,noctx // the operator's binary
		"--tcp", free, "--http", free, "--ops", free, "--login", "off", "--tls", "off", "--quic", "off")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	s := &Server{cmd: cmd, log: log, done: make(chan error, 1)}
	go func() { s.done <- cmd.Wait() }() // until the process ends; Stop takes the result
	if s.TCP, err = s.ready(ctx, filepath.Join(data, "addresses.json")); err != nil {
		return nil, errors.Join(fmt.Errorf("%s dev: %w; its log is %s", binary, err, log.Name()), s.Stop())
	}
	return s, nil
}

// ready waits for the file in which the server says where it listens.
func (s *Server) ready(ctx context.Context, file string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for {
		text, err := os.ReadFile(file)
		if err == nil {
			var addresses struct {
				TCP string `json:"tcp"`
			}
			if err := json.Unmarshal(text, &addresses); err != nil {
				return "", err
			}
			return addresses.TCP, nil
		}
		select {
		case err := <-s.done:
			s.done <- err
			return "", fmt.Errorf("ended: %w", err)
		default:
		}
		if err := wait(ctx, lookEvery); err != nil {
			return "", fmt.Errorf("not ready: %w", err)
		}
	}
}

// PID is the server's process.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Stop ends the server in order, or by force when it does not leave.
func (s *Server) Stop() error {
	force := time.AfterFunc(stopLimit, func() { _ = s.cmd.Process.Kill() })
	defer force.Stop()
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // fails only when it has gone already
	return errors.Join(<-s.done, s.log.Close())
}
