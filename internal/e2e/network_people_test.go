//go:build linux

package e2e

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"teamtalk/client"
	"teamtalk/client/dial"
	"teamtalk/internal/simnet/netns"
	"teamtalk/protocol"
)

// dialer is the SDK's own, from another host.
type dialer struct {
	*dial.Dialer
	pinned bool // to its addresses, whatever else the server says it has
}

// Race implements client.Dialer.
func (d dialer) Race(avoid ...dial.Route) client.Race { return d.Dialer.Race(avoid...) }

// Prefer implements client.Dialer.
func (d dialer) Prefer(endpoints []string) error {
	if d.pinned {
		return nil
	}
	return d.Dialer.Prefer(endpoints)
}

// person is a user with the SDK: what he says and what he hears.
type person struct {
	name string
	sdk  *client.Client
	log  record
	read sync.WaitGroup

	mu      sync.Mutex // guards all below
	heard   []heard
	changed chan struct{} // closed and replaced when something was heard
}

// record keeps what is logged.
type record struct {
	mu  sync.Mutex // guards all
	all strings.Builder
}

// Write implements io.Writer.
func (r *record) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all.Write(b)
}

// String is what was logged.
func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all.String()
}

// heard is a text of somebody else.
type heard struct {
	text string
	at   time.Time
}

// from is the SDK's own network, on another host.
type from struct{ host *netns.Namespace }

// DialContext implements dial.Network.
func (f from) DialContext(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = f.host.Do(func() error {
		conn, err = dial.Machine().DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// ListenPacket implements dial.Network.
func (f from) ListenPacket(ctx context.Context) (conn net.PacketConn, err error) {
	err = f.host.Do(func() error {
		conn, err = dial.Machine().ListenPacket(ctx)
		return err
	})
	return conn, err
}

// onHost says how a person is on the network.
type onHost struct {
	host    *netns.Namespace // nil: this machine
	options dial.Options     // without Net and TLS
	address string
	pinned  bool // to the address
}

// open logs a person in from a host. Without an error he leaves with the test.
func (at onHost) open(ctx context.Context, t *testing.T, s *Server, user int) (*person, error) {
	t.Helper()
	conf, err := s.trust()
	if err != nil {
		return nil, err
	}
	options := at.options
	options.TLS = conf
	if at.host != nil {
		options.Net = from{at.host}
	}
	d, err := dial.New([]string{at.address}, options)
	if err != nil {
		return nil, err
	}
	p := &person{name: fmt.Sprintf("user%d", user), changed: make(chan struct{})}
	p.sdk, err = client.Open(ctx, client.Config{Name: p.name, Password: "123456", Dialer: dialer{d, at.pinned}, Log: slog.New(slog.NewTextHandler(&p.log,
		&slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, p.log.String())
	}
	p.read.Go(p.listen) // ends with the client
	t.Cleanup(func() {
		if err := p.sdk.Close(); err != nil {
			t.Errorf("%s leaves: %v", p.name, err)
		}
		p.read.Wait()
		if t.Failed() {
			t.Logf("what %s's client logged:\n%s", p.name, p.log.String())
		}
	})
	return p, nil
}

func (p *person) listen() {
	for ev := range p.sdk.Events() {
		m, ok := ev.(*client.Message)
		if !ok || m.Mine {
			continue
		}
		p.mu.Lock()
		p.heard = append(p.heard, heard{m.Text, time.Now()})
		close(p.changed)
		p.changed = make(chan struct{})
		p.mu.Unlock()
	}
}

// say sends a text to another user; it is kept until the server has it.
func (p *person) say(ctx context.Context, to *person, text string) (*client.Outgoing, error) {
	return p.sdk.Send(ctx, protocol.WithUser(to.sdk.Me()), client.Text(text))
}

// all is what was heard so far.
func (p *person) all() []heard {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]heard(nil), p.heard...)
}

// hear waits until so many texts have come.
func (p *person) hear(ctx context.Context, n int) ([]heard, error) {
	for {
		p.mu.Lock()
		got, changed := len(p.heard), p.changed
		p.mu.Unlock()
		if got >= n {
			return p.all(), nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return p.all(), fmt.Errorf("%s has heard %d of %d texts: %w", p.name, got, n, ctx.Err())
		}
	}
}

// exchange has two people say something to each other, and fails unless both hear it.
func exchange(t *testing.T, a, b *person) {
	t.Helper()
	ctx, cancel := limited(t, Patience)
	defer cancel()
	for _, way := range [][2]*person{{a, b}, {b, a}} {
		before := len(way[1].all())
		out, err := way[0].say(ctx, way[1], "hello")
		if err == nil {
			err = out.Wait(ctx)
		}
		if err == nil {
			_, err = way[1].hear(ctx, before+1)
		}
		if err != nil {
			t.Fatalf("%s to %s: %v", way[0].name, way[1].name, err)
		}
	}
}

// history is what is stored of a conversation with another user: what each of the two has said, in order.
func (p *person) history(ctx context.Context, with *person) (map[protocol.UserID][]string, error) {
	const page = 500
	texts := map[protocol.UserID][]string{}
	for from := protocol.MsgID(0); ; {
		list, err := p.sdk.History(ctx, protocol.WithUser(with.sdk.Me()), from, page)
		if err != nil {
			return nil, err
		}
		for _, m := range list.Items { // the newest first
			texts[m.From] = append(texts[m.From], m.Text)
			from = m.ID - 1
		}
		if len(list.Items) == 0 || from == 0 {
			break
		}
	}
	for _, of := range texts {
		slices.Reverse(of)
	}
	return texts, nil
}
