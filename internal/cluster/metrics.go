package cluster

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	members  *prometheus.GaugeVec
	joins    *prometheus.CounterVec
	promoted prometheus.Counter
	removed  *prometheus.CounterVec
	failed   *prometheus.CounterVec
	draining prometheus.Gauge
	level    prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) *metrics {
	counter := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "teamtalk_cluster_" + name, Help: help}, []string{label})
	}
	m := &metrics{
		members: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "teamtalk_cluster_members",
			Help: "Members as this node knows them, by role (leader, voter, non-voter); unreachable counts those without a link, whatever their role."}, []string{"role"}),
		joins:    counter("joins_total", "Nodes that asked this leader to be let in, by what became of it (joined, refused, failed).", "result"),
		promoted: prometheus.NewCounter(prometheus.CounterOpts{Name: "teamtalk_cluster_promotions_total", Help: "Non-voters to whom this leader gave a vote."}),
		removed:  counter("removals_total", "Members that this leader removed, by why (operator, dead).", "reason"),
		failed:   counter("changes_failed_total", "Changes that this leader wanted to make by itself and could not (promote, remove, transfer, raise).", "change"),
		draining: prometheus.NewGauge(prometheus.GaugeOpts{Name: "teamtalk_cluster_draining", Help: "1 from the moment on at which this node is drained."}),
		level: prometheus.NewGauge(prometheus.GaugeOpts{Name: "teamtalk_cluster_level",
			Help: "Level of features that the cluster uses, as far as this node knows; new features come with a higher one."}),
	}
	if r != nil {
		r.MustRegister(m.members, m.joins, m.promoted, m.removed, m.failed, m.draining, m.level)
	}
	return m
}
