//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// spread is a cluster whose nodes the connections of a script go to in turn.
type spread struct {
	t       *testing.T
	cluster *Cluster
	next    int
	former  []knowledge // when they were asked last
}

// Start makes the cluster that a server line describes.
func (s *spread) Start(config ServerConfig) error {
	c := ClusterConfig{Mode: config.Mode, Login: true, Args: quickPasswords()}
	for i := 0; i < len(config.Args); i++ {
		switch {
		case config.Args[i] == "--users" && i+1 < len(config.Args):
			if _, err := fmt.Sscan(config.Args[i+1], &c.Users); err != nil {
				return err
			}
			i++
		case config.Args[i] == "--password" && i+1 < len(config.Args):
			if config.Args[i+1] != "123456" {
				return fmt.Errorf("the password of a cluster's demo users is another one")
			}
			i++
		default:
			c.Args = append(c.Args, config.Args[i])
		}
	}
	s.cluster = StartCluster(s.t, 3, c)
	return nil
}

// Next is the next node.
func (s *spread) Next() *Server {
	s.next++
	return s.cluster.Nodes[s.next%len(s.cluster.Nodes)].Server
}

// All does the same to all nodes at the same time.
func (s *spread) All(what string) error {
	var all sync.WaitGroup
	failed := make([]error, len(s.cluster.Nodes))
	for i, n := range s.cluster.Nodes {
		all.Go(func() { // ends when the node has ended or is ready
			switch what {
			case "stop":
				failed[i] = n.Stop()
			case "kill":
				n.Kill()
			default:
				failed[i] = n.Restart(s.t)
			}
		})
	}
	all.Wait()
	err := errors.Join(failed...)
	if err == nil && what == "restart" {
		s.cluster.WaitHealthy(s.t)
	}
	return err
}

// Agreed tells whether all nodes have the same state and the same table of who is where, and have told each other nothing more since they were asked last.
// What is told without leaving a trace, such as a P2P command, is waited for by the line that expects it only.
func (s *spread) Agreed(sessions int) (bool, error) {
	nodes := s.cluster.live()
	if len(nodes) == 0 {
		return true, nil
	}
	now, err := s.ask(nodes)
	if err != nil {
		return false, err
	}
	quiet := slices.EqualFunc(now, s.former, knowledge.same)
	s.former = now
	return quiet && now[0].sessions == float64(sessions) && !slices.ContainsFunc(now, func(k knowledge) bool { return !k.agrees(now[0]) }), nil
}

// knowledge is how much a node knows, by the names of its metrics.
type knowledge struct {
	applied  string
	present  map[string]string // sessions, by node
	sessions float64           // of all nodes
	told     map[string]string // bytes, by node
}

func (k knowledge) agrees(other knowledge) bool {
	return k.applied == other.applied && maps.Equal(k.present, other.present)
}

func (k knowledge) same(other knowledge) bool {
	return k.agrees(other) && maps.Equal(k.told, other.told)
}

// ask has all nodes say what they know, at the same time.
func (s *spread) ask(nodes []*ClusterNode) ([]knowledge, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), Patience)
	defer cancel()
	all, failed := make([]knowledge, len(nodes)), make([]error, len(nodes))
	var asking sync.WaitGroup
	for i, n := range nodes {
		asking.Go(func() { // ends with ctx
			var body string
			body, failed[i] = n.fetch(ctx, "/metrics?name[]=teamtalk_raftstore_applied_index&name[]=teamtalk_bus_sessions&name[]=teamtalk_bus_peer_bytes_total")
			all[i] = knowledgeOf(body)
		})
	}
	asking.Wait()
	return all, errors.Join(failed...)
}

func knowledgeOf(metrics string) knowledge {
	k := knowledge{present: map[string]string{}, told: map[string]string{}}
	for line := range strings.Lines(metrics) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case name == "teamtalk_raftstore_applied_index":
			k.applied = value
		case strings.HasPrefix(name, "teamtalk_bus_sessions{") && value != "0":
			k.present[name] = value
			if n, err := strconv.ParseFloat(value, 64); err == nil {
				k.sessions += n
			}
		case strings.HasPrefix(name, "teamtalk_bus_peer_bytes_total{"):
			k.told[name] = value
		}
	}
	return k
}

// TestRecordedOverNodes replays the conversations that were recorded with the C++ servers against three nodes, each client at another one than the client
// before it.
func TestRecordedOverNodes(t *testing.T) {
	onceOnly(t)
	dir := filepath.Join(scriptsDir, "legacy")
	r := NewRunner(t, dir, false)
	r.Servers = &spread{t: t}
	playRecorded(t, dir, r)
}

// ofOneServer are the scripts about what each server does by itself.
var ofOneServer = map[string]string{
	"server_address":  "the addresses in it are those of the one server there is",
	"full":            "how many connections a server takes is a limit of each",
	"login_throttle":  "failed logins are counted by each node for itself",
	"session_refused": "a node that follows can't know that nobody has got as far as a cursor says: it answers UNAVAILABLE instead of GAP [TT-SESS-5]",
}

// TestScriptsOverNodes plays the conversations of testdata/scripts in the same way: some of them, or with TT_SOAK=1 all that can be.
func TestScriptsOverNodes(t *testing.T) {
	onceOnly(t)
	chosen := []string{"chat", "read_position", "session_devices", "session_resume"}
	for _, s := range readScripts(t, scriptsDir) {
		if why := ofOneServer[s.Name]; why != "" || !soak() && !slices.Contains(chosen, s.Name) {
			continue
		}
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			r := NewRunner(t, scriptsDir, false)
			r.Servers = &spread{t: t}
			runScript(t, r, scriptsDir, s)
		})
	}
}
