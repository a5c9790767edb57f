package rpc

import (
	"context"
	"encoding/binary"
	"math"
	"time"

	"teamtalk/protocol"
)

// Call is a call that was started.
type Call struct {
	client  *Client
	id      uint64
	kind    frameKind
	method  uint8
	payload []byte
	until   time.Time // when the caller stops waiting; zero: never
	slots   int64
	done    chan struct{} // nil: nobody waits

	written, withdrawn bool // guarded by the client's mutex

	reply []byte
	err   error
}

// Start queues a call and returns; calls are handed over on the other side in the order in which they were started. It waits while too
// much is under way. The context's deadline travels along. The payload must not be changed any more.
func (c *Client) Start(ctx context.Context, method uint8, payload []byte) (*Call, error) {
	until, _ := ctx.Deadline()
	call := &Call{client: c, kind: frameCall, method: method, payload: payload, until: until, done: make(chan struct{})}
	return call, c.start(ctx, call)
}

// Send queues a call that nobody waits for; it is lost without notice if the connection breaks. It waits while too much is under way.
func (c *Client) Send(ctx context.Context, method uint8, payload []byte) error {
	return c.start(ctx, &Call{client: c, kind: frameSend, method: method, payload: payload})
}

// TrySend is a Send that does not wait: it reports whether there was room for it.
func (c *Client) TrySend(method uint8, payload []byte) bool {
	call := &Call{client: c, kind: frameSend, method: method, payload: payload, slots: c.weight(payload)}
	return len(payload) <= c.largest && c.slots.TryAcquire(call.slots) && c.enqueue(call) == nil
}

// Call is Start and Wait.
func (c *Client) Call(ctx context.Context, method uint8, payload []byte) ([]byte, error) {
	call, err := c.Start(ctx, method, payload)
	if err != nil {
		return nil, err
	}
	return call.Wait(ctx)
}

func (c *Client) start(ctx context.Context, call *Call) error {
	if len(call.payload) > c.largest {
		return protocol.Errorf(protocol.CodeTooLarge, "%d bytes are too many for a call to another node", len(call.payload))
	}
	call.slots = c.weight(call.payload)
	if err := c.slots.Acquire(ctx, call.slots); err != nil {
		return protocol.Errorf(protocol.CodeUnavailable, "not sent to the other node, which is busy: %w", err)
	}
	return c.enqueue(call)
}

// weight is how many slots a payload takes. The largest takes all there are.
func (c *Client) weight(payload []byte) int64 { return min(c.most, 1+int64(len(payload))/slotSize) }

// enqueue gives a call that has its slots a place in the order.
func (c *Client) enqueue(call *Call) error {
	c.mu.Lock()
	if c.err != nil {
		err := c.err
		c.mu.Unlock()
		c.slots.Release(call.slots)
		return lost(false, err)
	}
	c.last++
	call.id = c.last
	c.cfg.Started()
	c.calls[call.id] = call
	c.queue = append(c.queue, call)
	c.mu.Unlock()
	c.poke()
	return nil
}

// append encodes the call.
func (c *Call) append(dst []byte) []byte {
	if c.kind == frameSend {
		return appendFrame(dst, frameSend, c.id, []byte{c.method}, c.payload)
	}
	var fixed [5]byte
	fixed[0] = c.method
	if !c.until.IsZero() {
		left := time.Until(c.until).Milliseconds()
		binary.BigEndian.PutUint32(fixed[1:], uint32(min(max(1, left), math.MaxUint32)))
	}
	return appendFrame(dst, frameCall, c.id, fixed[:], c.payload)
}

// end settles the call; whoever has removed it from the client's table calls it, so once.
func (c *Call) end(reply []byte, err error) {
	c.reply, c.err = reply, err
	c.client.slots.Release(c.slots)
	c.client.cfg.Ended(c.kind == frameCall, err)
	if c.done != nil {
		close(c.done)
	}
}

// Wait returns the answer. Errors are of type *protocol.Error: the handler's, or CodeUnavailable, with OutcomeUnknown set if the call
// may have been carried out. When the context ends first, the call is withdrawn if it has not been sent yet; otherwise the other side is told,
// whose handler's context ends then.
func (c *Call) Wait(ctx context.Context) ([]byte, error) {
	select {
	case <-c.done:
		return c.reply, c.err
	case <-ctx.Done():
	}
	cl := c.client
	cl.mu.Lock()
	_, underWay := cl.calls[c.id]
	written := c.written
	if underWay && !written {
		c.withdrawn = true
		delete(cl.calls, c.id)
	}
	// At its deadline the other side stops by itself.
	tell := underWay && written && cl.version >= cancels && (c.until.IsZero() || time.Now().Before(c.until))
	if tell {
		cl.given = append(cl.given, c.id)
	}
	cl.mu.Unlock()
	if tell {
		cl.poke()
	}
	switch {
	case !underWay: // it is just ending
		<-c.done
		return c.reply, c.err
	case written:
		// Its slots stay taken until the other side has answered.
		return nil, protocol.OutcomeUnknownf("the other node has not answered in time: %w", context.Cause(ctx))
	}
	err := protocol.Errorf(protocol.CodeUnavailable, "not sent to the other node in time: %w", context.Cause(ctx))
	c.end(nil, err)
	return nil, err
}
