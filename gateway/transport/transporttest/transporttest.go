// Package transporttest holds every transport.Conn to the same promises: what the comments of that interface say, tried out between a client and
// a server. Each transport's tests run it with a client of their own.
package transporttest

import (
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"teamtalk/gateway/transport"
	"teamtalk/protocol/pdu"
)

// patience is how long a test waits for what should happen at once.
const patience = 30 * time.Second

// Client is the other end of a connection: to the pack a stream of the bytes of PDUs, however the transport cuts it.
type Client interface {
	// Reader returns the bytes of PDUs from the server, in order, and io.EOF after an orderly end.
	io.Reader
	// Writer sends the bytes of PDUs, in any pieces; it may hold back a PDU until it is whole. The PDUs of one Write may travel together.
	io.Writer
	// Close leaves in an orderly way. Blocked calls return.
	Close() error
}

// Transport is what the pack has to know about one.
type Transport struct {
	// Dial makes a fresh connection and cleans up with t.Cleanup.
	Dial func(t testing.TB) (Client, transport.Conn)
	// Kind is what the connections say they are.
	Kind transport.Kind
	// MaxPDU is the size of the largest PDU from a client, in bytes; 0: pdu.MaxLen.
	MaxPDU int
	// WholeOnly says that the client cannot send a part of a PDU, or one with a wrong length.
	WholeOnly bool
	// HalfClose says that CloseWrite leaves reading alone.
	HalfClose bool
}

// Run holds the connections of a transport to the promises of transport.Conn.
func Run(t *testing.T, tr Transport) {
	if tr.MaxPDU == 0 {
		tr.MaxPDU = pdu.MaxLen
	}
	for _, c := range []struct {
		name  string
		parts bool // needs a client that can send a part of a PDU
		half  bool // needs a connection that closes by halves
		run   func(*link)
	}{
		{name: "Introduces", run: introduces},
		{name: "Pieces", run: pieces},
		{name: "Limits", run: limits},
		{name: "TooLarge", run: tooLarge},
		{name: "BadLength", parts: true, run: badLength},
		{name: "LargeBothWays", run: largeBothWays},
		{name: "ManyFrames", run: manyFrames},
		{name: "Order", run: order},
		{name: "DeadlinePending", run: deadlinePending},
		{name: "DeadlineMoved", run: deadlineMoved},
		{name: "DiscardUntil", run: discardUntil},
		{name: "DiscardUntilGone", run: discardUntilGone},
		{name: "DiscardAfterPart", parts: true, run: discardAfterPart},
		{name: "CloseWrite", half: true, run: closeWrite},
		{name: "Farewell", run: farewell},
		{name: "ClientLeaves", run: clientLeaves},
		{name: "ClientLeavesInside", parts: true, run: clientLeavesInside},
		{name: "CloseEndsRead", run: closeEndsRead},
		{name: "CloseEndsWrite", run: closeEndsWrite},
		{name: "CloseByMany", run: closeByMany},
	} {
		if c.parts && tr.WholeOnly || c.half && !tr.HalfClose {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			client, server := tr.Dial(t)
			c.run(&link{T: t, tr: tr, client: client, server: server})
		})
	}
}

// Frame is a PDU of a client.
func Frame(cmd pdu.Command, seq uint16, body []byte) []byte {
	return pdu.AppendRaw(nil, pdu.Header{Version: 1, Service: cmd.Service(), Command: cmd, Seq: seq}, body)
}

// Desk hands connections over to a test, for transports that hand them over by a callback.
type Desk struct {
	conns chan transport.Conn
	once  sync.Once
	done  chan struct{} // closed by Release
}

// NewDesk makes a Desk that releases its connections when the test ends.
func NewDesk(t testing.TB) *Desk {
	d := &Desk{conns: make(chan transport.Conn), done: make(chan struct{})}
	t.Cleanup(d.Release)
	return d
}

// Handle is the callback. It holds each connection until Release.
func (d *Desk) Handle(c transport.Conn) {
	select {
	case d.conns <- c:
	case <-d.done:
		return
	}
	<-d.done
}

// Next is the next connection handed over.
func (d *Desk) Next(t testing.TB) transport.Conn {
	t.Helper()
	select {
	case c := <-d.conns:
		return c
	case <-time.After(patience):
		t.Fatal("no connection was handed over")
		return nil
	}
}

// Release lets every Handle return.
func (d *Desk) Release() { d.once.Do(func() { close(d.done) }) }

// link is a client, a server's connection and the test they are in.
type link struct {
	*testing.T
	tr     Transport
	client Client
	server transport.Conn
}

// ends waits for something that must end.
func (l *link) ends(what string, f func()) {
	l.Helper()
	done := make(chan struct{})
	go func() { // ends with f; what blocks for good fails the test, whose end closes the connection
		defer close(done)
		f()
	}()
	l.await(what, done)
}

func (l *link) await(what string, done <-chan struct{}) {
	l.Helper()
	select {
	case <-done:
	case <-time.After(patience):
		l.Fatalf("%s does not end", what)
	}
}

// send writes from the client, beside what the test does.
func (l *link) send(pieces ...[]byte) (sent <-chan struct{}) {
	done := make(chan struct{})
	go func() { // ends when the server has taken the pieces, or with the connection
		defer close(done)
		for _, p := range pieces {
			if _, err := l.client.Write(p); err != nil {
				l.Errorf("the client cannot write: %v", err)
				return
			}
		}
	}()
	return done
}

// reads reads PDUs at the server and compares them with the frames sent.
func (l *link) reads(limit int, want ...[]byte) {
	l.Helper()
	l.ends("Read", func() {
		for i, w := range want {
			p, err := l.server.Read(limit)
			if err != nil {
				l.Errorf("PDU %d of %d: %v", i, len(want), err)
				return
			}
			if got := pdu.AppendRaw(nil, p.Header, p.Body); string(got) != string(w) || p.Header.Length != uint32(len(w)) {
				l.Errorf("PDU %d of %d: got %s, want %s", i, len(want), brief(got), brief(w))
				return
			}
		}
	})
}

// gets reads frames at the client.
func (l *link) gets(want ...[]byte) {
	l.Helper()
	l.ends("the client's reading", func() {
		for i, w := range want {
			got := make([]byte, len(w))
			if _, err := io.ReadFull(l.client, got); err != nil {
				l.Errorf("frame %d of %d: %v", i, len(want), err)
				return
			}
			if string(got) != string(w) {
				l.Errorf("frame %d of %d: got %s, want %s", i, len(want), brief(got), brief(w))
				return
			}
		}
	})
}

// fails reads at the server and expects an error.
func (l *link) fails(limit int, want error) pdu.PDU {
	l.Helper()
	var p pdu.PDU
	l.ends("Read", func() {
		var err error
		if p, err = l.server.Read(limit); !errors.Is(err, want) {
			l.Errorf("Read: %v, want %v", err, want)
		}
	})
	return p
}

// writes sends frames from the server, beside what the test does.
func (l *link) writes(frames [][]byte) (written <-chan struct{}) {
	done := make(chan struct{})
	go func() { // ends when the client has taken the frames, or with the connection
		defer close(done)
		if err := l.server.Write(frames); err != nil {
			l.Errorf("Write: %v", err)
		}
	}()
	return done
}
