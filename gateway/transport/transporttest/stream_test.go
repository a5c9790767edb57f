package transporttest

import (
	"net"
	"testing"

	"go.uber.org/goleak"

	"teamtalk/gateway/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTCP(t *testing.T) {
	Run(t, Transport{Kind: transport.KindTCP, HalfClose: true, Dial: func(t testing.TB) (Client, transport.Conn) {
		desk := NewDesk(t)
		l, err := transport.ListenTCP(transport.TCPConfig{Address: "127.0.0.1:0"})
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- l.Serve(desk.Handle) }()
		t.Cleanup(func() {
			desk.Release()
			l.Close()
			if err := <-served; err != nil {
				t.Errorf("Serve: %v", err)
			}
		})
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c, desk.Next(t)
	}})
}
