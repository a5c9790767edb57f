package federation

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// maxCode is above all codes that refusals are counted by; unknown ones are counted as 0.
const maxCode = 32

// tally is what is counted of one peer, from when this node's program began.
type tally struct {
	sent, received, repeated atomic.Uint64
	refused                  [maxCode]atomic.Uint64
	ups                      atomic.Uint64 // links that came to stand
	dialsUp, dialsFailed     atomic.Uint64
	asked, filled            atomic.Uint64 // ranges asked for, events they brought
	roundTrip, skew          atomic.Int64  // in nanoseconds
	files                    fileTally
}

// fileTally is what is counted of the blobs that go over a peer's links.
type fileTally struct {
	in, out               atomic.Uint64 // bytes of pieces
	refusedIn, refusedOut atomic.Uint64 // pieces that the peer, or this side, did not hand out
	wrong, unasked        atomic.Uint64 // pieces of the peer's that are not what was asked for, or that nobody waits for
	mismatched            atomic.Uint64 // blobs of the peer's that are not what they are called
}

// refusals are counted by reason.
func (t *fileTally) refusals() map[string]uint64 {
	return map[string]uint64{"refused_by_peer": t.refusedIn.Load(), "refused_here": t.refusedOut.Load(), "wrong": t.wrong.Load(),
		"unasked": t.unasked.Load(), "mismatched": t.mismatched.Load()}
}

func (t *tally) refusal(c protocol.Code) {
	if c >= maxCode {
		c = 0
	}
	t.refused[c].Add(1)
}

func (t *tally) dialled(err error) {
	if err == nil {
		t.dialsUp.Add(1)
		return
	}
	t.dialsFailed.Add(1)
}

func (t *tally) view() (v LinkView) {
	v.Sent, v.Received, v.Repeated = t.sent.Load(), t.received.Load(), t.repeated.Load()
	for i := range t.refused {
		v.Refused += t.refused[i].Load()
	}
	v.FilesIn, v.FilesOut = t.files.in.Load(), t.files.out.Load()
	v.RoundTrip, v.Skew = time.Duration(t.roundTrip.Load()), time.Duration(t.skew.Load())
	return v
}

// metrics are of all links; on a node that does not lead there are none.
type metrics struct {
	m        *Manager
	registry prometheus.Registerer
	refused  prometheus.Counter // connections that came in

	up, events, bytes, oldest, roundTrip, skew, certificate         *prometheus.Desc
	sent, received, repeated, rejected, links, dials, asked, filled *prometheus.Desc
	files, failed                                                   *prometheus.Desc
}

func newMetrics(m *Manager, r prometheus.Registerer) (*metrics, error) {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("teamtalk_federation_"+name, help, append([]string{"peer"}, labels...), nil)
	}
	x := &metrics{m: m, registry: r,
		refused: prometheus.NewCounter(prometheus.CounterOpts{Name: "teamtalk_federation_refused_connections_total",
			Help: "Connections of other clusters that were refused or ended early; who they were is in the log."}),
		up:          desc("up", "1 while the link with another cluster stands."),
		events:      desc("queue_events", "Events that wait for another cluster or are not acknowledged by it."),
		bytes:       desc("queue_bytes", "Bytes of them."),
		oldest:      desc("queue_oldest_seconds", "Age of the oldest of them; 0: there is none."),
		roundTrip:   desc("round_trip_seconds", "Time that the last ping took; 0: not known."),
		skew:        desc("clock_skew_seconds", "How far the other cluster's clock is ahead of this one's."),
		certificate: desc("certificate_seconds", "Time until the certificate ends that the other cluster shows; a new one is made in time."),
		sent:        desc("events_sent_total", "Events sent to another cluster, those sent again included."),
		received:    desc("events_received_total", "Events that another cluster has sent."),
		repeated:    desc("events_repeated_total", "Events of another cluster that were known already."),
		rejected:    desc("events_refused_total", "Events of another cluster that are not accepted, by code.", "code"),
		links:       desc("links_total", "Links that came to stand; those after the first are reconnects."),
		dials:       desc("dials_total", "Attempts to reach an endpoint of another cluster.", "result"),
		asked:       desc("ranges_total", "Pages of missing events that another cluster was asked for."),
		filled:      desc("range_events_total", "Events of such pages that were new here."),
		files:       desc("file_bytes_total", "Bytes of blobs that went over the link with another cluster.", "direction"),
		failed:      desc("file_failures_total", "Pieces of blobs that were not handed out or not taken, and blobs that are not what they are called, by reason.", "reason")}
	if r == nil {
		return x, nil
	}
	return x, errors.Join(r.Register(x), r.Register(x.refused), r.Register(m.ops.dropped.collector()))
}

func (x *metrics) close() {
	if x.registry != nil {
		x.registry.Unregister(x)
		x.registry.Unregister(x.refused)
		x.registry.Unregister(x.m.ops.dropped.collector())
	}
}

// Describe implements prometheus.Collector.
func (x *metrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{x.up, x.events, x.bytes, x.oldest, x.roundTrip, x.skew, x.certificate, x.sent, x.received, x.repeated, x.rejected,
		x.links, x.dials, x.asked, x.filled, x.files, x.failed} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (x *metrics) Collect(to chan<- prometheus.Metric) {
	t := x.m.current()
	if t == nil {
		return
	}
	peers, err := x.m.cfg.State.FedPeers()
	if err != nil {
		to <- prometheus.NewInvalidMetric(x.up, err)
		return
	}
	for i := range peers {
		if k := t.keeper(peers[i].Cluster); k != nil {
			x.collect(to, k, &peers[i])
		}
	}
}

func (x *metrics) collect(to chan<- prometheus.Metric, k *keeper, p *fed.PeerStatus) {
	k.mu.Lock()
	domain, l := k.manifest.Domain, k.link
	k.mu.Unlock()
	gauge := func(d *prometheus.Desc, v float64) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, domain)
	}
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), append([]string{domain}, labels...)...)
	}
	var events, bytes uint64
	var oldest protocol.Time
	for _, lane := range p.Lanes {
		events += lane.Sent - lane.Acked
		bytes += lane.Waiting
		if lane.Oldest != 0 && (oldest == 0 || lane.Oldest < oldest) {
			oldest = lane.Oldest
		}
	}
	age := 0.
	if oldest != 0 {
		age = max(0, time.Since(oldest.Std()).Seconds())
	}
	up := 0.
	if l != nil {
		up = 1
		if !l.shown.expires.IsZero() {
			gauge(x.certificate, time.Until(l.shown.expires).Seconds())
		}
	}
	gauge(x.up, up)
	gauge(x.events, float64(events))
	gauge(x.bytes, float64(bytes))
	gauge(x.oldest, age)
	c := k.tally
	gauge(x.roundTrip, time.Duration(c.roundTrip.Load()).Seconds())
	gauge(x.skew, time.Duration(c.skew.Load()).Seconds())
	count(x.sent, c.sent.Load())
	count(x.received, c.received.Load())
	count(x.repeated, c.repeated.Load())
	for code := range c.refused {
		if n := c.refused[code].Load(); n > 0 {
			count(x.rejected, n, protocol.Code(code).String())
		}
	}
	count(x.links, c.ups.Load())
	count(x.dials, c.dialsUp.Load(), "up")
	count(x.dials, c.dialsFailed.Load(), "failed")
	count(x.asked, c.asked.Load())
	count(x.filled, c.filled.Load())
	count(x.files, c.files.in.Load(), "in")
	count(x.files, c.files.out.Load(), "out")
	for why, n := range c.files.refusals() {
		count(x.failed, n, why)
	}
}
