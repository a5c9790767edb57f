package rpc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"teamtalk/protocol"
)

// Handler answers a call. The context ends with the connection, and when the caller has stopped waiting. Errors that are no
// *protocol.Error are logged here and reach the caller as CodeInternal.
type Handler func(ctx context.Context, from protocol.NodeID, method uint8, payload []byte) ([]byte, error)

type acceptedKey struct{}

// Accepted says that the call whose context this is has its place in the order: the next one of its lane may be handed over while this
// one still waits for its result. Without it, calls are handed over one after the other. It does nothing for other contexts.
func Accepted(ctx context.Context) {
	if accept, ok := ctx.Value(acceptedKey{}).(func()); ok {
		accept()
	}
}

// Callee is who is called over a connection: the side that accepted it.
type Callee struct {
	Config
	// From is the node that calls.
	From protocol.NodeID
	// Greeted is called after the hello and before the first call is handed over; an error ends the connection. Nil is fine.
	Greeted func(Hello) error
	// Handler answers.
	Handler Handler
	// Logger gets the handler's unexpected errors; nil drops them.
	Logger *slog.Logger
}

const (
	// farewell is how long the last answers may take to get away.
	farewell = time.Second
	// stuck is how long the caller may take to read an answer's next piece.
	stuck = 10 * time.Second
)

// Serve answers the calls that come over the connection until it ends or ctx does, and returns why. It owns the connection and has
// joined all it started when it returns. When ctx ends, calls that were handed over may still answer; those that were not are refused.
func (s Callee) Serve(ctx context.Context, conn net.Conn) error {
	defer conn.Close()
	s.setDefaults()
	if s.Logger == nil {
		s.Logger = slog.New(slog.DiscardHandler)
	}
	peer, err := s.welcome(conn)
	if err != nil {
		return err
	}
	if s.Greeted != nil {
		if err := s.Greeted(peer); err != nil {
			return err
		}
	}
	s.Hello.Lane = peer.Lane
	calls, stop := context.WithCancel(ctx)
	defer stop()
	slots := int(min(s.Hello.Slots, peer.Slots))
	a := &answering{Callee: s, conn: conn, calls: make(chan frame, slots), out: newOutbox(conn), waited: map[uint64]context.CancelCauseFunc{}}
	// Ends by calls being closed, which happens when reading ends.
	handed := make(chan struct{})
	go func() {
		defer close(handed)
		a.hand(calls)
	}()
	// Ends by the outbox being closed, below.
	written := make(chan struct{})
	go func() {
		defer close(written)
		a.out.run()
	}()
	stopped := make(chan struct{})
	halt := context.AfterFunc(ctx, func() {
		defer close(stopped)
		a.stopReading()
	})
	err = a.read(ctx)
	if !halt() {
		<-stopped // its deadline must not cut the parting short
	}
	close(a.calls)
	stop()
	<-handed
	a.out.close()
	// Answers still get away when it is this side that ends it; a dead connection fails at once.
	conn.SetWriteDeadline(time.Now().Add(farewell))
	<-written
	if ctx.Err() != nil {
		partWell(conn)
		return context.Cause(ctx)
	}
	return err
}

// partWell waits for the caller to have read the last answers: a connection closed with something unread is reset, and what was on its
// way the other way is lost.
func partWell(conn net.Conn) {
	if half, ok := conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		conn.SetReadDeadline(time.Now().Add(farewell))
		_, _ = io.Copy(io.Discard, conn)
	}
}

func (s *Callee) welcome(conn net.Conn) (Hello, error) {
	conn.SetDeadline(time.Now().Add(s.Handshake))
	peer, err := readHello(conn)
	if err != nil {
		return Hello{}, err
	}
	answer := s.Hello
	answer.Lane = peer.Lane
	_, refusal := Agree(s.Hello, peer)
	if refusal != nil {
		answer.Refused = refusal.Error()
	}
	b, err := encodeHello(answer)
	if err != nil {
		return Hello{}, err
	}
	if _, err := conn.Write(b); err != nil {
		return Hello{}, fmt.Errorf("hello: %w", err)
	}
	conn.SetDeadline(time.Time{})
	return peer, refusal
}

// answering is one connection that is being served.
type answering struct {
	Callee
	conn  net.Conn
	calls chan frame // in the order they came
	out   *outbox

	mu      sync.Mutex // guards what follows, and that no deadline is set after stopped is
	stopped bool
	waited  map[uint64]context.CancelCauseFunc // calls whose answer somebody waits for; nil: not handed over yet
}

// errGivenUp ends the context of a handler whose caller does not wait any more.
var errGivenUp = errors.New("the caller waits no more")

// await notes a call whose answer somebody waits for.
func (a *answering) await(id uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waited[id] = nil
}

// giveUp ends the context of a call, or keeps it from being handed over.
func (a *answering) giveUp(id uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if cancel := a.waited[id]; cancel != nil {
		cancel(errGivenUp)
	}
	delete(a.waited, id)
}

// begin is the context of a call that is handed over; it is not if nobody waits for it any more.
func (a *answering) begin(ctx context.Context, id uint64) (context.Context, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.waited[id]; !ok {
		return nil, false
	}
	ctx, a.waited[id] = context.WithCancelCause(ctx)
	return ctx, true
}

// settle forgets a call that is answered.
func (a *answering) settle(id uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if cancel := a.waited[id]; cancel != nil {
		cancel(nil)
	}
	delete(a.waited, id)
}

// stopReading makes the next read fail.
func (a *answering) stopReading() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stopped = true
	a.conn.SetReadDeadline(time.Unix(1, 0))
}

// heard puts off the end of a connection that is silent.
func (a *answering) heard() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.stopped {
		a.conn.SetReadDeadline(time.Now().Add(a.Idle))
	}
}

// read takes frames until the connection ends, or is to.
func (a *answering) read(ctx context.Context) error {
	a.heard()
	r := bufio.NewReaderSize(&hearing{conn: a.conn, heard: a.heard}, bufferSize)
	for ctx.Err() == nil {
		f, err := readFrame(r, a.Hello.Largest)
		if err != nil {
			return err
		}
		switch f.kind {
		case frameCall, frameSend:
			if f.waits > 0 {
				f.due = time.Now().Add(time.Duration(f.waits) * time.Millisecond)
			}
			if f.kind == frameCall {
				a.await(f.id)
			}
			select {
			case a.calls <- f:
			default:
				return errors.New("more calls under way than agreed")
			}
		case framePing:
			a.out.add(appendFrame(nil, framePong, f.id, nil, nil))
		case frameCancel:
			a.giveUp(f.id)
		case frameReply, frameFailed, framePong:
			return fmt.Errorf("a frame of kind %d from the side that calls", f.kind)
		}
	}
	return context.Cause(ctx)
}

// hand hands the calls over, one after the other, and returns when all handlers have.
func (a *answering) hand(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	for f := range a.calls {
		ctx, refusal := a.admit(ctx, f)
		if refusal != nil {
			a.settle(f.id)
			a.out.add(failedFrame(f.id, refusal))
			continue
		}
		// Ended by its handler, which has to look at its context.
		accepted := make(chan struct{})
		accept := sync.OnceFunc(func() { close(accepted) })
		running.Go(func() {
			defer accept()
			defer a.settle(f.id)
			a.answer(context.WithValue(ctx, acceptedKey{}, accept), f)
		})
		<-accepted
	}
}

// admit is the context for a call, or says why it is not handed over: certainly it was not carried out then.
func (a *answering) admit(ctx context.Context, f frame) (context.Context, *protocol.Error) {
	switch {
	case ctx.Err() != nil:
		return nil, protocol.Errorf(protocol.CodeUnavailable, "the other node is stopping")
	case !f.due.IsZero() && !time.Now().Before(f.due):
		return nil, protocol.Errorf(protocol.CodeUnavailable, "the other node is too busy: the call came too late to its turn")
	case f.kind == frameSend:
		return ctx, nil
	}
	ctx, ok := a.begin(ctx, f.id)
	if !ok {
		return nil, protocol.Errorf(protocol.CodeUnavailable, "not carried out: %w", errGivenUp)
	}
	return ctx, nil
}

func (a *answering) answer(ctx context.Context, f frame) {
	if !f.due.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, f.due)
		defer cancel()
	}
	reply, err := a.Handler(ctx, a.From, f.method, f.payload)
	if err == nil && len(reply) > int(a.Hello.Largest) {
		err = fmt.Errorf("an answer of %d bytes is too large", len(reply))
	}
	if f.kind == frameSend {
		reply = nil // nobody waits; the frame frees the caller's slots
	}
	if err == nil {
		a.out.add(appendFrame(nil, frameReply, f.id, nil, reply))
		return
	}
	var e *protocol.Error
	switch {
	case errors.As(err, &e):
	case errors.Is(context.Cause(ctx), errGivenUp): // nobody reads the answer, and nothing is wrong
		e = protocol.OutcomeUnknownf("%w", err)
	default:
		a.Logger.Error("a call from another node failed", "from", a.From, "lane", a.Hello.Lane.String(), "method", f.method, "error", err)
		e = &protocol.Error{Code: protocol.CodeInternal, Message: "the other node failed; see its log", OutcomeUnknown: true}
	}
	a.out.add(failedFrame(f.id, e))
}

// outbox writes frames, as many at once as there are. What is in it is bounded by what the callers may have under way.
type outbox struct {
	conn net.Conn
	wake chan struct{}

	mu     sync.Mutex // guards what follows
	frames [][]byte
	closed bool
}

func newOutbox(conn net.Conn) *outbox { return &outbox{conn: conn, wake: make(chan struct{}, 1)} }

func (o *outbox) add(frame []byte) {
	o.mu.Lock()
	o.frames = append(o.frames, frame)
	o.mu.Unlock()
	o.poke()
}

func (o *outbox) poke() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// close lets run end when all is written.
func (o *outbox) close() {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	o.poke()
}

// run writes until the outbox is closed. After an error it closes the connection, which ends the reading, and drops what comes.
func (o *outbox) run() {
	var buf []byte
	failed := false
	for range o.wake {
		for {
			o.mu.Lock()
			frames, closed := o.frames, o.closed
			o.frames = nil
			o.mu.Unlock()
			if len(frames) == 0 && closed {
				return
			}
			if len(frames) == 0 {
				break
			}
			for len(frames) > 0 && !failed {
				buf, frames = gather(buf[:0], frames)
				failed = !o.write(buf, closed)
			}
			if cap(buf) > 4*chunk {
				buf = nil
			}
		}
	}
}

// gather appends frames up to a chunk, at least one.
func gather(buf []byte, frames [][]byte) (b []byte, rest [][]byte) {
	for len(frames) > 0 && (len(buf) == 0 || len(buf)+len(frames[0]) <= chunk) {
		buf = append(buf, frames[0]...)
		frames = frames[1:]
	}
	return buf, frames
}

// write writes in pieces, each of which the caller has to read in time; the farewell has a deadline of its own.
func (o *outbox) write(buf []byte, last bool) bool {
	for len(buf) > 0 {
		n := min(len(buf), wide)
		if !last {
			o.conn.SetWriteDeadline(time.Now().Add(stuck))
		}
		if _, err := o.conn.Write(buf[:n]); err != nil {
			o.conn.Close()
			return false
		}
		buf = buf[n:]
	}
	return true
}
