package ws

import (
	"encoding/binary"
	"io"
	"math"
	"net"
	"syscall"
	"time"

	"teamtalk/protocol/pdu"
)

const (
	// writeTimeout is what a client has to take anything, and writePace what it has to take a second for the rest.
	writeTimeout = 30 * time.Second
	writePace    = 16 << 10

	joinedSize = 16 << 10 // what a TLS record holds
	smallWrite = 2 << 10  // below it copying is cheaper than a vector

	opBinary = 0x2
	opClose  = 0x8
	opPing   = 0x9
	opPong   = 0xa
	final    = 0x80
)

// vector is what a Write needs while it runs.
type vector struct {
	header  [10]byte
	buffers net.Buffers
	array   [][]byte // of buffers
	joined  []byte
}

func (h *Handler) takeVector() *vector {
	if v, ok := h.vectors.Get().(*vector); ok {
		return v
	}
	return &vector{joined: make([]byte, 0, joinedSize)}
}

// Write sends the frames in one message, or in as few as are not larger than a PDU may be [TT-WS-3]. It and what it calls stay flat: the stack of
// whoever writes is part of what an idle connection costs, as it never shrinks from 4 KiB to 2.
func (c *conn) Write(frames [][]byte) error {
	size := 0
	for _, f := range frames {
		size += len(f)
	}
	c.writing.Lock()
	c.talked = true
	err := c.extend(size)
	switch {
	case err != nil || size == 0:
	case c.said || c.torn: // nothing may follow
		err = net.ErrClosed
	case size <= smallWrite:
		err = c.writeSmall(frames, size)
	default:
		err = c.writeLarge(frames)
	}
	c.writing.Unlock()
	c.ponder()
	return err
}

// writeSmall writes one message by copying it.
func (c *conn) writeSmall(frames [][]byte, size int) error {
	v := c.h.takeVector()
	b := appendHeader(v.joined[:0], opBinary, size)
	for _, f := range frames {
		b = append(b, f...)
	}
	n, err := c.sock.Conn.Write(b)
	c.torn = c.torn || err != nil && n > 0
	c.h.vectors.Put(v)
	return err
}

// writeLarge writes as many messages as it takes.
func (c *conn) writeLarge(frames [][]byte) error {
	v := c.h.takeVector()
	defer c.h.vectors.Put(v)
	_, vectored := c.sock.Conn.(syscall.Conn) // a socket itself, not something that wraps one
	for len(frames) > 0 {
		n, size := 1, len(frames[0])
		for ; n < len(frames) && size+len(frames[n]) <= pdu.MaxLen; n++ {
			size += len(frames[n])
		}
		v.array = append(append(v.array[:0], appendHeader(v.header[:0], opBinary, size)), frames[:n]...)
		frames = frames[n:]
		var sent int64
		var err error
		if vectored {
			v.buffers = v.array
			sent, err = v.buffers.WriteTo(c.sock.Conn)
		} else {
			sent, err = v.writeJoined(c.sock.Conn)
		}
		clear(v.array)
		if err != nil {
			c.torn = c.torn || sent > 0
			return err
		}
	}
	return nil
}

// writeJoined writes the array in pieces, each of which costs a system call and an encryption.
func (v *vector) writeJoined(w io.Writer) (sent int64, err error) {
	piece := v.joined[:0]
	for _, f := range v.array {
		for len(f) > 0 {
			if len(piece) == joinedSize {
				n, err := w.Write(piece)
				if sent += int64(n); err != nil {
					return sent, err
				}
				piece = piece[:0]
			}
			n := min(len(f), joinedSize-len(piece))
			piece = append(piece, f[:n]...)
			f = f[n:]
		}
	}
	n, err := w.Write(piece)
	return sent + int64(n), err
}

// written notes when a frame was cut short.
func (c *conn) written(n int, err error) (int, error) {
	if err != nil && n > 0 {
		c.torn = true
	}
	return n, err
}

// writeControl writes a control frame; payload has at most 125 bytes. The caller holds writing.
func (c *conn) writeControl(op byte, payload []byte) error {
	frame := append(appendHeader(make([]byte, 0, 2+len(payload)), op, len(payload)), payload...)
	_, err := c.written(c.sock.Conn.Write(frame))
	return err
}

// appendHeader adds the header of a frame from the server, which is not masked.
func appendHeader(b []byte, op byte, size int) []byte {
	b = append(b, final|op)
	switch {
	case size < 126:
		return append(b, byte(size))
	case size <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, 126), uint16(size))
	}
	return binary.BigEndian.AppendUint64(append(b, 127), uint64(size))
}

// extend moves the write deadline, but only when it moves by more than a second: setting it costs as much as a small write.
func (c *conn) extend(size int) error {
	by := time.Now().Add(writeTimeout + time.Duration(size/writePace)*time.Second)
	c.mu.Lock()
	err := net.ErrClosed
	if !c.ending {
		err = nil
		if d := by.Sub(c.writeBy); d <= -time.Second || d >= time.Second {
			c.writeBy = by
			err = c.sock.Conn.SetWriteDeadline(by)
		}
	}
	c.mu.Unlock()
	return err
}
