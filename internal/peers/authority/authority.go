package authority

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"regexp"
	"strings"
	"time"

	"teamtalk/protocol"
)

// ClusterID names a cluster; it is that of protocol.Cluster.
type ClusterID [16]byte

// String is the id in hexadecimal.
func (c ClusterID) String() string { return hex.EncodeToString(c[:]) }

const (
	// NodeLife is how long a node's certificate is good for unless somebody wants otherwise.
	NodeLife = 365 * 24 * time.Hour
	// rootLife is long because nothing replaces an authority: it ends with its cluster.
	rootLife = 50 * 365 * 24 * time.Hour
	// early is how far clocks of nodes may differ for a new certificate to be good at once everywhere.
	early = 10 * time.Minute

	scheme          = "teamtalk"
	certificateType = "CERTIFICATE"
	keyType         = "PRIVATE KEY"
)

// nodeName is what a node may be called: it stands in URIs, logs and metrics.
var nodeName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// CheckNode returns an error if id can't name a node: 1 to 64 letters, digits, dots, dashes and underscores.
func CheckNode(id protocol.NodeID) error {
	if !nodeName.MatchString(string(id)) {
		return fmt.Errorf("%q can't name a node: 1 to 64 letters, digits, dots, dashes and underscores", string(id))
	}
	return nil
}

// Authority signs the certificates of one cluster's nodes. Its methods may be called by several goroutines.
type Authority struct {
	root *Root
	key  *ecdsa.PrivateKey
}

// New makes the authority of a cluster that is being founded.
func New(cluster ClusterID, now time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "TeamTalk cluster " + cluster.String()},
		NotBefore:             now.Add(-early),
		NotAfter:              now.Add(rootLife),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
		URIs:                  []*url.URL{nodeURI(cluster, "")},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	root, err := parseRoot(der)
	if err != nil {
		return nil, err
	}
	return &Authority{root: root, key: key}, nil
}

// Load reads an authority that PEM wrote.
func Load(certPEM, keyPEM []byte) (*Authority, error) {
	root, err := ParseRoot(certPEM)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, err
	}
	if !key.PublicKey.Equal(root.cert.PublicKey) {
		return nil, errors.New("the authority's key is not that of its certificate")
	}
	return &Authority{root: root, key: key}, nil
}

// PEM is the authority's certificate and its key. The key is a secret of the cluster.
func (a *Authority) PEM() (certPEM, keyPEM []byte, err error) {
	keyPEM, err = encodeKey(a.key)
	return a.root.PEM(), keyPEM, err
}

// Root is what others need to check the authority's signatures.
func (a *Authority) Root() *Root { return a.root }

// Sign gives a node a certificate for the key of its request (PKCS #10, DER), good from now on for the given time, but not longer than
// the authority's own; 0 means NodeLife. What the request says besides the key is not looked at. The caller decides whether the
// node may have it. The certificate is PEM.
func (a *Authority) Sign(request []byte, node protocol.NodeID, now time.Time, life time.Duration) ([]byte, error) {
	csr, err := x509.ParseCertificateRequest(request)
	if err != nil {
		return nil, fmt.Errorf("certificate request: %w", err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("certificate request: %w", err)
	}
	if err := CheckNode(node); err != nil {
		return nil, err
	}
	// Keys of other kinds would be refused or slow elsewhere.
	if key, ok := csr.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("certificate request: its key is not one of ECDSA P-256")
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	if life == 0 {
		life = NodeLife
	}
	until := now.Add(life)
	if until.After(a.root.cert.NotAfter) {
		until = a.root.cert.NotAfter
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: string(node)},
		NotBefore:             now.Add(-early),
		NotAfter:              until,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		URIs:                  []*url.URL{nodeURI(a.root.cluster, node)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.root.cert, csr.PublicKey, a.key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: certificateType, Bytes: der}), nil
}

// Identify makes a node's identity in one step, for the founder of a cluster, who has the authority at hand.
func (a *Authority) Identify(node protocol.NodeID, now time.Time, life time.Duration) (*Identity, error) {
	r, err := NewRequest()
	if err != nil {
		return nil, err
	}
	certPEM, err := a.Sign(r.DER(), node, now, life)
	if err != nil {
		return nil, err
	}
	return r.Identity(certPEM, a.root.PEM())
}

func nodeURI(cluster ClusterID, node protocol.NodeID) *url.URL {
	return &url.URL{Scheme: scheme, Host: cluster.String(), Path: "/" + string(node)}
}

// named reads what a certificate says about whom it belongs to; an authority's own has no node.
func named(cert *x509.Certificate) (ClusterID, protocol.NodeID, error) {
	var cluster ClusterID
	if len(cert.URIs) != 1 || cert.URIs[0].Scheme != scheme {
		return cluster, "", errors.New("the certificate is not one of a TeamTalk node")
	}
	u := cert.URIs[0]
	raw, err := hex.DecodeString(u.Host)
	if err != nil || len(raw) != len(cluster) {
		return cluster, "", errors.New("the certificate names no cluster")
	}
	return ClusterID(raw), protocol.NodeID(strings.TrimPrefix(u.Path, "/")), nil
}

func newSerial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: keyType, Bytes: der}), nil
}

func parseKey(keyPEM []byte) (*ecdsa.PrivateKey, error) {
	der, err := decodePEM(keyPEM, keyType)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errors.New("the key can't be read") // the cause might show parts of it
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("the key is not one of ECDSA")
	}
	return key, nil
}

func decodePEM(text []byte, kind string) ([]byte, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != kind {
		return nil, fmt.Errorf("no PEM block of type %s", kind)
	}
	return block.Bytes, nil
}
