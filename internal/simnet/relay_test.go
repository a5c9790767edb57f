package simnet

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
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
	for end := time.Now().Add(patience); l.Stats().Up.Lost == 0; <-time.After(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no loss is counted")
		}
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

// udpEcho answers every datagram with the address it came from and what it said.
func udpEcho(t *testing.T) string {
	t.Helper()
	server, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	must(t, err)
	t.Cleanup(func() { server.Close() })
	go func() { // ends when the port is closed
		buf := make([]byte, 100)
		for {
			n, from, err := server.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = server.WriteTo(fmt.Appendf(nil, "%s %s", from, buf[:n]), from)
		}
	}()
	return server.LocalAddr().String()
}

// asker is a client of udpEcho whose packets are numbered.
type asker struct {
	net.Conn
	sent int
}

// heard sends packets until one of them is answered, and returns the address it was seen from; "" if none was within the limit. Late answers to
// packets sent before are passed over.
func (a *asker) heard(t *testing.T, limit time.Duration) string {
	t.Helper()
	buf := make([]byte, 100)
	before := a.sent
	for end := time.Now().Add(limit); time.Now().Before(end); {
		a.sent++
		_, err := fmt.Fprint(a, a.sent)
		must(t, err)
		must(t, a.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
		for {
			n, err := a.Read(buf)
			if err != nil {
				break
			}
			from, number, _ := strings.Cut(string(buf[:n]), " ")
			if asked, err := strconv.Atoi(number); err == nil && asked > before {
				return from
			}
		}
	}
	return ""
}

func TestUDPRelay(t *testing.T) {
	l := NewLink(1, Faults{Delay: 5 * time.Millisecond, Loss: 0.2})
	r, err := RelayUDP(l, udpEcho(t))
	must(t, err)
	defer r.Close()
	dial := func() *asker {
		c, err := net.Dial("udp", r.Addr())
		must(t, err)
		t.Cleanup(func() { c.Close() })
		return &asker{Conn: c}
	}
	one, two := dial(), dial()
	before, other := one.heard(t, patience), two.heard(t, patience)
	if before == "" || other == "" || before == other {
		t.Fatalf("two clients are seen as %q and %q", before, other)
	}
	if n := r.Rebind(); n != 2 {
		t.Errorf("%d clients were given new addresses", n)
	}
	if after := one.heard(t, patience); after == before || after == "" {
		t.Errorf("the client is seen as %q after the rebinding", after)
	}
	for end := l.Blackout(200 * time.Millisecond); time.Now().Before(end); {
		if got := one.heard(t, time.Until(end)); got != "" && time.Now().Before(end) {
			t.Fatalf("%q in the dark", got)
		}
	}
	if one.heard(t, patience) == "" {
		t.Error("nothing after the dark")
	}
	if n := r.Cut(); n != 2 {
		t.Errorf("%d clients were cut", n)
	}
	if dial().heard(t, patience) == "" {
		t.Error("a new client is not heard")
	}
	if got := one.heard(t, 200*time.Millisecond); got != "" {
		t.Errorf("%q after the cut", got)
	}
}
