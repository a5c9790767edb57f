package load

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// MessageResult is what a run of messages came to. The rates and times are those of the measured part, the counts those of
// the whole run.
type MessageResult struct {
	Lanes   int     `json:"senders"`
	Seconds float64 `json:"measured_s"`
	Sent    int     `json:"sent"`
	Acked   int     `json:"acked"`
	Unacked int     `json:"unacked"`
	// Expected is how many deliveries the acked messages call for.
	Expected    int `json:"expected"`
	Delivered   int `json:"delivered"`
	Lost        int `json:"lost"`
	Duplicated  int `json:"duplicated"`
	OutOfOrder  int `json:"out_of_order"`
	WrongID     int `json:"wrong_id"`
	StrangeAcks int `json:"strange_acks"`

	AckedPerSecond     float64  `json:"acked_per_s"`
	DeliveredPerSecond float64  `json:"delivered_per_s"`
	Ack                Summary  `json:"ack"`
	Delivery           Summary  `json:"delivery"`
	Failed             int      `json:"failed_connections"`
	Errors             []string `json:"errors,omitempty"`
}

func (m *MessageResult) add(n MessageResult) {
	m.Sent += n.Sent
	m.Acked += n.Acked
	m.Unacked += n.Unacked
	m.Expected += n.Expected
	m.Delivered += n.Delivered
	m.Lost += n.Lost
	m.Duplicated += n.Duplicated
	m.OutOfOrder += n.OutOfOrder
	m.WrongID += n.WrongID
	m.StrangeAcks += n.StrangeAcks
}

// Verdict is nil if every acked message arrived once, in order, under the id of its ack, nothing stayed unacked and no
// connection failed.
func (m *MessageResult) Verdict() error {
	if m.Lost+m.Duplicated+m.OutOfOrder+m.WrongID+m.StrangeAcks+m.Unacked+m.Failed == 0 {
		return nil
	}
	err := fmt.Errorf("%d lost, %d duplicated, %d out of order, %d with a wrong id, %d strange acks, %d unacked, %d failed connections",
		m.Lost, m.Duplicated, m.OutOfOrder, m.WrongID, m.StrangeAcks, m.Unacked, m.Failed)
	if len(m.Errors) > 0 {
		err = fmt.Errorf("%w; first: %s", err, m.Errors[0])
	}
	return err
}

// Print writes the result as a table.
func (m *MessageResult) Print(w io.Writer) error {
	t := newTable(w)
	t.line("sent", "acked", "delivered", "of", "lost", "twice", "out of order", "wrong id", "unacked", "failed")
	t.line(m.Sent, m.Acked, m.Delivered, m.Expected, m.Lost, m.Duplicated, m.OutOfOrder, m.WrongID+m.StrangeAcks, m.Unacked, m.Failed)
	t.line()
	t.line("", "per second", "mean ms", "p50", "p90", "p99", "p99.9", "max")
	t.line(append([]any{"acked", perSecond(m.AckedPerSecond)}, m.Ack.cells()...)...)
	t.line(append([]any{"delivered", perSecond(m.DeliveredPerSecond)}, m.Delivery.cells()...)...)
	return t.flush()
}

// LoginResult is what a login run came to.
type LoginResult struct {
	Logins    int64   `json:"logins"`
	Seconds   float64 `json:"measured_s"`
	PerSecond float64 `json:"per_s"`
	Latency   Summary `json:"latency"`
}

// Print writes the result as a table.
func (l *LoginResult) Print(w io.Writer) error {
	t := newTable(w)
	t.line("logins", "per second", "mean ms", "p50", "p90", "p99", "p99.9", "max")
	t.line(append([]any{l.Logins, perSecond(l.PerSecond)}, l.Latency.cells()...)...)
	return t.flush()
}

// EchoResult is what a raw echo over loopback came to.
type EchoResult struct {
	Connections int     `json:"connections"`
	Window      int     `json:"window"`
	PerSecond   float64 `json:"per_s"`
	RoundTrip   Summary `json:"round_trip"`
}

// Print writes the result as a table.
func (e *EchoResult) Print(w io.Writer) error {
	t := newTable(w)
	t.line("connections", "window", "per second", "mean ms", "p50", "p90", "p99", "p99.9", "max")
	t.line(append([]any{e.Connections, e.Window, perSecond(e.PerSecond)}, e.RoundTrip.cells()...)...)
	return t.flush()
}

// IdleResult is what idle connections cost the server.
type IdleResult struct {
	Connections int `json:"connections"`
	// Before and After are resident bytes of the server process, the last once all connections are open.
	Before        int64   `json:"rss_before"`
	After         int64   `json:"rss_after"`
	PerConnection float64 `json:"bytes_per_connection"`
	// Collected is After once garbage has been collected and given back; 0 if that was left out.
	Collected    int64   `json:"rss_collected,omitempty"`
	PerCollected float64 `json:"collected_bytes_per_connection,omitempty"`
	// Dropped connections ended before the run did.
	Dropped int `json:"dropped"`
}

// Print writes the result as a table.
func (i *IdleResult) Print(w io.Writer) error {
	t := newTable(w)
	t.line("connections", "RSS before MiB", "after MiB", "KiB per connection", "garbage collected MiB", "KiB per connection", "dropped")
	t.line(i.Connections, mib(i.Before), mib(i.After), kib(i.PerConnection), orNone(i.Collected != 0, mib(i.Collected)),
		orNone(i.Collected != 0, kib(i.PerCollected)), i.Dropped)
	return t.flush()
}

// cells are mean and percentiles in milliseconds.
func (s Summary) cells() []any {
	cells := []any{fmt.Sprintf("%.2f", s.Mean/1000)}
	for _, us := range []int64{s.P50, s.P90, s.P99, s.P999, s.Max} {
		cells = append(cells, ms(us))
	}
	return cells
}

func ms(us int64) string { return fmt.Sprintf("%.2f", float64(us)/1000) }

func mib(n int64) string { return fmt.Sprintf("%.1f", float64(n)/(1<<20)) }

func kib(n float64) string { return fmt.Sprintf("%.1f", n/1024) }

// orNone is a cell that may be empty.
func orNone(there bool, text string) string {
	if there {
		return text
	}
	return "-"
}

func perSecond(r float64) string { return fmt.Sprintf("%.0f", r) }

// table aligns columns; the first error shows in flush.
type table struct {
	w   *tabwriter.Writer
	err error
}

func newTable(w io.Writer) *table {
	return &table{w: tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)}
}

func (t *table) line(cells ...any) {
	for _, c := range cells {
		if t.err == nil {
			_, t.err = fmt.Fprintf(t.w, "%v\t", c)
		}
	}
	if t.err == nil {
		_, t.err = fmt.Fprintln(t.w)
	}
}

func (t *table) flush() error {
	if t.err != nil {
		return t.err
	}
	return t.w.Flush()
}
