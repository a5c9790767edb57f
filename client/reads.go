package client

import (
	"sync"
	"time"

	"teamtalk/protocol"
)

// readSettles is how long a read position is remembered after it was sent: the protocol does not answer it.
const readSettles = 30 * time.Second

// reads holds the read positions on their way. Only the last of a conversation counts, and sending one again does no harm.
type reads struct {
	poke func()

	mu   sync.Mutex // guards list
	list map[protocol.Session]*readMark
}

type readMark struct {
	upTo protocol.MsgID
	sent time.Time // zero: not on this connection
}

func newReads() *reads { return &reads{list: make(map[protocol.Session]*readMark), poke: func() {}} }

// move notes how far the app has read.
func (r *reads) move(in protocol.Session, upTo protocol.MsgID) {
	r.mu.Lock()
	if was := r.list[in]; was == nil || upTo > was.upTo {
		r.list[in] = &readMark{upTo: upTo}
	}
	r.mu.Unlock()
	r.poke()
}

// each visits what has to be sent, and forgets what was sent long ago.
func (r *reads) each(now time.Time, send func(in protocol.Session, upTo protocol.MsgID)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for in, m := range r.list {
		switch {
		case m.sent.IsZero():
			m.sent = now
			send(in, m.upTo)
		case now.Sub(m.sent) >= readSettles:
			delete(r.list, in)
		}
	}
}

// confirmed notes what the server says.
func (r *reads) confirmed(in protocol.Session, upTo protocol.MsgID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := r.list[in]; m != nil && upTo >= m.upTo {
		delete(r.list, in)
	}
}

// refused gives a position up.
func (r *reads) refused(in protocol.Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.list, in)
}

// lost has everything sent again.
func (r *reads) lost() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.list {
		m.sent = time.Time{}
	}
}
