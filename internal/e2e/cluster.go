package e2e

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"teamtalk/client/dial"
)

// The ports of each node; the addresses differ, so that a node that starts anew is where it was.
const (
	clusterTCP  = "8000"
	clusterTLS  = "8443" // QUIC too
	clusterHTTP = "8080"
	clusterNode = "7000"
	clusterOps  = "8090"
	clusterIn   = "8008" // where clients of old ask for a server
)

// ClusterConfig says which cluster to start.
type ClusterConfig struct {
	// Mode is as in ServerConfig.
	Mode string
	// Users is how many demo users there are, user1 …; 0: 12. Their password is 123456. There are none in the mode "serve".
	Users int
	// Login has each node tell existing clients where to log in, on a port of its own.
	Login bool
	// Args are added to the command line of each node.
	Args []string
	// Hosts are where the nodes are; nil: addresses of the loopback that nobody else has.
	Hosts []Host
	// Clients is where the clients of the SDK are; nil: on this machine.
	Clients dial.Network
	// Folder is where the data directory of the node of a place is made; nil: in one that goes with the test.
	Folder func(tb testing.TB, place int) string
	// Unraced: the test does not run with the race detector, so it is not left out where all others have.
	Unraced bool
}

// A Host is a machine for a node.
type Host struct {
	IP   string
	Wrap []string // the command to run a process there; nil: none
	// Dial connects from there; nil: as this process does.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// A Cluster is several real servers that are one. The first one founds it, the others join by tokens; all trust one development authority.
type Cluster struct {
	Nodes []*ClusterNode

	config ClusterConfig
	hosts  []Host
}

// A ClusterNode is one server of a cluster, on fixed ports. Kill, Stop and Wait are the Server's.
type ClusterNode struct {
	*Server
	ID   string // in the cluster; known once it has joined
	Host Host

	ops http.Client
}

// onceOnly leaves a long test out that was just run with the race detector (TT_RACED): CI runs all tests with it and then "make test".
func onceOnly(tb testing.TB) {
	tb.Helper()
	if os.Getenv("TT_RACED") != "" && !raceDetector {
		tb.Skip("it ran with the race detector already (TT_RACED)")
	}
}

// StartCluster runs so many servers and waits until all follow one leader; they end with the test.
func StartCluster(tb testing.TB, nodes int, config ClusterConfig) *Cluster {
	tb.Helper()
	if !config.Unraced {
		onceOnly(tb)
	}
	if config.Users == 0 {
		config.Users = 12
	}
	c := &Cluster{config: config, hosts: config.Hosts}
	if c.hosts == nil {
		c.hosts = loopbackHosts(tb, nodes+3)
	}
	for range nodes {
		c.Join(tb)
	}
	return c
}

// loopbackHosts are addresses of the loopback that only this cluster has: there are too many of them for two to draw the same.
func loopbackHosts(tb testing.TB, n int) []Host {
	tb.Helper()
	draw := make([]byte, 2)
	if _, err := rand.Read(draw); err != nil {
		tb.Fatal(err)
	}
	hosts := make([]Host, n)
	for i := range hosts {
		hosts[i].IP = fmt.Sprintf("127.%d.%d.%d", 1+draw[0]%254, draw[1], i+1)
	}
	return hosts
}

// Join starts one more node, the first of all or one with a token of those that are there, and waits until it votes.
func (c *Cluster) Join(tb testing.TB) *ClusterNode {
	tb.Helper()
	n := c.prepare(tb, len(c.Nodes), "")
	if err := n.Run(tb); err != nil {
		tb.Fatal(err)
	}
	n.ID = n.ask(tb).Asked
	c.Nodes = append(c.Nodes, n)
	c.WaitHealthy(tb)
	return n
}

// prepare makes the node for a place; without a directory it is a new one, with a token if it isn't the first.
func (c *Cluster) prepare(tb testing.TB, place int, dir string) *ClusterNode {
	tb.Helper()
	if place >= len(c.hosts) {
		tb.Fatalf("there is no host for node %d", place+1)
	}
	n := &ClusterNode{Host: c.hosts[place]}
	at := func(port string) string { return net.JoinHostPort(n.Host.IP, port) }
	args := []string{"--tcp", at(clusterTCP), "--tls", at(clusterTLS), "--quic", at(clusterTLS), "--http", at(clusterHTTP),
		"--files", at("0"), "--node", at(clusterNode), "--ops", at(clusterOps), "--log-level", "info"}
	if c.config.Login {
		args = append(args, "--login", at(clusterIn))
	} else {
		args = append(args, "--login", "off")
	}
	if c.config.Mode != "serve" {
		args = append(args, "--users", fmt.Sprint(c.config.Users), "--password", "123456")
	}
	if dir == "" {
		parent := c.config.Folder
		if parent == nil {
			parent = func(tb testing.TB, _ int) string { return tb.TempDir() }
		}
		dir = filepath.Join(parent(tb, place), fmt.Sprintf("n%d", place+1))
		if len(c.Nodes) > 0 {
			c.shareAuthority(tb, dir)
			args = append(args, "--join", c.token(tb))
		}
	}
	n.Server = New(tb, ServerConfig{Mode: c.config.Mode, Dir: dir, Args: append(args, c.config.Args...), Wrap: n.Host.Wrap})
	dial := n.Host.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	n.ops = http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: dial}}
	return n
}

// shareAuthority gives a new node the authority for clients that the first one has made.
func (c *Cluster) shareAuthority(tb testing.TB, dir string) {
	tb.Helper()
	if err := os.CopyFS(filepath.Join(dir, "tls"), os.DirFS(filepath.Join(c.Nodes[0].Dir, "tls"))); err != nil {
		tb.Fatal(err)
	}
}

// token lets one node join; any that runs is asked for it, the last one first.
func (c *Cluster) token(tb testing.TB) string {
	tb.Helper()
	for _, n := range slices.Backward(c.Nodes) {
		if !n.Alive() {
			continue
		}
		if out, err := n.Ctl(tb, os.TempDir(), "cluster", "token", "--json"); err == nil { // not in n.Dir: whoever serves that disk must not wait for it in a fork
			var t struct {
				Token string `json:"token"`
			}
			if err := json.Unmarshal([]byte(out), &t); err != nil {
				tb.Fatalf("%v in %s", err, out)
			}
			return t.Token
		} else {
			tb.Logf("node %s gives no token: %v", n.ID, err)
		}
	}
	tb.Fatal("no node gives a token")
	return ""
}

// Ctl runs an operator command against the node, where the node is.
func (n *ClusterNode) Ctl(tb testing.TB, dir string, args ...string) (string, error) {
	tb.Helper()
	return operate(tb, n.Host.Wrap, dir, append(args, "--data", n.Dir)...)
}

// operate runs an operator command of the real executable and returns what it printed.
func operate(tb testing.TB, wrap []string, dir string, args ...string) (string, error) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), commandPatience)
	defer cancel()
	line := append(append(slices.Clone(wrap), Binary(tb)), args...)
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Dir = dir
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("no end in %s: %w", commandPatience, err)
		}
		err = fmt.Errorf("teamtalkd %s: %w: %s", strings.Join(args, " "), err, said.String())
	}
	return string(out), err
}

// Pause stops the process where it is (SIGSTOP), Continue lets it go on.
func (n *ClusterNode) Pause() error { return syscall.Kill(-n.Pid(), syscall.SIGSTOP) }

// Continue lets a paused process go on.
func (n *ClusterNode) Continue() error { return syscall.Kill(-n.Pid(), syscall.SIGCONT) }

// ClusterStatus is what a node says of the cluster.
type ClusterStatus struct {
	Asked   string          `json:"asked"`
	Leader  string          `json:"leader"`
	Members []ClusterMember `json:"members"`
}

// ClusterMember is one node of a ClusterStatus.
type ClusterMember struct {
	ID        string `json:"id"`
	Role      string `json:"role"`
	Reachable bool   `json:"reachable"`
	Report    *struct {
		Term     uint64 `json:"term"`
		Applied  uint64 `json:"applied"`
		Commit   uint64 `json:"commit"`
		Sessions int    `json:"sessions"`
		Drained  bool   `json:"drained"`
		Links    []struct {
			Node string `json:"node"`
			Up   bool   `json:"up"`
		} `json:"links"`
	} `json:"report"`
}

// Status asks the node how the cluster is.
func (n *ClusterNode) Status(ctx context.Context) (ClusterStatus, error) {
	var s ClusterStatus
	err := n.get(ctx, "/api/v1/cluster", &s)
	return s, err
}

// get asks the node's operator API.
func (n *ClusterNode) get(ctx context.Context, path string, into any) error {
	token, err := os.ReadFile(filepath.Join(n.Dir, "admin.token"))
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(n.Host.IP, clusterOps)+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	res, err := n.ops.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", path, res.Status, raw)
	}
	if err == nil {
		err = json.Unmarshal(raw, into)
	}
	return err
}

// ask is Status for a node that must answer.
func (n *ClusterNode) ask(tb testing.TB) ClusterStatus {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	s, err := n.Status(ctx)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// live are the nodes whose processes run.
func (c *Cluster) live() []*ClusterNode {
	return slices.DeleteFunc(slices.Clone(c.Nodes), func(n *ClusterNode) bool { return !n.Alive() })
}

// look has each of some nodes say how the cluster is; one that does not answer in time has a zero answer.
func look(nodes []*ClusterNode) []ClusterStatus {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	answers := make([]ClusterStatus, len(nodes))
	var all sync.WaitGroup
	for i, n := range nodes {
		all.Go(func() { // ends with ctx
			if s, err := n.Status(ctx); err == nil {
				answers[i] = s
			}
		})
	}
	all.Wait()
	return answers
}

// shortcoming is what keeps nodes from being a whole cluster: one leader, all of them voters, linked, and none more than so many entries behind; "": nothing.
func shortcoming(nodes []*ClusterNode, behind uint64) string {
	answers := look(nodes)
	for i, s := range answers {
		switch {
		case s.Leader == "":
			return fmt.Sprintf("node %s knows no leader", nodes[i].ID)
		case s.Leader != answers[0].Leader:
			return fmt.Sprintf("node %s follows %s, node %s follows %s", nodes[0].ID, answers[0].Leader, nodes[i].ID, s.Leader)
		case len(s.Members) != len(nodes):
			return fmt.Sprintf("node %s knows %d members of %d", nodes[i].ID, len(s.Members), len(nodes))
		}
		newest := uint64(0)
		for _, m := range s.Members {
			if m.Report != nil {
				newest = max(newest, m.Report.Commit)
			}
		}
		for _, m := range s.Members {
			switch {
			case m.Role == "non-voter":
				return fmt.Sprintf("node %s does not vote", m.ID)
			case m.Report == nil:
				return fmt.Sprintf("node %s hears nothing of node %s", nodes[i].ID, m.ID)
			case m.Report.Applied+behind < newest:
				return fmt.Sprintf("node %s has applied %d entries of %d", m.ID, m.Report.Applied, newest)
			}
			for _, l := range m.Report.Links {
				if !l.Up {
					return fmt.Sprintf("node %s has no link to node %s", m.ID, l.Node)
				}
			}
		}
	}
	return ""
}

// healthyLag is how many entries a node may be behind that keeps up under load: it is asked later than the others.
const healthyLag = 200

// WaitHealthy waits until all nodes that run are voters of one leader, linked to each other and keep up.
func (c *Cluster) WaitHealthy(tb testing.TB) {
	tb.Helper()
	c.waitWhole(tb, healthyLag)
}

// WaitEqual waits until all have applied the same besides, which they do when nobody writes.
func (c *Cluster) WaitEqual(tb testing.TB) {
	tb.Helper()
	c.waitWhole(tb, 0)
}

func (c *Cluster) waitWhole(tb testing.TB, behind uint64) {
	tb.Helper()
	limit := time.After(2 * Patience)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for why := shortcoming(c.live(), behind); why != ""; why = shortcoming(c.live(), behind) {
		select {
		case <-tick.C:
		case <-limit:
			tb.Fatalf("the cluster isn't whole after %s: %s", 2*Patience, why)
		}
	}
}

// Leader is the node that the live ones other than those excepted agree on.
func (c *Cluster) Leader(tb testing.TB, except ...*ClusterNode) *ClusterNode {
	tb.Helper()
	var leader *ClusterNode
	Eventually(tb, "a leader", func() bool {
		asked := slices.DeleteFunc(c.live(), func(n *ClusterNode) bool { return slices.Contains(except, n) })
		answers := look(asked)
		leader = c.byID(answers[0].Leader)
		return leader != nil && !slices.Contains(except, leader) && leader.Alive() &&
			!slices.ContainsFunc(answers, func(s ClusterStatus) bool { return s.Leader != leader.ID })
	})
	return leader
}

// Followers are the live nodes that do not lead.
func (c *Cluster) Followers(tb testing.TB) []*ClusterNode {
	tb.Helper()
	leader := c.Leader(tb)
	return slices.DeleteFunc(c.live(), func(n *ClusterNode) bool { return n == leader })
}

func (c *Cluster) byID(id string) *ClusterNode {
	for _, n := range c.Nodes {
		if n.ID == id {
			return n
		}
	}
	return nil
}

// addresses are those of all nodes for clients, of one transport ("tls", "quic", "wss", "https"), beginning with the node's at a place.
func (c *Cluster) addresses(transport string, first int) []string {
	var all []string
	for i := range c.Nodes {
		n := c.Nodes[(first+i)%len(c.Nodes)]
		all = append(all, transport+"://"+net.JoinHostPort(n.Host.IP, clusterTLS))
	}
	return all
}
