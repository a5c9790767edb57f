package transport

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	proxyproto "github.com/pires/go-proxyproto"
)

func everybody(netip.Addr) bool { return true }

func v2Header(t *testing.T, from string) string {
	t.Helper()
	h := proxyproto.HeaderProxyFromAddrs(2, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(from)), net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.1:8000")))
	b, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A trusted proxy says whom it speaks for; what came together with the header is not lost.
func TestProxyHeader(t *testing.T) {
	for name, c := range map[string]struct {
		trusted func(netip.Addr) bool
		sent    string
		from    string // "": as connected
		read    string
	}{
		"version 1":       {everybody, "PROXY TCP4 203.0.113.7 192.0.2.1 5555 8000\r\nhello", "203.0.113.7:5555", "hello"},
		"version 2":       {everybody, v2Header(t, "[2001:db8::7]:5555") + "hello", "[2001:db8::7]:5555", "hello"},
		"none":            {everybody, "hello", "", "hello"},
		"of itself":       {everybody, "PROXY UNKNOWN\r\nhello", "", "hello"},
		"not trusted":     {func(netip.Addr) bool { return false }, "PROXY TCP4 203.0.113.7 192.0.2.1 5555 8000\r\n", "", "PROXY TCP4 203.0.113.7 192.0.2.1 5555 8000\r\n"},
		"a PDU, not text": {everybody, "\x00\x00\x00\x10\x00\x01", "", "\x00\x00\x00\x10\x00\x01"},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := Listen(ListenerConfig{Address: "127.0.0.1:0", Trusted: c.trusted})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			client, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			if _, err := io.WriteString(client, c.sent); err != nil {
				t.Fatal(err)
			}
			nc, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			want := c.from
			if want == "" {
				want = client.LocalAddr().String()
			}
			if got := NewStream(nc, KindTCP).RemoteAddr().String(); got != want {
				t.Errorf("from %s, want %s", got, want)
			}
			if err := client.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(nc); err != nil || string(b) != c.read {
				t.Errorf("read %q (%v), want %q", b, err, c.read)
			}
		})
	}
}

// A proxy that says nothing, or nonsense, keeps nobody from being accepted; closing the port ends it.
func TestProxyHeaderSilentAndBad(t *testing.T) {
	l, err := Listen(ListenerConfig{Address: "127.0.0.1:0", Trusted: everybody})
	if err != nil {
		t.Fatal(err)
	}
	dial := func(first string) net.Conn {
		nc, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { nc.Close() })
		if _, err := io.WriteString(nc, first); err != nil {
			t.Fatal(err)
		}
		return nc
	}
	silent := dial("")
	bad := dial("PROXY TCP4 nonsense " + strings.Repeat("x", 200) + "\r\n")
	dial("hello")
	nc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
	for _, gone := range []net.Conn{bad, silent} {
		if gone == silent {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
		_ = gone.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := gone.Read(make([]byte, 1)); err == nil || errors.Is(err, io.ErrNoProgress) || errors.Is(err, errTimeout(err)) {
			t.Errorf("still open: %v", err)
		}
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after the close: %v", err)
	}
}

// errTimeout is err if it is a timeout, else an error that err is not.
func errTimeout(err error) error {
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		return err
	}
	return errors.New("no timeout")
}
