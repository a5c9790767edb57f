package federation

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"net"
	"testing"
	"time"

	"teamtalk/internal/simnet"
	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// A puppet speaks for a branch as a test tells it to.
type puppet struct {
	testing.TB
	of    *branch
	own   *self
	hello fed.Hello
}

func newPuppet(t testing.TB, of *branch) *puppet {
	own, err := selfOf(&of.identity)
	if err != nil {
		t.Fatal(err)
	}
	return &puppet{TB: t, of: of, own: own, hello: fed.Hello{Manifest: of.identity.Manifest, Versions: fed.Current(), Epoch: of.identity.Epoch, Time: protocol.TimeOf(time.Now())}}
}

// reach connects without a word.
func (p *puppet) reach(n *simnet.Network, endpoint string) Wire {
	p.Helper()
	var papers certificates
	conf, err := papers.client(p.own)
	if err != nil {
		p.Fatal(err)
	}
	c, err := n.DialContext(context.Background(), "tcp", endpoint)
	if err != nil {
		p.Fatal(err)
	}
	w, certs, err := shaken(context.Background(), tls.Client(c, conf))
	if err != nil {
		p.Fatal(err)
	}
	if _, err := shownBy(certs); err != nil {
		p.Fatal(err)
	}
	return w
}

// connect says hello and returns what the other side says.
func (p *puppet) connect(n *simnet.Network, to *branch, endpoint string) (Wire, *hello, error) {
	p.Helper()
	w := p.reach(n, endpoint)
	p.hello.Destination = to.id
	other, err := selfOf(&to.identity)
	if err != nil {
		p.Fatal(err)
	}
	h, err := greet(w, p.hello, ed25519Of(other))
	if err != nil {
		_ = w.Close()
	}
	return w, h, err
}

func ed25519Of(s *self) ed25519.PublicKey {
	key, _ := s.signer.Key.Public().(ed25519.PublicKey)
	return key
}

// untilGoodbye reads on until the other side ends the connection; it returns the goodbye, if there was one.
func (p *puppet) untilGoodbye(w Wire) error {
	for {
		f, err := w.Read()
		if err != nil {
			return err
		}
		if f.Kind == fed.KindGoodbye {
			var g farewell
			if err := f.Into(&g.Goodbye); err != nil {
				return err
			}
			_ = w.Close()
			return &g
		}
	}
}

// next reads the next frame of a kind.
func (p *puppet) next(w Wire, k fed.Kind) (fed.Frame, error) {
	timer := time.AfterFunc(time.Minute, func() { _ = w.Close() })
	defer timer.Stop()
	for {
		f, err := w.Read()
		if err != nil || f.Kind == k {
			return f, err
		}
		if f.Kind == fed.KindGoodbye {
			return f, errors.New("goodbye came first")
		}
	}
}

// serve says hello to whoever connects, until the listener ends, and returns how many did.
func (p *puppet) serve(l net.Listener) (connections int) {
	var papers certificates
	conf, err := papers.base(p.own)
	if err != nil {
		p.Error(err)
		return 0
	}
	conf.ClientAuth = tls.RequireAnyClientCert
	for {
		c, err := l.Accept()
		if err != nil {
			return connections
		}
		connections++
		w, certs, err := shaken(context.Background(), tls.Server(c, conf))
		if err != nil {
			p.Error(err)
			continue
		}
		cert, err := shownBy(certs)
		if err == nil {
			_, err = greet(w, p.hello, cert.key)
		}
		if err != nil {
			p.Error(err)
		}
		_ = p.untilGoodbye(w)
		_ = w.Close()
	}
}
