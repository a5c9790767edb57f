package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"teamtalkd": main})
}

// patience is many times what anything here takes.
const patience = 60 * time.Second

// TestScripts runs testdata/*.txt: the binary as an operator sees it. Besides the commands of testscript there are
//
//	start NAME [arguments of teamtalkd…]   starts a server on free ports, with its data in the directory NAME, and waits until it is ready; @FILE is the content of a file
//	halt NAME [SIGNAL]                     ends it and waits; its output follows, "exit: STATUS" last
//	await COMMAND                           runs a command of the shell again and again until its status is 0
//	get NAME LISTENER PATH [TOKEN]          a GET request, @FILE being the token in a file; the status is the first line of the output, the body follows
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			env.Values[serversKey{}] = make(map[string]*server)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"start": start, "halt": halt, "get": get, "await": await},
	})
}

type serversKey struct{}

// server is a teamtalkd that a script started.
type server struct {
	cmd  *exec.Cmd
	out  strings.Builder
	exit chan error
}

func servers(ts *testscript.TestScript) map[string]*server {
	all, ok := ts.Value(serversKey{}).(map[string]*server)
	if !ok {
		ts.Fatalf("no servers in this script")
	}
	return all
}

func start(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: start NAME dev|serve [arguments]")
	}
	name, dir := args[0], ts.MkAbs(args[0])
	argv := append(slices.Clone(args[1:]), "--data", dir)
	for i, a := range argv {
		if file, ok := strings.CutPrefix(a, "@"); ok {
			argv[i] = strings.TrimSpace(ts.ReadFile(file))
		}
	}
	for _, listener := range []string{"--tcp", "--tls", "--quic", "--http", "--ops", "--login", "--files", "--node"} {
		if !slices.Contains(argv, listener) {
			argv = append(argv, listener, "127.0.0.1:0")
		}
	}
	if !slices.Contains(argv, "--tls-cert") {
		argv = append(argv, "--tls-development", "true")
	}
	s := &server{exit: make(chan error, 1)}
	s.cmd = exec.Command("teamtalkd", argv...) // this very binary: testscript.Main puts it into the PATH under that name
	s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = ts.MkAbs("."), &s.out, &s.out
	before, _ := os.ReadFile(dir + "/addresses.json")
	ts.Check(s.cmd.Start())
	go func() { s.exit <- s.cmd.Wait() }() // ends with the process, which halt or the end of the script ends
	servers(ts)[name] = s
	ts.Defer(func() {
		if servers(ts)[name] == s {
			_ = s.cmd.Process.Kill()
			ts.Logf("%s killed: %v", name, <-s.exit)
		}
	})
	s.awaitReady(ts, dir, string(before))
}

func (s *server) awaitReady(ts *testscript.TestScript, dir, before string) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for {
		if b, err := os.ReadFile(dir + "/addresses.json"); err == nil && string(b) != before {
			return
		}
		select {
		case <-tick.C:
		case err := <-s.exit:
			s.exit <- err
			ts.Fatalf("the server ended: %v\n%s", err, s.out.String())
		case <-deadline:
			ts.Fatalf("the server was not ready in %s", patience)
		}
	}
}

func halt(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: halt NAME [INT|KILL|NONE]")
	}
	s := servers(ts)[args[0]]
	if s == nil {
		ts.Fatalf("no server %s", args[0])
	}
	delete(servers(ts), args[0])
	var sig os.Signal = os.Interrupt
	if len(args) == 2 && args[1] == "KILL" {
		sig = os.Kill
	}
	if len(args) == 1 || args[1] != "NONE" { // it ends by itself
		ts.Check(s.cmd.Process.Signal(sig))
	}
	select {
	case err := <-s.exit:
		ts.Logf("%s ended: %v", args[0], err)
	case <-time.After(patience):
		_ = s.cmd.Process.Kill()
		ts.Fatalf("the server did not end in %s", patience)
	}
	_, err := fmt.Fprintf(ts.Stdout(), "%sexit: %d\n", s.out.String(), s.cmd.ProcessState.ExitCode())
	ts.Check(err)
}

func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: await COMMAND")
	}
	deadline := time.Now().Add(patience)
	for ts.Exec("sh", "-c", args[0]) != nil {
		if time.Now().After(deadline) {
			ts.Fatalf("not in %s: %s", patience, args[0])
		}
	}
}

func get(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 || len(args) > 4 {
		ts.Fatalf("usage: get NAME LISTENER PATH [TOKEN]")
	}
	var at map[string]string
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0]+"/addresses.json")), &at))
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at[args[1]]+args[2], nil)
	ts.Check(err)
	if len(args) == 4 {
		if file, ok := strings.CutPrefix(args[3], "@"); ok {
			args[3] = strings.TrimSpace(ts.ReadFile(file))
		}
		req.Header.Set("Authorization", "Bearer "+args[3])
	}
	resp, err := http.DefaultClient.Do(req)
	ts.Check(err)
	body, err := io.ReadAll(resp.Body)
	ts.Check(errors.Join(err, resp.Body.Close()))
	_, err = fmt.Fprintf(ts.Stdout(), "%s\n%s\n", resp.Status, body)
	ts.Check(err)
}
