package longpoll

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"teamtalk/gateway/transport"
	"teamtalk/protocol"
	"teamtalk/protocol/pdu"
)

// serveHTTP runs a server as the node does.
func serveHTTP(t testing.TB, h http.Handler) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h, ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute}
	served := make(chan struct{})
	go func() { // ended by Close
		defer close(served)
		_ = srv.Serve(ln)
	}()
	t.Cleanup(func() {
		_ = srv.Close()
		<-served
	})
	return ln.Addr().String()
}

// twoGoroutines is what a session of the gateway holds: one that reads, one that waits for something to write.
func twoGoroutines(c transport.Conn) {
	var mu sync.Mutex
	work, closed := sync.NewCond(&mu), false
	written := make(chan struct{})
	go func() { // ended below
		defer close(written)
		mu.Lock()
		defer mu.Unlock()
		for !closed {
			work.Wait()
		}
	}()
	for {
		if _, err := c.Read(pdu.MaxLen); err != nil {
			break
		}
		_ = c.SetReadDeadline(time.Now().Add(2 * time.Minute))
	}
	mu.Lock()
	closed = true
	mu.Unlock()
	work.Signal()
	<-written
	_ = c.Close(protocol.CodeUnspecified)
}

// The bytes that a session with a poll held takes. Little of what is measured belongs to the clients.
func TestParkedMemory(t *testing.T) {
	if os.Getenv("TT_MEMORY") == "" {
		t.Skip("set TT_MEMORY=1: opens 5,000 connections")
	}
	h := New(Config{Handle: twoGoroutines, Log: slog.New(slog.DiscardHandler), Limits: Limits{OpenBurst: 1 << 20}, Poll: 10 * time.Minute})
	address := serveHTTP(t, h)
	defer h.Close()
	const n = 5000
	before := resident(t)
	conns := make([]net.Conn, n)
	var g errgroup.Group
	g.SetLimit(32)
	for i := range n {
		g.Go(func() (err error) {
			conns[i], err = park(address)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	for parked := 0; parked < n; { // every poll has been held for a while
		parked = 0
		h.mu.RLock()
		for _, s := range h.sessions {
			s.mu.Lock()
			if s.down.parked != nil {
				parked++
			}
			s.mu.Unlock()
		}
		h.mu.RUnlock()
		<-time.After(100 * time.Millisecond)
	}
	t.Logf("all parked")
	grown := func() float64 { return float64(resident(t)-before) / n / 1024 }
	atOnce := grown()
	var m runtime.MemStats
	for range 4 { // as in any process that lives for a while
		runtime.GC()
		runtime.ReadMemStats(&m)
		t.Logf("heap %.1f, stacks %.1f KiB each, %d goroutines", float64(m.HeapInuse)/n/1024, float64(m.StackInuse)/n/1024, runtime.NumGoroutine())
	}
	debug.FreeOSMemory()
	t.Logf("%d parked sessions: %.1f KiB resident each, %.1f when collected", n, atOnce, grown())
	for _, c := range conns {
		_ = c.Close()
	}
}

// park opens a session, posts a PDU and leaves a poll behind, all on one connection.
func park(address string) (net.Conn, error) {
	nc, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	r := bufio.NewReader(nc)
	if _, err := io.WriteString(nc, "POST /lp HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"); err != nil {
		return nc, err
	}
	w, err := http.ReadResponse(r, nil)
	if err != nil {
		return nc, err
	}
	var tk ticket
	if err := json.NewDecoder(w.Body).Decode(&tk); err != nil {
		return nc, err
	}
	_ = w.Body.Close()
	login := frame(1, strings.Repeat("x", 100))
	if _, err := fmt.Fprintf(nc, "POST /lp/%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nTeamtalk-Seq: 1\r\nContent-Length: %d\r\n\r\n%s", tk.ID, tk.Token, len(login), login); err != nil {
		return nc, err
	}
	if w, err = http.ReadResponse(r, nil); err != nil || w.StatusCode != 204 {
		return nc, fmt.Errorf("POST: %v, %w", w, err)
	}
	_ = w.Body.Close()
	_, err = fmt.Fprintf(nc, "GET /lp/%s?after=0 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", tk.ID, tk.Token)
	return nc, err
}

func resident(t testing.TB) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip(err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")))
			if err != nil {
				t.Fatal(err)
			}
			return kb * 1024
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

// echo answers every PDU with itself.
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

// BenchmarkEcho measures PDUs of 64 bytes there and back: a POST with so many, and polls until all are back. TCP beside it.
func BenchmarkEcho(b *testing.B) {
	for _, bc := range []struct{ clients, window int }{{1, 1}, {64, 1}, {64, 16}} {
		name := fmt.Sprintf("%dx%d", bc.clients, bc.window)
		for kind, park := range map[string]time.Duration{"longpoll/": 0, "parked/": 1} { // the second is what it costs to park every poll
			b.Run(kind+name, func(b *testing.B) {
				h := New(Config{Handle: echo, Log: slog.New(slog.DiscardHandler), Timing: Timing{Park: park}})
				address := serveHTTP(b, h)
				defer h.Close()
				tr := &http.Transport{MaxIdleConnsPerHost: 4 * bc.clients}
				defer tr.CloseIdleConnections()
				runEcho(b, bc.clients, bc.window, func() (io.ReadWriteCloser, error) {
					return dialClient(b.Context(), &http.Client{Transport: tr}, "http://"+address)
				})
			})
		}
		b.Run("tcp/"+name, func(b *testing.B) {
			l, err := transport.ListenTCP(transport.TCPConfig{Address: "127.0.0.1:0"})
			if err != nil {
				b.Fatal(err)
			}
			served := make(chan error, 1)
			go func() { served <- l.Serve(echo) }() // ended by Close
			defer func() {
				l.Close()
				if err := <-served; err != nil {
					b.Error(err)
				}
			}()
			runEcho(b, bc.clients, bc.window, func() (io.ReadWriteCloser, error) { return net.Dial("tcp", l.Addr().String()) })
		})
	}
}

func runEcho(b *testing.B, clients, window int, dial func() (io.ReadWriteCloser, error)) {
	one := frame(1, strings.Repeat("x", 48))
	var all []byte
	for range window {
		all = append(all, one...)
	}
	var g errgroup.Group
	rounds := make(chan struct{}, clients)
	for range clients {
		c, err := dial()
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = c.Close() })
		g.Go(func() error {
			got := make([]byte, len(all))
			for range rounds {
				if _, err := c.Write(all); err != nil {
					return err
				}
				if _, err := io.ReadFull(c, got); err != nil {
					return err
				}
			}
			return nil
		})
	}
	b.ResetTimer()
	for range b.N {
		rounds <- struct{}{}
	}
	close(rounds)
	if err := g.Wait(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N*window)/b.Elapsed().Seconds(), "PDUs/s")
}
