package peers

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"teamtalk/internal/peers/authority"
	"teamtalk/protocol"
)

// Why a connection is refused: what metrics and logs call it.
const (
	reasonForeign   = "foreign"
	reasonExpired   = "expired"
	reasonRemoved   = "removed"
	reasonSelf      = "self"
	reasonProtocol  = "protocol"
	reasonHandshake = "handshake"
	reasonPushed    = "pushed_out"
	reasonCrowded   = "crowded"
	reasonNotReady  = "not_ready"
	reasonToken     = "token"
)

// greeting is the first byte of the side that accepted.
type greeting byte

const (
	greetGoAhead  greeting = 0
	greetRemoved  greeting = 1
	greetCrowded  greeting = 2
	greetNotReady greeting = 3
	greetSelf     greeting = 4
)

// Errors of Dial and of whatever dials.
var (
	// ErrRemoved: this node, or the one dialled, was removed from the cluster and has to join anew under another id.
	ErrRemoved = errors.New("the node was removed from the cluster")
	// ErrWrongNode: another node answers there than the one wanted.
	ErrWrongNode = errors.New("another node answers at this address")
	// ErrNotReady: the node is there and can't do this yet.
	ErrNotReady = errors.New("the other node is not ready")
	// ErrCrowded: this node has too many connections to the other one.
	ErrCrowded = errors.New("the other node has too many connections from here")
)

// RemovedError is ErrRemoved by the word of a node that may have proof.
type RemovedError struct {
	// At is how far in the log of the members it is certain that the node refused was none; 0: it is not certain, or not said.
	At uint64
}

// Error is that of ErrRemoved.
func (*RemovedError) Error() string { return ErrRemoved.Error() }

// Unwrap is ErrRemoved.
func (*RemovedError) Unwrap() error { return ErrRemoved }

// greetingFor is what a guest is told. One that was removed gets the evidence; older programs do not read on.
func (p *Port) greetingFor(g *guest) []byte {
	b := []byte{byte(g.greet)}
	if g.greet == greetRemoved {
		b = binary.BigEndian.AppendUint64(b, p.cfg.Knows(g.node))
	}
	return b
}

// readEvidence is the other side: what follows greetRemoved, nothing if the other program is older.
func readEvidence(r io.Reader) error {
	var b [8]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return &RemovedError{}
	}
	return &RemovedError{At: binary.BigEndian.Uint64(b[:])}
}

func (g greeting) err() error {
	switch g {
	case greetGoAhead:
		return nil
	case greetRemoved:
		return &RemovedError{}
	case greetCrowded:
		return ErrCrowded
	case greetNotReady:
		return ErrNotReady
	case greetSelf:
		return fmt.Errorf("%w: it has the same id as this one", ErrWrongNode)
	}
	return fmt.Errorf("the other node refuses with %d", byte(g))
}

// examine decides who is there. A node that is certain is returned with the error.
func (p *Port) examine(cs tls.ConnectionState) (node protocol.NodeID, reason string, err error) {
	node, err = p.cfg.Identity.Root().Verify(cs.PeerCertificates, p.cfg.Clock())
	switch {
	case errors.Is(err, authority.ErrExpired):
		return node, reasonExpired, err
	case err != nil:
		return node, reasonForeign, err
	case p.cfg.Removed(node):
		return node, reasonRemoved, fmt.Errorf("%w: %s", ErrRemoved, node)
	}
	return node, "", nil
}

// guest is what is found out about somebody during the handshake.
type guest struct {
	node   protocol.NodeID
	alpn   string
	reason string
	err    error
	greet  greeting
}

// serverTLS lets a handshake find out who is there. A removed node gets through, to be told.
func (p *Port) serverTLS(g *guest) *tls.Config {
	base := &tls.Config{
		MinVersion:             tls.VersionTLS13,
		SessionTicketsDisabled: true, // so that each connection is examined
		Time:                   p.cfg.Clock,
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return p.cfg.Identity.Certificate(), nil },
	}
	base.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		for _, alpn := range hello.SupportedProtos {
			if alpn != alpnRaft && alpn != alpnNode && alpn != alpnJoin && alpn != alpnBlob {
				continue
			}
			g.alpn = alpn
			c := base.Clone()
			c.GetConfigForClient = nil
			c.NextProtos = []string{alpn}
			if alpn != alpnJoin {
				c.ClientAuth = tls.RequireAnyClientCert
				c.VerifyConnection = func(cs tls.ConnectionState) error { return p.admit(g, cs) }
			}
			return c, nil
		}
		g.reason = reasonProtocol
		return nil, fmt.Errorf("none of the protocols %q is spoken here", hello.SupportedProtos)
	}
	return base
}

func (p *Port) admit(g *guest, cs tls.ConnectionState) error {
	g.node, g.reason, g.err = p.examine(cs)
	switch {
	case g.reason == reasonRemoved:
		g.greet = greetRemoved
		return nil
	case g.err == nil && g.node == p.cfg.Identity.Node():
		g.reason, g.greet = reasonSelf, greetSelf
		g.err = errors.New("it has the id of this node")
		return nil
	}
	return g.err
}

// Dial connects to a node for one of the port's protocols. want is the node that has to be there, "" any of this cluster.
func (p *Port) Dial(ctx context.Context, address string, want protocol.NodeID, alpn string) (net.Conn, error) {
	c, err := p.dial(ctx, address, want, alpn)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (p *Port) dial(ctx context.Context, address string, want protocol.NodeID, alpn string) (*conn, error) {
	var node protocol.NodeID
	t, err := dialTLS(ctx, p.cfg.Dialer, address, p.cfg.Tuning.Handshake, &tls.Config{
		MinVersion: tls.VersionTLS13,
		Time:       p.cfg.Clock,
		NextProtos: []string{alpn},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return p.cfg.Identity.Certificate(), nil
		},
		InsecureSkipVerify: true, //nolint:gosec // names of hosts mean nothing here; VerifyConnection does all that is left out, and more
		VerifyConnection: func(cs tls.ConnectionState) (err error) {
			if node, _, err = p.examine(cs); err != nil {
				return err
			}
			if want != "" && node != want {
				return fmt.Errorf("%w: %s instead of %s", ErrWrongNode, node, want)
			}
			return nil
		},
	})
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", address, err)
	}
	setUserTimeout(t.NetConn(), userTimeout(alpn))
	c := p.books.enter(t, node, alpn, false)
	if c == nil {
		_ = t.Close()
		return nil, net.ErrClosed
	}
	return c, nil
}

// dialTLS connects, shakes hands and reads the greeting.
func dialTLS(ctx context.Context, dialer func(context.Context, string, string) (net.Conn, error), address string, limit time.Duration, cfg *tls.Config) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	raw, err := dialer(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	t := tls.Client(raw, cfg)
	if err := shake(ctx, t, cfg.NextProtos[0]); err != nil {
		raw.Close()
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
		return nil, err
	}
	return t, nil
}

func shake(ctx context.Context, t *tls.Conn, alpn string) error {
	stop := context.AfterFunc(ctx, func() { _ = t.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := t.HandshakeContext(ctx); err != nil {
		return err
	}
	if got := t.ConnectionState().NegotiatedProtocol; got != alpn {
		return fmt.Errorf("the other side speaks %q instead of %q", got, alpn)
	}
	var b [1]byte
	if _, err := io.ReadFull(t, b[:]); err != nil {
		return fmt.Errorf("refused: %w", err)
	}
	if greeting(b[0]) == greetRemoved {
		return readEvidence(t)
	}
	if err := greeting(b[0]).err(); err != nil {
		return err
	}
	if !stop() {
		return context.Cause(ctx)
	}
	return nil
}
