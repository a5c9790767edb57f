package quicport

import (
	"errors"
	"io"
	"net"
	"sync"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/webtransport-go"
)

// ending remembers how far a stream has come to its end, on both sides.
type ending struct {
	mu      sync.Mutex // guards what follows
	writing bool       // a Write is under way
	broken  bool       // a Write failed: what the client has is not whole
	fin     bool       // the end has been sent, or will be by the Write under way
	ended   bool       // the client's end has been read
	closed  bool
}

// read takes the error of a read for what it means: a client that closes has ended its side.
func (e *ending) read(err error) error {
	if err == nil {
		return nil
	}
	if app, ok := errors.AsType[*quic.ApplicationError](err); ok && app.Remote {
		err = io.EOF
	}
	if session, ok := errors.AsType[*webtransport.SessionError](err); ok && session.Remote {
		err = io.EOF
	}
	if errors.Is(err, io.EOF) {
		e.mu.Lock()
		e.ended = true
		e.mu.Unlock()
	}
	return err
}

func (e *ending) beginWrite() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || e.fin {
		return net.ErrClosed
	}
	e.writing = true
	return nil
}

// endWrite sends the end of the stream with fin if that was asked for meanwhile.
func (e *ending) endWrite(err error, fin func() error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.writing = false
	if err != nil {
		e.broken = true
	}
	if e.fin && !e.broken {
		return errors.Join(err, fin())
	}
	return err
}

func (e *ending) closeWrite(fin func() error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return net.ErrClosed
	}
	if e.fin {
		return nil
	}
	e.fin = true
	if e.writing {
		return nil
	}
	return fin()
}

// close reports whether it is called for the first time, and whether both sides have ended the stream with nothing missing. Gone says that the
// connection has ended.
func (e *ending) close(gone bool, fin func() error) (first, inOrder bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return false, false
	}
	e.closed = true
	if !e.ended || e.writing || e.broken || gone {
		return true, false
	}
	return true, e.fin || fin() == nil
}
