//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"teamtalk/client"
	"teamtalk/client/dial"
	"teamtalk/protocol"
)

// quickPasswords keeps the logins of tests from being what takes the time.
func quickPasswords() []string {
	return []string{"--password-argon2-memory", "8KiB", "--password-argon2-time", "1"}
}

// clusterPatience is for what needs a new leader, a new connection and the repetition of what was on its way.
const clusterPatience = 2 * time.Minute

// A line is a message as somebody heard it or read it in a history.
type line struct {
	id   protocol.MsgID
	from protocol.UserID
	text string
	time time.Time
	key  protocol.ClientMsgID
	hub  uint64 // its place in a group of several offices
}

func lineOf(m *client.Message) line {
	return line{m.ID, m.From, m.Text, m.Time, m.ClientMsgID, m.HubSeq}
}

// A guest talks in a conversation over the SDK, which knows the addresses of all nodes.
type guest struct {
	name string
	as   string        // what its messages begin with
	pace time.Duration // from one message to the next
	sdk  *client.Client
	with protocol.Session
	log  record

	changed chan struct{} // holds one token when something was heard

	mu     sync.Mutex // guards what follows
	heard  []line
	gaps   []string
	acks   []ack
	said   []*client.Outgoing
	online map[protocol.UserID]bool // as presence events say
}

// An ack is of a message that was given to the SDK at one moment and acked at another.
type ack struct{ said, acked time.Time }

// A party is a conversation of guests who sit on different nodes.
type party struct {
	guests  []*guest
	stop    chan struct{} // closed: say no more
	talking sync.WaitGroup

	mu  sync.Mutex // guards err
	err error
}

// enter logs a user in, at the node of a place first.
func (c *Cluster) enter(ctx context.Context, t *testing.T, user, place int, with protocol.Session, cfg client.Config) *guest {
	t.Helper()
	conf, err := c.Nodes[0].trust()
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("user%d", user)
	g := &guest{name: name, as: name, pace: talkPace, with: with, changed: make(chan struct{}, 1), online: map[protocol.UserID]bool{}}
	if cfg.Dialer == nil {
		d, err := dial.New(c.addresses("tls", place), dial.Options{TLS: conf, Net: c.clientNetwork()})
		if err != nil {
			t.Fatal(err)
		}
		cfg.Dialer = dialer{d, false}
	}
	cfg.Name, cfg.Password, cfg.Mode, cfg.OnEvent = g.name, "123456", client.SendWait, g.hear
	cfg.Log = slog.New(slog.NewTextHandler(&g.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if g.sdk, err = client.Open(ctx, cfg); err == nil {
		err = g.sdk.WaitOnline(ctx)
	}
	if err != nil {
		t.Fatalf("%s: %v\n%s", g.name, err, g.log.String())
	}
	t.Cleanup(func() {
		if err := g.sdk.Close(); err != nil && !errors.Is(err, client.ErrClosed) {
			t.Errorf("%s leaves: %v", g.name, err)
		}
		if t.Failed() {
			all := g.log.String()
			t.Logf("what %s's client logged last:\n%s", g.name, all[max(0, len(all)-2000):])
		}
	})
	return g
}

// clientNetwork is where clients are; nil: on this machine.
func (c *Cluster) clientNetwork() dial.Network {
	if c.config.Clients == nil {
		return nil
	}
	return c.config.Clients
}

func (g *guest) hear(_ *client.Client, e client.Event) {
	g.mu.Lock()
	switch e := e.(type) {
	case *client.Message:
		if e.Session == g.with {
			g.heard = append(g.heard, lineOf(e))
		}
	case *client.Gap:
		g.gaps = append(g.gaps, e.Why)
	case *client.Presence:
		g.online[e.User] = e.Online
	}
	g.mu.Unlock()
	select {
	case g.changed <- struct{}{}:
	default:
	}
}

// until waits until something holds of what was heard.
func (g *guest) until(ctx context.Context, what string, holds func() bool) error {
	for {
		g.mu.Lock()
		ok, heard := holds(), len(g.heard)
		g.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-g.changed:
		case <-ctx.Done():
			return fmt.Errorf("%s waits for %s, has heard %d, is %+v: %w", g.name, what, heard, g.sdk.Status(), ctx.Err())
		}
	}
}

// talkPace is how long a guest waits between two messages, unless told otherwise.
const talkPace = 15 * time.Millisecond

// talk says number after number until it is told to stop; each is acked before the next goes but for so many.
func (g *guest) talk(ctx context.Context, stop <-chan struct{}, ahead int) error {
	pace := time.NewTicker(g.pace)
	defer pace.Stop()
	var said []saying
	g.mu.Lock()
	before := len(g.said)
	g.mu.Unlock()
	for n := 1; ; n++ {
		select {
		case <-pace.C:
		case <-stop:
			return g.await(ctx, said[max(0, len(said)-ahead):])
		}
		next, err := g.say(ctx, before+n)
		if err != nil {
			return err
		}
		said = append(said, next)
		if n > ahead {
			if err := g.await(ctx, said[n-1-ahead:n-ahead]); err != nil {
				return err
			}
		}
	}
}

// say says a number.
func (g *guest) say(ctx context.Context, n int) (saying, error) {
	now := time.Now()
	out, err := g.sdk.Send(ctx, g.with, client.Text(fmt.Sprintf("%s %d", g.as, n)))
	if err != nil {
		return saying{}, fmt.Errorf("%s can't say %d: %w", g.name, n, err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.said = append(g.said, out)
	return saying{now, out}, nil
}

// await waits for the acks of messages and notes when they came.
func (g *guest) await(ctx context.Context, said []saying) error {
	for _, s := range said {
		if err := s.out.Wait(ctx); err != nil {
			return fmt.Errorf("%s: a message has no ack: %w, he is %+v", g.name, err, g.sdk.Status())
		}
		g.mu.Lock()
		g.acks = append(g.acks, ack{s.at, time.Now()})
		g.mu.Unlock()
	}
	return nil
}

// ackedSince tells whether a message was acked that was said after a moment.
func (g *guest) ackedSince(moment time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.acks) > 0 && g.acks[len(g.acks)-1].said.After(moment)
}

// pair begins a conversation of two users, who enter at different nodes.
func (c *Cluster) pair(ctx context.Context, t *testing.T, user, place int) *party {
	t.Helper()
	return &party{stop: make(chan struct{}), guests: []*guest{
		c.enter(ctx, t, user, place, protocol.WithUser(protocol.UserID(user+1)), client.Config{}),
		c.enter(ctx, t, user+1, place+1, protocol.WithUser(protocol.UserID(user)), client.Config{}),
	}}
}

// crowd begins a conversation of users in the demo group, one at each node.
func (c *Cluster) crowd(ctx context.Context, t *testing.T, first int) *party {
	t.Helper()
	p := &party{stop: make(chan struct{})}
	for place := range c.Nodes {
		p.guests = append(p.guests, c.enter(ctx, t, first+place, place, protocol.InGroup(1), client.Config{}))
	}
	return p
}

// begin has all of them talk.
func (p *party) begin(ctx context.Context, random *rand.Rand) {
	for _, g := range p.guests {
		ahead := random.IntN(4)
		p.talking.Go(func() { // ends after stop, or with ctx
			if err := g.talk(ctx, p.stop, ahead); err != nil {
				p.mu.Lock()
				defer p.mu.Unlock()
				p.err = errors.Join(p.err, err)
			}
		})
	}
}

// ackedAfter waits until each guest that is asked about has said something after a moment that was acked.
func (p *party) ackedAfter(ctx context.Context, moment time.Time, of ...*guest) error {
	if len(of) == 0 {
		of = p.guests
	}
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for slices.ContainsFunc(of, func(g *guest) bool { return !g.ackedSince(moment) }) {
		p.mu.Lock()
		err := p.err
		p.mu.Unlock()
		if err != nil {
			return err
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return fmt.Errorf("no acks any more: %w", ctx.Err())
		}
	}
	return nil
}

// end has them fall silent and judges what they heard; the answer is the conversation.
func (p *party) end(ctx context.Context) ([]line, error) {
	close(p.stop)
	p.talking.Wait()
	if p.err != nil {
		return nil, p.err
	}
	said, total := map[string][]protocol.MsgID{}, 0
	for _, g := range p.guests {
		for _, out := range g.said {
			said[g.name] = append(said[g.name], out.State().ID)
		}
		total += len(g.said)
	}
	for _, g := range p.guests {
		if err := g.until(ctx, fmt.Sprintf("%d messages", total), func() bool { return len(g.heard) >= total }); err != nil {
			return nil, err
		}
		if len(g.gaps) > 0 {
			return nil, fmt.Errorf("%s had gaps: %s", g.name, strings.Join(g.gaps, "; "))
		}
		if err := judge(g.heard, said); err != nil {
			return nil, fmt.Errorf("what %s heard: %w", g.name, err)
		}
	}
	return p.guests[0].heard, nil
}

// judge compares a conversation with the ids by which each author's messages were acked: everything once, ids dense, each author's order, and no time
// before that of the message before [TT-SESS-3] [TT-SESS-11] [TT-MSG-3].
func judge(log []line, said map[string][]protocol.MsgID) error {
	total, next := 0, map[string]int{}
	for _, ids := range said {
		total += len(ids)
	}
	if len(log) != total {
		return fmt.Errorf("%d messages are there, %d were said", len(log), total)
	}
	for i, l := range log {
		who, _, _ := strings.Cut(l.text, " ")
		n := next[who]
		switch {
		case n >= len(said[who]) || l.text != fmt.Sprintf("%s %d", who, n+1):
			return fmt.Errorf("%q is in place %d, where message %d of %s was due", l.text, i+1, n+1, who)
		case l.id != protocol.MsgID(i+1):
			return fmt.Errorf("%q in place %d has id %d", l.text, i+1, l.id)
		case said[who][n] != l.id:
			return fmt.Errorf("%q was acked as %d and is there as %d", l.text, said[who][n], l.id)
		case i > 0 && l.time.Before(log[i-1].time):
			return fmt.Errorf("%q is older than the message before it", l.text)
		}
		next[who]++
	}
	return nil
}

// history is what one node has of a conversation of a user, oldest first.
func (c *Cluster) history(ctx context.Context, t *testing.T, n *ClusterNode, user int, with protocol.Session) []line {
	t.Helper()
	conf, err := c.Nodes[0].trust()
	if err != nil {
		t.Fatal(err)
	}
	d, err := dial.New([]string{"tls://" + n.Addr.TLS}, dial.Options{TLS: conf, Net: c.clientNetwork()})
	if err != nil {
		t.Fatal(err)
	}
	reader, err := client.Open(ctx, client.Config{Name: fmt.Sprintf("user%d", user), Password: "123456", Dialer: dialer{d, true},
		OnEvent: func(*client.Client, client.Event) {}})
	if err != nil {
		t.Fatalf("a reader at node %s: %v", n.ID, err)
	}
	defer reader.Close()
	var all []line
	for from := protocol.MsgID(0); ; {
		page, err := reader.History(ctx, with, from, 1000)
		if err != nil {
			t.Fatalf("history of node %s: %v", n.ID, err)
		}
		for _, m := range page.Items {
			all = append(all, lineOf(m))
			from = m.ID - 1
		}
		if len(page.Items) == 0 || from == 0 {
			break
		}
	}
	slices.Reverse(all)
	return all
}

// checkHistories ends the parties and has each node show the same as the guests heard. It returns how many messages there were.
func (c *Cluster) checkHistories(ctx context.Context, t *testing.T, parties ...*party) (total int) {
	t.Helper()
	var logs [][]line
	for _, p := range parties { // all fall silent before anybody looks
		log, err := p.end(ctx)
		if err != nil {
			t.Fatal(err)
		}
		total += len(log)
		logs = append(logs, log)
	}
	for i, p := range parties {
		c.checkEverywhere(ctx, t, p, logs[i])
	}
	return total
}

// checkEverywhere compares what each node has of a party with what was heard.
func (c *Cluster) checkEverywhere(ctx context.Context, t *testing.T, p *party, log []line) {
	t.Helper()
	c.WaitEqual(t)
	for _, n := range c.live() {
		var user int
		if _, err := fmt.Sscanf(p.guests[0].name, "user%d", &user); err != nil {
			t.Fatal(err)
		}
		got := c.history(ctx, t, n, user, p.guests[0].with)
		if err := sameLines(got, log); err != nil {
			t.Errorf("node %s, %s: %v", n.ID, p.guests[0].name, err)
		}
	}
}

// sameLines compares a history with what was heard live.
func sameLines(got, want []line) error {
	if len(got) != len(want) {
		return fmt.Errorf("%d messages are stored, %d were heard", len(got), len(want))
	}
	for i := range want {
		// An author's own message is heard with the id that it was sent with; a history need not have that.
		if got[i].id != want[i].id || got[i].from != want[i].from || got[i].text != want[i].text || got[i].time.Unix() != want[i].time.Unix() {
			return fmt.Errorf("message %d is stored as %+v, and was heard as %+v", i+1, got[i], want[i])
		}
	}
	return nil
}

// TestJudgeSeesFaults: what the tests of the cluster go by finds what it is there for.
func TestJudgeSeesFaults(t *testing.T) {
	now := time.Now()
	at := func(id protocol.MsgID, text string, s int) line {
		return line{id: id, text: text, time: now.Add(time.Duration(s) * time.Second)}
	}
	said := map[string][]protocol.MsgID{"a": {1, 3}, "b": {2}}
	right := []line{at(1, "a 1", 0), at(2, "b 1", 0), at(3, "a 2", 1)}
	for name, c := range map[string]struct {
		log  []line
		want string
	}{
		"right":          {right, ""},
		"lost":           {right[:2], "3 were said"},
		"twice":          {append(slices.Clone(right), at(4, "a 2", 2)), "3 were said"},
		"in place of":    {[]line{right[0], right[1], at(3, "b 1", 1)}, "was due"},
		"swapped":        {[]line{at(1, "a 2", 0), right[1], at(3, "a 1", 1)}, "was due"},
		"hole":           {[]line{right[0], right[1], at(4, "a 2", 1)}, "has id 4"},
		"acked as other": {[]line{at(1, "b 1", 0), at(2, "a 1", 0), right[2]}, "was acked as"},
		"time falls":     {[]line{right[0], right[1], at(3, "a 2", -1)}, "older"},
	} {
		if err := judge(c.log, said); err == nil && c.want != "" || err != nil && (c.want == "" || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %q is not in: %v", name, c.want, err)
		}
	}
	if sameLines(right[:2], right) == nil || sameLines([]line{right[0], right[2], right[1]}, right) == nil || sameLines(right, right) != nil {
		t.Error("different histories count as the same, or the same as different")
	}
}

// isAt tells whether a URL is of a host.
func isAt(route, ip string) bool { return strings.Contains(route, "://"+ip+":") }
