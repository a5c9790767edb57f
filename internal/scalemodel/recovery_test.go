package scalemodel

import (
	"math"
	"os"
	"testing"
	"time"
)

// region is ten of a hundred clusters away for an hour, the same figures as in docs/SCALING.md but coarser.
func region() World {
	w := Reference()
	if os.Getenv("TT_SOAK") == "" {
		w.Bundle, w.Traffic.Changes = 200, w.Traffic.Changes/10
	}
	return w
}

// TestRegionComesBack: ten of a hundred clusters are away for an hour. All that was said arrives, as soon as the narrowest place lets it, and
// nobody else notices much.
func TestRegionComesBack(t *testing.T) {
	w := region()
	p := w.Arithmetic()
	r := run(t, w)
	t.Logf("%d waited, %.1f GB; links back after %v, all there after %v; by hand %v at the %s", r.Backlog, r.BacklogBytes/1e9, r.LinksBack, r.Settled, p.Drain, p.Limit)
	if r.Missing != 0 || r.Refused != 0 {
		t.Errorf("%d missing, %d refused", r.Missing, r.Refused)
	}
	if most := w.Rules.RetryMost + w.Rules.DialLimit + time.Second; r.LinksBack > most {
		t.Errorf("the last link is back after %v, at most %v are possible", r.LinksBack, most)
	}
	// Links come back one after the other, so that some of the draining is over when the last one is there.
	if most := r.LinksBack + p.Drain + p.Drain/4; r.Settled > most || r.Settled < p.Drain*3/4 {
		t.Errorf("all is there after %v, by hand %v at most", r.Settled, most)
	}
	// Who was not cut off: their own users wait as before, those of others hardly longer.
	limits := []struct {
		name  string
		times *Times
		most  time.Duration
	}{
		{"acks at clusters that were there all the time", r.Took(After, Local), 500 * time.Millisecond},
		{"between them", r.Took(After, Direct), time.Second},
		{"their groups", r.Took(After, Group), 2 * time.Second},
		{"between them in the outage", r.Took(During, Direct), 500 * time.Millisecond},
		{"acks at clusters that come back", r.Took(After, LocalCut), seconds(1.2*float64(w.Site.Queue)/(w.spare())) + w.Site.Commit},
		{"over links that drain", r.Took(After, DirectCut), r.Settled},
	}
	for _, l := range limits {
		if l.times.Count == 0 || l.times.Quantile(0.99) > l.most {
			t.Errorf("%s: %d times, p99 %v, at most %v are allowed", l.name, l.times.Count, l.times.Quantile(0.99), l.most)
		}
	}
	// Bounds: of the leader's memory, of the log's queue, and of what waits for a peer.
	if r.Queued > w.Site.Queue+w.Bundle || r.Depth > w.Rules.Quota || r.Held > w.Rules.Received || r.Held < 0.9*p.Held {
		t.Errorf("%d commands in a log's queue, %.0f bytes for a peer, %.0f in memory", r.Queued, r.Depth, r.Held)
	}
	// The arithmetic also counts the copies and marks that what waits will lead to.
	if each := r.BacklogBytes / float64(10*90*2+10*9); each > p.OfOne || each < 0.4*p.OfOne {
		t.Errorf("%.0f bytes wait for a peer, by hand at most %.0f", each, p.OfOne)
	}
}

// TestNoStorm: when a region comes back, those who want to connect with it are spread over a minute.
func TestNoStorm(t *testing.T) {
	w := region()
	w.Traffic.PerUser, w.Traffic.Changes = 1e-6, 0 // connections only
	w.Bundle = 1
	p := w.Arithmetic()
	r := run(t, w)
	// In a second, the mean and six times its deviation.
	bound := func(mean float64) float64 { return mean + 6*math.Sqrt(mean) }
	t.Logf("attempts in one second: %d after, %d of one cluster; mean %.1f and %.1f", r.Attempts.After, r.Attempts.One, p.Attempts, p.AttemptsOne)
	// An attempt that would have been given up after DialLimit succeeds at once now, so the first ones come at this rate and then ever fewer.
	if float64(r.Attempts.After) > bound(p.Attempts) || float64(r.Attempts.One) > bound(p.AttemptsOne) {
		t.Errorf("%d attempts in a second, %d of one cluster: %.0f and %.0f are the bounds", r.Attempts.After, r.Attempts.One, bound(p.Attempts), bound(p.AttemptsOne))
	}
	if r.Attempts.After == 0 {
		t.Error("nobody has tried")
	}
	w.Rules.NoJitter = true
	if r := run(t, w); float64(r.Attempts.After) < 5*bound(p.Attempts) {
		t.Errorf("without jitter only %d attempts in a second: the bound says nothing", r.Attempts.After)
	}
}

// TestLanes: while a link drains, a lane that has nothing old to send does not wait for those that do.
func TestLanes(t *testing.T) {
	w := twoSites(200)
	w.Outage, w.Rules.PeerRate, w.Traffic.Changes = Outage{Sites: 1, For: 30 * time.Minute}, 2000, 0.2
	w.Rules.Burst = 0
	w.Rules.RetryMost, w.Rules.DialLimit = time.Second, time.Second // it is not about when the link is back
	r := run(t, w)
	turns := seconds(2*float64(w.Rules.Batch)/w.Rules.PeerRate) + 2*w.Delay // the batch before it
	took := r.Took(After, ChangeCut)
	drained := r.Settled - r.LinksBack
	if took.Count < 50 || drained < time.Minute {
		t.Fatalf("%d changes while the link drained for %v", took.Count, drained)
	}
	// Those of the first second wait for their lane's own backlog.
	if p := took.Quantile(0.9); p > turns {
		t.Errorf("p90 of changes %v, by hand at most %v", p, turns)
	}
	// A new message waits for what its lane has had to say before.
	if p := r.Took(After, DirectCut).Quantile(0.5); p < 10*turns {
		t.Errorf("new messages over the draining link: median %v: was there a backlog?", p)
	}
}

// TestQuota: when what waits for a peer reaches the quota, messages to that one are refused, at the time that the arithmetic says; others go on.
func TestQuota(t *testing.T) {
	w := Default()
	w.Clusters, w.Outage, w.Bundle = 20, Outage{Sites: 1, For: 20 * time.Minute}, 50
	w.Rules.Quota = 1 << 20
	p := w.Arithmetic()
	if p.Full > 10*time.Minute {
		t.Fatalf("the quota is reached after %v only", p.Full)
	}
	r := run(t, w)
	if r.Depth > w.Rules.Quota {
		t.Errorf("%.0f bytes wait for a peer, the quota is %.0f", r.Depth, w.Rules.Quota)
	}
	// Posts to a hub that is away lead to no copies, so it takes longer than with the average traffic; at most by their share.
	since := r.RefusedAt - w.Lead
	if since < p.Full*8/10 || since > p.Full*2 {
		t.Errorf("the first one refused after %v, by hand %v", since, p.Full)
	}
	if r.Refused == 0 || r.Missing != 0 {
		t.Errorf("%d refused, %d missing", r.Refused, r.Missing)
	}
	if slow := r.Took(During, Direct).Quantile(0.99); slow > 100*time.Millisecond {
		t.Errorf("between others: p99 %v", slow)
	}
}
