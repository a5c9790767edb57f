package node

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"teamtalk/internal/admin"
)

// trusting is a TLS client that was given the node's authority.
func trusting(t *testing.T, n *Node) *tls.Config {
	t.Helper()
	raw, err := os.ReadFile(n.CA().File)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(raw) {
		t.Fatal("the authority's file holds no certificate")
	}
	return &tls.Config{RootCAs: roots}
}

// ask makes a request and closes the connection.
func ask(t *testing.T, rt http.RoundTripper, method, url string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: rt, Timeout: patience}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Error(err)
	}
	return resp, string(body)
}

// The same is served on every TCP port that speaks HTTP (HTTP/3: internal/e2e), and the TLS port tells where HTTP/3 is.
func TestTheSameOverEveryHTTP(t *testing.T) {
	n := startNode(t, testConfig(t, t.TempDir(), map[string]string{"public.quic_port": "443"}))
	defer stopNode(t, n)
	at := n.Addresses()
	for _, test := range []struct {
		name, base, proto string
		transport         func() http.RoundTripper
		altSvc            string
	}{
		{"plain", "http://" + at["http"], "HTTP/1.1", func() http.RoundTripper { return &http.Transport{DisableKeepAlives: true} }, ""},
		{"TLS", "https://" + at["tls"], "HTTP/1.1", func() http.RoundTripper {
			return &http.Transport{DisableKeepAlives: true, TLSClientConfig: trusting(t, n)}
		}, `h3=":443"; ma=86400`},
		{"HTTP/2", "https://" + at["tls"], "HTTP/2.0", func() http.RoundTripper {
			return &http.Transport{DisableKeepAlives: true, TLSClientConfig: trusting(t, n), ForceAttemptHTTP2: true}
		}, `h3=":443"; ma=86400`},
	} {
		t.Run(test.name, func(t *testing.T) {
			resp, body := ask(t, test.transport(), http.MethodGet, test.base+"/msg_server")
			if resp.StatusCode != 200 || !strings.Contains(body, `"priorIP" : "127.0.0.1"`) || resp.Proto != test.proto {
				t.Errorf("%s %s: %s", resp.Proto, resp.Status, body)
			}
			if got := resp.Header.Get("Alt-Svc"); got != test.altSvc {
				t.Errorf("Alt-Svc: %q, want %q", got, test.altSvc)
			}
			if resp, body := ask(t, test.transport(), http.MethodPost, test.base+"/lp"); resp.StatusCode != 200 || !strings.Contains(body, `"poll_s"`) {
				t.Errorf("POST /lp: %s %s", resp.Status, body)
			}
			if resp, body := ask(t, test.transport(), http.MethodGet, test.base+"/ws"); resp.StatusCode < 400 || resp.StatusCode == 404 {
				t.Errorf("GET /ws: %s %s", resp.Status, body)
			}
			if resp, _ := ask(t, test.transport(), http.MethodGet, test.base+"/nothing"); resp.StatusCode != 404 {
				t.Errorf("GET /nothing: %s", resp.Status)
			}
			// [TT-WEB-1], whether the page was built or not.
			if resp, body := ask(t, test.transport(), http.MethodGet, test.base+"/"); resp.StatusCode != 200 || !strings.Contains(body, "<title>TeamTalk</title>") ||
				!strings.Contains(resp.Header.Get("Content-Security-Policy"), "default-src 'none'") {
				t.Errorf("GET /: %s %s", resp.Status, body)
			}
			if resp, _ := ask(t, test.transport(), http.MethodPost, test.base+"/web/session/take"); resp.StatusCode != 403 {
				t.Errorf("POST /web/session/take: %s", resp.Status)
			}
		})
	}
}

// A node without a native port to tell has TLS and no /msg_server.
func TestTLSAlone(t *testing.T) {
	n := startNode(t, testConfig(t, t.TempDir(), map[string]string{"listen.tcp": "off", "listen.http": "off", "listen.login": "off", "listen.quic": "off"}))
	defer stopNode(t, n)
	client := func() http.RoundTripper {
		return &http.Transport{DisableKeepAlives: true, TLSClientConfig: trusting(t, n)}
	}
	if resp, _ := ask(t, client(), http.MethodGet, "https://"+n.Addresses()["tls"]+"/msg_server"); resp.StatusCode != 404 || resp.Header.Get("Alt-Svc") != "" {
		t.Errorf("/msg_server: %s, Alt-Svc %q", resp.Status, resp.Header.Get("Alt-Svc"))
	}
	if resp, _ := ask(t, client(), http.MethodPost, "https://"+n.Addresses()["tls"]+"/lp"); resp.StatusCode != 200 {
		t.Errorf("POST /lp: %s", resp.Status)
	}
}

func TestAuthorityAndKeyOutliveTheNode(t *testing.T) {
	dir := t.TempDir()
	var prints, keys []string
	for range 2 {
		n := startNode(t, testConfig(t, dir, nil))
		raw, err := os.ReadFile(filepath.Join(dir, admin.AddressesFile))
		if err != nil {
			t.Fatal(err)
		}
		var noted map[string]string
		if err := json.Unmarshal(raw, &noted); err != nil || noted["ca"] != n.CA().File || noted["tls"] == "" || noted["quic"] == "" {
			t.Errorf("noted %s, %v", raw, err)
		}
		key, err := os.ReadFile(filepath.Join(dir, resetKeyFile))
		if err != nil {
			t.Fatal(err)
		}
		prints, keys = append(prints, n.CA().Fingerprint), append(keys, string(key))
		stopNode(t, n)
	}
	if prints[0] != prints[1] || prints[0] == "" || keys[0] != keys[1] || len(keys[0]) != 32 {
		t.Errorf("fingerprints %q, keys of %d and %d bytes", prints, len(keys[0]), len(keys[1]))
	}
	if err := os.WriteFile(filepath.Join(dir, resetKeyFile), []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(t.Context(), testConfig(t, dir, nil), testLog(t)); err == nil || !strings.Contains(err.Error(), resetKeyFile+" does not hold a key") {
		t.Errorf("got %v", err)
	}
}

func TestCertificateFilesThatAreNotThere(t *testing.T) {
	_, err := Start(t.Context(), testConfig(t, t.TempDir(), map[string]string{"tls.cert": "/none/c.pem", "tls.key": "/none/k.pem"}), testLog(t))
	if err == nil || !strings.Contains(err.Error(), "/none/c.pem") {
		t.Errorf("got %v", err)
	}
}

func TestTakenQUICPort(t *testing.T) {
	taken, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, err = Start(t.Context(), testConfig(t, t.TempDir(), map[string]string{"listen.quic": taken.LocalAddr().String()}), testLog(t))
	if err == nil || !strings.Contains(err.Error(), "listen.quic: cannot listen on "+taken.LocalAddr().String()) {
		t.Errorf("got %v", err)
	}
}

func TestWhoAsksThroughProxies(t *testing.T) {
	c := Default()
	if err := c.Set("trusted_proxies", "10.0.0.0/8, 2001:db8::1", "test"); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, remote string
		forwarded    []string
		want         string // empty: nobody knows
	}{
		{"nobody in between", "192.0.2.7:1234", nil, "192.0.2.7:1234"},
		{"a client that lies", "192.0.2.7:1234", []string{"198.51.100.1"}, "192.0.2.7:1234"},
		{"a proxy", "10.1.2.3:80", []string{"198.51.100.1"}, "198.51.100.1:0"},
		{"a client that lies to a proxy", "10.1.2.3:80", []string{"203.0.113.9, 198.51.100.1"}, "198.51.100.1:0"},
		{"two headers", "10.1.2.3:80", []string{"203.0.113.9", "198.51.100.1"}, "198.51.100.1:0"},
		{"two proxies", "10.1.2.3:80", []string{"203.0.113.9, 198.51.100.1, 10.9.9.9"}, "198.51.100.1:0"},
		{"a proxy by IPv6", "[2001:db8::1]:80", []string{"2001:db8::77"}, "[2001:db8::77]:0"},
		{"mapped", "[::ffff:10.1.2.3]:80", []string{"::ffff:198.51.100.1"}, "198.51.100.1:0"},
		{"the proxy itself", "10.1.2.3:80", nil, "10.1.2.3:80"},
		{"all trusted", "10.1.2.3:80", []string{"10.7.7.7, 10.9.9.9"}, "10.7.7.7:0"},
		{"nonsense", "10.1.2.3:80", []string{"198.51.100.1, unknown"}, ""},
		{"empty entry", "10.1.2.3:80", []string{"198.51.100.1,"}, ""},
		{"no address at all", "@", nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := &http.Request{RemoteAddr: test.remote, Header: http.Header{}}
			for _, f := range test.forwarded {
				r.Header.Add("X-Forwarded-For", f)
			}
			var want netip.AddrPort
			if test.want != "" {
				want = netip.MustParseAddrPort(test.want)
			}
			if got := c.Proxies.Client(r); got != want {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}
