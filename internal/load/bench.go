package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"teamtalk/protocol"
)

// BenchOptions say how long the end-to-end benchmark takes and with what.
type BenchOptions struct {
	// Binary is teamtalkd; Dir an empty directory on the disk to be measured.
	Binary, Dir string
	// Cell is how long each combination of pairs and window is measured.
	Cell time.Duration
	// Idle connections are opened at the end; 0 leaves that out.
	Idle int
	// Payload is the size of a message in bytes.
	Payload int
}

// BenchResult is the end-to-end benchmark's table.
type BenchResult struct {
	Machine *Machine     `json:"machine"`
	Cells   []BenchCell  `json:"cells"`
	Logins  *LoginResult `json:"logins"`
	Idle    *IdleResult  `json:"idle,omitempty"`
}

// BenchCell is one combination, with the raw echo of as many connections beside it.
type BenchCell struct {
	Pairs    int            `json:"pairs"`
	Window   int            `json:"window"`
	Messages *MessageResult `json:"messages"`
	Echo     *EchoResult    `json:"echo"`
}

const (
	benchPassword = "12345"
	benchLogins   = 64
	echoShare     = 4 // an echo is measured for so much less time: it varies less
)

// Bench starts servers on fresh directories and measures them; progress gets a line per step. The idle connections have a server
// of their own, for memory that others have used before would hide what they need.
func Bench(ctx context.Context, o BenchOptions, progress io.Writer) (*BenchResult, error) {
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(progress, format+"\n", args...) }
	machine, err := Inspect(ctx, o.Dir)
	if err != nil {
		return nil, err
	}
	out := &BenchResult{Machine: machine}
	err = withServer(ctx, o, "busy", 2*512, func(t Target, _ *Server) error { return out.busy(ctx, t, o, say) })
	if err != nil || o.Idle == 0 {
		return out, err
	}
	say("%d idle connections", o.Idle)
	err = withServer(ctx, o, "idle", o.Idle, func(t Target, s *Server) error {
		var err error
		out.Idle, err = Idle(ctx, t, IdleOptions{Connections: o.Idle, Hold: time.Second, PID: s.PID()})
		return err
	})
	return out, err
}

// withServer runs a server while body does.
func withServer(ctx context.Context, o BenchOptions, name string, users int, body func(Target, *Server) error) error {
	dir := filepath.Join(o.Dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	s, err := StartServer(ctx, o.Binary, dir, users, benchPassword)
	if err != nil {
		return err
	}
	t := Target{Server: s.TCP, UserPattern: "user%d", First: 1, Password: benchPassword, Client: protocol.ClientAndroid}
	return errors.Join(body(t, s), s.Stop())
}

// busy measures messages and logins.
func (b *BenchResult) busy(ctx context.Context, t Target, o BenchOptions, say func(string, ...any)) error {
	grid := [...]struct{ pairs, window int }{{1, 1}, {1, 16}, {64, 1}, {64, 16}, {512, 1}, {512, 16}}
	for _, cell := range grid {
		say("%d pairs, window %d", cell.pairs, cell.window)
		c, err := benchCell(ctx, t, cell.pairs, cell.window, o)
		if err != nil {
			return fmt.Errorf("%d pairs, window %d: %w", cell.pairs, cell.window, err)
		}
		b.Cells = append(b.Cells, c)
	}
	say("logins")
	var err error
	b.Logins, err = Logins(ctx, t, LoginOptions{Users: 2 * 512, At: benchLogins, Duration: o.Cell})
	return err
}

func benchCell(ctx context.Context, target Target, pairs, window int, o BenchOptions) (BenchCell, error) {
	cell := BenchCell{Pairs: pairs, Window: window}
	var err error
	cell.Messages, err = Pairs(ctx, target, pairs, MessageOptions{
		Window: window, Payload: o.Payload, Warmup: o.Cell / 5, Duration: o.Cell, Drain: 30 * time.Second,
	})
	if err != nil {
		return cell, err
	}
	if err := cell.Messages.Verdict(); err != nil {
		return cell, err
	}
	cell.Echo, err = Echo(ctx, EchoOptions{Connections: pairs, Window: window, Payload: o.Payload, Duration: o.Cell / echoShare})
	return cell, err
}

// Print writes the table.
func (b *BenchResult) Print(w io.Writer) error {
	if err := b.Machine.Print(w); err != nil {
		return err
	}
	t := newTable(w)
	t.line()
	t.line("pairs", "window", "acked/s", "delivered/s", "ack p50 ms", "p99", "p99.9", "delivery p50", "p99", "p99.9", "echo/s", "echo p50", "p99")
	for _, c := range b.Cells {
		m := c.Messages
		t.line(c.Pairs, c.Window, perSecond(m.AckedPerSecond), perSecond(m.DeliveredPerSecond), ms(m.Ack.P50), ms(m.Ack.P99), ms(m.Ack.P999),
			ms(m.Delivery.P50), ms(m.Delivery.P99), ms(m.Delivery.P999), perSecond(c.Echo.PerSecond), ms(c.Echo.RoundTrip.P50), ms(c.Echo.RoundTrip.P99))
	}
	t.line()
	if err := t.flush(); err != nil {
		return err
	}
	if err := b.Logins.Print(w); err != nil || b.Idle == nil {
		return err
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	return b.Idle.Print(w)
}
