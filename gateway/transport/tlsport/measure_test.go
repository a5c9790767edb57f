package tlsport

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"

	"teamtalk/gateway/transport"
	"teamtalk/gateway/transport/transporttest"
	"teamtalk/protocol/pdu"
)

// serve is a port whose native connections are handled so.
func serve(t testing.TB, handle func(transport.Conn)) (address string, client *tls.Config) {
	t.Helper()
	ln, err := transport.Listen(transport.ListenerConfig{Address: "127.0.0.1:0", Listener: "tls"})
	if err != nil {
		t.Fatal(err)
	}
	own, roots := certificate(t)
	p := New(Config{Listener: ln, TLS: &tls.Config{Certificates: []tls.Certificate{own}, DynamicRecordSizingDisabled: true}})
	served := make(chan error, 1)
	go func() { served <- p.Serve(handle) }() // ends when the port is closed
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String(), &tls.Config{RootCAs: roots, NextProtos: []string{Protocol}}
}

// echo sends everything back.
func echo(c transport.Conn) {
	for {
		p, err := c.Read(pdu.MaxLen)
		if err != nil {
			return
		}
		if c.Write([][]byte{pdu.AppendRaw(nil, p.Header, p.Body)}) != nil {
			return
		}
	}
}

// BenchmarkEcho is round trips of 64 bytes on 64 connections.
func BenchmarkEcho(b *testing.B) {
	address, conf := serve(b, echo)
	conns := make(chan *tls.Conn, 64)
	for range cap(conns) {
		c, err := tls.Dial("tcp", address, conf)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = c.Close() })
		conns <- c
	}
	frame := transporttest.Frame(0x0701, 1, make([]byte, 48))
	b.SetParallelism(64 / runtime.GOMAXPROCS(0))
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		c, answer := <-conns, make([]byte, len(frame))
		for pb.Next() {
			if _, err := c.Write(frame); err != nil {
				b.Error(err)
				return
			}
			if _, err := io.ReadFull(c, answer); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkHandshake is new connections, client and server on the same cores.
func BenchmarkHandshake(b *testing.B) {
	address, conf := serve(b, func(transport.Conn) {})
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			c, err := tls.Dial("tcp", address, conf)
			if err != nil {
				b.Error(err)
				return
			}
			_ = c.Close()
		}
	})
}

const idleConnections = 5_000

// TestIdleMemory measures what an idle connection costs below its session; the clients are another process.
func TestIdleMemory(t *testing.T) {
	if os.Getenv("TT_MEMORY") == "" {
		t.Skip("set TT_MEMORY=1: opens 5,000 connections")
	}
	address, _ := serve(t, echo)
	before := resident(t)
	clients := exec.Command(os.Args[0], "-test.run=^TestIdleClients$")
	clients.Env = append(os.Environ(), "TT_IDLE="+address)
	clients.Stderr = os.Stderr
	hold, err := clients.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	said, err := clients.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := clients.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(said).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("the clients say %q, %v", line, err)
	}
	grown := func() float64 { return float64(resident(t)-before) / idleConnections / 1024 }
	atOnce := grown()
	var m runtime.MemStats
	for range 4 { // as in any process that lives for a while
		runtime.GC()
		runtime.ReadMemStats(&m)
	}
	debug.FreeOSMemory()
	t.Logf("%d connections: %.1f KiB resident each, %.1f when collected; heap %.1f, stacks %.1f", idleConnections, atOnce, grown(),
		float64(m.HeapInuse)/idleConnections/1024, float64(m.StackInuse)/idleConnections/1024)
	_ = hold.Close()
	if err := clients.Wait(); err != nil {
		t.Error(err)
	}
}

// TestIdleClients is the other process of TestIdleMemory: it does nothing until its standard input ends.
func TestIdleClients(t *testing.T) {
	address := os.Getenv("TT_IDLE")
	if address == "" {
		t.Skip("started by TestIdleMemory")
	}
	var mu sync.Mutex // guards conns
	var conns []*tls.Conn
	var g errgroup.Group
	g.SetLimit(32)
	frame := transporttest.Frame(0x0103, 1, make([]byte, 100))
	for range idleConnections {
		g.Go(func() error {
			c, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{Protocol}})
			if err != nil {
				return err
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			if _, err := c.Write(frame); err != nil {
				return err
			}
			_, err = io.ReadFull(c, make([]byte, len(frame)))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	for _, c := range conns {
		_ = c.Close()
	}
}

func resident(t testing.TB) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip(err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			var kib int
			if _, err := fmt.Sscan(rest, &kib); err != nil {
				t.Fatal(err)
			}
			return kib * 1024
		}
	}
	t.Skip("no VmRSS")
	return 0
}
