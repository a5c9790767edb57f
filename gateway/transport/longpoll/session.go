package longpoll

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"teamtalk/gateway/transport"
	"teamtalk/protocol"
	"teamtalk/protocol/pdu"
)

// session is one client's connection, made of requests. It has no goroutine: what happens, happens in those of the requests and of whoever
// serves it; the rest is timers.
//
// It ends in two steps, which may be one: closed, nothing more is read or written, but the last batch may still be fetched; and gone, requests
// are answered 410.
type session struct {
	h    *Handler
	id   ident
	addr netip.AddrPort

	mu     sync.Mutex // guards what follows
	up     upward
	down   downward
	closed bool
	gone   bool
	silent *time.Timer // ends the session that nobody polls, and forgets the one that is closed
	endAt  time.Time   // when it is to do so
}

// upward is what comes from the client.
type upward struct {
	last     uint64 // number of the last POST accepted
	posts    int    // POSTs being received or waiting
	queue    []body
	queued   int         // bytes in queue
	limit    int         // of the last Read: the longest PDU taken
	end      error       // why nothing more comes, once the queue is empty
	over     bool        // nothing more is read; POSTs wait for what is decided
	discards bool        // POSTs are taken and thrown away
	readBy   time.Time   // zero: never
	timer    *time.Timer // of the Read that waits; kept for the next one
	arrived  signal      // for Read and Discard
	room     signal      // for POSTs
}

var _ transport.Conn = (*session)(nil)

func newSession(h *Handler, id ident, addr netip.AddrPort) *session {
	s := &session{h: h, id: id, addr: addr}
	s.endAt = time.Now().Add(h.cfg.Silence)
	s.mu.Lock() // the timer may be quick
	s.silent = time.AfterFunc(h.cfg.Silence, s.expire)
	s.mu.Unlock()
	return s
}

// signal wakes all who wait. The zero value is ready; the session's mutex guards it.
type signal struct {
	ch chan struct{}
}

func (s *signal) wait() <-chan struct{} {
	if s.ch == nil {
		s.ch = make(chan struct{})
	}
	return s.ch
}

func (s *signal) fire() {
	if s.ch != nil {
		close(s.ch)
		s.ch = nil
	}
}

// Read returns the PDUs of the POSTs accepted, in order. Those accepted before the client or its silence ended the session are still read, and
// so are those accepted before the deadline: the client has been told that they were.
func (s *session) Read(limit int) (pdu.PDU, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.up.limit = limit
	for {
		switch {
		case s.closed:
			return pdu.PDU{}, net.ErrClosed
		case len(s.up.queue) > 0:
			return s.nextLocked(limit)
		case s.up.end != nil:
			return pdu.PDU{}, s.up.end
		case s.up.over || !s.up.readBy.IsZero() && !time.Now().Before(s.up.readBy):
			s.up.over = true
			return pdu.PDU{}, os.ErrDeadlineExceeded
		}
		s.awaitLocked(s.up.readBy)
	}
}

// nextLocked takes a PDU from the queue, whose bodies hold whole PDUs only.
func (s *session) nextLocked(limit int) (pdu.PDU, error) {
	first := &s.up.queue[0]
	hd, err := pdu.ParseHeader(first.rest)
	if err != nil {
		return pdu.PDU{Header: hd}, err
	}
	if uint64(hd.Length) > uint64(limit) {
		return pdu.PDU{Header: hd}, fmt.Errorf("%w: %d bytes of %d allowed", pdu.ErrTooLarge, hd.Length, limit)
	}
	p := pdu.PDU{Header: hd}
	if n := int(hd.Length); n > pdu.HeaderLen {
		p.Body = first.rest[pdu.HeaderLen:n:n]
		if n < first.size { // a small PDU must not keep a large body in memory
			p.Body = append([]byte(nil), p.Body...)
		}
	}
	first.rest = first.rest[hd.Length:]
	if len(first.rest) > 0 {
		return p, nil
	}
	s.up.queued -= first.size
	first.release()
	*first = body{}
	s.up.queue = s.up.queue[1:]
	if len(s.up.queue) == 0 {
		s.up.queue = nil
	}
	s.up.room.fire()
	return p, nil
}

// awaitLocked waits for something to arrive, an end, or the time.
func (s *session) awaitLocked(until time.Time) {
	arrived := s.up.arrived.wait()
	var expired <-chan time.Time
	if !until.IsZero() {
		if s.up.timer == nil {
			s.up.timer = time.NewTimer(time.Until(until))
		} else {
			s.up.timer.Reset(time.Until(until))
		}
		expired = s.up.timer.C
	}
	s.mu.Unlock()
	select {
	case <-arrived:
	case <-expired:
	}
	s.mu.Lock()
}

// SetReadDeadline with a time that has passed ends reading for good: POSTs accepted before are still read, later ones wait for Discard or Close.
func (s *session) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	s.up.readBy = t
	if !t.IsZero() && !time.Now().Before(t) {
		s.up.over = true
	}
	s.up.arrived.fire()
	return nil
}

// Discard takes POSTs and throws them away until the client has closed, or has been told after the last batch that nothing follows.
func (s *session) Discard(until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.up.discards = true
	s.dropQueueLocked()
	s.up.room.fire()
	for !s.closed && s.up.end == nil && !s.down.toldEnd && time.Now().Before(until) {
		s.awaitLocked(until)
	}
}

// CloseWrite makes the batch that is fetched next the last one.
func (s *session) CloseWrite() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	s.down.ended = true
	s.wakeLocked()
	return nil
}

// Close ends reading and writing. What has been written may still be fetched for a while; then, or when that has been done, the session is gone
// [TT-LP-8].
func (s *session) Close(protocol.Code) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return net.ErrClosed
	}
	s.closed = true
	s.dropQueueLocked()
	forget := s.settleLocked()
	if !s.gone {
		s.armLocked(s.h.cfg.Timing.Last)
	}
	s.up.arrived.fire()
	s.up.room.fire()
	s.wakeLocked()
	s.mu.Unlock()
	if forget {
		s.left(endClosed)
	}
	return nil
}

// settleLocked makes a closed session gone if nothing is left to fetch; true: it is now, and the caller calls left.
func (s *session) settleLocked() bool {
	if !s.closed || s.gone || !s.down.isEmpty() {
		return false
	}
	s.endLocked(net.ErrClosed)
	return true
}

// leave makes the session gone at once, whatever is left to fetch. Reading ends with err when the queue is empty.
func (s *session) leave(err error, why end) {
	s.mu.Lock()
	was := s.gone
	s.endLocked(err)
	s.mu.Unlock()
	if !was {
		s.left(why)
	}
}

func (s *session) endLocked(err error) {
	if s.gone {
		return
	}
	s.gone = true
	s.up.end = err
	s.silent.Stop()
	s.down.batch, s.down.waiting = nil, nil
	s.wakeLocked()
	s.up.arrived.fire()
	s.up.room.fire()
}

// left is the last step, without the lock.
func (s *session) left(why end) {
	s.h.forget(s)
	s.h.metrics.ended.WithLabelValues(string(why)).Inc()
	s.h.cfg.Log.Debug("long-poll session ended", "remote", s.addr, "reason", why)
}

func (s *session) dropQueueLocked() {
	for i := range s.up.queue {
		s.up.queue[i].release()
	}
	s.up.queue, s.up.queued = nil, 0
}

// armLocked lets expire do its work after d.
func (s *session) armLocked(d time.Duration) {
	s.endAt = time.Now().Add(d)
	s.silent.Reset(d)
}

// expire ends a session without a poll [TT-LP-7], or one that is closed and whose last batch nobody fetched. A poll that came in between has
// stopped or moved the timer, and a call that was already on its way does nothing.
func (s *session) expire() {
	s.mu.Lock()
	if s.gone || time.Now().Before(s.endAt) || s.down.polls > 0 && !s.closed {
		s.mu.Unlock()
		return
	}
	err, why := errSilent, endSilent
	if s.closed {
		err, why = net.ErrClosed, endUnread
	}
	s.endLocked(err)
	s.mu.Unlock()
	s.left(why)
}

// closeByClient is the client's end [TT-LP-8]: what it sent before is still read, what is written goes nowhere.
func (s *session) closeByClient() { s.leave(io.EOF, endClient) }

func (s *session) RemoteAddr() netip.AddrPort { return s.addr }

func (s *session) Kind() transport.Kind { return transport.KindLongPoll }

var errSilent = errors.New("longpoll: no poll in time")
