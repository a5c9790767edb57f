package federation

import "github.com/prometheus/client_golang/prometheus"

// counts are the metrics of one peer.
type counts struct {
	sent, received, repeated prometheus.Counter
	refused                  *prometheus.CounterVec // by code
}
