package rpc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"teamtalk/protocol"
)

// cutting is a connection that breaks after so many bytes in one direction.
type cutting struct {
	net.Conn
	mu   sync.Mutex // guards left
	left int
}

func (c *cutting) Write(b []byte) (int, error) {
	c.mu.Lock()
	n := min(len(b), c.left)
	c.left -= n
	c.mu.Unlock()
	if n == len(b) {
		return c.Conn.Write(b)
	}
	n, err := c.Conn.Write(b[:n])
	c.Conn.Close()
	if err == nil {
		err = errors.New("cut")
	}
	return n, err
}

// ledger is what happened on the side that is called.
type ledger struct {
	mu       sync.Mutex // guards what follows
	handed   []uint64
	finished map[uint64]bool
}

// behaviour is how a handler treats one call.
type behaviour struct {
	accepts bool
	before  time.Duration // it takes until it accepts
	takes   time.Duration
	fails   bool
}

func (l *ledger) handler(how []behaviour) Handler {
	return func(ctx context.Context, _ protocol.NodeID, _ uint8, payload []byte) ([]byte, error) {
		n := binary.BigEndian.Uint64(payload)
		l.mu.Lock()
		l.handed = append(l.handed, n)
		l.mu.Unlock()
		b := how[n]
		pause := func(d time.Duration) {
			select {
			case <-time.After(d):
			case <-ctx.Done():
			}
		}
		pause(b.before)
		if b.accepts {
			Accepted(ctx)
			Accepted(ctx) // twice is harmless
		}
		pause(b.takes)
		l.mu.Lock()
		l.finished[n] = true
		l.mu.Unlock()
		if b.fails {
			return nil, protocol.Errorf(protocol.CodeForbidden, "no")
		}
		return payload, nil
	}
}

// scene is what is going to happen over one connection.
type scene struct {
	how   []behaviour
	size  []int
	cut   string
	most  int // bytes until the cut
	slots int
}

func drawScene(t *rapid.T) scene {
	count := rapid.IntRange(1, 60).Draw(t, "calls")
	s := scene{how: make([]behaviour, count), size: make([]int, count)}
	for i := range s.how {
		s.how[i] = behaviour{accepts: rapid.Bool().Draw(t, "accepts"), before: time.Duration(rapid.IntRange(0, 3).Draw(t, "before")) * time.Millisecond,
			takes: time.Duration(rapid.IntRange(0, 30).Draw(t, "takes")) * time.Millisecond, fails: rapid.IntRange(0, 9).Draw(t, "fails") == 0}
		s.size[i] = rapid.SampledFrom([]int{8, 8, 100, slotSize, 5 * slotSize}).Draw(t, "size")
	}
	s.cut = rapid.SampledFrom([]string{"none", "caller", "callee", "after a while"}).Draw(t, "cut")
	s.most = rapid.IntRange(0, 60*300).Draw(t, "bytes")
	s.slots = rapid.IntRange(1, 20).Draw(t, "slots")
	return s
}

// play starts the scene's calls in order over a connection that may break, and returns what is not as promised.
func play(s scene) error {
	x, y := net.Pipe()
	dial, accept := &cutting{Conn: x, left: 1 << 30}, &cutting{Conn: y, left: 1 << 30}
	switch s.cut {
	case "caller":
		dial.left = 150 + s.most
	case "callee":
		accept.left = 150 + s.most/10
	}
	h := hello()
	h.Slots = uint32(s.slots)
	var starts, ends atomic.Int32
	cfg := Config{Hello: h, Started: func() { starts.Add(1) }, Ended: func(bool, error) { ends.Add(1) }}
	l := &ledger{finished: map[uint64]bool{}}
	ctx, stop := context.WithTimeout(context.Background(), time.Hour)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		ended <- Callee{Config: Config{Hello: h}, From: "n1", Handler: l.handler(s.how)}.Serve(ctx, accept)
	}()
	c, err := NewClient(ctx, dial, cfg)
	if err != nil {
		return err
	}
	if s.cut == "after a while" {
		timer := time.AfterFunc(time.Duration(s.most)*10*time.Microsecond, func() { x.Close() })
		defer timer.Stop()
	}
	calls, errs := startAll(ctx, c, s.size)
	wrong := checkAll(ctx, calls, errs, l, s.cut == "none")
	c.Close()
	stop()
	if err := <-ended; err == nil {
		return errors.New("the side that is called ended without a reason")
	}
	if wrong == nil {
		wrong = checkOrder(l, len(s.how), s.cut == "none")
	}
	if c.InFlight() != 0 || starts.Load() != ends.Load() || !c.slots.TryAcquire(c.most) {
		return fmt.Errorf("%d in flight, %d started, %d ended, or slots were lost; %w", c.InFlight(), starts.Load(), ends.Load(), wrong)
	}
	return wrong
}

func startAll(ctx context.Context, c *Client, size []int) (calls []*Call, errs []error) {
	for n, s := range size {
		payload := make([]byte, s)
		binary.BigEndian.PutUint64(payload, uint64(n))
		call, err := c.Start(ctx, 1, payload)
		calls, errs = append(calls, call), append(errs, err)
	}
	return calls, errs
}

// checkAll: every call has one end, and it is the right one.
func checkAll(ctx context.Context, calls []*Call, errs []error, l *ledger, whole bool) error {
	for n, call := range calls {
		err := errs[n]
		var reply []byte
		if err == nil {
			reply, err = call.Wait(ctx)
			if again, errAgain := call.Wait(ctx); string(again) != string(reply) || !errors.Is(errAgain, err) {
				return fmt.Errorf("call %d ends with %v and then with %v", n, err, errAgain)
			}
		}
		l.mu.Lock()
		finished := l.finished[uint64(n)]
		handed := false
		for _, h := range l.handed {
			handed = handed || h == uint64(n)
		}
		l.mu.Unlock()
		switch {
		case err == nil && (!finished || binary.BigEndian.Uint64(reply) != uint64(n)):
			return fmt.Errorf("call %d was answered by what was not its handler", n)
		case protocol.CodeOf(err) == protocol.CodeForbidden && !finished:
			return fmt.Errorf("call %d has an error that its handler did not make", n)
		case protocol.CodeOf(err) == protocol.CodeUnavailable && whole:
			return fmt.Errorf("call %d failed over a whole connection: %v", n, err)
		case protocol.CodeOf(err) == protocol.CodeUnavailable && !protocol.IsOutcomeUnknown(err) && handed:
			return fmt.Errorf("call %d was handed over, and yet: %v", n, err)
		case err != nil && protocol.CodeOf(err) != protocol.CodeForbidden && protocol.CodeOf(err) != protocol.CodeUnavailable:
			return fmt.Errorf("call %d: %w", n, err)
		}
	}
	return nil
}

// checkOrder: calls are handed over in the order in which they were started, none twice and none left out.
func checkOrder(l *ledger, count int, whole bool) error {
	for i, n := range l.handed {
		if n != uint64(i) {
			return fmt.Errorf("handed over: %v", l.handed)
		}
	}
	if whole && len(l.handed) != count {
		return fmt.Errorf("%d of %d were handed over", len(l.handed), count)
	}
	return nil
}

func TestOrderAndOutcomes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := drawScene(rt)
		var err error
		synctest.Test(t, func(*testing.T) { err = play(s) })
		if err != nil {
			rt.Fatal(err)
		}
	})
}

// A connection that breaks at any byte of a short conversation, either way.
func TestCutAtAnyByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for at := range 400 {
			for _, way := range []string{"caller", "callee"} {
				cutAt(t, at, way)
			}
		}
	})
}

func cutAt(t *testing.T, at int, way string) {
	x, y := net.Pipe()
	dial, accept := &cutting{Conn: x, left: 1 << 30}, &cutting{Conn: y, left: 1 << 30}
	if way == "caller" {
		dial.left = at
	} else {
		accept.left = at
	}
	l := &ledger{finished: map[uint64]bool{}}
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		ended <- Callee{Config: Config{Hello: hello()}, From: "n1", Handler: l.handler(make([]behaviour, 5))}.Serve(ctx, accept)
	}()
	c, err := NewClient(ctx, dial, Config{Hello: hello()})
	if err != nil {
		stop()
		mustEnd(t, ended)
		return
	}
	for n := range 5 {
		_, err := c.Call(ctx, 1, number(n))
		l.mu.Lock()
		handed := len(l.handed) > n
		l.mu.Unlock()
		switch {
		case err == nil && !handed:
			t.Errorf("%s cut at %d: call %d answered by nobody", way, at, n)
		case err != nil && handed && !protocol.IsOutcomeUnknown(err):
			t.Errorf("%s cut at %d: call %d was handed over, and yet: %v", way, at, n, err)
		case errors.Is(err, context.DeadlineExceeded):
			t.Errorf("%s cut at %d: call %d hangs", way, at, n)
		}
	}
	c.Close()
	stop()
	mustEnd(t, ended)
}
