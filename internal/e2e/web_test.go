package e2e

import (
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// TestHTTP3: a browser that follows the TLS port's Alt-Svc finds the same there.
func TestHTTP3(t *testing.T) {
	s := Start(t, ServerConfig{Args: []string{"--users", "2"}})
	conf, err := s.trust()
	if err != nil {
		t.Fatal(err)
	}
	over := func(rt http.RoundTripper, url string) (*http.Response, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := (&http.Client{Transport: rt, Timeout: Patience}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(body)
	}
	first := &http.Transport{TLSClientConfig: conf.Clone(), ForceAttemptHTTP2: true}
	defer first.CloseIdleConnections()
	resp, told := over(first, "https://"+s.Addr.TLS+"/msg_server")
	_, port, _ := strings.Cut(s.Addr.QUIC, ":")
	if want := `h3=":` + port + `"; ma=86400`; resp.Header.Get("Alt-Svc") != want || resp.ProtoMajor != 2 {
		t.Errorf("%s, Alt-Svc %q, want %q", resp.Proto, resp.Header.Get("Alt-Svc"), want)
	}
	next := &http3.Transport{TLSClientConfig: conf.Clone()}
	defer next.Close()
	resp, again := over(next, "https://"+s.Addr.QUIC+"/msg_server")
	if resp.StatusCode != http.StatusOK || resp.ProtoMajor != 3 || again != told || !strings.Contains(told, "priorIP") {
		t.Errorf("%s %s: %s", resp.Proto, resp.Status, again)
	}
	// The page, too [TT-WEB-1].
	if resp, page := over(next, "https://"+s.Addr.QUIC+"/"); resp.StatusCode != http.StatusOK || !strings.Contains(page, "<title>TeamTalk</title>") {
		t.Errorf("GET /: %s %s", resp.Status, page)
	}
	if resp, _ := over(next, "https://"+s.Addr.QUIC+"/ws"); resp.StatusCode != http.StatusHTTPVersionNotSupported {
		t.Errorf("GET /ws: %s", resp.Status)
	}
}

// TestNoFederationUnasked: a cluster that no operator has given a name does not speak with others: what they speak is refused in the handshake, on both
// ports, as any name that nobody serves [TT-TLS-2].
func TestNoFederationUnasked(t *testing.T) {
	s := Start(t, ServerConfig{Args: []string{"--users", "2"}})
	conf, err := s.trust("tt-fed/1")
	if err != nil {
		t.Fatal(err)
	}
	if c, err := tls.Dial("tcp", s.Addr.TLS, conf); err == nil {
		_ = c.Close()
		t.Error("TLS: accepted")
	}
	if c, err := quic.DialAddr(t.Context(), s.Addr.QUIC, conf, nil); err == nil {
		_ = c.CloseWithError(0, "")
		t.Error("QUIC: accepted")
	}
}
