package load

import (
	"os"
	"sync"
	"time"

	"teamtalk/client/dial"
	"teamtalk/protocol"
	"teamtalk/protocol/pdu"
)

// pumped is how many PDUs wait for the one who takes them; then the connection is not read.
const pumped = 64

// pump is a wire over a connection of the client library. That one is read by a goroutine, so that there are deadlines and what has come can be
// taken at once.
type pump struct {
	conn   dial.Conn
	in     chan pdu.PDU // closed when there will be no more, because of err
	err    error
	alarm  *alarm
	closed chan struct{}
	frames [][]byte
}

func newPump(conn dial.Conn) *pump {
	p := &pump{conn: conn, in: make(chan pdu.PDU, pumped), alarm: newAlarm(), closed: make(chan struct{})}
	go p.read() // until the connection ends; close waits for it
	return p
}

func (p *pump) read() {
	defer close(p.in)
	for {
		got, err := p.conn.Read()
		if err != nil {
			p.err = err
			return
		}
		select {
		case p.in <- got:
		case <-p.closed:
			p.err = os.ErrClosed
			return
		}
	}
}

func (p *pump) next() (pdu.Header, []byte, error) {
	late := p.alarm.rung()
	select {
	case <-late: // first: what always has something to read has to see its deadline too
		return pdu.Header{}, nil, os.ErrDeadlineExceeded
	default:
	}
	select {
	case got, ok := <-p.in:
		if !ok {
			return pdu.Header{}, nil, p.err
		}
		return got.Header, got.Body, nil
	case <-late:
		return pdu.Header{}, nil, os.ErrDeadlineExceeded
	}
}

func (p *pump) pending() bool { return len(p.in) > 0 }

// write cuts into PDUs what it is given.
func (p *pump) write(frames []byte) error {
	select {
	case <-p.alarm.rung():
		return os.ErrDeadlineExceeded
	default:
	}
	p.frames = p.frames[:0]
	for len(frames) > 0 {
		h, err := pdu.ParseHeader(frames)
		if err != nil {
			return err
		}
		p.frames = append(p.frames, frames[:h.Length])
		frames = frames[h.Length:]
	}
	return p.conn.Write(p.frames)
}

func (p *pump) setDeadline(t time.Time) { p.alarm.set(t) }

func (p *pump) close() error {
	close(p.closed)
	err := p.conn.Close(protocol.CodeUnspecified, "")
	for range p.in { // until the reader has ended
	}
	p.alarm.set(time.Time{})
	return err
}

// alarm is a deadline that can be moved while somebody waits for it.
type alarm struct {
	mu    sync.Mutex // guards the rest
	timer *time.Timer
	ring  chan struct{} // closed when the time has come
}

func newAlarm() *alarm { return &alarm{ring: make(chan struct{})} }

// rung is closed at the time set, unless it is moved before.
func (a *alarm) rung() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ring
}

// set moves the deadline; the zero time is none.
func (a *alarm) set(t time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.timer != nil && !a.timer.Stop() {
		a.ring = make(chan struct{}) // the old one has rung, or is about to
	}
	a.timer = nil
	if isClosed(a.ring) {
		a.ring = make(chan struct{})
	}
	if t.IsZero() {
		return
	}
	if ring, left := a.ring, time.Until(t); left > 0 {
		a.timer = time.AfterFunc(left, func() { close(ring) })
	} else {
		close(ring)
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
