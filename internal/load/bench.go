package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// BenchOptions say how long the end-to-end benchmark takes and with what.
type BenchOptions struct {
	// Binary is teamtalkd; Dir an empty directory on the disk to be measured.
	Binary, Dir string
	// Cell is how long each combination of pairs and window is measured.
	Cell time.Duration
	// Idle connections are opened at the end; 0 leaves that out.
	Idle int
	// Members of a group get what one of them sends; 0 leaves that out.
	Members int
	// Payload is the size of a message in bytes.
	Payload int
	// Flags are further ones of the server.
	Flags []string
}

// BenchResult is the end-to-end benchmark's table.
type BenchResult struct {
	Machine *Machine     `json:"machine"`
	Cells   []BenchCell  `json:"cells"`
	Groups  []GroupCell  `json:"groups,omitempty"`
	Logins  *LoginResult `json:"logins"`
	Idle    *IdleResult  `json:"idle,omitempty"`
	// Transports are another run's, with which these are printed.
	Transports *TransportsResult `json:"transports,omitempty"`
}

// BenchCell is one combination, with the raw echo of as many connections beside it.
type BenchCell struct {
	Pairs    int            `json:"pairs"`
	Window   int            `json:"window"`
	Messages *MessageResult `json:"messages"`
	Echo     *EchoResult    `json:"echo"`
}

// GroupCell is one combination of a run in which one sends to many.
type GroupCell struct {
	Members  int            `json:"members"`
	Window   int            `json:"window"`
	Extended bool           `json:"extended"`
	Messages *MessageResult `json:"messages"`
}

const (
	benchPassword = "12345"
	benchLogins   = 64
	benchUsers    = 2 * 512
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
	err = withServer(ctx, o, "busy", max(benchUsers, o.Members+1), func(s *Server) error {
		t, err := s.Target(ViaTCP, benchPassword)
		if err != nil {
			return err
		}
		return out.busy(ctx, t, o, say)
	})
	if err != nil || o.Idle == 0 {
		return out, err
	}
	say("%d idle connections", o.Idle)
	err = withServer(ctx, o, "idle", o.Idle, func(s *Server) error {
		t, err := s.Target(ViaTCP, benchPassword)
		if err != nil {
			return err
		}
		out.Idle, err = Idle(ctx, t, IdleOptions{Connections: o.Idle, Hold: time.Second, PID: s.PID(), Collect: s.Collect})
		return err
	})
	return out, err
}

// withServer runs a server while body does.
func withServer(ctx context.Context, o BenchOptions, name string, users int, body func(*Server) error) error {
	dir := filepath.Join(o.Dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	s, err := StartServer(ctx, o.Binary, dir, users, benchPassword, o.Flags...)
	if err != nil {
		return err
	}
	return errors.Join(body(s), s.Stop())
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
	if err := b.groups(ctx, t, o, say); err != nil {
		return err
	}
	say("logins")
	var err error
	b.Logins, err = Logins(ctx, t, LoginOptions{Users: benchUsers, At: benchLogins, Duration: o.Cell})
	return err
}

// groups measures one member sending to all others, by legacy and by extended sessions.
func (b *BenchResult) groups(ctx context.Context, t Target, o BenchOptions, say func(string, ...any)) error {
	if o.Members == 0 {
		return nil
	}
	for _, extended := range []bool{false, true} {
		for _, window := range []int{1, 64} {
			say("group of %d, window %d, %s", o.Members, window, flow(extended))
			t.Extended = extended
			cell := GroupCell{Members: o.Members, Window: window, Extended: extended}
			var err error
			if cell.Messages, err = Group(ctx, t, o.Members, o.messages(window)); err == nil {
				err = cell.Messages.Verdict()
			}
			if err != nil {
				return fmt.Errorf("group of %d, window %d, %s: %w", o.Members, window, flow(extended), err)
			}
			b.Groups = append(b.Groups, cell)
		}
	}
	return nil
}

// flow names how sessions begin.
func flow(extended bool) string {
	if extended {
		return "extended"
	}
	return "legacy"
}

func (o BenchOptions) messages(window int) MessageOptions {
	return MessageOptions{Window: window, Payload: o.Payload, Warmup: o.Cell / 5, Duration: o.Cell, Drain: 30 * time.Second}
}

func benchCell(ctx context.Context, target Target, pairs, window int, o BenchOptions) (BenchCell, error) {
	cell := BenchCell{Pairs: pairs, Window: window}
	var err error
	cell.Messages, err = Pairs(ctx, target, pairs, o.messages(window))
	if err != nil {
		return cell, err
	}
	if err := cell.Messages.Verdict(); err != nil {
		return cell, err
	}
	cell.Echo, err = Echo(ctx, EchoOptions{Via: target.Via, Connections: pairs, Window: window, Payload: frameLen(o.Payload), Duration: o.Cell / echoShare})
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
	if len(b.Groups) > 0 {
		t.line("receivers", "window", "", "deliveries/s", "delivery p50", "p99", "p99.9", "ack p50", "p99", "p99.9")
	}
	for _, c := range b.Groups {
		m := c.Messages
		t.line(c.Members, c.Window, flow(c.Extended), perSecond(m.DeliveredPerSecond), ms(m.Delivery.P50), ms(m.Delivery.P99), ms(m.Delivery.P999),
			ms(m.Ack.P50), ms(m.Ack.P99), ms(m.Ack.P999))
	}
	t.line()
	if err := t.flush(); err != nil {
		return err
	}
	if err := b.Logins.Print(w); err != nil {
		return err
	}
	if b.Idle != nil {
		if _, err := fmt.Fprintln(w); err != nil {
			return err
		}
		if err := b.Idle.Print(w); err != nil {
			return err
		}
	}
	if b.Transports == nil {
		return nil
	}
	return b.Transports.printRows(w)
}
