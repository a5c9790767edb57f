package e2e

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"teamtalk/client"
	"teamtalk/internal/simnet"
	"teamtalk/protocol"
	"teamtalk/raftstore"
)

// TestAllKnownNodesReplaced has people online and idle on one node, each by another transport, while all the others that they know of are replaced. Then
// their node dies, and they come back by nodes that were not there when they came [TT-SESS-25].
func TestAllKnownNodesReplaced(t *testing.T) {
	onceOnly(t)
	for name, how := range map[string]simnet.Cut{"reset": simnet.Reset, "silence": simnet.Silence} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { replaceAllKnown(t, how) })
		})
	}
}

func replaceAllKnown(t *testing.T, how simnet.Cut) {
	c := newConstellation(t, raftstore.Tuning{}, 3, 12)
	defer c.stop()
	defer func() {
		for _, p := range c.people {
			c.check(p.sdk.Close())
			p.line.dispose()
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
	defer cancel()
	last := c.members()[0]
	for _, id := range []protocol.UserID{3, 6, 9, 12} { // these begin with the first of three stars, by four transports
		p, err := c.enter(ctx, id, groupOfAll())
		if err != nil {
			t.Fatal(err)
		}
		c.people = append(c.people, p)
	}
	for range 2 {
		c.replace(ctx, trouble{victim: 1})
		c.ending.Wait()
	}
	c.check(pass(ctx, toldWithin))
	for _, p := range c.people {
		if s := p.sdk.Status(); s.State != client.Online || s.Reconnects > 0 || s.Node != string(last.id()) {
			t.Fatalf("user%d has not stayed where he was: %+v", p.id, s)
		}
	}
	c.strike(last, how)
	began := time.Now()
	for _, p := range c.people {
		for p.sdk.Status().State != client.Online || p.sdk.Status().Node == string(last.id()) {
			if time.Since(began) > 10*time.Minute || pass(ctx, time.Second) != nil {
				t.Fatalf("user%d does not come back: %+v", p.id, p.sdk.Status())
			}
		}
	}
	t.Logf("all are back after %v", time.Since(began))
}

// toldWithin is by when an idle session knows where its cluster is reached now [TT-SESS-25].
const toldWithin = 75 * time.Second
