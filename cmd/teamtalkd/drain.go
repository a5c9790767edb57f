package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"teamtalk/internal/admin"
	"teamtalk/protocol"
)

type clusterDrainCmd struct {
	target
	Stop   bool            `xor:"then" help:"Then end its process, when another node leads."`
	Remove bool            `xor:"then" help:"Then take it out of the cluster for ever, and end its process."`
	Node   protocol.NodeID `arg:"" optional:"" name:"id" help:"Id of the node; without it, the one asked."`
}

const (
	// drainPoll is how often it is looked how many sessions are left.
	drainPoll = 500 * time.Millisecond
	// departTime is how long a drained node may take to end.
	departTime = 30 * time.Second
)

func (c *clusterDrainCmd) then() admin.AfterDrain {
	switch {
	case c.Stop:
		return admin.DrainStops
	case c.Remove:
		return admin.DrainRemoves
	}
	return admin.DrainStays
}

// Run begins to drain and waits for its end, which an interrupt does not stop.
func (c *clusterDrainCmd) Run(term *terminal) error {
	return c.call(func(ctx context.Context, api *admin.Client) error {
		if c.Node == "" {
			s, err := api.Cluster(ctx)
			if err != nil {
				return err
			}
			c.Node = s.Asked
		}
		if err := api.DrainNode(ctx, c.Node, c.then()); err != nil {
			return err
		}
		return c.await(ctx, term, api)
	})
}

func (c *clusterDrainCmd) await(ctx context.Context, term *terminal, api *admin.Client) error {
	t := time.NewTicker(drainPoll)
	defer t.Stop()
	last := -1
	var drained time.Time
	for {
		s, err := api.Cluster(ctx)
		i := slices.IndexFunc(s.Members, func(m admin.ClusterMember) bool { return m.ID == c.Node })
		gone := err != nil || i < 0 || s.Members[i].Report == nil
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("node %s goes on draining; `cluster status` shows how far it is", c.Node)
		case gone && (last == 0 || !drained.IsZero()):
			return c.said(term, fmt.Sprintf("node %s drained; it has left", c.Node))
		case gone:
			return errors.Join(fmt.Errorf("node %s can't be asked any more how far it is", c.Node), err)
		case s.Members[i].Report.Drained:
			if drained.IsZero() {
				drained = time.Now()
			}
			if done, err := c.drained(term, s.Members[i], drained); done {
				return err
			}
		case !s.Members[i].Report.Draining:
			return fmt.Errorf("node %s has given up draining: see its log", c.Node)
		}
		if left := s.Members[i].Report.Sessions; left != last {
			last = left
			term.say("%d sessions left\n", left)
		}
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	}
}

// drained is whether there is nothing more to wait for with a node that is drained since a moment.
func (c *clusterDrainCmd) drained(term *terminal, m admin.ClusterMember, since time.Time) (bool, error) {
	switch {
	case c.then() == admin.DrainStays:
		return true, c.said(term, fmt.Sprintf("node %s drained: it can be stopped now", c.Node))
	case m.Report.AfterDrain != c.then():
		return true, fmt.Errorf("node %s is drained, but will not %s by itself: see its log (an older version can't)", c.Node, c.then())
	case time.Since(since) > departTime:
		return true, fmt.Errorf("node %s is drained, but has not ended after %s: see its log", c.Node, departTime)
	}
	return false, nil
}
