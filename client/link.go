package client

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"teamtalk/client/dial"
	"teamtalk/protocol"
	"teamtalk/protocol/pdu"
)

const (
	partingTime = time.Second // for the last words to be written
	outBound    = 256 << 10   // bytes gathered for one write
	askedBound  = 8192        // numbers in use, before those are freed that are never answered
)

// link is a connection with its reader and its writer, which end calls off and joins. All else about it belongs to the engine's goroutine.
type link struct {
	conn dial.Conn

	in   chan pdu.PDU
	err  error // why reading ended; for those who found in closed
	outc chan [][]byte
	bad  chan error // 1: why writing ended
	stop chan struct{}
	both sync.WaitGroup

	out    [][]byte // frames for the writer
	gather int      // bytes of out
	seq    uint16
	asked  map[uint16]any // *request, *Outgoing or mark by the number of what was sent
	spoke  time.Time      // when something but a heartbeat was sent or received
}

func newLink(conn dial.Conn) *link {
	l := &link{
		conn: conn, in: make(chan pdu.PDU), outc: make(chan [][]byte), bad: make(chan error, 1), stop: make(chan struct{}),
		asked: make(map[uint16]any), spoke: time.Now(),
	}
	l.both.Add(2)
	go l.read()  // until end
	go l.write() // until end
	return l
}

func (l *link) read() {
	defer l.both.Done()
	defer close(l.in)
	for {
		p, err := l.conn.Read()
		if err != nil {
			l.err = err
			return
		}
		select {
		case l.in <- p:
		case <-l.stop:
			l.err = ErrClosed
			return
		}
	}
}

func (l *link) write() {
	defer l.both.Done()
	for {
		select {
		case frames := <-l.outc:
			if len(frames) == 0 {
				continue
			}
			if err := l.conn.Write(frames); err != nil {
				l.bad <- err
				return
			}
		case <-l.stop:
			return
		}
	}
}

// end closes the connection and joins both goroutines.
func (l *link) end(code protocol.Code, reason string) {
	close(l.stop)
	_ = l.conn.Close(code, reason) // it is over either way
	l.both.Wait()
}

// part writes what is gathered, as far as that is possible soon.
func (l *link) part() {
	timer := time.NewTimer(partingTime)
	defer timer.Stop()
	for _, frames := range [][][]byte{l.out, nil} { // the second is taken only after the first is written
		select {
		case l.outc <- frames:
		case err := <-l.bad:
			l.bad <- err
			return
		case <-timer.C:
			return
		}
	}
	l.out, l.gather = nil, 0
}

// send gathers a PDU for the writer; false if it can't be encoded.
func (l *link) send(cmd pdu.Command, seq uint16, m proto.Message) bool {
	frame, err := pdu.Append(nil, cmd, seq, m)
	if err != nil {
		return false
	}
	l.out = append(l.out, frame)
	l.gather += len(frame)
	if cmd != pdu.CmdHeartbeat {
		l.spoke = time.Now()
	}
	return true
}

// number is a free sequence number for something that is answered, and notes what.
func (l *link) number(of any) uint16 {
	if len(l.asked) >= askedBound {
		l.sweep()
	}
	for {
		l.seq++
		if _, taken := l.asked[l.seq]; l.seq != 0 && !taken {
			l.asked[l.seq] = of
			return l.seq
		}
	}
}

// sweep frees the numbers of what will not be answered, or what nobody waits for any more.
func (l *link) sweep() {
	for seq, of := range l.asked {
		waits := false
		switch of := of.(type) {
		case *request:
			waits = of.open()
		case *Outgoing:
			waits = of.State().Phase == PhaseSending
		}
		if !waits {
			delete(l.asked, seq)
		}
	}
}

// full reports whether enough is gathered or unanswered.
func (l *link) full() bool {
	if len(l.asked) >= 2*askedBound {
		l.sweep()
	}
	return l.gather >= outBound || len(l.asked) >= 2*askedBound
}

// pending is the channel to give out to, or nil if there is nothing.
func (l *link) pending() chan<- [][]byte {
	if len(l.out) == 0 {
		return nil
	}
	return l.outc
}

// written notes that the writer has taken what was gathered.
func (l *link) written() { l.out, l.gather = nil, 0 }

// await writes what is gathered and reads until accept is done or fails, for at most within; accept may prolong that by returning true for more.
func (l *link) await(ctx context.Context, within time.Duration, accept func(p pdu.PDU) (done, more bool, err error)) error {
	timer := time.NewTimer(within)
	defer timer.Stop()
	bad := l.bad
	for {
		select {
		case p, ok := <-l.in:
			if !ok {
				return brokenBy(l.err)
			}
			done, more, err := accept(p)
			if done || err != nil {
				return err
			}
			if more {
				timer.Reset(within)
			}
		case l.pending() <- l.out:
			l.written()
		case wrote := <-bad:
			l.bad <- wrote // for part
			bad = nil      // what the server said before it closed is read first
			timer.Reset(min(within, partingTime))
		case <-timer.C:
			return errSilent
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

var errSilent = errors.New("client: no answer in time")

// brokenBy says what the end of a connection means: a code of the transport is as good as a BYE.
func brokenBy(err error) error {
	var closed *dial.CloseError
	switch {
	case errors.As(err, &closed):
		if closed.Code == protocol.CodeUnspecified {
			return &lostError{cause: err}
		}
		return &byeError{Code: closed.Code, Message: closed.Message}
	case errors.Is(err, io.EOF):
		return &lostError{cause: errors.New("closed by the server")}
	}
	return &lostError{cause: err}
}

// lostError is a connection that broke.
type lostError struct{ cause error }

func (e *lostError) Error() string { return "client: connection lost: " + e.cause.Error() }
func (e *lostError) Unwrap() error { return e.cause }

// byeError is a connection that the server ended.
type byeError struct {
	Code       protocol.Code
	Message    string
	RetryAfter time.Duration
}

func (e *byeError) Error() string {
	return "client: ended by the server: " + e.Message + " (" + e.Code.String() + ")"
}
