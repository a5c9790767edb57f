package longpoll

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"teamtalk/protocol/pdu"
)

const (
	// maxBody bounds what one POST may carry [TT-LP-6].
	maxBody = 1 << 20
	// freeBody is what each session may send without asking for room in bodies.
	freeBody = 8 << 10
	// strangerQueue bounds what waits of a client that has not logged in, unless it is one body.
	strangerQueue = 2 * freeBody
)

// body is one POST on its way to Read.
type body struct {
	rest   []byte // what Read has not taken
	size   int    // of all
	budget *budget
	charge int
}

func (b *body) release() { b.budget.give(b.charge) }

// budget bounds the bytes of all large bodies.
type budget struct {
	left atomic.Int64
}

func (b *budget) take(n int) bool {
	if b.left.Add(-int64(n)) >= 0 {
		return true
	}
	b.left.Add(int64(n))
	return false
}

func (b *budget) give(n int) {
	if n > 0 {
		b.left.Add(int64(n))
	}
}

// bodies keeps strangers from using up the room of those who have logged in.
type bodies struct {
	known, strangers budget
}

var (
	errTooLarge = errors.New("longpoll: body too large")
	errNoRoom   = errors.New("longpoll: no room for the body")
)

// receive reads a whole body; memory follows what has arrived. size is what was announced, -1 for unknown.
func receive(src io.Reader, size int64, from *budget) (body, error) {
	if size > maxBody {
		return body{}, errTooLarge
	}
	limit := maxBody
	if size >= 0 {
		limit = int(size)
	}
	b := body{budget: from}
	buf := make([]byte, 0, firstPiece(size))
	for {
		n, err := src.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case len(buf) > limit:
			b.release()
			return body{}, errTooLarge
		case errors.Is(err, io.EOF):
			b.rest, b.size = buf, len(buf)
			return b, nil
		case err != nil:
			b.release()
			return body{}, err
		}
		if len(buf) < cap(buf) {
			continue
		}
		room := min(2*cap(buf), limit+1) // one more shows whether this is all
		if more := room - max(cap(buf), freeBody); more > 0 {
			if !from.take(more) {
				b.release()
				return body{}, errNoRoom
			}
			b.charge += more
		}
		buf = append(make([]byte, 0, room), buf...)
	}
}

func firstPiece(size int64) int {
	const piece = 4 << 10
	if size < 0 || size >= piece {
		return piece
	}
	return int(size) + 1
}

// checkWhole reports io.ErrUnexpectedEOF or pdu.ErrLength unless b is whole PDUs.
func checkWhole(b []byte) error {
	for len(b) > 0 {
		h, err := pdu.ParseHeader(b)
		if err != nil {
			return err
		}
		if uint64(h.Length) > uint64(len(b)) {
			return io.ErrUnexpectedEOF
		}
		b = b[h.Length:]
	}
	return nil
}

// beginPost is the part of a POST before its body; a status other than 0 refuses it. Otherwise endPost follows.
func (s *session) beginPost(n uint64) (from *budget, refused answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a, ok := s.placeLocked(n); !ok && a.status != http.StatusNoContent { // the body of a repeat is read, or a proxy may take offence
		return nil, a
	}
	if s.up.posts >= s.h.cfg.Limits.Posts {
		s.h.metrics.refused.WithLabelValues(refusedPosts).Inc()
		return nil, answer{status: http.StatusServiceUnavailable}
	}
	s.up.posts++
	if s.isKnownLocked() {
		return &s.h.bodies.known, answer{}
	}
	return &s.h.bodies.strangers, answer{}
}

func (s *session) endPost() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.up.posts--
}

// isKnownLocked reports whether the client has logged in, as far as can be told from how much is read of it.
func (s *session) isKnownLocked() bool { return s.up.limit > pdu.MaxLenBeforeLogin }

// placeLocked reports whether POST n is the next one [TT-LP-3]; if not, the answer says why.
func (s *session) placeLocked(n uint64) (answer, bool) {
	switch {
	case s.gone || s.closed:
		return answer{status: http.StatusGone}, false
	case n <= s.up.last:
		return answer{status: http.StatusNoContent}, false
	case n > s.up.last+1:
		return answer{status: http.StatusConflict, seq: s.up.last, hasSeq: true}, false
	}
	return answer{}, true
}

// accept queues a body in its place [TT-LP-3]. It waits while the session does not read those before; whoever is refused for that may repeat.
// A body that is not whole PDUs ends the session [TT-LP-6].
func (s *session) accept(ctx context.Context, n uint64, b body) answer {
	a := s.tryAccept(n, &b)
	if a.status == 0 {
		a = s.awaitTurn(ctx, n, &b)
	}
	if a.status == http.StatusBadRequest {
		s.left(endCut)
	}
	return a
}

// awaitTurn tries again whenever there is room.
func (s *session) awaitTurn(ctx context.Context, n uint64, b *body) answer {
	timeout := time.NewTimer(s.h.cfg.Timing.Queue)
	defer timeout.Stop()
	for {
		s.mu.Lock()
		room := s.up.room.wait()
		s.mu.Unlock()
		if a := s.tryAccept(n, b); a.status != 0 { // after asking to be woken, so that no room is overlooked
			return a
		}
		select {
		case <-room:
			continue
		case <-timeout.C:
		case <-ctx.Done(): // the client is gone
		}
		b.release()
		s.h.metrics.refused.WithLabelValues(refusedQueue).Inc()
		return answer{status: http.StatusServiceUnavailable}
	}
}

// tryAccept decides on a body, unless it has to wait: then the answer's status is 0. What is decided on belongs to the queue, or is released.
func (s *session) tryAccept(n uint64, b *body) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a, ok := s.placeLocked(n); !ok {
		if a.status == http.StatusNoContent {
			s.h.metrics.repeats.WithLabelValues(requestPost).Inc()
		}
		b.release()
		return a
	}
	if err := checkWhole(b.rest); err != nil {
		b.release()
		s.endLocked(err)
		return answer{status: http.StatusBadRequest}
	}
	if !s.takeLocked(n, b) {
		return answer{}
	}
	return answer{status: http.StatusNoContent}
}

// takeLocked puts a body into the queue; false: it has to wait.
func (s *session) takeLocked(n uint64, b *body) bool {
	u := &s.up
	limit := s.h.cfg.Limits.QueueBytes
	if !s.isKnownLocked() {
		limit = min(limit, strangerQueue)
	}
	switch {
	case u.discards || b.size == 0:
		b.release()
	case u.over || u.queued > 0 && u.queued+b.size > limit:
		return false
	default:
		u.queue = append(u.queue, *b)
		u.queued += b.size
		u.arrived.fire()
	}
	u.last = n
	u.room.fire() // for a repeat that waits too
	return true
}
