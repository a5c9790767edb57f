package simnet

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

const delay = 45 * time.Millisecond

// meet makes a network with one connection: the end that dialled and the one that was accepted.
func meet(t testing.TB, l *Link) (n *Network, dialled, accepted net.Conn) {
	t.Helper()
	n = NewNetwork(l)
	listener, err := n.Listen("chat.example:443")
	if err != nil {
		t.Fatal(err)
	}
	dialled, err = n.DialContext(context.Background(), "tcp", "chat.example:443")
	if err != nil {
		t.Fatal(err)
	}
	accepted, err = listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return n, dialled, accepted
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func readText(c net.Conn, n int) (string, error) {
	b := make([]byte, n)
	n, err := io.ReadFull(c, b)
	return string(b[:n]), err
}

func TestMemoryStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		_, a, b := meet(t, NewLink(1, Faults{Delay: delay}))
		if took := time.Since(start); took != 2*delay {
			t.Errorf("dialling took %s, want %s", took, 2*delay)
		}
		start = time.Now()
		_, err := a.Write([]byte("hello "))
		must(t, err)
		_, err = a.Write([]byte("there"))
		must(t, err)
		must(t, a.Close())
		text, err := io.ReadAll(b)
		if string(text) != "hello there" || err != nil {
			t.Errorf("%q, %v", text, err)
		}
		if took := time.Since(start); took != delay {
			t.Errorf("reading took %s, want %s", took, delay)
		}
		if _, err := a.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("writing after closing: %v", err)
		}
		if a.Close() == nil {
			t.Error("it can be closed twice")
		}
		must(t, b.Close())
	})
}

func TestMemoryDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := meet(t, NewLink(1, Faults{Delay: delay}))
		must(t, b.SetReadDeadline(time.Now().Add(time.Second)))
		start := time.Now()
		if _, err := readText(b, 1); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("%v after %s", err, time.Since(start))
		}
		must(t, a.SetWriteDeadline(time.Now().Add(time.Second)))
		n, err := a.Write(make([]byte, streamWindow+1))
		if n != streamWindow || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%d bytes were written and %v", n, err)
		}
		must(t, a.SetWriteDeadline(time.Time{}))
		must(t, b.SetReadDeadline(time.Time{}))
		go func() { _, _ = a.Write([]byte("!")) }() // ends when there is room
		if text, err := readText(b, streamWindow+1); err != nil || !strings.HasSuffix(text, "!") {
			t.Errorf("%d bytes, %v", len(text), err)
		}
	})
}

// TestMemoryCuts: who is told learns at once, who isn't waits for ever, and nothing passes.
func TestMemoryCuts(t *testing.T) {
	for _, how := range []Cut{Silence, Reset, ResetDialer, ResetListener} {
		t.Run(how.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, a, b := meet(t, NewLink(1, Faults{Delay: delay}))
				_, err := a.Write([]byte("on its way"))
				must(t, err)
				if n.CutSome(how, func(net.Conn) bool { return false }) != 0 {
					t.Error("a connection was cut that was not chosen")
				}
				if cut := n.Cut(how); cut != 1 {
					t.Errorf("%d connections were cut", cut)
				}
				if cut := n.Cut(Reset); cut != 0 {
					t.Errorf("%d connections were cut again", cut)
				}
				for foot, c := range []net.Conn{a, b} {
					want := os.ErrDeadlineExceeded
					if how.resets(Direction(foot)) {
						want = syscall.ECONNRESET
					}
					must(t, c.SetDeadline(time.Now().Add(time.Hour)))
					if _, err := readText(c, 1); !errors.Is(err, want) {
						t.Errorf("end %d: reading: %v, want %v", foot, err, want)
					}
					if _, err := c.Write(make([]byte, 2*streamWindow)); !errors.Is(err, want) {
						t.Errorf("end %d: writing: %v, want %v", foot, err, want)
					}
					must(t, c.Close())
				}
				if c, err := n.DialContext(t.Context(), "tcp", "chat.example:443"); err != nil {
					t.Errorf("a new connection: %v", err)
				} else {
					must(t, c.Close())
				}
			})
		})
	}
}

func TestMemoryDialing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(NewLink(1, Faults{Delay: delay}))
		l, err := n.Listen("chat.example:0")
		must(t, err)
		address := l.Addr().String()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := n.DialContext(ctx, "tcp", "chat.example:444"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("nobody listens: %v", err)
		}
		n.SetDeaf(address, true)
		if _, err := n.DialContext(ctx, "tcp", address); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a deaf port: %v", err)
		}
		n.SetDeaf(address, false)
		waiting, err := n.DialContext(t.Context(), "tcp", address)
		must(t, err)
		must(t, l.Close())
		if _, err := readText(waiting, 1); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("not accepted: %v", err)
		}
		if _, err := n.DialContext(t.Context(), "tcp", address); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("closed: %v", err)
		}
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("accept: %v", err)
		}
	})
}

// TestMemoryBlackout: what was sent in the dark comes after it, in order.
func TestMemoryBlackout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLink(1, Faults{Delay: delay})
		_, a, b := meet(t, l)
		_, err := a.Write([]byte("1"))
		must(t, err)
		start := time.Now()
		l.Blackout(5 * time.Second)
		_, err = a.Write([]byte("2"))
		must(t, err)
		text, err := readText(b, 2)
		if took := time.Since(start); text != "12" || err != nil || took < 5*time.Second || took > 11*time.Second {
			t.Errorf("%q, %v after %s", text, err, took)
		}
	})
}

// TestMemoryKeepsBytes: whatever the sizes, jitter and loss, a stream arrives whole and in order.
func TestMemoryKeepsBytes(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		seed := rapid.Uint64().Draw(r, "seed")
		sizes := rapid.SliceOfN(rapid.IntRange(1, 5000), 1, 20).Draw(r, "sizes")
		synctest.Test(t, func(t *testing.T) {
			_, a, b := meet(t, NewLink(seed, Faults{Delay: delay, Jitter: 30 * time.Millisecond, Loss: 0.1}))
			var sent []byte
			for i, size := range sizes {
				part := make([]byte, size)
				for j := range part {
					part[j] = byte(i + j)
				}
				_, err := a.Write(part)
				must(t, err)
				sent = append(sent, part...)
			}
			must(t, a.Close())
			got, err := io.ReadAll(b)
			if err != nil || string(got) != string(sent) {
				r.Errorf("%d of %d bytes, %v", len(got), len(sent), err)
			}
			must(t, b.Close())
		})
	})
}

// TestMemoryServesHTTP: what the standard library expects of connections is there.
func TestMemoryServesHTTP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(NewLink(1, Faults{Delay: delay, Loss: 0.02}))
		l, err := n.Listen("chat.example:80")
		must(t, err)
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			all, _ := io.ReadAll(r.Body)
			_, _ = w.Write(all)
		})}
		go func() { _ = server.Serve(l) }() // ends by Close
		transport := &http.Transport{DialContext: n.DialContext}
		res, err := (&http.Client{Transport: transport}).Post("http://chat.example/", "text/plain", strings.NewReader(strings.Repeat("x", 100_000)))
		must(t, err)
		body, err := io.ReadAll(res.Body)
		if len(body) != 100_000 || err != nil {
			t.Errorf("%d bytes, %v", len(body), err)
		}
		must(t, res.Body.Close())
		transport.CloseIdleConnections()
		must(t, server.Close())
	})
}

func TestMemoryPackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLink(1, Faults{Delay: delay, Loss: 0.1})
		n := NewNetwork(l)
		server, err := n.ListenUDP("chat.example:443")
		must(t, err)
		client, err := n.ListenPacket(t.Context())
		must(t, err)
		to, err := n.ResolveUDP("chat.example:443")
		must(t, err)
		const sent = 1000
		for range sent {
			_, err := client.WriteTo([]byte("ping"), to)
			must(t, err)
		}
		buf := make([]byte, 10)
		got := 0
		for must(t, server.SetReadDeadline(time.Now().Add(time.Second))); ; got++ {
			size, from, err := server.ReadFrom(buf)
			if err != nil {
				break
			}
			if string(buf[:size]) != "ping" || from.String() != client.LocalAddr().String() {
				t.Fatalf("%q from %s", buf[:size], from)
			}
		}
		if got < sent*8/10 || got > sent*95/100 {
			t.Errorf("%d of %d packets arrived at 10 %% loss", got, sent)
		}
		must(t, client.Close())
		must(t, server.Close())
		if _, _, err := server.ReadFrom(buf); !errors.Is(err, net.ErrClosed) {
			t.Errorf("reading after closing: %v", err)
		}
	})
}
