package quicport

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"testing"

	"github.com/quic-go/quic-go"

	"teamtalk/gateway/transport"
	"teamtalk/protocol"
)

const peerProtocol = "peers/1"

// peerHost is a port with such a protocol, whose connections answer each stream by a stream, reading all of it first.
type peerHost struct {
	*Port
	shown chan int // certificates that the other side showed
	ended chan struct{}
}

func startPeers(t *testing.T, most int, refuse error) *peerHost {
	id, err := newIdentity()
	if err != nil {
		t.Fatal(err)
	}
	h := &peerHost{shown: make(chan int, 10), ended: make(chan struct{}, 10)}
	h.Port = start(t, Config{HTTP: noHTTP, Peer: &PeerProtocol{ALPN: peerProtocol, Most: most,
		TLS: func() (*tls.Config, error) {
			return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{id.cert}, ClientAuth: tls.RequireAnyClientCert, SessionTicketsDisabled: true}, refuse
		},
		Handle: func(qc *quic.Conn) {
			h.shown <- len(qc.ConnectionState().TLS.PeerCertificates)
			h.serve(qc)
			h.ended <- struct{}{}
		}}}, echo)
	return h
}

func (h *peerHost) serve(qc *quic.Conn) {
	for {
		in, err := qc.AcceptUniStream(context.Background())
		if err != nil {
			return
		}
		b, err := io.ReadAll(in)
		if err != nil {
			return
		}
		out, err := qc.OpenUniStreamSync(context.Background())
		if err != nil {
			return
		}
		_, _ = out.Write(b)
		_ = out.Close()
	}
}

func dialPeer(t *testing.T, h *peerHost) (*quic.Conn, error) {
	t.Helper()
	id, err := newIdentity()
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t)
	c.tls = &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{id.cert}, NextProtos: []string{peerProtocol}}
	return c.tryDial(t, h.Addr())
}

func mustDialPeer(t *testing.T, h *peerHost) *quic.Conn {
	t.Helper()
	qc, err := dialPeer(t, h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = qc.CloseWithError(0, "") })
	return qc
}

// answers reports why a connection does not answer; nil if it does.
func answers(t *testing.T, qc *quic.Conn) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := qc.OpenUniStreamSync(ctx)
	if err != nil {
		return err
	}
	if _, err = out.Write([]byte("hello")); err != nil {
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	in, err := qc.AcceptUniStream(ctx)
	if err != nil {
		return err
	}
	b, err := io.ReadAll(in)
	if err == nil && string(b) != "hello" {
		err = errors.New("the answer is " + string(b))
	}
	return err
}

func TestPeersBesideClients(t *testing.T) {
	h := startPeers(t, 0, nil)
	qc := mustDialPeer(t, h)
	if err := answers(t, qc); err != nil {
		t.Fatal(err)
	}
	if n := <-h.shown; n != 1 {
		t.Errorf("the handler sees %d certificates", n)
	}
	for i := range peerUniStreams { // at a time
		if _, err := qc.OpenUniStream(); err != nil {
			t.Fatalf("stream %d: %v", i, err)
		}
	}
	_, str := newClient(t).open(t, h.Addr())
	roundTrip(t, str, 1)
	if s, err := get(t, browser(t, h.Port), "/"); err != nil || s != "" {
		t.Errorf("HTTP/3: %q, %v", s, err)
	}
	_ = qc.CloseWithError(0, "")
	<-h.ended
}

// Clients resume as if there were no peers, in spite of the choice that each handshake has.
func TestResumptionBesidePeers(t *testing.T) {
	resumesWithoutEarlyData(t, startPeers(t, 0, nil).Port)
}

func TestPeersAreRefusedWithoutCertificate(t *testing.T) {
	h := startPeers(t, 0, errors.New("nobody yet"))
	if _, err := dialPeer(t, h); err == nil {
		t.Error("a handshake without a certificate")
	}
	_, str := newClient(t).open(t, h.Addr())
	roundTrip(t, str, 1)
}

func TestPeersAreBounded(t *testing.T) {
	h := startPeers(t, 1, nil)
	first := mustDialPeer(t, h)
	if err := answers(t, first); err != nil {
		t.Fatal(err)
	}
	if code := closedBy(t, mustDialPeer(t, h)); code != protocol.CodeOverloaded {
		t.Errorf("closed with %v", code)
	}
	if counted(h.metrics.refused.WithLabelValues(refusedPeers)) != 1 {
		t.Error("not counted")
	}
	_ = first.CloseWithError(0, "")
	<-h.ended
	await(t, "room for another one", func() bool { return answers(t, mustDialPeer(t, h)) == nil })
}

func TestStopAndCloseOfPeers(t *testing.T) {
	h := startPeers(t, 0, nil)
	qc := mustDialPeer(t, h)
	if err := answers(t, qc); err != nil {
		t.Fatal(err)
	}
	h.Stop()
	if err := answers(t, qc); err != nil {
		t.Errorf("Stop breaks what is there: %v", err)
	}
	h.Close()
	select {
	case <-h.ended: // Close has waited for it
	default:
		t.Error("a handler outlives Close")
	}
	if code := closedBy(t, qc); code != protocol.CodeDraining {
		t.Errorf("closed with %v", code)
	}
}

// Windows of peers may grow further than those of clients.
func TestWindows(t *testing.T) {
	clients, peers := make(chan *quic.Conn, 1), make(chan *quic.Conn, 1)
	id, err := newIdentity()
	if err != nil {
		t.Fatal(err)
	}
	h := &peerHost{}
	h.Port = start(t, Config{Peer: &PeerProtocol{ALPN: peerProtocol,
		TLS: func() (*tls.Config, error) { return &tls.Config{Certificates: []tls.Certificate{id.cert}}, nil },
		Handle: func(qc *quic.Conn) {
			peers <- qc
			<-qc.Context().Done()
		}}}, func(c transport.Conn) {
		if native, ok := c.(*conn); ok {
			clients <- native.str.qc
		}
		echo(c)
	})
	_, str := newClient(t).open(t, h.Addr())
	roundTrip(t, str, 1)
	mustDialPeer(t, h)
	grown := func(qc *quic.Conn) (window uint64) {
		a, ok := qc.Context().Value(attemptKey{}).(*attempt)
		if !ok {
			t.Fatal("not counted")
		}
		for window = connectionWindow; window < maxPeerConnection && a.mayGrow(window); window *= 2 { // as the library does it
		}
		return window
	}
	if got := grown(<-clients); got != maxConnectionWindow {
		t.Errorf("a client's grows to %d", got)
	}
	if got := grown(<-peers); got != maxPeerConnection {
		t.Errorf("a peer's grows to %d", got)
	}
}
