package dial

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/pdu"
)

// pipe is what carries bytes both ways.
type pipe interface {
	io.ReadWriter
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
	// CloseWrite sends the end of what was written.
	CloseWrite() error
	// sever ends it at once.
	sever(code protocol.Code, reason string)
	// writev writes frames without joining them, if that is one system call; false: it is not.
	writev(frames [][]byte) (bool, error)
	// explain says what an error of Read means.
	explain(err error) error
}

// recordLen is what frames are joined to: a TLS record.
const recordLen = 16 << 10

// stream is a Conn of PDUs back to back.
type stream struct {
	*link
	pipe   pipe
	reader *pdu.Reader

	reading turn // taken by Read, and then by the goodbye
	writing turn // taken by Write, and then by the goodbye; guards what follows
	wrote   bool
	torn    bool // a Write failed: what the server has may end inside a PDU

	mu sync.Mutex // held while a deadline is set, so that those of Close are the last
}

func newStream(l *link, p pipe) *stream {
	s := &stream{link: l, pipe: p, reading: newTurn(), writing: newTurn()}
	s.reader = pdu.NewReader(heardPipe{p, l.heard})
	return s
}

// turn is a lock that a connection being closed takes away: whoever waits for it then learns so at once.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

// take waits for the turn; false: the connection is closed.
func (t turn) take(closed <-chan struct{}) bool {
	select {
	case <-closed:
		return false
	default:
	}
	select {
	case t <- struct{}{}:
		return true
	case <-closed:
		return false
	}
}

func (t turn) give() { <-t }

// heardPipe hears what is read.
type heardPipe struct {
	pipe  pipe
	heard *clock
}

func (h heardPipe) Read(b []byte) (int, error) {
	n, err := h.pipe.Read(b)
	if n > 0 {
		h.heard.tick()
	}
	return n, err
}

// Read has no deadline: a connection may be idle. A path that is silent is noticed by LastHeard.
func (s *stream) Read() (pdu.PDU, error) {
	if !s.reading.take(s.closed) {
		return pdu.PDU{}, s.errClosed()
	}
	defer s.reading.give()
	p, err := s.reader.Read(pdu.MaxLen)
	switch {
	case err == nil:
		return p, nil
	case s.isClosed():
		return pdu.PDU{}, s.errClosed()
	}
	return pdu.PDU{}, s.pipe.explain(err)
}

// Write uses one system call, or one for each 16 KiB where frames have to be joined.
func (s *stream) Write(frames [][]byte) error {
	if !s.writing.take(s.closed) {
		return s.errClosed()
	}
	defer s.writing.give()
	if !s.setWriteDeadline(time.Now().Add(timeFor(sizeOf(frames)))) {
		return s.errClosed()
	}
	s.wrote = true
	vectored, err := s.pipe.writev(frames)
	if !vectored {
		err = joined(frames, recordLen, func(piece []byte) error {
			_, err := s.pipe.Write(piece)
			return err
		})
	}
	switch {
	case err == nil:
		return nil
	case s.isClosed():
		err = s.errClosed()
	}
	s.torn = true
	return err
}

// setWriteDeadline returns false after Close.
func (s *stream) setWriteDeadline(t time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.isClosed() && s.pipe.SetWriteDeadline(t) == nil
}

// Close sends what was written, the end, and waits for the server's end.
func (s *stream) Close(code protocol.Code, reason string) error {
	return s.end(s, func() { s.goodbye(code, reason) })
}

func (s *stream) abort() {
	_ = s.end(s, func() { s.pipe.sever(protocol.CodeUnspecified, "") }) // it may have been closed
}

func (s *stream) goodbye(code protocol.Code, reason string) {
	given := time.AfterFunc(goodbyeTime, func() { s.pipe.sever(code, reason) })
	defer given.Stop()
	s.mu.Lock()
	past := time.Unix(1, 0)
	_ = s.pipe.SetReadDeadline(past) // fails if there is no connection to interrupt
	_ = s.pipe.SetWriteDeadline(past)
	s.mu.Unlock()
	s.writing <- struct{}{} // whoever has it was just interrupted
	defer s.writing.give()
	s.reading <- struct{}{}
	defer s.reading.give()
	if s.wrote && !s.torn && s.pipe.SetReadDeadline(time.Now().Add(goodbyeTime)) == nil && s.pipe.CloseWrite() == nil {
		_, _ = io.Copy(io.Discard, s.pipe) // until the server's end, or the time is over
	}
	s.pipe.sever(code, reason)
}

// socketPipe is a TCP connection, or TLS over one.
type socketPipe struct {
	net.Conn
	raw net.Conn // under TLS
}

// sever closes the socket itself: TLS would wait to say goodbye.
func (p *socketPipe) sever(protocol.Code, string) { _ = p.raw.Close() }

func (p *socketPipe) CloseWrite() error {
	if c, ok := p.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return errors.ErrUnsupported
}

func (p *socketPipe) writev(frames [][]byte) (bool, error) {
	tc, ok := p.Conn.(*net.TCPConn)
	if !ok {
		return false, nil
	}
	bufs := append(make(net.Buffers, 0, len(frames)), frames...) // which is used up
	_, err := bufs.WriteTo(tc)
	return true, err
}

func (p *socketPipe) explain(err error) error { return err }

// openTCP is the plain native stream.
func (d *Dialer) openTCP(ctx context.Context, r Route) (guest, error) {
	_, hostPort, err := r.address()
	if err != nil {
		return nil, err
	}
	nc, err := d.opts.Net.DialContext(ctx, "tcp", hostPort)
	if err != nil {
		return nil, err
	}
	return newStream(newLink(d, r, nc.RemoteAddr().String(), newClock()), &socketPipe{Conn: nc, raw: nc}), nil
}

// openTLS is the native stream over TLS.
func (d *Dialer) openTLS(ctx context.Context, r Route) (guest, error) {
	host, hostPort, err := r.address()
	if err != nil {
		return nil, err
	}
	nc, err := d.opts.Net.DialContext(ctx, "tcp", hostPort)
	if err != nil {
		return nil, err
	}
	tc := tls.Client(nc, d.opts.tlsConfig(host, d.tcpSessions, native))
	if err := tc.HandshakeContext(ctx); err != nil {
		_ = nc.Close()
		return nil, err
	}
	if got := tc.ConnectionState().NegotiatedProtocol; got != native { // a web server, or what opens TLS on the way
		_ = nc.Close()
		return nil, fmt.Errorf("what answers there does not speak %s", native)
	}
	return newStream(newLink(d, r, nc.RemoteAddr().String(), newClock()), &socketPipe{Conn: tc, raw: nc}), nil
}
