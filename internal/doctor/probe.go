package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"teamtalk/client/dial"
)

// inspect looks at the certificate of a TLS port, and then judges it: a client that trusted first would not see what it distrusts.
func (e *exam) inspect(ctx context.Context, hostPort string) papers {
	p, began := papers{Check: Check{What: "certificate", Target: hostPort}}, time.Now()
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil {
		p.Check = p.failed(began, err)
		return p
	}
	nc, err := e.cfg.Net.DialContext(ctx, "tcp", hostPort)
	if err != nil {
		p.Check = p.failed(began, err)
		return p
	}
	defer nc.Close()
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if e.cfg.TLS != nil {
		conf = e.cfg.TLS.Clone()
	}
	if conf.ServerName == "" {
		conf.ServerName = host
	}
	conf.NextProtos = []string{"teamtalk/1", "http/1.1"}
	conf.InsecureSkipVerify = true // judged below; nothing is said on this connection
	tc := tls.Client(nc, conf)
	if err := tc.HandshakeContext(ctx); err != nil {
		p.Check = p.failed(began, err)
		return p
	}
	p.chain = tc.ConnectionState().PeerCertificates
	if err := verify(p.chain, conf); err != nil {
		p.Check = p.failed(began, err)
		return p
	}
	p.Check = p.passed(began, "issued by "+p.issuer()+", trusted, valid until "+p.leaf().NotAfter.Format(time.DateOnly))
	return p
}

func verify(chain []*x509.Certificate, conf *tls.Config) error {
	if len(chain) == 0 {
		return errors.New("no certificate was shown")
	}
	o := x509.VerifyOptions{Roots: conf.RootCAs, DNSName: conf.ServerName, Intermediates: x509.NewCertPool()}
	if conf.Time != nil {
		o.CurrentTime = conf.Time()
	}
	for _, c := range chain[1:] {
		o.Intermediates.AddCert(c)
	}
	_, err := chain[0].Verify(o)
	return err
}

// plain is what answers plain HTTP.
type plain struct {
	Check
	date   time.Time // as the answer says; zero: there was none
	portal bool      // it is not the server
}

// plainURL is what to ask by plain HTTP; empty: there is nothing to ask.
func (e *exam) plainURL() string {
	if e.cfg.PlainURL != "" || len(e.routes) == 0 {
		return e.cfg.PlainURL
	}
	for _, r := range e.routes {
		if r.Plain && r.Transport == dial.LongPoll {
			return r.URL
		}
	}
	u, err := url.Parse(e.routes[0].URL)
	if err != nil {
		return ""
	}
	host := u.Hostname()
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return "http://" + host + "/lp"
}

// askPlain asks without opening a session: a server refuses the method, and a portal shows its page. It goes past any proxy, as portals
// are between the machine and everything.
func (e *exam) askPlain(ctx context.Context, address string) plain {
	p, began := plain{Check: Check{What: "http", Target: address}}, time.Now()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		p.Check = p.failed(began, err)
		return p
	}
	web := http.Client{
		Transport:     &http.Transport{DialContext: e.cfg.Net.DialContext, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := web.Do(req)
	if err != nil {
		p.Check = p.failed(began, err)
		return p
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // only the head counts
	if p.date, err = http.ParseTime(resp.Header.Get("Date")); err != nil {
		p.date = time.Time{}
	}
	p.portal = isPortal(resp, req.URL.Hostname())
	p.Check = p.passed(began, describe(resp))
	if p.portal {
		p.OK = false
	}
	return p
}

func describe(resp *http.Response) string {
	said := "answered " + resp.Status
	if to := resp.Header.Get("Location"); to != "" {
		said += " to " + to
	}
	if date := resp.Header.Get("Date"); date != "" {
		said += ", its clock says " + date
	}
	return oneLine(said)
}

// isPortal reports whether the answer is a page for people in the place of a server's: a login page, or the way to one.
func isPortal(resp *http.Response, host string) bool {
	kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	html := err == nil && (kind == "text/html" || kind == "application/xhtml+xml")
	switch {
	case resp.StatusCode == http.StatusNetworkAuthenticationRequired:
		return true
	case resp.StatusCode == http.StatusOK:
		return html
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		to, err := resp.Location()
		return err == nil && to.Hostname() != host
	}
	return false
}

// bare takes the list of attempts off an error of one attempt.
func bare(err error) error {
	var list *dial.Error
	if errors.As(err, &list) && len(list.Attempts) == 1 {
		return list.Attempts[0].Err
	}
	return err
}

// oneLine keeps what a table can show.
func oneLine(s string) string {
	const most = 160
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}

// skew is how far a clock is off, in a person's words.
func skew(d time.Duration) string {
	way := "behind"
	if d > 0 {
		way = "ahead"
	}
	d = d.Abs()
	switch {
	case d > 48*time.Hour:
		return fmt.Sprintf("%d days %s", int(d.Hours()/24), way)
	case d > 2*time.Hour:
		return fmt.Sprintf("%d hours %s", int(d.Hours()), way)
	}
	return fmt.Sprintf("%d minutes %s", int(d.Minutes()), way)
}
