package bus

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	events  prometheus.Counter
	signals prometheus.Counter
	dropped *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		events:  prometheus.NewCounter(prometheus.CounterOpts{Name: "teamtalk_bus_events_total", Help: "Durable events published on this node."}),
		signals: prometheus.NewCounter(prometheus.CounterOpts{Name: "teamtalk_bus_signals_total", Help: "Ephemeral signals sent on this node."}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "teamtalk_bus_dropped_total",
			Help: "Events (reason behind: replaced by a jump) and signals (reason signal) that a subscriber was too slow for."}, []string{"subscriber", "reason"}),
	}
	if r != nil {
		r.MustRegister(m.events, m.signals, m.dropped)
	}
	return m
}
