package scalemodel

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Print writes both halves of a report in Markdown: the sums, and what the model made of them.
func (r *Result) Print(w io.Writer) error {
	var b strings.Builder
	r.World.printRates(&b)
	if r.World.Outage.For > 0 {
		r.World.printOutage(&b)
		r.printRun(&b)
		r.World.printVariants(&b)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// table begins one.
func table(b *strings.Builder, columns ...string) {
	b.WriteString("\n")
	row(b, columns...)
	b.WriteString(strings.Repeat("|---", len(columns)) + "|\n")
}

func row(b *strings.Builder, cells ...string) {
	b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
}

func (w *World) printRates(b *strings.Builder) {
	p := w.Arithmetic()
	table(b, "", "")
	row(b, "users online", number(float64(p.Online)))
	row(b, "clusters, links of each, links", fmt.Sprintf("%d, %d, %s", w.Clusters, p.Peers, number(float64(p.Links))))
	row(b, "a cluster's own messages", perSecond(p.Local))
	row(b, "events it sends to others: messages, marks, posts, hub posts, changes", fmt.Sprintf("%s + %s + %s + %s + %s = %s",
		number(p.Messages), number(p.Marks), number(p.Posts), number(p.HubPosts), number(p.Changes), perSecond(p.Events)))
	row(b, "events it receives", perSecond(p.Events))
	row(b, "one link, one way", perSecond(p.LinkRate))
	row(b, "copies of a post in a group of several clusters", fmt.Sprintf("%.1f; one for each of %d members in each cluster would be %.0f", p.Copies, MembersEach, p.Naive))
	row(b, "bytes of an event, on the link; in the outbox", fmt.Sprintf("%s; %s", number(p.Bytes), number(p.Stored)))
	row(b, "a cluster's uplink, and downlink", fmt.Sprintf("%.1f Mbit/s, %.2f %% of %s", p.Uplink/1e6, 100*p.Uplink/w.Site.Uplink, bandwidth(w.Site.Uplink)))
	row(b, "its log: own messages, events, acknowledgements noted", fmt.Sprintf("%s of %s, %.0f %%", perSecond(p.Local+2*p.Events), perSecond(w.Site.Commits), 100*p.Log))
	row(b, "signatures to check", fmt.Sprintf("%s of %s", perSecond(p.Checks), perSecond(w.Site.Checks)))
	row(b, "acknowledged events that its outboxes keep for a day", size(p.Kept))
	row(b, "a peer's quota is full after an outage of", span(p.Full))
}

func (w *World) printOutage(b *strings.Builder) {
	p := w.Arithmetic()
	table(b, fmt.Sprintf("%d of %d clusters away for %s, by hand", w.Outage.Sites, w.Clusters, span(w.Outage.For)), "")
	row(b, "events that one of them misses", fmt.Sprintf("%s, %s", number(p.Backlog), size(p.BacklogBytes)))
	row(b, "of them at each of the others", size(p.OfOne))
	row(b, "memory of its leader for what comes, at most", size(p.Held))
	row(b, "drained after", fmt.Sprintf("%s, limited by the %s", span(p.Drain), p.Limit))
	row(b, "attempts to connect, all clusters together; with one cluster at an end", fmt.Sprintf("%s; %s", perSecond(p.Attempts), perSecond(p.AttemptsOne)))
}

func (r *Result) printRun(b *strings.Builder) {
	table(b, "The same, as the model has it", "")
	row(b, "events delivered in "+span(seconds(r.Seconds)), number(float64(r.Events)))
	row(b, "waiting when the outage ended", fmt.Sprintf("%s, %s; at most %s for one peer", number(float64(r.Backlog)), size(r.BacklogBytes), size(r.Depth)))
	row(b, "last link back after", span(r.LinksBack))
	row(b, "all that was said before is everywhere after", span(r.Settled))
	row(b, "refused because of a quota; missing", fmt.Sprintf("%d; %d", r.Refused, r.Missing))
	row(b, "most commands in a log's queue", number(float64(r.Queued)))
	row(b, "most memory of one leader for what comes", size(r.Held))
	row(b, "attempts to connect in one second: when the silence is noticed; after the outage; of these, of one cluster", fmt.Sprintf("%d; %d; %d", r.Attempts.During, r.Attempts.After, r.Attempts.One))

	table(b, "p50 / p99 / most", "before", "in the outage", "after it")
	for c, name := range []string{"ack of a message within a cluster", "… at a cluster that was away", "one to one", "… over a link that was cut", "in a group", "… over a link that was cut", "change of a profile", "… over a link that was cut"} {
		cells := []string{name}
		for p := Before; p < phases; p++ {
			t := r.Took(p, Class(c))
			if p == Before && c%2 == 1 {
				cells = append(cells, "") // it is like the others then
				continue
			}
			cells = append(cells, fmt.Sprintf("%s / %s / %s", span(t.Quantile(0.5)), span(t.Quantile(0.99)), span(t.Most)))
		}
		row(b, cells...)
	}
}

// number is written with commas, small ones with a decimal.
func number(x float64) string {
	if x < 10 && x != float64(int(x)) {
		return fmt.Sprintf("%.1f", x)
	}
	digits := fmt.Sprintf("%.0f", x)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

func perSecond(x float64) string { return number(x) + "/s" }

func bandwidth(bits float64) string {
	if bits >= 1e9 {
		return fmt.Sprintf("%g Gbit/s", bits/1e9)
	}
	return fmt.Sprintf("%g Mbit/s", bits/1e6)
}

func size(bytes float64) string {
	if bytes >= 1e9 {
		return fmt.Sprintf("%.1f GB", bytes/1e9)
	}
	return fmt.Sprintf("%.1f MB", bytes/1e6)
}

// span is a time with as many digits as mean something.
func span(d time.Duration) string {
	switch {
	case d == never:
		return "never"
	case d < time.Second:
		return fmt.Sprintf("%.0f ms", float64(d)/1e6)
	case d < 2*time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0f min", d.Minutes())
	case d < 48*time.Hour:
		return fmt.Sprintf("%.1f h", d.Hours())
	}
	return fmt.Sprintf("%.0f days", d.Hours()/24)
}
