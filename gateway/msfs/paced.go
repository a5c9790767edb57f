package msfs

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

// What has to get through in Tuning.Stall [TT-MSFS-9].
const (
	readPart  = 16 << 10 // bytes
	writePart = 32 << 10 // bytes
)

// pacedReader reads a request's body for as long as enough of it arrives: each part has a time of its own, however large the whole is.
type pacedReader struct {
	body    io.Reader
	control *http.ResponseController
	stall   time.Duration
	left    int // bytes until the time begins anew

	mu   sync.Mutex // guards what follows
	over bool       // no time is left
}

func newPacedReader(w http.ResponseWriter, body io.Reader, stall time.Duration) *pacedReader {
	return &pacedReader{body: body, control: http.NewResponseController(w), stall: stall}
}

// Read is errLate when too little came.
func (p *pacedReader) Read(b []byte) (int, error) {
	if p.left <= 0 && !p.renew() {
		return 0, errLate
	}
	n, err := p.body.Read(b)
	p.left -= n
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = errLate
	}
	return n, err
}

// renew gives the next part its time. The answer has some after that. Transports without deadlines bound requests by themselves.
func (p *pacedReader) renew() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return false
	}
	p.left = readPart
	now := time.Now()
	_ = p.control.SetReadDeadline(now.Add(p.stall))
	_ = p.control.SetWriteDeadline(now.Add(2 * p.stall))
	return true
}

// answerIn makes time for an answer that takes its own.
func (p *pacedReader) answerIn(d time.Duration) {
	_ = p.control.SetWriteDeadline(time.Now().Add(d + p.stall))
}

// interrupt ends a Read that waits, and all further ones.
func (p *pacedReader) interrupt() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	_ = p.control.SetReadDeadline(time.Now())
}

// pacedWriter writes an answer for as long as the client takes enough of it.
type pacedWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	stall   time.Duration
}

func newPacedWriter(w http.ResponseWriter, stall time.Duration) *pacedWriter {
	return &pacedWriter{ResponseWriter: w, control: http.NewResponseController(w), stall: stall}
}

// Write takes as long as each part may.
func (p *pacedWriter) Write(b []byte) (int, error) {
	written := 0
	for len(b) > 0 {
		part := b[:min(len(b), writePart)]
		_ = p.control.SetWriteDeadline(time.Now().Add(p.stall))
		n, err := p.ResponseWriter.Write(part)
		written += n
		if err != nil {
			return written, err
		}
		b = b[n:]
	}
	return written, nil
}

// Unwrap is for http.ResponseController.
func (p *pacedWriter) Unwrap() http.ResponseWriter { return p.ResponseWriter }
