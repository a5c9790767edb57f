package load

import (
	"context"
	"errors"
	"fmt"
	"io"

	"teamtalk/protocol"
)

// TransportsOptions say what the transports are measured with.
type TransportsOptions struct {
	// BenchOptions say with which server, where and for how long; Idle and Members mean nothing here.
	BenchOptions
	// Vias are the transports, in the order of the table.
	Vias []Via
	// Sessions are held idle by each; 0 leaves that out.
	Sessions int
	// Extended sessions begin with HELLO.
	Extended bool
}

// TransportsResult is the table of transports.
type TransportsResult struct {
	Machine *Machine       `json:"machine"`
	Rows    []TransportRow `json:"transports"`
}

// TransportRow is what one transport came to.
type TransportRow struct {
	Via    Via          `json:"via"`
	Idle   *IdleResult  `json:"idle,omitempty"`
	Logins *LoginResult `json:"handshakes"`
	Cells  []BenchCell  `json:"cells"`
}

const (
	transportPairs = 64
	// manySources is from how many addresses the clients come: as many as keep each below what a server grants one.
	manySources = 64
)

// Transports measures them beside each other: memory each on a fresh server, all else on the same one, by the same client library, beside raw
// echoes of what carries them.
func Transports(ctx context.Context, o TransportsOptions, progress io.Writer) (*TransportsResult, error) {
	machine, err := Inspect(ctx, o.Dir)
	if err != nil {
		return nil, err
	}
	out := &TransportsResult{Machine: machine}
	err = withServer(ctx, o.BenchOptions, "transports", benchUsers, func(s *Server) error {
		for _, via := range o.Vias {
			_, _ = fmt.Fprintf(progress, "%s\n", via)
			row, err := measureTransport(ctx, s, via, o)
			if err != nil {
				return fmt.Errorf("%s: %w", via, err)
			}
			out.Rows = append(out.Rows, row)
		}
		return nil
	})
	if err != nil || o.Sessions == 0 {
		return out, err
	}
	for i := range out.Rows {
		row := &out.Rows[i]
		_, _ = fmt.Fprintf(progress, "%s, %d idle sessions\n", row.Via, o.Sessions)
		if row.Idle, err = idleVia(ctx, row.Via, o); err != nil {
			return out, fmt.Errorf("%s, idle: %w", row.Via, err)
		}
	}
	return out, nil
}

// target is how the clients of this benchmark go by a transport.
func (o TransportsOptions) target(s *Server, via Via) (Target, error) {
	t, err := s.Target(via, benchPassword)
	t.Library, t.Extended, t.Sources = true, o.Extended, manySources
	return t, err
}

func idleVia(ctx context.Context, via Via, o TransportsOptions) (out *IdleResult, err error) {
	err = withServer(ctx, o.BenchOptions, "idle-"+string(via), o.Sessions, func(s *Server) error {
		t, err := o.target(s, via)
		if err != nil {
			return err
		}
		out, err = Idle(ctx, t, IdleOptions{Connections: o.Sessions, PID: s.PID(), Collect: s.Collect})
		if err == nil && out.Dropped > 0 {
			err = fmt.Errorf("%d sessions were dropped", out.Dropped)
		}
		return err
	})
	return out, err
}

func measureTransport(ctx context.Context, s *Server, via Via, o TransportsOptions) (TransportRow, error) {
	row := TransportRow{Via: via}
	t, err := o.target(s, via)
	if err != nil {
		return row, err
	}
	if row.Logins, err = Logins(ctx, t, LoginOptions{Users: benchUsers, At: benchLogins, Duration: o.Cell}); err != nil {
		return row, fmt.Errorf("handshakes: %w", err)
	}
	for _, window := range []int{1, 16} {
		cell, err := benchCell(ctx, t, transportPairs, window, o.BenchOptions)
		if err != nil {
			return row, fmt.Errorf("window %d: %w", window, err)
		}
		row.Cells = append(row.Cells, cell)
	}
	return row, nil
}

// Print writes the tables.
func (r *TransportsResult) Print(w io.Writer) error {
	return errors.Join(r.Machine.Print(w), r.printRows(w))
}

func (r *TransportsResult) printRows(w io.Writer) error {
	t := newTable(w)
	t.line()
	t.line("transport", "idle sessions", "KiB each", "garbage collected", "handshakes/s", "p50 ms", "p99")
	for _, row := range r.Rows {
		sessions, fresh, collected := "-", "-", "-"
		if i := row.Idle; i != nil {
			sessions, fresh, collected = fmt.Sprint(i.Connections), kib(i.PerConnection), kib(i.PerCollected)
		}
		l := row.Logins
		t.line(row.Via, sessions, fresh, collected, perSecond(l.PerSecond), ms(l.Latency.P50), ms(l.Latency.P99))
	}
	if err := t.flush(); err != nil {
		return err
	}
	t = newTable(w)
	t.line()
	t.line("transport", "pairs", "window", "acked/s", "ack p50 ms", "p99", "delivery p50", "p99", "echo/s", "echo p50", "p99")
	for _, row := range r.Rows {
		for _, c := range row.Cells {
			m := c.Messages
			t.line(row.Via, c.Pairs, c.Window, perSecond(m.AckedPerSecond), ms(m.Ack.P50), ms(m.Ack.P99), ms(m.Delivery.P50), ms(m.Delivery.P99),
				perSecond(c.Echo.PerSecond), ms(c.Echo.RoundTrip.P50), ms(c.Echo.RoundTrip.P99))
		}
	}
	return t.flush()
}

// frameLen is the size on the wire of a message.
func frameLen(payload int) int {
	c := &Conn{User: benchUsers}
	c.appendMessage(1, protocol.WithUser(benchUsers), make([]byte, payload), clientMsgID{})
	return len(c.out)
}
