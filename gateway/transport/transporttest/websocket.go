package transporttest

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"teamtalk/protocol/pdu"
)

// Opcodes of WebSocket frames.
const (
	OpContinuation = 0x0
	OpText         = 0x1
	OpBinary       = 0x2
	OpClose        = 0x8
	OpPing         = 0x9
	OpPong         = 0xa
)

// WebSocket is a client that can do right and wrong, frame by frame. As a net.Conn it carries the bytes of PDUs: a Write that ends inside a PDU is a
// fragment, and the message ends with the PDU.
type WebSocket struct {
	net.Conn
	in *bufio.Reader

	payload []byte // of the frame being read, not returned yet

	mu      sync.Mutex // guards writing
	open    bool       // a message has begun
	head    []byte     // of the PDU being written, up to its length
	missing int        // bytes of it
}

// handshakeKey is any 16 bytes in base64.
const handshakeKey = "dGVhbXRhbGstdGVzdC1rZQ=="

// Upgrade sends the handshake over nc, with extra header lines, and returns the response; the client is nil unless the server has agreed.
func Upgrade(nc net.Conn, extra ...string) (*WebSocket, *http.Response, error) {
	lines := append([]string{"GET /ws HTTP/1.1", "Host: teamtalk.test", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
		"Sec-WebSocket-Key: " + handshakeKey}, extra...)
	if _, err := io.WriteString(nc, strings.Join(lines, "\r\n")+"\r\n\r\n"); err != nil {
		return nil, nil, err
	}
	in := bufio.NewReader(nc)
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		return nil, nil, err
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		return nil, res, nil
	}
	return &WebSocket{Conn: nc, in: in}, res, nil
}

// NewWebSocket is a client on a connection whose handshake is done.
func NewWebSocket(nc net.Conn) *WebSocket { return &WebSocket{Conn: nc, in: bufio.NewReader(nc)} }

// DialWebSocket connects to /ws of an address, with the subprotocol of TeamTalk.
func DialWebSocket(address string) (*WebSocket, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	nc, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	c, res, err := Upgrade(nc, "Sec-WebSocket-Protocol: teamtalk.v1")
	if err == nil && c == nil {
		err = errors.Join(fmt.Errorf("the server answers %s", res.Status), res.Body.Close())
	}
	if err != nil {
		return nil, errors.Join(err, nc.Close())
	}
	return c, nil
}

// AppendFrame adds a frame from a client. Its mask is always the same.
func AppendFrame(b []byte, final bool, op byte, payload []byte) []byte {
	if final {
		op |= 0x80
	}
	b = append(b, op)
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	mask := [4]byte{0x5a, 0xc3, 0x00, 0x7e}
	b = append(b, mask[:]...)
	from := len(b)
	b = append(b, payload...)
	for i := range payload {
		b[from+i] ^= mask[i&3]
	}
	return b
}

// Send sends one frame.
func (c *WebSocket) Send(final bool, op byte, payload []byte) error {
	_, err := c.Conn.Write(AppendFrame(nil, final, op, payload))
	return err
}

// Next reads one frame.
func (c *WebSocket) Next() (op byte, payload []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(c.in, head[:]); err != nil {
		return 0, nil, err
	}
	n := uint64(head[1] & 0x7f)
	long := make([]byte, 0, 8)
	switch n {
	case 126:
		long = long[:2]
	case 127:
		long = long[:8]
	}
	if _, err := io.ReadFull(c.in, long); err != nil {
		return 0, nil, err
	}
	switch len(long) {
	case 2:
		n = uint64(binary.BigEndian.Uint16(long))
	case 8:
		n = binary.BigEndian.Uint64(long)
	}
	if head[0]&0xf0 != 0x80 || head[1]&0x80 != 0 || n > 2*pdu.MaxLen {
		return 0, nil, fmt.Errorf("frame header %x of %d bytes", head, n)
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(c.in, payload)
	return head[0] & 0xf, payload, err
}

// Read returns bytes of PDUs, answers pings and closes, and ends with the server's close.
func (c *WebSocket) Read(p []byte) (int, error) {
	for len(c.payload) == 0 {
		op, payload, err := c.Next()
		if err != nil {
			return 0, err
		}
		switch op {
		case OpBinary:
			c.payload = payload
		case OpPing:
			if err := c.sendWhole(OpPong, payload); err != nil {
				return 0, err
			}
		case OpClose:
			_ = c.sendWhole(OpClose, payload) // if the server still reads
			return 0, io.EOF
		case OpPong:
		default:
			return 0, fmt.Errorf("a frame with opcode %x from the server", op)
		}
	}
	n := copy(p, c.payload)
	c.payload = c.payload[n:]
	return n, nil
}

func (c *WebSocket) sendWhole(op byte, payload []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.Send(true, op, payload)
}

// Write sends p as one frame.
func (c *WebSocket) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for rest := p; len(rest) > 0; {
		if c.missing == 0 { // between PDUs, or before the length of one
			n := min(4-len(c.head), len(rest))
			c.head = append(c.head, rest[:n]...)
			if rest = rest[n:]; len(c.head) == 4 {
				c.missing = max(int(binary.BigEndian.Uint32(c.head)), pdu.HeaderLen) - 4
			}
			continue
		}
		n := min(c.missing, len(rest))
		rest = rest[n:]
		if c.missing -= n; c.missing == 0 {
			c.head = c.head[:0]
		}
	}
	op := byte(OpBinary)
	if c.open {
		op = OpContinuation
	}
	c.open = len(c.head) > 0
	if err := c.Send(!c.open, op, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close says goodbye and closes.
func (c *WebSocket) Close() error {
	_ = c.Conn.SetWriteDeadline(time.Now().Add(time.Second)) // a server that takes nothing
	_ = c.sendWhole(OpClose, []byte{3, 232})
	return c.Conn.Close()
}
