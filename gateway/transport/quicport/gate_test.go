package quicport

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/quic-go/quic-go"
	"pgregory.net/rapid"
)

// deaf is a socket of a client that never hears an answer, so that its handshakes hang.
type deaf struct{ net.PacketConn }

func (d deaf) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		if n, a, err := d.PacketConn.ReadFrom(b); err != nil {
			return n, a, err
		}
	}
}

// hang begins n handshakes that go nowhere until the test ends.
func hang(t *testing.T, to net.Addr, n int) {
	t.Helper()
	c := newClient(t)
	c.Transport.Conn = deaf{c.Transport.Conn}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{}, n)
	for range n {
		go func() {
			_, _ = c.Dial(ctx, to, c.tls, c.cfg)
			done <- struct{}{}
		}()
	}
	t.Cleanup(func() {
		cancel()
		for range n {
			<-done
		}
	})
}

// With many handshakes under way, clients prove their address first; those who do get in [TT-QUIC-7].
func TestRetryUnderLoad(t *testing.T) {
	p := start(t, Config{Limits: Limits{ValidateAbove: 5}}, echo)
	c := newClient(t)
	_, str := c.open(t, p.Addr())
	roundTrip(t, str, 1)
	if n := counted(p.metrics.retries); n != 0 {
		t.Fatalf("%d retries without load", n)
	}
	hang(t, p.Addr(), 20)
	await(t, "retries", func() bool { return counted(p.metrics.retries) > 0 })
	if n := counted(p.metrics.open); n > 6 {
		t.Errorf("%d connections; addresses that prove nothing may have 5", n)
	}
	_, str = newClient(t).open(t, p.Addr())
	roundTrip(t, str, 1)
}

// One address gets no more than its share of handshakes, and is asked for proof before it has that [TT-QUIC-7].
func TestHandshakesOfOneAddress(t *testing.T) {
	p := start(t, Config{Limits: Limits{HandshakesPerAddress: 4}}, echo)
	hang(t, p.Addr(), 20)
	await(t, "retries", func() bool { return counted(p.metrics.retries) > 0 })
	if n := counted(p.metrics.open); n > 2 {
		t.Errorf("%d handshakes of an address that proves nothing", n)
	}
	_, str := newClient(t).open(t, p.Addr())
	roundTrip(t, str, 1)
}

// An address proved once is believed for a while, by every node with the same key [TT-QUIC-7].
func TestTokensAreSharedByKey(t *testing.T) {
	cfg := Config{TokenKey: bytes.Repeat([]byte{9}, KeyLen), Limits: Limits{ValidateAbove: -1}}
	first, second := start(t, cfg, echo), start(t, cfg, echo)
	cfg.TokenKey = bytes.Repeat([]byte{8}, KeyLen)
	stranger := start(t, cfg, echo)
	c := newClient(t)
	c.cfg.TokenStore = quic.NewLRUTokenStore(10, 10)
	for _, step := range []struct {
		name  string
		port  *Port
		asked bool
	}{{"first", first, true}, {"first again", first, false}, {"second", second, false}, {"stranger", stranger, true}, {"first at last", first, true}} {
		before := counted(step.port.metrics.retries)
		_, str := c.open(t, step.port.Addr())
		roundTrip(t, str, 1) // by now the client has a new token
		if asked := counted(step.port.metrics.retries) > before; asked != step.asked {
			t.Fatalf("%s: asked for proof: %v", step.name, asked)
		}
	}
}

// Too many connections are refused at once and in a way that clients understand [TT-QUIC-7].
func TestConnectionLimit(t *testing.T) {
	p := start(t, Config{Limits: Limits{Connections: 2}}, echo)
	c := newClient(t)
	one := c.dial(t, p.Addr())
	_, str := c.open(t, p.Addr())
	roundTrip(t, str, 1)
	_, err := c.tryDial(t, p.Addr())
	var terr *quic.TransportError
	if !errors.As(err, &terr) || terr.ErrorCode != quic.ConnectionRefused {
		t.Fatalf("the third: %v", err)
	}
	if counted(p.metrics.refused.WithLabelValues(refusedConnections)) == 0 {
		t.Error("not counted")
	}
	_ = one.CloseWithError(0, "")
	await(t, "room again", func() bool { return counted(p.metrics.open) == 1 })
	_, third := c.open(t, p.Addr())
	roundTrip(t, third, 1)
	roundTrip(t, str, 2)
}

// More clients at once than the accept queue holds all get in.
func TestManyAtOnce(t *testing.T) {
	const clients = 130
	const long = 9 * patience // for all of their handshakes together, on a machine that has other things to do
	p := start(t, Config{Limits: Limits{HandshakesPerAddress: 1000}, Timing: Timing{Handshake: long, FirstStream: long}}, echo)
	c := newClient(t)
	c.cfg.HandshakeIdleTimeout, c.cfg.MaxIdleTimeout = long, long
	got := make(chan error, clients)
	for i := range clients {
		go func() {
			ctx, cancel := context.WithTimeout(t.Context(), long)
			defer cancel()
			qc, err := c.Dial(ctx, p.Addr(), c.tls, c.cfg)
			if err != nil {
				got <- err
				return
			}
			defer qc.CloseWithError(0, "")
			str, err := qc.OpenStream()
			if err != nil {
				got <- err
				return
			}
			_, err = str.Write(numbered(i))
			if err == nil {
				_, err = str.Read(make([]byte, 1))
			}
			got <- err
		}()
	}
	refused := 0
	for range clients {
		var terr *quic.TransportError
		if err := <-got; errors.As(err, &terr) && terr.ErrorCode == quic.ConnectionRefused {
			refused++ // which clients repeat
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if refused > clients/2 { // without many acceptors it may come to that
		t.Errorf("%d of %d refused", refused, clients)
	}
}

// Whatever connections do, and in whatever order, the counts are those of the connections there are, and within the limits.
func TestGateCounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := newGate(Limits{Connections: 6, Handshakes: 4, HandshakesPerAddress: 2, ValidateAbove: 3}, newMetrics("quic", nil))
		type open struct {
			a    *attempt
			done bool
		}
		var all []*open
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 2).Draw(t, "step") {
			case 0:
				from := netip.AddrFrom4([4]byte{10, 0, 0, rapid.Byte().Draw(t, "from") % 3})
				a := &attempt{gate: g, from: origin(net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 1)))}
				if g.enter(a.from) == "" {
					all = append(all, &open{a: a})
				}
			case 1:
				if len(all) > 0 {
					o := all[rapid.IntRange(0, len(all)-1).Draw(t, "which")]
					g.mu.Lock()
					o.a.leaveHandshakeLocked()
					g.mu.Unlock()
					o.done = true
				}
			case 2:
				if len(all) > 0 {
					i := rapid.IntRange(0, len(all)-1).Draw(t, "which")
					all[i].a.ended()
					all = append(all[:i], all[i+1:]...)
				}
			}
			handshakes, per := 0, map[netip.Prefix]int{}
			for _, o := range all {
				if !o.done {
					handshakes++
					per[o.a.from]++
				}
			}
			if g.connections != len(all) || g.handshakes != handshakes || len(g.byAddress) != len(per) {
				t.Fatalf("%d connections, %d handshakes, %d addresses; want %d, %d, %d", g.connections, g.handshakes, len(g.byAddress),
					len(all), handshakes, len(per))
			}
			if g.connections > 6 || handshakes > 4 {
				t.Fatal("over the limit")
			}
			for _, n := range per {
				if n > 2 {
					t.Fatal("over the limit of an address")
				}
			}
		}
	})
}

func TestOrigin(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.7:1": "192.0.2.7/32", "[::ffff:192.0.2.7]:1": "192.0.2.7/32", "[2001:db8:1:2:3::4]:5": "2001:db8:1:2::/64",
		"[fe80::1%25eth0]:1": "fe80::/64",
	} {
		a, err := netip.ParseAddrPort(text)
		if err != nil {
			continue
		}
		if got := origin(net.UDPAddrFromAddrPort(a)); got.String() != want {
			t.Errorf("%s: %v, want %s", text, got, want)
		}
	}
	if got := origin(&net.TCPAddr{}); got.IsValid() {
		t.Errorf("an address of another kind: %v", got)
	}
}
