package peers

import (
	"net"
	"sync"
	"time"
)

// handover is between the port, which accepts, and what accepts behind it.
type handover struct {
	patience time.Duration
	accepted chan *conn
	once     *sync.Once
	closed   chan struct{}
}

func newHandover(patience time.Duration) handover {
	return handover{patience: patience, accepted: make(chan *conn), once: new(sync.Once), closed: make(chan struct{})}
}

// offer gives a connection to whoever accepts, or closes it.
func (h *handover) offer(c *conn) {
	t := time.NewTimer(h.patience)
	defer t.Stop()
	select {
	case h.accepted <- c:
	case <-h.closed:
		_ = c.Close()
	case <-t.C:
		// Nobody accepts yet: the other side will try again.
		_ = c.Close()
	}
}

// take waits for a connection.
func (h *handover) take() (*conn, error) {
	select {
	case c := <-h.accepted:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

// end has nothing offered or taken any more.
func (h *handover) end() { h.once.Do(func() { close(h.closed) }) }
