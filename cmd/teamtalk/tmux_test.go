package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rivo/uniseg"

	"teamtalk/internal/e2e"
)

// asTeamTalk in the environment makes the test's executable the program itself, for terminals.
const asTeamTalk = "TT_TEST_AS_TEAMTALK"

// screen is a program in a terminal of tmux.
type screen struct {
	t      *testing.T
	socket string
}

// openScreen runs a command line of teamtalk in a terminal of a size.
func openScreen(t *testing.T, width, height int, env []string, args ...string) *screen {
	t.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Skip("tmux is missing")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &screen{t, filepath.Join(t.TempDir(), "tmux")}
	line := []string{"-u", "-f", "/dev/null", "new-session", "-d", "-x", strconv.Itoa(width), "-y", strconv.Itoa(height)}
	for _, e := range append([]string{asTeamTalk + "=1", "LC_ALL=C.UTF-8", "TZ=UTC"}, env...) {
		line = append(line, "-e", e)
	}
	quoted := []string{exe}
	for _, a := range args {
		quoted = append(quoted, "'"+a+"'")
	}
	// The shell behind it keeps the terminal open, so that last words can be read.
	s.tmux(append(line, strings.Join(quoted, " ")+`; code=$?; trap "" INT; echo "left with status $code"; exec sleep 1000`)...)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the screen:\n%s", s.shot())
		}
		defer s.tmux("kill-server")
		s.keys("C-c") // the program still writes when its terminal goes
		s.shows("left with status")
	})
	return s
}

func (s *screen) tmux(args ...string) string {
	s.t.Helper()
	cmd := exec.Command("tmux", append([]string{"-S", s.socket}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("tmux %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// keys presses keys by their names.
func (s *screen) keys(names ...string) {
	s.t.Helper()
	s.tmux(append([]string{"send-keys"}, names...)...)
}

// write types a text.
func (s *screen) write(text string) {
	s.t.Helper()
	s.tmux("send-keys", "-l", "--", text)
}

// say types a text and Enter.
func (s *screen) say(text string) {
	s.t.Helper()
	s.write(text)
	s.keys("Enter")
}

// shot is what the terminal shows.
func (s *screen) shot() string { return s.tmux("capture-pane", "-p") }

// shows waits until all of the texts are on the screen.
func (s *screen) shows(texts ...string) {
	s.t.Helper()
	for _, text := range texts {
		s.awaits(fmt.Sprintf("%q on the screen", text), func(shot string) bool { return strings.Contains(shot, text) })
	}
}

// hides waits until none of the texts is on the screen.
func (s *screen) hides(texts ...string) {
	s.t.Helper()
	for _, text := range texts {
		s.awaits(fmt.Sprintf("no %q on the screen", text), func(shot string) bool { return !strings.Contains(shot, text) })
	}
}

// awaits waits until the screen is as it should be.
func (s *screen) awaits(what string, holds func(shot string) bool) {
	s.t.Helper()
	e2e.Eventually(s.t, what, func() bool { return holds(s.shot()) })
}

// aligned tells whether the line between list and conversation stands in one column of cells in all rows but the last.
func aligned(shot string) error {
	rows := strings.Split(strings.TrimRight(shot, "\n"), "\n")
	column := -1
	for i, row := range rows[:len(rows)-1] {
		before, _, found := strings.Cut(row, "│")
		if !found {
			return fmt.Errorf("row %d has no line: %q", i, row)
		}
		at := uniseg.StringWidth(before)
		if column < 0 {
			column = at
		}
		if at != column {
			return fmt.Errorf("row %d has its line in column %d instead of %d: %q", i, at, column, row)
		}
	}
	return nil
}

// cursor is the column of the cursor.
func (s *screen) cursor() int {
	s.t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(s.tmux("display-message", "-p", "#{cursor_x}")))
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}
