package main

import (
	"context"
	"time"

	"teamtalk/internal/scalemodel"
)

type scaleCmd struct {
	Clusters int           `help:"Clusters." default:"100"`
	Users    int           `help:"Users online, of each." default:"100000"`
	PerUser  float64       `help:"Messages that a user sends, a second." default:"0.01"`
	Away     float64       `help:"Share of them that other clusters have to hear of." default:"0.1"`
	Grouped  float64       `help:"Share of those that are said in groups." default:"0.5"`
	Uplink   float64       `help:"Each cluster's network to all others together, both ways, in Mbit/s." default:"1000"`
	Delay    time.Duration `help:"One way, between any two clusters." default:"45ms"`
	Commits  float64       `help:"Commands a second that a cluster's log carries out, see docs/BENCHMARKS.md." default:"16000"`
	Checks   float64       `help:"Signatures a second that its leader can check." default:"50000"`
	Quota    float64       `help:"MiB that may wait for a peer." default:"1024"`
	Sites    int           `help:"Clusters that are away at once." default:"10"`
	Outage   time.Duration `help:"So long; 0: no outage." default:"1h"`
	Seed     uint64        `help:"Of what happens by chance." default:"1"`
	Bundle   int           `help:"Messages that go through the model as one thing: more is quicker, and coarser." default:"10"`
}

// Run models and reports.
func (c *scaleCmd) Run(ctx context.Context, r *report) error {
	w := scalemodel.Reference()
	w.Clusters, w.Users, w.Seed, w.Bundle, w.Delay = c.Clusters, c.Users, c.Seed, c.Bundle, c.Delay
	w.Traffic.PerUser, w.Traffic.Away, w.Traffic.Grouped = c.PerUser, c.Away, c.Grouped
	w.Site.Uplink, w.Site.Downlink, w.Site.Commits, w.Site.Checks = c.Uplink*1e6, c.Uplink*1e6, c.Commits, c.Checks
	w.Rules.Quota = c.Quota * (1 << 20)
	w.Outage = scalemodel.Outage{Sites: c.Sites, For: c.Outage}
	if c.Outage == 0 {
		w.Tail = time.Minute
	}
	for _, g := range w.Traffic.Groups {
		if g.Clusters > w.Clusters {
			w.Traffic.Groups = []scalemodel.Spread{{Clusters: 2, Share: 1}} // all that so few clusters leave
			break
		}
	}
	result, err := scalemodel.Run(w)
	if err != nil {
		return err
	}
	return r.print(ctx, "scale", c, result)
}
