package scalemodel

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// World says what is modelled.
type World struct {
	Clusters int    `json:"clusters"`
	Users    int    `json:"users"` // online, of each cluster
	Seed     uint64 `json:"seed"`
	// Bundle is how many messages go through the model as one thing: more is quicker, and coarser.
	Bundle  int           `json:"bundle"`
	Traffic Traffic       `json:"traffic"`
	Site    Site          `json:"site"`
	Delay   time.Duration `json:"delay"` // one way between any two clusters
	Rules   Rules         `json:"rules"`
	// Outage cuts the first so many clusters off from all others, and from each other.
	Outage Outage `json:"outage"`
	// Lead is how long all is well before the outage; Tail how long the model goes on at most after it, though it ends when all is drained.
	Lead time.Duration `json:"lead"`
	Tail time.Duration `json:"tail"`
}

// Traffic is what people do.
type Traffic struct {
	PerUser float64  `json:"per_user"` // messages that a user sends, a second
	Away    float64  `json:"away"`     // share of them that other clusters have to hear of
	Grouped float64  `json:"grouped"`  // share of those that are said in groups
	Groups  []Spread `json:"groups"`
	Marks   float64  `json:"marks"`   // read marks for each message one to one
	Changes float64  `json:"changes"` // of profiles and members, that a cluster tells each other one, a second
	Size    Sizes    `json:"sizes"`
}

// Spread is a kind of group.
type Spread struct {
	Clusters int     `json:"clusters"` // that have members
	Share    float64 `json:"share"`    // of all posts
}

// Sizes are bytes on the link, the event's share of its frame and all signatures included. Signed of them are not in the outbox: events are signed when they leave.
type Sizes struct {
	Message float64 `json:"message"`
	Post    float64 `json:"post"`
	HubPost float64 `json:"hub_post"`
	Mark    float64 `json:"mark"`
	Change  float64 `json:"change"`
	Signed  float64 `json:"signed"`
	Batch   float64 `json:"batch"` // a batch's own, and the packets' headers
	Ack     float64 `json:"ack"`
}

// Site is what each cluster has.
type Site struct {
	Uplink   float64       `json:"uplink"`   // bits a second to all other clusters together
	Downlink float64       `json:"downlink"` // bits a second from them
	Commits  float64       `json:"commits"`  // commands a second that its log can carry out
	Commit   time.Duration `json:"commit"`   // from the proposal of a command until it is applied, when nothing else is to be done
	Checks   float64       `json:"checks"`   // signatures a second that it can check
	Queue    int           `json:"queue"`    // commands that wait for the log; who comes then is held up
}

// Rules are those of docs/FEDERATION.md.
type Rules struct {
	Batch      int           `json:"batch"`       // events at most [FED-OUT-2]
	Window     int           `json:"window"`      // events without acknowledgement, in a lane
	Pending    int           `json:"pending"`     // events of a peer's that are being committed, all its lanes
	Received   float64       `json:"received"`    // bytes of memory for what has come over all links of a cluster and is not proposed yet
	PeerRate   float64       `json:"peer_rate"`   // events a second that a peer may send, 0: any [FED-AUTH-3]
	Burst      time.Duration `json:"burst"`       // so long a peer may have been silent to send more at once
	Quota      float64       `json:"quota"`       // bytes that may wait for a peer [FED-OUT-3]
	Silence    time.Duration `json:"silence"`     // that ends a connection [FED-TR-7]
	RetryLeast time.Duration `json:"retry_least"` // [FED-TR-4]
	RetryMost  time.Duration `json:"retry_most"`
	DialLimit  time.Duration `json:"dial_limit"` // after which an attempt is given up
	NoJitter   bool          `json:"no_jitter"`  // to see what jitter is good for: all wait exactly as long as they may
}

// Outage is a time in which some clusters can't reach any other.
type Outage struct {
	Sites int           `json:"sites"`
	For   time.Duration `json:"for"`
}

// messageLanes is how many lanes carry messages; lane 0 is for changes [FED-LANE-1].
const messageLanes = 8

// Default is 100 clusters with 100,000 users online each; docs/SCALING.md says where each figure is from.
func Default() World {
	return World{
		Clusters: 100, Users: 100_000, Seed: 1, Bundle: 10, Delay: 45 * time.Millisecond, Lead: time.Minute, Tail: time.Hour,
		Traffic: Traffic{
			PerUser: 0.01, Away: 0.1, Grouped: 0.5, Groups: []Spread{{2, 0.7}, {5, 0.2}, {20, 0.1}}, Marks: 1, Changes: 1.0 / 60,
			Size: Sizes{Message: 325, Post: 325, HubPost: 510, Mark: 220, Change: 270, Signed: 100, Batch: 160, Ack: 80},
		},
		Site: Site{Uplink: 1e9, Downlink: 1e9, Commits: 16_000, Checks: 50_000, Commit: 3500 * time.Microsecond, Queue: 4096},
		Rules: Rules{Batch: 256, Window: 4096, Pending: 9 * 1024, Received: 64 << 20, PeerRate: 2000, Burst: time.Minute, Quota: 1 << 30, Silence: 45 * time.Second,
			RetryLeast: time.Second, RetryMost: time.Minute, DialLimit: 10 * time.Second},
	}
}

// check is why a world can't be modelled.
func (w *World) check() error {
	switch {
	case w.Clusters < 2 || w.Clusters > 1000:
		return fmt.Errorf("%d clusters: 2 to 1000", w.Clusters)
	case w.Users < 1 || w.Bundle < 1:
		return errors.New("users and the bundle have to be 1 at least")
	case w.Outage.Sites < 0 || w.Outage.Sites > w.Clusters || w.Outage.For < 0 || w.Lead < 0 || w.Tail < 0:
		return errors.New("an outage that is none")
	case w.Site.Uplink <= 0 || w.Site.Downlink <= 0 || w.Site.Queue < 1 || w.Site.Checks <= 0 || w.Delay <= 0:
		return errors.New("a site without a network or a log")
	case w.Rules.Batch < 1 || w.Rules.Window < w.Rules.Batch || w.Rules.Pending < w.Rules.Batch || w.Site.Queue < w.Rules.Batch:
		return errors.New("a window has to hold a batch")
	case w.Rules.RetryLeast <= 0 || w.Rules.RetryMost < w.Rules.RetryLeast || w.Rules.DialLimit <= 0 || w.Rules.Silence <= 0 || w.Rules.Quota <= 0 || w.Rules.Received <= 0:
		return errors.New("a rule is missing")
	}
	if err := w.Traffic.check(w.Clusters); err != nil {
		return err
	}
	if p := w.rates(); w.spare() <= p.Events {
		return fmt.Errorf("the log carries out %.0f commands a second, %.0f are needed", w.Site.Commits, p.Local+2*p.Events)
	}
	return nil
}

func (t *Traffic) check(clusters int) error {
	share := 0.0
	for _, g := range t.Groups {
		share += g.Share
		if g.Clusters < 2 || g.Clusters > clusters || g.Share < 0 {
			return fmt.Errorf("groups over %d clusters of %d", g.Clusters, clusters)
		}
	}
	switch {
	case t.Grouped > 0 && math.Abs(share-1) > 1e-9:
		return fmt.Errorf("the kinds of groups have %v of all posts", share)
	case t.PerUser < 0 || t.Away < 0 || t.Away > 1 || t.Grouped < 0 || t.Grouped > 1 || t.Marks < 0 || t.Marks > 1 || t.Changes < 0:
		return errors.New("traffic: a share is more than all, or less than nothing")
	}
	return nil
}

// local is how many commands a second the users of a cluster need.
func (w *World) local() float64 { return w.Traffic.PerUser * float64(w.Users) }

// away is how many of them a second other clusters have to hear of.
func (w *World) away() float64 { return w.local() * w.Traffic.Away }

// spare is how many commands a second a log has left for what comes from other clusters: what its own users say, and the acknowledgements of others,
// which are noted one by one when little goes on, come first.
func (w *World) spare() float64 {
	p := w.rates()
	return w.Site.Commits - p.Local - p.Events
}
