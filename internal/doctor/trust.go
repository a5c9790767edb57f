package doctor

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"teamtalk/client/dial"
)

// untimely tells a wrong clock from an old certificate by the clock of whoever answers.
func (e *exam) untimely() []Finding {
	var found []Finding
	for _, p := range e.papers {
		if p.leaf() != nil && outOfTime(p.Err) {
			found = append(found, e.ofTime(p))
		}
	}
	off := e.skewed(e.http.date)
	if len(found) == 0 && e.in(anyhow) && off != 0 && !e.http.portal {
		found = append(found, Finding{WrongClock, "this machine's clock is " + skew(off) + " the server's, which keeps nobody out yet", setClock})
	}
	return found
}

const setClock = "set this machine's date and time (best automatically, by NTP) and try again"

func (e *exam) ofTime(p papers) Finding {
	leaf, now := p.leaf(), e.now()
	span := "the certificate at " + p.Target + " has expired on " + leaf.NotAfter.UTC().Format(time.DateTime)
	if now.Before(leaf.NotBefore) {
		span = "the certificate at " + p.Target + " is not valid before " + leaf.NotBefore.UTC().Format(time.DateTime)
	}
	date := p.date
	if date.IsZero() && !e.http.portal {
		date = e.http.date
	}
	off := e.skewed(date)
	switch {
	case off != 0:
		return Finding{WrongClock, "this machine's clock is " + skew(off) + " the server's; " + span + " UTC", setClock}
	case !date.IsZero():
		return Finding{Expired, span + " UTC, and this machine's clock is right", "tell the server's operator, who has to renew it"}
	case now.Before(leaf.NotBefore): // who makes certificates does not make them for later
		return Finding{WrongClock, "this machine's clock says " + now.UTC().Format(time.DateTime) + ", and " + span + " UTC", setClock}
	}
	return Finding{Expired, span + " UTC", "compare with this machine's clock, which says " + now.UTC().Format(time.DateTime) +
		" UTC: if that is right, tell the server's operator, who has to renew it"}
}

// skewed is how far this machine's clock is ahead of another, if that matters.
func (e *exam) skewed(date time.Time) time.Duration {
	if date.IsZero() {
		return 0
	}
	if off := e.now().Sub(date); off.Abs() > clockSlack {
		return off
	}
	return 0
}

// inspected are ports at which somebody else than the server ends TLS.
func (e *exam) inspected() []Finding {
	var found []Finding
	for _, p := range e.papers {
		how := e.opened(p)
		switch {
		case how == "":
		case p.OK:
			found = append(found, Finding{Inspected, "TLS" + p.to() + " " + how + ": the certificate is issued by " + p.issuer() + ", whom this machine trusts",
				"whoever runs that proxy or firewall can read along; if that is not wanted, ask the IT department to exempt " + p.Target + " from TLS inspection"})
		default:
			found = append(found, Finding{Inspected, "TLS" + p.to() + " " + how + ": the certificate is issued by " + p.issuer() + ", whom this machine does not trust",
				"ask the IT department to exempt " + p.Target + " from TLS inspection, or for the certificate of " + p.issuer() +
					" to trust it with --ca FILE; if nobody there knows that issuer, ask the server's operator before you go on"})
		}
	}
	return found
}

// opened says how it is known that somebody on the way ends TLS; empty: it is not. It shows by another certificate on another way, or by an
// authority that nobody knows together with a protocol that is not spoken; somebody whom the machine trusts and who passes on everything is not seen.
func (e *exam) opened(p papers) string {
	leaf := p.leaf()
	if leaf == nil {
		return ""
	}
	_, unknown := errors.AsType[x509.UnknownAuthorityError](p.Err)
	if elsewhere := e.otherIssuer(p); elsewhere != "" && (p.OK || unknown) {
		return "is opened on the way (" + elsewhere + ")"
	}
	if unknown && !p.speaks() && !fromDevelopment(leaf) && !selfMade(leaf) {
		return "seems to be opened on the way"
	}
	return ""
}

// to names the way to what shows the papers.
func (p papers) to() string {
	if p.Proxy == "" {
		return " to " + p.Target
	}
	return " to " + p.Target + " through " + p.Proxy
}

// otherIssuer says who vouches for the same place on a way that is harder to open; empty: nobody else.
func (e *exam) otherIssuer(p papers) string {
	for _, d := range e.dialled {
		if hostPort, _ := d.place(); d.route.Transport == dial.QUIC && hostPort == p.Target {
			if leaf := d.leaf(); leaf != nil && string(leaf.RawIssuer) != string(p.leaf().RawIssuer) {
				return "by QUIC it is issued by " + issuerOf(leaf)
			}
		}
	}
	for _, q := range e.papers {
		if leaf := q.leaf(); leaf != nil && p.Proxy != "" && q.Proxy == "" && q.Target == p.Target && string(leaf.RawIssuer) != string(p.leaf().RawIssuer) {
			return "without the proxy it is issued by " + issuerOf(leaf)
		}
	}
	return ""
}

// leaf is the certificate that QUIC was shown.
func (d dialled) leaf() *x509.Certificate {
	if d.shown != nil {
		if chain, _ := d.shown.get(); len(chain) > 0 {
			return chain[0]
		}
	}
	if unknown, ok := errors.AsType[x509.UnknownAuthorityError](d.Err); ok {
		return unknown.Cert
	}
	return nil
}

// misnamed are certificates for other names: of the server, or of another one.
func (e *exam) misnamed() []Finding {
	var found []Finding
	for _, p := range e.papers {
		if _, ok := errors.AsType[x509.HostnameError](p.Err); !ok || p.leaf() == nil {
			continue
		}
		theirs := cmp.Or(strings.Join(names(p.leaf()), ", "), "no name at all")
		if p.speaks() {
			found = append(found, Finding{OtherName, "a TeamTalk server is at " + p.Target + ", but its certificate is for " + theirs,
				"use one of those names as the address, or have the server's operator get a certificate for this one"})
			continue
		}
		found = append(found, Finding{WrongHost, "another server than TeamTalk's is at " + e.where(p.Target) + ": its certificate is for " + theirs + ", by " + p.issuer(),
			"compare the address with the operator's: if it is another, correct the DNS or this machine's hosts file; in a guest network, log in to it first"})
	}
	return found
}

// distrusted are certificates of unknown authorities that the server itself shows.
func (e *exam) distrusted() []Finding {
	var found []Finding
	add := func(target string, leaf *x509.Certificate) {
		next := "ask the server's operator who issues its certificate: if it is this authority, say --ca FILE with its certificate; if not, do not go on"
		if fromDevelopment(leaf) {
			next = "it is a development certificate: say --ca FILE with the server's tls/ca.pem, which its operator has"
		}
		found = append(found, Finding{Untrusted, "the certificate at " + target + " is issued by " + issuerOf(leaf) + ", whom this machine does not trust", next})
	}
	for _, p := range e.papers {
		if _, ok := errors.AsType[x509.UnknownAuthorityError](p.Err); ok && p.leaf() != nil && e.opened(p) == "" {
			add(p.Target, p.leaf())
		}
	}
	for _, d := range e.dialled {
		if unknown, ok := errors.AsType[x509.UnknownAuthorityError](d.Err); ok && d.route.Transport == dial.QUIC && unknown.Cert != nil {
			hostPort, _ := d.place()
			add(hostPort, unknown.Cert)
		}
	}
	return found
}

// skew is how far a clock is off, in a person's words.
func skew(d time.Duration) string {
	way := "behind"
	if d > 0 {
		way = "ahead of"
	}
	d = d.Abs()
	switch {
	case d > 48*time.Hour:
		return fmt.Sprintf("%d days %s", int((d+time.Hour).Hours()/24), way)
	case d > 2*time.Hour:
		return fmt.Sprintf("%d hours %s", int(d.Hours()), way)
	}
	return fmt.Sprintf("%d minutes %s", int(d.Minutes()), way)
}

// isMistrust reports whether a certificate was refused.
func isMistrust(err error) bool {
	_, authority := errors.AsType[x509.UnknownAuthorityError](err)
	_, host := errors.AsType[x509.HostnameError](err)
	_, invalid := errors.AsType[x509.CertificateInvalidError](err)
	return authority || host || invalid
}
