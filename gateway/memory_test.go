package gateway

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"teamtalk/gateway/transport/transporttest"
	"teamtalk/protocol/pdu"
)

// idleConnections is how many are held while memory is measured.
const idleConnections = 5000

// The bytes an idle logged-in connection takes. The clients are in a process of their own. Run one at a time: what one has freed the next one takes.
func TestIdleMemory(t *testing.T) { measureIdle(t, "tcp", listen) }

// As TestIdleMemory.
func TestIdleMemoryWebSocket(t *testing.T) { measureIdle(t, "websocket", listenWS) }

// As TestIdleMemory, with clients that say HELLO.
func TestIdleMemoryExtended(t *testing.T) { measureIdle(t, "extended", listen) }

func measureIdle(t *testing.T, kind string, listen func(testing.TB, *stage) (string, func())) {
	if os.Getenv("TT_MEMORY") == "" {
		t.Skip("set TT_MEMORY=1: opens 5,000 connections")
	}
	s, stop := newStage(t, func(c *Config) { c.Log = slog.New(slog.DiscardHandler); c.Limits.UnauthenticatedPerAddress = 10_000 })
	defer stop()
	address, stopListening := listen(t, s)
	defer stopListening()
	before := resident(t)
	clients := exec.Command(os.Args[0], "-test.run=^TestIdleClients$")
	clients.Env = append(os.Environ(), "TT_IDLE="+kind+" "+address)
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
	t.Logf("%d connections by %s: %.1f KiB resident each, %.1f when collected; heap %.1f, stacks %.1f", idleConnections, kind, atOnce, grown(),
		float64(m.HeapInuse)/idleConnections/1024, float64(m.StackInuse)/idleConnections/1024)
	_ = hold.Close()
	if err := clients.Wait(); err != nil {
		t.Error(err)
	}
}

// TestIdleClients is the other process of TestIdleMemory: it logs in and then does nothing until its standard input ends.
func TestIdleClients(t *testing.T) {
	kind, address, ok := strings.Cut(os.Getenv("TT_IDLE"), " ")
	if !ok {
		t.Skip("started by TestIdleMemory")
	}
	conns := make([]net.Conn, idleConnections)
	var g errgroup.Group
	g.SetLimit(32)
	for i := range conns {
		g.Go(func() (err error) {
			if kind == "websocket" {
				conns[i], err = transporttest.DialWebSocket(address)
			} else {
				conns[i], err = net.Dial("tcp", address)
			}
			if err != nil {
				return err
			}
			return idleLogin(t, conns[i], kind, fmt.Sprintf("user%d", i+1))
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

// idleLogin logs in and waits for the answer.
func idleLogin(t *testing.T, conn net.Conn, kind, name string) error {
	last := pdu.CmdLoginRes
	var b []byte
	if kind == "extended" {
		last = pdu.CmdCredential
		b = encode(t, pdu.CmdHello, 1, helloOf("phone", android))
	}
	if _, err := conn.Write(append(b, encode(t, pdu.CmdLoginReq, 2, loginReq(name, android))...)); err != nil {
		return err
	}
	r := pdu.NewReader(conn)
	for {
		p, err := r.Read(pdu.MaxLen)
		if err != nil || p.Header.Command == last {
			return err
		}
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
