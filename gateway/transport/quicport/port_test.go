package quicport

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/quic-go/quic-go"

	"teamtalk/gateway/transport"
	"teamtalk/protocol"
	"teamtalk/protocol/pdu"
)

func asApplication(err error, to **quic.ApplicationError) bool { return errors.As(err, to) }

func TestPDUsBothWays(t *testing.T) {
	addrs := make(chan netip.AddrPort, 1)
	p := start(t, Config{Registerer: prometheus.NewRegistry()}, func(c transport.Conn) {
		if c.Kind() != transport.KindQUIC {
			t.Errorf("a connection of kind %q", c.Kind())
		}
		addrs <- c.RemoteAddr()
		echo(c)
	})
	c := newClient(t)
	_, str := c.open(t, p.Addr())
	for _, b := range frame(0x0701, 7, []byte("hello")) { // in the smallest pieces
		send(t, str, []byte{b})
	}
	expect(t, str, frame(0x0701, 7, []byte("hello")))
	if got := <-addrs; got != c.Conn.LocalAddr().(*net.UDPAddr).AddrPort() {
		t.Errorf("the client is at %v, it says %v", c.Conn.LocalAddr(), got)
	}
	if counted(p.metrics.accepted) != 1 || counted(p.metrics.open) != 1 {
		t.Error("the connection is not counted")
	}
}

// A client that wants another protocol fails in the handshake [TT-QUIC-1].
func TestOtherProtocolsFail(t *testing.T) {
	p := start(t, Config{}, echo)
	const noApplicationProtocol = 0x100 + 120 // RFC 9001: 0x100 and the alert of TLS
	for _, alpn := range []string{"h3", "tt-fed/1", "teamtalk/2", "http/1.1"} {
		c := newClient(t)
		c.tls.NextProtos = []string{alpn}
		_, err := c.tryDial(t, p.Addr())
		var terr *quic.TransportError
		if !errors.As(err, &terr) || terr.ErrorCode != noApplicationProtocol {
			t.Errorf("%s: %v", alpn, err)
		}
	}
	await(t, "failed handshakes counted and over", func() bool { return counted(p.metrics.failed) == 4 && counted(p.metrics.open) == 0 })
	c := newClient(t)
	c.tls.NextProtos = []string{"tt-fed/1", ALPN} // one of several is enough
	_, str := c.open(t, p.Addr())
	roundTrip(t, str, 1)
}

// Sessions of TLS are resumed, but nothing is accepted before the handshake is done: it could be replayed [TT-QUIC-1].
func TestResumptionWithoutEarlyData(t *testing.T) {
	resumesWithoutEarlyData(t, start(t, Config{}, echo))
}

func resumesWithoutEarlyData(t *testing.T, p *Port) {
	t.Helper()
	c := newClient(t)
	c.tls.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	_, str := c.open(t, p.Addr())
	roundTrip(t, str, 1)
	qc, err := c.DialEarly(t.Context(), p.Addr(), c.tls, c.cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer qc.CloseWithError(0, "")
	<-qc.HandshakeComplete()
	if s := qc.ConnectionState(); s.Used0RTT || !s.TLS.DidResume {
		t.Errorf("0-RTT: %v, resumed: %v", s.Used0RTT, s.TLS.DidResume)
	}
}

// A client that connects and opens no session stream is closed [TT-QUIC-2].
func TestNoSessionStream(t *testing.T) {
	p := start(t, Config{Timing: Timing{FirstStream: 50 * time.Millisecond}}, func(transport.Conn) { t.Error("a connection without a stream") })
	qc := newClient(t).dial(t, p.Addr())
	if code := closedBy(t, qc); code != protocol.CodeUnauthenticated {
		t.Errorf("closed with %v", code)
	}
	if counted(p.metrics.refused.WithLabelValues(refusedNoStream)) != 1 {
		t.Error("not counted")
	}
}

// Streams beside the session stream are refused and do no harm to it, until they are too many [TT-QUIC-3].
func TestOtherStreamsAreRefused(t *testing.T) {
	p := start(t, Config{HTTP: noHTTP, Limits: Limits{RefusedStreams: 3}}, echo)
	qc, str := newClient(t).open(t, p.Addr())
	roundTrip(t, str, 1)
	for i := range 2 {
		bulk, err := qc.OpenStream()
		if err != nil {
			t.Fatal(err)
		}
		send(t, bulk, frame(pdu.CmdFileLoginReq, 0, nil))
		_ = bulk.SetReadDeadline(time.Now().Add(patience))
		var serr *quic.StreamError
		if _, err := io.ReadAll(bulk); !errors.As(err, &serr) || !serr.Remote || protocol.Code(serr.ErrorCode) != protocol.CodeForbidden {
			t.Fatalf("stream %d: %v", i, err)
		}
		uni, err := qc.OpenUniStream()
		if err != nil {
			t.Fatal(err)
		}
		send(t, uni, []byte("?"))
		await(t, "the unidirectional stream refused", func() bool { // when the session stream is read
			roundTrip(t, str, 9)
			return uni.Context().Err() != nil
		})
		if err := context.Cause(uni.Context()); !errors.As(err, &serr) || !serr.Remote || protocol.Code(serr.ErrorCode) != protocol.CodeInvalid {
			t.Fatalf("unidirectional stream %d: %v", i, err)
		}
		roundTrip(t, str, uint16(2+i))
	}
	if counted(p.metrics.streams.WithLabelValues(streamBulk)) != 2 || counted(p.metrics.streams.WithLabelValues(streamUni)) != 2 {
		t.Error("not counted")
	}
	third, err := qc.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	send(t, third, []byte("?"))
	if code := closedBy(t, qc); code != protocol.CodeRateLimited {
		t.Errorf("closed with %v", code)
	}
}

// Without HTTP/3 a client can open no more than a native client may [TT-QUIC-3].
func TestStreamLimits(t *testing.T) {
	p := start(t, Config{}, echo)
	qc, str := newClient(t).open(t, p.Addr())
	roundTrip(t, str, 1)
	opened := 1
	for ; opened < 100; opened++ {
		if _, err := qc.OpenStream(); err != nil {
			break
		}
	}
	if opened != sessionStreams {
		t.Errorf("%d streams", opened)
	}
	if _, err := qc.OpenUniStream(); err == nil {
		t.Error("a unidirectional stream")
	}
}

func TestStopKeepsConnectionsAndCloseBreaksThem(t *testing.T) {
	ended := make(chan error, 1)
	p := start(t, Config{}, func(c transport.Conn) {
		for {
			q, err := c.Read(100)
			if err != nil {
				ended <- err
				return
			}
			_ = c.Write([][]byte{frame(q.Header.Command, q.Header.Seq, q.Body)})
		}
	})
	c := newClient(t)
	qc, str := c.open(t, p.Addr())
	roundTrip(t, str, 1)
	p.Stop()
	p.Stop() // twice is once
	c.cfg.HandshakeIdleTimeout = 100 * time.Millisecond
	if _, err := c.tryDial(t, p.Addr()); err == nil {
		t.Fatal("still accepting after Stop")
	}
	roundTrip(t, str, 2)
	p.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Close ended it with %v", err)
	}
	if code := closedBy(t, qc); code != protocol.CodeDraining {
		t.Errorf("closed with %v", code)
	}
}

// After a restart clients learn at once that their connections are gone, if the key is the same [TT-QUIC-7].
func TestStatelessReset(t *testing.T) {
	cfg := Config{ResetKey: bytes.Repeat([]byte{7}, KeyLen)}
	first := start(t, cfg, echo)
	relay := newRelay(t, first.Addr())
	qc, str := newClient(t).open(t, relay.front.LocalAddr())
	roundTrip(t, str, 1)

	relay.lose(func() bool { return true }) // the first server's farewell
	first.Close()
	relay.rebind(t)
	relay.lose(func() bool { return false })
	cfg.Address = first.Addr().String()
	start(t, cfg, echo)

	send(t, str, frame(0x0701, 2, bytes.Repeat([]byte("x"), 200)))
	select {
	case <-qc.Context().Done():
	case <-time.After(patience):
		t.Fatal("the client has not noticed")
	}
	var reset *quic.StatelessResetError
	if err := context.Cause(qc.Context()); !errors.As(err, &reset) {
		t.Errorf("ended with %v", err)
	}
}

func TestListenChecks(t *testing.T) {
	for name, cfg := range map[string]Config{
		"no certificates": {Address: "127.0.0.1:0"},
		"short reset key": {Address: "127.0.0.1:0", TLS: &tls.Config{}, ResetKey: []byte("short")},
		"short token key": {Address: "127.0.0.1:0", TLS: &tls.Config{}, TokenKey: []byte("short")},
		"no address":      {Address: "nowhere", TLS: &tls.Config{}},
	} {
		if p, err := Listen(cfg); err == nil {
			p.Close()
			t.Errorf("%s: accepted", name)
		}
	}
}

// Datagrams of any content neither end the port nor stay in it.
func TestGarbage(t *testing.T) {
	p := start(t, Config{ResetKey: bytes.Repeat([]byte{1}, KeyLen)}, echo)
	udp, err := net.DialUDP("udp", nil, p.Addr().(*net.UDPAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	rnd := rand.New(rand.NewPCG(1, 2))
	long := []byte{0xc0, 0, 0, 0, 1, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0} // begins as an Initial does
	for i := range 3000 {
		b := make([]byte, rnd.IntN(1400))
		for j := range b {
			b[j] = byte(rnd.Uint32())
		}
		if i%3 == 0 {
			b = append(append([]byte{}, long...), b...)
		}
		if i%7 == 0 && len(b) > 4 { // another version
			b[0] |= 0x80
			b[4] = 9
		}
		_, _ = udp.Write(b)
	}
	_, str := newClient(t).open(t, p.Addr())
	roundTrip(t, str, 1)
	await(t, "no handshakes left", func() bool { return counted(p.metrics.open) == 1 })
}

// The session's read deadline works as on other transports: it interrupts, and says so.
func TestReadDeadline(t *testing.T) {
	got := make(chan error, 1)
	p := start(t, Config{}, func(c transport.Conn) {
		_, _ = c.Read(100)
		if err := c.SetReadDeadline(time.Unix(1, 0)); err != nil {
			t.Error(err)
		}
		_, err := c.Read(100)
		got <- err
	})
	_, str := newClient(t).open(t, p.Addr())
	send(t, str, frame(0x0701, 1, nil))
	if err := <-got; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}
