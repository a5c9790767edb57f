package federation

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"teamtalk/protocol/fed"
)

// Wire carries frames to and from one peer [FED-TR-5]. Write may be called by several goroutines, Read by one.
type Wire interface {
	Read() (fed.Frame, error)
	// Write hands a frame to the network; frames of one lane keep their order.
	Write(lane fed.Lane, f fed.Frame) error
	// Close ends it at once; both others fail then.
	Close() error
	RemoteAddr() net.Addr
	// Via names the transport: "quic" or "tls".
	Via() string
}

// writeWait is how long a peer may take nothing at all before it counts as gone.
const writeWait = 30 * time.Second

// stream is a Wire over one stream of bytes: all lanes one after the other.
type stream struct {
	conn net.Conn
	in   *bufio.Reader

	turn chan struct{} // holds a token while somebody writes: as long as the network takes, so it is no mutex
	out  []byte        // reused, by whoever writes
}

// NewStream is a Wire over TLS.
func NewStream(c net.Conn) Wire {
	return &stream{conn: c, in: bufio.NewReaderSize(c, 64<<10), turn: make(chan struct{}, 1)}
}

// Read reads the next frame.
func (s *stream) Read() (fed.Frame, error) { return fed.ReadFrame(s.in) }

// Write writes one frame.
func (s *stream) Write(_ fed.Lane, f fed.Frame) error {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	s.out = f.Append(s.out[:0])
	if err := s.conn.SetWriteDeadline(time.Now().Add(writeWait)); err != nil {
		return err
	}
	_, err := s.conn.Write(s.out)
	return err
}

// Close closes the connection.
func (s *stream) Close() error         { return s.conn.Close() }
func (s *stream) RemoteAddr() net.Addr { return s.conn.RemoteAddr() }
func (s *stream) Via() string          { return "tls" }

// lanes is a Wire over QUIC: each lane that a side writes on is a stream of its own, so that none waits for another's lost packets.
type lanes struct {
	conn    *quic.Conn
	frames  chan fed.Frame
	greeted chan struct{} // closed when the first frame of the control lane was read: nothing comes before it
	failed  chan struct{} // closed when reading is over
	once    sync.Once
	control atomic.Bool // its stream has come
	err     error       // why; set before failed is closed
	ctx     context.Context
	stop    context.CancelFunc
	wg      sync.WaitGroup

	mu  sync.Mutex // guards out
	out map[fed.Lane]*laneOut
}

type laneOut struct {
	mu  sync.Mutex // guards the stream and buf
	to  *quic.SendStream
	buf []byte
}

// NewLanes is a Wire over QUIC.
func NewLanes(c *quic.Conn) Wire {
	ctx, stop := context.WithCancel(c.Context())
	l := &lanes{conn: c, frames: make(chan fed.Frame), greeted: make(chan struct{}), failed: make(chan struct{}), ctx: ctx, stop: stop, out: map[fed.Lane]*laneOut{}}
	l.wg.Go(l.accept) // stopped by Close
	return l
}

// maxStreams bounds what a peer may open: one stream a lane.
const maxStreams = int(fed.LaneMedia) + 1

func (l *lanes) accept() {
	for range maxStreams {
		s, err := l.conn.AcceptUniStream(l.ctx)
		if err != nil {
			l.fail(err)
			return
		}
		l.wg.Go(func() { l.read(s) }) // ends with its stream
	}
	<-l.ctx.Done()
}

// read reads frames of one lane until the stream ends.
func (l *lanes) read(s *quic.ReceiveStream) {
	in := bufio.NewReaderSize(s, 16<<10)
	lane, err := in.ReadByte()
	if err != nil {
		l.fail(err)
		return
	}
	first := fed.Lane(lane) == fed.LaneControl && l.isFirst()
	if !first { // streams come in any order, and hello is the first word
		select {
		case <-l.greeted:
		case <-l.ctx.Done():
			return
		}
	}
	for {
		f, err := fed.ReadFrame(in)
		if err != nil {
			l.fail(err)
			return
		}
		select {
		case l.frames <- f:
		case <-l.ctx.Done():
			return
		}
		if first {
			first = false
			close(l.greeted)
		}
	}
}

// isFirst reports whether this is the first control lane; there is one.
func (l *lanes) isFirst() bool { return l.control.CompareAndSwap(false, true) }

func (l *lanes) fail(err error) {
	l.once.Do(func() { l.err = err; close(l.failed) })
}

// Read reads the next frame of any lane.
func (l *lanes) Read() (fed.Frame, error) {
	select {
	case f := <-l.frames:
		return f, nil
	case <-l.failed:
		if errors.Is(l.err, io.EOF) {
			return fed.Frame{}, io.EOF
		}
		return fed.Frame{}, l.err
	}
}

// Write writes one frame to its lane's stream.
func (l *lanes) Write(lane fed.Lane, f fed.Frame) error {
	o := l.lane(lane)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf = o.buf[:0]
	if o.to == nil {
		s, err := l.conn.OpenUniStreamSync(l.ctx)
		if err != nil {
			return err
		}
		o.to, o.buf = s, append(o.buf, byte(lane))
	}
	o.buf = f.Append(o.buf)
	if err := o.to.SetWriteDeadline(time.Now().Add(writeWait)); err != nil {
		return err
	}
	_, err := o.to.Write(o.buf)
	return err
}

func (l *lanes) lane(lane fed.Lane) *laneOut {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := l.out[lane]
	if o == nil {
		o = new(laneOut)
		l.out[lane] = o
	}
	return o
}

// Close closes the connection and waits for its readers.
func (l *lanes) Close() error {
	l.stop()
	err := l.conn.CloseWithError(0, "")
	l.fail(net.ErrClosed)
	l.wg.Wait()
	return err
}
func (l *lanes) RemoteAddr() net.Addr { return l.conn.RemoteAddr() }
func (l *lanes) Via() string          { return "quic" }
