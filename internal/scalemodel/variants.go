package scalemodel

import (
	"fmt"
	"strings"
	"time"
)

// variant is a world that differs in one thing.
type variant struct {
	name   string
	change func(w *World)
}

// variants are what else might be.
func variants() []variant {
	return []variant{
		{"as above", func(*World) {}},
		{"five times as many messages", func(w *World) { w.Traffic.PerUser *= 5 }},
		{"half of all messages go to other clusters", func(w *World) { w.Traffic.Away = 0.5 }},
		{"all groups have members in 20 clusters", func(w *World) { w.Traffic.Groups = []Spread{{20, 1}} }},
		{"1,000 clusters of 10,000", func(w *World) { w.Clusters, w.Users = 1000, 10_000 }},
		{"20 clusters of 500,000", func(w *World) { w.Clusters, w.Users, w.Outage.Sites = 20, 500_000, 2 }},
		{"a log of 5,500/s", func(w *World) { w.Site.Commits = 5500 }},
		{"20 Mbit/s", func(w *World) { w.Site.Uplink, w.Site.Downlink = 20e6, 20e6 }},
		{"an outage of a day", func(w *World) { w.Outage.For = day }},
		{"an outage of a day, a log of 4,000/s", func(w *World) { w.Outage.For, w.Site.Commits = day, 4000 }},
	}
}

// printVariants does the sums for each.
func (w *World) printVariants(b *strings.Builder) {
	table(b, "if", "events/s of a cluster, each way", "log", "uplink Mbit/s", "waits for one that was away", "drained after", "limited by the")
	for _, v := range variants() {
		x := *w
		v.change(&x)
		p := x.Arithmetic()
		row(b, v.name, number(p.Events), fmt.Sprintf("%.0f %%", 100*p.Log), number(p.Uplink/1e6), size(p.BacklogBytes), span(p.Drain), p.Limit)
	}
}

// Reference is the world of docs/SCALING.md: a hundred clusters, ten of which are away for an hour.
func Reference() World {
	w := Default()
	w.Outage = Outage{Sites: 10, For: time.Hour}
	return w
}
