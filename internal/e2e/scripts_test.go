package e2e

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

var (
	update  = flag.Bool("update", false, "rewrite what scripts expect from what the server says; read the diff")
	verbose = flag.Bool("wire", false, "log every PDU of the scripts")
)

const scriptsDir = "../../testdata/scripts"

func readScripts(t *testing.T, dir string) []*Script {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts in %s: %v", dir, err)
	}
	var all []*Script
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		s, err := ParseScript(strings.TrimSuffix(filepath.Base(f), ".txt"), string(text))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}

func runScript(t *testing.T, r *Runner, dir string, s *Script) bool {
	t.Helper()
	if *verbose {
		r.Log = t.Logf
	}
	if err := r.Run(s); err != nil {
		t.Error(err)
		return false
	}
	if *update {
		if err := os.WriteFile(filepath.Join(dir, s.Name+".txt"), []byte(s.Text()), 0o644); err != nil {
			t.Error(err)
		}
	}
	return true
}

// TestScripts plays the conversations of testdata/scripts, each in a world of its own.
func TestScripts(t *testing.T) {
	for _, s := range readScripts(t, scriptsDir) {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			runScript(t, NewRunner(t, scriptsDir, *update), scriptsDir, s)
		})
	}
}

// TestRecorded replays the conversations that were recorded with the C++ servers, byte for byte from the clients' side, over every transport. They
// are one conversation in many files, in one world; testdata/scripts/legacy/MAPPING.md says how what they hold is compared.
func TestRecorded(t *testing.T) {
	dir := filepath.Join(scriptsDir, "legacy")
	vias := recordedVias()
	// All at once, however few cores there are: they mostly wait for what has to take its time.
	var worlds sync.WaitGroup
	for _, via := range vias {
		worlds.Go(func() { // ends with its conversation
			t.Run(string(via), func(t *testing.T) {
				r := NewRunner(t, dir, *update)
				r.Via, r.Args = via, quickPasswords()
				playRecorded(t, dir, r)
			})
		})
	}
	worlds.Wait()
}

// recordedVias are the transports to replay over: with the race detector one of each kind, else all of them, or those that had not been.
func recordedVias() []Via {
	kinds := []Via{ViaTCP, ViaWebSocketTLS, ViaLongPollHTTP3, ViaQUIC}
	switch {
	case *update:
		return kinds[:1] // what is expected is the same over all
	case soak():
	case raceDetector:
		return kinds
	case os.Getenv("TT_RACED") != "":
		return slices.DeleteFunc(Transports(), func(v Via) bool { return slices.Contains(kinds, v) })
	}
	return Transports()
}

func playRecorded(t *testing.T, dir string, r *Runner) {
	scripts := inOrder(t, readScripts(t, dir))
	played := 0
	for i, s := range scripts {
		t.Run(s.Name, func(t *testing.T) {
			for ; played < i; played++ { // a filter has left those out
				if err := r.Run(scripts[played]); err != nil {
					t.Fatalf("before this script: %v", err)
				}
			}
			played++
			if !runScript(t, r, dir, s) {
				played = len(scripts)
			}
		})
		if played == len(scripts) && i+1 < len(scripts) {
			t.Fatalf("%d conversations that go on from there were not played", len(scripts)-i-1)
		}
	}
}

// inOrder follows the continues lines.
func inOrder(t *testing.T, scripts []*Script) []*Script {
	t.Helper()
	var ordered []*Script
	last := ""
	for len(ordered) < len(scripts) {
		i := slices.IndexFunc(scripts, func(s *Script) bool { return s.Continues == last })
		if i < 0 {
			t.Fatalf("no script continues %q", last)
		}
		ordered = append(ordered, scripts[i])
		last = scripts[i].Name
	}
	return ordered
}

// TestRulesExist: a script cites only rules that docs/PROTOCOL.md defines, and marks differences in recordings only.
func TestRulesExist(t *testing.T) {
	text, err := os.ReadFile("../../docs/PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	defined := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^- \*\*\[(TT-[A-Z0-9]+-[0-9]+)\]\*\* `).FindAllStringSubmatch(string(text), -1) {
		defined[m[1]] = true
	}
	for _, s := range append(readScripts(t, scriptsDir), readScripts(t, filepath.Join(scriptsDir, "legacy"))...) {
		for _, st := range s.Statements {
			for _, key := range st.Keys {
				if !defined[key] {
					t.Errorf("%s:%d cites %s, which docs/PROTOCOL.md does not define", s.Name, st.Line, key)
				}
			}
			if st.Mark != MarkBoth && !s.Recorded {
				t.Errorf("%s:%d is marked %c, but the script is no recording", s.Name, st.Line, st.Mark)
			}
		}
	}
}
