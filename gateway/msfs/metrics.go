package msfs

import (
	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	requests *prometheus.CounterVec // by what was asked and the answer's status
	bytes    *prometheus.CounterVec // by direction
	thumbs   *prometheus.CounterVec // by what came of it
	partial  prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "teamtalk_media_requests_total",
			Help: "HTTP requests for content: form, upload, download; by the kind of answer."}, []string{"request", "outcome"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "teamtalk_media_bytes_total",
			Help: "Bytes of content received (in) and sent (out) over HTTP."}, []string{"direction"}),
		thumbs: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "teamtalk_media_thumbnails_total",
			Help: "Smaller pictures asked for: made, cached, or original when none can be made."}, []string{"outcome"}),
		partial: prometheus.NewGauge(prometheus.GaugeOpts{Name: "teamtalk_media_partial_uploads",
			Help: "Uploads that are begun and not complete."}),
	}
	if r != nil {
		r.MustRegister(m.requests, m.bytes, m.thumbs, m.partial)
	}
	return m
}
