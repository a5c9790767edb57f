package main

import (
	"context"
	"os"
	"time"

	"teamtalk/internal/load"
)

type clusterCmd struct {
	place
	Only    []string      `help:"Only these parts: ${parts}." enum:"${parts}" default:"${parts}"`
	Cell    time.Duration `help:"Measure each combination of senders, window and place so long." default:"6s"`
	Payload int           `help:"Bytes of a message, 40 at least." default:"64"`
	Lags    int           `help:"Messages on the idle cluster, by which it is seen how soon others have them." default:"300"`
	Pace    time.Duration `help:"Time between those." default:"100ms"`
	Idle    time.Duration `help:"Watch the idle cluster so long." default:"30s"`
	Kills   int           `help:"How often the leader is killed." default:"20"`
	Stored  int           `help:"Messages of the node that others join and that backups are made of." default:"1000000"`
	Comers  int           `help:"Users who log in and out at one node." default:"10000"`
	Within  time.Duration `help:"Time in which they do." default:"1m"`
	Flags   []string      `name:"server-flag" help:"Further flags of the servers, as --server-flag=--log-level=debug." placeholder:"FLAG"`
}

// Run measures and reports.
func (c *clusterCmd) Run(ctx context.Context, r *report) error {
	return c.in(func(dir string) error {
		result, err := load.BenchCluster(ctx, load.ClusterOptions{Binary: c.Binary, Dir: dir, Only: c.Only, Cell: c.Cell, Payload: c.Payload, Lags: c.Lags, LagPace: c.Pace,
			Idle: c.Idle, Kills: c.Kills, Stored: c.Stored, Comers: c.Comers, ComeWithin: c.Within, Flags: c.Flags}, os.Stderr)
		if err != nil {
			return err
		}
		return r.whole(result)
	})
}
