package bus

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	events  prometheus.Counter
	signals prometheus.Counter
	dropped *prometheus.CounterVec

	sessions    *prometheus.GaugeVec
	corrected   prometheus.Counter
	exchanges   *prometheus.CounterVec
	skipped     *prometheus.CounterVec
	peerDropped *prometheus.CounterVec
	peerBytes   *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		events:  prometheus.NewCounter(prometheus.CounterOpts{Name: "teamtalk_bus_events_total", Help: "Durable events published on this node."}),
		signals: prometheus.NewCounter(prometheus.CounterOpts{Name: "teamtalk_bus_signals_total", Help: "Ephemeral signals sent on this node."}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "teamtalk_bus_dropped_total",
			Help: "Events (reason behind: replaced by a jump) and signals (reason signal) that a subscriber was too slow for."}, []string{"subscriber", "reason"}),

		sessions: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "teamtalk_bus_sessions",
			Help: "Sessions that the presence table of this node holds, by the node they are on."}, []string{"node"}),
		corrected: prometheus.NewCounter(prometheus.CounterOpts{Name: "teamtalk_bus_presence_corrected_total",
			Help: "Users of whom clients were shown something else than the presence table said, until this node announced the truth."}),
		exchanges: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "teamtalk_bus_exchanges_total",
			Help: "Whole presence tables asked for, sent to and received from other nodes."}, []string{"what"}),
		skipped: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "teamtalk_bus_skipped_total",
			Help: "Payloads of other nodes, or parts of them, that were not used: former_life, malformed, stray_part, unknown_kind, version; " +
				"not_encoded: could not be told to them."}, []string{"reason"}),
		peerDropped: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "teamtalk_bus_peer_dropped_total",
			Help: "What another node was not told: signal and change (it is too slow), link (its link went down), send and table (it could not be sent)."},
			[]string{"node", "reason"}),
		peerBytes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "teamtalk_bus_peer_bytes_total",
			Help: "Bytes of signals and presence sent to another node."}, []string{"node"}),
	}
	if r != nil {
		r.MustRegister(m.events, m.signals, m.dropped, m.sessions, m.corrected, m.exchanges, m.skipped, m.peerDropped, m.peerBytes)
	}
	return m
}
