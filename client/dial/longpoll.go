package dial

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/pdu"
)

const (
	seqHeader = "Teamtalk-Seq"

	maxTicket  = 4 << 10          // the answer to POST /lp
	maxBatch   = 2 * pdu.MaxLen   // of one poll; a server sends a PDU and less than another at once
	maxPost    = 1 << 20          // of one POST
	maxQueue   = 256 << 10        // what may wait to be posted; an empty queue takes any one Write
	maxSecret  = 256              // bytes of an id or token
	pollMargin = 10 * time.Second // for the answer to a poll beyond the time that it is held
	postTime   = 20 * time.Second // for the answer to a POST; a server may take ten
	bodyTime   = 15 * time.Second // for the next bytes of an answer

	minPause = 100 * time.Millisecond // after a request that failed; doubles
	maxPause = 5 * time.Second
	// patience is how long requests may fail in a row: then the server has given the session up soon.
	patience = 45 * time.Second
	// noWayPatience is how long not even a connection may come about: another transport may get through where this one does not any more.
	noWayPatience = time.Second
)

// ticket is what POST /lp answers.
type ticket struct {
	id, token string
	hold      time.Duration // of a poll
}

// parseTicket reads the JSON of a server, or of whatever answers in its place.
func parseTicket(body []byte) (ticket, error) {
	var fields struct {
		ID    string `json:"id"`
		Token string `json:"token"`
		Poll  int    `json:"poll_s"`
	}
	if err := json.Unmarshal(body, &fields); err != nil {
		return ticket{}, errors.New("what answers there is no long-poll server")
	}
	if !isSecret(fields.ID) || !isSecret(fields.Token) {
		return ticket{}, errors.New("id or token of the long-poll session are not usable")
	}
	return ticket{id: fields.ID, token: fields.Token, hold: time.Duration(min(max(fields.Poll, 1), 120)) * time.Second}, nil
}

// isSecret admits what is safe in a path and in a header.
func isSecret(s string) bool {
	unsafe := func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-_.~", c))
	}
	return s != "" && len(s) <= maxSecret && !strings.ContainsFunc(s, unsafe) && strings.Trim(s, ".") != ""
}

// longPoll is a Conn made of requests. Two goroutines make them: one polls, one posts.
type longPoll struct {
	*link
	web     *http.Client
	sockets sockets
	url     string // of the session
	ticket  ticket
	inbox   inbox
	up      upward

	life    context.Context // of both goroutines
	endLife context.CancelCauseFunc
	work    sync.WaitGroup
	posted  chan struct{} // closed when the posting goroutine has ended
}

// openLongPoll opens a session.
func (d *Dialer) openLongPoll(ctx context.Context, r Route) (guest, error) {
	c := &longPoll{}
	t, err := d.httpTransport(r, c.sockets.add, "h2", "http/1.1")
	if err != nil {
		return nil, err
	}
	_, hostPort, err := r.address()
	if err != nil {
		return nil, err
	}
	c.link = newLink(d, r, hostPort, newClock())
	c.web = &http.Client{Transport: t, CheckRedirect: noRedirect}
	c.inbox, c.up, c.posted = newInbox(), newUpward(), make(chan struct{})
	if err := c.begin(ctx, r.URL); err != nil {
		t.CloseIdleConnections()
		c.sockets.close()
		return nil, err
	}
	c.url = r.URL + "/" + c.ticket.id
	c.life, c.endLife = context.WithCancelCause(context.Background())
	c.work.Go(c.poll) // both end with life, and are joined by Close
	c.work.Go(c.post)
	return c, nil
}

// begin is POST /lp.
func (c *longPoll) begin(ctx context.Context, url string) error {
	a, err := c.ask(ctx, ask{method: http.MethodPost, url: url, most: maxTicket, wait: c.dialer.opts.Timeout})
	if err != nil {
		return err
	}
	if a.status != http.StatusOK {
		return statusError(a.status, "no long-poll session")
	}
	c.ticket, err = parseTicket(a.body)
	return err
}

// ask is a request. Every body both ways is held whole.
type ask struct {
	method string
	url    string
	seq    uint64 // 0: none
	body   []byte
	most   int           // bytes of the answer's body
	wait   time.Duration // for the answer's head, once the body has been sent
}

// answer is a whole response.
type answer struct {
	status int
	seq    uint64
	hasSeq bool
	body   []byte
}

// ask makes a request. Any error means that it is not known whether the server got it.
func (c *longPoll) ask(ctx context.Context, a ask) (answer, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timeout := time.AfterFunc(a.wait+time.Duration(len(a.body)/writePace)*time.Second, func() { cancel(context.DeadlineExceeded) })
	defer timeout.Stop()
	resp, err := c.send(ctx, a)
	if err != nil {
		return answer{}, why(ctx, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(&paced{resp.Body, timeout}, int64(a.most)+1))
	switch {
	case err != nil:
		return answer{}, why(ctx, err)
	case len(body) > a.most:
		return answer{}, fmt.Errorf("an answer of more than %d bytes", a.most)
	}
	got := answer{status: resp.StatusCode, body: body}
	if text := resp.Header.Get(seqHeader); text != "" {
		seq, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return answer{}, fmt.Errorf("an answer numbered %.20q", text)
		}
		got.seq, got.hasSeq = seq, true
	}
	c.heard.tick()
	return got, nil
}

// paced is a body of which some has to come all the time.
type paced struct {
	body  io.Reader
	timer *time.Timer
}

func (p *paced) Read(b []byte) (int, error) {
	p.timer.Reset(bodyTime)
	return p.body.Read(b)
}

func (c *longPoll) send(ctx context.Context, a ask) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, a.method, a.url, bytes.NewReader(a.body))
	if err != nil {
		return nil, err
	}
	if len(a.body) == 0 {
		req.Body, req.GetBody = http.NoBody, nil
	}
	req.Header.Set("User-Agent", c.dialer.opts.UserAgent)
	req.Header.Set("Cache-Control", "no-store")
	if a.method == http.MethodPost {
		req.Header.Set("Content-Type", "application/octet-stream")
	}
	if c.ticket.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.ticket.token)
	}
	if a.seq != 0 {
		req.Header.Set(seqHeader, strconv.FormatUint(a.seq, 10))
	}
	return c.web.Do(req)
}

// why tells a timeout of ours from other failures.
func why(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}

// errNoWay marks the failure of a request for which there was not even a connection.
var errNoWay = errors.New("no connection")

// trouble counts requests that fail in a row.
type trouble struct {
	since time.Time // of the first
	noWay time.Time // since when not even a connection comes about; zero: one did
	pause time.Duration
	last  error
}

// over ends the row.
func (t *trouble) over() { *t = trouble{} }

// again waits before the next attempt; an error: it makes no sense any more.
func (t *trouble) again(ctx context.Context, err error) error {
	now := time.Now()
	if t.pause == 0 {
		t.since, t.pause = now, minPause
	}
	t.last = err
	switch {
	case !errors.Is(err, errNoWay):
		t.noWay = time.Time{}
	case t.noWay.IsZero():
		t.noWay = now
	case now.Sub(t.noWay) >= noWayPatience:
		return fmt.Errorf("dial: no way to the long-poll session any more: %w", err)
	}
	if now.Sub(t.since) >= patience {
		return fmt.Errorf("dial: no long-poll request has succeeded for %v: %w", patience, err)
	}
	timer := time.NewTimer(t.pause/2 + rand.N(t.pause))
	defer timer.Stop()
	t.pause = min(2*t.pause, maxPause)
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// fail ends the session for both goroutines; the first reason counts.
func (c *longPoll) fail(err error) { c.endLife(err) }

// gone is the server's word that a session is over.
func gone(status int) error {
	switch status {
	case http.StatusNotFound, http.StatusGone:
		return &CloseError{Code: protocol.CodeUnspecified, Message: fmt.Sprintf("the long-poll session has ended (%d)", status)}
	case http.StatusConflict:
		return &CloseError{Code: protocol.CodeInternal, Message: "the two sides of the long-poll session disagree about what was sent (409)"}
	case http.StatusBadRequest:
		return &CloseError{Code: protocol.CodeInvalid, Message: "the server did not understand what was sent (400)"}
	case http.StatusRequestEntityTooLarge:
		return &CloseError{Code: protocol.CodeTooLarge, Message: "the server takes no requests of this size (413)"}
	}
	return nil
}

func (c *longPoll) Read() (pdu.PDU, error) { return c.inbox.next(c.link) }

// Close sends what waits, ends the session and joins its goroutines; a code has no place in a request.
func (c *longPoll) Close(protocol.Code, string) error { return c.end(c, c.goodbye) }

func (c *longPoll) abort() { _ = c.end(c, c.sever) } // it may have been closed

func (c *longPoll) goodbye() {
	ctx, cancel := context.WithTimeout(c.life, goodbyeTime)
	defer cancel()
	c.up.finish()
	select {
	case <-c.posted:
	case <-ctx.Done():
	}
	if ctx.Err() == nil {
		_, err := c.ask(ctx, ask{method: http.MethodPost, url: c.url + "/close", most: maxTicket, wait: goodbyeTime})
		if err != nil {
			c.dialer.opts.Log.Debug("the server was not told that a long-poll session ended", "error", err)
		}
	}
	c.sever()
}

func (c *longPoll) sever() {
	c.endLife(net.ErrClosed)
	c.work.Wait()
	c.web.CloseIdleConnections()
	c.sockets.close()
}
