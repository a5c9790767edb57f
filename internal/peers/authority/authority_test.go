package authority

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"

	"teamtalk/protocol"
)

func newAuthority(t testing.TB, cluster ClusterID) *Authority {
	t.Helper()
	a, err := New(cluster, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestIdentityOfANode(t *testing.T) {
	a := newAuthority(t, ClusterID{1, 2, 3})
	r, err := NewRequest()
	if err != nil {
		t.Fatal(err)
	}
	certPEM, err := a.Sign(r.DER(), "n2", time.Now(), 0)
	if err != nil {
		t.Fatal(err)
	}
	id, err := r.Identity(certPEM, a.Root().PEM())
	if err != nil {
		t.Fatal(err)
	}
	leaf := id.Certificate().Leaf
	if id.Node() != "n2" || leaf.Subject.CommonName != "n2" || leaf.URIs[0].String() != "teamtalk://01020300000000000000000000000000/n2" {
		t.Errorf("node %s, subject %s, URI %s", id.Node(), leaf.Subject, leaf.URIs)
	}
	if left := time.Until(id.Expires()); left < 364*24*time.Hour || left > 366*24*time.Hour {
		t.Errorf("good for %s", left)
	}
	if node, err := a.Root().Verify([]*x509.Certificate{leaf}, time.Now()); node != "n2" || err != nil {
		t.Errorf("verified as %q, %v", node, err)
	}
	cert, key, root, err := id.PEM()
	if err != nil {
		t.Fatal(err)
	}
	again, err := LoadIdentity(cert, key, root)
	if err != nil || again.Node() != "n2" || again.Root().Cluster() != (ClusterID{1, 2, 3}) {
		t.Errorf("loaded %+v, %v", again, err)
	}
}

func TestAuthoritySurvivesPEM(t *testing.T) {
	a := newAuthority(t, ClusterID{7})
	cert, key, err := a.PEM()
	if err != nil {
		t.Fatal(err)
	}
	b, err := Load(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	id, err := b.Identify("n1", time.Now(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Root().Verify([]*x509.Certificate{id.Certificate().Leaf}, time.Now()); err != nil {
		t.Error(err)
	}
	if found, err := FindRoot([]*x509.Certificate{id.Certificate().Leaf, a.root.cert}, b.Root().Fingerprint()); err != nil || found.Cluster() != a.root.cluster {
		t.Errorf("found %v, %v", found, err)
	}
	_, otherKey, err := newAuthority(t, ClusterID{7}).PEM()
	if err != nil {
		t.Fatal(err)
	}
	for name, in := range map[string][2][]byte{"another key": {cert, otherKey}, "swapped": {key, cert}, "nothing": {nil, nil}, "half": {cert[:len(cert)/2], key}} {
		if _, err := Load(in[0], in[1]); err == nil {
			t.Errorf("%s was loaded", name)
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	now := time.Now()
	ours, theirs := newAuthority(t, ClusterID{1}), newAuthority(t, ClusterID{1})
	leaf := func(a *Authority, life time.Duration) *x509.Certificate {
		id, err := a.Identify("n1", now, life)
		if err != nil {
			t.Fatal(err)
		}
		return id.Certificate().Leaf
	}
	good := leaf(ours, time.Hour)
	for name, c := range map[string]struct {
		shown []*x509.Certificate
		at    time.Time
		want  error
	}{
		"good":               {[]*x509.Certificate{good}, now, nil},
		"nothing":            {nil, now, ErrForeign},
		"foreign":            {[]*x509.Certificate{leaf(theirs, time.Hour)}, now, ErrForeign},
		"foreign, with ours": {[]*x509.Certificate{leaf(theirs, time.Hour), ours.root.cert, good}, now, ErrForeign},
		"the authority":      {[]*x509.Certificate{ours.root.cert}, now, ErrForeign},
		"over":               {[]*x509.Certificate{good}, now.Add(2 * time.Hour), ErrExpired},
		"not yet":            {[]*x509.Certificate{good}, now.Add(-time.Hour), ErrExpired},
		"slightly early":     {[]*x509.Certificate{good}, now.Add(-5 * time.Minute), nil},
	} {
		if _, err := ours.Root().Verify(c.shown, c.at); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestSignRefuses(t *testing.T) {
	a := newAuthority(t, ClusterID{1})
	r, err := NewRequest()
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range []protocol.NodeID{"", "n/1", "../n1", "n 1", "n\n1", protocol.NodeID(strings.Repeat("n", 65)), ".n"} {
		if _, err := a.Sign(r.DER(), node, time.Now(), 0); err == nil {
			t.Errorf("node %q was signed", node)
		}
	}
	bent := append([]byte(nil), r.DER()...)
	bent[len(bent)-1] ^= 1
	big, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rsaRequest, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, big)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	curveRequest, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, curve)
	if err != nil {
		t.Fatal(err)
	}
	for name, der := range map[string][]byte{"bent": bent, "RSA": rsaRequest, "another curve": curveRequest, "nothing": nil} {
		if _, err := a.Sign(der, "n1", time.Now(), 0); err == nil {
			t.Errorf("%s was signed", name)
		}
	}
	life := 100 * 365 * 24 * time.Hour
	id, err := a.Identify("n1", time.Now(), life)
	if err != nil || id.Expires().After(a.root.cert.NotAfter) {
		t.Errorf("a certificate outlives its authority: %v", err)
	}
}

func TestRenewal(t *testing.T) {
	now := time.Now()
	a := newAuthority(t, ClusterID{1})
	id, err := a.Identify("n1", now, 30*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if id.NeedsRenewal(now.Add(19*time.Hour)) || !id.NeedsRenewal(now.Add(21*time.Hour)) {
		t.Error("not renewed in the last third")
	}
	newer, err := a.Identify("n1", now, 60*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := id.Replace(newer); err != nil || id.NeedsRenewal(now.Add(21*time.Hour)) {
		t.Errorf("after renewal: %v", err)
	}
	other, err := a.Identify("n2", now, 0)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := newAuthority(t, ClusterID{1}).Identify("n1", now, 0)
	if err != nil {
		t.Fatal(err)
	}
	if id.Replace(other) == nil || id.Replace(foreign) == nil {
		t.Error("replaced by somebody else's")
	}
	cert, _, root, err := id.PEM()
	if err != nil {
		t.Fatal(err)
	}
	_, otherKey, _, err := other.PEM()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := LoadIdentity(cert, otherKey, root); err == nil {
		t.Error("loaded with another's key")
	}
}
