package gateway

import (
	"encoding/binary"
	"slices"
	"sync"

	"teamtalk/protocol/pdu"
)

const (
	batchFrames = 64        // most frames of one write
	batchBytes  = 256 << 10 // most bytes of one write, unless one frame is larger
	keepFrames  = 8         // room that an idle queue keeps
)

// verdict is what became of a frame offered to a queue.
type verdict uint8

const (
	queued verdict = iota
	full           // no room for a push
	closed         // nothing is taken any more
)

type frame struct {
	bytes []byte
	push  bool
	final bool // nothing comes after it
}

// outQueue holds the frames that wait for one connection [TT-LIMIT-3]. Pushes and answers are bounded apart: a long answer to the client
// must not make it lose its session to the next push. Bytes count until they are written.
//
// Whoever writes comes with the first frame and goes with the last: an idle connection, as most are, needs no goroutine for it.
type outQueue struct {
	limit int    // bytes of pushes, and of answers before reading pauses
	write func() // takes until there is nothing to take

	mu      sync.Mutex // guards what follows
	idle    sync.Cond  // nobody writes, and nothing is left to write
	room    sync.Cond  // answers went below the limit, or the queue closes; several may wait
	active  bool       // write runs, or is about to
	frames  []frame
	head    int      // of frames: those before are gone
	batch   [][]byte // being written
	pushes  int      // bytes queued and being written
	answers int
	writing [2]int // bytes of the batch: answers, pushes
	closing bool   // nothing more is taken in
	held    bool   // pushes are held back
	behind  []frame
}

func (q *outQueue) init(limit int, write func()) {
	q.limit, q.write = limit, write
	q.idle.L = &q.mu
	q.room.L = &q.mu
}

// answer queues a frame that the client asked for. There is always room: the reader waits before it asks for more.
func (q *outQueue) answer(b []byte) verdict {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closing {
		return closed
	}
	q.answers += len(b)
	q.addLocked(frame{bytes: b})
	return queued
}

// push queues a frame that the client did not ask for, if the pushes waiting leave share of the room; an empty queue takes anything.
func (q *outQueue) push(b []byte, share int) verdict {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closing {
		return closed
	}
	if q.pushes > 0 && q.pushes+len(b) > q.limit/share {
		return full
	}
	q.pushes += len(b)
	q.addLocked(frame{bytes: b, push: true})
	return queued
}

// last queues a final frame, whatever waits, and takes no more.
func (q *outQueue) last(b []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closing {
		return
	}
	q.pushes += len(b)
	q.addLocked(frame{bytes: b, push: true, final: true})
	q.closing = true
	q.room.Broadcast()
}

// hold keeps pushes back until release, so that an answer can precede them which is not made yet. Answers pass.
func (q *outQueue) hold() {
	q.mu.Lock()
	q.held = true
	q.mu.Unlock()
}

// release queues what was held back.
func (q *outQueue) release() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.held = false
	for _, f := range q.behind {
		q.addLocked(f)
	}
	q.behind = nil
	if !q.active {
		q.idle.Broadcast()
	}
}

// dropHeld throws away what was held back, the final frame excepted, because what should have preceded it was not sent.
func (q *outQueue) dropHeld() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.behind = slices.DeleteFunc(q.behind, func(f frame) bool {
		if !f.final {
			q.pushes -= len(f.bytes)
		}
		return !f.final
	})
}

func (q *outQueue) addLocked(f frame) {
	if q.held && f.push {
		q.behind = append(q.behind, f)
		return
	}
	if len(q.frames) == cap(q.frames) && 2*q.head > len(q.frames) {
		rest := copy(q.frames, q.frames[q.head:])
		clear(q.frames[rest:])
		q.frames, q.head = q.frames[:rest], 0
	}
	q.frames = append(q.frames, f)
	if !q.active {
		q.active = true
		go q.write() // ends when there is nothing to take; joined by drain
	}
}

// drain waits until all that was queued is written, or thrown away. The queue has been closed.
func (q *outQueue) drain() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.active || q.held {
		q.idle.Wait()
	}
}

// close takes no more frames; those there are will be written.
func (q *outQueue) close() {
	q.mu.Lock()
	q.closing = true
	q.mu.Unlock()
	q.room.Broadcast()
}

// abort throws away what waits.
func (q *outQueue) abort() {
	q.mu.Lock()
	q.closing = true
	q.frames, q.head, q.behind = nil, 0, nil
	q.mu.Unlock()
	q.room.Broadcast()
}

// waitRoom waits until answers are below the limit; false when the queue takes no more.
func (q *outQueue) waitRoom() bool { return q.waitShare(1) }

// waitShare waits until answers are below a part of the limit; false when the queue takes no more.
func (q *outQueue) waitShare(share int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.answers > q.limit/share && !q.closing {
		q.room.Wait()
	}
	return !q.closing
}

// take returns as many frames as go into one write; false when there are none: then whoever writes has to end. The former batch counts as written.
func (q *outQueue) take() ([][]byte, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.writtenLocked()
	if len(q.frames) == 0 {
		q.active = false
		q.idle.Broadcast()
		return nil, false
	}
	size := 0
	for ; q.head < len(q.frames); q.head++ {
		f := q.frames[q.head]
		if len(q.batch) == batchFrames || size > 0 && size+len(f.bytes) > batchBytes {
			break
		}
		q.frames[q.head] = frame{}
		size += len(f.bytes)
		if f.push {
			q.writing[1] += len(f.bytes)
		} else {
			q.writing[0] += len(f.bytes)
		}
		q.batch = append(q.batch, f.bytes)
	}
	if q.head == len(q.frames) {
		q.frames, q.head = q.frames[:0], 0
	}
	return q.batch, true
}

func (q *outQueue) writtenLocked() {
	q.answers -= q.writing[0]
	q.pushes -= q.writing[1]
	q.writing = [2]int{}
	clear(q.batch)
	q.batch = q.batch[:0]
	if q.answers <= q.limit {
		q.room.Broadcast()
	}
	if len(q.frames) > 0 {
		return
	}
	if cap(q.frames) > keepFrames {
		q.frames = nil
	}
	if cap(q.batch) > keepFrames {
		q.batch = nil
	}
}

// waiting is the number of bytes queued or being written.
func (q *outQueue) waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.answers + q.pushes
}

// write writes what is queued until there is nothing left.
func (s *session) write() {
	for {
		batch, ok := s.out.take()
		if !ok {
			return
		}
		if err := s.conn.Write(batch); err != nil {
			s.out.abort() // the next take finds nothing
			s.end(ending{reason: reasonWriteFailed, now: true})
		}
		s.noteNews()
	}
}

// answer sends the answer to a request: it carries the request's sequence number [TT-SEQ-1].
func (s *session) answer(to pdu.Header, cmd pdu.Command, m message) {
	b, err := pdu.Append(nil, cmd, to.Seq, m)
	if err != nil {
		s.srv.log.Error("answer not sent", "command", cmd, "user", s.user, "error", err)
		return
	}
	if s.ext != nil && cmd != pdu.CmdError && s.ext.stale.Load() {
		binary.BigEndian.PutUint16(b[flagAt:], staleFlag)
	}
	s.answerFrame(cmd, b)
}

func (s *session) answerFrame(cmd pdu.Command, b []byte) {
	if s.out.answer(b) == queued {
		s.srv.metrics.out(cmd, 1)
	}
}
