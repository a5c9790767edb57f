package tlscert

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// DevelopmentConfig says for whom and where to make certificates.
type DevelopmentConfig struct {
	Dir   string   // of the authority's certificate and key; made if it is missing
	Hosts []string // names and addresses besides localhost and loopback that the server is reached by

	Log        *slog.Logger          // nil: slog.Default()
	Registerer prometheus.Registerer // nil: no metrics
}

// Development is a certificate authority of one's own: clients that were given its certificate trust this server.
type Development struct {
	hosts []string
	log   *slog.Logger
	file  string
	ca    *x509.Certificate
	key   *ecdsa.PrivateKey

	mu      sync.Mutex // guards what follows
	current *tls.Certificate
	renewAt time.Time
}

const (
	caFile    = "ca.pem"
	caKeyFile = "ca-key.pem"

	caLife = 10 * 365 * 24 * time.Hour
	// leafLife, with half a day before now, is under the 14 days that browsers allow for a certificate known by its hash.
	leafLife  = 13 * 24 * time.Hour
	renewLeft = leafLife / 2
	// Certificates begin in the past, for clients whose clock is behind.
	caBackdate   = 24 * time.Hour
	leafBackdate = 12 * time.Hour
)

// NewDevelopment takes the authority in the directory, or makes one: ECDSA P-256, valid for ten years. The server's certificate is kept in memory
// only; a new one is made at each start and long before it expires.
func NewDevelopment(cfg DevelopmentConfig) (*Development, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	d := &Development{log: cfg.Log, file: filepath.Join(cfg.Dir, caFile), hosts: append([]string{"localhost", "127.0.0.1", "::1"}, cfg.Hosts...)}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("tlscert: %w", err)
	}
	if err := d.loadAuthority(filepath.Join(cfg.Dir, caKeyFile)); err != nil {
		return nil, fmt.Errorf("tlscert: development authority in %s: %w", cfg.Dir, err)
	}
	if _, err := d.Certificate(nil); err != nil {
		return nil, err
	}
	newErrors(cfg.Registerer, d.notAfter) // none can happen, but whoever watches the metric finds it
	return d, nil
}

// CAFile is the authority's certificate (PEM), for clients to trust.
func (d *Development) CAFile() string { return d.file }

// CAFingerprint is that of the authority's certificate.
func (d *Development) CAFingerprint() string { return Fingerprint(d.ca.Raw) }

// Certificate is the server's certificate.
func (d *Development) Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now := time.Now(); d.current == nil || !now.Before(d.renewAt) {
		c, err := d.issue(now)
		if err != nil {
			return nil, fmt.Errorf("tlscert: %w", err)
		}
		d.current, d.renewAt = c, now.Add(leafLife-renewLeft)
		d.log.Debug("development certificate made", "valid_until", c.Leaf.NotAfter)
	}
	return d.current, nil
}

func (d *Development) notAfter() float64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return float64(d.current.Leaf.NotAfter.Unix())
}

// loadAuthority reads the authority, or makes it if neither file is there or it is about to expire.
func (d *Development) loadAuthority(keyFile string) error {
	pair, err := tls.LoadX509KeyPair(d.file, keyFile)
	switch {
	case errors.Is(err, fs.ErrNotExist): // the certificate is written last: without it there was no authority
		return d.makeAuthority(keyFile)
	case err != nil:
		return err
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || pair.Leaf == nil || !pair.Leaf.IsCA {
		return errors.New("this is not an authority that was made here: remove both files to have a new one")
	}
	if time.Until(pair.Leaf.NotAfter) < leafLife {
		d.log.Warn("the development authority expires: clients need the certificate of the new one", "file", d.file)
		return d.makeAuthority(keyFile)
	}
	d.ca, d.key = pair.Leaf, key
	return nil
}

func (d *Development) makeAuthority(keyFile string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	now := time.Now()
	serial, err := serialNumber()
	if err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		host = "this machine"
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{Organization: []string{"TeamTalk development"}, CommonName: "TeamTalk development on " + host},
		NotBefore:             now.Add(-caBackdate),
		NotAfter:              now.Add(caLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true, // it signs servers, no further authorities
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	if d.ca, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	d.key = key
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := writePEM(keyFile, "PRIVATE KEY", private, 0o600); err != nil {
		return err
	}
	return writePEM(d.file, "CERTIFICATE", der, 0o644)
}

// writePEM replaces a file as a whole, so that a crash leaves the old one or the new one.
func writePEM(path, what string, der []byte, mode fs.FileMode) error {
	temporary := path + ".new"
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	err = pem.Encode(f, &pem.Block{Type: what, Bytes: der})
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		return err
	}
	dir := filepath.Dir(path)
	return errors.Join(syncDir(dir), syncDir(filepath.Dir(dir)))
}

// syncDir makes it durable what a directory has.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// issue makes a server certificate.
func (d *Development) issue(now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := serialNumber()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{Organization: []string{"TeamTalk development"}},
		NotBefore:    now.Add(-leafBackdate),
		NotAfter:     now.Add(leafLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, h := range d.hosts {
		if ip, err := netip.ParseAddr(h); err == nil {
			template.IPAddresses = append(template.IPAddresses, ip.WithZone("").AsSlice())
			continue
		}
		template.DNSNames = append(template.DNSNames, h)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, d.ca, key.Public(), d.key)
	if err != nil {
		return nil, err
	}
	c := &tls.Certificate{Certificate: [][]byte{der, d.ca.Raw}, PrivateKey: key}
	return c, leaf(c)
}

func serialNumber() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
}
