package ws

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/coder/websocket"

	"teamtalk/gateway/transport"
	"teamtalk/protocol"
	"teamtalk/protocol/pdu"
)

// Errors of Read besides those of pdu.Reader; compare with errors.Is. The connection is being closed, and the client told why.
var (
	// ErrText is a text message [TT-WS-4].
	ErrText = errors.New("ws: text message")
	// ErrCut is a message that is empty or ends inside a PDU [TT-WS-4].
	ErrCut = errors.New("ws: message that is not whole PDUs")
	// ErrFrame is what is no WebSocket frame [TT-WS-4].
	ErrFrame = errors.New("ws: bad frame")
)

const (
	firstBody = 4 << 10                    // what a body gets before its bytes arrive; beyond it memory follows the bytes [TT-FRAME-4]
	closeBase = websocket.StatusCode(4000) // plus a protocol.Code [TT-WS-6]
)

// conn is a connection. coder/websocket does the handshake, parses what comes in and does the closing handshake. What goes out is framed here: that
// takes ten bytes, and lets a Write of many frames be one system call without copying them.
type conn struct {
	h    *Handler
	addr netip.AddrPort
	ws   *websocket.Conn
	sock socket
	in   *bufio.Reader // from sock; coder/websocket reads from it

	reading sync.Mutex // held by Read, Discard and the closing handshake
	msg     io.Reader  // the message being read, nil between two
	used    int        // bytes of it that have been read
	header  [pdu.HeaderLen]byte
	again   bool // header is that of a PDU that was too large, and is still to be read
	lost    bool // an interrupted Read may have left the middle of a frame

	writing sync.Mutex // held for a whole frame
	torn    bool       // a frame was cut short: no other may follow
	said    bool       // a close has been sent: no other may follow
	talked  bool       // something was written since the last tick

	mu      sync.Mutex // guards the deadlines and what follows
	ending  bool       // the closing handshake owns the connection
	gone    bool       // closed by coder/websocket
	writeBy time.Time  // the write deadline set last
	pulse   pulse
}

// Kind is transport.KindWebSocket.
func (c *conn) Kind() transport.Kind { return transport.KindWebSocket }

// RemoteAddr is what Config.RemoteAddr said.
func (c *conn) RemoteAddr() netip.AddrPort { return c.addr }

// Read returns the next PDU of a message. limit bounds the message, as far as it has been read, as well as the PDU [TT-WS-3].
func (c *conn) Read(limit int) (pdu.PDU, error) {
	if c.isEnding() { // the lock is the closing handshake's until the client has answered
		return pdu.PDU{}, fmt.Errorf("ws: %w", net.ErrClosed)
	}
	c.reading.Lock()
	defer c.reading.Unlock()
	for {
		if c.isEnding() {
			return pdu.PDU{}, c.broken(net.ErrClosed)
		}
		if c.msg == nil {
			if err := c.nextMessage(); err != nil {
				return pdu.PDU{}, err
			}
		}
		if c.again {
			return c.readPDU(limit)
		}
		n, err := io.ReadFull(c.msg, c.header[:])
		switch {
		case err == nil:
			return c.readPDU(limit)
		case !c.endOfMessage(err):
			return pdu.PDU{}, c.failed(err)
		case n > 0 || c.used == 0:
			return pdu.PDU{}, c.refuseCut()
		}
		c.msg = nil
	}
}

func (c *conn) nextMessage() error {
	// The wait is here, and not deep inside coder/websocket, because the stack of an idle connection is memory.
	if _, err := c.in.Peek(1); err != nil {
		return c.broken(err)
	}
	kind, msg, err := c.ws.Reader(context.Background()) // ended by deadlines
	if err != nil {
		return c.failed(err)
	}
	if kind != websocket.MessageBinary {
		return c.refuseText()
	}
	c.msg, c.used = msg, 0
	return nil
}

// readPDU reads the body that belongs to the header read.
func (c *conn) readPDU(limit int) (pdu.PDU, error) {
	h, err := pdu.ParseHeader(c.header[:])
	if err != nil {
		return pdu.PDU{Header: h}, fmt.Errorf("%w: %d", err, h.Length)
	}
	if c.again = uint64(h.Length)+uint64(c.used) > uint64(limit); c.again {
		return pdu.PDU{Header: h}, fmt.Errorf("%w: %d bytes, %d of the message before, of %d allowed", pdu.ErrTooLarge, h.Length, c.used, limit)
	}
	c.used += int(h.Length)
	var body []byte
	for have, n := 0, int(h.Length)-pdu.HeaderLen; have < n; have = len(body) {
		grown := make([]byte, min(n, max(firstBody, 2*have)))
		copy(grown, body)
		body = grown
		if _, err := io.ReadFull(c.msg, body[have:]); c.endOfMessage(err) {
			return pdu.PDU{}, c.refuseCut()
		} else if err != nil {
			return pdu.PDU{}, c.failed(err)
		}
	}
	return pdu.PDU{Header: h, Body: body}, nil
}

// endOfMessage tells the end of a message from that of the connection.
func (c *conn) endOfMessage(err error) bool {
	return (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) && c.sock.failed == nil && websocket.CloseStatus(err) == -1
}

// failed says why coder/websocket could not read on.
func (c *conn) failed(err error) error {
	c.lost = true
	switch {
	case websocket.CloseStatus(err) != -1: // the client has closed
		return c.broken(io.EOF)
	case c.sock.failed != nil:
		return c.broken(c.sock.failed)
	case c.isEnding() || errors.Is(err, net.ErrClosed):
		return c.broken(net.ErrClosed)
	}
	return fmt.Errorf("%w: %w", c.refuseFrame(), err)
}

// broken is the error of Read when nothing more can come.
func (c *conn) broken(err error) error {
	switch {
	case c.isEnding():
		return fmt.Errorf("ws: %w", net.ErrClosed)
	case !errors.Is(err, io.EOF):
		return fmt.Errorf("ws: %w", err)
	case c.msg != nil:
		return io.ErrUnexpectedEOF
	}
	return io.EOF
}

// refuse closes the connection for what the client sent.
func (c *conn) refuse(why refusal, err error, code websocket.StatusCode) error {
	if c.end(code, err.Error()) == nil {
		c.h.metrics.refused(why)
	}
	return err
}

func (c *conn) refuseText() error {
	return c.refuse(refusedText, ErrText, websocket.StatusUnsupportedData)
}

func (c *conn) refuseCut() error {
	return c.refuse(refusedCut, ErrCut, websocket.StatusInvalidFramePayloadData)
}

func (c *conn) refuseFrame() error {
	return c.refuse(refusedFrame, ErrFrame, websocket.StatusProtocolError)
}

// SetReadDeadline ends Reads at t.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending {
		return net.ErrClosed
	}
	return c.sock.Conn.SetReadDeadline(t)
}

// Discard reads and answers what WebSocket wants answered, as long as it is in step, and then just reads.
func (c *conn) Discard(until time.Time) {
	if c.SetReadDeadline(until) != nil {
		return
	}
	c.reading.Lock()
	defer c.reading.Unlock()
	c.sock.failed = nil // of the Read that was interrupted
	for !c.lost {
		if c.msg != nil {
			if _, err := io.Copy(io.Discard, c.msg); err != nil {
				break
			}
		}
		var err error
		if _, c.msg, err = c.ws.Reader(context.Background()); err != nil { // ended by deadlines
			break
		}
	}
	if c.sock.failed == nil && !c.isGone() {
		_, _ = io.Copy(io.Discard, c.sock.Conn) // ended by deadlines
	}
}

// CloseWrite fails: WebSocket closes both ways, and with a code, which Close knows.
func (c *conn) CloseWrite() error {
	return fmt.Errorf("ws: closing by halves: %w", errors.ErrUnsupported)
}

// Close begins the closing handshake with status 4000 + code and returns; blocked calls return at once [TT-WS-6].
func (c *conn) Close(code protocol.Code) error {
	return c.end(closeBase+websocket.StatusCode(code), "")
}

// end interrupts whoever reads or writes and does the closing handshake. Only the first call does; others get net.ErrClosed.
func (c *conn) end(code websocket.StatusCode, reason string) error {
	c.mu.Lock()
	if c.ending {
		c.mu.Unlock()
		return net.ErrClosed
	}
	c.ending = true
	gone := c.gone
	c.pulse.timer.Stop()
	c.mu.Unlock()
	if gone {
		return nil
	}
	err := c.sock.Conn.SetDeadline(time.Unix(1, 0))
	c.h.farewell(func(wait bool) { c.shake(code, reason, wait) })
	return err
}

// shake says goodbye and waits for the client to do so.
func (c *conn) shake(code websocket.StatusCode, reason string, wait bool) {
	if !wait {
		_ = raw(c.sock.Conn).Close()
	}
	c.writing.Lock() // whoever holds it has been interrupted, as below
	wait = wait && !c.torn
	c.writing.Unlock()
	c.reading.Lock()
	defer c.reading.Unlock()
	if wait && c.sock.Conn.SetDeadline(time.Now().Add(c.h.cfg.Flush)) == nil && c.handshake(code, reason) {
		_ = c.sock.Conn.Close()
	} else {
		_ = raw(c.sock.Conn).Close()
	}
	_ = c.ws.CloseNow() // coder/websocket lets go of the connection
}

// handshake sends a close and reports whether the client has answered with one, or closed.
func (c *conn) handshake(code websocket.StatusCode, reason string) bool {
	if !c.lost {
		err := c.ws.Close(code, reason) // leaves the socket open
		if err == nil || websocket.CloseStatus(err) != -1 || errors.Is(err, io.EOF) {
			return true
		}
	} else if c.sayClose(code, reason) != nil {
		return false
	}
	_, err := io.Copy(io.Discard, c.sock.Conn) // what was written last arrives if what comes is read
	return err == nil
}

// sayClose sends a close past coder/websocket, which is out of step with what comes in, unless that was what it said.
func (c *conn) sayClose(code websocket.StatusCode, reason string) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.said {
		return nil
	}
	c.said = true
	return c.writeControl(opClose, append(binary.BigEndian.AppendUint16(nil, uint16(code)), reason...))
}

func (c *conn) isEnding() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ending
}

func (c *conn) isGone() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gone
}

// raw is the socket below TLS, whose Close never waits.
func raw(nc net.Conn) net.Conn {
	if t, ok := nc.(interface{ NetConn() net.Conn }); ok {
		return t.NetConn()
	}
	return nc
}

// socket is the connection as coder/websocket sees it; Conn is the connection itself.
type socket struct {
	net.Conn
	conn   *conn
	early  []byte // came in with the request
	failed error  // of a Read; belongs to whoever reads
}

// Read returns what came in early, then what comes.
func (s *socket) Read(p []byte) (int, error) {
	if len(s.early) > 0 {
		n := copy(p, s.early)
		if s.early = s.early[n:]; len(s.early) == 0 {
			s.early = nil
		}
		return n, nil
	}
	n, err := s.Conn.Read(p)
	if err != nil {
		s.failed = err
	}
	return n, err
}

// Write writes a close, perhaps in pieces: the only thing that coder/websocket writes.
func (s *socket) Write(p []byte) (int, error) {
	s.conn.writing.Lock()
	defer s.conn.writing.Unlock()
	s.conn.said = true
	if err := s.conn.extend(len(p)); err != nil && !errors.Is(err, net.ErrClosed) {
		return 0, err
	}
	return s.conn.written(s.Conn.Write(p))
}

// Close closes the connection, unless the closing handshake still needs it.
func (s *socket) Close() error {
	c := s.conn
	c.mu.Lock()
	if c.ending {
		c.mu.Unlock()
		return nil
	}
	c.gone = true
	c.mu.Unlock()
	return s.Conn.Close()
}
