package federation

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// Life of the certificates that both sides show. Only their key counts, which manifests name; the time is for whoever looks at them.
const (
	certificateLife  = 365 * 24 * time.Hour
	certificateRenew = 30 * 24 * time.Hour // before its end
)

// certificates has the one of this cluster's active link key.
type certificates struct {
	mu      sync.Mutex // guards what follows
	key     fed.KeyID
	current *tls.Certificate
}

// of is the certificate of an active link key: made when it is needed.
func (c *certificates) of(own *self) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	public, _ := own.signer.Key.Public().(ed25519.PublicKey)
	id := fed.KeyIDOf(public)
	if c.current != nil && c.key == id && time.Until(c.current.Leaf.NotAfter) > certificateRenew {
		return c.current, nil
	}
	made, err := makeCertificate(own, time.Now())
	if err != nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	c.key, c.current = id, made
	return made, nil
}

func makeCertificate(own *self, now time.Time) (*tls.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	form := &x509.Certificate{SerialNumber: serial.Add(serial, big.NewInt(1)), Subject: pkix.Name{CommonName: own.cluster.String()},
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.Add(certificateLife), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, form, form, own.signer.Key.Public(), own.signer.Key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: own.signer.Key, Leaf: leaf}, nil
}

// base is what both sides' settings have in common [FED-TR-1].
func (c *certificates) base(own *self) (*tls.Config, error) {
	cert, err := c.of(own)
	if err != nil {
		return nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{*cert}, MinVersion: tls.VersionTLS13, NextProtos: []string{fed.ALPN}, SessionTicketsDisabled: true,
		VerifyPeerCertificate: verifyKind}, nil
}

// client is for dialling.
func (c *certificates) client(own *self) (*tls.Config, error) {
	conf, err := c.base(own)
	if err != nil {
		return nil, err
	}
	// No authority has signed the other side's certificate: its key is compared with the manifest in the hello.
	conf.InsecureSkipVerify = true
	return conf, nil
}

// ServerTLS is what ports show to those who name fed.ALPN; an error as long as this cluster has no identity.
func (m *Manager) ServerTLS() (*tls.Config, error) {
	own, err := m.readSelf()
	if err != nil {
		return nil, err
	}
	if own == nil {
		return nil, protocol.Errorf(protocol.CodeUnavailable, "this cluster has no identity that others could know")
	}
	conf, err := m.papers.base(own)
	if err != nil {
		return nil, err
	}
	conf.ClientAuth = tls.RequireAnyClientCert
	return conf, nil
}

// verifyKind refuses certificates that no cluster shows: those of a proxy that looks into connections are of such a kind.
func verifyKind(raw [][]byte, _ [][]*x509.Certificate) error {
	if len(raw) == 0 {
		return errors.New("the peer shows no certificate")
	}
	cert, err := x509.ParseCertificate(raw[0])
	if err != nil {
		return errIntercepted
	}
	_, err = shownBy([]*x509.Certificate{cert})
	return err
}
