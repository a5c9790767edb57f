package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"teamtalk/protocol"
)

// ClusterOptions say what a cluster of three nodes on this machine is measured with.
type ClusterOptions struct {
	// Binary is teamtalkd; Dir an empty directory on the disk to be measured.
	Binary, Dir string
	// Only names the parts to be measured, see ClusterParts; empty: all.
	Only []string
	// Cell is how long each combination of senders, window and place is measured; Payload the size of a message in bytes.
	Cell    time.Duration
	Payload int
	// Lags is how many messages are sent on an idle cluster, LagPace apart, to see when they arrive on other nodes.
	Lags    int
	LagPace time.Duration
	// Idle is how long an idle cluster is watched.
	Idle time.Duration
	// Kills is how often the leader is killed.
	Kills int
	// Stored is how many messages the state has when nodes join and backups are made.
	Stored int
	// Comers is how many users log in and out at one node within ComeWithin.
	Comers     int
	ComeWithin time.Duration
	// Flags are further ones of the servers.
	Flags []string
}

// Parts of the benchmark.
const (
	partTraffic  = "traffic"
	partLag      = "lag"
	partIdle     = "idle"
	partFailover = "failover"
	partJoin     = "join"
	partBackup   = "backup"
	partPresence = "presence"
)

// ClusterParts are the names of what can be measured, in the order of the report.
func ClusterParts() []string {
	return []string{partTraffic, partLag, partIdle, partFailover, partJoin, partBackup, partPresence}
}

func (o *ClusterOptions) check() error {
	for _, name := range o.Only {
		if !slices.Contains(ClusterParts(), name) {
			return fmt.Errorf("%q is none of the parts: %s", name, strings.Join(ClusterParts(), ", "))
		}
	}
	if o.Cell <= 0 || o.LagPace <= 0 || o.Idle <= 0 || o.ComeWithin <= 0 {
		return errors.New("a duration is missing")
	}
	if o.Lags < 1 || o.Kills < 1 || o.Stored < 1 || o.Comers < 1 {
		return errors.New("a number is missing")
	}
	return (MessageOptions{Window: 1, Payload: o.Payload, Duration: o.Cell}).check()
}

func (o *ClusterOptions) wants(parts ...string) bool {
	return len(o.Only) == 0 || slices.ContainsFunc(parts, func(p string) bool { return slices.Contains(o.Only, p) })
}

// ClusterResult is what the parts came to; those that were left out are empty.
type ClusterResult struct {
	Machine  *Machine        `json:"machine"`
	Traffic  []TrafficRow    `json:"traffic,omitempty"`
	Lag      []LagRow        `json:"lag,omitempty"`
	Idle     []IdleNodeRow   `json:"idle,omitempty"`
	Failover *FailoverResult `json:"failover,omitempty"`
	Growth   *GrowthResult   `json:"growth,omitempty"`
	Presence *PresenceResult `json:"presence,omitempty"`
}

// TrafficRow is one combination of pairs of users who chat, and where they are.
type TrafficRow struct {
	Senders  int            `json:"senders"`
	Window   int            `json:"window"`
	Place    string         `json:"clients_on"`
	Messages *MessageResult `json:"messages"`
	// Servers is how much of a core the nodes needed together, in percent.
	Servers float64 `json:"servers_percent"`
	// Deposed counts the attempts before this one that did not count, because another node led in the end.
	Deposed int `json:"deposed"`
}

// trafficAttempts is how often a combination is measured at most, until the leader stays the same.
const trafficAttempts = 3

// errDeposed: somebody else leads than before, so that what was measured is something else.
var errDeposed = errors.New("the machine was too busy")

// LagRow is how long after its ack a message was there on the other nodes, while nothing else went on.
type LagRow struct {
	From     string  `json:"sender_on"`
	Ack      Summary `json:"ack"`
	Delivery Summary `json:"delivery"`
	Lag      Summary `json:"lag"`
	// Before counts the deliveries that came before the ack did.
	Before int `json:"before_ack"`
}

// IdleNodeRow is what a node needs for doing nothing.
type IdleNodeRow struct {
	Node    string  `json:"node"`
	Leads   bool    `json:"leads"`
	Clients int     `json:"clients"` // of the whole cluster
	CPU     float64 `json:"cpu_percent"`
	RSS     int64   `json:"rss"`
}

// clusterPart measures one part, or two that need the same state.
type clusterPart struct {
	names []string
	users int
	size  int
	run   func(ctx context.Context, c *servers, o ClusterOptions, out *ClusterResult, say func(string, ...any)) error
}

func clusterParts(o ClusterOptions) []clusterPart {
	return []clusterPart{
		{[]string{partTraffic}, benchUsers, clusterSize, benchTraffic},
		{[]string{partLag}, 2 * clusterSize, clusterSize, benchLag},
		{[]string{partIdle}, idleClients, clusterSize, benchIdle},
		{[]string{partFailover}, 2 * talkers, clusterSize, benchFailover},
		{[]string{partJoin, partBackup}, benchUsers, 1, benchGrowth},
		{[]string{partPresence}, o.Comers, clusterSize, benchPresence},
	}
}

// BenchCluster starts clusters on fresh directories, one for each part, and measures them; progress gets a line per step. It fails if a message
// is lost, or something can't be measured.
func BenchCluster(ctx context.Context, o ClusterOptions, progress io.Writer) (*ClusterResult, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	machine, err := Inspect(ctx, o.Dir)
	if err != nil {
		return nil, err
	}
	out := &ClusterResult{Machine: machine}
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(progress, format+"\n", args...) }
	for _, p := range clusterParts(o) {
		if !o.wants(p.names...) {
			continue
		}
		err := withServers(ctx, o, p.names[0], p.size, p.users, func(c *servers) error { return p.run(ctx, c, o, out, say) })
		if err != nil {
			return out, fmt.Errorf("%s: %w", p.names[0], err)
		}
	}
	return out, nil
}

// benchTraffic lets pairs chat as fast as they can, all over the cluster, and on some of its nodes only.
func benchTraffic(ctx context.Context, c *servers, o ClusterOptions, out *ClusterResult, say func(string, ...any)) error {
	for _, senders := range []int{64, 512} {
		for _, window := range []int{1, 16} {
			for _, place := range []string{"all nodes", "the leader", "followers"} {
				say("%d senders, window %d, clients on %s", senders, window, place)
				row := TrafficRow{Senders: senders, Window: window, Place: place}
				err := row.measure(ctx, c, o)
				for errors.Is(err, errDeposed) && row.Deposed+1 < trafficAttempts {
					say("again: %v", err)
					row.Deposed++
					err = row.measure(ctx, c, o)
				}
				if err != nil {
					return fmt.Errorf("%d senders, window %d, clients on %s: %w", senders, window, place, err)
				}
				out.Traffic = append(out.Traffic, row)
			}
		}
	}
	return nil
}

func (r *TrafficRow) measure(ctx context.Context, c *servers, o ClusterOptions) error {
	leader, followers, err := c.roles(ctx)
	if err != nil {
		return err
	}
	at := map[string][]*member{"all nodes": c.members, "the leader": {leader}, "followers": followers}[r.Place]
	used, err := watchUsage(c.pids()...)
	if err != nil {
		return err
	}
	r.Messages, err = PairsOver(ctx, c.targets(at...), r.Senders, BenchOptions{Cell: o.Cell, Payload: o.Payload}.messages(r.Window))
	if err != nil {
		return err
	}
	each, err := used.percent()
	if err != nil {
		return err
	}
	r.Servers = 0
	for _, p := range each {
		r.Servers += p
	}
	if err := r.Messages.Verdict(); err != nil {
		return err // whoever leads: a change of the leader is no excuse
	}
	return c.stillLeads(ctx, leader)
}

func (c *servers) pids() (all []int) {
	for _, m := range c.members {
		all = append(all, m.PID())
	}
	return all
}

// stillLeads fails if somebody else leads by now: then what was measured is something else.
func (c *servers) stillLeads(ctx context.Context, was *member) error {
	now, err := c.leader(ctx)
	if err == nil && now != was {
		err = fmt.Errorf("node %s leads, node %s did before: %w", now.id, was.id, errDeposed)
	}
	return err
}

// benchLag sends now and then to a group that has a member on each other node.
func benchLag(ctx context.Context, c *servers, o ClusterOptions, out *ClusterResult, say func(string, ...any)) error {
	leader, followers, err := c.roles(ctx)
	if err != nil {
		return err
	}
	for from, nodes := range [][]*member{{leader, followers[0], followers[1]}, {followers[0], leader, followers[1]}} {
		row := LagRow{From: roleNames(from)}
		say("%d messages, %v apart, from a client of %s", o.Lags, o.LagPace, row.From)
		if err := row.measure(ctx, c.targets(nodes...), o); err != nil {
			return err
		}
		out.Lag = append(out.Lag, row)
	}
	return c.stillLeads(ctx, leader)
}

func (r *LagRow) measure(ctx context.Context, nodes []Target, o ClusterOptions) error {
	conns, err := connectEach(ctx, len(nodes), func(i int) Target { return nodes[i] })
	if err != nil {
		return err
	}
	group, err := createGroup(conns)
	if err != nil {
		return errors.Join(err, closeAll(conns))
	}
	lanes := []*lane{{to: protocol.InGroup(group), sender: conns[0], receivers: conns[1:]}}
	noted := newMoments()
	limit := time.Duration(o.Lags)*(o.LagPace+time.Second) + time.Minute
	m := measure(ctx, lanes, MessageOptions{Window: 1, Payload: o.Payload, Duration: limit, Count: o.Lags, Pace: o.LagPace, Drain: loginTimeout, moments: noted})
	r.Ack, r.Delivery = m.Ack, m.Delivery
	r.Lag, r.Before = noted.lags()
	err = errors.Join(m.Verdict(), closeAll(conns))
	if want := int64(o.Lags * (len(nodes) - 1)); err == nil && r.Lag.Count != want {
		err = fmt.Errorf("%d deliveries could be compared with their acks, not %d", r.Lag.Count, want)
	}
	return err
}

const idleClients = 100

// benchIdle watches the nodes while nobody does anything, without clients and with some.
func benchIdle(ctx context.Context, c *servers, o ClusterOptions, out *ClusterResult, say func(string, ...any)) error {
	leader, err := c.leader(ctx)
	if err != nil {
		return err
	}
	say("idle for %v", o.Idle)
	if err := c.watchIdle(ctx, o, leader, 0, out); err != nil {
		return err
	}
	say("idle for %v, with %d clients", o.Idle, idleClients)
	nodes := c.targets()
	conns, err := connectEach(ctx, idleClients, func(i int) Target { return nodes[i%len(nodes)] })
	if err != nil {
		return err
	}
	holding, stop := context.WithCancel(ctx)
	defer stop()
	var held sync.WaitGroup
	failed := make(chan error, len(conns))
	for _, conn := range conns {
		held.Go(func() { // until stop
			release := conn.bind(holding)
			defer release()
			if err := conn.idle(holding); err != nil {
				failed <- fmt.Errorf("an idle client: %w", err)
			}
		})
	}
	err = c.watchIdle(ctx, o, leader, idleClients, out)
	stop()
	held.Wait()
	close(failed)
	return errors.Join(err, <-failed, closeAll(conns), c.stillLeads(ctx, leader))
}

func (c *servers) watchIdle(ctx context.Context, o ClusterOptions, leader *member, clients int, out *ClusterResult) error {
	if err := wait(ctx, settleFor); err != nil {
		return err
	}
	used, err := watchUsage(c.pids()...)
	if err != nil {
		return err
	}
	if err := wait(ctx, o.Idle); err != nil {
		return err
	}
	percent, err := used.percent()
	if err != nil {
		return err
	}
	for i, m := range c.members {
		row := IdleNodeRow{Node: m.id, Leads: m == leader, Clients: clients, CPU: percent[i]}
		if row.RSS, err = residentMemory(m.PID()); err != nil {
			return err
		}
		out.Idle = append(out.Idle, row)
	}
	return nil
}
