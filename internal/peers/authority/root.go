package authority

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"teamtalk/protocol"
)

// Fingerprint is the SHA-256 of an authority's certificate.
type Fingerprint [sha256.Size]byte

// String is the fingerprint in hexadecimal.
func (f Fingerprint) String() string { return hex.EncodeToString(f[:]) }

// Errors of Root.Verify, to tell a cluster's own nodes in trouble from strangers.
var (
	ErrForeign = errors.New("the certificate is not of this cluster")
	ErrExpired = errors.New("the certificate is not valid now")
)

// Root is the public half of an authority.
type Root struct {
	cert    *x509.Certificate
	cluster ClusterID
	pool    *x509.CertPool
}

// ParseRoot reads an authority's certificate from PEM.
func ParseRoot(certPEM []byte) (*Root, error) {
	der, err := decodePEM(certPEM, certificateType)
	if err != nil {
		return nil, err
	}
	return parseRoot(der)
}

// FindRoot looks in the certificates that a node has shown for the authority with the given fingerprint: so somebody who knows nothing
// but a fingerprint can check a node.
func FindRoot(shown []*x509.Certificate, f Fingerprint) (*Root, error) {
	for _, cert := range shown {
		if sha256.Sum256(cert.Raw) == f {
			return parseRoot(cert.Raw)
		}
	}
	return nil, ErrForeign
}

func parseRoot(der []byte) (*Root, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("authority: %w", err)
	}
	cluster, node, err := named(cert)
	if err != nil {
		return nil, err
	}
	if !cert.IsCA || node != "" {
		return nil, errors.New("the certificate is not one of an authority")
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &Root{cert: cert, cluster: cluster, pool: pool}, nil
}

// PEM is the authority's certificate.
func (r *Root) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: certificateType, Bytes: r.cert.Raw})
}

// Cluster is the cluster the authority belongs to.
func (r *Root) Cluster() ClusterID { return r.cluster }

// Fingerprint is what a token names the authority by.
func (r *Root) Fingerprint() Fingerprint { return sha256.Sum256(r.cert.Raw) }

// Verify checks what a node has shown and says which node it is. Errors are ErrForeign and ErrExpired, with details; for an expired
// certificate the node is told too, for it is certain who comes with it.
func (r *Root) Verify(shown []*x509.Certificate, now time.Time) (protocol.NodeID, error) {
	if len(shown) == 0 {
		return "", fmt.Errorf("%w: none was shown", ErrForeign)
	}
	leaf := shown[0]
	if err := leaf.CheckSignatureFrom(r.cert); err != nil {
		return "", fmt.Errorf("%w: %w", ErrForeign, err)
	}
	cluster, node, err := named(leaf)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrForeign, err)
	}
	if cluster != r.cluster || CheckNode(node) != nil || leaf.IsCA {
		return "", fmt.Errorf("%w: it names cluster %s and node %q", ErrForeign, cluster, string(node))
	}
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return node, fmt.Errorf("%w: it is from %s to %s", ErrExpired, leaf.NotBefore.Format(time.RFC3339), leaf.NotAfter.Format(time.RFC3339))
	}
	// The whole examination of the standard library on top: usages, critical extensions, the authority's own time.
	_, err = leaf.Verify(x509.VerifyOptions{Roots: r.pool, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrForeign, err)
	}
	return node, nil
}
