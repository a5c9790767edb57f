//go:build linux

package e2e

import (
	"slices"
	"strings"
	"testing"
)

// joinToken is where in the command line of a node its token is.
func joinToken(t *testing.T, n *ClusterNode) *string {
	t.Helper()
	i := slices.Index(n.config.Args, "--join")
	if i < 0 {
		t.Fatal("it did not join")
	}
	return &n.config.Args[i+1]
}

// TestTokenIsUsedOnce: a token lets one node join, even when nobody remembers that it was used.
func TestTokenIsUsedOnce(t *testing.T) {
	together(t)
	c := StartCluster(t, 2, ClusterConfig{Args: quickPasswords()})
	c.restartAll(t)
	third := c.prepare(t, 2, "")
	fresh, used := *joinToken(t, third), *joinToken(t, c.Nodes[1])
	*joinToken(t, third) = used
	if err := third.Run(t); err == nil || !strings.Contains(third.Log(2000), "the token was used already, by node "+c.Nodes[1].ID) {
		t.Fatalf("a token that was used: %v\n%s", err, third.Log(2000))
	}
	if s := c.Nodes[0].ask(t); len(s.Members) != 2 {
		t.Errorf("%d members", len(s.Members))
	}
	*joinToken(t, third) = fresh
	if err := third.Run(t); err != nil {
		t.Fatal(err)
	}
	third.ID = third.ask(t).Asked
	c.Nodes = append(c.Nodes, third)
	c.WaitHealthy(t)
}
