package dial

import (
	"net"
	"sync"
)

// sockets are those of an HTTP client. Closing them is sure to end what reads from them: an HTTP/2 connection with a request that was given up
// does not count as idle for a while.
type sockets struct {
	mu     sync.Mutex // guards what follows
	open   map[*heldConn]struct{}
	closed bool
}

// add takes a new one in.
func (s *sockets) add(nc net.Conn) net.Conn {
	c := &heldConn{Conn: nc, of: s}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = nc.Close() // whoever asked for it learns so
		return c
	}
	if s.open == nil {
		s.open = make(map[*heldConn]struct{})
	}
	s.open[c] = struct{}{}
	return c
}

func (s *sockets) forget(c *heldConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
}

// close ends all of them, and those that are still to come.
func (s *sockets) close() {
	s.mu.Lock()
	open := s.open
	s.open, s.closed = nil, true
	s.mu.Unlock()
	for c := range open {
		_ = c.Conn.Close() // may be closed already
	}
}

type heldConn struct {
	net.Conn
	of *sockets
}

// Close closes the connection.
func (c *heldConn) Close() error {
	c.of.forget(c)
	return c.Conn.Close()
}
