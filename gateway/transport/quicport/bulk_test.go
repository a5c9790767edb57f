package quicport

import (
	"bytes"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"teamtalk/gateway/transport"
	"teamtalk/protocol"
	"teamtalk/protocol/pdu"
)

// loggedIn echoes on a session whose client has logged in.
func loggedIn(u protocol.UserID) func(transport.Conn) {
	return func(c transport.Conn) {
		c.(transport.Carrier).LoggedIn(u)
		echo(c)
	}
}

// openBulk opens a stream beside the session and sends something, without which the server does not see it.
func openBulk(t *testing.T, qc *quic.Conn, first []byte) *quic.Stream {
	t.Helper()
	str, err := qc.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	_ = str.SetReadDeadline(time.Now().Add(patience))
	send(t, str, first)
	return str
}

func isReset(t *testing.T, str *quic.Stream, code protocol.Code) {
	t.Helper()
	var serr *quic.StreamError
	if b, err := io.ReadAll(str); !errors.As(err, &serr) || !serr.Remote || protocol.Code(serr.ErrorCode) != code {
		t.Fatalf("%d bytes, then %v, instead of a reset with %v", len(b), err, code)
	}
}

// [TT-FILE-12] [TT-QUIC-3]: four streams at a time beside a session, for its user; the session goes on, and so does a stream when another one is reset.
func TestBulkStreams(t *testing.T) {
	var users atomic.Uint32
	bulk := func(u protocol.UserID, c transport.Conn) {
		users.Store(uint32(u))
		echo(c)
	}
	p := start(t, Config{HTTP: noHTTP, Bulk: bulk}, loggedIn(7))
	qc, str := newClient(t).open(t, p.Addr())
	roundTrip(t, str, 1)
	var open []*quic.Stream
	for i := range bulkStreams {
		b := openBulk(t, qc, nil)
		roundTrip(t, b, uint16(i))
		open = append(open, b)
	}
	if users.Load() != 7 {
		t.Errorf("served for user %d", users.Load())
	}
	isReset(t, openBulk(t, qc, frame(pdu.CmdFileLoginReq, 0, nil)), protocol.CodeForbidden)
	roundTrip(t, str, 2)
	for _, b := range open {
		roundTrip(t, b, 3)
	}
	open[0].CancelWrite(1)
	open[0].CancelRead(1)
	await(t, "a place for another stream", func() bool {
		b := openBulk(t, qc, frame(pdu.CmdHeartbeat, 9, nil))
		got := make([]byte, pdu.HeaderLen)
		_, err := io.ReadFull(b, got)
		return err == nil
	})
	roundTrip(t, open[1], 4)
	roundTrip(t, str, 5)
}

// [TT-FILE-12]: what was written before the end arrives, whatever else the server does with the stream; one that is closed without an end is reset.
func TestBulkEnds(t *testing.T) {
	const size = 1 << 20
	all := frame(pdu.CmdFilePullRes, 1, bytes.Repeat([]byte("x"), size))
	bulk := func(_ protocol.UserID, c transport.Conn) {
		p, err := c.Read(pdu.MaxLen)
		if err != nil {
			return
		}
		if p.Header.Seq == 0 {
			_ = c.Close(protocol.CodeInvalid)
			return
		}
		if c.Write([][]byte{all}) == nil && c.CloseWrite() == nil && p.Header.Seq == 2 {
			c.Discard(time.Now().Add(patience))
		}
		_ = c.Close(protocol.CodeUnspecified)
	}
	p := start(t, Config{HTTP: noHTTP, Bulk: bulk}, loggedIn(7))
	qc, str := newClient(t).open(t, p.Addr())
	roundTrip(t, str, 1)
	for seq := uint16(1); seq <= 2; seq++ {
		b := openBulk(t, qc, frame(pdu.CmdFileLoginReq, seq, nil))
		got, err := io.ReadAll(b)
		if err != nil || !bytes.Equal(got, all) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		_ = b.Close()
	}
	isReset(t, openBulk(t, qc, frame(pdu.CmdFileLoginReq, 0, nil)), protocol.CodeInvalid)
	roundTrip(t, str, 2)
}

// A port that closes breaks these streams too, and waits for whoever serves them.
func TestBulkClose(t *testing.T) {
	var ended atomic.Bool
	began := make(chan struct{})
	p := start(t, Config{HTTP: noHTTP, Bulk: func(_ protocol.UserID, c transport.Conn) {
		close(began)
		_, _ = c.Read(pdu.MaxLen) // until it breaks
		ended.Store(true)
	}}, loggedIn(7))
	qc, str := newClient(t).open(t, p.Addr())
	roundTrip(t, str, 1)
	openBulk(t, qc, []byte{0})
	<-began
	p.Close()
	if !ended.Load() {
		t.Error("somebody still serves")
	}
}
