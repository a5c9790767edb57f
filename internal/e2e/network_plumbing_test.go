//go:build linux

package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// webServer answers plain requests on the server's host, port 80, and greets on port 443.
func (h hosts) webServer(t *testing.T) {
	t.Helper()
	web, err := h.server.Listen(t.Context(), serverHTTP)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Method) })}
	greeter, err := h.server.Listen(t.Context(), serverTLS)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { // ends when the ports are closed
		defer close(done)
		go func() { _ = server.Serve(web) }() // the same
		for {
			c, err := greeter.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "hello")
			c.Close()
		}
	}()
	t.Cleanup(func() {
		greeter.Close()
		server.Close()
		<-done
	})
}

// through sends one request to a proxy and returns the status and up to five bytes of what follows.
func (h hosts) through(t *testing.T, method, target, header string) (status int, rest string) {
	t.Helper()
	ctx, cancel := limited(t, Patience)
	defer cancel()
	c, err := h.client.DialContext(ctx, "tcp", serverProxy)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(Patience))
	if _, err := fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: 0\r\n%s\r\n", method, target, serverHost, header); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(c) // which may take more than the answer
	res, err := http.ReadResponse(in, &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if method == http.MethodConnect && res.StatusCode == http.StatusOK {
		greeting := make([]byte, 5)
		if _, err := io.ReadFull(in, greeting); err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(greeting)
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, 5))
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// TestProxiesAllowOnlyThat: the proxies of the tests below allow what they say and nothing else, and there is no way around them.
func TestProxiesAllowOnlyThat(t *testing.T) {
	const web, secure = "http://" + serverHTTP + "/", serverTLS
	for name, c := range map[string]struct {
		rules   string
		allowed []string
	}{
		"only CONNECT":           {onlyCONNECT, []string{"CONNECT " + secure}},
		"only CONNECT for known": {onlyCONNECTForKnown, []string{"CONNECT " + secure + " known"}},
		"only plain":             {onlyPlain, []string{"GET " + web, "POST " + web, "GET " + web + " known", "POST " + web + " known"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := joined(t)
			h.webServer(t)
			h.filter(t, onlyTheProxy)
			proxy := h.startSquid(t, c.rules)
			for _, asked := range []string{"CONNECT " + secure, "CONNECT " + serverHTTP, "CONNECT " + secure + " known", "GET " + web, "POST " + web,
				"PUT " + web, "GET http://" + serverHost + ":8080/", "GET " + web + " known", "POST " + web + " known"} {
				words := strings.Fields(asked)
				header := ""
				if len(words) == 3 {
					header = "Proxy-Authorization: Basic bGluOnNlY3JldA==\r\n"
				}
				status, rest := h.through(t, words[0], words[1], header)
				want := slices.Contains(c.allowed, asked) || slices.Contains(c.allowed, strings.TrimSuffix(asked, " known")) && c.rules != onlyCONNECTForKnown
				if got := status == http.StatusOK; got != want {
					t.Errorf("%s: %d %q, want it allowed: %t", asked, status, rest, want)
				}
			}
			if len(proxy.asked()) == 0 {
				t.Error("squid has noted nothing")
			}
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			if c, err := h.client.DialContext(ctx, "tcp", serverHTTP); err == nil {
				c.Close()
				t.Error("there is a way around the proxy")
			} else if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the way around the proxy is not silent: %v", err)
			}
		})
	}
}
