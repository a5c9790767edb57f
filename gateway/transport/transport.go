// Package transport turns what clients connect by into message-shaped connections: whole PDUs, in order, both ways. A transport
// hands each one over through a callback and knows nothing about who serves it.
package transport

import (
	"net/netip"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/pdu"
)

// Kind names a transport, as in logs and metrics.
type Kind string

// Kinds of transport.
const (
	KindTCP          Kind = "tcp"
	KindTLS          Kind = "tls"
	KindWebSocket    Kind = "websocket"
	KindLongPoll     Kind = "longpoll"
	KindQUIC         Kind = "quic"
	KindWebTransport Kind = "webtransport"
)

// Conn is one client's connection. One goroutine reads and one writes; the other methods may be called from any.
type Conn interface {
	// Read returns the next PDU of at most limit bytes, header included. The errors are those of pdu.Reader: a PDU that was too large can be read again.
	Read(limit int) (pdu.PDU, error)
	// Write sends frames of whole PDUs in as few system calls as it can, and fails when the client does not take them in time.
	// It keeps the slice of frames only while it runs and may change it, but never the bytes.
	Write(frames [][]byte) error
	// Discard throws away what still comes until the client closes or the time has come; only Close may follow. It serves to let the
	// client read what was written last, which closing with unread input would destroy.
	Discard(until time.Time)
	// CloseWrite says that nothing more will be written, and leaves reading alone where the transport can. An error means that only Close can say so.
	CloseWrite() error
	// Close ends the connection; the code tells a transport that can say so why. Blocked calls return.
	Close(code protocol.Code) error
	// SetReadDeadline ends pending and later Reads at t; the zero time means never. A Read that ended so was the last one.
	SetReadDeadline(t time.Time) error
	// RemoteAddr is the client's address; invalid if the transport knows none.
	RemoteAddr() netip.AddrPort
	// Kind is the transport's name.
	Kind() Kind
}

// Carrier is a Conn beside which its client may open streams that carry files, once it has logged in [TT-FILE-12].
type Carrier interface {
	// LoggedIn says whose session it is, before its client is told.
	LoggedIn(u protocol.UserID)
}
