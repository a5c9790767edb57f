package authority

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"sync"
	"time"

	"teamtalk/protocol"
)

// Request is a new key that waits for its certificate. The key never leaves the node.
type Request struct {
	key *ecdsa.PrivateKey
	der []byte
}

// NewRequest makes a key and the request for its certificate.
func NewRequest() (*Request, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, err
	}
	return &Request{key: key, der: der}, nil
}

// DER is the request (PKCS #10) as Authority.Sign takes it.
func (r *Request) DER() []byte { return r.der }

// Identity joins the key with the certificate it has got.
func (r *Request) Identity(certPEM, rootPEM []byte) (*Identity, error) {
	root, err := ParseRoot(rootPEM)
	if err != nil {
		return nil, err
	}
	return newIdentity(certPEM, r.key, root)
}

// Identity is what a node proves itself with: certificate, key, and the authority they are from. Certificate and key may be exchanged
// while it is in use; what was connected with the old ones stays connected.
type Identity struct {
	root *Root
	node protocol.NodeID

	mu   sync.Mutex // guards cert
	cert *tls.Certificate
}

// LoadIdentity reads an identity that PEM wrote. That its time is over is no error: it may be renewed.
func LoadIdentity(certPEM, keyPEM, rootPEM []byte) (*Identity, error) {
	root, err := ParseRoot(rootPEM)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, err
	}
	return newIdentity(certPEM, key, root)
}

func newIdentity(certPEM []byte, key *ecdsa.PrivateKey, root *Root) (*Identity, error) {
	der, err := decodePEM(certPEM, certificateType)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	if !key.PublicKey.Equal(leaf.PublicKey) {
		return nil, errors.New("the key is not that of the certificate")
	}
	node, err := root.Verify([]*x509.Certificate{leaf}, time.Now())
	if err != nil && !errors.Is(err, ErrExpired) {
		return nil, err
	}
	// The authority is shown too: who knows but its fingerprint can check the rest.
	return &Identity{root: root, node: node, cert: &tls.Certificate{Certificate: [][]byte{der, root.cert.Raw}, PrivateKey: key, Leaf: leaf}}, nil
}

// Node is the node whose identity this is.
func (i *Identity) Node() protocol.NodeID { return i.node }

// Root is the authority it is from.
func (i *Identity) Root() *Root { return i.root }

// Certificate is the one to show in a new connection.
func (i *Identity) Certificate() *tls.Certificate {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.cert
}

// Expires is when the certificate's time is over.
func (i *Identity) Expires() time.Time { return i.Certificate().Leaf.NotAfter }

// NeedsRenewal reports whether less than a third of the certificate's time is left.
func (i *Identity) NeedsRenewal(now time.Time) bool {
	leaf := i.Certificate().Leaf
	return leaf.NotAfter.Sub(now) < leaf.NotAfter.Sub(leaf.NotBefore)/3
}

// Replace takes over certificate and key of a newer identity of the same node in the same cluster.
func (i *Identity) Replace(newer *Identity) error {
	if newer.node != i.node || newer.root.Fingerprint() != i.root.Fingerprint() {
		return fmt.Errorf("an identity of node %s in cluster %s can't replace that of %s in %s", newer.node, newer.root.cluster, i.node, i.root.cluster)
	}
	cert := newer.Certificate()
	i.mu.Lock()
	defer i.mu.Unlock()
	i.cert = cert
	return nil
}

// PEM is what LoadIdentity reads. The key is the node's secret.
func (i *Identity) PEM() (certPEM, keyPEM, rootPEM []byte, err error) {
	cert := i.Certificate()
	key, ok := cert.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, nil, nil, errors.New("the key is not one of ECDSA")
	}
	if keyPEM, err = encodeKey(key); err != nil {
		return nil, nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: certificateType, Bytes: cert.Certificate[0]}), keyPEM, i.root.PEM(), nil
}
