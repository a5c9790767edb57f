package quicport

import (
	"context"
	"sync"
)

// count is how many of something are under way, for a shutdown to wait for.
type count struct {
	mu      sync.Mutex // guards what follows
	under   int
	closing bool
	idle    chan struct{} // closed when there are none; nil: nobody waits
}

func (c *count) begin() {
	c.mu.Lock()
	c.under++
	c.mu.Unlock()
}

func (c *count) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.under--; c.under == 0 && c.idle != nil {
		close(c.idle)
		c.idle = nil
	}
}

// wait waits until there are none, or ctx ends.
func (c *count) wait(ctx context.Context) error {
	c.mu.Lock()
	c.closing = true
	if c.under > 0 && c.idle == nil {
		c.idle = make(chan struct{})
	}
	idle := c.idle
	c.mu.Unlock()
	if idle == nil {
		return nil
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *count) isClosing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closing
}
