//go:build linux

package netns

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"teamtalk/internal/simnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	patience = 20 * time.Second
	hereIP   = "10.99.0.1"
	thereIP  = "10.99.0.2"
)

// hosts makes two namespaces that go with the test.
func hosts(t *testing.T) (here, there *Namespace) {
	t.Helper()
	if err := Missing(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("on CI this must run: %v", err)
		}
		t.Skipf("can't run here: %v", err)
	}
	made := [2]*Namespace{}
	for i, label := range []string{"here", "there"} {
		n, err := New(t.Context(), label)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := n.Close(); err != nil {
				t.Error(err)
			}
		})
		made[i] = n
	}
	return made[0], made[1]
}

// echo answers in a namespace; it ends with the test.
func echo(t *testing.T, n *Namespace, address string) {
	t.Helper()
	l, err := n.Listen(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	all.Go(func() { // ends when the port is closed
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			context.AfterFunc(ctx, func() { c.Close() })
			all.Go(func() { // ends with the connection
				_, _ = io.Copy(c, c)
				c.Close()
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		cancel()
		all.Wait()
	})
}

func dial(t *testing.T, n *Namespace, address string) net.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := n.DialContext(ctx, "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c
}

func ask(t *testing.T, c net.Conn, size int) time.Duration {
	t.Helper()
	start := time.Now()
	failed := make(chan error, 1)
	go func() { // ends when all is sent
		_, err := c.Write([]byte(strings.Repeat("x", size)))
		failed <- err
	}()
	got, err := io.ReadFull(c, make([]byte, size))
	if err := errors.Join(err, <-failed); err != nil {
		t.Fatalf("%d of %d bytes: %v", got, size, err)
	}
	return time.Since(start)
}

func TestCableAndFilter(t *testing.T) {
	here, there := hosts(t)
	if err := Cable(t.Context(), here, there, hereIP+"/24", thereIP+"/24"); err != nil {
		t.Fatal(err)
	}
	echo(t, there, thereIP+":7")
	ask(t, dial(t, here, thereIP+":7"), 100_000)
	const rules = `table inet test {
	chain out {
		type filter hook output priority 0; policy accept
		tcp dport 7 counter reject with tcp reset
	}
}
`
	if err := here.Filter(t.Context(), rules); err != nil {
		t.Fatal(err)
	}
	if c, err := here.DialContext(t.Context(), "tcp", thereIP+":7"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a filtered port: %v, %v", c, err)
	}
	if text, err := here.Filters(t.Context()); err != nil || !strings.Contains(text, "counter packets 1") {
		t.Errorf("%v, rules:\n%s", err, text)
	}
	if err := here.Filter(t.Context(), "nonsense\n"); err == nil {
		t.Error("nonsense is a rule")
	}
	if _, err := here.DialContext(t.Context(), "tcp", "localhost:7"); err == nil {
		t.Error("a name was dialled")
	}
}

// TestPath: packets take their time and get lost, TCP of the kernel copes, nothing passes in a blackout.
func TestPath(t *testing.T) {
	here, there := hosts(t)
	link := simnet.NewLink(1, simnet.Faults{Delay: 20 * time.Millisecond})
	path, err := NewPath(t.Context(), link, here, there, hereIP+"/24", thereIP+"/24")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := path.Close(); err != nil {
			t.Error(err)
		}
	}()
	echo(t, there, thereIP+":7")
	start := time.Now()
	c := dial(t, here, thereIP+":7")
	if took := time.Since(start); took < 40*time.Millisecond {
		t.Errorf("connecting took %s, less than a round trip", took)
	}
	if took := ask(t, c, 1); took < 40*time.Millisecond {
		t.Errorf("an echo took %s, less than a round trip", took)
	}
	link.SetLoss(0.05)
	ask(t, c, 300_000)
	link.SetLoss(0)
	if s := link.Stats(); s.Up.Lost == 0 || s.Down.Lost == 0 {
		t.Errorf("nothing was lost: %+v", s)
	}
	end := link.Blackout(500 * time.Millisecond)
	ask(t, c, 1)
	if time.Now().Before(end) {
		t.Error("an echo came back in the dark")
	}
	if link.Stats().Up.Dark == 0 {
		t.Error("nothing was lost in the dark")
	}
}

// TestSweep: what a killed process left behind goes.
func TestSweep(t *testing.T) {
	hosts(t)
	ended := exec.Command("true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	left := &Namespace{name: prefix + strconv.Itoa(ended.Process.Pid) + "-left"}
	if _, err := run(t.Context(), "", "ip", "netns", "add", left.name); err != nil {
		t.Fatal(err)
	}
	n, err := New(t.Context(), "sweeper")
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	list, err := run(t.Context(), "", "ip", "netns", "list")
	if err != nil || strings.Contains(list, left.name) || !strings.Contains(list, n.Name()) {
		t.Errorf("%v, the list is now:\n%s", err, list)
	}
}
