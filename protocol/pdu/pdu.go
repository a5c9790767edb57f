// Package pdu frames the messages of the native protocol: reading and writing
// whole PDUs, and the table of commands. The rules are in docs/PROTOCOL.md,
// sections Framing and Commands.
//
// A PDU on the wire, all integers big-endian [TT-FRAME-1]:
//
//	 0  uint32  length of the whole PDU, header included
//	 4  uint16  version    sent as 1, ignored on receipt
//	 6  uint16  flag       sent as 0, ignored on receipt
//	 8  uint16  service    high byte of the command, ignored on receipt
//	10  uint16  command
//	12  uint16  sequence   an answer repeats the request's, a push has 0
//	14  uint16  reserved   sent as 0, ignored on receipt
//	16  ...     protobuf (proto2) message
package pdu

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"google.golang.org/protobuf/proto"
)

const (
	// HeaderLen is the size of a header in bytes.
	HeaderLen = 16
	// MaxLen bounds a whole PDU in bytes, both ways [TT-FRAME-3].
	MaxLen = 4 << 20
	// MaxLenBeforeLogin bounds a PDU of a client that has not logged in [TT-FRAME-3].
	MaxLenBeforeLogin = 8 << 10

	version = 1
)

// Errors that end a connection [TT-FRAME-3]; compare with errors.Is.
var (
	// ErrLength is a length shorter than the header.
	ErrLength = errors.New("pdu: length shorter than the header")
	// ErrTooLarge is a length above the limit.
	ErrTooLarge = errors.New("pdu: too large")
)

// Header is what precedes the body. Length counts the whole PDU in bytes.
type Header struct {
	Length   uint32
	Version  uint16
	Flag     uint16
	Service  uint16
	Command  Command
	Seq      uint16
	Reserved uint16
}

// PDU is one frame. The body belongs to whoever got the PDU.
type PDU struct {
	Header Header
	Body   []byte
}

// ParseHeader reads the header at the start of b: io.ErrUnexpectedEOF if b is shorter than one, ErrLength if the
// length in it is.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderLen {
		return Header{}, io.ErrUnexpectedEOF
	}
	h := Header{
		Length:   binary.BigEndian.Uint32(b),
		Version:  binary.BigEndian.Uint16(b[4:]),
		Flag:     binary.BigEndian.Uint16(b[6:]),
		Service:  binary.BigEndian.Uint16(b[8:]),
		Command:  Command(binary.BigEndian.Uint16(b[10:])),
		Seq:      binary.BigEndian.Uint16(b[12:]),
		Reserved: binary.BigEndian.Uint16(b[14:]),
	}
	if h.Length < HeaderLen {
		return h, ErrLength
	}
	return h, nil
}

// Append adds a PDU of this server to dst: version 1, flag and reserved 0, the service of the command [TT-FRAME-1].
// A nil m is an empty body. It fails, leaving dst as it was, when a required field is not set [TT-FRAME-7] or the PDU
// would be larger than MaxLen.
func Append(dst []byte, cmd Command, seq uint16, m proto.Message) ([]byte, error) {
	start := len(dst)
	b := dst
	if cap(dst)-start < HeaderLen {
		b = slices.Grow(dst, HeaderLen+size(m)) // one allocation, for those who start with none
	}
	b = appendHeader(b, Header{Length: HeaderLen, Version: version, Service: cmd.Service(), Command: cmd, Seq: seq})
	if m == nil {
		return b, nil
	}
	b, err := proto.MarshalOptions{}.MarshalAppend(b, m)
	if err != nil {
		return dst, fmt.Errorf("pdu: %v: %w", cmd, err)
	}
	n := len(b) - start
	if n > MaxLen {
		return dst, fmt.Errorf("%w: %v of %d bytes", ErrTooLarge, cmd, n)
	}
	binary.BigEndian.PutUint32(b[start:], uint32(n))
	return b, nil
}

func size(m proto.Message) int {
	if m == nil {
		return 0
	}
	return proto.Size(m)
}

// AppendRaw adds a PDU with this header, except for the length, which becomes that of body.
func AppendRaw(dst []byte, h Header, body []byte) []byte {
	h.Length = uint32(HeaderLen + len(body))
	return append(appendHeader(dst, h), body...)
}

func appendHeader(dst []byte, h Header) []byte {
	dst = binary.BigEndian.AppendUint32(dst, h.Length)
	dst = binary.BigEndian.AppendUint16(dst, h.Version)
	dst = binary.BigEndian.AppendUint16(dst, h.Flag)
	dst = binary.BigEndian.AppendUint16(dst, h.Service)
	dst = binary.BigEndian.AppendUint16(dst, uint16(h.Command))
	dst = binary.BigEndian.AppendUint16(dst, h.Seq)
	return binary.BigEndian.AppendUint16(dst, h.Reserved)
}
