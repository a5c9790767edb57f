package e2e

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"teamtalk/client"
	"teamtalk/client/dial"
	"teamtalk/internal/simnet"
	"teamtalk/protocol"
)

// A citizen talks to one other and to everybody, over the SDK, which knows all stars that were there when he came.
type citizen struct {
	id    protocol.UserID
	place string // the name of his host
	mode  client.Mode
	line  *lifeline
	sdk   *client.Client
	with  []protocol.Session

	said  map[protocol.Session][]*client.Outgoing // read once nobody talks
	heard chan struct{}                           // holds one token when something was heard

	mu  sync.Mutex // guards what follows
	log map[protocol.Session][]*client.Message
	gap []string
	why []string // he was offline, in order
}

// wandering is a network from which a client is cut now and then.
type wandering struct {
	line *lifeline
	net  *simnet.Network
}

// LookupNetIP finds a star.
func (w wandering) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	at, ok := w.net.LookupHost(host)
	if !ok {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return []netip.Addr{at}, nil
}

// DialContext connects from where the client is now.
func (w wandering) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return w.line.here().DialContext(ctx, network, address)
}

// ListenPacket opens a socket where the client is now.
func (w wandering) ListenPacket(ctx context.Context) (net.PacketConn, error) {
	return w.line.here().ListenPacket(ctx)
}

// roaming is the SDK's dialer as a client.Dialer, which keeps to a kind of addresses.
type roaming struct {
	*dial.Dialer
	scheme string
}

// Prefer implements client.Dialer.
func (r roaming) Prefer(endpoints []string) error {
	return r.Dialer.Prefer(slices.DeleteFunc(slices.Clone(endpoints), func(e string) bool { return !strings.HasPrefix(e, r.scheme) }))
}

// Race implements client.Dialer.
func (r roaming) Race(avoid ...dial.Route) client.Race { return r.Dialer.Race(avoid...) }

// ways are the addresses of a transport on stars, beginning with one of them.
func ways(transport int, stars []*star, first int) []string {
	var all []string
	for i := range stars {
		at := net.JoinHostPort(stars[(first+i)%len(stars)].place, fmt.Sprint(starClients))
		switch transport % 4 {
		case 0:
			all = append(all, "tls://"+at)
		case 1:
			all = append(all, "wss://"+at)
		case 2:
			all = append(all, "https://"+at+"/lp")
		case 3:
			all = append(all, "quic://"+at)
		}
	}
	return all
}

// enter has a user come online. They go by TLS, WebSocket, long-poll and QUIC by turns, and half of them wait for each ack.
func (c *constellation) enter(ctx context.Context, id protocol.UserID, group protocol.GroupID) (*citizen, error) {
	p := &citizen{id: id, place: fmt.Sprintf("u%d", id), heard: make(chan struct{}, 1), log: map[protocol.Session][]*client.Message{},
		said: map[protocol.Session][]*client.Outgoing{}, with: []protocol.Session{protocol.WithUser((id - 1) ^ 1 + 1), protocol.InGroup(group)}}
	if id%4 < 2 {
		p.mode = client.SendWait
	}
	p.line = &lifeline{Network: c.net.Host(p.place)}
	addresses := ways(int(id), c.members(), int(id))
	scheme, _, _ := strings.Cut(addresses[0], ":")
	d, err := dial.New(addresses, dial.Options{TLS: c.trust, Net: wandering{p.line, c.net}, Log: c.log,
		NetworkKey: func() string { return "memory" }, Proxy: func(*url.URL) (*url.URL, error) { return nil, nil }}) //nolint:nilnil // no proxy
	if err != nil {
		return nil, err
	}
	p.sdk, err = client.Open(ctx, client.Config{Name: fmt.Sprintf("user%d", id), Password: worldPassword, Dialer: roaming{d, scheme}, OnEvent: p.hear,
		Mode: p.mode, Log: c.log.With("user", id)})
	if err != nil {
		return nil, err
	}
	if err := p.sdk.WaitOnline(ctx); err != nil {
		return nil, fmt.Errorf("user%d: %w", id, err)
	}
	return p, nil
}

func (p *citizen) hear(_ *client.Client, e client.Event) {
	p.mu.Lock()
	switch e := e.(type) {
	case *client.Message:
		p.log[e.Session] = append(p.log[e.Session], e)
	case *client.Gap:
		p.gap = append(p.gap, e.Why)
	case *client.StateChanged:
		if e.State == client.Offline && e.Why != nil {
			p.why = append(p.why, e.Why.Error())
		}
	}
	p.mu.Unlock()
	select {
	case p.heard <- struct{}{}:
	default:
	}
}

// talk says something again and again until told to stop, mostly to the one other.
func (p *citizen) talk(ctx context.Context, rng *rand.Rand, stop *atomic.Bool) error {
	for n := 1; !stop.Load(); n++ {
		to := p.with[0]
		if rng.IntN(4) == 0 {
			to = p.with[1]
		}
		out, err := p.sdk.Send(ctx, to, client.Text(fmt.Sprintf("%d %d", p.id, n)))
		if err != nil {
			return fmt.Errorf("user%d: send %d: %w", p.id, n, err)
		}
		p.said[to] = append(p.said[to], out)
		pause := time.Duration(50+rng.IntN(500)) * time.Millisecond
		if rng.IntN(8) == 0 {
			pause = 0 // two at once
		}
		if err := pass(ctx, pause); err != nil {
			return err
		}
	}
	return nil
}

// settle waits until all that he said is acked and he has heard so many messages in each conversation.
func (p *citizen) settle(ctx context.Context, total map[string]int) error {
	for to, outs := range p.said {
		for i, out := range outs {
			if err := out.Wait(ctx); err != nil {
				return fmt.Errorf("user%d's message %d of %d to %v is not acked: %w; %+v", p.id, i+1, len(outs), to, err, p.sdk.Status())
			}
		}
	}
	for _, in := range p.with {
		for p.count(in) < total[nameOf(p.id, in)] {
			select {
			case <-p.heard:
			case <-ctx.Done():
				return fmt.Errorf("user%d has heard %d of %d messages in %v: %w; %+v", p.id, p.count(in), total[nameOf(p.id, in)], in, ctx.Err(), p.sdk.Status())
			}
		}
	}
	return nil
}

func (p *citizen) count(in protocol.Session) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.log[in])
}

// nameOf names a conversation alike for all who are in it.
func nameOf(me protocol.UserID, in protocol.Session) string {
	if in.Type == protocol.SessionGroup {
		return fmt.Sprint("group ", in.ID)
	}
	other := protocol.UserID(in.ID)
	return fmt.Sprint("users ", min(me, other), " ", max(me, other))
}

// judgeTalk compares what was said, what was acked and what everybody heard: everything once, one order for all, ids without holes, times that never
// fall, and the order of those who wait for each ack [TT-SESS-3] [TT-SESS-11].
func judgeTalk(people []*citizen) error {
	acked := map[string]map[protocol.MsgID]string{} // conversation, id: text
	for _, p := range people {
		for in, outs := range p.said {
			name := nameOf(p.id, in)
			if acked[name] == nil {
				acked[name] = map[protocol.MsgID]string{}
			}
			for _, out := range outs {
				id := out.State().ID
				if other, ok := acked[name][id]; ok {
					return fmt.Errorf("%s: %q and one of user%d were acked with the same id %d", name, other, p.id, id)
				}
				acked[name][id] = ""
			}
		}
	}
	for _, p := range people {
		p.mu.Lock()
		gaps, log := slices.Clone(p.gap), maps.Clone(p.log)
		p.mu.Unlock()
		if len(gaps) > 0 {
			return fmt.Errorf("user%d was told of gaps: %q", p.id, gaps)
		}
		for _, in := range p.with {
			if err := p.judgeLog(nameOf(p.id, in), log[in], acked[nameOf(p.id, in)]); err != nil {
				return err
			}
		}
		if len(log) > len(p.with) {
			return fmt.Errorf("user%d heard of %d conversations, and is in %d", p.id, len(log), len(p.with))
		}
	}
	return nil
}

// judgeLog looks at what one has heard in a conversation; acked gets the texts from the first who is asked.
func (p *citizen) judgeLog(name string, log []*client.Message, acked map[protocol.MsgID]string) error {
	if len(log) != len(acked) {
		return fmt.Errorf("%s: user%d heard %d messages, %d were acked", name, p.id, len(log), len(acked))
	}
	known := make(map[string]protocol.MsgID)
	var before *client.Message
	for i, m := range log {
		was, ok := acked[m.ID]
		switch {
		case m.ID != protocol.MsgID(i+1):
			return fmt.Errorf("%s: user%d heard message %d in place %d", name, p.id, m.ID, i+1)
		case !ok:
			return fmt.Errorf("%s: user%d heard message %d, %q, that was acked to nobody", name, p.id, m.ID, m.Text)
		case was != "" && was != m.Text:
			return fmt.Errorf("%s: message %d is %q for user%d, %q for others", name, m.ID, m.Text, p.id, was)
		case known[m.Text] != 0:
			return fmt.Errorf("%s: %q is there twice, as %d and %d", name, m.Text, known[m.Text], m.ID)
		case before != nil && m.Time.Before(before.Time):
			return fmt.Errorf("%s: message %d is of %v, the one before of %v", name, m.ID, m.Time, before.Time)
		}
		acked[m.ID], known[m.Text], before = m.Text, m.ID, m
	}
	if p.mode != client.SendWait {
		return p.judgeAcks(name, known)
	}
	return errorsFirst(p.judgeAcks(name, known), p.judgeOrder(name, log))
}

// judgeAcks sees that what was acked as a message is that message.
func (p *citizen) judgeAcks(name string, known map[string]protocol.MsgID) error {
	for in, outs := range p.said {
		if nameOf(p.id, in) != name {
			continue
		}
		ids := make(map[protocol.MsgID]bool, len(outs))
		for _, id := range known {
			ids[id] = true
		}
		for _, out := range outs {
			if !ids[out.State().ID] {
				return fmt.Errorf("%s: user%d's message acked as %d is not there", name, p.id, out.State().ID)
			}
		}
	}
	return nil
}

// judgeOrder sees that his own messages come in the order in which he said them.
func (p *citizen) judgeOrder(name string, log []*client.Message) error {
	last := 0
	for _, m := range log {
		if !m.Mine {
			continue
		}
		var who, n int
		if _, err := fmt.Sscan(m.Text, &who, &n); err != nil {
			return err
		}
		if n <= last {
			return fmt.Errorf("%s: user%d said %d before %d", name, p.id, n, last)
		}
		last = n
	}
	return nil
}

func errorsFirst(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
