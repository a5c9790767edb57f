package scalemodel

import (
	"math"
	"testing"
	"time"
)

func near(t *testing.T, what string, got, want, slack float64) {
	t.Helper()
	if math.Abs(got-want) > slack*math.Abs(want) {
		t.Errorf("%s: %v, by hand %v ± %.1f %%", what, got, want, 100*slack)
	}
}

// TestArithmetic does the sums of docs/SCALING.md a second time, with the numbers written out.
func TestArithmetic(t *testing.T) {
	w := Default()
	w.Outage = Outage{Sites: 10, For: time.Hour}
	p := w.Arithmetic()
	const (
		direct = 50.0                                 // 100,000 users × 0.01/s × 10 % × half
		posts  = 50 * (0.7/2 + 0.2*4/5 + 0.1*19.0/20) // to the hub, unless the author is there
		copies = 50 * (0.7*1 + 0.2*4 + 0.1*19)        // one to each other member cluster
		change = 99.0 / 60
		all    = direct + direct + posts + copies + change
	)
	const each = 1e-9
	near(t, "online", float64(p.Online), 1e7, each)
	near(t, "links", float64(p.Links), 4950, each)
	near(t, "local", p.Local, 1000, each)
	near(t, "events", p.Events, all, each)
	near(t, "copies of a post", p.Copies, (posts+copies)/50, each)
	near(t, "log", p.Log, (1000+2*all)/16000, each)
	near(t, "backlog", p.Backlog, all*3600, each)
	near(t, "drain", p.Drain.Seconds(), all*3600/(15000-2*all), 1e-6)
	near(t, "attempts", p.Attempts, 2*(10*90+45)/40.0, each)
	if p.Limit != "log" {
		t.Errorf("limited by the %s", p.Limit)
	}
	size := w.Traffic.Size
	bytes := direct*size.Message + direct*size.Mark + posts*size.Post + copies*size.HubPost + change*size.Change
	near(t, "uplink", p.Uplink, 8*(bytes+all*(size.Batch+size.Ack)), each)
	near(t, "kept", p.Kept, (bytes-100*all)*86400, each)
	near(t, "quota full after", p.Full.Seconds(), 99*float64(1<<30)/(bytes-100*all), 1e-6)

	w.Site.Downlink = 1e6
	if p := w.Arithmetic(); p.Limit != "downlink" || p.Drain < time.Hour {
		t.Errorf("with 1 Mbit/s: limited by the %s for %v", p.Limit, p.Drain)
	}
	w.Site.Downlink, w.Rules.PeerRate, w.Rules.Burst = 1e9, 3, 0
	if p := w.Arithmetic(); p.Limit != "rate of a peer" || p.Drain != never {
		t.Errorf("with 3 events a second of each peer: limited by the %s for %v", p.Limit, p.Drain)
	}
}
