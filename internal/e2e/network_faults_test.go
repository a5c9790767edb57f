//go:build linux

package e2e

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"teamtalk/client"
	"teamtalk/internal/simnet"
)

// What the network of TestFaultyNetwork is like, and what happens on it.
const (
	badDelay = 45 * time.Millisecond // one way
	badLoss  = 0.02
	dark     = 5 * time.Second

	talkPause = 100 * time.Millisecond // between two messages of a person
	talkTime  = 4 * time.Second        // between two blackouts, at least

	// badPatience is how long may go by until all is well again: kernels double the time between two retransmissions, and clients leave a
	// path only after a minute of silence.
	badPatience = 90 * time.Second
)

// faultyWays are the transports that are put to the test, by the address that pins them.
func faultyWays() []string {
	all := []string{"quic", "tls", "wss", "https", "tcp"}
	if soak() {
		all = append(all, "ws", "http")
	}
	return all
}

// A couple are two people who talk to each other over one transport.
type couple struct {
	address string
	took    time.Duration // for the slower one to get in
	people  [2]*person

	mu   sync.Mutex  // guards the rest
	said [2][]saying // of each of the people
}

// A saying is a text and what became of a text; the n-th text of a person is the number n.
type saying struct {
	at  time.Time
	out *client.Outgoing
}

// TestFaultyNetwork: 2 % loss, a round trip of 90 ms and blackouts of 5 s, which all transports go through at the same time: every message arrives
// once and in order, and is stored once. It reports how long each transport needs to recover. TT_SOAK=1 has ten blackouts.
func TestFaultyNetwork(t *testing.T) {
	onceOnly(t)
	together(t)
	blackouts := 1
	if soak() {
		blackouts = 10
	}
	link := simnet.NewLink(seed(t).Uint64(), simnet.Faults{Delay: badDelay, Loss: badLoss})
	h := far(t, link)
	s := h.start(t)
	couples := h.couples(t, s)
	talking, silence := context.WithCancel(t.Context())
	defer silence()
	var talk sync.WaitGroup
	for _, c := range couples {
		for i := range c.people {
			talk.Go(func() { c.talk(talking, t, i) }) // ends when the blackouts are over
		}
	}
	var ends []time.Time
	for range blackouts {
		<-time.After(talkTime)
		end := link.Blackout(dark)
		ends = append(ends, end)
		<-time.After(dark)
		for _, c := range couples {
			c.recover(t, end)
		}
	}
	<-time.After(talkTime / 4)
	silence()
	talk.Wait()
	for _, c := range couples {
		c.check(t)
		c.report(t, ends)
	}
	t.Logf("the network: %+v", link.Stats())
}

// couples logs two people in over each transport, all at the same time.
func (h hosts) couples(t *testing.T, s *Server) []*couple {
	t.Helper()
	ctx, cancel := limited(t, badPatience)
	defer cancel()
	var all []*couple
	var entering sync.WaitGroup
	for n, address := range faultyWays() {
		c := &couple{address: address + "://" + serverHost}
		all = append(all, c)
		for i := range c.people {
			entering.Go(func() { // ends with the login
				start := time.Now()
				p, err := onHost{host: h.client, address: c.address, pinned: true}.open(ctx, t, s, 2*n+i+1)
				if err != nil {
					t.Errorf("%s: %v", c.address, err)
					return
				}
				c.mu.Lock()
				defer c.mu.Unlock()
				c.people[i], c.took = p, max(c.took, time.Since(start))
			})
		}
	}
	entering.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return all
}

// talk says number after number until the context ends.
func (c *couple) talk(ctx context.Context, t *testing.T, i int) {
	pause := time.NewTicker(talkPause)
	defer pause.Stop()
	for n := 1; ; n++ {
		select {
		case <-pause.C:
		case <-ctx.Done():
			return
		}
		at := time.Now()
		out, err := c.people[i].say(t.Context(), c.people[1-i], strconv.Itoa(n))
		if err != nil {
			t.Errorf("%s: %s can't say %d: %v", c.address, c.people[i].name, n, err)
			return
		}
		c.mu.Lock()
		c.said[i] = append(c.said[i], saying{at, out})
		c.mu.Unlock()
	}
}

// texts is what one of the people has said, and what the other one has heard of it.
func (c *couple) texts(i int) ([]saying, []heard) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.said[i]), c.people[1-i].all()
}

// recover waits until both have caught up after a moment.
func (c *couple) recover(t *testing.T, moment time.Time) {
	t.Helper()
	ctx, cancel := limited(t, badPatience)
	defer cancel()
	look := time.NewTicker(talkPause)
	defer look.Stop()
	for c.caughtUp(moment) == 0 {
		select {
		case <-look.C:
		case <-ctx.Done():
			for i, p := range c.people {
				said, heard := c.texts(i)
				t.Logf("%s has said %d, of which %d were heard; he is %+v", p.name, len(said), len(heard), p.sdk.Status())
			}
			t.Fatalf("%s does not work %s after the end of a blackout", c.address, time.Since(moment))
		}
	}
}

// caughtUp is how long after a moment both had heard something that was said after it, and so, in order, all before; 0: not yet.
func (c *couple) caughtUp(moment time.Time) time.Duration {
	slowest := time.Duration(0)
	for i := range c.people {
		said, heard := c.texts(i)
		n := slices.IndexFunc(said, func(s saying) bool { return s.at.After(moment) })
		if n < 0 || n >= len(heard) {
			return 0
		}
		slowest = max(slowest, heard[n].at.Sub(moment))
	}
	return slowest
}

// firstAfter is how long after a moment both had heard something again.
func (c *couple) firstAfter(moment time.Time) time.Duration {
	slowest := time.Duration(0)
	for i := range c.people {
		_, heard := c.texts(i)
		for _, h := range heard {
			if h.at.After(moment) {
				slowest = max(slowest, h.at.Sub(moment))
				break
			}
		}
	}
	return slowest
}

// check compares what was said with what was heard and with what is stored.
func (c *couple) check(t *testing.T) {
	t.Helper()
	ctx, cancel := limited(t, badPatience)
	defer cancel()
	for i, p := range c.people {
		said, _ := c.texts(i)
		for n, s := range said {
			if err := s.out.Wait(ctx); err != nil {
				t.Fatalf("%s: number %d of %s: %v", c.address, n+1, p.name, err)
			}
		}
		heard, err := c.people[1-i].hear(ctx, len(said))
		if err != nil {
			t.Errorf("%s: %v", c.address, err)
		}
		for n, h := range heard {
			if h.text != strconv.Itoa(n+1) {
				t.Errorf("%s: text %d of %s is %q", c.address, n+1, p.name, h.text)
				break
			}
		}
		stored, err := p.history(ctx, c.people[1-i])
		if err != nil {
			t.Errorf("%s: %v", c.address, err)
		}
		if len(stored[p.sdk.Me()]) != len(said) {
			t.Errorf("%s: %d texts of %s are stored, %d were said", c.address, len(stored[p.sdk.Me()]), p.name, len(said))
		}
		for n, text := range stored[p.sdk.Me()] {
			if text != strconv.Itoa(n+1) {
				t.Errorf("%s: text %d of %s is stored as %q", c.address, n+1, p.name, text)
				break
			}
		}
	}
}

// report says how it went.
func (c *couple) report(t *testing.T, ends []time.Time) {
	t.Helper()
	var usual []time.Duration
	for i := range c.people {
		said, heard := c.texts(i)
		for n := range min(len(said), len(heard)) {
			spoiled := slices.ContainsFunc(ends, func(end time.Time) bool { return said[n].at.After(end.Add(-dark - time.Second)) })
			if !spoiled {
				usual = append(usual, heard[n].at.Sub(said[n].at))
			}
		}
	}
	if len(usual) == 0 {
		t.Errorf("%s: nothing was said that no blackout delayed", c.address)
		return
	}
	slices.Sort(usual)
	var first, caughtUp []time.Duration
	for _, end := range ends {
		first = append(first, c.firstAfter(end).Round(time.Millisecond))
		caughtUp = append(caughtUp, c.caughtUp(end).Round(time.Millisecond))
	}
	slices.Sort(first)
	slices.Sort(caughtUp)
	t.Logf("%-20s in after %4d ms; a message takes %d ms (median), %d ms (p95); after a blackout of %s the first came after %v, all after %v; %d reconnects",
		c.address, c.took.Milliseconds(), usual[len(usual)/2].Milliseconds(), usual[len(usual)*95/100].Milliseconds(), dark, first, caughtUp,
		c.people[0].sdk.Status().Reconnects+c.people[1].sdk.Status().Reconnects)
}
