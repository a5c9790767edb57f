package transfer

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"teamtalk/gateway/transport"
	"teamtalk/protocol"
	"teamtalk/protocol/pdu"
)

const (
	// segment is what existing clients are asked for, and get, at a time [TT-FILE-9] [TT-FILE-10].
	segment = 32 << 10
	// bulkSegment is that of streams beside a session, of which bulkWindow are asked for at a time [TT-FILE-12].
	bulkSegment = 64 << 10
	bulkWindow  = 8
	// maxBlock bounds what anybody gets at a time, and frameReserve all of a frame but that.
	maxBlock     = 1 << 20
	frameReserve = 4 << 10
)

// link is a connection that carries one file.
type link struct {
	conn transport.Conn
	user protocol.UserID // of a stream beside a session: whose session it is; else 0 until the login
	bulk bool            // it is a stream beside a session
	out  outbox

	known func() // is called when the client has said who it is

	takes atomic.Pointer[task] // the online task that this is the receiving side of

	mu   sync.Mutex // guards done together with the read deadline
	done bool       // no more is read
}

// errOver: nothing more is to be read, and what was written is to arrive.
var errOver = errors.New("transfer: over")

// finish has the client get what waits for it, and then the end of the connection.
func (l *link) finish() {
	l.mu.Lock()
	l.done = true
	_ = l.conn.SetReadDeadline(time.Unix(1, 0)) // fails only if it is closed
	l.mu.Unlock()
	l.out.close() // behind done: the end of the writing is an error for who reads, unless it is over
}

// read waits for the next PDU; errOver after finish.
func (l *link) read(limit int, until time.Time) (pdu.PDU, error) {
	if err := l.awaitBy(until); err != nil {
		return pdu.PDU{}, err
	}
	p, err := l.conn.Read(limit)
	if err != nil && l.isDone() {
		return p, errOver
	}
	return p, err
}

func (l *link) awaitBy(until time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done {
		return errOver
	}
	return l.conn.SetReadDeadline(until)
}

func (l *link) isDone() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.done
}

// send queues a PDU; false: the client does not take it, or it is our mistake.
func (l *link) send(cmd pdu.Command, seq uint16, m proto.Message) bool {
	b, err := pdu.Append(nil, cmd, seq, m)
	return err == nil && l.out.put(b)
}

// echo sends a heartbeat back as it came [TT-HB-1], unless as many bytes wait for the client: heartbeats may be as large as what else it may send.
func (l *link) echo(p pdu.PDU, most int) bool {
	return l.out.waiting()+len(p.Body) <= most && l.out.put(pdu.AppendRaw(make([]byte, 0, pdu.HeaderLen+len(p.Body)), p.Header, p.Body))
}

// refused is why a connection was ended by the server, in metrics; empty: it was not.
func refused(err error, loggedIn bool) string {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) && !loggedIn:
		return "late"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "idle"
	case errors.Is(err, errStalled):
		return "stalled"
	case errors.Is(err, errProtocol), errors.Is(err, pdu.ErrLength), errors.Is(err, pdu.ErrTooLarge):
		return "protocol"
	case errors.Is(err, errMany):
		return "many"
	case errors.Is(err, errLogin):
		return "login"
	}
	return ""
}

// code is what a transport that can say so tells the client about the end.
func code(err error) protocol.Code {
	switch {
	case errors.Is(err, errForbidden), errors.Is(err, errLogin):
		return protocol.CodeForbidden
	case errors.Is(err, errProtocol), errors.Is(err, pdu.ErrLength), errors.Is(err, pdu.ErrTooLarge):
		return protocol.CodeInvalid
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, errStalled):
		return protocol.CodeUnavailable
	}
	return protocol.CodeUnspecified
}
