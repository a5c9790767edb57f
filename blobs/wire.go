package blobs

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"teamtalk/protocol"
)

// Between nodes a stream carries one blob: the one who opened it asks
//
//	version 1 · id, 32 bytes · offset, 8 bytes
//
// and is answered by a byte, and if that is answerHere by the size of the whole blob in 8 bytes, and its content from the offset on.
const (
	wireVersion  = 1
	requestSize  = 1 + 32 + 8
	answerHere   = 0
	answerNot    = 1 // it is not here
	answerFailed = 2 // it can't be read
	// pieceSize is how much is read and written at once.
	pieceSize = 128 << 10
)

func encodeRequest(id protocol.BlobID, offset uint64) []byte {
	b := append(make([]byte, 0, requestSize), wireVersion)
	return binary.BigEndian.AppendUint64(append(b, id[:]...), offset)
}

func readRequest(r io.Reader) (id protocol.BlobID, offset uint64, err error) {
	var b [requestSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return id, 0, err
	}
	if b[0] != wireVersion {
		return id, 0, fmt.Errorf("version %d of blob streams is not spoken here", b[0])
	}
	return protocol.BlobID(b[1:33]), binary.BigEndian.Uint64(b[33:]), nil
}

// readAnswer returns the size of the whole blob.
func readAnswer(r io.Reader) (size uint64, err error) {
	var b [8]byte
	if _, err := io.ReadFull(r, b[:1]); err != nil {
		return 0, err
	}
	switch b[0] {
	case answerHere:
	case answerNot:
		return 0, ErrMissing
	default:
		return 0, fmt.Errorf("the other node can't read it (%d)", b[0])
	}
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(b[:]), nil
}

// Serve answers other nodes until ctx ends or the listener is closed, and returns nil then; it closes the listener.
func (k *Keeper) Serve(ctx context.Context, l net.Listener) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	turns := make(chan struct{}, k.cfg.Tuning.Streams)
	for {
		select { // no more are accepted than are served
		case turns <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		c, err := l.Accept()
		if err != nil {
			l.Close()
			if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
				return nil
			}
			return err
		}
		// Ends with the stream, which ctx ends, or by its time limits.
		wg.Go(func() {
			defer func() { <-turns }()
			defer c.Close()
			stop := context.AfterFunc(ctx, func() { c.Close() })
			defer stop()
			if err := k.answer(ctx, &patient{Conn: c, stall: k.cfg.Tuning.Stall}); err != nil && ctx.Err() == nil {
				k.log.Debug("a stream of another node broke", "from", c.RemoteAddr().String(), "error", err)
			}
		})
	}
}

// answer sends a blob.
func (k *Keeper) answer(ctx context.Context, c io.ReadWriter) error {
	id, offset, err := readRequest(c)
	if err != nil {
		return err
	}
	at, err := k.cfg.Backend.Stat(ctx, id)
	var content io.ReadSeekCloser
	if err == nil {
		content, err = k.cfg.Backend.Open(ctx, id)
	}
	if err != nil {
		status := byte(answerFailed)
		if errors.Is(err, ErrMissing) {
			status = answerNot
			err = nil
		}
		_, e := c.Write([]byte{status})
		return errors.Join(err, e)
	}
	defer content.Close()
	if _, err := c.Write(binary.BigEndian.AppendUint64([]byte{answerHere}, at.Size)); err != nil {
		return err
	}
	if offset >= at.Size {
		return nil
	}
	if _, err := content.Seek(int64(offset), io.SeekStart); err != nil {
		return err
	}
	out := &counter{c, k.metrics.bytes.WithLabelValues("node", "out").Add}
	_, err = io.CopyBuffer(struct{ io.Writer }{out}, io.LimitReader(content, int64(at.Size-offset)), make([]byte, pieceSize))
	return err
}

// patient is a connection whose other side may take its time, but not for ever.
type patient struct {
	net.Conn
	stall time.Duration
}

// Read waits for a limited time.
func (p *patient) Read(b []byte) (int, error) {
	if err := p.SetReadDeadline(time.Now().Add(p.stall)); err != nil {
		return 0, err
	}
	return p.Conn.Read(b)
}

// Write waits for a limited time.
func (p *patient) Write(b []byte) (int, error) {
	if err := p.SetWriteDeadline(time.Now().Add(p.stall)); err != nil {
		return 0, err
	}
	return p.Conn.Write(b)
}

// rank orders nodes differently for each blob, so that copies spread evenly.
func rank(id protocol.BlobID, node protocol.NodeID) uint64 {
	sum := sha256.Sum256(append(id[:], node...))
	return binary.BigEndian.Uint64(sum[:])
}
