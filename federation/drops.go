package federation

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// drop is why something ephemeral is not passed on.
type drop int

const (
	dropInbox    drop = iota // the peer sends faster than it can be dealt with
	dropInterest             // the peer is interested in too many
	dropPolicy               // the rules of the link don't allow it
	dropUnknown              // of or for somebody who is not known
	dropNoLink               // the peer can't be reached now
	dropRate                 // too many of one user, or too large
	dropFull                 // more waits for the peer than has room
	dropKinds
)

// String is the reason as in metrics.
func (d drop) String() string {
	return [dropKinds]string{"inbox", "interest", "policy", "unknown", "no_link", "rate", "full"}[d]
}

// drops counts them.
type drops [dropKinds]atomic.Uint64

func (d *drops) add(why drop) { d[why].Add(1) }

// collector shows the drops as a metric. All of the same drops are the same one.
type collector struct {
	drops *drops
	desc  *prometheus.Desc
}

func (d *drops) collector() *collector {
	return &collector{d, prometheus.NewDesc("teamtalk_federation_ephemeral_dropped_total",
		"Presence, signals and requests to or from other clusters that were dropped, by reason.", []string{"reason"}, nil)}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(to chan<- *prometheus.Desc) { to <- c.desc }

// Collect implements prometheus.Collector.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	for i := range c.drops {
		to <- prometheus.MustNewConstMetric(c.desc, prometheus.CounterValue, float64(c.drops[i].Load()), drop(i).String())
	}
}
