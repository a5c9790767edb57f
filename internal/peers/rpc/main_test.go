package rpc

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"teamtalk/protocol"
)

// wait is far more than anything here takes.
const wait = 30 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func hello() Hello {
	return Hello{Program: "test", Min: 1, Max: 1, Lane: LanePropose, Slots: 64, Largest: 1 << 20}
}

// served is a connection with both its ends.
type served struct {
	client *Client
	stop   context.CancelFunc // ends the side that is called
	ended  chan error
}

// serve connects both sides; the callee's end is accept.
func serve(t testing.TB, dial, accept net.Conn, cfg Config, h Handler) *served {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	s := &served{stop: stop, ended: make(chan error, 1)}
	go func() { s.ended <- Callee{Config: cfg, From: "n1", Handler: h}.Serve(ctx, accept) }()
	c, err := NewClient(t.Context(), dial, cfg)
	if err != nil {
		stop()
		t.Fatalf("%v; the other side: %v", err, <-s.ended)
	}
	s.client = c
	t.Cleanup(func() {
		c.Close()
		stop()
		mustEnd(t, s.ended)
	})
	return s
}

// loopback is a TCP connection.
func loopback(t testing.TB) (dial, accept net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if dial, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if accept, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return dial, accept
}

func echo(_ context.Context, _ protocol.NodeID, _ uint8, payload []byte) ([]byte, error) {
	return payload, nil
}

func asError(t testing.TB, err error) *protocol.Error {
	t.Helper()
	var e *protocol.Error
	if !errors.As(err, &e) {
		t.Fatalf("%T %v is no *protocol.Error", err, err)
	}
	return e
}

func number(n int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

// askForLife pings now.
func (c *Client) askForLife() {
	c.mu.Lock()
	c.pinged = true
	c.mu.Unlock()
	c.poke()
}

// mustEnd waits for the side that is called, which always has a reason to end.
func mustEnd(t testing.TB, ended <-chan error) {
	t.Helper()
	if err := <-ended; err == nil {
		t.Error("the side that is called ended without a reason")
	}
}

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	t.Cleanup(cancel)
	return ctx
}
