//go:build linux

package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// ailment is what is wrong, and what the doctor has to say about it.
type ailment struct {
	name string
	set  func(t *testing.T, c *clinic)
	code string // of the diagnosis; it begins the summary
	next string // is in the next step
	in   bool   // there is a way in all the same: status 0
	well string // what else has to be in the report
}

// Rules of nft, where the client's packets arrive.
const (
	dropQUIC = `table inet office {
	chain in {
		type filter hook input priority 0; policy accept
		udp dport 443 counter drop
	}
}
`
	dropAll = `table inet office {
	chain in {
		type filter hook input priority 0; policy drop
		iif lo accept
		udp dport 53 accept
	}
}
`
	dropDNS = `table inet office {
	chain in {
		type filter hook input priority 0; policy accept
		udp dport 53 counter drop
	}
}
`
	onlyProxyAndDNS = `table inet office {
	chain in {
		type filter hook input priority 0; policy drop
		iif lo accept
		udp dport 53 accept
		tcp dport 3128 accept
	}
}
`
	// openTLS leads what is meant for any server to the box that opens TLS.
	openTLS = `table ip box {
	chain before {
		type nat hook prerouting priority dstnat
		tcp dport 443 redirect to :9443
	}
}
`
	// captive leads what is meant for anybody to the login page.
	captive = `table ip box {
	chain before {
		type nat hook prerouting priority dstnat
		tcp dport 80 redirect to :9080
		tcp dport 443 redirect to :9443
	}
}
table inet office {
	chain in {
		type filter hook input priority 0; policy drop
		iif lo accept
		udp dport 53 accept
		tcp dport { 9080, 9443 } accept
	}
}
`
)

func corporate(t *testing.T) *authority { return newAuthority(t, "Corp Inspection CA", "Corp") }

// behindInspection is an office whose firewall opens TLS.
func behindInspection(rules string, trusted bool) func(*testing.T, *clinic) {
	return func(t *testing.T, c *clinic) {
		c.node(t)
		corp := corporate(t)
		c.inspector(t, "0.0.0.0:9443", corp, false)
		c.filter(t, rules)
		if trusted { // as the machines of the office do
			c.env = append(c.env, "SSL_CERT_FILE="+c.write(t, "corp.pem", corp.pem()))
		}
	}
}

// behindOpeningProxy is an office out of which only a proxy leads, and that opens TLS.
func behindOpeningProxy(trusted bool) func(*testing.T, *clinic) {
	return func(t *testing.T, c *clinic) {
		c.node(t)
		corp := corporate(t)
		c.inspector(t, serverProxy, corp, true)
		c.filter(t, onlyProxyAndDNS)
		c.env = append(c.env, "HTTPS_PROXY=http://"+serverProxy)
		if trusted {
			c.env = append(c.env, "SSL_CERT_FILE="+c.write(t, "corp.pem", corp.pem()))
		}
	}
}

func wrongTime(by time.Duration) func(*testing.T, *clinic) {
	return func(t *testing.T, c *clinic) {
		c.node(t)
		ca := newAuthority(t, "Honest CA", "Honest")
		c.env = append(c.env, "SSL_CERT_FILE="+c.write(t, "honest.pem", ca.pem()))
		c.shifted(t, by, ca)
	}
}

func ailments() []ailment {
	return []ailment{
		{name: "well", set: func(t *testing.T, c *clinic) { c.node(t) }, code: "ok", in: true, well: "all well: 4 of 4 ways work, the best is quic"},
		{name: "udp", set: func(t *testing.T, c *clinic) { c.node(t); c.filter(t, dropQUIC) }, code: "udp", next: "nothing needs to be done, TCP serves", in: true},

		{name: "inspection", set: behindInspection(openTLS+dropQUIC, false), code: "inspected", next: "ask the IT department to exempt chat.example.com:443"},
		{name: "inspection-beside-quic", set: behindInspection(openTLS, false), code: "inspected", next: "ask the IT department", in: true, well: "by QUIC it is issued by TeamTalk development"},
		{name: "inspection-trusted", set: behindInspection(openTLS, true), code: "inspected", next: "can read along", in: true, well: "by Corp Inspection CA of Corp, whom this machine trusts"},
		{name: "inspection-trusted-without-udp", set: behindInspection(openTLS+dropQUIC, true), code: "web-only", next: "nothing needs to be done", in: true, well: "Corp Inspection CA of Corp"},
		{name: "proxy-inspection", set: behindOpeningProxy(false), code: "inspected", next: "certificate of Corp Inspection CA of Corp to trust it with --ca FILE"},
		{name: "proxy-inspection-trusted", set: behindOpeningProxy(true), code: "web-only", next: "nothing needs to be done", in: true, well: "proxy-only: "},
		{name: "proxy-only", set: func(t *testing.T, c *clinic) {
			c.node(t)
			c.startSquid(t, onlyCONNECT)
			c.filter(t, onlyProxyAndDNS)
			c.env = append(c.env, "HTTPS_PROXY=http://"+serverProxy)
		}, code: "proxy-only", next: "nothing needs to be done", in: true, well: "there is a way in: 2 of 4 work, the best is websocket"},
		{name: "proxy-login", set: func(t *testing.T, c *clinic) {
			c.node(t)
			c.startSquid(t, onlyCONNECTForKnown)
			c.filter(t, onlyProxyAndDNS)
			c.env = append(c.env, "HTTPS_PROXY=http://"+serverProxy)
		}, code: "proxy-login", next: "HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT"},

		{name: "portal", set: func(t *testing.T, c *clinic) {
			c.node(t)
			hotel := newAuthority(t, "WLAN Gateway", "Grand Hotel").issue(t, 0, "login.hotel.example")
			c.web(t, "0.0.0.0:9080", nil, http.RedirectHandler("http://login.hotel.example/?room=", http.StatusFound))
			c.web(t, "0.0.0.0:9443", &hotel, page("<html>Room number?</html>"))
			c.filter(t, captive)
		}, code: "portal", next: "open any http:// page in a browser"},
		{name: "portal-by-dns", set: func(t *testing.T, c *clinic) {
			c.node(t)
			c.web(t, otherIP+":80", nil, page("<html>Room number?</html>"))
			c.names = map[string]string{"*": otherIP}
		}, code: "portal", next: "open any http:// page in a browser", well: "its DNS gives the same address for every name"},

		{name: "clock-behind", set: wrongTime(20 * day), code: "clock", next: "set this machine's date and time", well: "clock is 20 days behind the server's"},
		{name: "clock-ahead", set: wrongTime(-20 * day), code: "clock", next: "set this machine's date and time", well: "clock is 20 days ahead of the server's"},
		{name: "expired", set: func(t *testing.T, c *clinic) {
			ca := newAuthority(t, "Honest CA", "Honest")
			cert, key := c.keep(t, ca.issue(t, -20*day, chatName))
			c.env = append(c.env, "SSL_CERT_FILE="+c.write(t, "honest.pem", ca.pem()))
			c.node(t, "--tls-cert", cert, "--tls-key", key)
		}, code: "expired", next: "tell the server's operator, who has to renew it"},

		{name: "dns-unknown", set: func(t *testing.T, c *clinic) { c.node(t); delete(c.names, chatName) }, code: "dns-unknown", next: "check the spelling"},
		{name: "dns-silent", set: func(t *testing.T, c *clinic) { c.node(t); c.filter(t, dropDNS) }, code: "dns-silent", next: "check this machine's network connection and its DNS server"},
		{name: "dns-wrong", set: func(t *testing.T, c *clinic) {
			c.node(t)
			ca := newAuthority(t, "Honest CA", "Honest")
			c.env = append(c.env, "SSL_CERT_FILE="+c.write(t, "honest.pem", ca.pem()))
			site := ca.issue(t, 0, "www.example.net")
			c.web(t, otherIP+":443", &site, page("<html>Welcome</html>"))
			c.web(t, otherIP+":80", nil, http.RedirectHandler("https://www.example.net/", http.StatusMovedPermanently))
			c.names[chatName] = otherIP
		}, code: "wrong-host", next: "correct the DNS or this machine's hosts file", well: "chat.example.com:443 (10.99.0.3): its certificate is for www.example.net"},

		{name: "down", set: func(t *testing.T, c *clinic) { c.node(t).Kill() }, code: "refused", next: "the server is down, or at another port"},
		{name: "silent", set: func(t *testing.T, c *clinic) { c.node(t); c.filter(t, dropAll) }, code: "silent", next: "a firewall drops everything"},
		{name: "switched-off", set: func(_ *testing.T, c *clinic) { c.names[chatName] = emptyIP }, code: "silent", next: "the machine is off"},
		{name: "offline", set: func(t *testing.T, c *clinic) { c.ip(t, c.client.Name(), "link", "set", "eth0", "down") }, code: "offline", next: "plug in the cable"},
	}
}

// TestDoctor: on a network of each kind the real doctor, told nothing but the server's name, says first what is wrong, and what to do about it.
func TestDoctor(t *testing.T) {
	for _, a := range ailments() {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			c := newClinic(t)
			a.set(t, c)
			c.answerNames(t)
			out, status, took := c.examine(t)
			t.Logf("status %d after %s", status, took.Round(time.Millisecond))
			if took > 25*time.Second { // a check may take 5 s, and all are made at once
				t.Errorf("it took %s", took)
			}
			a.judge(t, out, status)
			golden(t, filepath.Join("..", "..", "testdata", "doctor", a.name+".txt"), settled(out, status))
		})
	}
}

// judge compares what was said with what has to be said.
func (a ailment) judge(t *testing.T, out string, status int) {
	t.Helper()
	_, summary, _ := strings.Cut(out, "\n\n")
	first, rest, _ := strings.Cut(summary, "\n")
	next, _, _ := strings.Cut(rest, "\n")
	switch {
	case a.code == "ok":
		if rest != "" || first != a.well {
			t.Errorf("it says %q", summary)
		}
	case !strings.HasPrefix(first, a.code+": ") || !strings.HasPrefix(next, "  next: ") || !strings.Contains(next, a.next):
		t.Errorf("it says %q, %q; want %s and %q", first, next, a.code, a.next)
	}
	if !strings.Contains(out, a.well) {
		t.Errorf("it does not say %q", a.well)
	}
	if want := map[bool]int{true: 0, false: 1}[a.in]; status != want {
		t.Errorf("status %d, want %d", status, want)
	}
	if t.Failed() {
		t.Logf("the report:\n%s", out)
	}
}

// settled is a report without what differs from run to run: times, widths of columns, dates, names and ports.
func settled(out string, status int) string {
	for _, r := range []struct{ pattern, by string }{
		{`(?m)\b[0-9.]+(µs|ms|s)  +`, "0ms  "},
		{`TIME +DETAIL`, "TIME  DETAIL"},
		{`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`, "2026-01-01T00:00:00Z"},
		{`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`, "2026-01-01 00:00:00"},
		{`\d{4}-\d\d-\d\d`, "2026-01-01"},
		{`dial tcp \S+: connect: no route to host`, "no answer in time"}, // which the kernel says of its own network after a while
		{`TeamTalk development on \S+`, "TeamTalk development on HOST"},
		{`10\.99\.0\.1:\d+`, "10.99.0.1:PORT"},
	} {
		out = regexp.MustCompile(r.pattern).ReplaceAllString(out, r.by)
	}
	return "$ teamtalk doctor --server chat.example.com\n" + out + "(status " + string(rune('0'+status)) + ")\n"
}

// golden compares a text with a file, or writes it with -update.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; -update writes it", err)
	}
	if got != string(want) {
		t.Errorf("it says\n%s\n%s has\n%s", got, path, want)
	}
}

// TestDoctorForDesks: what the doctor prints for programs has the same in it, by names that stay.
func TestDoctorForDesks(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	behindInspection(openTLS, true)(t, c)
	c.answerNames(t)
	out, status, _ := c.examine(t, "--json")
	var sheet struct {
		OK        bool
		Diagnosis string
		Summary   string
		Servers   []string
		Findings  []struct{ Code, What, Next string }
		Ways      []struct{ Transport, URL string }
		Checks    []struct {
			Check, Target, Result, Detail string
			MS                            float64
			Certificate                   *struct{ Issuer, SHA256 string }
		}
	}
	if err := json.Unmarshal([]byte(out), &sheet); err != nil || status != 0 {
		t.Fatalf("status %d, %v\n%s", status, err, out)
	}
	if !sheet.OK || sheet.Diagnosis != "inspected" || len(sheet.Findings) == 0 || sheet.Findings[0].Code != "inspected" || sheet.Findings[0].Next == "" ||
		len(sheet.Ways) == 0 || sheet.Ways[0].Transport != "quic" || sheet.Servers[0] != chatName {
		t.Errorf("%s", out)
	}
	results := map[string]string{}
	for _, check := range sheet.Checks {
		results[check.Check] = check.Result
		if cert := check.Certificate; check.Check == "certificate" && (cert == nil || cert.Issuer != "Corp Inspection CA of Corp" || len(cert.SHA256) != 64) {
			t.Errorf("the certificate is %+v", cert)
		}
		if check.MS < 0 || check.Detail == "" {
			t.Errorf("%+v", check)
		}
	}
	if results["dns"] != "ok" || results["tls"] != "FAILED" || results["websocket"] != "ok" {
		t.Errorf("results %v", results)
	}
}
