package quicport

import "github.com/prometheus/client_golang/prometheus"

// Why clients are refused, in metrics.
const (
	refusedConnections = "connections" // too many
	refusedHandshakes  = "handshakes"  // too many at a time
	refusedAddress     = "address"     // too many handshakes at a time from one address
	refusedNoStream    = "no_stream"   // connected, but opened no session stream in time
	refusedStreams     = "streams"     // kept opening streams that were refused
	refusedPeers       = "peers"       // too many that are not clients
)

// Which streams are refused, in metrics.
const (
	streamBulk = "bidirectional"
	streamUni  = "unidirectional"
)

type metrics struct {
	accepted prometheus.Counter
	open     prometheus.Gauge
	failed   prometheus.Counter
	retries  prometheus.Counter
	refused  *prometheus.CounterVec
	streams  *prometheus.CounterVec
}

func newMetrics(listener string, reg prometheus.Registerer) *metrics {
	labels := prometheus.Labels{"listener": listener}
	m := &metrics{
		accepted: prometheus.NewCounter(prometheus.CounterOpts{Name: "teamtalk_transport_accepted_total",
			Help: "Connections accepted.", ConstLabels: labels}),
		open: prometheus.NewGauge(prometheus.GaugeOpts{Name: "teamtalk_quic_connections",
			Help: "QUIC connections open, handshakes under way and HTTP/3 included."}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{Name: "teamtalk_quic_handshakes_failed_total",
			Help: "QUIC handshakes begun and not completed: given up, timed out, no common protocol, or not accepted in time."}),
		retries: prometheus.NewCounter(prometheus.CounterOpts{Name: "teamtalk_quic_retries_total",
			Help: "QUIC clients asked to prove their address before the handshake."}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "teamtalk_quic_refused_total",
			Help: "QUIC clients refused, by reason: connections, handshakes, address, no_stream, streams, peers."}, []string{"reason"}),
		streams: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "teamtalk_quic_streams_refused_total",
			Help: "Streams beside the session stream that were refused: bidirectional or unidirectional."}, []string{"kind"}),
	}
	if reg != nil {
		reg.MustRegister(m.accepted, m.open, m.failed, m.retries, m.refused, m.streams)
	}
	return m
}
