//go:build linux

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"teamtalk/client/dial"
)

// A surrounding is what stands between a client and the server, and what has to come of it.
type surrounding struct {
	name   string
	filter string // rules of nft; empty: none
	rules  string // of squid; empty: there is no proxy
	proxy  string // as the environment of the client says it
	plain  bool   // the user allowed what isn't encrypted

	want  dial.Route // without the URL
	asked string     // what the proxy must have been asked for
}

// TestWhateverTheNetwork: whatever a network lets through, the SDK gets in by itself, by the best transport there is, and says which. What is in its
// way says nothing: packets are dropped, and only proxies refuse [TT-SESS-23].
func TestWhateverTheNetwork(t *testing.T) {
	const proxy = "http://" + serverProxy
	for _, c := range []surrounding{
		{name: "nothing in the way", want: dial.Route{Transport: dial.QUIC}},
		{name: "no UDP", filter: noUDP, want: dial.Route{Transport: dial.TLS}},
		{name: "only CONNECT", filter: onlyTheProxy, rules: onlyCONNECT, proxy: proxy,
			want: dial.Route{Transport: dial.WebSocket, Proxy: proxy}, asked: "TCP_TUNNEL/200 CONNECT " + serverTLS + " -"},
		{name: "only CONNECT with a password", filter: onlyTheProxy, rules: onlyCONNECTForKnown, proxy: "http://lin:secret@" + serverProxy,
			want: dial.Route{Transport: dial.WebSocket, Proxy: proxy}, asked: "TCP_TUNNEL/200 CONNECT " + serverTLS + " lin"},
		{name: "only plain GET and POST", filter: onlyTheProxy, rules: onlyPlain, proxy: proxy, plain: true,
			want: dial.Route{Transport: dial.LongPoll, Proxy: proxy, Plain: true}, asked: "TCP_MISS/200 POST http://" + serverHost + "/lp -"},
	} {
		t.Run(c.name, func(t *testing.T) { c.enter(t) })
	}
}

func (c surrounding) enter(t *testing.T) {
	h := joined(t)
	s := h.start(t)
	if c.filter != "" {
		h.filter(t, c.filter)
	}
	var proxy *squid
	if c.rules != "" {
		proxy = h.startSquid(t, c.rules)
	}
	ctx, cancel := limited(t, 3*Patience)
	defer cancel()
	setProxy(t, c.proxy)
	start := time.Now()
	inside, err := onHost{host: h.client, address: serverHost, options: dial.Options{AllowPlain: c.plain}}.open(ctx, t, s, 1)
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(start)
	came := inside.sdk.Status().Route
	t.Logf("in after %s, by %s %s", took.Round(time.Millisecond), came.Transport, came)
	if took > 5*enterTime {
		t.Errorf("it took %s, far more than %s", took, enterTime)
	}
	// Where the best way is slow to open, as on a busy machine, the next one wins, and the client moves when it has nothing else to do.
	Eventually(t, fmt.Sprintf("it to go by %+v, and not by %+v", c.want, came), func() bool {
		route := inside.sdk.Status().Route
		route.URL = ""
		return route == c.want
	})
	setProxy(t, "")
	friend, err := onHost{host: h.server, address: serverHost}.open(ctx, t, s, 2)
	if err != nil {
		t.Fatal(err)
	}
	exchange(t, inside, friend)
	if proxy != nil {
		if err := inside.sdk.Close(); err != nil { // squid notes tunnels when they end
			t.Error(err)
		}
		Eventually(t, "squid has noted "+c.asked, func() bool { return slices.Contains(proxy.asked(), c.asked) })
	}
}

// setProxy sets what the SDK finds in its environment when a client begins.
func setProxy(t *testing.T, url string) {
	t.Helper()
	t.Setenv("HTTPS_PROXY", url)
	t.Setenv("HTTP_PROXY", url)
	t.Setenv("NO_PROXY", "")
}

// enterTime is what a client should need at most to get in.
const enterTime = 3 * time.Second

// TestNeverPlainUnasked: where only plain requests pass, a client that was not allowed them stays out, and nothing plain was tried [TT-SESS-23].
func TestNeverPlainUnasked(t *testing.T) {
	h := joined(t)
	s := h.start(t)
	h.filter(t, onlyTheProxy)
	proxy := h.startSquid(t, onlyPlain)
	setProxy(t, "http://"+serverProxy)
	ctx, cancel := context.WithTimeout(t.Context(), enterTime+time.Second)
	defer cancel()
	p, err := onHost{host: h.client, address: serverHost}.open(ctx, t, s, 1)
	if err == nil {
		t.Fatalf("it is in by %s", p.sdk.Status().Route)
	}
	t.Logf("it stays out: %v", err)
	Eventually(t, "the proxy to have been asked", func() bool {
		return slices.ContainsFunc(proxy.asked(), func(line string) bool { return strings.HasPrefix(line, "TCP_DENIED/403 CONNECT") })
	})
	for _, line := range proxy.asked() {
		if strings.Contains(line, " GET ") || strings.Contains(line, " POST ") || strings.Contains(line, ":80 ") {
			t.Errorf("it tried %s", line)
		}
	}
}
