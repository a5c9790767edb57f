//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"teamtalk/client"
	"teamtalk/client/dial"
	"teamtalk/protocol"
)

// A chatterer is somebody with the SDK who says numbered things to one person all the time.
type chatterer struct {
	*newcomer
	to   protocol.Session
	said int // how many, once it has been stopped

	stop    context.CancelFunc
	talking sync.WaitGroup
}

// talk begins to say "in 1", "in 2" …, at most so often, each once the one before has been acked.
func (k *chatterer) talk(ctx context.Context, t *testing.T, pause time.Duration) {
	ctx, k.stop = context.WithCancel(ctx)
	k.talking.Go(func() { // ends by stop
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for ctx.Err() == nil {
			out, err := k.sdk.Send(ctx, k.to, client.Text(fmt.Sprintf("in %d", k.said+1)))
			if err == nil {
				k.said++
				err = out.Wait(ctx)
			}
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("in %d: %v", k.said, err)
				return
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	})
}

// silence ends the talk and waits until all is acked.
func (k *chatterer) silence(ctx context.Context, t *testing.T) int {
	t.Helper()
	k.stop()
	k.talking.Wait()
	for _, out := range k.sdk.Outbox() {
		if err := out.Wait(ctx); err != nil {
			t.Fatal(err)
		}
	}
	return k.said
}

// arriveAt logs somebody in at any node, over TLS.
func (c *Cluster) arriveAt(ctx context.Context, t *testing.T, name string) *newcomer {
	t.Helper()
	conf, err := c.Nodes[0].trust()
	if err != nil {
		t.Fatal(err)
	}
	d, err := dial.New(c.addresses("tls", 0), dial.Options{TLS: conf})
	if err != nil {
		t.Fatal(err)
	}
	n := &newcomer{changed: make(chan struct{}, 1)}
	n.sdk, err = client.Open(ctx, client.Config{Name: name, Password: browserPassword, Mode: client.SendWait, Dialer: dialer{d, true}, OnEvent: n.note})
	if err == nil {
		err = n.sdk.WaitOnline(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.sdk.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// TestBrowserFailover: a page that two people talk through goes on when its WebSocket is cut, when there are no WebSockets any more, and when the node it is on
// is killed. Nothing is lost, nothing is there twice, and the order is kept, in the page and at the other one: web/test/failover.mjs.
func TestBrowserFailover(t *testing.T) {
	chromium(t)
	together(t)
	ctx, cancel := limited(t, browserPatience)
	defer cancel()
	hosts := loopbackHosts(t, 3)
	var origins []string // where the page is slow to get in it tries the nodes themselves, which its policy has to allow
	for _, h := range hosts {
		origins = append(origins, "https://"+net.JoinHostPort(h.IP, clusterTLS))
	}
	c := StartCluster(t, 3, ClusterConfig{Unraced: true, Users: 4, Hosts: hosts, Args: append(quickPasswords(), "--public-origins", strings.Join(origins, ","))})
	b := newBalancer(t, c.Followers(t)[0])
	b.prefer(append(c.Followers(t), c.Leader(t))...)
	k := &chatterer{newcomer: c.arriveAt(ctx, t, "user2"), to: protocol.WithUser(1)}
	perform(t, "failover.mjs", map[string]any{"page": "http://" + b.at + "/", "password": browserPassword}, map[string]favour{
		"talk": asked(t, func(struct{}) any { k.talk(ctx, t, 150*time.Millisecond); return nil }),
		"hush": asked(t, func(struct{}) any { return k.silence(ctx, t) }),
		"cut":  asked(t, func(struct{}) any { return b.cut() }),
		"lose": asked(t, func(a struct{ Way string }) any { b.lose(a.Way); return nil }),
		"lost": asked(t, func(struct{}) any { return b.hasLost() }),
		"refuse": asked(t, func(a struct{ Paths []string }) any {
			b.refuse(a.Paths...)
			return b.cut()
		}),
		"kill": asked(t, func(struct{}) any {
			node := c.byPage(b.first())
			node.Kill()
			return node.ID
		}),
		"heard": asked(t, func(struct{}) any { return heardBy(ctx, t, k.newcomer, k.to) }),
	})
}

// first is the node that the balancer prefers, host:port.
func (b *balancer) first() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.nodes[0]
}

func (c *Cluster) byPage(at string) *ClusterNode {
	for _, n := range c.Nodes {
		if n.page() == "http://"+at+"/" {
			return n
		}
	}
	return nil
}

// heardBy is what the other one has said, as the history has it at the end, oldest first.
func heardBy(ctx context.Context, t *testing.T, n *newcomer, in protocol.Session) []string {
	t.Helper()
	var texts []string
	for from := protocol.MsgID(0); ; { // a slow machine's run has thousands, which are more than there are at once
		history, err := n.sdk.History(ctx, in, from, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range history.Items {
			if !m.Mine {
				texts = append(texts, m.Text)
			}
			from = m.ID - 1
		}
		if len(history.Items) == 0 || from == 0 {
			slices.Reverse(texts)
			return texts
		}
	}
}
