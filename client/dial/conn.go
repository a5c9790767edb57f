package dial

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/pdu"
)

// goodbyeTime is how long a connection that is being closed has for its last bytes.
const goodbyeTime = 2 * time.Second

// Conn is a connection to a server, by whatever transport. One goroutine reads, one writes; the other methods may be called from any.
type Conn interface {
	// Read returns the next PDU. The error is io.EOF when the server ended the connection without a reason, a *CloseError when it gave one,
	// net.ErrClosed after Close, pdu.ErrLength or pdu.ErrTooLarge for what is no PDU, or what broke the connection.
	Read() (pdu.PDU, error)
	// Write sends frames of whole PDUs, with as few system calls, messages or requests as the transport allows. It keeps and changes nothing of
	// them. It fails when the server does not take them in time; that it succeeds does not mean that they have arrived.
	Write(frames [][]byte) error
	// Close ends the connection: Read and Write end at once, and Close does not wait for the server. What was written before is sent, and
	// so are code and reason if the transport has a place for them, in the background and for at most 2 s; Dialer.Close waits for
	// that. Where there is no Dialer, which is after DialRoute, Close itself does. A second Close returns net.ErrClosed.
	Close(code protocol.Code, reason string) error
	// Via is the transport.
	Via() Transport
	// Route is how the connection was made.
	Route() Route
	// LastHeard is when anything at all came from the server, at first when the connection was made. It tells a path that has gone silent.
	LastHeard() time.Time
	// RemoteAddr is the address connected to, for people to read: the proxy's if there is one.
	RemoteAddr() string
}

// Rebinder is a Conn that can move to a new socket, and so to the network that the machine is on now; those of QUIC are.
type Rebinder interface {
	Rebind(ctx context.Context) error
}

// clock knows when something was heard last. It counts from its beginning, since the time of day may be set.
type clock struct {
	began time.Time
	last  atomic.Int64 // nanoseconds since began
}

func newClock() *clock { return &clock{began: time.Now()} }

func (c *clock) tick() { c.last.Store(int64(time.Since(c.began))) }

func (c *clock) at() time.Time { return c.began.Add(time.Duration(c.last.Load())) }

// heardConn is a net.Conn whose bytes are heard.
type heardConn struct {
	net.Conn
	heard *clock
}

func (c *heardConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.heard.tick()
	}
	return n, err
}

// link is what all connections have in common.
type link struct {
	dialer *Dialer
	route  Route
	remote string
	heard  *clock
	ending atomic.Bool
	closed chan struct{} // closed by Close
}

func newLink(d *Dialer, r Route, remote string, heard *clock) *link {
	return &link{dialer: d, route: r, remote: remote, heard: heard, closed: make(chan struct{})}
}

func (l *link) Via() Transport       { return l.route.Transport }
func (l *link) Route() Route         { return l.route }
func (l *link) LastHeard() time.Time { return l.heard.at() }
func (l *link) RemoteAddr() string   { return l.remote }

// end closes the link and lets goodbye do the rest in the background. Only the first call does.
func (l *link) end(g guest, goodbye func()) error {
	if !l.ending.CompareAndSwap(false, true) {
		return net.ErrClosed
	}
	close(l.closed)
	l.dialer.guests.leave(g, goodbye)
	if l.dialer.lone {
		return l.dialer.Close()
	}
	return nil
}

// isClosed reports whether Close has been called.
func (l *link) isClosed() bool { return l.ending.Load() }

func (l *link) errClosed() error { return fmt.Errorf("dial: %w", net.ErrClosed) }

// inbox hands PDUs from the goroutine that receives them to the one that reads.
type inbox struct {
	pdus chan pdu.PDU
	end  error // why nothing more comes; set before pdus is closed
}

// inboxLen lets the receiving goroutine run ahead a little; beyond it reading pauses.
const inboxLen = 16

func newInbox() inbox { return inbox{pdus: make(chan pdu.PDU, inboxLen)} }

// finish is called once, by the goroutine that receives.
func (b *inbox) finish(err error) {
	b.end = err
	if err == nil {
		b.end = io.EOF
	}
	close(b.pdus)
}

// next waits for a PDU.
func (b *inbox) next(l *link) (pdu.PDU, error) {
	if l.isClosed() {
		return pdu.PDU{}, l.errClosed()
	}
	select {
	case p, ok := <-b.pdus:
		switch {
		case ok:
			return p, nil
		case l.isClosed():
			return pdu.PDU{}, l.errClosed()
		}
		return pdu.PDU{}, b.end
	case <-l.closed:
		return pdu.PDU{}, l.errClosed()
	}
}

const (
	writeTime = 30 * time.Second
	writePace = 16 << 10 // bytes a second that a server has to take of what is long
)

// timeFor is what the server gets to take size bytes.
func timeFor(size int) time.Duration { return writeTime + time.Duration(size/writePace)*time.Second }

func sizeOf(frames [][]byte) int {
	size := 0
	for _, f := range frames {
		size += len(f)
	}
	return size
}

// joined calls send with the frames in as few pieces as there can be of at most most bytes; a frame that is longer is a piece of its own.
func joined(frames [][]byte, most int, send func(piece []byte) error) error {
	if len(frames) == 1 {
		return send(frames[0])
	}
	piece := make([]byte, 0, min(sizeOf(frames), most))
	flush := func() error {
		if len(piece) == 0 {
			return nil
		}
		err := send(piece)
		piece = piece[:0]
		return err
	}
	for _, f := range frames {
		if len(piece)+len(f) > most {
			if err := flush(); err != nil {
				return err
			}
		}
		if len(f) >= most {
			if err := send(f); err != nil {
				return err
			}
			continue
		}
		piece = append(piece, f...)
	}
	return flush()
}
