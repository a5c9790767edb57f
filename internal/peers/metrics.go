package peers

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"teamtalk/protocol"
)

type metrics struct {
	connections *prometheus.GaugeVec
	refused     *prometheus.CounterVec
	bytes       *prometheus.CounterVec
	dials       *prometheus.CounterVec
	up          *prometheus.GaugeVec
	rtt         *prometheus.HistogramVec
	inFlight    *prometheus.GaugeVec
	calls       *prometheus.CounterVec
	dropped     *prometheus.CounterVec
	expiry      prometheus.GaugeFunc
}

func newMetrics(r prometheus.Registerer, expires func() time.Time) *metrics {
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "teamtalk_peers_" + name, Help: help}, labels)
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "teamtalk_peers_" + name, Help: help}, labels)
	}
	m := &metrics{
		connections: gauge("connections", "Connections with other nodes, by protocol and by who dialled (in: they, out: this node).", "protocol", "direction"),
		refused:     counter("refused_total", "Connections to the node port that were refused or pushed out.", "reason"),
		bytes:       counter("bytes_total", "Bytes exchanged with other nodes, TLS left out.", "peer", "protocol", "direction"),
		dials:       counter("dials_total", "Attempts to open a lane to another node; those after the first success are reconnects.", "peer", "lane", "result"),
		up:          gauge("up", "1 while the link to another node is up.", "peer"),
		rtt: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "teamtalk_peers_rtt_seconds", Help: "Time until another node answered a ping.",
			Buckets: []float64{.0002, .0005, .001, .002, .005, .01, .025, .05, .1, .25, 1}}, []string{"peer", "lane"}),
		inFlight: gauge("in_flight", "Calls to another node that have not ended.", "peer", "lane"),
		calls: counter("calls_total", "Calls to another node by how they ended: answered, failed (it said so), unsent (certainly not carried out), "+
			"unknown (the connection broke, or no answer in time).", "peer", "lane", "result"),
		dropped: counter("dropped_total", "Broadcasts not sent to a node: its link was down, or too much was under way (busy).", "peer", "reason"),
		expiry: prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "teamtalk_peers_certificate_expiry_seconds",
			Help: "When this node's certificate ends, in seconds since 1970."}, func() float64 { return float64(expires().Unix()) }),
	}
	if r != nil {
		r.MustRegister(m.connections, m.refused, m.bytes, m.dials, m.up, m.rtt, m.inFlight, m.calls, m.dropped, m.expiry)
	}
	return m
}

// forget drops the state, not the counts, of a node that is no member any more.
func (m *metrics) forget(peer protocol.NodeID) {
	m.up.DeleteLabelValues(string(peer))
	m.inFlight.DeletePartialMatch(prometheus.Labels{"peer": string(peer)})
}
