package transport

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"teamtalk/protocol"
	"teamtalk/protocol/pdu"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, handle func(Conn)) *TCP {
	t.Helper()
	l, err := ListenTCP(TCPConfig{Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- l.Serve(handle) }()
	t.Cleanup(func() {
		l.Close()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return l
}

func dial(t *testing.T, l *TCP) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func frame(cmd pdu.Command, seq uint16, body string) []byte {
	return pdu.AppendRaw(nil, pdu.Header{Version: 1, Command: cmd, Seq: seq}, []byte(body))
}

func TestWholePDUsBothWays(t *testing.T) {
	l := start(t, func(c Conn) {
		if c.Kind() != KindTCP || c.RemoteAddr().Addr() != netip.MustParseAddr("127.0.0.1") {
			t.Errorf("a connection of kind %q from %v", c.Kind(), c.RemoteAddr())
		}
		for {
			p, err := c.Read(1000)
			if err != nil {
				return
			}
			raw := pdu.AppendRaw(nil, p.Header, p.Body)
			if err := c.Write([][]byte{raw, raw, raw}); err != nil {
				t.Error(err)
			}
			if err := c.Write([][]byte{raw}); err != nil {
				t.Error(err)
			}
		}
	})
	c := dial(t, l)
	one := frame(0x0701, 7, "hello")
	for _, b := range one { // in the smallest pieces
		if _, err := c.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	got := make([]byte, 4*len(one))
	if _, err := io.ReadFull(c, got); err != nil {
		t.Fatal(err)
	}
	if want := bytes.Repeat(one, 4); !bytes.Equal(got, want) {
		t.Fatalf("got %x, want %x", got, want)
	}
}

func TestCloseWriteLeavesReadingAlone(t *testing.T) {
	done := make(chan struct{})
	l := start(t, func(c Conn) {
		defer close(done)
		if err := c.Write([][]byte{frame(0x0106, 1, "")}); err != nil {
			t.Error(err)
		}
		if err := c.CloseWrite(); err != nil {
			t.Error(err)
		}
		if p, err := c.Read(100); err != nil || p.Header.Seq != 9 {
			t.Errorf("after CloseWrite read %+v, %v", p, err)
		}
	})
	c := dial(t, l)
	if b, err := io.ReadAll(c); err != nil || len(b) != 16 {
		t.Fatalf("read %x, %v", b, err)
	}
	if _, err := c.Write(frame(0x0701, 9, "")); err != nil {
		t.Fatal(err)
	}
	<-done
}

func TestStopKeepsConnectionsAndCloseBreaksThem(t *testing.T) {
	began, ended := make(chan struct{}), make(chan error, 1)
	l := start(t, func(c Conn) {
		close(began)
		_, err := c.Read(100)
		ended <- err
	})
	dial(t, l)
	<-began
	l.Stop()
	l.Stop() // twice is once
	if c, err := net.Dial("tcp", l.Addr().String()); err == nil {
		_ = c.Close()
		t.Fatal("still accepting after Stop")
	}
	select {
	case err := <-ended:
		t.Fatalf("Stop ended a connection: %v", err)
	default:
	}
	l.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Fatalf("Close ended it with %v", err)
	}
}

func TestReadDeadline(t *testing.T) {
	got := make(chan error, 1)
	l := start(t, func(c Conn) {
		if err := c.SetReadDeadline(time.Now()); err != nil {
			t.Error(err)
		}
		_, err := c.Read(100)
		got <- err
	})
	dial(t, l)
	var nerr net.Error
	if err := <-got; !errors.As(err, &nerr) || !nerr.Timeout() {
		t.Fatalf("got %v", err)
	}
}

// A client that takes nothing is given up.
func TestWriteTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		defer b.Close()
		c := NewStream(a, KindTCP)
		began := time.Now()
		err := c.Write([][]byte{frame(0x0301, 0, "x"), frame(0x0301, 0, "y")})
		var nerr net.Error
		if !errors.As(err, &nerr) || !nerr.Timeout() || time.Since(began) != writeTimeout {
			t.Fatalf("after %v: %v", time.Since(began), err)
		}
		_ = c.Close(protocol.CodeUnspecified)
	})
}

// After a Read that its deadline cut short in the middle of a PDU, the rest is thrown away until the client closes.
func TestDiscardUntilTheClientCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		c := NewStream(a, KindTCP)
		go func() {
			f := frame(0x0301, 0, "0123456789")
			_, _ = b.Write(f[:20])
			<-time.After(2 * time.Second)
			_, _ = b.Write(f[20:])
			_, _ = b.Write(make([]byte, 100_000))
			_ = b.Close()
		}()
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := c.Read(1000); err == nil {
			t.Fatal("read half a PDU")
		}
		began := time.Now()
		c.Discard(began.Add(time.Minute))
		if d := time.Since(began); d != time.Second {
			t.Fatalf("discarded for %v", d)
		}
		_ = c.Close(protocol.CodeUnspecified)
	})
}

// failing is a listener without file descriptors.
type failing struct {
	net.Listener
	accepts atomic.Int32
	closed  chan struct{}
}

func (f *failing) Accept() (net.Conn, error) {
	select {
	case <-f.closed:
		return nil, net.ErrClosed
	default:
		f.accepts.Add(1)
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
}

func (f *failing) Close() error {
	close(f.closed)
	return nil
}

func TestAcceptErrorsBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &failing{closed: make(chan struct{})}
		l := newTCP(NewListener(f, ListenerConfig{Log: slog.New(slog.DiscardHandler)}))
		served := make(chan error, 1)
		go func() { served <- l.Serve(func(Conn) {}) }()
		<-time.After(10 * time.Second)
		l.Close()
		if err := <-served; err != nil {
			t.Fatal(err)
		}
		if n := f.accepts.Load(); n < 10 || n > 20 {
			t.Fatalf("%d tries in 10 s", n)
		}
	})
}

func TestListenErrorNamesTheAddress(t *testing.T) {
	l := start(t, func(Conn) {})
	if _, err := ListenTCP(TCPConfig{Address: l.Addr().String()}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatalf("got %v", err)
	}
}

// A pipe cannot be closed by halves.
func TestCloseWriteOfAPipeCloses(t *testing.T) {
	a, b := net.Pipe()
	c := NewStream(a, KindTCP)
	if c.RemoteAddr().IsValid() {
		t.Fatalf("a pipe has the address %v", c.RemoteAddr())
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("the other end reads %v", err)
	}
	if err := c.Close(protocol.CodeUnspecified); err != nil {
		t.Fatal(err)
	}
}

// Machines change their addresses within a network of IPv6: it is one place.
func TestPlaceOf(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.7": "192.0.2.7/32", "::ffff:192.0.2.7": "192.0.2.7/32", "2001:db8:1:2:3::4": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64",
	} {
		if got := PlaceOf(netip.MustParseAddr(text)); got.String() != want {
			t.Errorf("%s: %v, want %s", text, got, want)
		}
	}
	if got := PlaceOf(netip.Addr{}); got.IsValid() {
		t.Errorf("no address: %v", got)
	}
}
