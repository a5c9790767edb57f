package doctor

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"
)

// papers are what answers a TLS port shows.
type papers struct {
	Check
	chain    []*x509.Certificate // as shown
	protocol string              // agreed on by ALPN
	date     time.Time           // the clock of who answers, asked for if the certificate's time does not fit; zero: not known
}

func (p papers) leaf() *x509.Certificate {
	if len(p.chain) == 0 {
		return nil
	}
	return p.chain[0]
}

// speaks reports whether it is a TeamTalk server as far as can be seen: web servers do not know the protocol, and few boxes on the way do.
func (p papers) speaks() bool { return p.protocol == native }

// native is the ALPN name of the native protocol.
const native = "teamtalk/1"

// errSeen ends a handshake of which enough was seen: nothing is said on the connection.
var errSeen = errors.New("seen")

// inspect looks at the certificate of a TLS port, and then judges it: a client that trusted first would not see what it distrusts.
func (e *exam) inspect(ctx context.Context, s secured) papers {
	p, began := papers{Check: Check{What: "certificate", Target: s.hostPort, Proxy: shownProxy(s.proxy)}}, time.Now()
	host, _, err := net.SplitHostPort(s.hostPort)
	if err != nil {
		p.Check = p.failed(began, err)
		return p
	}
	conf := e.unjudged()
	name := cmp.Or(conf.ServerName, host)
	conf.NextProtos = []string{native, "http/1.1"}
	var seen sighting
	ofProxy := s.proxy != nil && s.proxy.Scheme == "https"
	conf.VerifyConnection = func(c tls.ConnectionState) error {
		if ofProxy { // which comes first
			ofProxy = false
			return nil
		}
		_ = seen.note(c) // it has no errors
		return errSeen
	}
	err = e.get(ctx, s, conf, nil)
	p.chain, p.protocol = seen.get()
	if p.leaf() == nil {
		p.Check = p.failed(began, cmp.Or(err, errors.New("no certificate was shown")))
		return p
	}
	p.Paper = &Paper{Issuer: p.issuer(), Names: names(p.leaf()), NotBefore: p.leaf().NotBefore, NotAfter: p.leaf().NotAfter,
		SHA256: fingerprint(p.leaf()), Protocol: p.protocol}
	if err := e.verify(p.chain, name); err != nil {
		p.Check = p.failed(began, err)
		p.Detail = oneLine("issued by " + p.issuer() + ", not trusted: " + core(err))
		if outOfTime(err) {
			p.date = e.askDate(ctx, s)
		}
		return p
	}
	p.Check = p.passed(began, "issued by "+p.issuer()+", trusted, valid until "+p.leaf().NotAfter.Format(time.DateOnly)+p.spoken())
	return p
}

func (p papers) spoken() string {
	if p.speaks() {
		return ""
	}
	return ", without " + native
}

// sighting is what was shown in a handshake.
type sighting struct {
	mu       sync.Mutex // guards what follows: a host with several addresses is tried at each
	chain    []*x509.Certificate
	protocol string
}

// note is for tls.Config.VerifyConnection.
func (s *sighting) note(c tls.ConnectionState) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.chain, s.protocol = c.PeerCertificates, c.NegotiatedProtocol
	return nil
}

func (s *sighting) get() ([]*x509.Certificate, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.chain, s.protocol
}

// by is a configuration that keeps the chain that was trusted.
func (s *sighting) by(conf *tls.Config) *tls.Config {
	if conf == nil {
		conf = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	conf = conf.Clone()
	conf.VerifyConnection = s.note
	return conf
}

// unjudged is a configuration that takes any certificate.
func (e *exam) unjudged() *tls.Config {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if e.cfg.TLS != nil {
		conf = e.cfg.TLS.Clone()
	}
	conf.InsecureSkipVerify = true // judged by verify; nothing that matters is said or believed
	return conf
}

// get asks for a page, of which only the head is given to see.
func (e *exam) get(ctx context.Context, s secured, conf *tls.Config, see func(*http.Response)) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+s.hostPort+"/lp", nil)
	if err != nil {
		return err
	}
	t := &http.Transport{DialContext: e.cfg.Net.DialContext, TLSClientConfig: conf, DisableKeepAlives: true,
		TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}} // HTTP/1.1 only
	if s.proxy != nil {
		t.Proxy = func(*http.Request) (*url.URL, error) { return s.proxy, nil }
	}
	defer t.CloseIdleConnections()
	resp, err := t.RoundTrip(req)
	if err != nil {
		return err
	}
	if see != nil {
		see(resp)
	}
	return resp.Body.Close()
}

// askDate asks who answers for the time. The certificate proves nothing, but only a hint is needed.
func (e *exam) askDate(ctx context.Context, s secured) (date time.Time) {
	conf := e.unjudged()
	conf.NextProtos = []string{"http/1.1"}
	_ = e.get(ctx, s, conf, func(resp *http.Response) { date = dateOf(resp) }) // no answer: not known
	return date
}

func dateOf(resp *http.Response) time.Time {
	date, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return time.Time{}
	}
	return date
}

// verify judges a chain as a client does.
func (e *exam) verify(chain []*x509.Certificate, name string) error {
	o := x509.VerifyOptions{DNSName: name, Intermediates: x509.NewCertPool(), CurrentTime: e.now()}
	if e.cfg.TLS != nil {
		o.Roots = e.cfg.TLS.RootCAs
	}
	for _, c := range chain[1:] {
		o.Intermediates.AddCert(c)
	}
	_, err := chain[0].Verify(o)
	return err
}

func outOfTime(err error) bool {
	invalid, ok := errors.AsType[x509.CertificateInvalidError](err)
	return ok && invalid.Reason == x509.Expired
}

// issuer is who issued the certificate, in a person's words.
func (p papers) issuer() string {
	leaf := p.leaf()
	if leaf == nil {
		return "nobody"
	}
	return issuerOf(leaf)
}

func issuerOf(leaf *x509.Certificate) string {
	name, org := leaf.Issuer.CommonName, ""
	if len(leaf.Issuer.Organization) > 0 {
		org = leaf.Issuer.Organization[0]
	}
	switch {
	case name == "":
		return cmp.Or(org, "somebody without a name")
	case org != "" && org != name:
		return name + " of " + org
	}
	return name
}

func names(leaf *x509.Certificate) []string {
	var all []string
	add := func(name string) {
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	for _, name := range leaf.DNSNames {
		add(name)
	}
	for _, ip := range leaf.IPAddresses {
		add(ip.String())
	}
	return all
}

func fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// developmentOrg is what a server's development authority calls itself.
const developmentOrg = "TeamTalk development"

func fromDevelopment(leaf *x509.Certificate) bool {
	return slices.Contains(leaf.Issuer.Organization, developmentOrg)
}

// selfMade reports whether a certificate vouches for itself.
func selfMade(leaf *x509.Certificate) bool {
	return string(leaf.RawIssuer) == string(leaf.RawSubject)
}
