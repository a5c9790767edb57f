package doctor

import (
	"context"
	"errors"
	"net"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Kind is a diagnosis.
type Kind string

// Diagnoses. Scripts and support desks know them by these words.
const (
	Well        Kind = "ok"           // nothing blocks
	Offline     Kind = "offline"      // the machine is on no network
	Portal      Kind = "portal"       // a login page answers in the place of everybody
	ProxyLogin  Kind = "proxy-login"  // 407
	ProxyForbid Kind = "proxy"        // the proxy refuses, can't reach the server, or can't be reached
	NoName      Kind = "dns-unknown"  // the name is not known
	NoDNS       Kind = "dns-silent"   // the DNS does not answer
	WrongClock  Kind = "clock"        // this machine's clock is wrong
	Expired     Kind = "expired"      // the certificate's time is over or has not come
	Inspected   Kind = "inspected"    // something on the way opens TLS
	WrongHost   Kind = "wrong-host"   // another server is at the address
	OtherName   Kind = "hostname"     // the server's certificate is for other names
	Untrusted   Kind = "untrusted"    // an authority that this machine does not know
	Refused     Kind = "refused"      // nothing listens there
	Silent      Kind = "silent"       // no answer at all
	NoRoute     Kind = "no-route"     // this machine does not know how to get there
	NoTLS       Kind = "no-tls"       // something listens, but TLS does not come about
	OnlyProxy   Kind = "proxy-only"   // the proxy is the only way, and it works
	OnlyWeb     Kind = "web-only"     // something between passes HTTP only, and that works
	NoUDP       Kind = "udp"          // TCP passes, UDP does not
	NoWebSocket Kind = "websocket"    // long-poll passes, WebSocket does not
	NotTeamTalk Kind = "not-teamtalk" // a server answers, but not TeamTalk's
	Other       Kind = "other"        // anything else
)

// Finding is what blocks, and what to do next.
type Finding struct {
	Kind Kind
	What string
	Next string
}

// clockSlack is how wrong a clock may be before it is blamed.
const clockSlack = 5 * time.Minute

// rule explains some of the failures.
type rule struct {
	find func(*exam) []Finding
	last bool // what it finds explains everything else
}

// rules are asked in this order: causes before what follows from them, so that the first finding is the diagnosis.
func rules() []rule {
	return []rule{
		{find: (*exam).offline, last: true},
		{find: (*exam).portal, last: true},
		{find: (*exam).proxies},
		{find: (*exam).unnamed},
		{find: (*exam).untimely},
		{find: (*exam).inspected},
		{find: (*exam).misnamed},
		{find: (*exam).distrusted},
		{find: (*exam).closed},
		{find: (*exam).cutOff},
		{find: (*exam).strangers},
		{find: (*exam).detours},
		{find: (*exam).withoutUDP},
		{find: (*exam).rest},
	}
}

// report puts together what was found.
func (e *exam) report() *Report {
	r := &Report{}
	r.Checks = append(r.Checks, e.dns...)
	r.Checks = append(r.Checks, e.tcp...)
	r.Checks = append(r.Checks, e.gates...)
	for _, p := range e.papers {
		if p.Proxy == "" || p.leaf() != nil { // what a proxy refuses, the routes through it tell
			r.Checks = append(r.Checks, p.Check)
		}
	}
	if e.http.What != "" {
		r.Checks = append(r.Checks, e.http.Check)
	}
	if e.control.nowhere.portal {
		r.Checks = append(r.Checks, e.control.nowhere.Check)
	}
	for _, d := range e.dialled {
		r.Checks = append(r.Checks, d.Check)
		if d.OK {
			r.Ways = append(r.Ways, d.route)
		}
	}
	r.Findings = e.findings()
	return r
}

func (e *exam) findings() []Finding {
	var found []Finding
	for _, rule := range rules() {
		for _, f := range rule.find(e) {
			if !slices.ContainsFunc(found, func(g Finding) bool { return g.Kind == f.Kind && g.What == f.What }) {
				found = append(found, f)
			}
		}
		if rule.last && len(found) > 0 {
			break
		}
	}
	return found
}

// in reports whether there is a way in among some routes.
func (e *exam) in(among func(dialled) bool) bool {
	return slices.ContainsFunc(e.dialled, func(d dialled) bool { return d.OK && among(d) })
}

func anyhow(dialled) bool    { return true }
func direct(d dialled) bool  { return d.Proxy == "" }
func proxied(d dialled) bool { return d.Proxy != "" }

// place is host and port of a route, and the host alone.
func (d dialled) place() (hostPort, host string) {
	u, err := url.Parse(d.Target)
	if err != nil {
		return "", ""
	}
	return u.Host, u.Hostname()
}

// where is a host and port as people are told, with the addresses of the name.
func (e *exam) where(hostPort string) string {
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil {
		return hostPort
	}
	for _, c := range e.dns {
		if c.OK && c.Target == host {
			return hostPort + " (" + c.Detail + ")"
		}
	}
	return hostPort
}

// offline is a machine from which no packet leaves.
func (e *exam) offline() []Finding {
	if e.in(anyhow) || !slices.ContainsFunc(e.tcp, func(c Check) bool { return isUnreached(c.Err) }) ||
		slices.ContainsFunc(e.tcp, func(c Check) bool { return c.OK || !isUnreached(c.Err) && !isUnnamed(c.Err) }) ||
		slices.ContainsFunc(slices.Concat(e.dns, e.gates), func(c Check) bool { return c.OK }) {
		return nil
	}
	return []Finding{{Offline, "this machine has no network: there is no way to " + e.tcp[0].Target,
		"plug in the cable, or turn on the wireless network, mobile data or VPN, and try again"}}
}

// isUnreached reports whether the machine knew no way to send a packet. Errors of the DNS have that as text only.
func isUnreached(err error) bool {
	dns, ok := errors.AsType[*net.DNSError](err)
	return errors.Is(err, syscall.ENETUNREACH) || ok && strings.Contains(dns.Err, syscall.ENETUNREACH.Error())
}

func isUnnamed(err error) bool {
	_, ok := errors.AsType[*net.DNSError](err)
	return ok
}

// isTimeout asks what is deep inside first: what wraps it does not always pass that on.
func isTimeout(err error) bool {
	dns, ofDNS := errors.AsType[*net.DNSError](err)
	op, ofOp := errors.AsType[*net.OpError](err)
	if ofDNS && dns.IsTimeout || ofOp && op.Timeout() {
		return true
	}
	var n net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &n) && n.Timeout()
}

// portal is known by answering for those who are not there.
func (e *exam) portal() []Finding {
	const next = "open any http:// page in a browser, log in or accept the terms there, and then try again"
	switch {
	case e.in(anyhow):
		return nil
	case e.control.nowhere.portal:
		return []Finding{{Portal, "this network wants you to log in first: its page answers in the place of every server (" + e.control.nowhere.said + ")", next}}
	case e.lied() && e.http.portal:
		return []Finding{{Portal, "this network wants you to log in first: its DNS gives the same address for every name, and a page answers there (" + e.http.said + ")", next}}
	case e.http.demand:
		return []Finding{{Portal, "this network wants you to log in first: it " + e.http.said, next}}
	case e.lied():
		return []Finding{{Portal, "this network's DNS gives the same address for every name, even for those that do not exist: it leads nobody to the server",
			next + "; if there is no such page, check the name's spelling, and use another DNS server"}}
	}
	return nil
}

// unnamed are names without addresses. Behind a proxy that works nobody needs them.
func (e *exam) unnamed() []Finding {
	var found []Finding
	for _, c := range e.dns {
		dns, ok := errors.AsType[*net.DNSError](c.Err)
		switch {
		case c.OK || e.in(proxied):
		case ok && dns.IsNotFound:
			found = append(found, Finding{NoName, "the DNS does not know the name " + c.Target,
				"check the spelling; if it is right, this network's DNS may not know it: join the office network or VPN, or ask the operator"})
		case isTimeout(c.Err):
			found = append(found, Finding{NoDNS, "the DNS server does not answer, so " + c.Target + " can't be found", noDNSNext})
		default:
			found = append(found, Finding{NoDNS, "the DNS server can't say where " + c.Target + " is: " + c.Detail, noDNSNext})
		}
	}
	return found
}

const noDNSNext = "check this machine's network connection and its DNS server (does any web page open?); until then the server's IP address may do as --server"
