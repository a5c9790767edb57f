package load

import (
	"errors"
	"io"
	"net"
	"time"

	"teamtalk/protocol/pdu"
)

const readBuffer = 4 << 10

// stream is a wire of plain bytes, as cheap as can be: no goroutine, no allocation, one read for all that has come.
type stream struct {
	nc       net.Conn
	buf      []byte
	from, to int // what of buf has not been taken
}

func newStream(nc net.Conn) *stream { return &stream{nc: nc, buf: make([]byte, readBuffer)} }

func (s *stream) write(frames []byte) error {
	_, err := s.nc.Write(frames)
	return err
}

func (s *stream) setDeadline(t time.Time) { _ = s.nc.SetDeadline(t) } // fails only when closed; then reading fails too

func (s *stream) close() error { return s.nc.Close() }

func (s *stream) next() (pdu.Header, []byte, error) {
	for {
		h, whole, err := s.peek()
		if err != nil {
			return h, nil, err
		}
		if whole {
			body := s.buf[s.from+pdu.HeaderLen : s.from+int(h.Length)]
			s.from += int(h.Length)
			return h, body, nil
		}
		if err := s.read(int(h.Length)); err != nil {
			return h, nil, err
		}
	}
}

func (s *stream) pending() bool {
	_, whole, err := s.peek()
	return whole || err != nil
}

func (s *stream) peek() (h pdu.Header, whole bool, err error) {
	h, err = pdu.ParseHeader(s.buf[s.from:s.to])
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return pdu.Header{Length: pdu.HeaderLen}, false, nil
	case err != nil:
		return h, false, err
	case h.Length > pdu.MaxLen:
		return h, false, pdu.ErrTooLarge
	}
	return h, s.to-s.from >= int(h.Length), nil
}

// read takes in more bytes; there has to be room for a PDU of size bytes.
func (s *stream) read(size int) error {
	if s.from > 0 {
		s.to = copy(s.buf, s.buf[s.from:s.to])
		s.from = 0
	}
	if size > len(s.buf) {
		grown := make([]byte, size)
		copy(grown, s.buf[:s.to])
		s.buf = grown
	}
	n, err := s.nc.Read(s.buf[s.to:])
	s.to += n
	if n > 0 {
		return nil
	}
	return err
}
