package transfer

import "github.com/prometheus/client_golang/prometheus"

// How tasks end, in metrics.
const (
	endedDone      = "done"
	endedCancelled = "cancelled"
	endedRefused   = "refused"
	endedExpired   = "expired"  // the sender did not come, or not come back
	endedFailed    = "failed"   // could not be stored
	endedShutdown  = "shutdown" // of the node
)

type metrics struct {
	tasks       prometheus.Gauge
	connections prometheus.Gauge
	ended       *prometheus.CounterVec
	bytes       *prometheus.CounterVec
	refused     *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		tasks: prometheus.NewGauge(prometheus.GaugeOpts{Name: "teamtalk_transfer_tasks",
			Help: "Files offered, and not yet carried or given up."}),
		connections: prometheus.NewGauge(prometheus.GaugeOpts{Name: "teamtalk_transfer_connections",
			Help: "Connections and streams that carry files, or have not said which."}),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "teamtalk_transfer_ended_total",
			Help: "Tasks ended, by mode (online, offline) and how: done, cancelled, refused, expired, failed, shutdown."}, []string{"mode", "how"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "teamtalk_transfer_bytes_total",
			Help: "Bytes of files carried, by way: relayed (online), stored (offline, from the sender), fetched (offline, to the receiver)."}, []string{"way"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "teamtalk_transfer_refused_total",
			Help: "Connections ended by the server, by reason: login (no such task for this user and role), late (no login in time), idle, protocol, stalled, full (too many that have not logged in), many (too many that fetch for one user)."}, []string{"reason"}),
	}
	if reg != nil {
		reg.MustRegister(m.tasks, m.connections, m.ended, m.bytes, m.refused)
	}
	return m
}
