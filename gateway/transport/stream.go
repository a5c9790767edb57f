package transport

import (
	"net"
	"net/netip"
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

	writeBy time.Time // the write deadline set last
}

const (
	// writeTimeout is what a client has to take anything, and writePace what it has to take a second for the rest.
	writeTimeout = 30 * time.Second
	writePace    = 16 << 10
	discardPiece = 4 << 10
)

// NewStream is a Conn over a byte stream such as a TCP connection.
func NewStream(nc net.Conn, kind Kind) Conn {
	return &stream{nc: nc, kind: kind, reader: pdu.NewReader(nc)}
}

func (s *stream) Read(limit int) (pdu.PDU, error) { return s.reader.Read(limit) }

// Write uses one writev for many frames.
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
	s.bufs = frames
	_, err := s.bufs.WriteTo(s.nc)
	s.bufs = nil
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
	a, ok := s.nc.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	p := a.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

func (s *stream) Kind() Kind { return s.kind }
