package doctor

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"

	"teamtalk/client/dial"
)

// Kind is a diagnosis.
type Kind string

// Diagnoses.
const (
	NoName      Kind = "dns"         // the name is not known, or the DNS does not answer
	Refused     Kind = "refused"     // nothing listens there
	Silent      Kind = "silent"      // no answer at all
	NoUDP       Kind = "udp"         // TCP passes, UDP does not
	Untrusted   Kind = "untrusted"   // an authority that this machine does not know
	OtherHost   Kind = "hostname"    // the certificate is for other names
	WrongClock  Kind = "clock"       // this machine's clock is wrong
	Expired     Kind = "expired"     // the certificate's time is over or has not come
	ProxyLogin  Kind = "proxy login" // 407
	ProxyForbid Kind = "proxy"       // the proxy refuses or can't be reached
	Portal      Kind = "portal"      // a login page answers in the place of the server
	Other       Kind = "other"       // anything else
)

// Finding is what blocks, and what to do next.
type Finding struct {
	Kind Kind
	What string
	Next string
}

// clockSlack is how wrong a clock may be before it is blamed.
const clockSlack = 5 * time.Minute

// report puts together what was found. Causes come before what follows from them, so that each failure is explained once.
func (e *exam) report() *Report {
	r := &Report{}
	r.Checks = append(r.Checks, e.dns...)
	r.Checks = append(r.Checks, e.tcp...)
	for _, p := range e.papers {
		r.Checks = append(r.Checks, p.Check)
	}
	if e.http.What != "" {
		r.Checks = append(r.Checks, e.http.Check)
	}
	for _, d := range e.dialled {
		r.Checks = append(r.Checks, d.Check)
		if d.OK {
			r.Ways = append(r.Ways, d.route)
		}
	}
	r.Findings = e.findings(r.OK())
	return r
}

func (e *exam) findings(ok bool) []Finding {
	var found []Finding
	add := func(f Finding) {
		if f.Kind != "" && !slices.ContainsFunc(found, func(g Finding) bool { return g.Kind == f.Kind && g.What == f.What }) {
			found = append(found, f)
		}
	}
	trusted := slices.ContainsFunc(e.papers, func(p papers) bool { return p.OK })
	if e.http.portal && !ok && !trusted {
		add(Finding{Portal, "plain HTTP is answered by something else: " + e.http.Detail,
			"this looks like the login page of a hotel or guest network: open any http:// page in a browser, log in there, then try again"})
	}
	for _, c := range e.dns {
		add(ofName(c))
	}
	for _, p := range e.papers {
		add(e.ofPapers(p))
	}
	for _, c := range e.tcp {
		add(ofPort(c))
	}
	for _, d := range e.dialled {
		add(e.ofRoute(d))
	}
	return found
}

func ofName(c Check) Finding {
	var dns *net.DNSError
	switch {
	case c.OK:
		return Finding{}
	case errors.As(c.Err, &dns) && dns.IsNotFound:
		return Finding{NoName, fmt.Sprintf("the DNS does not know the name %s", c.Target),
			"check the spelling; if it is right, this network's DNS may not know internal names: join the office network or VPN"}
	}
	return Finding{NoName, fmt.Sprintf("the DNS gives no answer for %s: %s", c.Target, c.Detail), "check the network connection and its DNS server; a server's IP address works without"}
}

func (e *exam) ofPapers(p papers) Finding {
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case p.OK || p.leaf() == nil: // not got that far: told of the port and the routes
		return Finding{}
	case errors.As(p.Err, &invalid) && invalid.Reason == x509.Expired:
		return e.ofTime(p)
	case errors.As(p.Err, &host):
		return Finding{OtherHost, fmt.Sprintf("the certificate at %s is for %s", p.Target, cmp.Or(strings.Join(names(p.leaf()), ", "), "no name at all")),
			"use one of those names as the address, or let the server have a certificate for this one"}
	case errors.As(p.Err, &authority):
		return Finding{Untrusted, fmt.Sprintf("the certificate at %s is issued by %s, whom this machine does not trust", p.Target, p.issuer()),
			"TLS inspection on the way, or a development certificate: if you know the issuer, say --ca FILE with its certificate; if not, do not go on"}
	}
	return Finding{Other, fmt.Sprintf("the certificate at %s is not accepted: %s", p.Target, p.Detail), "tell the server's operator"}
}

// ofTime tells a wrong clock from an old certificate by the clock of whoever answers plain HTTP.
func (e *exam) ofTime(p papers) Finding {
	leaf := p.leaf()
	span := fmt.Sprintf("the certificate at %s is valid from %s to %s", p.Target, leaf.NotBefore.Format(time.DateTime), leaf.NotAfter.Format(time.DateTime))
	if e.http.date.IsZero() {
		return Finding{Expired, span, "compare with this machine's clock, which says " + time.Now().UTC().Format(time.DateTime) + " UTC: if that is right, the server needs another certificate"}
	}
	if off := time.Since(e.http.date); off.Abs() > clockSlack {
		return Finding{WrongClock, fmt.Sprintf("this machine's clock is %s of the server's; %s", skew(off), span), "set the clock, best by NTP, and try again"}
	}
	return Finding{Expired, span + "; this machine's clock is right", "the server's operator has to renew it"}
}

func names(leaf *x509.Certificate) []string {
	all := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		all = append(all, ip.String())
	}
	return all
}

func ofPort(c Check) Finding {
	var dns *net.DNSError
	switch {
	case c.OK || errors.As(c.Err, &dns):
		return Finding{}
	case errors.Is(c.Err, syscall.ECONNREFUSED):
		return Finding{Refused, "nothing listens at " + c.Target, "the server is down, or the port is another one: ask the operator, or give the port as HOST:PORT"}
	case isTimeout(c.Err):
		return Finding{Silent, "no answer from " + c.Target, "a firewall drops it, or the machine is off: try from another network; behind a firewall, set HTTPS_PROXY if there is a proxy"}
	}
	return Finding{Other, fmt.Sprintf("no connection to %s: %s", c.Target, c.Detail), "check the network connection"}
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &n) && n.Timeout()
}

// ofRoute explains what the checks before have not.
func (e *exam) ofRoute(d dialled) Finding {
	var status *dial.StatusError
	var dns *net.DNSError
	byProxy := errors.As(d.Err, &status) && status.By == "proxy"
	switch {
	case d.OK:
		return Finding{}
	case byProxy && status.Status == http.StatusProxyAuthRequired:
		return Finding{ProxyLogin, fmt.Sprintf("the proxy %s wants a name and password (407)", d.Proxy),
			"put them into the proxy's URL: HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT"}
	case byProxy:
		return Finding{ProxyForbid, fmt.Sprintf("the proxy %s refuses the server (%d %s)", d.Proxy, status.Status, http.StatusText(status.Status)),
			"ask whoever runs the proxy to allow CONNECT to the server, or reach it without: NO_PROXY=HOST"}
	case d.Proxy != "" && (isTimeout(d.Err) || errors.Is(d.Err, syscall.ECONNREFUSED) || errors.As(d.Err, &dns)):
		return Finding{ProxyForbid, fmt.Sprintf("the proxy %s can't be reached: %s", d.Proxy, d.Detail), "check HTTPS_PROXY and HTTP_PROXY in the environment"}
	case e.explained(d):
		return Finding{}
	case d.route.Transport == dial.QUIC && isTimeout(d.Err):
		return Finding{NoUDP, "UDP gets no answer at " + strings.TrimPrefix(d.Target, "quic://") + ", while TCP does",
			"nothing needs to be done, TCP serves; to have QUIC, let UDP to this port pass the firewall, or have the server listen there"}
	}
	return Finding{Other, fmt.Sprintf("%s does not work at %s: %s", d.What, d.Target, d.Detail),
		"another web server or a gateway may answer there: tell the operator"}
}

// explained reports whether a failure of a route follows from a failure of its name, port or certificate.
func (e *exam) explained(d dialled) bool {
	var dns *net.DNSError
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	if errors.As(d.Err, &dns) || errors.As(d.Err, &authority) || errors.As(d.Err, &host) || errors.As(d.Err, &invalid) {
		return true
	}
	if d.Proxy != "" {
		return false
	}
	_, at, _ := strings.Cut(d.Target, "://")
	at, _, _ = strings.Cut(at, "/")
	for _, c := range e.tcp {
		if c.Target == at {
			return !c.OK
		}
	}
	return !slices.ContainsFunc(e.tcp, func(c Check) bool { return c.OK }) && len(e.tcp) > 0 // UDP to a host that TCP does not reach either
}
