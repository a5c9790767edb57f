package load

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
	"time"

	"teamtalk/protocol"
)

const (
	startLimit = time.Minute
	stopLimit  = 30 * time.Second
	lookEvery  = 20 * time.Millisecond

	// Names in a server's data directory.
	addressesFile = "addresses.json"
	tokenFile     = "admin.token"
	// Beside it.
	logFile = "teamtalkd.log"

	// How a server says, after a backup, that it is whole.
	backupTrailer  = "Teamtalk-Backup"
	backupComplete = "complete"
)

// Place is a server on this machine, known by its data directory.
type Place struct {
	Addresses
	dir string
}

// FindServer reads where the server of a data directory listens.
func FindServer(dir string) (Place, error) {
	p := Place{dir: dir}
	text, err := os.ReadFile(filepath.Join(dir, addressesFile))
	if err != nil {
		return p, err
	}
	return p, json.Unmarshal(text, &p.Addresses)
}

// Target is how to reach the server by a transport, as the users of "teamtalkd dev".
func (p Place) Target(via Via, password string) (Target, error) {
	port, err := p.Port(via)
	if err != nil {
		return Target{}, err
	}
	conf, err := Trust(p.CA)
	if err != nil {
		return Target{}, err
	}
	return Target{Server: port, Via: via, TLS: conf, UserPattern: "user%d", First: 1, Password: password, Client: protocol.ClientAndroid}, nil
}

// Collect lets the server collect its garbage, twice: what the first time finds to be closed is free after the second.
func (p Place) Collect(ctx context.Context) error {
	for range 2 {
		if err := p.collect(ctx); err != nil {
			return fmt.Errorf("collect garbage: %w", err)
		}
	}
	return nil
}

func (p Place) collect(ctx context.Context) error {
	return p.ask(ctx, http.MethodGet, "/debug/pprof/heap?gc=1", io.Discard)
}

// ask makes a request of an operator that says nothing more; what is answered goes to out.
func (p Place) ask(ctx context.Context, method, path string, out io.Writer) error {
	var body io.Reader
	if method == http.MethodPost {
		body = strings.NewReader("{}")
	}
	return p.request(ctx, method, path, body, out)
}

// request makes a request of an operator; what is answered goes to out.
func (p Place) request(ctx context.Context, method, path string, body io.Reader, out io.Writer) error {
	token, err := os.ReadFile(filepath.Join(p.dir, tokenFile))
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+p.Ops+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(io.LimitReader(res.Body, 1<<10)) // what there is of it
		return fmt.Errorf("%s %s: %s %s", method, path, res.Status, why)
	}
	if _, err = io.Copy(out, res.Body); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if whole, isPart := res.Trailer[backupTrailer]; isPart && !slices.Equal(whole, []string{backupComplete}) {
		return fmt.Errorf("%s %s: %q", method, path, whole)
	}
	return nil
}

// Server is a "teamtalkd dev" that was started for a benchmark.
type Server struct {
	Place
	cmd  *exec.Cmd
	log  *os.File
	done chan error
}

// StartServer runs the binary on a fresh directory with users user1 …, and with more flags if there are any, and waits until it is ready.
func StartServer(ctx context.Context, binary, dir string, users int, password string, flags ...string) (*Server, error) {
	args := []string{"dev", "--data", filepath.Join(dir, "data"), "--users", fmt.Sprint(users), "--password", password, "--login", "off", "--tls-development", "true"}
	for _, port := range []string{"--tcp", "--tls", "--quic", "--http", "--files", "--ops"} {
		args = append(args, port, "127.0.0.1:0")
	}
	return launch(ctx, binary, dir, append(args, flags...))
}

// launch runs the binary, whose data directory is dir/data, and waits until it is ready. What it says is added to dir/teamtalkd.log.
func launch(ctx context.Context, binary, dir string, args []string) (*Server, error) {
	data := filepath.Join(dir, "data")
	// What a server that was killed has left would be taken for this one's.
	if err := os.Remove(filepath.Join(data, addressesFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	log, err := os.OpenFile(filepath.Join(dir, logFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	// Not CommandContext: the process is to leave in order, see Stop.
	cmd := exec.Command(binary, args...) //nolint:gosec,noctx // the operator's binary
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	s := &Server{cmd: cmd, log: log, done: make(chan error, 1)}
	go func() { s.done <- cmd.Wait() }() // until the process ends; Stop or Kill takes the result
	if s.Place, err = s.ready(ctx, data); err != nil {
		return nil, errors.Join(fmt.Errorf("%s dev: %w; its log is %s", binary, err, log.Name()), s.Stop())
	}
	return s, nil
}

// ready waits for the file in which the server says where it listens.
func (s *Server) ready(ctx context.Context, data string) (Place, error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for {
		place, err := FindServer(data)
		if !errors.Is(err, os.ErrNotExist) {
			return place, err
		}
		select {
		case err := <-s.done:
			s.done <- err
			return place, fmt.Errorf("ended: %w", err)
		default:
		}
		if err := wait(ctx, lookEvery); err != nil {
			return place, fmt.Errorf("not ready: %w", err)
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

// Kill ends the server without a word to it, as a crash does.
func (s *Server) Kill() error {
	if err := s.cmd.Process.Kill(); err != nil {
		return err
	}
	if err := <-s.done; err == nil {
		return errors.Join(errors.New("the server had ended in order before it was killed"), s.log.Close())
	}
	return s.log.Close()
}
