package longpoll

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// parked is a poll that has been held for a while. Its connection has been taken from the HTTP server, and with it the server's two goroutines and
// its buffers, which are most of what a quiet session costs; after the answer the server gets it back. Only HTTP/1.1 can do this: a poll
// over HTTP/2 or 3, which share a connection, stays with its goroutine.
type parked struct {
	nc    net.Conn
	srv   *http.Server
	head  http.Header // what was set for the answer before
	after uint64
	turn  uint64
	more  bool // the client has sent more already: it is left to repeat that on another connection
	timer *time.Timer
}

// takeOver takes the connection of a request; nil: it has to stay.
func takeOver(w http.ResponseWriter, r *http.Request) *parked {
	srv, ok := r.Context().Value(http.ServerContextKey).(*http.Server)
	if !ok || r.ProtoMajor != 1 || r.ProtoMinor == 0 || r.Close || r.Context().Err() != nil {
		return nil
	}
	nc, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil
	}
	return &parked{nc: nc, srv: srv, head: w.Header().Clone(), more: rw.Reader.Buffered() > 0}
}

// park holds a poll for up to wait.
func (s *session) park(p *parked, wait time.Duration) {
	s.mu.Lock()
	a, ok := s.decideLocked(p.after, p.turn)
	if !ok {
		s.down.parked = p
		p.timer = time.AfterFunc(wait, func() { s.expireParked(p) })
	}
	s.mu.Unlock()
	if ok {
		s.answerParked(p, a)
	}
}

func (s *session) expireParked(p *parked) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down.parked == p {
		s.unparkLocked()
	}
}

// wakePollLocked lets the poll that is held look for its answer again, which it finds.
func (s *session) wakePollLocked() {
	s.down.output.fire()
	s.unparkLocked()
}

// unparkLocked answers the poll that is parked. What is written until the goroutine runs goes along.
func (s *session) unparkLocked() {
	p := s.down.parked
	if p == nil {
		return
	}
	s.down.parked = nil
	p.timer.Stop()
	s.h.answering.Go(func() { // ends when the answer is written, or cannot be; joined by Close, which hurries it
		s.mu.Lock()
		a, _ := s.decideLocked(p.after, p.turn)
		s.mu.Unlock()
		s.answerParked(p, a)
	})
}

func (s *session) answerParked(p *parked, a answer) {
	s.h.metrics.answers.WithLabelValues(requestPoll, strconv.Itoa(a.status)).Inc()
	err := p.write(s.h, a)
	s.endPoll()
	if err != nil { // it will be asked for again
		s.h.cfg.Log.Debug("long-poll answer not written", "request", requestPoll, "error", err)
	}
	if err != nil || p.more || !p.giveBack() {
		_ = p.nc.Close() // what can go wrong here has gone wrong
	}
}

// write writes a complete response.
func (p *parked) write(h *Handler, a answer) error {
	a.describe(p.head)
	p.head.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	if p.more {
		p.head.Set("Connection", "close")
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", a.status, http.StatusText(a.status))
	if err := p.head.Write(&b); err != nil {
		return err
	}
	b.WriteString("\r\n")
	if err := p.nc.SetWriteDeadline(time.Now().Add(h.cfg.Timing.pace(len(a.body)))); err != nil {
		return err
	}
	hurry := context.AfterFunc(h.closing, func() { _ = p.nc.SetWriteDeadline(time.Now().Add(h.cfg.Timing.Hurry)) })
	defer hurry()
	whole := net.Buffers{b.Bytes(), a.body}
	if _, err := whole.WriteTo(p.nc); err != nil {
		return err
	}
	return p.nc.SetDeadline(time.Time{})
}

// giveBack lets the server read the next request of the connection; false: it reads no more.
func (p *parked) giveBack() bool {
	once := &onceListener{nc: p.nc}
	_ = p.srv.Serve(once) // ends at once, for there is nothing more to accept
	return once.taken.Load()
}

// onceListener accepts one connection, which is there already.
type onceListener struct {
	nc    net.Conn
	taken atomic.Bool
}

func (l *onceListener) Accept() (net.Conn, error) {
	if l.taken.Swap(true) {
		return nil, net.ErrClosed
	}
	return l.nc, nil
}

func (l *onceListener) Close() error { return nil }

func (l *onceListener) Addr() net.Addr { return l.nc.LocalAddr() }
