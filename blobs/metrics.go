package blobs

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	drafts      prometheus.Gauge
	stored      prometheus.Counter
	storedBytes prometheus.Counter
	refused     *prometheus.CounterVec
	fetched     *prometheus.CounterVec
	failures    *prometheus.CounterVec
	bytes       *prometheus.CounterVec
	removed     *prometheus.CounterVec
	dropped     *prometheus.CounterVec
	left        *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "teamtalk_blobs_" + name, Help: help}, labels)
	}
	m := &metrics{
		drafts: prometheus.NewGauge(prometheus.GaugeOpts{Name: "teamtalk_blobs_drafts", Help: "Uploads and copies that are coming in."}),
		stored: prometheus.NewCounter(prometheus.CounterOpts{Name: "teamtalk_blobs_stored_total", Help: "Uploads that were stored, those of known content included."}),
		storedBytes: prometheus.NewCounter(prometheus.CounterOpts{Name: "teamtalk_blobs_stored_bytes_total",
			Help: "Bytes of these uploads."}),
		refused: counter("refused_total", "Uploads, and content of other offices, that were refused or broken off: disk_full, quota, too_large.", "reason"),
		fetched: counter("fetched_total", "Blobs that were fetched from elsewhere: another node, or the cluster of another office (abroad).", "source"),
		failures: counter("fetch_failures_total", "Attempts to fetch a blob that failed, or to read it from the disk: mismatch (the content is another one), missing, abandoned (nobody waited any more), broken (anything else).",
			"source", "reason"),
		bytes:   counter("bytes_total", "Bytes of blobs received from (in) and sent to (out) other nodes and offices.", "source", "direction"),
		removed: counter("removed_total", "Blobs whose content was removed here: dropped, refused (never recorded), stray (left over).", "reason"),
		dropped: counter("dropped_total", "Blobs that this node, leading, had dropped: retention (too old), unused (nothing shows them).", "reason"),
		left:    counter("left_total", "Work left to the next comparison because too much was waiting: copy, hold, removal.", "what"),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.drafts, m.stored, m.storedBytes, m.refused, m.fetched, m.failures, m.bytes, m.removed, m.dropped, m.left} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
