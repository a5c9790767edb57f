package tlsport

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"testing"
	"time"

	"teamtalk/protocol/pdu"
)

const peerProtocol = "peers/1"

// selfSigned is what either side of a peers' connection shows.
func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, public, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// peerPlace is a port with such a protocol, whose connections echo what comes until they end.
type peerPlace struct {
	*place
	own, theirs tls.Certificate
	shown       chan []*x509.Certificate // to the handlers
	ended       chan struct{}            // one for each handler
	hold        chan struct{}            // handlers end when it is closed; nil: at once
}

func openPeers(t *testing.T, most int, refuse error) *peerPlace {
	p := &peerPlace{own: selfSigned(t), theirs: selfSigned(t), shown: make(chan []*x509.Certificate, 10), ended: make(chan struct{}, 10)}
	p.place = open(t, Config{Peer: &PeerProtocol{ALPN: peerProtocol, Most: most,
		TLS: func() (*tls.Config, error) {
			return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{p.own}, ClientAuth: tls.RequireAnyClientCert}, refuse
		},
		Handle: func(c net.Conn, certificates []*x509.Certificate) {
			p.shown <- certificates
			_, _ = io.Copy(c, c)
			if p.hold != nil {
				<-p.hold
			}
			p.ended <- struct{}{}
		}}})
	return p
}

func (p *peerPlace) dialPeer() (*tls.Conn, error) {
	c, err := tls.Dial("tcp", p.port.Addr().String(), &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{p.theirs}, NextProtos: []string{peerProtocol}})
	if err != nil {
		return nil, err
	}
	p.Cleanup(func() { _ = c.Close() })
	err = c.SetDeadline(time.Now().Add(patience))
	return c, err
}

func (p *peerPlace) mustDialPeer() *tls.Conn {
	p.Helper()
	c, err := p.dialPeer()
	if err != nil {
		p.Fatal(err)
	}
	return c
}

// echoes reports why a connection does not echo; nil if it does.
func echoes(c net.Conn) error {
	if _, err := io.WriteString(c, "hello"); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 5))
	return err
}

func TestPeersHaveTheirOwnCertificates(t *testing.T) {
	p := openPeers(t, 0, nil)
	c := p.mustDialPeer()
	if err := echoes(c); err != nil {
		t.Fatal(err)
	}
	if got := c.ConnectionState().PeerCertificates[0].Raw; string(got) != string(p.own.Certificate[0]) {
		t.Error("the port shows peers another certificate")
	}
	if got := <-p.shown; len(got) != 1 || string(got[0].Raw) != string(p.theirs.Certificate[0]) {
		t.Errorf("the handler was shown %d certificates, or another one", len(got))
	}
	p.count(peer, 1)

	client, err := p.dial(Protocol) // its roots know the certificate for clients only
	if err != nil {
		t.Fatal(err)
	}
	served := p.desk.Next(t)
	if _, err := client.Write(pdu.AppendRaw(nil, pdu.Header{Command: 0x0701}, nil)); err != nil {
		t.Fatal(err)
	}
	if _, err := served.Read(pdu.MaxLen); err != nil {
		t.Error(err)
	}
	p.count(native, 1)

	_ = c.Close()
	<-p.ended
}

func TestPeersAreRefusedWithoutCertificate(t *testing.T) {
	p := openPeers(t, 0, errors.New("nobody yet"))
	if _, err := p.dialPeer(); err == nil {
		t.Error("a handshake without a certificate")
	}
	p.count(failed, 1)
	if _, err := p.dial(Protocol); err != nil {
		t.Errorf("clients are refused, too: %v", err)
	}
	p.desk.Next(t)
}

// A choice that the configuration for clients makes itself is left to it.
func TestChoiceForOthers(t *testing.T) {
	chosen := &tls.Config{ServerName: "chosen"}
	for _, others := range []*tls.Config{{}, {GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return chosen, nil }}} {
		want := chosen
		if others.GetConfigForClient == nil {
			want = nil
		}
		newPeers(&PeerProtocol{ALPN: peerProtocol}).configure(others)
		if got, err := others.GetConfigForClient(&tls.ClientHelloInfo{SupportedProtos: []string{Protocol}}); err != nil || got != want {
			t.Errorf("%v, %v", got, err)
		}
	}
}

func TestPeersAreBounded(t *testing.T) {
	p := openPeers(t, 2, nil)
	first, second := p.mustDialPeer(), p.mustDialPeer()
	for _, c := range []net.Conn{first, second} {
		if err := echoes(c); err != nil {
			t.Fatal(err)
		}
	}
	if third, err := p.dialPeer(); err == nil && echoes(third) == nil {
		t.Error("a third one is served")
	}
	p.count(full, 1)
	_ = first.Close()
	<-p.ended
	for limit := time.Now().Add(patience); echoes(p.mustDialPeer()) != nil; { // the first one is counted until its handler's goroutine has ended
		if time.Now().After(limit) {
			t.Fatal("there is no room for another one")
		}
	}
	if err := echoes(second); err != nil {
		t.Error(err)
	}
}

func TestStopAndCloseOfPeers(t *testing.T) {
	p := openPeers(t, 0, nil)
	p.hold = make(chan struct{})
	c := p.mustDialPeer()
	if err := echoes(c); err != nil {
		t.Fatal(err)
	}
	p.port.Stop()
	if late, err := p.dialPeer(); err == nil && echoes(late) == nil {
		t.Error("one is served after Stop")
	}
	p.count(stopping, 1)
	if err := echoes(c); err != nil {
		t.Errorf("Stop breaks what is there: %v", err)
	}
	closed := make(chan struct{})
	go func() {
		p.port.peers.close() // what Close does about them
		close(closed)
	}()
	select {
	case <-closed:
		t.Error("a handler outlives it")
	case <-time.After(20 * time.Millisecond):
	}
	close(p.hold)
	<-closed
	if err := echoes(c); err == nil {
		t.Error("echoes afterwards")
	}
}
