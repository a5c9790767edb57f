package transport

import (
	"net"
	"net/netip"
	"syscall"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/pdu"
)

// stream carries PDUs back to back over a byte stream.
type stream struct {
	nc     net.Conn
	kind   Kind
	reader *pdu.Reader
	bufs   net.Buffers // of the Write under way; here so that it costs no allocation

	writeBy  time.Time // the write deadline set last
	vectored bool      // net.Buffers becomes one system call
}

const (
	// writeTimeout is what a client has to take anything, and writePace what it has to take a second for the rest.
	writeTimeout = 30 * time.Second
	writePace    = 16 << 10
	discardPiece = 4 << 10
	joinPiece    = 16 << 10 // what a TLS record holds
)

// NewStream is a Conn over a byte stream such as a TCP connection.
func NewStream(nc net.Conn, kind Kind) Conn {
	_, vectored := nc.(syscall.Conn) // a socket itself, not something that wraps one
	return &stream{nc: nc, kind: kind, reader: pdu.NewReader(nc), vectored: vectored}
}

func (s *stream) Read(limit int) (pdu.PDU, error) { return s.reader.Read(limit) }

// Write uses one writev for many frames where the connection has it, else as few writes as keep the copies small.
func (s *stream) Write(frames [][]byte) error {
	size := 0
	for _, f := range frames {
		size += len(f)
	}
	if err := s.extend(size); err != nil {
		return err
	}
	if len(frames) == 1 {
		_, err := s.nc.Write(frames[0])
		return err
	}
	if !s.vectored {
		return s.writeJoined(frames, size)
	}
	s.bufs = frames
	_, err := s.bufs.WriteTo(s.nc)
	s.bufs = nil
	return err
}

// writeJoined joins small frames into pieces of a TLS record, each of which costs a system call and an encryption.
func (s *stream) writeJoined(frames [][]byte, size int) error {
	piece := make([]byte, 0, min(size, joinPiece))
	for _, f := range frames {
		if len(piece) > 0 && len(piece)+len(f) > joinPiece {
			if _, err := s.nc.Write(piece); err != nil {
				return err
			}
			piece = piece[:0]
		}
		if len(f) < joinPiece {
			piece = append(piece, f...)
			continue
		}
		if _, err := s.nc.Write(f); err != nil {
			return err
		}
	}
	if len(piece) == 0 {
		return nil
	}
	_, err := s.nc.Write(piece)
	return err
}

// extend moves the write deadline, but only when it moves by more than a second: setting it costs as much as a small write.
func (s *stream) extend(size int) error {
	by := time.Now().Add(writeTimeout + time.Duration(size/writePace)*time.Second)
	if d := by.Sub(s.writeBy); -time.Second < d && d < time.Second {
		return nil
	}
	s.writeBy = by
	return s.nc.SetWriteDeadline(by)
}

// Discard reads past the PDU reader: a Read that was cut short has lost the step.
func (s *stream) Discard(until time.Time) {
	if s.nc.SetReadDeadline(until) != nil {
		return
	}
	buf := make([]byte, discardPiece)
	for {
		if _, err := s.nc.Read(buf); err != nil {
			return
		}
	}
}

// CloseWrite sends the end of the stream. What cannot be closed by halves is closed.
func (s *stream) CloseWrite() error {
	if c, ok := s.nc.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return s.nc.Close()
}

// Close closes the connection; a byte stream has no room for the code.
func (s *stream) Close(protocol.Code) error { return s.nc.Close() }

func (s *stream) SetReadDeadline(t time.Time) error { return s.nc.SetReadDeadline(t) }

func (s *stream) RemoteAddr() netip.AddrPort {
	a, ok := s.nc.RemoteAddr().(interface{ AddrPort() netip.AddrPort }) // of TCP and UDP
	if !ok {
		return netip.AddrPort{}
	}
	p := a.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

func (s *stream) Kind() Kind { return s.kind }
