package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"teamtalk/client/dial"
)

// plain is what answers plain HTTP.
type plain struct {
	Check
	date   time.Time // as the answer says; zero: there was none
	portal bool      // it is not the server
	demand bool      // it says itself that a login is wanted
	said   string    // the answer without the clock
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
func (e *exam) askPlain(ctx context.Context, what, address string) plain {
	p, began := plain{Check: Check{What: what, Target: address}}, time.Now()
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
	p.date = dateOf(resp)
	p.demand = resp.StatusCode == http.StatusNetworkAuthenticationRequired
	p.portal = isPortal(resp, req.URL.Hostname())
	p.said = said(resp)
	p.Check = p.passed(began, p.said)
	if !p.date.IsZero() {
		p.Detail += ", its clock says " + p.date.UTC().Format(time.DateTime) + " UTC"
	}
	if p.portal {
		p.OK = false
	}
	return p
}

func said(resp *http.Response) string {
	said := "answered " + resp.Status
	if to := resp.Header.Get("Location"); to != "" {
		said += " to " + to
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

// core is the part of an error that tells people something: what wraps it says what is in the other columns.
func core(err error) string {
	if status, ok := errors.AsType[*dial.StatusError](err); ok {
		return status.Error()
	}
	if isMistrust(err) {
		if wrapped, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
			return wrapped.Err.Error()
		}
	}
	if isTimeout(err) {
		return "no answer in time"
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Error()
	}
	return err.Error()
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
