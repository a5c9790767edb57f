package simnet

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// A conn is one end of a connection in memory.
type conn struct {
	local, remote net.Addr
	foot          Direction // the direction whose foot this end is: Up for who dialled
	in, out       *way
}

// pair makes the two ends of a connection; what the dialler writes goes a way along the link, Up unless the link belongs to both hosts alike.
func pair(l *Link, way Direction, client, server net.Addr) (dialled, accepted *conn) {
	up, down := newWay(l, way), newWay(l, 1-way)
	dialled = &conn{local: client, remote: server, foot: Up, in: down, out: up}
	accepted = &conn{local: server, remote: client, foot: Down, in: up, out: down}
	return dialled, accepted
}

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.in.read(b)
	return n, c.explain("read", err)
}

// Write implements net.Conn.
func (c *conn) Write(b []byte) (int, error) {
	n, err := c.out.write(b)
	return n, c.explain("write", err)
}

func (c *conn) explain(op string, err error) error {
	if err == nil || err == io.EOF { //nolint:errorlint // it is made here
		return err
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.local, Addr: c.remote, Err: err}
}

// Close implements net.Conn: what was written still arrives, what was not read is lost.
func (c *conn) Close() error {
	if !c.in.leave() {
		return c.explain("close", net.ErrClosed)
	}
	c.out.end()
	return nil
}

// CloseWrite tells the other end that nothing more will come.
func (c *conn) CloseWrite() error {
	c.out.finish()
	return nil
}

func (c *conn) over() bool { return c.in.over() }

// cut ends the connection at both ends in a way.
func (c *conn) cut(how Cut) {
	up, down := c.out, c.in
	if c.foot == Down {
		up, down = down, up
	}
	// Who dialled writes up and reads down.
	up.cut(how.resets(Up), how.resets(Down))
	down.cut(how.resets(Down), how.resets(Up))
}

// LocalAddr implements net.Conn.
func (c *conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error {
	c.in.setDeadline(&c.in.readBy, t)
	c.out.setDeadline(&c.out.writeBy, t)
	return nil
}

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.setDeadline(&c.in.readBy, t)
	return nil
}

// SetWriteDeadline implements net.Conn.
func (c *conn) SetWriteDeadline(t time.Time) error {
	c.out.setDeadline(&c.out.writeBy, t)
	return nil
}

// way is one direction of a connection: bytes that are on their way from a writer to a reader.
type way struct {
	link      *Link
	direction Direction

	mu       sync.Mutex // guards all below
	changed  chan struct{}
	chunks   []chunk
	underway int // bytes in chunks
	last     time.Time
	readBy   time.Time
	writeBy  time.Time
	finished bool // the writer has nothing more; the last chunk is io.EOF
	left     bool // the reader has closed
	ended    bool // the writer has closed
	dead     bool // cut: nothing passes any more
	readErr  error
	writeErr error
}

func newWay(l *Link, d Direction) *way {
	return &way{link: l, direction: d, changed: make(chan struct{})}
}

// wakeLocked makes whoever waits look again.
func (w *way) wakeLocked() {
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *way) setDeadline(which *time.Time, t time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	*which = t
	w.wakeLocked()
}

// waitLocked lets go of the lock until something has changed, or until a moment if it is not zero.
func (w *way) waitLocked(next time.Time) {
	changed := w.changed
	w.mu.Unlock()
	defer w.mu.Lock()
	waitFor(changed, next)
}

// waitFor waits until the channel is closed, or until a moment if it is not zero.
func waitFor(changed <-chan struct{}, next time.Time) {
	if next.IsZero() {
		<-changed // without a timer, so that a bubble in which nothing can happen any more is found to be stuck
		return
	}
	timer := time.NewTimer(time.Until(next))
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	}
}

// earliest is the first of the moments that are not zero.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func passed(deadline time.Time) bool { return !deadline.IsZero() && !time.Now().Before(deadline) }

func (w *way) read(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		switch {
		case w.left:
			return 0, net.ErrClosed
		case w.readErr != nil:
			return 0, w.readErr
		case passed(w.readBy):
			return 0, os.ErrDeadlineExceeded
		case len(b) == 0:
			return 0, nil
		}
		if w.dead || len(w.chunks) == 0 {
			w.waitLocked(w.readBy)
			continue
		}
		if n, err, ok := w.takeLocked(b); ok {
			return n, err
		}
		w.waitLocked(earliest(w.readBy, w.chunks[0].due))
	}
}

// takeLocked takes what is there of the first chunk.
func (w *way) takeLocked(b []byte) (n int, err error, ok bool) {
	c := &w.chunks[0]
	if time.Now().Before(c.due) {
		return 0, nil, false
	}
	if c.end != nil {
		return 0, c.end, true
	}
	if !c.arrived {
		if due, now := w.link.streamArrives(w.direction, c.sent, len(c.data)); !now {
			c.due = due
			return 0, nil, false
		}
		c.arrived = true
	}
	n = copy(b, c.data)
	c.data = c.data[n:]
	if len(c.data) == 0 {
		w.chunks = w.chunks[1:]
	}
	w.underway -= n
	w.wakeLocked() // there is room
	return n, nil, true
}

func (w *way) write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	written := 0
	for {
		switch {
		case w.ended || w.finished:
			return written, net.ErrClosed
		case w.writeErr != nil:
			return written, w.writeErr
		case w.left && !w.dead:
			return written, syscall.EPIPE
		case passed(w.writeBy):
			return written, os.ErrDeadlineExceeded
		case written == len(b):
			return written, nil
		}
		room := min(streamWindow-w.underway, len(b)-written)
		if room <= 0 {
			w.waitLocked(w.writeBy)
			continue
		}
		w.addLocked(chunk{data: append([]byte(nil), b[written:written+room]...)})
		written += room
	}
}

// addLocked sends a chunk. None comes before the one before it.
func (w *way) addLocked(c chunk) {
	c.sent = time.Now()
	c.due = w.link.stream(w.direction, c.sent, max(1, len(c.data)))
	if c.due.Before(w.last) {
		c.due = w.last
	}
	w.last = c.due
	w.chunks = append(w.chunks, c)
	w.underway += len(c.data)
	w.wakeLocked()
}

// finish sends the end.
func (w *way) finish() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.finished {
		w.finished = true
		w.addLocked(chunk{end: io.EOF})
	}
}

// end is the writer's Close.
func (w *way) end() {
	w.finish()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	w.wakeLocked()
}

// leave is the reader's Close; false if he had closed before.
func (w *way) leave() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.left {
		return false
	}
	w.left = true
	w.wakeLocked()
	return true
}

// over tells whether a cut would change nothing for the reader.
func (w *way) over() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.left || w.dead
}

// cut lets nothing pass any more and tells the writer or the reader, or none.
func (w *way) cut(tellWriter, tellReader bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead {
		return
	}
	w.dead, w.chunks = true, nil
	if tellWriter {
		w.writeErr = syscall.ECONNRESET
	}
	if tellReader {
		w.readErr = syscall.ECONNRESET
	}
	w.wakeLocked()
}
