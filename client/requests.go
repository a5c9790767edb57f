package client

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"google.golang.org/protobuf/proto"

	"teamtalk/protocol/pdu"
)

// request is a question to the server. All but resp, stale and err, which are written before done is closed, is set when it is made.
type request struct {
	command pdu.Command
	answer  pdu.Command
	body    proto.Message
	extends bool                                // legacy servers do not know it
	repeat  bool                                // may be asked again on another connection
	then    func(resp proto.Message, err error) // asked by the client itself: called by the connection's loop

	gone  atomic.Bool // nobody waits any more
	done  chan struct{}
	resp  proto.Message
	stale bool // from a server that may not know the newest [TT-SESS-18]
	err   error
}

// open reports whether the answer is still waited for.
func (r *request) open() bool {
	if r.gone.Load() {
		return false
	}
	select {
	case <-r.done:
		return false
	default:
		return true
	}
}

// requests holds what has not been answered, in the order it was asked.
type requests struct {
	poke func() // something may be sent

	mu    sync.Mutex // guards the rest
	asked []*request
	sent  map[*request]bool // on the connection there is now
	over  error             // why nothing is accepted any more
}

func newRequests() *requests { return &requests{sent: make(map[*request]bool), poke: func() {}} }

// add asks.
func (t *requests) add(r *request) error {
	r.done = make(chan struct{})
	t.mu.Lock()
	if t.over != nil {
		defer t.mu.Unlock()
		return t.over
	}
	t.asked = append(t.asked, r)
	t.mu.Unlock()
	t.poke()
	return nil
}

// do asks and waits for the answer.
func (t *requests) do(ctx context.Context, r *request) error {
	if err := t.add(r); err != nil {
		return err
	}
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		r.gone.Store(true)
		t.forget(r)
		return ctx.Err()
	}
}

// next is the first request that was not sent on this connection.
func (t *requests) next() *request {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range t.asked {
		if !t.sent[r] {
			t.sent[r] = true
			return r
		}
	}
	return nil
}

// forget drops a request that nobody waits for; its answer is ignored.
func (t *requests) forget(r *request) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.Index(t.asked, r)
	if i < 0 {
		return false
	}
	t.asked = slices.Delete(t.asked, i, i+1)
	delete(t.sent, r)
	return true
}

// finish answers.
func (t *requests) finish(r *request, resp proto.Message, stale bool, err error) {
	if !t.forget(r) {
		return
	}
	r.resp, r.stale, r.err = resp, stale, err
	close(r.done)
	if r.then != nil {
		r.then(resp, err)
	}
}

// lost notes that the connection is gone: what may be repeated will be, the rest has failed.
func (t *requests) lost() {
	t.mu.Lock()
	var failed []*request
	for r := range t.sent {
		if !r.repeat {
			failed = append(failed, r)
		}
	}
	t.sent = make(map[*request]bool)
	t.mu.Unlock()
	for _, r := range failed {
		t.finish(r, nil, false, ErrInterrupted)
	}
}

// outstanding counts what was sent and not answered.
func (t *requests) outstanding() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.sent)
}

// stop fails everything, from now on too.
func (t *requests) stop(why error) {
	t.mu.Lock()
	t.over = why
	asked := slices.Clone(t.asked)
	t.mu.Unlock()
	for _, r := range asked {
		t.finish(r, nil, false, why)
	}
}
