//go:build linux

package e2e

import (
	"net"
	"testing"

	"teamtalk/protocol"
)

// TestBrowserUnsent: what somebody writes while no session gets through is sent by the page after that one, once and in order, be it a reload or another window;
// a window that lives keeps its own; logging out leaves nothing behind [TT-WEB-3]. A WebSocket that falls silent without an end is left by the page itself. All of
// it in web/test/unsent.mjs.
func TestBrowserUnsent(t *testing.T) {
	chromium(t)
	together(t)
	ctx, cancel := limited(t, browserPatience)
	defer cancel()
	hosts := loopbackHosts(t, 1)
	// While nothing gets through the page tries the node itself, which its policy has to allow and whose certificate it does not trust.
	args := append(quickPasswords(), "--public-origins", "https://"+net.JoinHostPort(hosts[0].IP, clusterTLS))
	c := StartCluster(t, 1, ClusterConfig{Unraced: true, Users: 4, Hosts: hosts, Args: args})
	b := newBalancer(t, c.Nodes[0])
	bo := c.arriveAt(ctx, t, "user2")
	me := protocol.WithUser(1)
	perform(t, "unsent.mjs", map[string]any{"page": "http://" + b.at + "/", "password": browserPassword}, map[string]favour{
		"say": asked(t, func(s said) any { return bo.say(ctx, t, me, s.Text) }),
		"read": asked(t, func(s said) any {
			m := bo.hears(ctx, t, s.Text)
			if err := bo.sdk.MarkRead(ctx, me, m.ID); err != nil {
				t.Fatal(err)
			}
			return nil
		}),
		"refuse":  asked(t, func(a struct{ Paths []string }) any { b.refuse(a.Paths...); return nil }),
		"cut":     asked(t, func(struct{}) any { return b.cut() }),
		"silence": asked(t, func(struct{}) any { return b.silence() }),
		"lost":    asked(t, func(struct{}) any { return b.hasLost() }),
		"heard":   asked(t, func(struct{}) any { return heardBy(ctx, t, bo, me) }),
	})
}
