package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"teamtalk/gateway/transport"
	"teamtalk/protocol/pdu"
)

// listen serves the stage's server on loopback.
func listen(t testing.TB, s *stage) (address string, stop func()) {
	t.Helper()
	l, err := transport.ListenTCP(transport.TCPConfig{Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { // ends with stop
		served <- l.Serve(func(c transport.Conn) { s.srv.ServeConn(context.Background(), c) })
	}()
	return l.Addr().String(), func() {
		l.Stop()
		if err := s.srv.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		l.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}
}

// peer is a client on a real socket.
type peer struct {
	net.Conn
	r *pdu.Reader
}

func connect(t testing.TB, address string, user int, mobile bool) *peer {
	t.Helper()
	return logIn(t, dialTCP(t, address), user, mobile)
}

func dialTCP(t testing.TB, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(2 * time.Minute))
	return c
}

func logIn(t testing.TB, c net.Conn, user int, mobile bool) *peer {
	t.Helper()
	p := &peer{c, pdu.NewReader(c)}
	ct := windows
	if mobile {
		ct = android
	}
	if _, err := c.Write(encode(t, pdu.CmdLoginReq, 1, loginReq(fmt.Sprintf("user%d", user), ct))); err != nil {
		t.Fatal(err)
	}
	if _, err := p.next(pdu.CmdLoginRes); err != nil {
		t.Fatal(err)
	}
	return p
}

// next reads on to a PDU of the command.
func (p *peer) next(cmd pdu.Command) (pdu.PDU, error) {
	for {
		got, err := p.r.Read(pdu.MaxLen)
		if err != nil || got.Header.Command == cmd {
			return got, err
		}
	}
}

// Everything over real sockets: pipelined messages are acked and delivered in order, and Shutdown answers what was read.
func TestOverTCP(t *testing.T) {
	s, stop := newStage(t, nil)
	defer stop()
	address, stopListening := listen(t, s)
	a, b := connect(t, address, 1, false), connect(t, address, 2, true)
	defer a.Close()
	defer b.Close()
	const n = 2000
	var g errgroup.Group
	g.Go(func() error {
		var batch []byte
		for seq := uint16(1); seq <= n; seq++ {
			batch = append(batch, encode(t, pdu.CmdMsgData, seq, text(2, fmt.Sprint(seq)))...)
		}
		_, err := a.Write(batch)
		return err
	})
	for cmd, p := range map[pdu.Command]*peer{pdu.CmdMsgDataAck: a, pdu.CmdMsgData: b} {
		g.Go(func() error {
			for i := 1; i <= n; i++ {
				got, err := p.next(cmd)
				if err != nil {
					return fmt.Errorf("%v %d: %w", cmd, i, err)
				}
				m, err := pdu.Decode(got, pdu.ServerToClient)
				if err != nil {
					return err
				}
				if id := m.(interface{ GetMsgId() uint32 }).GetMsgId(); id != uint32(i) {
					return fmt.Errorf("%v: id %d, want %d", cmd, id, i)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	stopListening()
	for _, p := range []*peer{a, b} {
		if _, err := p.next(0); err == nil {
			t.Error("still connected")
		}
	}
}

// BenchmarkPairs measures messages acked and delivered end to end over loopback, with a store that costs nothing; the load generator runs on the
// same cores.
func BenchmarkPairs(b *testing.B) {
	benchmarkPairs(b, listen, func(address string) net.Conn { return dialTCP(b, address) })
}

func benchmarkPairs(b *testing.B, listen func(testing.TB, *stage) (string, func()), dial func(address string) net.Conn) {
	for _, bc := range []struct{ pairs, window int }{{1, 1}, {1, 16}, {64, 1}, {64, 16}, {256, 1}, {256, 16}} {
		b.Run(fmt.Sprintf("%dx%d", bc.pairs, bc.window), func(b *testing.B) {
			s, stop := newStage(b, func(c *Config) { c.Log = slog.New(slog.DiscardHandler) })
			defer stop()
			s.world.forget = true
			address, stopListening := listen(b, s)
			defer stopListening()
			var from, to []*peer
			for i := range bc.pairs {
				from = append(from, logIn(b, dial(address), 2*i+1, true))
				to = append(to, logIn(b, dial(address), 2*i+2, true))
			}
			per := (b.N + bc.pairs - 1) / bc.pairs
			b.ResetTimer()
			var g errgroup.Group
			for i := range bc.pairs {
				g.Go(func() error { return sendWindow(b, from[i], uint32(2*i+2), per, bc.window) })
				g.Go(func() error {
					for range per {
						if _, err := to[i].next(pdu.CmdMsgData); err != nil {
							return err
						}
					}
					return nil
				})
			}
			if err := g.Wait(); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(per*bc.pairs)/b.Elapsed().Seconds(), "msgs/s")
			b.StopTimer()
			for i := range bc.pairs {
				_ = from[i].Close()
				_ = to[i].Close()
			}
		})
	}
}

func sendWindow(t testing.TB, p *peer, to uint32, n, window int) error {
	one := encode(t, pdu.CmdMsgData, 0, text(to, strings.Repeat("x", 48)))
	sent := min(n, window)
	var first []byte
	for range sent {
		first = append(first, one...)
	}
	if _, err := p.Write(first); err != nil {
		return err
	}
	for range n {
		if _, err := p.next(pdu.CmdMsgDataAck); err != nil {
			return err
		}
		if sent < n {
			sent++
			if _, err := p.Write(one); err != nil {
				return err
			}
		}
	}
	return nil
}
