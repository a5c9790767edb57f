package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"teamtalk/client"
	"teamtalk/client/dial"
	"teamtalk/protocol"
)

// The order in which the conversation moves.
func movingOrder() []dial.Transport {
	return []dial.Transport{dial.QUIC, dial.WebSocket, dial.LongPoll, dial.TLS}
}

// speaker is one side of a conversation: it numbers what it says, and keeps what it hears.
type speaker struct {
	c    *client.Client
	name string
	with protocol.Session

	heard chan struct{} // holds one token when something was heard

	mu   sync.Mutex // guards what follows
	log  []*client.Message
	sent []*client.Outgoing
	gaps []string
}

func (a *speaker) hear(_ *client.Client, e client.Event) {
	a.mu.Lock()
	switch e := e.(type) {
	case *client.Message:
		a.log = append(a.log, e)
	case *client.Gap:
		a.gaps = append(a.gaps, e.Why)
	}
	a.mu.Unlock()
	select {
	case a.heard <- struct{}{}:
	default:
	}
}

func (a *speaker) heardSoFar() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.log)
}

// ownSoFar is how many of its own messages came back.
func (a *speaker) ownSoFar() (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, m := range a.log {
		if m.Mine {
			n++
		}
	}
	return n
}

// waitHeard waits until n messages were heard in all.
func (a *speaker) waitHeard(ctx context.Context, n int) error { return a.waitFor(ctx, a.heardSoFar, n) }

func (a *speaker) waitFor(ctx context.Context, count func() int, n int) error {
	for count() < n {
		select {
		case <-a.heard:
		case <-ctx.Done():
			return fmt.Errorf("%s heard %d messages of %d: %w", a.name, count(), n, ctx.Err())
		}
	}
	return nil
}

// talk says something whenever what was said last is some messages back, until told to stop.
func (a *speaker) talk(ctx context.Context, stop *atomic.Bool, ahead int) error {
	for n := 1; !stop.Load(); n++ {
		out, err := a.c.Send(ctx, a.with, client.Text(fmt.Sprintf("%s %d", a.name, n)))
		if err != nil {
			return fmt.Errorf("%s: send %d: %w", a.name, n, err)
		}
		a.sent = append(a.sent, out)
		if n > ahead {
			if err := a.sent[n-1-ahead].Wait(ctx); err != nil {
				return fmt.Errorf("%s: message %d: %w", a.name, n-ahead, err)
			}
		}
	}
	for i, out := range a.sent {
		if err := out.Wait(ctx); err != nil {
			return fmt.Errorf("%s: message %d: %w", a.name, i+1, err)
		}
	}
	return nil
}

// moving is a conversation whose first side keeps changing its network.
type moving struct {
	line     *lifeline
	way      *pinned
	ann, bob *speaker
}

// play moves the conversation so many times, each time after a random number of messages, and then has the oracle look at it.
func (m *moving) play(ctx context.Context, rng *rand.Rand, moves int) error {
	var stop atomic.Bool
	var talking sync.WaitGroup
	errs := make(chan error, 2)
	for _, side := range []*speaker{m.ann, m.bob} {
		ahead := rng.IntN(4)
		talking.Go(func() { errs <- side.talk(ctx, &stop, ahead) }) // ends after stop, or with ctx
	}
	order := movingOrder()
	var err error
	for move := 1; move <= moves && err == nil; move++ {
		if rng.IntN(2) == 0 { // perhaps in the middle of a replay
			err = m.ann.waitHeard(ctx, m.ann.heardSoFar()+1+rng.IntN(30))
		} else { // or when the side that moves has had its say
			err = m.ann.waitFor(ctx, m.ann.ownSoFar, m.ann.ownSoFar()+1+rng.IntN(10))
		}
		m.way.by(order[move%len(order)])
		m.line.cut()
	}
	stop.Store(true)
	talking.Wait()
	close(errs)
	for e := range errs {
		if err == nil {
			err = e
		}
	}
	if err != nil {
		return err
	}
	return m.judge(ctx)
}

// judge compares what both heard with what both said: everything once, in one order, each side's own order kept [TT-SESS-3] [TT-SESS-11].
func (m *moving) judge(ctx context.Context) error {
	total := len(m.ann.sent) + len(m.bob.sent)
	for _, side := range []*speaker{m.ann, m.bob} {
		if err := side.waitHeard(ctx, total); err != nil {
			return err
		}
		if len(side.gaps) > 0 {
			return fmt.Errorf("%s had gaps: %s", side.name, strings.Join(side.gaps, "; "))
		}
		next := map[string]int{m.ann.name: 1, m.bob.name: 1}
		said := map[string][]*client.Outgoing{m.ann.name: m.ann.sent, m.bob.name: m.bob.sent}
		side.mu.Lock()
		log := side.log
		side.mu.Unlock()
		if len(log) != total {
			return fmt.Errorf("%s heard %d messages, %d were said", side.name, len(log), total)
		}
		for i, msg := range log {
			who, _, _ := strings.Cut(msg.Text, " ")
			n := next[who]
			if msg.ID != protocol.MsgID(i+1) || msg.Text != fmt.Sprintf("%s %d", who, n) {
				return fmt.Errorf("%s heard %q with id %d in place %d, where %s's message %d was due", side.name, msg.Text, msg.ID, i+1, who, n)
			}
			if got := said[who][n-1].State().ID; got != msg.ID {
				return fmt.Errorf("%q was acked as %d and heard as %d", msg.Text, got, msg.ID)
			}
			next[who]++
		}
	}
	return nil
}

// newMoving opens both sides; annID is the one who moves, the next user the other; o says whom they trust, and addresses where the server is.
func newMoving(ctx context.Context, addresses []string, password string, o dial.Options, line *lifeline, annID protocol.UserID) (*moving, error) {
	bobID := annID + 1
	way, err := newPinned(addresses, o, line, movingOrder()[0])
	if err != nil {
		return nil, err
	}
	bobs, err := newPinned(addresses, o, &lifeline{Network: line.Network, lookup: line.lookup}, dial.TLS) // which is never cut
	if err != nil {
		return nil, err
	}
	m := &moving{line: line, way: way,
		ann: &speaker{name: "ann", with: protocol.WithUser(bobID), heard: make(chan struct{}, 1)},
		bob: &speaker{name: "bob", with: protocol.WithUser(annID), heard: make(chan struct{}, 1)}}
	if m.ann.c, err = client.Open(ctx, client.Config{Name: fmt.Sprintf("user%d", annID), Password: password, Dialer: way, OnEvent: m.ann.hear}); err != nil {
		return nil, err
	}
	if m.bob.c, err = client.Open(ctx, client.Config{Name: fmt.Sprintf("user%d", bobID), Password: password, Dialer: bobs, OnEvent: m.bob.hear}); err != nil {
		return nil, err
	}
	for _, side := range []*speaker{m.ann, m.bob} {
		if err := side.c.WaitOnline(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", side.name, err)
		}
	}
	return m, nil
}

func (m *moving) close() error {
	err := errors.Join(m.ann.c.Close(), m.bob.c.Close())
	m.line.dispose()
	return err
}

// TestMovingConversation: conversations move from transport to transport under load both ways, over real sockets, each move by losing the network
// without notice, fifty rounds in all: nothing is lost, nothing comes twice, the order holds [TT-SESS-3] [TT-SESS-4] [TT-SESS-11] [TT-SESS-13].
func TestMovingConversation(t *testing.T) {
	const pairs = 5
	rounds := 10 // of each pair
	if raceDetector {
		rounds = 2
	}
	s := Start(t, ServerConfig{Args: []string{"--users", fmt.Sprint(2 * pairs), "--password", worldPassword}})
	conf, err := s.trust()
	if err != nil {
		t.Fatal(err)
	}
	addresses := []string{"quic://" + s.Addr.QUIC, "tls://" + s.Addr.TLS, "wss://" + s.Addr.TLS, "https://" + s.Addr.TLS + "/lp"}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var all sync.WaitGroup
	for i := range pairs {
		all.Go(func() { // ends with its conversation, or with ctx
			ann := protocol.UserID(2*i + 1)
			m, err := newMoving(ctx, addresses, worldPassword, dial.Options{TLS: conf}, &lifeline{Network: &hostNetwork{}}, ann)
			if err == nil {
				err = m.play(ctx, rand.New(rand.NewPCG(uint64(i), 1)), rounds*len(movingOrder()))
			}
			if m != nil {
				err = errors.Join(err, m.close())
				t.Logf("pair %d: %d moves, %d + %d messages", i, rounds*len(movingOrder()), len(m.ann.sent), len(m.bob.sent))
			}
			if err != nil {
				t.Errorf("pair %d: %v", i, err)
			}
		})
	}
	all.Wait()
}

// TestMovingConversationInVirtualTime is the same with a server in this process, in virtual time: a thousand rounds (under the race detector fewer),
// each with another seed, all over TLS, WebSocket, long-poll and QUIC in memory. TT_SEED=n plays one round only.
func TestMovingConversationInVirtualTime(t *testing.T) {
	rounds, worlds := 1000, 4
	if raceDetector {
		rounds = 60
	}
	first := 1
	if n := seedFromEnv(t); n > 0 {
		first, rounds, worlds = n, 1, 1
	}
	for k := range worlds {
		t.Run(fmt.Sprint(k), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				playWorld(t, first+k*rounds/worlds, rounds/worlds)
			})
		})
	}
}

func seedFromEnv(t *testing.T) (n int) {
	t.Helper()
	if s := os.Getenv("TT_SEED"); s != "" {
		if _, err := fmt.Sscan(s, &n); err != nil || n <= 0 {
			t.Fatalf("TT_SEED=%q: a number from 1", s)
		}
	}
	return n
}

// playWorld plays rounds one after the other, each between two users of its own.
func playWorld(t *testing.T, seed, rounds int) {
	w := newWorld(t, 2*rounds)
	defer w.stop()
	addresses := []string{"quic://" + worldHost + ":443", "tls://" + worldHost + ":443", "wss://" + worldHost + ":443", "https://" + worldHost + ":443/lp"}
	for i := range rounds {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		line := &lifeline{Network: w.net, lookup: w.lookup}
		m, err := newMoving(ctx, addresses, worldPassword, dial.Options{TLS: w.trust}, line, protocol.UserID(2*i+1))
		if err == nil {
			err = m.play(ctx, rand.New(rand.NewPCG(uint64(seed+i), 7)), len(movingOrder()))
		}
		if m != nil {
			err = errors.Join(err, m.close())
		}
		cancel()
		if err != nil {
			t.Errorf("TT_SEED=%d: %v", seed+i, err)
			return
		}
	}
}
