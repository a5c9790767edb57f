package ws

import "github.com/prometheus/client_golang/prometheus"

// refusal names why a handshake was refused, or a connection ended for what the client sent.
type refusal string

const (
	refusedStopping    refusal = "stopping"
	refusedVersion     refusal = "http_version"
	refusedOrigin      refusal = "origin"
	refusedHandshake   refusal = "handshake"   // no WebSocket handshake
	refusedSubprotocol refusal = "subprotocol" // not offered
	refusedText        refusal = "text"        // a text message
	refusedCut         refusal = "cut"         // a message that ends inside a PDU
	refusedFrame       refusal = "frame"       // no WebSocket frame
)

type metrics struct {
	accepts  prometheus.Counter
	refusals *prometheus.CounterVec
	pings    prometheus.Counter
	hasty    prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		accepts: prometheus.NewCounter(prometheus.CounterOpts{Name: "teamtalk_transport_accepted_total",
			Help: "Connections accepted.", ConstLabels: prometheus.Labels{"listener": "websocket"}}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "teamtalk_ws_refused_total",
			Help: "WebSocket handshakes refused, and connections ended because of what the client sent, by reason."}, []string{"reason"}),
		pings: prometheus.NewCounter(prometheus.CounterOpts{Name: "teamtalk_ws_pings_total",
			Help: "Pings sent on idle WebSocket connections."}),
		hasty: prometheus.NewCounter(prometheus.CounterOpts{Name: "teamtalk_ws_closed_hastily_total",
			Help: "WebSocket connections closed without waiting for the client, because too many were being closed."}),
	}
	for _, why := range []refusal{refusedStopping, refusedVersion, refusedOrigin, refusedHandshake, refusedSubprotocol, refusedText, refusedCut, refusedFrame} {
		m.refusals.WithLabelValues(string(why))
	}
	if r != nil {
		r.MustRegister(m.accepts, m.refusals, m.pings, m.hasty)
	}
	return m
}

func (m *metrics) refused(why refusal) { m.refusals.WithLabelValues(string(why)).Inc() }
