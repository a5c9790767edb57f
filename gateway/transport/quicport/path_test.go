package quicport

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"teamtalk/gateway/transport"
	"teamtalk/protocol/pdu"
)

// talk sends numbered PDUs and checks that each comes back once and in order.
func talk(t *testing.T, str *quic.Stream, from, count int, between func(i int)) {
	t.Helper()
	sent := make(chan error, 1)
	go func() {
		for i := range count {
			if between != nil {
				between(i)
			}
			if _, err := str.Write(numbered(from + i)); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	for i := range count {
		expect(t, str, numbered(from+i))
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
}

func numbered(i int) []byte {
	return frame(pdu.CmdMsgData, uint16(i), fmt.Appendf(nil, "message %d", i))
}

// watch hands out the connection that it echoes for.
func watch(conns chan<- transport.Conn) func(transport.Conn) {
	return func(c transport.Conn) {
		conns <- c
		echo(c)
	}
}

// A NAT that gives the client another port in the middle of the conversation loses nothing, and the server knows the new port [TT-QUIC-5]. A client
// without connection ids of its own, as one socket for one connection allows, may go through this for ever; one with ids has spares for two.
func TestRebinding(t *testing.T) {
	for name, c := range map[string]struct {
		rounds int
		dial   func(c *client, ctx context.Context, to net.Addr) (*quic.Conn, error)
	}{
		"no ids": {8, func(c *client, ctx context.Context, to net.Addr) (*quic.Conn, error) {
			return quic.Dial(ctx, c.Conn, to, c.tls, c.cfg)
		}},
		"ids": {2, func(c *client, ctx context.Context, to net.Addr) (*quic.Conn, error) {
			return c.Dial(ctx, to, c.tls, c.cfg)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			conns := make(chan transport.Conn, 1)
			p := start(t, Config{}, watch(conns))
			relay := newRelay(t, p.Addr())
			qc, err := c.dial(newClient(t), t.Context(), relay.front.LocalAddr())
			if err != nil {
				t.Fatal(err)
			}
			defer qc.CloseWithError(0, "")
			str, err := qc.OpenStream()
			if err != nil {
				t.Fatal(err)
			}
			talk(t, str, 0, 10, nil)
			server := <-conns
			for round := range c.rounds {
				rebindInTalk(t, str, relay, server, 100*round)
			}
			if counted(p.metrics.open) != 1 {
				t.Error("another connection was made")
			}
		})
	}
}

func rebindInTalk(t *testing.T, str *quic.Stream, relay *relay, server transport.Conn, from int) {
	t.Helper()
	var now netip.AddrPort
	talk(t, str, from, 100, func(i int) {
		if i == 50 {
			now = relay.rebind(t)
		}
	})
	await(t, "the new address known", func() bool {
		roundTrip(t, str, 1)
		return server.RemoteAddr() == now
	})
}

// cuttable is the socket of a network that can be lost without a word.
type cuttable struct {
	net.PacketConn
	cut atomic.Bool
}

func (c *cuttable) WriteTo(b []byte, to net.Addr) (int, error) {
	if c.cut.Load() {
		return len(b), nil
	}
	return c.PacketConn.WriteTo(b, to)
}

func (c *cuttable) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		if n, from, err := c.PacketConn.ReadFrom(b); err != nil || !c.cut.Load() {
			return n, from, err
		}
	}
}

// A client that changes to another network, as from Wi-Fi to mobile, goes on with the same session [TT-QUIC-5].
func TestMigration(t *testing.T) {
	conns := make(chan transport.Conn, 1)
	p := start(t, Config{}, watch(conns))
	first := newClient(t)
	network := &cuttable{PacketConn: first.Conn}
	first.Conn = network
	qc, str := first.open(t, p.Addr())
	talk(t, str, 0, 100, nil)
	server := <-conns
	other := newSocket(t)
	path, err := qc.AddPath(other)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := path.Probe(ctx); err != nil {
		t.Fatal(err)
	}
	talk(t, str, 100, 200, func(i int) {
		if i == 100 {
			if err := path.Switch(); err != nil {
				t.Error(err)
			}
		}
	})
	network.cut.Store(true)
	talk(t, str, 300, 100, nil)
	await(t, "the new address known", func() bool {
		return server.RemoteAddr().String() == other.Conn.LocalAddr().String()
	})
}

// Lost datagrams are nobody's concern above the transport.
func TestLoss(t *testing.T) {
	p := start(t, Config{}, echo)
	relay := newRelay(t, p.Addr())
	rnd := rand.New(rand.NewPCG(3, 4))
	_, str := newClient(t).open(t, relay.front.LocalAddr())
	relay.lose(func() bool { return rnd.IntN(10) == 0 })
	talk(t, str, 0, 500, nil)
}

// A session that is silent for as long as its heartbeats may be [TT-HB-2] is not ended by the transport [TT-QUIC-4].
func TestIdleTimeIsLongerThanTheSessions(t *testing.T) {
	var cfg Config
	cfg.complete()
	const mobile = 300 * time.Second
	if q := quicConfig(cfg); q.MaxIdleTimeout <= mobile || q.KeepAlivePeriod != 0 {
		t.Errorf("idle time %v, keep-alive every %v", q.MaxIdleTimeout, q.KeepAlivePeriod)
	}
	p := start(t, Config{Timing: Timing{Idle: 200 * time.Millisecond}}, echo)
	qc, str := newClient(t).open(t, p.Addr())
	roundTrip(t, str, 1)
	select {
	case <-qc.Context().Done(): // both ends know, without a datagram
	case <-time.After(patience):
		t.Fatal("still open")
	}
	await(t, "the server has noticed", func() bool { return counted(p.metrics.open) == 0 })
}
