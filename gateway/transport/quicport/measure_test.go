package quicport

import (
	"context"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"teamtalk/gateway/transport"
)

// BenchmarkEcho is one PDU of 64 bytes there and back, on connections side by side with some in flight on each.
func BenchmarkEcho(b *testing.B) {
	for _, c := range []struct {
		name            string
		conns, inFlight int
	}{{"1x1", 1, 1}, {"64x1", 64, 1}, {"64x16", 64, 16}} {
		b.Run(c.name, func(b *testing.B) {
			p := start(b, Config{}, echo)
			client := newClient(b)
			var left atomic.Int64
			left.Store(int64(b.N))
			streams := make([]*quic.Stream, c.conns)
			for i := range streams {
				_, streams[i] = client.open(b, p.Addr())
			}
			b.ResetTimer()
			var wait sync.WaitGroup
			for _, str := range streams {
				wait.Go(func() { echoes(b, str, c.inFlight, &left) })
			}
			wait.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "echoes/s")
		})
	}
}

func echoes(b *testing.B, str *quic.Stream, inFlight int, left *atomic.Int64) {
	f := frame(0x0701, 1, make([]byte, 48))
	buf := make([]byte, inFlight*len(f))
	for left.Add(-int64(inFlight)) > -int64(inFlight) {
		for range inFlight {
			if _, err := str.Write(f); err != nil {
				b.Error(err)
				return
			}
		}
		if _, err := io.ReadFull(str, buf); err != nil {
			b.Error(err)
			return
		}
	}
}

// BenchmarkHandshake is a connection with its first PDU there and back.
func BenchmarkHandshake(b *testing.B) {
	for name, cfg := range map[string]Config{"direct": {}, "retry": {Limits: Limits{ValidateAbove: -1}}} {
		b.Run(name, func(b *testing.B) {
			cfg.Limits.HandshakesPerAddress = 1000
			p := start(b, cfg, echo)
			client := newClient(b)
			b.SetParallelism(8)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := greet(b.Context(), client, p); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "handshakes/s")
		})
	}
}

func greet(ctx context.Context, c *client, p *Port) error {
	qc, err := c.Dial(ctx, p.Addr(), c.tls, c.cfg)
	if err != nil {
		return err
	}
	defer qc.CloseWithError(0, "")
	str, err := qc.OpenStream()
	if err != nil {
		return err
	}
	if _, err := str.Write(numbered(1)); err != nil {
		return err
	}
	_, err = str.Read(make([]byte, 64))
	return err
}

// TestIdleMemory measures what an idle connection costs. The clients run in a process of their own: TT_QUIC_IDLE=5000 says how many, and
// this test starts them.
func TestIdleMemory(t *testing.T) {
	if to := os.Getenv("TT_QUIC_IDLE_CLIENTS_OF"); to != "" {
		idleClients(t, to)
		return
	}
	n, err := strconv.Atoi(os.Getenv("TT_QUIC_IDLE"))
	if err != nil {
		t.Skip("set TT_QUIC_IDLE to a number of connections")
	}
	cfg := Config{}
	cfg.Limits.HandshakesPerAddress = 1000
	if os.Getenv("TT_QUIC_IDLE_H3") != "" {
		cfg.HTTP = noHTTP
	}
	var ready atomic.Int64
	p := start(t, cfg, func(c transport.Conn) {
		q, err := c.Read(100)
		if err == nil && c.Write([][]byte{frame(q.Header.Command, q.Header.Seq, q.Body)}) == nil {
			ready.Add(1)
			defer ready.Add(-1)
		}
		_, _ = c.Read(100)
	})
	before := resident(t)
	stop := startClients(t, p.Addr().String(), n)
	for ready.Load() < int64(n) {
		runtime.Gosched()
		<-time.After(10 * time.Millisecond)
	}
	now := resident(t)
	runtime.GC()
	<-time.After(2 * time.Second)
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	each := func(kib int) float64 { return float64(kib) / float64(n) }
	t.Logf("%d connections, %d goroutines: %.1f KiB each, %.1f when settled (stacks %.1f, heap %.1f)", n, runtime.NumGoroutine(),
		each(now-before), each(resident(t)-before), each(int(mem.StackInuse>>10)), each(int(mem.HeapAlloc>>10)))
	stop()
}

// resident is this process's resident memory in KiB.
func resident(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip(err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Skip("no VmRSS")
	return 0
}
