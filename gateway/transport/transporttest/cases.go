package transporttest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/pdu"
)

// body is bytes that differ from those of any other seed nearby.
func body(n, seed int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(seed + i*7 + i>>8)
	}
	return b
}

func brief(b []byte) string {
	if len(b) <= 40 {
		return fmt.Sprintf("%x", b)
	}
	return fmt.Sprintf("%x… (%d bytes)", b[:40], len(b))
}

func introduces(l *link) {
	if k := l.server.Kind(); k != l.tr.Kind {
		l.Errorf("kind %q, want %q", k, l.tr.Kind)
	}
	if a := l.server.RemoteAddr(); !a.IsValid() || !a.Addr().IsLoopback() || a.Addr().Is4In6() {
		l.Errorf("remote address %v", a)
	}
}

// PDUs come out whole, whatever pieces they were sent in.
func pieces(l *link) {
	var frames [][]byte
	for i, n := range []int{0, 1, 84, 495, 496, 497, 5000, 0, 40_000} {
		frames = append(frames, Frame(pdu.CmdMsgData, uint16(i), body(n, i)))
	}
	all := bytes.Join(frames, nil)
	for _, size := range []int{len(all), 700, 17, 1} {
		what := all
		want := frames
		if size < 100 {
			want = frames[:4]
			what = bytes.Join(want, nil)
		}
		var cut [][]byte
		for len(what) > 0 {
			n := min(size, len(what))
			cut = append(cut, what[:n])
			what = what[n:]
		}
		sent := l.send(cut...)
		l.reads(pdu.MaxLen, want...)
		l.await("the client's writing", sent)
	}
}

// The limit may change from one Read to the next, and includes the header.
func limits(l *link) {
	small := Frame(pdu.CmdLoginReq, 1, body(pdu.MaxLenBeforeLogin-pdu.HeaderLen, 1))
	large := Frame(pdu.CmdMsgData, 2, body(100_000, 2))
	sent := l.send(small)
	l.reads(pdu.MaxLenBeforeLogin, small)
	l.await("the client's writing", sent)
	sent = l.send(large)
	l.reads(pdu.MaxLen, large)
	l.await("the client's writing", sent)
}

func tooLarge(l *link) {
	large := Frame(pdu.CmdMsgData, 2, body(pdu.MaxLenBeforeLogin-pdu.HeaderLen+1, 1))
	sent := l.send(large)
	for range 2 {
		if p := l.fails(pdu.MaxLenBeforeLogin, pdu.ErrTooLarge); p.Header.Command != pdu.CmdMsgData {
			l.Errorf("with the header %+v", p.Header)
		}
	}
	l.reads(pdu.MaxLen, large) // it is still there for who has logged in meanwhile
	l.await("the client's writing", sent)
	sent = l.send(large)
	l.fails(pdu.MaxLenBeforeLogin, pdu.ErrTooLarge)
	l.await("the client's writing", sent)
	l.close(protocol.CodeTooLarge)
}

func badLength(l *link) {
	bad := Frame(pdu.CmdMsgData, 2, nil)
	bad[3] = pdu.HeaderLen - 1
	sent := l.send(bad)
	l.fails(pdu.MaxLen, pdu.ErrLength)
	l.await("the client's writing", sent)
	l.close(protocol.CodeInvalid)
}

func largeBothWays(l *link) {
	up := Frame(pdu.CmdMsgData, 1, body(l.tr.MaxPDU-pdu.HeaderLen, 1))
	down := Frame(pdu.CmdMsgListRes, 2, body(pdu.MaxLen-pdu.HeaderLen, 2))
	sent := l.send(up)
	written := l.writes([][]byte{down})
	l.reads(pdu.MaxLen, up)
	l.gets(down)
	l.await("the client's writing", sent)
	l.await("Write", written)
}

// Write leaves the bytes of frames alone and keeps the slice of frames only while it runs.
func manyFrames(l *link) {
	var frames, want [][]byte
	for i := range 3000 {
		f := Frame(pdu.CmdMsgData, uint16(i), body(i%300, i))
		frames = append(frames, f)
		want = append(want, bytes.Clone(f))
	}
	same := append([][]byte(nil), frames...)
	done := make(chan struct{})
	go func() { // ends when the client has taken the frames
		defer close(done)
		for from, n := 0, 1; from < len(frames); n = n%700*2 + 1 {
			part := frames[from:min(from+n, len(frames))]
			from += len(part)
			if err := l.server.Write(part); err != nil {
				l.Errorf("Write: %v", err)
				return
			}
			clear(part)
		}
	}()
	l.gets(want...)
	l.await("Write", done)
	for i := range same {
		if !bytes.Equal(same[i], want[i]) {
			l.Fatalf("Write changed frame %d", i)
		}
	}
}

// Both ways at once, in order.
func order(l *link) {
	const n = 2000
	var up, down [][]byte
	for i := range n {
		up = append(up, Frame(pdu.CmdMsgData, uint16(i), binary.BigEndian.AppendUint32(body(i%90, i), uint32(i))))
		down = append(down, Frame(pdu.CmdMsgData, uint16(i), binary.BigEndian.AppendUint32(body(i%900, i), uint32(i))))
	}
	var batches [][]byte
	for i := 0; i < n; i += 10 {
		batches = append(batches, bytes.Join(up[i:i+10], nil))
	}
	sent := l.send(batches...)
	written := make(chan struct{})
	go func() { // ends when the client has taken the frames
		defer close(written)
		for i := 0; i < n; i += 4 {
			if err := l.server.Write(append([][]byte(nil), down[i:i+4]...)); err != nil {
				l.Errorf("Write: %v", err)
				return
			}
		}
	}()
	got := make(chan struct{})
	go func() { // ends with the frames
		defer close(got)
		l.reads(pdu.MaxLen, up...)
	}()
	l.gets(down...)
	l.await("Read", got)
	l.await("the client's writing", sent)
	l.await("Write", written)
}

// A deadline ends the Read under way and leaves writing alone.
func deadlinePending(l *link) {
	began, ended := make(chan struct{}), make(chan struct{})
	go func() { // ended by the deadline
		defer close(ended)
		close(began)
		_, err := l.server.Read(pdu.MaxLen)
		var nerr net.Error
		if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &nerr) || !nerr.Timeout() {
			l.Errorf("Read: %v", err)
		}
	}()
	<-began
	if err := l.server.SetReadDeadline(time.Unix(1, 0)); err != nil {
		l.Fatal(err)
	}
	l.await("Read", ended)
	last := Frame(pdu.CmdKickUser, 0, body(1000, 1))
	written := l.writes([][]byte{last})
	l.gets(last)
	l.await("Write", written)
}

// A deadline may be moved and taken back; one that has passed ends Reads to come.
func deadlineMoved(l *link) {
	frame := Frame(pdu.CmdHeartbeat, 1, nil)
	for _, by := range []time.Time{time.Now().Add(time.Hour), {}} {
		if err := l.server.SetReadDeadline(by); err != nil {
			l.Fatal(err)
		}
		sent := l.send(frame)
		l.reads(pdu.MaxLen, frame)
		l.await("the client's writing", sent)
	}
	began := time.Now()
	if err := l.server.SetReadDeadline(began.Add(50 * time.Millisecond)); err != nil {
		l.Fatal(err)
	}
	l.fails(pdu.MaxLen, os.ErrDeadlineExceeded)
	if d := time.Since(began); d < 50*time.Millisecond {
		l.Errorf("after %v already", d)
	}
}

func (l *link) close(code protocol.Code) {
	l.Helper()
	l.ends("Close", func() {
		if err := l.server.Close(code); err != nil {
			l.Errorf("Close: %v", err)
		}
	})
}

func discardUntil(l *link) {
	sent := l.send(Frame(pdu.CmdMsgData, 1, body(100_000, 1)), Frame(pdu.CmdMsgData, 2, nil))
	began := time.Now()
	l.ends("Discard", func() { l.server.Discard(began.Add(200 * time.Millisecond)) })
	if d := time.Since(began); d < 200*time.Millisecond {
		l.Errorf("discarded for %v only", d)
	}
	l.ends("the client's writing", func() {
		for !isClosed(sent) { // it may not have come that far
			l.server.Discard(time.Now().Add(10 * time.Millisecond))
		}
	})
	l.close(protocol.CodeKicked)
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func discardUntilGone(l *link) {
	go func() { // ends when the client has closed
		_, _ = l.client.Write(Frame(pdu.CmdMsgData, 1, body(100_000, 1)))
		_ = l.client.Close()
	}()
	l.discardsBriefly()
}

func (l *link) discardsBriefly() {
	l.Helper()
	l.ends("Discard", func() { l.server.Discard(time.Now().Add(10 * patience)) })
	l.ends("Close", func() { _ = l.server.Close(protocol.CodeKicked) }) // the client has closed already
}

// A Read that was cut short inside a PDU does not keep Discard from working.
func discardAfterPart(l *link) {
	f := Frame(pdu.CmdMsgData, 1, body(1000, 1))
	l.await("the client's writing", l.send(f[:500]))
	if err := l.server.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		l.Fatal(err)
	}
	l.fails(pdu.MaxLen, os.ErrDeadlineExceeded)
	go func() { // ends when the client has closed
		_, _ = l.client.Write(f[500:])
		_, _ = l.client.Write(Frame(pdu.CmdMsgData, 1, body(100_000, 1)))
		_ = l.client.Close()
	}()
	l.discardsBriefly()
}

func closeWrite(l *link) {
	last := Frame(pdu.CmdLogoutRes, 1, body(10, 1))
	if err := l.server.Write([][]byte{last}); err != nil {
		l.Fatal(err)
	}
	if err := l.server.CloseWrite(); err != nil {
		l.Fatal(err)
	}
	l.gets(last)
	l.ends("the client's reading", func() {
		if n, err := l.client.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
			l.Errorf("the client reads %d, %v", n, err)
		}
	})
	f := Frame(pdu.CmdMsgData, 1, body(1000, 1))
	sent := l.send(f)
	l.reads(pdu.MaxLen, f)
	l.await("the client's writing", sent)
}

// What was written last arrives, though the client still sends: this is how a session ends.
func farewell(l *link) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() { // ends with the connection, or by stop
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				if _, err := l.client.Write(Frame(pdu.CmdMsgData, 1, body(10_000, 1))); err != nil {
					return
				}
			}
		}
	}()
	last := [][]byte{Frame(pdu.CmdMsgListRes, 1, body(300_000, 1)), Frame(pdu.CmdLogoutRes, 2, body(10, 2))}
	l.ends("Read", func() {
		if _, err := l.server.Read(pdu.MaxLen); err != nil {
			l.Errorf("Read: %v", err)
		}
	})
	_ = l.server.SetReadDeadline(time.Unix(1, 0))
	ended := make(chan struct{})
	go func() { // ends when the client has closed
		defer close(ended)
		if err := l.server.Write(append([][]byte(nil), last...)); err != nil {
			l.Errorf("Write: %v", err)
		}
		if l.server.CloseWrite() == nil {
			l.server.Discard(time.Now().Add(patience))
		}
		_ = l.server.Close(protocol.CodeKicked)
	}()
	l.gets(last...)
	close(stop)
	l.ends("the client's reading", func() {
		if n, err := l.client.Read(make([]byte, 1)); n != 0 || err == nil {
			l.Errorf("after the last PDU the client reads %d, %v", n, err)
		}
	})
	_ = l.client.Close()
	l.await("the end of the session", ended)
	l.await("the client's writing", stopped)
}

func clientLeaves(l *link) {
	f := Frame(pdu.CmdHeartbeat, 1, body(10, 1))
	l.await("the client's writing", l.send(f))
	if err := l.client.Close(); err != nil {
		l.Fatal(err)
	}
	l.reads(pdu.MaxLen, f)
	l.fails(pdu.MaxLen, io.EOF)
	l.ends("Close", func() { _ = l.server.Close(protocol.CodeUnspecified) })
}

func clientLeavesInside(l *link) {
	l.await("the client's writing", l.send(Frame(pdu.CmdMsgData, 1, body(1000, 1))[:500]))
	if err := l.client.Close(); err != nil {
		l.Fatal(err)
	}
	l.fails(pdu.MaxLen, io.ErrUnexpectedEOF)
	l.ends("Close", func() { _ = l.server.Close(protocol.CodeUnspecified) })
}

func closeEndsRead(l *link) {
	began, ended := make(chan struct{}), make(chan struct{})
	go func() { // ended by Close
		defer close(ended)
		close(began)
		if p, err := l.server.Read(pdu.MaxLen); err == nil {
			l.Errorf("Read: %+v", p)
		}
	}()
	<-began
	l.close(protocol.CodeKicked)
	l.await("Read", ended)
	if _, err := l.server.Read(pdu.MaxLen); err == nil {
		l.Error("Read after Close succeeds")
	}
	if err := l.server.Write([][]byte{Frame(pdu.CmdHeartbeat, 1, nil)}); err == nil {
		l.Error("Write after Close succeeds")
	}
	l.ends("the client's reading", func() {
		if _, err := io.Copy(io.Discard, l.client); err != nil {
			l.Logf("the client reads %v", err)
		}
	})
}

// A Write to a client that takes nothing ends with Close.
func closeEndsWrite(l *link) {
	var rounds atomic.Int64
	ended := make(chan struct{})
	go func() { // ended by Close
		defer close(ended)
		f := Frame(pdu.CmdMsgData, 0, body(64<<10, 1))
		for l.server.Write([][]byte{f, f}) == nil {
			rounds.Add(1)
		}
	}()
	still := time.NewTicker(300 * time.Millisecond)
	defer still.Stop()
	for last := int64(-1); last != rounds.Load(); <-still.C {
		last = rounds.Load()
		if last > 1<<12 {
			l.Fatal("there is no end to what can be written to a client that reads nothing")
		}
	}
	l.ends("Close", func() { _ = l.server.Close(protocol.CodeOverloaded) })
	l.await("Write", ended)
}

// Close may be called by many at a time, and while everything else goes on.
func closeByMany(l *link) {
	var all sync.WaitGroup
	begin := make(chan struct{})
	both := func(f func() error) {
		all.Go(func() { // ended by Close
			<-begin
			for f() == nil {
			}
		})
	}
	frame := Frame(pdu.CmdHeartbeat, 1, body(100, 1))
	both(func() error { _, err := l.server.Read(pdu.MaxLen); return err })
	both(func() error { return l.server.Write([][]byte{frame, frame}) })
	both(func() error { _, err := l.client.Write(frame); return err })
	both(func() error { _, err := l.client.Read(make([]byte, 1000)); return err })
	all.Go(func() { // ends by itself
		<-begin
		for range 100 {
			_ = l.server.SetReadDeadline(time.Now().Add(time.Hour))
		}
	})
	for code := range protocol.Code(8) {
		all.Go(func() { // ends by itself
			<-begin
			if err := l.server.Close(code); err != nil && !errors.Is(err, net.ErrClosed) {
				l.Errorf("Close: %v", err)
			}
		})
	}
	close(begin)
	l.ends("everything", all.Wait)
}
