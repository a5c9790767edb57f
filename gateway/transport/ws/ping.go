package ws

import (
	"context"
	"math"
	"time"
)

// pulse is what a connection's pings and pongs need; conn.mu guards it.
type pulse struct {
	timer  *time.Timer
	ticked time.Time // when it was last looked whether a ping is due
	pong   []byte    // to be sent; nil: none
}

// startTimer starts what sends pings and pongs. Neither is the reader's business, which must not wait for a client that takes nothing.
func (c *conn) startTimer(every time.Duration) {
	if every < 0 {
		every = math.MaxInt64
	}
	c.mu.Lock()
	c.pulse.ticked = time.Now()
	c.pulse.timer = time.AfterFunc(every, c.tick) // stopped by end
	c.mu.Unlock()
}

// pinged notes the newest ping of the client, the only one that has to be answered [TT-WS-5].
func (c *conn) pinged(_ context.Context, payload []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ending {
		c.pulse.pong = append([]byte{}, payload...)
		c.pulse.timer.Reset(0)
	}
	return false // coder/websocket sends no pong
}

// ponder sends the pong that waited for a Write to end.
func (c *conn) ponder() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pulse.pong != nil && !c.ending {
		c.pulse.timer.Reset(0)
	}
}

// tick runs on a goroutine of its own and ends by itself, or with the connection. It sends a pong that is due, or a ping if nothing has been written since
// the last one: proxies cut connections on which nothing happens [TT-WS-5].
func (c *conn) tick() {
	idle := c.writing.TryLock() // otherwise something is being written, and ponder comes after it
	if idle {
		err := c.writeDue()
		c.writing.Unlock()
		if err != nil && !c.isEnding() {
			_ = raw(c.sock.Conn).Close() // the reader will notice
			return
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.ending:
	case c.pulse.pong != nil && idle: // it came in the meantime
		c.pulse.timer.Reset(0)
	case c.pulse.pong == nil && c.h.cfg.Ping > 0:
		left := c.h.cfg.Ping - time.Since(c.pulse.ticked)
		if left <= 0 { // something is being written: look again
			left = c.h.cfg.Ping
		}
		c.pulse.timer.Reset(left)
	}
}

func (c *conn) writeDue() error {
	op, payload := c.due()
	if op == 0 || c.said || c.torn {
		return nil
	}
	if err := c.extend(len(payload)); err != nil {
		return err
	}
	return c.writeControl(op, payload)
}

// due is the control frame to be sent now; 0: none.
func (c *conn) due() (op byte, payload []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending {
		return 0, nil
	}
	if c.pulse.pong != nil {
		payload, c.pulse.pong = c.pulse.pong, nil
		return opPong, payload
	}
	now := time.Now()
	if every := c.h.cfg.Ping; every < 0 || now.Sub(c.pulse.ticked) < every { // it was a pong that another tick has sent
		return 0, nil
	}
	c.pulse.ticked = now
	talked := c.talked
	c.talked = false
	if talked {
		return 0, nil
	}
	c.h.metrics.pings.Inc()
	return opPing, nil
}
