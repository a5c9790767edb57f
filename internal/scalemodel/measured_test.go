package scalemodel

import (
	"testing"
	"time"
)

// TestMeasuredLink: given what one link was measured to do (docs/SCALING.md, Measured), the model comes to the other things that were measured there.
func TestMeasuredLink(t *testing.T) {
	const (
		ack     = 4080 * time.Microsecond // p50 of the author's ack on an idle link
		far     = 55870 * time.Microsecond
		queued  = 100_000
		drained = 7562   // a second
		fresh   = 80     // new messages a second meanwhile
		longest = 13.115 // seconds that one of them took
	)
	w := twoSites(10)
	w.Site.Commit, w.Lead, w.Tail = ack, 0, time.Minute
	near(t, "a message over an idle link", run(t, w).Took(Before, Direct).Quantile(0.5).Seconds(), far.Seconds(), 0.1)

	w = twoSites(fresh)
	w.Site.Commit, w.Outage = ack, Outage{Sites: 1, For: seconds(queued / fresh)}
	w.Site.Commits = drained + 2*fresh // its own, and the acknowledgements
	w.Rules = Default().Rules
	w.Rules.RetryMost, w.Rules.DialLimit = time.Second, time.Second // it was resumed by hand
	r := run(t, w)
	near(t, "all drained after", (r.Settled - r.LinksBack).Seconds(), queued/drained, 0.1)
	near(t, "a new message at most", r.Took(After, DirectCut).Most.Seconds(), longest, 0.15)
}
