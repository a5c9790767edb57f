package simnet

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// call connects two hosts; the second one listens.
func call(t *testing.T, from, to *Host) (dialled, accepted net.Conn) {
	t.Helper()
	l, err := to.Listen("7000")
	must(t, err)
	dialled, err = from.DialContext(context.Background(), "tcp", to.Name()+":7000")
	must(t, err)
	accepted, err = l.Accept()
	must(t, err)
	return dialled, accepted
}

// arrives reports whether what one end says arrives within a second.
func arrives(t *testing.T, from, to net.Conn) bool {
	t.Helper()
	_, err := from.Write([]byte("x"))
	must(t, err)
	must(t, to.SetReadDeadline(time.Now().Add(time.Second)))
	_, err = readText(to, 1)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	return err == nil
}

func TestHostsHaveAPathForEachTwo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(NewLink(1, Faults{Delay: delay}))
		a, b, c := n.Host("a"), n.Host("b"), n.Host("c")
		ab, ba := call(t, a, b)
		bc, cb := call(t, b, c)
		n.Path("b", "a").Blackout(10 * time.Second)
		if arrives(t, ab, ba) || arrives(t, ba, ab) {
			t.Error("something passed between a and b")
		}
		if !arrives(t, bc, cb) || !arrives(t, cb, bc) {
			t.Error("nothing passes between b and c")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := a.DialContext(ctx, "tcp", "b:7000"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("dialled through a blackout: %v", err)
		}
		n.Path("a", "c").SetDelay(time.Second, 0)
		start := time.Now()
		if _, err := c.DialContext(t.Context(), "tcp", "a:1"); !errors.Is(err, syscall.ECONNREFUSED) || time.Since(start) != 2*time.Second {
			t.Errorf("dialling a: %v after %v", err, time.Since(start))
		}
	})
}

func TestHostsOneWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(NewLink(1, Faults{Delay: delay}))
		a, b := n.Host("a"), n.Host("b")
		ab, ba := call(t, a, b) // in the order of their names
		c, d := n.Host("c"), n.Host("d")
		dc, cd := call(t, d, c) // against it
		n.BlackoutOneWay("a", "b", 5*time.Second)
		n.BlackoutOneWay("d", "c", 5*time.Second)
		if arrives(t, ab, ba) || arrives(t, dc, cd) {
			t.Error("something passed")
		}
		if !arrives(t, ba, ab) || !arrives(t, cd, dc) {
			t.Error("nothing passes the other way")
		}
		time.Sleep(10 * time.Second)
		must(t, ba.SetReadDeadline(time.Time{}))
		if text, err := readText(ba, 1); text != "x" || err != nil {
			t.Errorf("after the blackout: %q, %v", text, err)
		}
	})
}

func TestHostDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(NewLink(1, Faults{Delay: delay}))
		a, b, c := n.Host("a"), n.Host("b"), n.Host("c")
		ab, ba := call(t, a, b)
		bc, cb := call(t, b, c)
		ca, ac := call(t, c, a)
		b.Down(Reset)
		for _, end := range []net.Conn{ab, ba, bc, cb} {
			if _, err := readText(end, 1); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("a connection of a host that is down: %v", err)
			}
		}
		if _, err := b.DialContext(t.Context(), "tcp", "a:7000"); !errors.Is(err, syscall.ENETDOWN) {
			t.Errorf("a host that is down dials: %v", err)
		}
		if _, err := b.Listen("7001"); !errors.Is(err, syscall.ENETDOWN) {
			t.Errorf("a host that is down listens: %v", err)
		}
		if _, err := a.DialContext(t.Context(), "tcp", "b:7000"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dialling a host that is down: %v", err)
		}
		// The next of its name is another host, which the former one does not disturb any more.
		again, _ := call(t, a, n.Host("b"))
		b.Down(Silence)
		if _, err := again.Write([]byte("x")); err != nil {
			t.Errorf("a connection of its successor: %v", err)
		}
		a.Down(Silence)
		if _, err := ac.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("its own end: %v", err)
		}
		must(t, ca.SetReadDeadline(time.Now().Add(time.Minute)))
		if _, err := ca.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("silence is %v", err)
		}
	})
}
