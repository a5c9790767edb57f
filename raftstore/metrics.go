package raftstore

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// Reasons for refusing a proposal, as the label of the counter.
const (
	refusedNoLeader = "no_leader"
	refusedDiskFull = "disk_full"
	refusedTooLarge = "too_large"
	refusedClosed   = "closed"
	refusedFailed   = "failed"
	refusedLost     = "leadership_lost"
	refusedExpired  = "expired"
)

type metrics struct {
	proposals prometheus.Counter
	refused   *prometheus.CounterVec
	batch     prometheus.Histogram
	commit    prometheus.Histogram
	apply     prometheus.Histogram
	installs  prometheus.Counter
	streams   prometheus.Counter
	forgets   prometheus.Counter
	all       []prometheus.Collector
}

// newMetrics makes the collectors; applied, free and toForget are asked when somebody looks.
func newMetrics(applied, free, toForget func() float64) *metrics {
	const ns, sub = "teamtalk", "raftstore"
	seconds := prometheus.ExponentialBuckets(0.0001, 2, 16)
	m := &metrics{
		proposals: prometheus.NewCounter(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: "proposals_total",
			Help: "Commands proposed on this node."}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: "refused_total",
			Help: "Commands not known to be carried out, by reason."}, []string{"reason"}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: ns, Subsystem: sub, Name: "batch_commands",
			Help: "Commands per log entry.", Buckets: prometheus.ExponentialBuckets(1, 2, 10)}),
		commit: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: ns, Subsystem: sub, Name: "commit_seconds",
			Help: "From proposing an entry to having it applied here.", Buckets: seconds}),
		apply: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: ns, Subsystem: sub, Name: "apply_seconds",
			Help: "Executing one batch of entries, with its fsync.", Buckets: seconds}),
		installs: prometheus.NewCounter(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: "snapshots_installed_total",
			Help: "Snapshots of the leader that replaced this node's state."}),
		streams: prometheus.NewCounter(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: "snapshots_streamed_total",
			Help: "Snapshots opened for a follower."}),
		forgets: prometheus.NewCounter(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: "log_forgets_total",
			Help: "Times the log was shortened because it held deleted content."}),
	}
	m.all = []prometheus.Collector{m.proposals, m.refused, m.batch, m.commit, m.apply, m.installs, m.streams, m.forgets,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: ns, Subsystem: sub, Name: "log_entries_to_forget",
			Help: "Entries of the log up to the last one that holds deleted content."}, toForget),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: ns, Subsystem: sub, Name: "applied_index",
			Help: "Log index that this node's state holds."}, applied),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: ns, Subsystem: sub, Name: "disk_free_bytes",
			Help: "Free bytes where the data directory is."}, free),
	}
	return m
}

func (m *metrics) register(r prometheus.Registerer) error {
	if r == nil {
		return nil
	}
	for _, c := range m.all {
		if err := r.Register(c); err != nil {
			m.unregister(r)
			return fmt.Errorf("register metrics: %w", err)
		}
	}
	return nil
}

func (m *metrics) unregister(r prometheus.Registerer) {
	if r == nil {
		return
	}
	for _, c := range m.all {
		r.Unregister(c)
	}
}
