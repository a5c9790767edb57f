package longpoll

import "github.com/prometheus/client_golang/prometheus"

// end names why a session ended, in logs and metrics.
type end string

const (
	endClosed   end = "closed"   // by this side, and the client has fetched all there was
	endUnread   end = "unread"   // by this side, and the client did not come for the last batch
	endClient   end = "client"   // the client closed
	endSilent   end = "silent"   // no poll in time [TT-LP-7]
	endCut      end = "cut_pdu"  // [TT-LP-6]
	endShutdown end = "shutdown" // of the handler
)

// Requests, as metrics name them.
const (
	requestOpen  = "open"
	requestPost  = "post"
	requestPoll  = "poll"
	requestClose = "close"
	requestOther = "other"
)

// Reasons of refusals, as metrics name them.
const (
	refusedOrigin   = "origin"
	refusedToken    = "token"    // or an unknown id
	refusedRate     = "rate"     // new sessions of one address
	refusedFull     = "full"     // too many sessions
	refusedStopping = "stopping" // no new sessions
	refusedPosts    = "posts"    // too many POSTs of one session at once
	refusedBodies   = "bodies"   // no room for large bodies
	refusedQueue    = "queue"    // the session does not read
)

type metrics struct {
	opened     prometheus.Counter
	answers    *prometheus.CounterVec
	refused    *prometheus.CounterVec
	ended      *prometheus.CounterVec
	repeats    *prometheus.CounterVec
	superseded prometheus.Counter
	forwarded  *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer, open func() float64) *metrics {
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "teamtalk_longpoll_" + name, Help: help}, labels)
	}
	m := &metrics{
		opened: prometheus.NewCounter(prometheus.CounterOpts{Name: "teamtalk_transport_accepted_total", Help: "Connections accepted.",
			ConstLabels: prometheus.Labels{"listener": "longpoll"}}),
		answers:   vec("requests_total", "Long-poll requests answered, by kind and status.", "request", "status"),
		refused:   vec("refused_total", "Long-poll requests refused, by reason.", "reason"),
		ended:     vec("ended_total", "Long-poll sessions ended, by reason.", "reason"),
		forwarded: vec("forwarded_total", "Long-poll requests for sessions of other nodes, by kind and by what came of it.", "request", "outcome"),
		repeats:   vec("repeats_total", "Long-poll requests that were repeats: POSTs not applied again, batches sent again.", "request"),
		superseded: prometheus.NewCounter(prometheus.CounterOpts{Name: "teamtalk_longpoll_superseded_total",
			Help: "Polls ended by a newer poll of the same session."}),
	}
	if r != nil {
		r.MustRegister(m.opened, m.answers, m.refused, m.ended, m.repeats, m.superseded, m.forwarded,
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "teamtalk_longpoll_sessions",
				Help: "Long-poll sessions, those included that are closed and have not been told so yet."}, open))
	}
	return m
}
