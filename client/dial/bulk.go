package dial

import (
	"context"
	"fmt"
	"time"

	"github.com/quic-go/quic-go"

	"teamtalk/protocol"
	"teamtalk/protocol/pdu"
)

// Bulker is a Conn beside which files may travel, each on a stream of its own, so that none holds up what is said on the Conn [TT-FILE-12].
type Bulker interface {
	// OpenBulk opens a stream for one file; it waits for nothing. The error is that the server allows no more of them, or that the Conn has ended.
	OpenBulk(ctx context.Context) (Bulk, error)
}

// Bulk carries the PDUs of one file. It ends with its Conn, and when the ctx of OpenBulk does. Each method is for one goroutine at a time.
type Bulk interface {
	// Read waits for the next PDU, for at most 30 s.
	Read() (pdu.PDU, error)
	// Write sends a frame; the server has to take it in time.
	Write(frame []byte) error
	// Close gives the stream up, with a code that says why; 0: all was said, and what was written still arrives.
	Close(code protocol.Code)
}

// bulkSilence is how long a server may keep a stream waiting.
const bulkSilence = 30 * time.Second

var _ Bulker = (*quicConn)(nil)

// OpenBulk opens a stream of the connection. The server sees it with the first bytes on it.
func (c *quicConn) OpenBulk(ctx context.Context) (Bulk, error) {
	str, err := c.pipe.conn.OpenStream()
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	b := &bulk{str: str, reader: pdu.NewReader(str)}
	b.release = context.AfterFunc(ctx, func() { b.reset(protocol.CodeUnspecified) })
	return b, nil
}

// bulk is a stream beside a session.
type bulk struct {
	str     *quic.Stream
	reader  *pdu.Reader
	release func() bool // of ctx
}

func (b *bulk) Read() (pdu.PDU, error) {
	if err := b.str.SetReadDeadline(time.Now().Add(bulkSilence)); err != nil {
		return pdu.PDU{}, err
	}
	return b.reader.Read(pdu.MaxLen)
}

func (b *bulk) Write(frame []byte) error {
	if err := b.str.SetWriteDeadline(time.Now().Add(timeFor(len(frame)))); err != nil {
		return err
	}
	_, err := b.str.Write(frame)
	return err
}

func (b *bulk) Close(code protocol.Code) {
	b.release()
	if code != protocol.CodeUnspecified || b.str.Close() != nil {
		b.reset(code)
		return
	}
	b.str.CancelRead(quic.StreamErrorCode(code)) // behind the end there is nothing
}

func (b *bulk) reset(code protocol.Code) {
	b.str.CancelWrite(quic.StreamErrorCode(code))
	b.str.CancelRead(quic.StreamErrorCode(code))
}
