package tlscert

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// ACMEProtocol is the ALPN name by which an ACME authority checks that the name is ours; the TLS port must offer it.
const ACMEProtocol = "acme-tls/1"

// ACMEConfig says for which name to get a certificate, and from whom.
type ACMEConfig struct {
	Dir       string // of the account and the certificates
	Domain    string
	Email     string // the authority writes there when something is wrong; empty: none
	Directory string // URL of the authority; empty: Let's Encrypt
	// Host and Port are those of the TLS port, which answers the authority's question. From outside it must be port 443.
	Host  string
	Port  int
	Roots *x509.CertPool // trusted when talking to the authority; nil: those of the system

	Log        *slog.Logger          // nil: slog.Default()
	Registerer prometheus.Registerer // nil: no metrics
}

// ACME is a certificate that is got and renewed by itself.
type ACME struct {
	log    *slog.Logger
	domain string
	cache  *certmagic.Cache
	config *certmagic.Config

	failures prometheus.Counter

	mu       sync.Mutex // guards notAfter
	notAfter time.Time
}

// NewACME prepares; Run gets the certificate. By preparing, the operator agrees to the authority's terms.
func NewACME(cfg ACMEConfig) *ACME {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	a := &ACME{log: cfg.Log, domain: cfg.Domain}
	a.failures = newErrors(cfg.Registerer, a.expiry)
	silent := zap.NewNop() // what an operator needs to know, events tell
	a.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return a.config, nil },
		Logger:           silent,
	})
	a.config = certmagic.New(a.cache, certmagic.Config{
		Storage:           &certmagic.FileStorage{Path: cfg.Dir},
		DefaultServerName: cfg.Domain, // for clients that send no name
		Logger:            silent,
		OnEvent:           a.event,
		ShouldEmitFunc:    func(name string) bool { return name != "tls_get_certificate" }, // once a handshake
	})
	a.config.Issuers = []certmagic.Issuer{certmagic.NewACMEIssuer(a.config, certmagic.ACMEIssuer{
		CA:                   cfg.Directory,
		Email:                cfg.Email,
		Agreed:               true,
		DisableHTTPChallenge: true, // one way is enough, and this one needs no second port
		ListenHost:           cfg.Host,
		AltTLSALPNPort:       cfg.Port,
		TrustedRoots:         cfg.Roots,
		Logger:               silent,
	})}
	return a
}

// Run gets the certificate and renews it until ctx ends, trying again for as long as it takes. The TLS port must be served meanwhile.
func (a *ACME) Run(ctx context.Context) error {
	defer a.cache.Stop()
	if err := a.config.ManageAsync(ctx, []string{a.domain}); err != nil {
		return fmt.Errorf("tlscert: %w", err)
	}
	<-ctx.Done()
	return nil
}

// Certificate is the one for the name asked for, or the answer to the authority's question.
func (a *ACME) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	c, err := a.config.GetCertificate(hello)
	if err != nil {
		return nil, fmt.Errorf("tlscert: %w", err)
	}
	if c.Leaf != nil && len(c.Leaf.DNSNames) > 0 && !isChallenge(hello) {
		a.mu.Lock()
		a.notAfter = c.Leaf.NotAfter
		a.mu.Unlock()
	}
	return c, nil
}

func isChallenge(hello *tls.ClientHelloInfo) bool {
	return len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == ACMEProtocol
}

// event tells the operator how it goes.
func (a *ACME) event(_ context.Context, name string, data map[string]any) error {
	switch name {
	case "cert_obtained":
		a.log.Info("certificate obtained", "name", data["identifier"], "issuer", data["issuer"], "renewal", data["renewal"])
	case "cert_failed":
		a.failures.Inc()
		a.log.Error("no certificate obtained, trying again later", "name", data["identifier"], "renewal", data["renewal"], "error", data["error"])
	}
	return nil
}

func (a *ACME) expiry() float64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.notAfter.IsZero() {
		return 0
	}
	return float64(a.notAfter.Unix())
}
