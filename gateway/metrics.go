package gateway

import (
	"github.com/prometheus/client_golang/prometheus"

	"teamtalk/protocol/pdu"
)

type metrics struct {
	open          prometheus.Gauge
	sessions      *prometheus.GaugeVec
	refused       *prometheus.CounterVec
	closed        *prometheus.CounterVec
	logins        *prometheus.CounterVec
	hellos        *prometheus.CounterVec
	pdus          *prometheus.CounterVec
	pdusOut       map[pdu.Command]prometheus.Counter
	ignored       *prometheus.CounterVec
	dropped       *prometheus.CounterVec
	parked        prometheus.Gauge
	panics        prometheus.Counter
	receipts      prometheus.Counter
	proposedAgain prometheus.Counter
	queueBytes    prometheus.Histogram
	delivery      prometheus.Histogram
}

func newMetrics(r prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "teamtalk_gateway_" + name, Help: help})
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "teamtalk_gateway_" + name, Help: help}, labels)
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "teamtalk_gateway_" + name, Help: help})
	}
	m := &metrics{
		open: gauge("connections", "Connections, logged in or not."),
		sessions: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "teamtalk_gateway_sessions",
			Help: "Logged-in connections by class."}, []string{"class"}),
		refused:       counters("refused_total", "Connections closed on arrival, and logins refused for lack of room, by reason.", "reason"),
		closed:        counters("closed_total", "Connections ended, by reason.", "reason"),
		logins:        counters("logins_total", "Answers to logins, by result.", "result"),
		hellos:        counters("hellos_total", "Answers to HELLO, by verdict.", "verdict"),
		pdus:          counters("pdus_total", "PDUs by command and direction.", "command", "direction"),
		ignored:       counters("ignored_total", "Requests that were not carried out, by reason.", "reason"),
		dropped:       counters("dropped_total", "Pushes that were dropped, by reason.", "reason"),
		parked:        gauge("parked", "Requests that wait for one before them: for the rate of their connection, a slow request or a replay."),
		panics:        counter("panics_total", "Handlers that panicked; each ended its session."),
		receipts:      counter("receipts_total", "Receipts of clients for messages pushed to them."),
		proposedAgain: counter("proposed_again_total", "Messages proposed again because their outcome was unknown."),
		queueBytes: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "teamtalk_gateway_overloaded_queue_bytes",
			Help: "Bytes that waited for a connection when it was ended for not taking them.", Buckets: prometheus.ExponentialBuckets(64<<10, 2, 8)}),
		delivery: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "teamtalk_gateway_delivery_seconds",
			Help: "From the time stamped on a message to its being queued for the sessions on this node.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14)}),
	}
	m.pdusOut = make(map[pdu.Command]prometheus.Counter)
	for _, row := range pdu.Table() {
		if row.Direction.Has(pdu.ServerToClient) && row.Port == pdu.PortChat {
			m.pdusOut[row.Command] = m.pdus.WithLabelValues(row.Command.String(), "out")
		}
	}
	if r != nil {
		r.MustRegister(m.open, m.sessions, m.refused, m.closed, m.logins, m.hellos, m.pdus, m.ignored, m.dropped, m.parked, m.panics, m.receipts,
			m.proposedAgain, m.queueBytes, m.delivery)
	}
	return m
}

// observeQueues adds a gauge that is computed when it is asked for.
func (m *metrics) observeQueues(r prometheus.Registerer, bytes func() float64) {
	if r != nil {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "teamtalk_gateway_queued_bytes", Help: "Bytes that wait to be sent to all sessions."}, bytes))
	}
}

// out counts PDUs queued for clients.
func (m *metrics) out(cmd pdu.Command, n int) {
	if c, ok := m.pdusOut[cmd]; ok && n > 0 {
		c.Add(float64(n))
	}
}
