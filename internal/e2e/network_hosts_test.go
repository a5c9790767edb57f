//go:build linux

package e2e

import (
	"context"
	"testing"
	"time"

	"teamtalk/internal/simnet"
	"teamtalk/internal/simnet/netns"
)

// The addresses of the two hosts that the tests of bad networks take place on, and what they listen on there.
const (
	clientHost = "10.99.0.1"
	serverHost = "10.99.0.2"
	mask       = "/24"

	serverTLS   = serverHost + ":443" // TCP and UDP
	serverHTTP  = serverHost + ":80"
	serverTCP   = serverHost + ":8000"
	serverProxy = serverHost + ":3128"
)

// hosts are two machines of their own: clients sit on one, servers and proxies on the other.
type hosts struct{ client, server *netns.Namespace }

// newHosts makes two hosts that nothing joins yet. They go with the test. Where they can't be made the test is left out; on CI that is a failure.
func newHosts(t *testing.T) hosts {
	t.Helper()
	needNamespaces(t)
	made := [2]*netns.Namespace{}
	for i, label := range []string{"client", "server"} {
		n, err := netns.New(t.Context(), label)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := n.Close(); err != nil {
				t.Error(err)
			}
		})
		made[i] = n
	}
	return hosts{client: made[0], server: made[1]}
}

// joined makes two hosts with a good network between them.
func joined(t *testing.T) hosts {
	t.Helper()
	h := newHosts(t)
	if err := netns.Cable(t.Context(), h.client, h.server, clientHost+mask, serverHost+mask); err != nil {
		t.Fatal(err)
	}
	return h
}

// far makes two hosts with a bad network between them.
func far(t *testing.T, link *simnet.Link) hosts {
	t.Helper()
	h := newHosts(t)
	path, err := netns.NewPath(t.Context(), link, h.client, h.server, clientHost+mask, serverHost+mask)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := path.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// start runs a server with four users on the server's host, on the ports that servers have in the wild.
func (h hosts) start(t *testing.T, args ...string) *Server {
	t.Helper()
	return Start(t, ServerConfig{Wrap: h.server.Wrap(), Args: append([]string{"--users", "20", "--password", "123456", "--public-host", serverHost,
		"--tcp", serverTCP, "--tls", serverTLS, "--quic", serverTLS, "--http", serverHTTP}, args...)})
}

// filter loads rules where the client's packets arrive: dropped there, they are dropped without a word, and the client's kernel knows nothing.
func (h hosts) filter(t *testing.T, rules string) {
	t.Helper()
	if err := h.server.Filter(t.Context(), rules); err != nil {
		t.Fatal(err)
	}
}

// What administrators let through.
const (
	onlyTheProxy = `table inet office {
	chain in {
		type filter hook input priority 0; policy drop
		iif lo accept
		tcp dport 3128 accept
		counter
	}
}
`
	noUDP = `table inet office {
	chain in {
		type filter hook input priority 0; policy accept
		iif != lo meta l4proto udp counter drop
	}
}
`
)

// limited is a context for one step of a test.
func limited(t *testing.T, limit time.Duration) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeout(t.Context(), limit)
}
