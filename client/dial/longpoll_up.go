package dial

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	"teamtalk/protocol/pdu"
)

// upward is what waits to be posted.
type upward struct {
	mu     sync.Mutex // guards what follows
	queue  [][]byte
	queued int // bytes in queue
	over   bool

	more chan struct{} // has an element when the posting goroutine should look
	room chan struct{} // has an element when Write should look
}

func newUpward() upward {
	return upward{more: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

func nudge(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default: // it has been told already
	}
}

// put queues copies of the frames; false: there is no room yet.
func (u *upward) put(frames [][]byte, size int) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.queued > 0 && u.queued+size > maxQueue {
		return false
	}
	for _, f := range frames {
		u.queue = append(u.queue, append([]byte(nil), f...))
	}
	u.queued += size
	nudge(u.more)
	return true
}

// take returns the body of the next POST; nil: nothing waits. over tells that nothing more will.
func (u *upward) take() (body []byte, over bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	n := 0
	for n < len(u.queue) && (n == 0 || len(body)+len(u.queue[n]) <= maxPost) {
		body = append(body, u.queue[n]...)
		n++
	}
	u.queue = u.queue[n:]
	u.queued -= len(body)
	nudge(u.room)
	return body, u.over
}

// finish lets the posting goroutine end when it has sent all.
func (u *upward) finish() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.over = true
	nudge(u.more)
}

// Write queues the frames, and waits when more waits already than is good. That they did not arrive is seen by Read, as on any connection.
func (c *longPoll) Write(frames [][]byte) error {
	for _, f := range frames {
		if len(f) > maxPost {
			return fmt.Errorf("%w: %d bytes, of which long-poll takes %d", pdu.ErrTooLarge, len(f), maxPost)
		}
	}
	size := sizeOf(frames)
	if size == 0 {
		return nil
	}
	timeout := time.NewTimer(timeFor(size))
	defer timeout.Stop()
	for {
		switch {
		case c.isClosed():
			return c.errClosed()
		case c.life.Err() != nil:
			return context.Cause(c.life)
		case c.up.put(frames, size):
			return nil
		}
		select {
		case <-c.up.room:
		case <-c.closed:
		case <-c.life.Done():
		case <-timeout.C:
			return os.ErrDeadlineExceeded
		}
	}
}

// post sends what waits, one request at a time, each until it has been accepted.
func (c *longPoll) post() {
	defer close(c.posted)
	for seq := uint64(1); ; {
		body, over := c.up.take()
		switch {
		case len(body) > 0:
			if err := c.postOne(seq, body); err != nil {
				c.fail(err)
				return
			}
			seq++
		case over:
			return
		default:
			select {
			case <-c.up.more:
			case <-c.life.Done():
				return
			}
		}
	}
}

// postOne repeats a POST until the server has it. That is safe, for the server knows its number.
func (c *longPoll) postOne(seq uint64, body []byte) error {
	var row trouble
	for {
		a, err := c.ask(c.life, ask{method: http.MethodPost, url: c.url, seq: seq, body: body, most: maxTicket, wait: postTime})
		switch {
		case err != nil:
		case a.status == http.StatusNoContent, a.status == http.StatusConflict && a.hasSeq && a.seq >= seq:
			return nil
		case a.status == http.StatusConflict && a.hasSeq && a.seq+1 == seq:
			err = statusError(a.status, "") // it is the next: that 409 was for another one
		case a.status == http.StatusServiceUnavailable, a.status == http.StatusTooManyRequests: // it reads slowly; polls tell whether it is there
			row.since = time.Now()
			err = statusError(a.status, "")
		default:
			if end := gone(a.status); end != nil {
				return end
			}
			err = statusError(a.status, "")
		}
		if err := row.again(c.life, err); err != nil {
			return err
		}
	}
}
