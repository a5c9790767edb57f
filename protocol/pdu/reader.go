package pdu

import (
	"errors"
	"fmt"
	"io"
)

const (
	// bufferLen lets a small PDU, or several, cost one read, while an idle connection holds little.
	bufferLen = 512
	// firstBody is what a body gets before its bytes arrive; beyond it memory follows the bytes [TT-FRAME-4].
	firstBody = 4 << 10
	// maxEmptyReads ends a source that returns neither bytes nor an error.
	maxEmptyReads = 100
)

// Reader reads PDUs from a stream. It is for one goroutine; after an error other than ErrTooLarge it must not be used again.
type Reader struct {
	src      io.Reader
	from, to int // what buf holds
	buf      [bufferLen]byte
}

// NewReader reads from r.
func NewReader(r io.Reader) *Reader { return &Reader{src: r} }

// Read returns the next PDU of at most limit bytes, header included; the limit may change between reads. The error is
// io.EOF at the end between two PDUs, io.ErrUnexpectedEOF inside one, ErrLength or ErrTooLarge for its length, or
// what the source returned. With ErrLength and ErrTooLarge the PDU carries the header. A PDU that was too large is still to
// be read, with a larger limit.
func (r *Reader) Read(limit int) (PDU, error) {
	if err := r.fill(HeaderLen); err != nil {
		return PDU{}, err
	}
	h, err := ParseHeader(r.buf[r.from:r.to])
	if err != nil {
		return PDU{Header: h}, fmt.Errorf("%w: %d", err, h.Length)
	}
	if uint64(h.Length) > uint64(limit) {
		return PDU{Header: h}, fmt.Errorf("%w: %d bytes of %d allowed", ErrTooLarge, h.Length, limit)
	}
	r.from += HeaderLen
	body, err := r.body(int(h.Length) - HeaderLen)
	if err != nil {
		return PDU{}, err
	}
	return PDU{Header: h, Body: body}, nil
}

// fill makes sure that buf holds n bytes.
func (r *Reader) fill(n int) error {
	if r.to-r.from >= n {
		return nil
	}
	r.to = copy(r.buf[:], r.buf[r.from:r.to])
	r.from = 0
	for r.to < n {
		got, err := readSome(r.src, r.buf[r.to:])
		r.to += got
		if r.to >= n {
			return nil
		}
		if errors.Is(err, io.EOF) && r.to > 0 {
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// body reads n bytes. Small bodies are allocated once; large ones double as they arrive.
func (r *Reader) body(n int) ([]byte, error) {
	if n == 0 {
		return nil, nil
	}
	body := make([]byte, min(n, firstBody))
	for have := 0; ; {
		if err := r.readFull(body[have:]); err != nil {
			return nil, err
		}
		have = len(body)
		if have == n {
			return body, nil
		}
		grown := make([]byte, min(n, 2*have))
		copy(grown, body)
		body = grown
	}
}

// readFull fills dst: from buf, then what is large straight from the source and what is small through buf, so that the PDUs behind it come along.
func (r *Reader) readFull(dst []byte) error {
	n := copy(dst, r.buf[r.from:r.to])
	r.from += n
	for dst = dst[n:]; len(dst) >= bufferLen; dst = dst[n:] {
		var err error
		n, err = readSome(r.src, dst)
		if n < len(dst) && err != nil {
			return inside(err)
		}
	}
	if len(dst) == 0 {
		return nil
	}
	if err := r.fill(len(dst)); err != nil {
		return inside(err)
	}
	r.from += copy(dst, r.buf[r.from:r.to])
	return nil
}

// readSome reads until there are bytes or an error.
func readSome(src io.Reader, dst []byte) (int, error) {
	for range maxEmptyReads {
		n, err := src.Read(dst)
		if n > 0 || err != nil {
			return n, err
		}
	}
	return 0, io.ErrNoProgress
}

func inside(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
