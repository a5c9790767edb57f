package rpc

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"teamtalk/protocol"
)

// deaf says hello and then only reads: a host that is gone while its connection seems to stand.
func deaf(t *testing.T, conn net.Conn, answers int) {
	if _, err := readHello(conn); err != nil {
		t.Error(err)
	}
	b, err := encodeHello(hello())
	if err != nil {
		t.Error(err)
	}
	conn.Write(b)
	r := bufio.NewReader(conn)
	for {
		f, err := readFrame(r, 1<<20)
		if err != nil {
			return
		}
		if f.kind == framePing && answers > 0 {
			answers--
			conn.Write(appendFrame(nil, framePong, f.id, nil, nil))
		}
	}
}

func TestSilenceEndsTheConnection(t *testing.T) {
	for _, answers := range []int{0, 5} {
		synctest.Test(t, func(t *testing.T) {
			x, y := net.Pipe()
			go deaf(t, y, answers)
			c, err := NewClient(t.Context(), x, Config{Hello: hello()})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			begun := time.Now()
			_, err = c.Call(t.Context(), 1, nil)
			took := time.Since(begun) - time.Duration(answers)*time.Second
			if !errors.Is(err, ErrSilent) || !protocol.IsOutcomeUnknown(err) {
				t.Errorf("got %v", err)
			}
			if took < 3*time.Second || took > 4*time.Second {
				t.Errorf("found %s after the last sign of life", took)
			}
		})
	}
}

// A host that is gone does not even take bytes: writing hangs, and still the calls end.
func TestStuckWriterEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := net.Pipe()
		go func() {
			if _, err := readHello(y); err != nil {
				t.Error(err)
			}
			b, _ := encodeHello(hello())
			y.Write(b)
		}()
		c, err := NewClient(t.Context(), x, Config{Hello: hello()})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		first, err := c.Start(t.Context(), 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the first is being written
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Call(ctx, 2, nil); protocol.IsOutcomeUnknown(err) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a call that could be withdrawn: %v", err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := first.Wait(ctx); !protocol.IsOutcomeUnknown(err) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a call that was being written: %v", err)
		}
		third, err := c.Start(t.Context(), 3, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := third.Wait(t.Context()); protocol.IsOutcomeUnknown(err) || !errors.Is(err, ErrSilent) {
			t.Errorf("a call behind the one being written: %v", err)
		}
		if _, err := first.Wait(t.Context()); !protocol.IsOutcomeUnknown(err) || !errors.Is(err, ErrSilent) {
			t.Errorf("the call being written, waited for again: %v", err)
		}
	})
}

func TestIdleCallerIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := net.Pipe()
		defer x.Close()
		ended := make(chan time.Duration, 1)
		begun := time.Now()
		go func() {
			err := Callee{Config: Config{Hello: hello()}, From: "n1", Handler: echo}.Serve(context.Background(), y)
			if err == nil {
				t.Error("no reason")
			}
			ended <- time.Since(begun)
		}()
		b, _ := encodeHello(hello())
		x.Write(b)
		if _, err := readHello(x); err != nil {
			t.Fatal(err)
		}
		if took := <-ended; took != 10*time.Second {
			t.Errorf("given up after %s", took)
		}
	})
}

func TestPingsKeepAQuietConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := net.Pipe()
		var pings int
		s := serve(t, x, y, Config{Hello: hello(), RTT: func(time.Duration) { pings++ }}, echo)
		time.Sleep(time.Hour)
		if _, err := s.client.Call(t.Context(), 1, nil); err != nil {
			t.Error(err)
		}
		s.client.Close()
		if pings < 3590 {
			t.Errorf("%d pings in an hour", pings)
		}
	})
}

// slow reads a mebibyte in two seconds.
type slow struct{ net.Conn }

func (s slow) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	<-time.After(time.Duration(n) * 2 * time.Second / wide)
	return n, err
}

// A large payload over a slow path takes longer than pings may take, and is no silence: neither there nor back.
func TestLargeIsNotSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := net.Pipe()
		h := hello()
		h.Largest = 16 << 20
		s := serve(t, slow{x}, slow{y}, Config{Hello: h}, echo)
		begun := time.Now()
		if got, err := s.client.Call(t.Context(), 1, make([]byte, 15<<20)); err != nil || len(got) != 15<<20 {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		if took := time.Since(begun); took < 55*time.Second {
			t.Errorf("the test tests nothing: %s", took)
		}
	})
}

func TestDeadlinesTravel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := net.Pipe()
		s := serve(t, x, y, Config{Hello: hello()}, func(ctx context.Context, _ protocol.NodeID, method uint8, _ []byte) ([]byte, error) {
			if method == 2 {
				t.Error("a call was handed over when nobody waited any more")
			}
			begun := time.Now()
			if _, ok := ctx.Deadline(); ok {
				<-ctx.Done()
			}
			return []byte(time.Since(begun).String()), nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		first, err := s.client.Start(ctx, 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		short, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		second, err := s.client.Start(short, 2, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := first.Wait(t.Context()); err != nil || string(got) != "3s" {
			t.Errorf("the handler had %s, %v", got, err)
		}
		if _, err := second.Wait(t.Context()); asError(t, err).Code != protocol.CodeUnavailable || protocol.IsOutcomeUnknown(err) {
			t.Errorf("a call that came too late to its turn: %v", err)
		}
		if got, err := s.client.Call(t.Context(), 1, nil); err != nil || string(got) != "0s" {
			t.Errorf("without a deadline: %s, %v", got, err)
		}
	})
}

func TestBackpressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := net.Pipe()
		h := hello()
		h.Slots = 4
		release := make(chan struct{})
		s := serve(t, x, y, Config{Hello: h}, func(ctx context.Context, _ protocol.NodeID, _ uint8, _ []byte) ([]byte, error) {
			Accepted(ctx)
			<-release
			return nil, nil
		})
		for range 3 {
			if err := s.client.Send(t.Context(), 1, nil); err != nil {
				t.Fatal(err)
			}
		}
		if !s.client.TrySend(1, nil) || s.client.TrySend(1, nil) {
			t.Error("not exactly four have room")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.client.Call(ctx, 1, nil); protocol.IsOutcomeUnknown(err) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("without room: %v", err)
		}
		big := make(chan error, 1)
		go func() {
			_, err := s.client.Call(t.Context(), 1, make([]byte, 1<<20)) // takes all slots there are
			big <- err
		}()
		synctest.Wait()
		close(release)
		if err := <-big; err != nil {
			t.Error(err)
		}
	})
}

// hostile speaks raw bytes to one side and expects it to end the connection.
func hostile(t *testing.T, raw []byte, side func(net.Conn) error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		x, y := net.Pipe()
		ended := make(chan error, 1)
		go func() { ended <- side(y) }()
		go func() {
			b, _ := encodeHello(hello())
			x.Write(append(b, raw...))
		}()
		go func() { _, _ = io.Copy(io.Discard, x) }()
		begun := time.Now()
		if err := <-ended; err == nil {
			t.Error("no error")
		} else if time.Since(begun) > time.Second {
			t.Errorf("ended only by its patience: %v", err)
		}
		x.Close()
	})
}

func TestHostileFrames(t *testing.T) {
	frames := map[string]struct{ toCallee, toCaller []byte }{
		"unknown kind": {appendFrame(nil, 77, 1, nil, nil), appendFrame(nil, 77, 1, nil, nil)},
		"too large":    {[]byte{0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0, 0, 0, 1}, []byte{0xff, 0xff, 0xff, 0xff, 3, 0, 0, 0, 0, 0, 0, 0, 1}},
		"too small":    {[]byte{0, 0, 0, 3, 1, 0, 0, 0, 0, 0, 0, 0, 1}, []byte{0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 1}},
		"long ping":    {appendFrame(nil, framePing, 1, nil, []byte("x")), appendFrame(nil, framePong, 1, nil, []byte("x"))},
		"wrong way":    {appendFrame(nil, frameReply, 1, nil, nil), appendFrame(nil, frameCall, 1, make([]byte, 5), nil)},
		"unasked":      {appendFrame(nil, framePong, 1, nil, nil), appendFrame(nil, frameReply, 9, nil, nil)},
		"unasked pong": {appendFrame(nil, frameFailed, 1, []byte{1, 0}, nil), appendFrame(nil, framePong, 9, nil, nil)},
	}
	for name, f := range frames {
		t.Run(name, func(t *testing.T) {
			hostile(t, f.toCallee, func(c net.Conn) error {
				return Callee{Config: Config{Hello: hello()}, From: "n1", Handler: echo}.Serve(context.Background(), c)
			})
			hostile(t, f.toCaller, func(c net.Conn) error {
				client, err := NewClient(context.Background(), c, Config{Hello: hello()})
				if err != nil {
					return err
				}
				defer client.Close()
				<-client.Done()
				return client.Err()
			})
		})
	}
}

func TestMoreThanAgreed(t *testing.T) {
	var raw []byte
	for n := range 2 + 2*hello().Slots {
		raw = appendFrame(raw, frameCall, uint64(n+1), make([]byte, 5), nil)
	}
	x, y := loopback(t)
	defer x.Close()
	ended := make(chan error, 1)
	go func() {
		ended <- Callee{Config: Config{Hello: hello()}, From: "n1", Handler: func(ctx context.Context, _ protocol.NodeID, _ uint8, _ []byte) ([]byte, error) {
			<-ctx.Done() // only the end of the connection lets it go
			return nil, nil
		}}.Serve(context.Background(), y)
	}()
	b, _ := encodeHello(hello())
	x.Write(append(b, raw...))
	if err := <-ended; err == nil || err.Error() != "more calls under way than agreed" {
		t.Errorf("got %v", err)
	}
}

func TestHellosThatDoNotFit(t *testing.T) {
	newer := hello()
	newer.Min, newer.Max = 2, 3
	nonsense := hello()
	nonsense.Slots = 0
	for name, h := range map[string]Hello{"newer": newer, "nonsense": nonsense} {
		x, y := loopback(t)
		ended := make(chan error, 1)
		go func() {
			ended <- Callee{Config: Config{Hello: hello()}, From: "n1", Handler: echo}.Serve(context.Background(), y)
		}()
		_, err := NewClient(t.Context(), x, Config{Hello: h})
		serveErr := <-ended
		if err == nil || serveErr == nil {
			t.Errorf("%s: %v, %v", name, err, serveErr)
		}
		if name == "newer" && (!errors.Is(err, ErrRefused) || !errors.Is(serveErr, ErrRefused)) {
			t.Errorf("%s: %v, %v", name, err, serveErr)
		}
	}
	v, err := Agree(Hello{Min: 1, Max: 3}, Hello{Min: 2, Max: 5})
	if err != nil || v != 3 {
		t.Errorf("agreed on %d, %v", v, err)
	}
}
