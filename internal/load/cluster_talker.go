package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"

	"teamtalk/client"
	"teamtalk/client/dial"
	"teamtalk/protocol"
)

// talkPace is waited between two messages of a talker: a light load.
const talkPace = 10 * time.Millisecond

// talker is a user of the client library, who knows the addresses of all nodes, and one other to whom he sends. He comes back by himself when his
// node dies.
type talker struct {
	sdk   *client.Client
	peer  *client.Client // who hears him
	clock clock
	stop  chan struct{}
	ended chan struct{} // closed when he has fallen silent

	mu    sync.Mutex // guards the rest
	acks  []acked
	heard []protocol.MsgID
	gaps  []string
	err   error
	more  chan struct{} // holds a token when something was heard
}

// acked is when a message was given to the library, and when its ack came.
type acked struct {
	id         protocol.MsgID
	said, came time.Duration
}

// newTalker logs both in, at the nodes of their places first.
func newTalker(ctx context.Context, nodes []Target, user, place int, clock clock) (*talker, error) {
	t := &talker{clock: clock, stop: make(chan struct{}), ended: make(chan struct{}), more: make(chan struct{}, 1)}
	var err error
	if t.sdk, err = openClient(ctx, nodes, user, place, nil); err != nil {
		return nil, err
	}
	if t.peer, err = openClient(ctx, nodes, user+1, place+1, t.hear); err != nil {
		return nil, errors.Join(err, t.sdk.Close())
	}
	return t, nil
}

func openClient(ctx context.Context, nodes []Target, user, place int, hear func(*client.Client, client.Event)) (*client.Client, error) {
	t := nodes[0]
	var addresses []string
	for i := range nodes {
		addresses = append(addresses, "tcp://"+nodes[(place+i)%len(nodes)].Server)
	}
	if hear == nil {
		hear = func(*client.Client, client.Event) {}
	}
	c, err := client.Open(ctx, client.Config{Addresses: addresses, AllowPlain: true, Only: []dial.Transport{dial.TCP}, Name: t.name(user), Password: t.Password,
		Program: clientName, Mode: client.SendWait, OnEvent: hear, Proxy: func(*url.URL) (*url.URL, error) { return nil, nil }})
	if err != nil {
		return nil, err
	}
	limit, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	if err := c.WaitOnline(limit); err != nil {
		return nil, errors.Join(fmt.Errorf("login of %s: %w", t.name(user), err), c.Close())
	}
	return c, nil
}

// hear takes in what the other one hears.
func (t *talker) hear(_ *client.Client, e client.Event) {
	t.mu.Lock()
	switch e := e.(type) {
	case *client.Message:
		if !e.Mine {
			t.heard = append(t.heard, e.ID)
		}
	case *client.Gap:
		t.gaps = append(t.gaps, e.Why)
	}
	t.mu.Unlock()
	select {
	case t.more <- struct{}{}:
	default:
	}
}

// talk sends one message after the other, each when the one before is acked, until stop is closed or ctx ends.
func (t *talker) talk(ctx context.Context) {
	defer close(t.ended)
	pace := time.NewTicker(talkPace)
	defer pace.Stop()
	for {
		select {
		case <-pace.C:
		case <-t.stop:
			return
		}
		if err := t.say(ctx); err != nil {
			t.mu.Lock()
			t.err = err
			t.mu.Unlock()
			return
		}
	}
}

func (t *talker) say(ctx context.Context) error {
	said := t.clock.now()
	out, err := t.sdk.Send(ctx, protocol.WithUser(t.peer.Me()), client.Text("a message of a usual length, more or less"))
	if err == nil {
		err = out.Wait(ctx)
	}
	if err != nil {
		return fmt.Errorf("a message got no ack: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.acks = append(t.acks, acked{out.State().ID, said, t.clock.now()})
	return nil
}

// ackedSince tells whether a message was acked that was sent after a moment, or why there will be none.
func (t *talker) ackedSince(moment time.Duration) (bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.acks) > 0 && t.acks[len(t.acks)-1].said > moment, t.err
}

// isAt tells whether he is connected to a host, or was last.
func (t *talker) isAt(host string) bool {
	u, err := url.Parse(t.sdk.Status().Route.URL)
	if err != nil {
		return false
	}
	at, _, err := net.SplitHostPort(u.Host)
	return err == nil && at == host
}

// finish has him fall silent and judges: every message acked has been heard once, in order, under the id of its ack, and the ids have no holes.
func (t *talker) finish(ctx context.Context) (messages int, err error) {
	close(t.stop)
	<-t.ended
	if t.err != nil {
		return 0, t.err
	}
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	for t.missing() > 0 {
		select {
		case <-t.more:
		case <-ctx.Done():
			return 0, fmt.Errorf("%d of %d acked messages were not heard", t.missing(), len(t.acks))
		}
	}
	return len(t.acks), t.verdict()
}

func (t *talker) missing() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.acks) - len(t.heard)
}

func (t *talker) verdict() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.gaps) > 0 {
		return fmt.Errorf("the one who hears had %d gaps, the first: %s", len(t.gaps), t.gaps[0])
	}
	if len(t.heard) != len(t.acks) {
		return fmt.Errorf("%d messages were heard, %d acked", len(t.heard), len(t.acks))
	}
	for i, a := range t.acks {
		if a.id != protocol.MsgID(i+1) || t.heard[i] != a.id {
			return fmt.Errorf("message %d was acked as %d and heard as %d", i+1, a.id, t.heard[i])
		}
	}
	return nil
}

// leave ends both clients.
func (t *talker) leave() error { return errors.Join(t.sdk.Close(), t.peer.Close()) }
