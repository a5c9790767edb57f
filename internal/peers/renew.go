package peers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"teamtalk/internal/peers/authority"
	"teamtalk/protocol"
)

// renew sees that this node's certificate does not end. Stopped by Close.
func (m *Mesh) renew() {
	t := time.NewTicker(m.port.cfg.Tuning.Renewal)
	defer t.Stop()
	for {
		if m.port.cfg.Identity.NeedsRenewal(m.port.cfg.Clock()) {
			if err := m.RenewNow(m.ctx); err != nil && m.ctx.Err() == nil {
				m.port.log.Error("this node's certificate can't be renewed", "ends", m.port.cfg.Identity.Expires(), "error", err)
			}
		}
		select {
		case <-m.ctx.Done():
			return
		case <-t.C:
		}
	}
}

// RenewNow gets this node a new key and certificate: from any node whose link is up, for another one knows better whether this one
// may still have it, or else from its own Sign. Connections stay; new ones use the new certificate.
func (m *Mesh) RenewNow(ctx context.Context) error {
	own := m.port.cfg.Identity
	request, err := authority.NewRequest()
	if err != nil {
		return err
	}
	certPEM, err := m.askForCertificate(ctx, request.DER())
	if err != nil {
		return fmt.Errorf("renew certificate: %w", err)
	}
	newer, err := request.Identity(certPEM, own.Root().PEM())
	if err != nil {
		return fmt.Errorf("renew certificate: %w", err)
	}
	if err := own.Replace(newer); err != nil {
		return fmt.Errorf("renew certificate: %w", err)
	}
	m.port.log.Info("this node's certificate was renewed", "ends", own.Expires())
	if m.cfg.Renewed != nil {
		if err := m.cfg.Renewed(own); err != nil {
			return fmt.Errorf("keep renewed certificate: %w", err)
		}
	}
	return nil
}

func (m *Mesh) askForCertificate(ctx context.Context, request []byte) ([]byte, error) {
	errs := []error{errors.New("no node to ask")}
	for _, p := range m.Peers() {
		if !p.Up {
			continue
		}
		asking, cancel := context.WithTimeout(ctx, 10*time.Second)
		certPEM, err := m.Call(asking, p.Node, LaneControl, methodRenew, request)
		cancel()
		if err == nil {
			return certPEM, nil
		}
		if protocol.CodeOf(err) == protocol.CodeForbidden {
			return nil, err // another one must not be asked until one says yes
		}
		errs = append(errs, fmt.Errorf("node %s: %w", p.Node, err))
	}
	if m.cfg.Sign != nil {
		certPEM, err := m.cfg.Sign(ctx, m.port.Node(), request)
		if err == nil {
			return certPEM, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// signFor renews another node's certificate.
func (m *Mesh) signFor(ctx context.Context, node protocol.NodeID, request []byte) ([]byte, error) {
	switch {
	case m.port.cfg.Removed(node):
		return nil, protocol.Errorf(protocol.CodeForbidden, "%w", ErrRemoved)
	case m.cfg.Sign == nil:
		return nil, protocol.Errorf(protocol.CodeUnavailable, "this node signs no certificates")
	}
	certPEM, err := m.cfg.Sign(ctx, node, request)
	if err != nil {
		return nil, err
	}
	m.port.log.Info("a node's certificate was renewed", "node", node)
	return certPEM, nil
}
