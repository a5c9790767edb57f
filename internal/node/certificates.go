package node

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"teamtalk/gateway/transport/quicport"
	"teamtalk/gateway/transport/tlscert"
	"teamtalk/internal/admin"
)

const (
	developmentDir = "tls"        // of the development authority, in the data directory
	acmeDir        = "acme"       // of the ACME account and its certificates
	resetKeyFile   = "quic.reset" // lets this node, restarted, tell clients that their QUIC connections are gone
)

// certificates is what the TLS and QUIC ports show. Called when the TLS port is open, since ACME's authority asks there.
func (n *Node) certificates() (*tls.Config, error) {
	c := n.cfg.TLS
	var source tlscert.Source
	var err error
	switch {
	case c.Cert != "":
		source, err = tlscert.NewFiles(tlscert.FilesConfig{Certificate: c.Cert, Key: c.Key, Log: n.log, Registerer: n.registry})
	case c.ACME.Domain != "":
		source = n.obtainCertificate()
	default:
		source, err = n.makeCertificate()
	}
	if err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	return tlscert.ServerConfig(source), nil
}

// obtainCertificate asks an authority, in the background: until it answers, handshakes fail.
func (n *Node) obtainCertificate() tlscert.Source {
	host, _, _ := net.SplitHostPort(string(n.cfg.Listen.TLS)) // checked when it was set
	c := n.cfg.TLS.ACME
	source := tlscert.NewACME(tlscert.ACMEConfig{Dir: filepath.Join(n.cfg.Data, acmeDir), Domain: c.Domain, Email: c.Email, Directory: c.Directory,
		Host: host, Port: int(portOf(n.sockets.tls.Addr())), Log: n.log, Registerer: n.registry})
	n.clients.renewal = source.Run
	return source
}

// makeCertificate is for development: an authority of this node's own.
func (n *Node) makeCertificate() (tlscert.Source, error) {
	hosts := []string{n.cfg.nodeName()}
	if h := n.publicHost(); h != "" {
		hosts = append(hosts, h)
	}
	for _, at := range []Address{n.cfg.Listen.TLS, n.cfg.Listen.QUIC} {
		if h, _, err := net.SplitHostPort(string(at)); err == nil && h != "" && !at.Wildcard() {
			hosts = append(hosts, unzoned(h))
		}
	}
	d, err := tlscert.NewDevelopment(tlscert.DevelopmentConfig{Dir: filepath.Join(n.cfg.Data, developmentDir), Hosts: hosts, Log: n.log, Registerer: n.registry})
	if err != nil {
		return nil, err
	}
	file, err := filepath.Abs(d.CAFile())
	if err != nil {
		return nil, err
	}
	n.clients.ca = CA{File: file, Fingerprint: d.CAFingerprint()}
	n.log.Info("development certificate: clients have to be given its authority", "file", file, "sha256", d.CAFingerprint())
	return d, nil
}

// CA is a certificate authority that clients of this node have to be given.
type CA struct {
	File        string // PEM
	Fingerprint string // SHA-256 of its certificate
}

// CA is the development authority; zero if the certificate is from elsewhere.
func (n *Node) CA() CA { return n.clients.ca }

// runRenewal renews an obtained certificate until its step is stopped.
func (n *Node) runRenewal() {
	if n.clients.renewal == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.clients.renewal(ctx) }() // ended and joined by the step below
	n.steps.started("renewal of the certificate", func(context.Context) error {
		cancel()
		return <-done
	})
}

// resetKey is the key that must outlive the process; made at the first start.
func (n *Node) resetKey() ([]byte, error) {
	path := filepath.Join(n.cfg.Data, resetKeyFile)
	key, err := os.ReadFile(path)
	switch {
	case err == nil && len(key) == quicport.KeyLen:
		return key, nil
	case err == nil:
		return nil, fmt.Errorf("%s does not hold a key: remove it, the next start makes one", path)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	key = make([]byte, quicport.KeyLen)
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	return key, admin.WriteFile(path, key, 0o600)
}
