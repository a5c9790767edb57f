package load

import (
	"fmt"
	"io"
	"strings"
)

// Print writes the tables in Markdown.
func (r *ClusterResult) Print(w io.Writer) error {
	d := &document{w: w}
	m := r.Machine
	d.say("%d × %s, %.1f GiB, Linux %s, %s, %s. fdatasync of a 4 KiB append in %s: p50 %s ms, p99 %s ms. Three nodes and all clients on this machine and disk.",
		m.Cores, m.CPU, float64(m.Memory)/(1<<30), m.Kernel, m.Go, m.Time, m.DiskDir, ms(m.Fdatasync.P50), ms(m.Fdatasync.P99))
	r.traffic(d)
	r.lag(d)
	r.idle(d)
	r.failover(d)
	r.growth(d)
	r.presence(d)
	return d.err
}

func (r *ClusterResult) traffic(d *document) {
	if len(r.Traffic) == 0 {
		return
	}
	d.say("Pairs of users, each sender with as many messages unacked (window); every message acked was checked to arrive once, in order, with the id of its ack.")
	d.head("senders", "window", "clients on", "acked and delivered/s", "ack p50 / p99 / p99.9 ms", "delivery p50 / p99 ms", "three servers, % of a core", "measured again")
	for _, t := range r.Traffic {
		d.row(t.Senders, t.Window, t.Place, perSecond(t.Messages.AckedPerSecond), slashed(t.Messages.Ack.P50, t.Messages.Ack.P99, t.Messages.Ack.P999),
			slashed(t.Messages.Delivery.P50, t.Messages.Delivery.P99), percent(t.Servers), t.Deposed)
	}
}

func (r *ClusterResult) lag(d *document) {
	if len(r.Lag) == 0 {
		return
	}
	d.say("Nothing else going on: from the ack of a message until clients of the two other nodes have it, by one clock.")
	d.head("sender on", "deliveries", "later than the ack by p50 / p99 / max ms", "before the ack", "ack p50 / p99 ms", "delivery p50 / p99 ms")
	for _, l := range r.Lag {
		d.row(l.From, l.Lag.Count, slashed(l.Lag.P50, l.Lag.P99, l.Lag.Max), l.Before, slashed(l.Ack.P50, l.Ack.P99), slashed(l.Delivery.P50, l.Delivery.P99))
	}
}

func (r *ClusterResult) idle(d *document) {
	if len(r.Idle) == 0 {
		return
	}
	d.say("Idle.")
	d.head("node", "", "clients of the cluster", "% of a core", "resident MiB")
	for _, n := range r.Idle {
		d.row(n.Node, roleOf(n.Leads), n.Clients, fmt.Sprintf("%.2f", n.CPU), mib(n.RSS))
	}
}

func roleOf(leads bool) string {
	if leads {
		return "leader"
	}
	return "follower"
}

func (r *ClusterResult) failover(d *document) {
	f := r.Failover
	if f == nil {
		return
	}
	d.say("The leader killed (kill -9) %d times, %d pairs chatting; from the last ack before to the first one after. %d messages acked, each heard once, in order.",
		f.Kills, talkers, f.Messages)
	d.head("", "samples", "p50 s", "p99", "max")
	for _, row := range []struct {
		name string
		s    Summary
	}{
		{"the whole cluster", f.Anybody}, {"each sender at another node", f.Elsewhere}, {"each sender at the killed node", f.There},
		{"killed node started until the cluster is whole", f.Back},
	} {
		d.row(row.name, row.s.Count, secondsOf(row.s.P50), secondsOf(row.s.P99), secondsOf(row.s.Max))
	}
}

func (r *ClusterResult) growth(d *document) {
	g := r.Growth
	if g == nil {
		return
	}
	d.say("A node with %d messages (stored at %s/s, data directory %s MiB) gets company; from the start of the new process until it votes and keeps up.",
		g.Messages, perSecond(g.Rate), mib(g.DataBytes))
	d.head("joins", "s", "received MiB", "its memory at most MiB", "leader's memory before / at most MiB")
	for _, j := range g.Joins {
		d.row(j.Node, seconds(j.Seconds), mib(int64(j.Received)), mib(j.Peak), mib(j.LeaderBefore)+" / "+mib(j.LeaderPeak))
	}
	if len(g.Backups) == 0 {
		return
	}
	d.say("Backups of it while %d pairs chat.", bystanderPairs)
	d.head("of", "s", "MiB", "ack p50 / p99 / max ms before", "during")
	for _, b := range g.Backups {
		before, during := b.Before.Ack, b.During.Ack
		d.row(b.From, seconds(b.Seconds), mib(b.Bytes), slashed(before.P50, before.P99, before.Max), slashed(during.P50, during.P99, during.Max))
	}
}

func (r *ClusterResult) presence(d *document) {
	p := r.Presence
	if p == nil {
		return
	}
	d.say("%d users log in and out at one node within %.0f s; before that nobody does.", p.Users, p.Within)
	d.head("node", "users", "calls and signals in / out KiB/s", "raft KiB/s", "% of a core")
	for _, n := range p.Quiet {
		d.row(n.cells("nobody")...)
	}
	for _, n := range p.Busy {
		if n.Here {
			d.row(n.cells("here")...)
		} else {
			d.row(n.cells("elsewhere")...)
		}
	}
}

func (n PresenceRow) cells(users string) []any {
	return []any{n.Node, users, kib(n.In) + " / " + kib(n.Out), kib(n.Raft), percent(n.CPU)}
}

// document is a text in Markdown; the first error stays.
type document struct {
	w   io.Writer
	err error
}

func (d *document) line(text string) {
	if d.err == nil {
		_, d.err = fmt.Fprintln(d.w, text)
	}
}

// say writes a paragraph.
func (d *document) say(format string, args ...any) {
	d.line("\n" + fmt.Sprintf(format, args...) + "\n")
}

// head begins a table.
func (d *document) head(columns ...string) {
	d.line("| " + strings.Join(columns, " | ") + " |")
	d.line(strings.Repeat("|---", len(columns)) + "|")
}

func (d *document) row(cells ...any) {
	var texts []string
	for _, c := range cells {
		texts = append(texts, fmt.Sprint(c))
	}
	d.line("| " + strings.Join(texts, " | ") + " |")
}

// slashed is some times in milliseconds.
func slashed(us ...int64) string {
	var texts []string
	for _, t := range us {
		texts = append(texts, ms(t))
	}
	return strings.Join(texts, " / ")
}

func secondsOf(us int64) string { return fmt.Sprintf("%.2f", float64(us)/1e6) }

func percent(p float64) string { return fmt.Sprintf("%.1f", p) }
