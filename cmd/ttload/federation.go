package main

import (
	"context"
	"os"
	"time"

	"teamtalk/internal/load"
)

type federationCmd struct {
	place
	Only     []string      `help:"Only these parts: ${fedparts}." enum:"${fedparts}" default:"${fedparts}"`
	Via      string        `help:"Transport of the links: quic or tls." enum:"quic,tls" default:"quic"`
	Trip     time.Duration `name:"round-trip" help:"Round trip between two offices." default:"90ms"`
	Pairs    int           `help:"Pairs of users in two offices." default:"128"`
	Messages int           `help:"Messages that they send, for each combination of window and round trip." default:"50000"`
	Payload  int           `help:"Bytes of a message, 40 at least." default:"64"`
	Lags     int           `help:"Messages on an idle link, by which it is seen how long they take." default:"300"`
	Pace     time.Duration `help:"Time between those." default:"100ms"`
	Queued   int           `help:"Messages that wait when a link comes back." default:"1000000"`
	Idle     time.Duration `help:"Watch an idle office so long." default:"30s"`
	Peers    int           `help:"Links that it has." default:"50"`
	Offices  int           `help:"Offices with members of one group." default:"20"`
	Members  int           `help:"Members, all together." default:"5000"`
	Posts    int           `help:"Posts in it." default:"200"`
	Flags    []string      `name:"server-flag" help:"Further flags of the servers, as --server-flag=--log-level=debug." placeholder:"FLAG"`
}

// Run measures and reports.
func (c *federationCmd) Run(ctx context.Context, r *report) error {
	return c.in(func(dir string) error {
		result, err := load.BenchFederation(ctx, load.FederationOptions{Binary: c.Binary, Dir: dir, Only: c.Only, Via: load.Via(c.Via), RoundTrip: c.Trip, Pairs: c.Pairs,
			Messages: c.Messages, Payload: c.Payload, Lags: c.Lags, LagPace: c.Pace, Queued: c.Queued, Idle: c.Idle, Peers: c.Peers,
			Offices: c.Offices, Members: c.Members, Posts: c.Posts, Flags: c.Flags}, os.Stderr)
		if err != nil {
			return err
		}
		return r.whole(result)
	})
}
