package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// peerBytes counts what goes between nodes.
const peerBytes = "teamtalk_peers_bytes_total"

const (
	// comeStay is how long each stays who logs in and out; longer than the nodes wait before they believe that somebody has gone.
	comeStay = 5 * time.Second
	quietFor = 10 * time.Second
	comeAt   = 1024 // logins under way at most
)

// PresenceResult is what it costs the other nodes when users come and go at one.
type PresenceResult struct {
	Users  int     `json:"users"`
	Within float64 `json:"within_s"`
	// Quiet is the same cluster before, with nobody there.
	Quiet []PresenceRow `json:"quiet"`
	Busy  []PresenceRow `json:"busy"`
}

// PresenceRow is a node's share.
type PresenceRow struct {
	Node string `json:"node"`
	Here bool   `json:"users_here"`
	// In and Out are bytes a second from and to the other nodes, by calls and signals and by raft.
	In   float64 `json:"in_bytes_per_s"`
	Out  float64 `json:"out_bytes_per_s"`
	Raft float64 `json:"raft_bytes_per_s"` // both ways
	CPU  float64 `json:"cpu_percent"`
}

func benchPresence(ctx context.Context, c *servers, o ClusterOptions, out *ClusterResult, say func(string, ...any)) error {
	_, followers, err := c.roles(ctx)
	if err != nil {
		return err
	}
	here := followers[0]
	p := &PresenceResult{Users: o.Comers, Within: o.ComeWithin.Seconds()}
	say("nobody comes or goes for %v", quietFor)
	if p.Quiet, err = c.exchanged(ctx, here, func() error { return wait(ctx, quietFor) }); err != nil {
		return err
	}
	say("%d users log in and out at one node within %v", o.Comers, o.ComeWithin)
	if p.Busy, err = c.exchanged(ctx, here, func() error { return comeAndGo(ctx, c.targets(here)[0], o.Comers, o.ComeWithin) }); err != nil {
		return err
	}
	out.Presence = p
	return nil
}

// exchanged is what went between the nodes while body ran, and what it cost them.
func (c *servers) exchanged(ctx context.Context, here *member, body func() error) ([]PresenceRow, error) {
	before := make([]counters, len(c.members))
	for i, m := range c.members {
		var err error
		if before[i], err = m.counters(ctx); err != nil {
			return nil, err
		}
	}
	used, err := watchUsage(c.pids()...)
	if err != nil {
		return nil, err
	}
	if err := body(); err != nil {
		return nil, err
	}
	passed := time.Since(used.since).Seconds()
	percent, err := used.percent()
	if err != nil {
		return nil, err
	}
	var rows []PresenceRow
	for i, m := range c.members {
		after, err := m.counters(ctx)
		if err != nil {
			return nil, err
		}
		rate := func(labels ...string) float64 {
			return (after.sum(peerBytes, labels...) - before[i].sum(peerBytes, labels...)) / passed
		}
		rows = append(rows, PresenceRow{Node: m.id, Here: m == here, In: rate(`direction="in"`, nodeProtocol), Out: rate(`direction="out"`, nodeProtocol),
			Raft: rate(raftProtocol), CPU: percent[i]})
	}
	return rows, nil
}

// How the counters name what goes between nodes.
const (
	nodeProtocol = `protocol="teamtalk-node`
	raftProtocol = `protocol="teamtalk-raft`
)

// comeAndGo has users log in, one after the other at even distances, stay for a moment, and go.
func comeAndGo(ctx context.Context, t Target, users int, within time.Duration) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	begin := time.Now()
	var all errgroup.Group
	all.SetLimit(comeAt + int(float64(users)*float64(comeStay)/float64(within)))
	var once sync.Once
	for i := range users {
		due := begin.Add(within * time.Duration(i) / time.Duration(users))
		if err := wait(ctx, time.Until(due)); err != nil {
			break
		}
		all.Go(func() error {
			err := comeOnce(ctx, t, i)
			if err != nil {
				once.Do(func() { cancel(err) })
			}
			return err
		})
	}
	if err := errors.Join(all.Wait(), context.Cause(ctx)); err != nil {
		return shorten(err)
	}
	if took := time.Since(begin); took > within+within/4+2*comeStay {
		return fmt.Errorf("%d users took %v: the machine was too busy", users, took.Round(time.Second))
	}
	return nil
}

// comeOnce logs one in, and out again.
func comeOnce(ctx context.Context, t Target, n int) error {
	c, err := login(ctx, t, n)
	if err != nil {
		return err
	}
	return errors.Join(wait(ctx, comeStay), c.Close())
}
