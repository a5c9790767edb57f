package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"teamtalk/protocol"
)

// The ports of each node. The nodes have addresses of their own, on which nobody else listens, so that one that starts again is where it was.
const (
	clusterTCP  = "8000"
	clusterTLS  = "8443" // QUIC too
	clusterHTTP = "8080"
	clusterNode = "7000"
	clusterOps  = "8090"
)

const (
	clusterSize = 3
	// keptUp is how many log entries a node under load may be behind: it is asked later than the others.
	keptUp     = 200
	wholeLimit = 2 * time.Minute
	wholeEvery = 50 * time.Millisecond
)

// member is a server of a cluster.
type member struct {
	*Server
	id   string // known once it is in the cluster
	host string
	dir  string
	args []string
}

// servers are a cluster that was started for a benchmark.
type servers struct {
	binary, dir string
	network     string // what the addresses begin with
	users       int
	flags       []string
	members     []*member
}

// newServers makes a cluster without any server yet, in a new directory.
func newServers(o ClusterOptions, name string, users int) (*servers, error) {
	c := &servers{binary: o.Binary, dir: filepath.Join(o.Dir, name), users: users, flags: o.Flags,
		network: fmt.Sprintf("127.%d.%d.", 1+rand.IntN(254), rand.IntN(256))}
	return c, os.Mkdir(c.dir, 0o700)
}

// withServers runs a cluster of so many while body does.
func withServers(ctx context.Context, o ClusterOptions, name string, size, users int, body func(*servers) error) error {
	c, err := newServers(o, name, users)
	if err != nil {
		return err
	}
	for range size {
		if err == nil {
			_, err = c.join(ctx)
		}
	}
	if err == nil {
		err = body(c)
	}
	return errors.Join(err, c.stop())
}

// join adds a server, the first of all or one with a token of the first, and waits until it votes and has caught up.
func (c *servers) join(ctx context.Context) (*member, error) {
	m, err := c.prepare(ctx)
	if err != nil {
		return nil, err
	}
	if m.Server, err = launch(ctx, c.binary, m.dir, m.args); err != nil {
		return nil, err
	}
	c.members = append(c.members, m)
	var s clusterStatus
	if s, err = m.status(ctx); err != nil {
		return nil, err
	}
	m.id = s.Asked
	return m, c.whole(ctx)
}

// prepare makes the directory and the command line of one more server.
func (c *servers) prepare(ctx context.Context) (*member, error) {
	place := len(c.members) + 1
	m := &member{host: fmt.Sprint(c.network, place), dir: filepath.Join(c.dir, fmt.Sprint("n", place))}
	if err := os.Mkdir(m.dir, 0o700); err != nil {
		return nil, err
	}
	at := func(port string) string { return net.JoinHostPort(m.host, port) }
	m.args = append([]string{"dev", "--data", filepath.Join(m.dir, "data"), "--node-name", fmt.Sprint("n", place), "--log-level", "info", "--login", "off",
		"--tcp", at(clusterTCP), "--tls", at(clusterTLS), "--quic", at(clusterTLS), "--http", at(clusterHTTP), "--node", at(clusterNode), "--files", "off", "--ops", at(clusterOps),
		"--users", fmt.Sprint(c.users), "--password", benchPassword}, c.flags...)
	if place == 1 {
		return m, nil
	}
	var answer bytes.Buffer
	if err := c.members[0].ask(ctx, http.MethodPost, "/api/v1/cluster/token", &answer); err != nil {
		return nil, err
	}
	var t struct {
		Token string `json:"token"`
	}
	if err := json.Unmarshal(answer.Bytes(), &t); err != nil {
		return nil, err
	}
	m.args = append(m.args, "--join", t.Token)
	return m, nil
}

// restart starts a server again that has ended.
func (c *servers) restart(ctx context.Context, m *member) (err error) {
	m.Server, err = launch(ctx, c.binary, m.dir, m.args)
	return err
}

// stop ends all servers.
func (c *servers) stop() error {
	var all errgroup.Group
	for _, m := range c.members {
		if m.Server != nil {
			all.Go(m.Stop)
		}
	}
	return all.Wait()
}

// targets is where the clients of some members go by TCP; nobody named: of all.
func (c *servers) targets(of ...*member) []Target {
	if len(of) == 0 {
		of = c.members
	}
	var all []Target
	for _, m := range of {
		all = append(all, Target{Server: m.TCP, Via: ViaTCP, UserPattern: "user%d", First: 1, Password: benchPassword, Client: protocol.ClientAndroid})
	}
	return all
}

// clusterStatus is what a node says of the cluster.
type clusterStatus struct {
	Asked   string         `json:"asked"`
	Leader  string         `json:"leader"`
	Members []memberStatus `json:"members"`
}

type memberStatus struct {
	ID     string `json:"id"`
	Role   string `json:"role"`
	Report *struct {
		Applied uint64 `json:"applied"`
		Commit  uint64 `json:"commit"`
		Links   []struct {
			Node string `json:"node"`
			Up   bool   `json:"up"`
		} `json:"links"`
	} `json:"report"`
}

func (m *member) status(ctx context.Context) (s clusterStatus, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var answer bytes.Buffer
	if err := m.ask(ctx, http.MethodGet, "/api/v1/cluster", &answer); err != nil {
		return s, err
	}
	err = json.Unmarshal(answer.Bytes(), &s)
	return s, err
}

// leader is the member that leads, as the others see it too.
func (c *servers) leader(ctx context.Context) (*member, error) {
	if err := c.whole(ctx); err != nil {
		return nil, err
	}
	s, err := c.members[0].status(ctx)
	if err != nil {
		return nil, err
	}
	for _, m := range c.members {
		if m.id == s.Leader {
			return m, nil
		}
	}
	return nil, fmt.Errorf("%q leads, who is none of ours", s.Leader)
}

// roles is the leader and the others.
func (c *servers) roles(ctx context.Context) (leader *member, followers []*member, err error) {
	if leader, err = c.leader(ctx); err != nil {
		return nil, nil, err
	}
	for _, m := range c.members {
		if m != leader {
			followers = append(followers, m)
		}
	}
	return leader, followers, nil
}

// whole waits until all are voters of one leader, linked to each other, and keep up.
func (c *servers) whole(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, wholeLimit)
	defer cancel()
	var why error
	for {
		now := c.shortcoming(ctx)
		if now == nil {
			return nil
		}
		if why == nil || ctx.Err() == nil { // a question that was broken off tells less
			why = now
		}
		if err := wait(ctx, wholeEvery); err != nil {
			return fmt.Errorf("the cluster of %s is not whole: %w; it was waited for until: %w", c.dir, why, err)
		}
	}
}

// shortcoming is what keeps the members from being a whole cluster; nil: nothing.
func (c *servers) shortcoming(ctx context.Context) error {
	leader := ""
	for _, m := range c.members {
		s, err := m.status(ctx)
		switch {
		case err != nil:
			return err
		case s.Leader == "":
			return fmt.Errorf("node %s knows no leader", s.Asked)
		case leader != "" && s.Leader != leader:
			return fmt.Errorf("node %s follows %s, others %s", s.Asked, s.Leader, leader)
		case len(s.Members) != len(c.members):
			return fmt.Errorf("node %s knows %d members of %d", s.Asked, len(s.Members), len(c.members))
		}
		leader = s.Leader
		if err := s.lacks(); err != nil {
			return fmt.Errorf("node %s: %w", s.Asked, err)
		}
	}
	return nil
}

// lacks is what is missing of the members that one node sees.
func (s clusterStatus) lacks() error {
	newest := uint64(0)
	for _, m := range s.Members {
		if m.Report == nil {
			return fmt.Errorf("nothing is heard of node %s", m.ID)
		}
		newest = max(newest, m.Report.Commit)
	}
	for _, m := range s.Members {
		switch {
		case m.Role == "non-voter":
			return fmt.Errorf("node %s does not vote", m.ID)
		case m.Report.Applied+keptUp < newest:
			return fmt.Errorf("node %s has applied %d entries of %d", m.ID, m.Report.Applied, newest)
		}
		for _, l := range m.Report.Links {
			if !l.Up {
				return fmt.Errorf("node %s has no link to node %s", m.ID, l.Node)
			}
		}
	}
	return nil
}

// roleNames says what the first of some members is, the leader coming before the others.
func roleNames(place int) string { return []string{"the leader", "a follower"}[min(place, 1)] }
