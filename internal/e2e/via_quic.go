package e2e

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
)

// leaveTime is how long a client waits for the server to have read its last bytes.
const leaveTime = 2 * time.Second

// quicWire is the session stream of a QUIC connection.
type quicWire struct {
	*quic.Stream
	conn *quic.Conn
	once sync.Once
	read chan struct{} // closed when there is nothing more to read
}

func dialQUIC(ctx context.Context, address string, conf *tls.Config) (wire, error) {
	conn, err := quic.DialAddr(ctx, address, conf, &quic.Config{MaxIdleTimeout: 10 * time.Minute})
	if err != nil {
		return nil, err
	}
	stream, err := conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, errors.Join(err, conn.CloseWithError(0, ""))
	}
	return &quicWire{Stream: stream, conn: conn, read: make(chan struct{})}, nil
}

// Read returns io.EOF when the server closed the stream or the connection on purpose.
func (w *quicWire) Read(b []byte) (int, error) {
	n, err := w.Stream.Read(b)
	if err != nil {
		w.once.Do(func() { close(w.read) })
	}
	if closed := (*quic.ApplicationError)(nil); errors.As(err, &closed) && closed.Remote {
		return n, io.EOF
	}
	return n, err
}

// Close ends the stream, waits until the server has ended its side, which it does when it has read all, and closes the connection.
func (w *quicWire) Close() error {
	err := w.Stream.Close()
	given := time.NewTimer(leaveTime)
	defer given.Stop()
	select {
	case <-w.read:
	case <-given.C:
	}
	return errors.Join(err, w.conn.CloseWithError(0, ""))
}
