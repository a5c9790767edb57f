package longpoll

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// downward is what goes to the client. Batches are numbered from 1 and never change once sent; one at most is sent and not acknowledged.
type downward struct {
	acked   uint64
	sent    uint64 // acked or acked + 1
	batch   []byte // number sent, if it is not acknowledged
	waiting []byte // of the batches to come
	ended   bool   // nothing more is written
	toldEnd bool   // the client has had the last batch, and has been told that it was
	polls   int    // open, the superseded ones included
	turn    uint64 // of the newest poll
	output  signal // for the poll that is held by its goroutine
	parked  *parked
	taken   signal // for Write
}

func (d *downward) isEmpty() bool { return d.sent == d.acked && len(d.waiting) == 0 }

// wakeLocked lets the poll and the Write that wait look again.
func (s *session) wakeLocked() {
	s.down.taken.fire()
	s.wakePollLocked()
}

// Write adds to what the next batch will hold. It waits while the client does not fetch what it has to fetch before.
func (s *session) Write(frames [][]byte) error {
	size := 0
	for _, f := range frames {
		size += len(f)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.awaitRoomLocked(size); err != nil {
		return err
	}
	if s.gone { // by the client: nobody is there to read, as on any network where this is not yet known
		return nil
	}
	if size == 0 {
		return nil
	}
	if len(s.down.waiting) == 0 {
		s.down.waiting = make([]byte, 0, size)
	}
	for _, f := range frames {
		s.down.waiting = append(s.down.waiting, f...)
	}
	s.wakePollLocked()
	return nil
}

// awaitRoomLocked waits until what waits has been fetched or leaves room; an empty queue takes anything.
func (s *session) awaitRoomLocked(size int) error {
	if ok, err := s.hasRoomLocked(size); ok || err != nil {
		return err
	}
	timeout := time.NewTimer(s.h.cfg.Timing.pace(size))
	defer timeout.Stop()
	for {
		taken := s.down.taken.wait()
		s.mu.Unlock()
		expired := false
		select {
		case <-taken:
		case <-timeout.C:
			expired = true
		}
		s.mu.Lock()
		if ok, err := s.hasRoomLocked(size); ok || err != nil {
			return err
		}
		if expired {
			return os.ErrDeadlineExceeded
		}
	}
}

func (s *session) hasRoomLocked(size int) (bool, error) {
	switch {
	case s.closed || s.down.ended:
		return false, net.ErrClosed
	case s.gone && !errors.Is(s.up.end, io.EOF):
		return false, s.up.end
	}
	return s.gone || len(s.down.waiting) == 0 || len(s.down.waiting)+size <= s.h.cfg.Limits.QueueBytes, nil
}

// beginPoll takes the acknowledgement in a poll and ends the poll before it [TT-LP-4] [TT-LP-5]; a poll that is not refused is a sign of life
// until endPoll.
func (s *session) beginPoll(after uint64) (turn uint64, refused int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := &s.down
	if s.gone {
		return 0, http.StatusGone
	}
	if after < d.acked || after > d.sent {
		return 0, http.StatusConflict
	}
	d.polls++
	if !s.closed {
		s.silent.Stop()
	}
	if after == d.sent {
		d.acked, d.batch = d.sent, nil
	}
	d.turn++
	s.wakePollLocked()
	return d.turn, 0
}

// endPoll is called when the answer has been written.
func (s *session) endPoll() {
	s.mu.Lock()
	s.down.polls--
	forget := s.settleLocked()
	if s.down.polls == 0 && !s.closed && !s.gone {
		s.armLocked(s.h.cfg.Silence)
	}
	s.mu.Unlock()
	if forget {
		s.left(endClosed)
	}
}

// hold waits for the answer to a poll; false: there is none in time.
func (s *session) hold(ctx context.Context, after, turn uint64, wait time.Duration) (answer, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a, ok := s.decideLocked(after, turn); ok || wait <= 0 {
		return a, ok
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	output := s.down.output.wait()
	s.mu.Unlock()
	select {
	case <-output:
	case <-timer.C:
	case <-ctx.Done(): // the client is gone
	}
	s.mu.Lock()
	return s.decideLocked(after, turn)
}

// decideLocked is the answer to a poll: the batch after after, or none because there is a newer poll, or none yet.
func (s *session) decideLocked(after, turn uint64) (answer, bool) {
	if s.down.turn != turn {
		s.h.metrics.superseded.Inc()
		return answer{status: http.StatusNoContent}, true
	}
	return s.nextBatchLocked(after)
}

// nextBatchLocked is the answer to the newest poll; false: there is none yet.
func (s *session) nextBatchLocked(after uint64) (answer, bool) {
	d := &s.down
	switch {
	case s.gone:
		return answer{status: http.StatusGone}, true
	case d.sent > after: // sent before, and perhaps lost
		s.h.metrics.repeats.WithLabelValues(requestPoll).Inc()
	case len(d.waiting) > 0:
		d.sent++
		d.batch, d.waiting = d.waiting, nil
		d.taken.fire()
	case d.ended || s.closed: // and all there was is acknowledged
		d.toldEnd = true
		s.up.arrived.fire()
		return answer{status: http.StatusGone}, true
	default:
		return answer{status: http.StatusNoContent}, false
	}
	return answer{status: http.StatusOK, seq: d.sent, hasSeq: true, body: d.batch}, true
}
