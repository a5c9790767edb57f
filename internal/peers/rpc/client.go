package rpc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"teamtalk/protocol"
)

const (
	// slotSize is how much payload a slot stands for.
	slotSize = 16 << 10
	// chunk is how much is written at once: what is behind it is known not to have been sent when the connection breaks.
	chunk = 256 << 10
	// bufferSize is that of readers.
	bufferSize = 64 << 10
)

// ErrSilent ends a connection whose other side has not answered several pings.
var ErrSilent = errors.New("the other node is silent")

// ErrClosed ends a connection that this side closed.
var ErrClosed = errors.New("the connection was closed")

// Config says how this side of a connection behaves. Hello is needed.
type Config struct {
	Hello Hello
	// Handshake is how long the hello may take (5 s).
	Handshake time.Duration
	// Ping is how often a caller pings; three that go unanswered end the connection (1 s).
	Ping time.Duration
	// Idle is how long the side that is called waits for a sign of life, pings included (10 s).
	Idle time.Duration
	// RTT is told how long each ping took; nil tells nobody.
	RTT func(time.Duration)
	// Started is called for each call that is queued; nil is fine. It must be quick.
	Started func()
	// Ended is told how each call that was started has ended, as Wait says it; awaited is false for those of Send. It must be quick.
	Ended func(awaited bool, err error)
}

// missed is how many pings may go unanswered.
const missed = 3

func (c *Config) setDefaults() {
	if c.Handshake == 0 {
		c.Handshake = 5 * time.Second
	}
	if c.Ping == 0 {
		c.Ping = time.Second
	}
	if c.Idle == 0 {
		c.Idle = 10 * time.Second
	}
	if c.RTT == nil {
		c.RTT = func(time.Duration) {}
	}
	if c.Started == nil {
		c.Started = func() {}
	}
	if c.Ended == nil {
		c.Ended = func(bool, error) {}
	}
}

// Client is the calling side of a connection.
type Client struct {
	cfg     Config
	conn    net.Conn
	peer    Hello
	version uint16
	slots   *semaphore.Weighted
	most    int64 // slots there are
	largest int   // bytes of payload
	wake    chan struct{}
	done    chan struct{}
	silent  atomic.Int32 // pings since the last sign of life
	wg      sync.WaitGroup

	mu     sync.Mutex // guards what follows
	queue  []*Call
	given  []uint64 // calls that were given up and of which the other side is to be told
	calls  map[uint64]*Call
	last   uint64
	pinged bool // a ping is to be written
	pings  map[uint64]time.Time
	err    error
}

// NewClient says hello and is then ready for calls. It owns the connection; Close ends it and its goroutines.
func NewClient(ctx context.Context, conn net.Conn, cfg Config) (*Client, error) {
	cfg.setDefaults()
	peer, version, err := greet(ctx, conn, cfg)
	if err != nil {
		conn.Close()
		return nil, err
	}
	c := &Client{cfg: cfg, conn: conn, peer: peer, version: version, most: int64(min(cfg.Hello.Slots, peer.Slots)),
		largest: int(min(cfg.Hello.Largest, peer.Largest)), wake: make(chan struct{}, 1), done: make(chan struct{}),
		calls: map[uint64]*Call{}, pings: map[uint64]time.Time{}}
	c.slots = semaphore.NewWeighted(c.most)
	// All three are stopped by fail and joined by Close.
	c.wg.Go(c.read)
	c.wg.Go(c.write)
	c.wg.Go(c.ping)
	return c, nil
}

func greet(ctx context.Context, conn net.Conn, cfg Config) (Hello, uint16, error) {
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	conn.SetDeadline(time.Now().Add(cfg.Handshake))
	b, err := encodeHello(cfg.Hello)
	if err != nil {
		return Hello{}, 0, err
	}
	if _, err := conn.Write(b); err != nil {
		return Hello{}, 0, fmt.Errorf("hello: %w", err)
	}
	peer, err := readHello(conn)
	if err != nil {
		return Hello{}, 0, err
	}
	if peer.Refused != "" {
		return Hello{}, 0, fmt.Errorf("%w: %s", ErrRefused, peer.Refused)
	}
	version, err := Agree(cfg.Hello, peer)
	if err != nil {
		return Hello{}, 0, err
	}
	if !stop() {
		return Hello{}, 0, ctx.Err()
	}
	conn.SetDeadline(time.Time{})
	return peer, version, nil
}

// Peer is what the other side said of itself.
func (c *Client) Peer() Hello { return c.peer }

// Version is the node protocol that both sides understand.
func (c *Client) Version() uint16 { return c.version }

// Done is closed when the connection is of no use any more.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err is why the connection ended; nil as long as it has not.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// InFlight is how many calls have been started and have not ended.
func (c *Client) InFlight() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.calls)
}

// Close ends the connection and waits for its goroutines; calls under way fail.
func (c *Client) Close() {
	c.fail(ErrClosed)
	c.wg.Wait()
}

// fail ends the connection once and for all calls. Those that were never written have certainly not been carried out.
func (c *Client) fail(err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = err
	calls := c.calls
	c.calls, c.queue = map[uint64]*Call{}, nil
	c.mu.Unlock()
	close(c.done)
	c.conn.Close()
	for _, call := range calls {
		call.end(nil, lost(call.written, err))
	}
}

// lost is the error of a call whose connection has ended.
func lost(written bool, cause error) *protocol.Error {
	if written {
		return protocol.OutcomeUnknownf("the connection to the other node broke after the call: %w", cause)
	}
	return protocol.Errorf(protocol.CodeUnavailable, "not sent to the other node: %w", cause)
}

// read takes what the other side sends. Stopped by fail, which closes the connection.
func (c *Client) read() {
	r := bufio.NewReaderSize(&hearing{conn: c.conn, heard: func() { c.silent.Store(0) }}, bufferSize)
	for {
		f, err := readFrame(r, c.peer.Largest)
		if err == nil {
			err = c.take(f)
		}
		if err != nil {
			c.fail(err)
			return
		}
	}
}

func (c *Client) take(f frame) error {
	switch f.kind {
	case frameReply, frameFailed:
		c.mu.Lock()
		call := c.calls[f.id]
		known := call != nil && call.written
		if known {
			delete(c.calls, f.id)
		}
		c.mu.Unlock()
		if !known {
			return fmt.Errorf("an answer to call %d, which is not under way", f.id)
		}
		if f.failure != nil {
			call.end(nil, f.failure)
		} else {
			call.end(f.payload, nil)
		}
		return nil
	case framePong:
		c.mu.Lock()
		sent, ok := c.pings[f.id]
		delete(c.pings, f.id)
		c.mu.Unlock()
		if !ok {
			return errors.New("a pong that answers nothing")
		}
		c.cfg.RTT(time.Since(sent))
		return nil
	case frameCall, frameSend, framePing, frameCancel:
	}
	return fmt.Errorf("a frame of kind %d from the side that is called", f.kind)
}

// ping asks for signs of life. Stopped by fail.
func (c *Client) ping() {
	t := time.NewTicker(c.cfg.Ping)
	defer t.Stop()
	for {
		select {
		case <-c.done:
			return
		case <-t.C:
		}
		if c.silent.Add(1) > missed {
			c.fail(ErrSilent)
			return
		}
		c.mu.Lock()
		c.pinged = true
		c.mu.Unlock()
		c.poke()
	}
}

func (c *Client) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// write sends what is queued, as much at once as there is. Stopped by fail.
func (c *Client) write() {
	var buf []byte
	for {
		select {
		case <-c.done:
			return
		case <-c.wake:
		}
		for {
			if buf = c.fill(buf[:0]); len(buf) == 0 {
				break
			}
			if err := c.writeAll(buf); err != nil {
				c.fail(err)
				return
			}
			if cap(buf) > 4*chunk {
				buf = nil
			}
		}
	}
}

// fill appends frames to buf up to a chunk, and takes their calls for written from now on.
func (c *Client) fill(buf []byte) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range c.given {
		if c.calls[id] != nil { // else it was answered meanwhile
			buf = appendFrame(buf, frameCancel, id, nil, nil)
		}
	}
	c.given = c.given[:0]
	if c.pinged {
		c.pinged = false
		c.last++
		c.pings[c.last] = time.Now()
		buf = appendFrame(buf, framePing, c.last, nil, nil)
	}
	n := 0
	for ; n < len(c.queue) && len(buf) < chunk; n++ {
		call := c.queue[n]
		c.queue[n] = nil
		if !call.withdrawn {
			call.written = true
			buf = call.append(buf)
		}
	}
	c.queue = c.queue[n:]
	return buf
}

// writeAll writes large buffers in pieces. That they get away is a sign of life then, for pings have to wait behind them.
func (c *Client) writeAll(buf []byte) error {
	for len(buf) > wide {
		if _, err := c.conn.Write(buf[:wide]); err != nil {
			return err
		}
		c.silent.Store(0)
		buf = buf[wide:]
	}
	_, err := c.conn.Write(buf)
	return err
}

// hearing notes each time something comes.
type hearing struct {
	conn  net.Conn
	heard func()
}

func (h *hearing) Read(b []byte) (int, error) {
	n, err := h.conn.Read(b)
	if n > 0 {
		h.heard()
	}
	return n, err
}
