//go:build linux

package e2e

import (
	"net"
	"strings"
	"testing"

	"teamtalk/protocol"
)

// TestBrowserOrigins: a page whose node is gone for good goes on at another one by that one's own name, and sends, shows and saves pictures and files there
// [TT-MEDIA-11]: web/test/origins.mjs.
func TestBrowserOrigins(t *testing.T) {
	chromium(t)
	together(t)
	ctx, cancel := limited(t, browserPatience)
	defer cancel()
	hosts := loopbackHosts(t, 3)
	var origins []string
	for _, h := range hosts {
		origins = append(origins, "https://"+net.JoinHostPort(h.IP, clusterTLS))
	}
	c := StartCluster(t, 3, ClusterConfig{Unraced: true, Users: 4, Hosts: hosts, Args: append(quickPasswords(), "--public-origins", strings.Join(origins, ","))})
	first := c.Followers(t)[0]
	bo := c.arriveAt(ctx, t, "user2")
	me := protocol.WithUser(1)
	var keys []string
	for _, n := range c.Nodes {
		keys = append(keys, keyOf(t, n.Server))
	}
	facts := map[string]any{"page": "https://" + first.Addr.TLS + "/", "password": browserPassword, "keys": strings.Join(keys, ",")}
	perform(t, "origins.mjs", facts, map[string]favour{
		"kill": asked(t, func(struct{}) any { first.Kill(); return nil }),
		"say":  asked(t, func(s said) any { return bo.say(ctx, t, me, s.Text) }),
		"sees": asked(t, func(struct{}) any { return bo.sees(ctx, t, me).Path }),
	})
}
