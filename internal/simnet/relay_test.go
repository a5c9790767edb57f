package simnet

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// echo is a server that says what it hears, on a loopback port.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { l.Close() })
	go func() { // ends when the port is closed
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { // ends with the connection, which the relay closes
				_, _ = io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	return l.Addr().String()
}

// startRelay makes a relay to an echo server and a connection through it.
func startRelay(t *testing.T, l *Link) (*TCPRelay, net.Conn) {
	t.Helper()
	r, err := RelayTCP(l, echo(t))
	must(t, err)
	t.Cleanup(func() { must(t, r.Close()) })
	return r, dialRelay(t, r)
}

func dialRelay(t *testing.T, r *TCPRelay) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", r.Addr())
	must(t, err)
	must(t, c.SetDeadline(time.Now().Add(patience)))
	t.Cleanup(func() { c.Close() })
	return c
}

// ask sends a text and waits until it has come back; the answer is how long that took.
func ask(t *testing.T, c net.Conn, text string) time.Duration {
	t.Helper()
	start := time.Now()
	_, err := c.Write([]byte(text))
	must(t, err)
	got, err := readText(c, len(text))
	if got != text || err != nil {
		t.Fatalf("%q came back as %q, %v", text, got, err)
	}
	return time.Since(start)
}

func TestTCPRelayDelays(t *testing.T) {
	l := NewLink(1, Faults{Delay: 30 * time.Millisecond})
	_, c := startRelay(t, l)
	if took := ask(t, c, "first"); took < 120*time.Millisecond {
		t.Errorf("handshake and echo took %s, less than two round trips", took)
	}
	if took := ask(t, c, "then"); took < 60*time.Millisecond {
		t.Errorf("echo took %s, less than a round trip", took)
	}
	l.SetDelay(0, 0)
	l.SetLoss(1)
	start := time.Now()
	_, err := c.Write([]byte("late"))
	must(t, err)
	must(t, c.SetReadDeadline(start.Add(500*time.Millisecond)))
	if _, err := readText(c, 1); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("with every segment lost: %v", err)
	}
	if n := l.Stats().Up.Lost; n == 0 {
		t.Error("no loss is counted")
	}
}

func TestTCPRelayBlackout(t *testing.T) {
	t.Parallel()
	l := NewLink(1, Faults{Delay: 5 * time.Millisecond})
	_, c := startRelay(t, l)
	ask(t, c, "before")
	end := l.Blackout(time.Second)
	ask(t, c, "in the dark")
	if late := time.Since(end); late < 0 {
		t.Errorf("it came %s before the end of the blackout", -late)
	}
	must(t, c.(*net.TCPConn).CloseWrite())
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
}

func TestTCPRelayCuts(t *testing.T) {
	for _, how := range []Cut{Silence, Reset, ResetDialer, ResetListener} {
		t.Run(how.String(), func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			must(t, err)
			defer l.Close()
			r, err := RelayTCP(NewLink(1, Faults{}), l.Addr().String())
			must(t, err)
			defer r.Close()
			dialled := dialRelay(t, r)
			accepted, err := l.Accept()
			must(t, err)
			defer accepted.Close()
			_, err = dialled.Write([]byte("x"))
			must(t, err)
			must(t, accepted.SetDeadline(time.Now().Add(patience)))
			if _, err := readText(accepted, 1); err != nil {
				t.Fatal(err)
			}
			if n := r.Cut(how); n != 1 {
				t.Fatalf("%d connections were cut", n)
			}
			for foot, c := range []net.Conn{dialled, accepted} {
				want, limit := syscall.Errno(0), 100*time.Millisecond
				if how.resets(Direction(foot)) {
					want, limit = syscall.ECONNRESET, patience
				}
				must(t, c.SetReadDeadline(time.Now().Add(limit)))
				_, err := readText(c, 1)
				if want != 0 && !errors.Is(err, want) || want == 0 && !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("end %d: %v", foot, err)
				}
			}
			again := dialRelay(t, r)
			defer again.Close()
			fresh, err := l.Accept()
			must(t, err)
			defer fresh.Close()
			go func() { _, _ = fresh.Write([]byte("y")) }() // ends at once
			if text, err := readText(again, 1); text != "y" || err != nil {
				t.Errorf("a new connection: %q, %v", text, err)
			}
		})
	}
}

func TestTCPRelayRefused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	target := l.Addr().String()
	must(t, l.Close())
	r, err := RelayTCP(NewLink(1, Faults{}), target)
	must(t, err)
	defer r.Close()
	c, err := net.Dial("tcp", r.Addr())
	if err == nil {
		defer c.Close()
		must(t, c.SetDeadline(time.Now().Add(patience)))
		_, err = readText(c, 1)
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("nobody listens: %v", err)
	}
}

// udpEcho answers every datagram with the address it came from.
func udpEcho(t *testing.T) string {
	t.Helper()
	server, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	must(t, err)
	t.Cleanup(func() { server.Close() })
	go func() { // ends when the port is closed
		buf := make([]byte, 100)
		for {
			_, from, err := server.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = server.WriteTo([]byte(from.String()), from)
		}
	}()
	return server.LocalAddr().String()
}

// heard sends packets until one is answered, and returns the answer; "" if none was within the limit.
func heard(t *testing.T, c net.Conn, limit time.Duration) string {
	t.Helper()
	buf := make([]byte, 100)
	for end := time.Now().Add(limit); time.Now().Before(end); {
		_, err := c.Write([]byte("?"))
		must(t, err)
		must(t, c.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
		if n, err := c.Read(buf); err == nil {
			return string(buf[:n])
		}
	}
	return ""
}

func TestUDPRelay(t *testing.T) {
	l := NewLink(1, Faults{Delay: 5 * time.Millisecond, Loss: 0.2})
	r, err := RelayUDP(l, udpEcho(t))
	must(t, err)
	defer r.Close()
	dial := func() net.Conn {
		c, err := net.Dial("udp", r.Addr())
		must(t, err)
		t.Cleanup(func() { c.Close() })
		return c
	}
	one, two := dial(), dial()
	before, other := heard(t, one, patience), heard(t, two, patience)
	if before == "" || other == "" || before == other {
		t.Fatalf("two clients are seen as %q and %q", before, other)
	}
	if n := r.Rebind(); n != 2 {
		t.Errorf("%d clients were given new addresses", n)
	}
	for range 100 { // answers to the old address may still come
		if heard(t, one, patience) != before {
			break
		}
	}
	if after := heard(t, one, patience); after == before || after == "" {
		t.Errorf("the client is seen as %q after the rebinding", after)
	}
	l.Blackout(200 * time.Millisecond)
	if got := heard(t, one, 100*time.Millisecond); got != "" {
		t.Errorf("%q in the dark", got)
	}
	if heard(t, one, patience) == "" {
		t.Error("nothing after the dark")
	}
	if n := r.Cut(); n != 2 {
		t.Errorf("%d clients were cut", n)
	}
	if heard(t, dial(), patience) == "" {
		t.Error("a new client is not heard")
	}
	l.SetDelay(0, 0)
	for range 3 {
		heard(t, one, 100*time.Millisecond) // what was on its way
	}
	if got := heard(t, one, 200*time.Millisecond); got != "" {
		t.Errorf("%q after the cut", got)
	}
}
