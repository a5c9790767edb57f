package scalemodel

import "time"

// Plan is what a world comes to by hand: rates and sizes without anything that varies, and without queues.
type Plan struct {
	Rates
	Aftermath
}

// Rates are of a busy hour in which all is well.
type Rates struct {
	Online int     `json:"online"` // users of all clusters
	Links  int     `json:"links"`  // of all
	Peers  int     `json:"peers"`  // of one cluster
	Local  float64 `json:"local"`  // commands a second of a cluster's own users

	// Events a second that a cluster sends to all others, which is as many as it receives, by kind, and all of them.
	Messages float64 `json:"messages"`
	Marks    float64 `json:"marks"`
	Posts    float64 `json:"posts"`
	HubPosts float64 `json:"hub_posts"`
	Changes  float64 `json:"changes"`
	Events   float64 `json:"events"`
	// Copies is how many events a post in a group of several clusters needs.
	Copies float64 `json:"copies"`
	Naive  float64 `json:"naive"`  // if each member abroad got a copy of its own, with MembersEach in each cluster
	Bytes  float64 `json:"bytes"`  // of an event on the link, on average
	Stored float64 `json:"stored"` // and in the outbox

	Uplink   float64 `json:"uplink"`    // bits a second, all links of a cluster, one way
	LinkRate float64 `json:"link_rate"` // events a second on one link, one way
	Log      float64 `json:"log"`       // share of what the cluster's log can carry out
	Checks   float64 `json:"checks"`    // signatures a second
	Kept     float64 `json:"kept"`      // bytes of acknowledged events that the outboxes of a cluster keep for a day [FED-OUT-3]
}

// Aftermath is what an outage of all links of a cluster leads to, as long as World.Outage says.
type Aftermath struct {
	Backlog      float64       `json:"backlog"`       // events that wait for it at the others
	BacklogBytes float64       `json:"backlog_bytes"` // and their size
	OfOne        float64       `json:"of_one"`        // bytes for one peer
	Drain        time.Duration `json:"drain_ns"`      // for it to take them in, once the links stand
	Limit        string        `json:"limit"`         // what that is limited by
	Full         time.Duration `json:"full_ns"`       // until the quota of a peer is full
	Held         float64       `json:"held_bytes"`    // memory that its leader needs for it, as it comes
	// Attempts is how many a second all clusters make to connect in a long outage, and AttemptsOne how many concern one that was cut off.
	Attempts    float64 `json:"attempts"`
	AttemptsOne float64 `json:"attempts_one"`
}

// MembersEach is how many members a group has in each of its clusters, for comparison with a design that sends each a copy.
const MembersEach = 25

// Arithmetic does the sums.
func (w *World) Arithmetic() Plan {
	p := Plan{Rates: w.rates()}
	// Events come in; for those that went out, acknowledgements are noted.
	p.Log = (p.Local + 2*p.Events) / w.Site.Commits
	w.afterOutage(&p)
	return p
}

// rates are what is said, and what it needs on the links.
func (w *World) rates() Rates {
	t, n := &w.Traffic, float64(w.Clusters)
	p := Rates{Online: w.Clusters * w.Users, Links: w.Clusters * (w.Clusters - 1) / 2, Peers: w.Clusters - 1, Local: w.local()}
	grouped := w.away() * t.Grouped
	p.Messages = w.away() - grouped
	p.Marks = p.Messages * t.Marks
	for _, g := range t.Groups {
		k, share := float64(g.Clusters), g.Share*grouped
		p.Posts += share * (k - 1) / k // the author is at any of the members' clusters
		p.HubPosts += share * (k - 1)
		p.Naive += g.Share * (k - 1) * MembersEach
	}
	if grouped > 0 {
		p.Copies = (p.Posts + p.HubPosts) / grouped
	}
	p.Changes = t.Changes * (n - 1)
	p.Events = p.Messages + p.Marks + p.Posts + p.HubPosts + p.Changes
	s := &t.Size
	bytes := p.Messages*s.Message + p.Marks*s.Mark + p.Posts*s.Post + p.HubPosts*s.HubPost + p.Changes*s.Change
	p.Bytes = bytes / p.Events
	p.Stored = p.Bytes - s.Signed
	// Seldom two at a time: each event is a batch of its own, and has its acknowledgement, which goes the other way.
	p.Uplink = 8 * (bytes + p.Events*(s.Batch+s.Ack))
	p.LinkRate = p.Events / (n - 1)
	p.Checks = 2*p.Events + p.HubPosts
	p.Kept = p.Events * p.Stored * day.Seconds()
	return p
}

const day = 24 * time.Hour

// afterOutage is the part about an outage of one cluster, or of several that can't reach each other either.
func (w *World) afterOutage(p *Plan) {
	out := w.Outage.For.Seconds()
	p.Backlog = p.Events * out
	p.BacklogBytes = p.Backlog * p.Stored
	p.OfOne = p.BacklogBytes / float64(p.Peers)
	p.Held = min(p.Backlog*(p.Stored+beside), w.Rules.Received)
	// What can be taken in, less what goes on coming.
	spare := func(name string, rate float64) {
		took := never
		if rate > p.Events {
			took = seconds(p.Backlog / (rate - p.Events))
		}
		if p.Limit == "" || took > p.Drain {
			p.Drain, p.Limit = took, name
		}
	}
	spare("log", w.spare())
	spare("signatures", w.Site.Checks/(1+p.HubPosts/p.Events))
	spare("downlink", w.Site.Downlink/8/p.Bytes)
	if burst := w.Rules.PeerRate * w.Rules.Burst.Seconds() * float64(p.Peers); w.Rules.PeerRate > 0 && p.Backlog > burst {
		spare("rate of a peer", w.Rules.PeerRate*float64(p.Peers)*p.Backlog/(p.Backlog-burst))
	}
	p.Full = never
	if each := p.Events * p.Stored / float64(p.Peers); each > 0 {
		p.Full = seconds(w.Rules.Quota / each)
	}
	// In the long run an attempt waits for half of the longest pause, and until it is given up; both sides make them.
	every := w.Rules.DialLimit.Seconds() + w.Rules.RetryMost.Seconds()/2
	cut, n := float64(w.Outage.Sites), float64(w.Clusters)
	p.Attempts = 2 * (cut*(n-cut) + cut*(cut-1)/2) / every
	p.AttemptsOne = 2 * (n - 1) / every
}
