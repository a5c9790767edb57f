package e2e

import (
	"strings"
	"testing"
)

// TestStacksAreGathered: what a server that was sent SIGQUIT prints becomes short enough to be read, and a server that runs says it.
func TestStacksAreGathered(t *testing.T) {
	t.Setenv("TT_STACKS", "1")
	s := Start(t, ServerConfig{Args: []string{"--users", "2"}})
	said := s.lastWords()
	_, stacks, ok := strings.Cut(said, "its goroutines:\n")
	if !ok || s.Alive() {
		t.Fatalf("it says\n%s", said)
	}
	for _, want := range []string{"1 × [select] < ", "main.main (main.go:", "node.(*Node)."} {
		if !strings.Contains(stacks, want) {
			t.Errorf("%q is not in\n%s", want, stacks)
		}
	}
	if short := gatherStacks(s.Log(1<<24), 1000); len(short) > 1100 || !strings.Contains(short, "more places)\n") {
		t.Errorf("%d bytes:\n%s", len(short), short)
	}
	t.Logf("%d bytes of %d:\n%s", len(stacks), len(s.Log(1<<24)), stacks)
}
