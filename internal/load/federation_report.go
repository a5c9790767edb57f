package load

import (
	"fmt"
	"io"
)

// Print writes the tables in Markdown.
func (r *FederationResult) Print(w io.Writer) error {
	d := &document{w: w}
	m := r.Machine
	d.say("%d × %s, %.1f GiB, Linux %s, %s, %s. fdatasync of a 4 KiB append in %s: p50 %s ms, p99 %s ms. All offices, of one node each, all clients and the relays between the offices "+
		"share this machine and disk. Links by %s.", m.Cores, m.CPU, float64(m.Memory)/(1<<30), m.Kernel, m.Go, m.Time, m.DiskDir, ms(m.Fdatasync.P50), ms(m.Fdatasync.P99), r.Via)
	r.link(d)
	r.delay(d)
	r.drain(d)
	r.group(d)
	r.peers(d)
	return d.err
}

func (r *FederationResult) link(d *document) {
	if len(r.Link) == 0 {
		return
	}
	d.say("Pairs of users of two offices, one way, each sender with as many messages unacked by his own office (window); every message acked was checked to arrive once, in order. The rate is that of all, until the last one was there.")
	d.head("round trip ms", "pairs", "window", "delivered/s", "ack p50 / p99 ms", "delivery p50 / p99 ms", "both servers, % of a core")
	for _, l := range r.Link {
		d.row(l.RoundTrip, l.Pairs, l.Window, perSecond(l.Messages.DeliveredPerSecond), slashed(l.Messages.Ack.P50, l.Messages.Ack.P99),
			slashed(l.Messages.Delivery.P50, l.Messages.Delivery.P99), percent(l.Servers))
	}
}

func (r *FederationResult) delay(d *document) {
	if len(r.Delay) == 0 {
		return
	}
	d.say("Nothing else going on: how long a message takes to a user of the other office.")
	d.head("round trip ms", "messages", "ack p50 / p99 ms", "delivery p50 / p99 / max ms")
	for _, l := range r.Delay {
		d.row(l.RoundTrip, l.Messages.Delivery.Count, slashed(l.Messages.Ack.P50, l.Messages.Ack.P99), slashed(l.Messages.Delivery.P50, l.Messages.Delivery.P99, l.Messages.Delivery.Max))
	}
}

func (r *FederationResult) drain(d *document) {
	o := r.Drain
	if o == nil {
		return
	}
	d.say("%d messages (%s MiB, stored at %s/s) wait for an office, then the link comes back with a round trip of %g ms: all delivered after %s s, %s/s; the most in one second %s. Times of more than a minute count as one.",
		o.Queued, mib(o.Bytes), perSecond(o.Rate), r.RoundTrip, seconds(o.Seconds), perSecond(o.Drained), perSecond(o.Best))
	d.head("meanwhile", "messages", "ack p50 / p99 / max ms", "delivery p50 / p99 / max ms")
	for _, row := range []struct {
		name string
		m    *MessageResult
	}{{"new ones over this link", o.New}, {"within the receiving office", o.Local}, {"the same, before", o.Before}} {
		d.row(row.name, row.m.Acked, slashed(row.m.Ack.P50, row.m.Ack.P99, row.m.Ack.Max), slashed(row.m.Delivery.P50, row.m.Delivery.P99, row.m.Delivery.Max))
	}
	d.line("")
	d.head("", "memory before MiB", "at most MiB", "data directory MiB")
	d.row("the office that sends", mib(o.Sender.Before), mib(o.Sender.Peak), mib(o.Sender.Data))
	d.row("the office that receives", mib(o.Receiver.Before), mib(o.Receiver.Peak), mib(o.Receiver.Data))
}

func (r *FederationResult) group(d *document) {
	g := r.Group
	if g == nil {
		return
	}
	d.say("A group of %d members in %d offices, made in %s s; its creator writes %d times, four at once, with a round trip of %g ms.", g.Members, g.Offices, seconds(g.Made), g.Posts, r.RoundTrip)
	d.head("events over all links for a post", "bytes on the network for a copy, both ways", "ack p50 / p99 ms", "delivery p50 / p99 ms", "all servers, % of a core")
	d.row(fmt.Sprintf("%.2f", g.Events), fmt.Sprintf("%.0f", g.Bytes), slashed(g.Messages.Ack.P50, g.Messages.Ack.P99), slashed(g.Messages.Delivery.P50, g.Messages.Delivery.P99), percent(g.Servers))
}

func (r *FederationResult) peers(d *document) {
	p := r.Peers
	if p == nil {
		return
	}
	d.say("An idle office, alone and with %d links on which nobody says anything.", p.Peers)
	d.head("", "% of a core", "resident MiB", "bytes/s a link, both ways")
	d.row("alone", fmt.Sprintf("%.2f", p.CPUAlone), mib(p.RSSAlone), "")
	d.row(fmt.Sprintf("%d links", p.Peers), fmt.Sprintf("%.2f", p.CPULinked), mib(p.RSSLinked), fmt.Sprintf("%.0f", p.Bytes))
	d.row("each", fmt.Sprintf("%.3f", (p.CPULinked-p.CPUAlone)/float64(p.Peers)), fmt.Sprintf("%.2f", float64(p.RSSLinked-p.RSSAlone)/float64(p.Peers)/(1<<20)), "")
}
