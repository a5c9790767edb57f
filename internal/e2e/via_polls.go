package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/quic-go/quic-go/http3"
)

// polls is a long-poll session over HTTP/3 as a byte stream: a goroutine polls, each Write is a POST.
type polls struct {
	deadline
	http  *http.Client
	tidy  func()
	url   string // of the session
	token string
	life  context.Context
	end   context.CancelFunc
	whole wholePDUs

	arrived *io.PipeReader
	polled  chan struct{} // closed when the polling goroutine has ended

	posting sync.Mutex // one POST in flight; guards seq
	seq     int
}

const (
	seqHeader = "Teamtalk-Seq"
	largePoll = 64 << 20
	// leaveTime is how long the goodbye may take.
	leaveTime = 2 * time.Second
)

func dialPolls(ctx context.Context, hostport string, conf *tls.Config) (wire, error) {
	t := &http3.Transport{TLSClientConfig: conf}
	p := &polls{http: &http.Client{Transport: t}, tidy: func() { _ = t.Close() }, polled: make(chan struct{})}
	base := "https://" + hostport
	p.life, p.end = context.WithCancel(context.Background())
	status, _, body, err := p.ask(ctx, http.MethodPost, base+"/lp", nil, 0)
	var opened struct{ ID, Token string }
	switch {
	case err != nil:
	case status != http.StatusOK:
		err = fmt.Errorf("POST /lp: %d %s", status, body)
	default:
		err = json.Unmarshal(body, &opened)
	}
	if err != nil {
		p.end()
		p.tidy()
		return nil, err
	}
	p.url, p.token = base+"/lp/"+opened.ID, opened.Token
	reader, writer := io.Pipe()
	p.arrived = reader
	go p.poll(writer) // ends when the session does; joined by Close
	return p, nil
}

// ask makes one request; seq is sent if it is not 0.
func (p *polls) ask(ctx context.Context, method, url string, body []byte, seq int) (status, answered int, answer []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return 0, 0, nil, err
	}
	if p.token != "" {
		req.Header.Set("Authorization", "Bearer "+p.token)
	}
	if seq != 0 {
		req.Header.Set(seqHeader, strconv.Itoa(seq))
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return 0, 0, nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, largePoll))
	if text := resp.Header.Get(seqHeader); err == nil && text != "" {
		answered, err = strconv.Atoi(text)
	}
	return resp.StatusCode, answered, answer, err
}

// poll fetches batches, acknowledging each with the next request, until the session has ended.
func (p *polls) poll(to *io.PipeWriter) {
	defer close(p.polled)
	after := 0
	for {
		status, batch, body, err := p.ask(p.life, http.MethodGet, p.url+"?after="+strconv.Itoa(after), nil, 0)
		switch {
		case err != nil:
			_ = to.CloseWithError(err) // never fails
			return
		case status == http.StatusNoContent:
			continue
		case status == http.StatusGone, status == http.StatusNotFound:
			_ = to.Close() // never fails
			return
		case status != http.StatusOK || batch != after+1:
			_ = to.CloseWithError(fmt.Errorf("poll after %d: %d, batch %d, %s", after, status, batch, body)) // never fails
			return
		}
		after = batch
		if _, err := to.Write(body); err != nil {
			return // the reader has closed
		}
	}
}

// Read takes what polls have brought.
func (p *polls) Read(b []byte) (int, error) { return p.arrived.Read(b) }

// Write posts the PDUs that are whole. That they were refused is seen by Read, as on a connection.
func (p *polls) Write(b []byte) (int, error) {
	ready := p.whole.add(b)
	if len(ready) == 0 {
		return len(b), nil
	}
	p.posting.Lock()
	defer p.posting.Unlock()
	p.seq++
	ctx, cancel := p.context(p.life)
	defer cancel()
	status, _, body, err := p.ask(ctx, http.MethodPost, p.url, ready, p.seq)
	switch {
	case err != nil:
		return 0, err
	case status == http.StatusNoContent, status == http.StatusBadRequest, status == http.StatusRequestEntityTooLarge:
		return len(b), nil
	case status == http.StatusGone, status == http.StatusNotFound:
		return 0, fmt.Errorf("session ended: %w", syscall.EPIPE)
	}
	return 0, fmt.Errorf("POST %d: %d %s", p.seq, status, body)
}

// Close ends the session.
func (p *polls) Close() error {
	ctx, cancel := context.WithTimeout(p.life, leaveTime)
	defer cancel()
	p.posting.Lock() // after what is on its way
	_, _, _, err := p.ask(ctx, http.MethodPost, p.url+"/close", nil, 0)
	p.posting.Unlock()
	_ = p.arrived.Close() // never fails
	p.end()
	<-p.polled
	p.tidy()
	return err
}

// deadline is a write deadline for what has contexts instead.
type deadline struct {
	mu sync.Mutex // guards at
	at time.Time
}

// SetWriteDeadline bounds the Writes from now on.
func (d *deadline) SetWriteDeadline(t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at = t
	return nil
}

func (d *deadline) context(parent context.Context) (context.Context, context.CancelFunc) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.at.IsZero() {
		return context.WithCancel(parent)
	}
	return context.WithDeadline(parent, d.at)
}
