//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"teamtalk/protocol/pb"
)

// importPeople makes users person1 … with passwords of their own, so that no two have a stored form in common. An import of many takes longer than a
// command may.
func importPeople(t *testing.T, n *ClusterNode, people int) {
	t.Helper()
	const most = 200
	for first := 1; first <= people; first += most {
		rows := "name,password\n"
		for i := first; i < min(first+most, people+1); i++ {
			rows += fmt.Sprintf("person%d,secret%d\n", i, i)
		}
		file := filepath.Join(t.TempDir(), "people.csv")
		if err := os.WriteFile(file, []byte(rows), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := n.Ctl(t, t.TempDir(), "user", "import", file); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
}

// comeBack has so many people log in with their passwords, as clients of today do that know nothing else, spread over some nodes, several at a time
// on each. They stay. Who is sent away because too many wait tries again, as people do.
func (c *Cluster) comeBack(ctx context.Context, t *testing.T, people int, nodes ...*ClusterNode) time.Duration {
	t.Helper()
	began := time.Now()
	var all sync.WaitGroup
	next, failures := make(chan int), make(chan error, people)
	for range 16 * len(nodes) {
		all.Go(func() { // ends with next
			for i := range next {
				failures <- insist(ctx, t, nodes[i%len(nodes)], fmt.Sprintf("person%d", i+1), fmt.Sprintf("secret%d", i+1))
			}
		})
	}
	for i := range people {
		next <- i
	}
	close(next)
	all.Wait()
	took := time.Since(began)
	close(failures)
	var errs []error
	for err := range failures {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	return took
}

func insist(ctx context.Context, t *testing.T, n *ClusterNode, user, password string) error {
	for {
		err := enterByPassword(ctx, t, n, user, password)
		if err == nil || !strings.Contains(err.Error(), pb.ResultType_REFUSE_REASON_MSG_SERVER_FULL.String()) {
			return err
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return err
		}
	}
}

func enterByPassword(ctx context.Context, t *testing.T, n *ClusterNode, user, password string) error {
	client, err := DialFrom(ctx, "", n.Addr.TCP)
	if err != nil {
		return err
	}
	t.Cleanup(client.Close)
	_, err = client.Login(ctx, user, password, pb.ClientType_CLIENT_TYPE_WINDOWS)
	return err
}

// hashed is how many passwords nodes have computed argon2id for, right or wrong.
func hashed(ctx context.Context, t *testing.T, nodes ...*ClusterNode) (n float64) {
	t.Helper()
	for _, node := range nodes {
		for _, how := range []string{"argon2id", "decoy"} {
			if v, err := node.Metrics(ctx, `teamtalk_password_checks_total{how="`+how+`"}`); err == nil { // else there was none
				n += v
			}
		}
	}
	return n
}

// awaitProofs waits until nodes have learnt so many proofs.
func awaitProofs(ctx context.Context, t *testing.T, many float64, nodes ...*ClusterNode) {
	t.Helper()
	for _, n := range nodes {
		Eventually(t, "proofs", func() bool {
			v, err := n.Metrics(ctx, `teamtalk_password_proofs_total{what="learnt"}`)
			return err == nil && v >= many
		})
	}
}

// restartAll kills all nodes and starts them again: nobody remembers anything then.
func (c *Cluster) restartAll(t *testing.T) {
	t.Helper()
	failures := make(chan error, len(c.Nodes))
	for _, n := range c.Nodes {
		n.Kill()
	}
	var all sync.WaitGroup
	for _, n := range c.Nodes {
		all.Go(func() { failures <- n.Run(t) })
	}
	all.Wait()
	close(failures)
	for err := range failures {
		if err != nil {
			t.Fatal(err)
		}
	}
	c.WaitHealthy(t)
}

// TestPasswordsAreVerifiedOnce: whoever logged in on a node that dies comes back on another one without an argon2id computation; so does everybody on the
// node when it is back. A password that was changed is worth nothing anywhere from then on, and neither is that of a user who was disabled.
func TestPasswordsAreVerifiedOnce(t *testing.T) {
	together(t)
	const people = 200
	c := StartCluster(t, 3, ClusterConfig{Args: quickPasswords()})
	ctx, cancel := limited(t, clusterPatience)
	defer cancel()
	importPeople(t, c.Nodes[0], people)
	c.restartAll(t)
	dead, left := c.Nodes[0], c.Nodes[1:]
	c.comeBack(ctx, t, people, dead)
	if n := hashed(ctx, t, dead); n != people {
		t.Fatalf("%v computations for %d first logins", n, people)
	}
	awaitProofs(ctx, t, people, left...)
	dead.Kill()
	c.Leader(t, dead)
	took := c.comeBack(ctx, t, people, left...)
	if n := hashed(ctx, t, left...); n != 0 {
		t.Errorf("%v computations for %d people who come back", n, people)
	}
	t.Logf("%d people are back after %s", people, took.Round(time.Millisecond))

	if err := dead.Run(t); err != nil {
		t.Fatal(err)
	}
	c.WaitHealthy(t)
	awaitProofs(ctx, t, people, dead)
	c.comeBack(ctx, t, people, dead)
	if n := hashed(ctx, t, c.Nodes...); n != 0 {
		t.Errorf("%v computations on a node that was told all when it came", n)
	}

	for _, args := range [][]string{{"user", "passwd", "person1", "--password", "other"}, {"user", "disable", "person2"}} {
		if out, err := left[0].Ctl(t, t.TempDir(), args...); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	c.WaitEqual(t)
	for _, n := range c.Nodes {
		for user, password := range map[string]string{"person1": "secret1", "person2": "secret2"} {
			if err := enterByPassword(ctx, t, n, user, password); err == nil {
				t.Errorf("%s gets in on node %s with what was right before", user, n.ID)
			}
		}
		if err := enterByPassword(ctx, t, n, "person1", "other"); err != nil {
			t.Errorf("the new password on node %s: %v", n.ID, err)
		}
	}
}

// TestManyComeBack measures, with passwords that cost what they do in life, how long legacy clients need to be back on two nodes when the third one dies, and
// how long that takes where nobody has verified their passwords before (TT_SOAK=1).
func TestManyComeBack(t *testing.T) {
	if !soak() {
		t.Skip("minutes of argon2id: TT_SOAK=1 measures it")
	}
	const people = 2000
	c := StartCluster(t, 3, ClusterConfig{})
	ctx, cancel := limited(t, 10*clusterPatience)
	defer cancel()
	began := time.Now()
	importPeople(t, c.Nodes[0], people)
	t.Logf("%d passwords made in %s", people, time.Since(began).Round(time.Second))
	dead, left := c.Nodes[0], c.Nodes[1:]
	awaitProofs(ctx, t, people+1, left...) // the demo users have one in common
	dead.Kill()
	c.Leader(t, dead)
	took := c.comeBack(ctx, t, people, left...)
	t.Logf("%d people are back after %s with %v computations of argon2id", people, took.Round(time.Millisecond), hashed(ctx, t, left...))
	if n := hashed(ctx, t, left...); n != 0 {
		t.Errorf("%v computations for people whose passwords were verified elsewhere", n)
	}
	c.restartAll(t)
	took = c.comeBack(ctx, t, people, left...)
	t.Logf("without what others have verified: %s, %v computations", took.Round(time.Millisecond), hashed(ctx, t, left...))
}
