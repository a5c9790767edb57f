// Package tlscert has the server's certificates: those of an operator's files, those of a certificate authority that is asked by itself (ACME),
// and for development those of an authority of its own. All are looked at anew in every handshake, so that none needs a restart.
package tlscert

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// Source has a certificate for a handshake.
type Source interface {
	Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error)
}

// ServerConfig is what a TLS server needs to use a source: TLS 1.2 or newer, and whole records, since a PDU is of no use in parts.
func ServerConfig(s Source) *tls.Config {
	return &tls.Config{
		MinVersion:                  tls.VersionTLS12,
		GetCertificate:              s.Certificate,
		DynamicRecordSizingDisabled: true,
	}
}

// Fingerprint is the SHA-256 of a certificate, as browsers and openssl show it: pairs of hex digits and colons.
func Fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	text := strings.ToUpper(hex.EncodeToString(sum[:]))
	var b strings.Builder
	for i := 0; i < len(text); i += 2 {
		if i > 0 {
			b.WriteByte(':')
		}
		b.WriteString(text[i : i+2])
	}
	return b.String()
}

// newErrors makes the counter of what went wrong, and shows until when the certificate in use is valid; notAfter is asked when metrics are.
func newErrors(r prometheus.Registerer, notAfter func() float64) prometheus.Counter {
	failures := prometheus.NewCounter(prometheus.CounterOpts{Name: "teamtalk_tls_certificate_errors_total",
		Help: "New certificates that could not be obtained or used; the former one stays in use, and the log says why."})
	if r != nil {
		r.MustRegister(failures, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "teamtalk_tls_certificate_not_after_seconds",
			Help: "When the certificate in use expires, in seconds since 1970; 0: there is none."}, notAfter))
	}
	return failures
}

var errNoCertificate = errors.New("tlscert: there is no certificate yet")

// leaf makes sure that the parsed certificate is at hand, since handshakes and metrics ask for it.
func leaf(c *tls.Certificate) error {
	if c.Leaf != nil {
		return nil
	}
	if len(c.Certificate) == 0 {
		return errNoCertificate
	}
	parsed, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		return fmt.Errorf("tlscert: %w", err)
	}
	c.Leaf = parsed
	return nil
}
