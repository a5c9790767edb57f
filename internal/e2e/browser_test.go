package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// browserPatience is how long a script of web/test may take before it is ended; each of its steps has its own, shorter limit.
const browserPatience = 10 * time.Minute

// The web client's folder, seen from here, and the browser, unless TT_CHROMIUM names another one.
const (
	webFolder       = "../../web"
	debiansChromium = "/usr/bin/chromium"
)

// A favour is something a script asks of the test that runs it, such as that a node is killed or that somebody with a client of before says something. It runs on
// the test's goroutine and may fail it. What it returns is the answer, as JSON.
type favour func(with json.RawMessage) any

// asked makes a favour of a function with typed arguments.
func asked[Args any](t *testing.T, do func(Args) any) favour {
	return func(with json.RawMessage) any {
		t.Helper()
		var a Args
		if len(with) > 0 {
			if err := json.Unmarshal(with, &a); err != nil {
				t.Fatalf("%v in %s", err, with)
			}
		}
		return do(a)
	}
}

// chromium is the browser's path. Without one, or without what "make web" makes, the test is skipped; on CI, where both are, it fails.
func chromium(t *testing.T) string {
	t.Helper()
	if raceDetector {
		t.Skip("without the race detector (make test): all that the page asks of a server has its tests with it")
	}
	path := os.Getenv("TT_CHROMIUM")
	if path == "" {
		path = debiansChromium
	}
	_, noNode := exec.LookPath("node")
	for _, need := range []struct{ what, path string }{{"a browser (Debian's package chromium, or TT_CHROMIUM)", path},
		{"what its scripts need (make web)", webFolder + "/node_modules/playwright-core/package.json"},
		{"the built web client (make web)", webFolder + "/dist/index.html"}} {
		_, err := os.Stat(need.path)
		if err = errors.Join(err, noNode); err == nil {
			continue
		}
		if os.Getenv("TT_CI") != "" {
			t.Fatalf("on CI this must run, but there is no %s: %v", need.what, err)
		}
		t.Skipf("this test needs %s: %v", need.what, err)
	}
	return path
}

// A performance is a script of web/test that runs.
type performance struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Scanner
	said   bytes.Buffer // on its standard error
	killer *time.Timer
}

// perform runs a script of web/test until it ends, does what it asks for meanwhile, and fails the test if the script fails. The script gets facts as JSON.
func perform(t *testing.T, script string, facts any, favours map[string]favour) {
	t.Helper()
	p := startScript(t, script, facts)
	for p.out.Scan() {
		line := p.out.Text()
		if !strings.HasPrefix(line, `{"ask":`) {
			t.Log(line)
			continue
		}
		var request struct {
			Ask  string
			With json.RawMessage
		}
		if err := json.Unmarshal([]byte(line), &request); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		do, ok := favours[request.Ask]
		if !ok {
			t.Fatalf("%s asks for %q, which nobody does", script, request.Ask)
		}
		answer, err := json.Marshal(do(request.With))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.in.Write(append(answer, '\n')); err != nil {
			break // it has ended: how is said below
		}
	}
	err := p.cmd.Wait()
	if said := strings.TrimSpace(p.said.String()); said != "" {
		t.Log(said)
	}
	if err != nil {
		t.Errorf("%s: %v", script, err)
	}
}

func startScript(t *testing.T, script string, facts any) *performance {
	t.Helper()
	known, err := json.Marshal(facts)
	if err != nil {
		t.Fatal(err)
	}
	home, err := os.MkdirTemp("", "teamtalk-browser-") //nolint:usetesting // the browser may write there for a moment after its end
	if err != nil {
		t.Fatal(err)
	}
	p := &performance{cmd: exec.CommandContext(t.Context(), "node", script)}
	p.cmd.Dir = filepath.Join(webFolder, "test")
	// The browser's profile and caches go with the test.
	p.cmd.Env = append(os.Environ(), "TT_FACTS="+string(known), "TT_BROWSER="+chromium(t), "TMPDIR="+home, "HOME="+home)
	p.cmd.Stderr = &p.said
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) } // it ends its browser then
	p.cmd.WaitDelay = Patience
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewScanner(out)
	p.out.Buffer(nil, 16<<20)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.killer = time.AfterFunc(browserPatience, func() { _ = p.cmd.Cancel() }) // fails only if it has ended
	t.Cleanup(func() {
		p.end()
		removeAll(t, home)
	})
	return p
}

// end ends a script that the test has left early.
func (p *performance) end() {
	p.killer.Stop()
	if p.cmd.ProcessState != nil {
		return
	}
	_ = p.cmd.Cancel() // fails only if it has ended
	_ = p.cmd.Wait()   // it was made to end: the test has failed already
}

// removeAll removes the browser's folder; its last processes may still be writing there for a moment.
func removeAll(t *testing.T, dir string) {
	t.Helper()
	Eventually(t, fmt.Sprintf("%s to be removed", dir), func() bool { return os.RemoveAll(dir) == nil })
}
