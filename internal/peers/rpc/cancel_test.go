package rpc

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"teamtalk/protocol"
)

func cancelling() Hello {
	h := hello()
	h.Max = cancels
	return h
}

// A caller that waits no more lets the handler's context end at once, and the connection goes on.
func TestGivenUpCallIsCancelled(t *testing.T) {
	a, b := loopback(t)
	begun, ended := make(chan struct{}), make(chan error, 1)
	var log strings.Builder
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	h := cancelling()
	h.Slots = 1 // which has to be free again
	go func() {
		served <- Callee{Config: Config{Hello: h}, From: "n1", Logger: slog.New(slog.NewTextHandler(&log, nil)),
			Handler: func(ctx context.Context, _ protocol.NodeID, method uint8, payload []byte) ([]byte, error) {
				if method == 2 {
					return payload, nil
				}
				close(begun)
				<-ctx.Done()
				ended <- context.Cause(ctx)
				return nil, ctx.Err()
			}}.Serve(ctx, b)
	}()
	c, err := NewClient(t.Context(), a, Config{Hello: h})
	if err != nil {
		t.Fatal(err)
	}
	waiting, giveUp := context.WithCancel(within(t))
	call, err := c.Start(waiting, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	<-begun
	giveUp()
	if _, err := call.Wait(waiting); !protocol.IsOutcomeUnknown(err) {
		t.Errorf("the caller is told %v", err)
	}
	select {
	case cause := <-ended:
		if !errors.Is(cause, errGivenUp) {
			t.Errorf("the handler's context ended by %v", cause)
		}
	case <-within(t).Done():
		t.Fatal("the handler goes on")
	}
	if got, err := c.Call(within(t), 2, []byte("x")); err != nil || string(got) != "x" {
		t.Errorf("the next call: %q, %v", got, err)
	}
	c.Close()
	stop()
	mustEnd(t, served)
	if log.Len() > 0 {
		t.Errorf("logged as a failure: %s", log.String())
	}
}

// A call that waits for its turn when it is given up is never carried out.
func TestGivenUpCallIsNotBegun(t *testing.T) {
	a, b := loopback(t)
	begun, release := make(chan struct{}), make(chan struct{})
	pong := make(chan time.Duration, 1)
	var second atomic.Bool
	s := serve(t, a, b, Config{Hello: cancelling(), Ping: wait, RTT: func(d time.Duration) { pong <- d }}, func(_ context.Context, _ protocol.NodeID, method uint8, _ []byte) ([]byte, error) {
		switch method {
		case 1:
			close(begun)
			<-release
		case 2:
			second.Store(true)
		}
		return nil, nil
	})
	first, err := s.client.Start(within(t), 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	<-begun
	waiting, giveUp := context.WithCancel(within(t))
	call, err := s.client.Start(waiting, 2, nil)
	if err != nil {
		t.Fatal(err)
	}
	third, err := s.client.Start(within(t), 3, nil)
	if err != nil {
		t.Fatal(err)
	}
	for { // until it is written: a call that is not is withdrawn, which is another matter
		s.client.mu.Lock()
		written := third.written
		s.client.mu.Unlock()
		if written {
			break
		}
		runtime.Gosched()
	}
	giveUp()
	if _, err := call.Wait(waiting); !protocol.IsOutcomeUnknown(err) {
		t.Errorf("the caller is told %v", err)
	}
	s.client.askForLife() // a pong shows that what was sent before was read
	select {
	case <-pong:
	case <-within(t).Done():
		t.Fatal("no pong")
	}
	close(release)
	for _, c := range []*Call{first, third} {
		if _, err := c.Wait(within(t)); err != nil {
			t.Error(err)
		}
	}
	if second.Load() {
		t.Error("it was carried out although nobody waited any more")
	}
}

// One that does not know of cancelling is not told, for it would take that for nonsense.
func TestOlderNodesAreNotTold(t *testing.T) {
	for _, older := range []string{"caller", "callee"} {
		t.Run(older, func(t *testing.T) {
			a, b := loopback(t)
			caller, callee := cancelling(), cancelling()
			if older == "caller" {
				caller.Max = 1
			} else {
				callee.Max = 1
			}
			begun, release, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
			ctx, stop := context.WithCancel(context.Background())
			served := make(chan error, 1)
			go func() {
				served <- Callee{Config: Config{Hello: callee}, From: "n1", Handler: func(ctx context.Context, _ protocol.NodeID, method uint8, _ []byte) ([]byte, error) {
					Accepted(ctx)
					if method == 1 {
						close(begun)
						<-release
						ended <- ctx.Err()
					}
					return nil, nil
				}}.Serve(ctx, b)
			}()
			c, err := NewClient(t.Context(), a, Config{Hello: caller})
			if err != nil {
				t.Fatal(err)
			}
			waiting, giveUp := context.WithCancel(within(t))
			call, err := c.Start(waiting, 1, nil)
			if err != nil {
				t.Fatal(err)
			}
			<-begun
			giveUp()
			if _, err := call.Wait(waiting); !protocol.IsOutcomeUnknown(err) {
				t.Errorf("the caller is told %v", err)
			}
			if _, err := c.Call(within(t), 2, nil); err != nil { // behind what would have been told
				t.Errorf("the next call: %v", err)
			}
			close(release)
			if err := <-ended; err != nil {
				t.Errorf("the handler's context ended: %v", err)
			}
			c.Close()
			stop()
			mustEnd(t, served)
		})
	}
}
