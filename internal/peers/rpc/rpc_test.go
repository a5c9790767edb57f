package rpc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"teamtalk/protocol"
)

func TestErrorsCross(t *testing.T) {
	a, b := loopback(t)
	s := serve(t, a, b, Config{Hello: hello()}, func(_ context.Context, from protocol.NodeID, method uint8, _ []byte) ([]byte, error) {
		switch method {
		case 1:
			return nil, fmt.Errorf("lookup: %w", protocol.Errorf(protocol.CodeNotFound, "no user 7"))
		case 2:
			return nil, protocol.OutcomeUnknownf("the leader was lost")
		case 3:
			return nil, errors.New("open /secret/path: permission denied")
		case 4:
			return make([]byte, 2<<20), nil
		}
		return []byte(from), nil
	})
	for method, want := range map[uint8]protocol.Error{
		1: {Code: protocol.CodeNotFound, Message: "no user 7"},
		2: {Code: protocol.CodeUnavailable, Message: "the leader was lost", OutcomeUnknown: true},
		3: {Code: protocol.CodeInternal, Message: "the other node failed; see its log", OutcomeUnknown: true},
		4: {Code: protocol.CodeInternal, Message: "the other node failed; see its log", OutcomeUnknown: true},
	} {
		_, err := s.client.Call(t.Context(), method, nil)
		e := asError(t, err)
		if e.Code != want.Code || e.Message != want.Message || e.OutcomeUnknown != want.OutcomeUnknown {
			t.Errorf("method %d: %+v, want %+v", method, *e, want)
		}
	}
	if got, err := s.client.Call(t.Context(), 9, nil); err != nil || string(got) != "n1" {
		t.Errorf("who calls: %q, %v", got, err)
	}
	if _, err := s.client.Call(t.Context(), 9, make([]byte, 2<<20)); asError(t, err).Code != protocol.CodeTooLarge {
		t.Errorf("a payload that is too large: %v", err)
	}
}

// The first handler does not return before the third has been called, which Accepted makes possible; answers come back to front.
func TestPipelining(t *testing.T) {
	a, b := loopback(t)
	third := make(chan struct{})
	s := serve(t, a, b, Config{Hello: hello()}, func(ctx context.Context, _ protocol.NodeID, method uint8, _ []byte) ([]byte, error) {
		Accepted(ctx)
		if method == 3 {
			close(third)
		}
		select {
		case <-third:
			return nil, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	var calls []*Call
	for method := range uint8(4) {
		c, err := s.client.Start(ctx, method, nil)
		if err != nil {
			t.Fatal(err)
		}
		calls = append(calls, c)
	}
	for i, c := range calls {
		if _, err := c.Wait(ctx); err != nil {
			t.Errorf("call %d: %v", i, err)
		}
	}
}

func TestLargePayloads(t *testing.T) {
	a, b := loopback(t)
	h := hello()
	h.Largest = 8 << 20
	s := serve(t, a, b, Config{Hello: h, Ping: 10 * time.Second}, echo) // a busy machine takes long for it
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	for _, size := range []int{0, 1, slotSize, wide - 1, wide, wide + 1, 3*wide + 7, 8 << 20} {
		payload := []byte(strings.Repeat("x", size))
		got, err := s.client.Call(ctx, 1, payload)
		if err != nil || string(got) != string(payload) {
			t.Errorf("%d bytes: got %d, %v", size, len(got), err)
		}
	}
}

// When the side that is called is stopped, handlers at work still answer, and what was not handed over is certainly not carried out.
func TestStopIsPolite(t *testing.T) {
	a, b := loopback(t)
	begun, pong := make(chan struct{}), make(chan time.Duration, 1)
	s := serve(t, a, b, Config{Hello: hello(), Ping: wait, RTT: func(d time.Duration) { pong <- d }}, func(ctx context.Context, _ protocol.NodeID, method uint8, _ []byte) ([]byte, error) {
		if method != 1 {
			t.Errorf("method %d was handed over", method)
		}
		close(begun)
		<-ctx.Done()
		return []byte("done all the same"), nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	first, err := s.client.Start(ctx, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	<-begun
	second, err := s.client.Start(ctx, 2, nil)
	if err != nil {
		t.Fatal(err)
	}
	// The second one has to be over there. Pings overtake calls that are not written yet, so the first may be ahead of it; the next is behind it,
	// and its pong says that the call was read. Bytes in order are all it takes.
	for range 2 {
		s.client.askForLife()
		select {
		case <-pong:
		case <-ctx.Done():
			t.Fatal("no pong")
		}
	}
	s.stop()
	if got, err := first.Wait(ctx); err != nil || string(got) != "done all the same" {
		t.Errorf("the one at work: %q, %v", got, err)
	}
	if _, err := second.Wait(ctx); asError(t, err).Code != protocol.CodeUnavailable || protocol.IsOutcomeUnknown(err) {
		t.Errorf("the one that was not handed over: %v", err)
	}
	<-s.client.Done()
	if _, err := s.client.Call(ctx, 3, nil); err == nil || protocol.IsOutcomeUnknown(err) {
		t.Errorf("a call after the end: %v", err)
	}
}

// Calls that arrive while the other side is stopping make it close with something unread; that must not cost an answer on its way.
func TestStopUnderLoadLosesNoAnswer(t *testing.T) {
	for range 30 {
		a, b := loopback(t)
		begun, stopping, finish := make(chan struct{}), make(chan struct{}), make(chan struct{})
		h := hello()
		h.Slots = 1024
		s := serve(t, a, b, Config{Hello: h}, func(ctx context.Context, _ protocol.NodeID, _ uint8, _ []byte) ([]byte, error) {
			close(begun)
			<-ctx.Done()
			close(stopping)
			<-finish
			return make([]byte, 500<<10), nil
		})
		first, err := s.client.Start(within(t), 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		<-begun
		s.stop()
		<-stopping
		for range 200 {
			if _, err := s.client.Start(within(t), 2, make([]byte, 4<<10)); err != nil {
				t.Fatal(err)
			}
		}
		close(finish)
		if _, err := first.Wait(within(t)); err != nil {
			t.Fatalf("an answer got lost: %v", err)
		}
	}
}

func TestClosedClientFailsItsCalls(t *testing.T) {
	a, b := loopback(t)
	s := serve(t, a, b, Config{Hello: hello()}, func(ctx context.Context, _ protocol.NodeID, _ uint8, _ []byte) ([]byte, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	var wg sync.WaitGroup
	h := int(hello().Slots)
	errs := make(chan error, 2*h)
	for range 2 * h { // half of them wait for room
		wg.Go(func() {
			_, err := s.client.Call(context.Background(), 1, nil)
			errs <- err
		})
	}
	for s.client.InFlight() < h {
		select {
		case <-time.After(time.Millisecond):
		case <-t.Context().Done():
		}
	}
	s.client.Close()
	wg.Wait()
	close(errs)
	unsent := 0
	for err := range errs {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("got %v", err)
		}
		if !protocol.IsOutcomeUnknown(err) {
			unsent++
		}
	}
	if unsent < h || s.client.InFlight() != 0 {
		t.Errorf("%d of %d are certainly not carried out, %d in flight", unsent, 2*h, s.client.InFlight())
	}
}

func BenchmarkCalls(b *testing.B) {
	x, y := loopback(b)
	h := hello()
	h.Slots = 1024
	s := serve(b, x, y, Config{Hello: h}, func(ctx context.Context, _ protocol.NodeID, _ uint8, p []byte) ([]byte, error) {
		Accepted(ctx)
		return p[:8], nil
	})
	payload := make([]byte, 300)
	for _, senders := range []int{1, 64, 512} {
		b.Run(fmt.Sprintf("senders=%d", senders), func(b *testing.B) {
			var wg sync.WaitGroup
			for range senders {
				wg.Go(func() {
					for range (b.N + senders - 1) / senders {
						if _, err := s.client.Call(b.Context(), 1, payload); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
}
