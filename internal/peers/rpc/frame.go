package rpc

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"teamtalk/protocol"
)

type frameKind uint8

const (
	frameCall   frameKind = 1
	frameSend   frameKind = 2
	frameReply  frameKind = 3
	frameFailed frameKind = 4
	framePing   frameKind = 5
	framePong   frameKind = 6
	frameCancel frameKind = 7
)

// cancels is the node protocol from which on a caller may say that it does not wait any more.
const cancels = 2

const (
	headSize = 9 // kind and id
	// wide is how much of a frame is believed before it is there.
	wide = 1 << 20
	// maxMessage bounds the text of an error.
	maxMessage = 4096

	flagUnknown = 0x01 // the call may have been carried out
)

// frame is one frame as it was read. Which fields have a meaning depends on kind.
type frame struct {
	kind    frameKind
	id      uint64
	method  uint8
	waits   uint32    // milliseconds
	due     time.Time // the same, as the side that is called reckons it
	payload []byte
	failure *protocol.Error
}

// appendFrame appends a frame of the given kind; fixed is what stands before the payload.
func appendFrame(dst []byte, kind frameKind, id uint64, fixed, payload []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(headSize+len(fixed)+len(payload)))
	dst = append(dst, byte(kind))
	dst = binary.BigEndian.AppendUint64(dst, id)
	dst = append(dst, fixed...)
	return append(dst, payload...)
}

func failedFrame(id uint64, e *protocol.Error) []byte {
	var flags byte
	if e.OutcomeUnknown {
		flags |= flagUnknown
	}
	message := e.Message
	if len(message) > maxMessage {
		message = message[:maxMessage]
	}
	return appendFrame(nil, frameFailed, id, []byte{byte(e.Code), flags}, []byte(message))
}

// readFrame reads a frame whose payload has at most the given number of bytes. The payload is the caller's.
func readFrame(r *bufio.Reader, largest uint32) (frame, error) {
	var head [4 + headSize]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return frame{}, err
	}
	n := int64(binary.BigEndian.Uint32(head[:])) - headSize
	f := frame{kind: frameKind(head[4]), id: binary.BigEndian.Uint64(head[5:])}
	var fixed [5]byte
	size, ok := fixedSize(f.kind)
	if !ok || n < size || n-size > int64(max(largest, maxMessage)) || n > size && (f.kind == framePing || f.kind == framePong || f.kind == frameCancel) {
		return frame{}, fmt.Errorf("frame of kind %d with %d bytes: not of this protocol", f.kind, n)
	}
	if _, err := io.ReadFull(r, fixed[:size]); err != nil {
		return frame{}, unexpected(err)
	}
	payload, err := readPayload(r, n-size)
	if err != nil {
		return frame{}, err
	}
	switch f.kind {
	case frameCall:
		f.method, f.waits, f.payload = fixed[0], binary.BigEndian.Uint32(fixed[1:]), payload
	case frameSend:
		f.method, f.payload = fixed[0], payload
	case frameReply:
		f.payload = payload
	case frameFailed:
		f.failure = &protocol.Error{Code: protocol.Code(fixed[0]), Message: string(payload), OutcomeUnknown: fixed[1]&flagUnknown != 0}
	case framePing, framePong, frameCancel:
	}
	return f, nil
}

// fixedSize is how much stands before the payload.
func fixedSize(k frameKind) (int64, bool) {
	switch k {
	case frameCall:
		return 5, true
	case frameSend:
		return 1, true
	case frameFailed:
		return 2, true
	case frameReply, framePing, framePong, frameCancel:
		return 0, true
	}
	return 0, false
}

func readPayload(r io.Reader, n int64) ([]byte, error) {
	if n <= wide {
		b := make([]byte, n)
		_, err := io.ReadFull(r, b)
		return b, unexpected(err)
	}
	// Memory follows what has really come, not what was announced.
	var b bytes.Buffer
	b.Grow(wide)
	if _, err := io.CopyN(&b, r, n); err != nil {
		return nil, unexpected(err)
	}
	return b.Bytes(), nil
}

// unexpected turns an end of the stream inside a frame into an error that says so.
func unexpected(err error) error {
	if err == io.EOF { //nolint:errorlint // readers return it as it is
		return io.ErrUnexpectedEOF
	}
	return err
}
