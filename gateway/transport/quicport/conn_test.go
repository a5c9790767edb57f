package quicport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"teamtalk/gateway/transport"
	"teamtalk/gateway/transport/transporttest"
	"teamtalk/protocol"
	"teamtalk/protocol/pdu"
)

// packClient is a client as the conformance pack drives it.
type packClient struct {
	qc  *quic.Conn
	str *quic.Stream
}

// Read takes the server's closing of the connection for the end.
func (c packClient) Read(b []byte) (int, error) {
	n, err := c.str.Read(b)
	var app *quic.ApplicationError
	if errors.As(err, &app) && app.Remote {
		err = io.EOF
	}
	return n, err
}

func (c packClient) Write(b []byte) (int, error) { return c.str.Write(b) }

// Close ends the stream, behind what was written; the server closes the connection.
func (c packClient) Close() error {
	c.str.CancelRead(0)
	return c.str.Close()
}

func TestConformance(t *testing.T) {
	transporttest.Run(t, transporttest.Transport{Kind: transport.KindQUIC, HalfClose: true, Dial: func(t testing.TB) (transporttest.Client, transport.Conn) {
		desk := transporttest.NewDesk(t)
		p := start(t, Config{}, desk.Handle)
		t.Cleanup(desk.Release)
		qc, str := newClient(t).open(t, p.Addr())
		send(t, str, frame(pdu.CmdHeartbeat, 0xffff, nil)) // a stream is not there until something comes
		server := desk.Next(t)
		if _, err := server.Read(pdu.MaxLen); err != nil {
			t.Fatal(err)
		}
		return packClient{qc, str}, server
	}})
}

// Closing in order: the last PDU, the end of the stream, and, when the client has ended too, the close with its code [TT-QUIC-6].
func TestClosingInOrder(t *testing.T) {
	p := start(t, Config{Timing: Timing{Flush: 10 * time.Millisecond}}, func(c transport.Conn) {
		_, _ = c.Read(100)
		_ = c.Write([][]byte{numbered(1)})
		_ = c.CloseWrite()
		c.Discard(time.Now().Add(patience))
		_ = c.Close(protocol.CodeKicked)
		_ = c.Close(protocol.CodeInternal) // the first one counts
	})
	qc, str := newClient(t).open(t, p.Addr())
	send(t, str, numbered(0))
	expect(t, str, numbered(1))
	if _, err := str.Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("no end of the stream: %v", err)
	}
	if err := context.Cause(qc.Context()); err != nil {
		t.Fatalf("closed before the client has ended: %v", err)
	}
	_ = str.Close()
	if code := closedBy(t, qc); code != protocol.CodeKicked {
		t.Errorf("closed with %v", code)
	}
}

// A client that does not end its side is closed all the same, and one that is closed at once gets the code too [TT-QUIC-6].
func TestClosingWithoutTheClient(t *testing.T) {
	for name, handle := range map[string]func(transport.Conn){
		"after the time": func(c transport.Conn) {
			_, _ = c.Read(100)
			_ = c.CloseWrite()
			c.Discard(time.Now().Add(10 * time.Millisecond))
			_ = c.Close(protocol.CodeTooLarge)
		},
		"at once": func(c transport.Conn) {
			_, _ = c.Read(100)
			_ = c.Close(protocol.CodeTooLarge)
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t, Config{Timing: Timing{Flush: time.Hour}}, handle)
			qc, str := newClient(t).open(t, p.Addr())
			send(t, str, numbered(0))
			if code := closedBy(t, qc); code != protocol.CodeTooLarge {
				t.Errorf("closed with %v", code)
			}
		})
	}
}

// A client that sends its last requests and its end gets all answers, although the server closes [TT-QUIC-6].
func TestAnswersAfterTheClientsEnd(t *testing.T) {
	answer := bytes.Repeat(frame(0x0702, 0, bytes.Repeat([]byte("x"), 1000)), 200)
	p := start(t, Config{}, func(c transport.Conn) {
		for {
			if _, err := c.Read(100); err != nil {
				_ = c.Write([][]byte{answer})
				_ = c.Close(protocol.CodeUnspecified)
				return
			}
		}
	})
	relay := newRelay(t, p.Addr())
	_, str := newClient(t).open(t, relay.front.LocalAddr())
	send(t, str, numbered(0))
	_ = str.Close()
	_ = str.SetReadDeadline(time.Now().Add(patience))
	if got, err := io.ReadAll(str); err != nil || !bytes.Equal(got, answer) {
		t.Fatalf("%d bytes of %d, %v", len(got), len(answer), err)
	}
}

// Both sides end at the same time: the answer still comes [TT-QUIC-6].
func TestEndsCross(t *testing.T) {
	for range 20 {
		p := start(t, Config{}, func(c transport.Conn) {
			_, _ = c.Read(100)
			_ = c.Write([][]byte{numbered(1)})
			_ = c.CloseWrite()
			c.Discard(time.Now().Add(patience))
			_ = c.Close(protocol.CodeUnspecified)
		})
		_, str := newClient(t).open(t, p.Addr())
		send(t, str, numbered(0))
		_ = str.Close()
		expect(t, str, numbered(1))
		p.Close()
	}
}

// A client that closes its connection ends the session as one does that ends the stream.
func TestClientCloses(t *testing.T) {
	got := make(chan error, 1)
	p := start(t, Config{}, func(c transport.Conn) {
		p, _ := c.Read(100)
		_ = c.Write([][]byte{pdu.AppendRaw(nil, p.Header, p.Body)})
		_, err := c.Read(100)
		got <- err
	})
	qc, str := newClient(t).open(t, p.Addr())
	send(t, str, numbered(0))
	expect(t, str, numbered(0))
	_ = qc.CloseWithError(0, "")
	if err := <-got; err != io.EOF {
		t.Errorf("got %v", err)
	}
	await(t, "gone", func() bool { return counted(p.metrics.open) == 0 })
}

// A session stream that the client resets is broken.
func TestClientResets(t *testing.T) {
	got := make(chan error, 1)
	p := start(t, Config{}, func(c transport.Conn) {
		p, _ := c.Read(100)
		_ = c.Write([][]byte{pdu.AppendRaw(nil, p.Header, p.Body)})
		_, err := c.Read(100)
		got <- err
	})
	qc, str := newClient(t).open(t, p.Addr())
	send(t, str, numbered(0))
	expect(t, str, numbered(0))
	str.CancelWrite(1)
	var serr *quic.StreamError
	if err := <-got; !errors.As(err, &serr) {
		t.Errorf("got %v", err)
	}
	closedBy(t, qc)
}

// A client that takes nothing holds up no more than its window, and Close ends the Write.
func TestCloseEndsBlockedWrite(t *testing.T) {
	blocked, got := make(chan struct{}), make(chan error, 1)
	p := start(t, Config{}, func(c transport.Conn) {
		_, _ = c.Read(100)
		go func() { got <- c.Write([][]byte{make([]byte, 10<<20)}) }()
		<-blocked
		_ = c.CloseWrite() // waits behind the Write
		_ = c.Close(protocol.CodeOverloaded)
	})
	c := newClient(t)
	c.cfg.InitialStreamReceiveWindow, c.cfg.MaxStreamReceiveWindow = 1000, 1000
	qc, str := c.open(t, p.Addr())
	send(t, str, numbered(0))
	if _, err := str.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	close(blocked)
	if code := closedBy(t, qc); code != protocol.CodeOverloaded {
		t.Errorf("closed with %v", code)
	}
	if err := <-got; err == nil {
		t.Error("the Write succeeded")
	}
}
