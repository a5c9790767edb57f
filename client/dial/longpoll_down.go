package dial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"teamtalk/protocol/pdu"
)

const (
	// shortestHold is what polls are shortened to where something cuts long ones.
	shortestHold = 2 * time.Second
	// signOfLife is how often a reader that takes its time is excused to the server, which ends sessions without a poll.
	signOfLife = 20 * time.Second
	// maxBadBatches is how often a batch may arrive damaged: what a proxy does to it once it will do again.
	maxBadBatches = 3
)

// errNotWhole is a batch that is not whole PDUs.
var errNotWhole = errors.New("a batch that is not whole PDUs")

// verdict is what an answer to a poll means.
type verdict int

const (
	verdictBatch  verdict = iota // the one asked for
	verdictNone                  // nothing in time
	verdictEnd                   // the session is over
	verdictRepeat                // not from the server, or not what it was asked
)

// judge tells what an answer to a poll after a batch means.
func judge(a answer, after uint64) (verdict, error) {
	switch {
	case a.status == http.StatusOK && a.hasSeq && a.seq == after+1:
		return verdictBatch, nil
	case a.status == http.StatusNoContent:
		return verdictNone, nil
	case a.status == http.StatusNotFound, a.status == http.StatusGone, a.status == http.StatusConflict, a.status == http.StatusBadRequest:
		return verdictEnd, gone(a.status)
	case a.status == http.StatusOK:
		return verdictRepeat, errors.New("an answer that is not the batch asked for")
	}
	return verdictRepeat, statusError(a.status, "")
}

// splitBatch cuts a batch into its PDUs, which keep their part of it.
func splitBatch(b []byte) ([]pdu.PDU, error) {
	var out []pdu.PDU
	for len(b) > 0 {
		h, err := pdu.ParseHeader(b)
		switch {
		case errors.Is(err, io.ErrUnexpectedEOF), err == nil && uint64(h.Length) > uint64(len(b)):
			return nil, errNotWhole
		case err != nil:
			return nil, err
		case h.Length > pdu.MaxLen:
			return nil, pdu.ErrTooLarge
		}
		p := pdu.PDU{Header: h}
		if h.Length > pdu.HeaderLen {
			p.Body = b[pdu.HeaderLen:h.Length:h.Length]
		}
		out = append(out, p)
		b = b[h.Length:]
	}
	return out, nil
}

// poller is the state of the polling goroutine.
type poller struct {
	*longPoll
	after uint64        // the last batch had
	hold  time.Duration // how long polls are held
	row   trouble
	bad   int // damaged batches in a row
}

// poll fetches batches, and acknowledges each with the next request, until the session ends.
func (c *longPoll) poll() {
	p := &poller{longPoll: c, hold: c.ticket.hold}
	for c.life.Err() == nil {
		if err := p.once(); err != nil {
			c.fail(err)
		}
	}
	c.inbox.finish(context.Cause(c.life))
}

// once makes a poll and does what its answer says; an error ends the session.
func (p *poller) once() error {
	began := time.Now()
	a, err := p.askFor(p.life, p.hold)
	took := time.Since(began)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			p.web.CloseIdleConnections() // the path may be dead
		}
		p.shorten(took)
		return p.row.again(p.life, err)
	}
	v, err := judge(a, p.after)
	switch v {
	case verdictBatch:
		return p.batch(a.body)
	case verdictNone:
		if took < min(p.hold, time.Second)/2 { // superseded, or answered by somebody else: no busy loop
			return p.row.again(p.life, errors.New("polls are answered at once with nothing"))
		}
		p.row.over()
		return nil
	case verdictEnd:
		return err
	default: // verdictRepeat
		p.shorten(took)
		return p.row.again(p.life, err)
	}
}

// askFor polls for the batch after the last; hold shortens what the server would do.
func (p *poller) askFor(ctx context.Context, hold time.Duration) (answer, error) {
	url := p.url + "?after=" + strconv.FormatUint(p.after, 10)
	if hold < p.ticket.hold {
		url += "&wait=" + strconv.Itoa(int(hold/time.Second))
	}
	return p.ask(ctx, ask{method: http.MethodGet, url: url, most: maxBatch, wait: hold + pollMargin})
}

// shorten holds polls for less than what something on the way cut one at.
func (p *poller) shorten(took time.Duration) {
	if took < shortestHold {
		return // that was not for the wait
	}
	p.hold = max(shortestHold, min(p.hold, took*3/4)).Truncate(time.Second)
}

// batch hands the PDUs over.
func (p *poller) batch(body []byte) error {
	pdus, err := splitBatch(body)
	if err != nil {
		if p.bad++; p.bad >= maxBadBatches {
			return fmt.Errorf("dial: batch %d: %w", p.after+1, err)
		}
		return p.row.again(p.life, err)
	}
	p.bad = 0
	p.row.over()
	if err := p.deliver(pdus); err != nil {
		return err
	}
	p.after++ // only now: until then the same poll is a sign of life
	return nil
}

// deliver waits for the reader. Meanwhile the batch is asked for again from time to time: the server must not take us for gone.
func (p *poller) deliver(pdus []pdu.PDU) error {
	ticker := time.NewTicker(signOfLife)
	defer ticker.Stop()
	for len(pdus) > 0 {
		select {
		case p.inbox.pdus <- pdus[0]:
			pdus = pdus[1:]
		case <-p.life.Done():
			return context.Cause(p.life)
		case <-p.closed:
			return p.lingers()
		case <-ticker.C:
			if _, err := p.askFor(p.life, 0); err != nil {
				p.dialer.opts.Log.Debug("no sign of life could be given", "error", err)
			}
		}
	}
	return nil
}

// lingers waits for the goodbye, after Close, when nobody takes PDUs any more.
func (p *poller) lingers() error {
	<-p.life.Done()
	return context.Cause(p.life)
}
