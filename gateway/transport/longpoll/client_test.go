package longpoll

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"teamtalk/protocol/pdu"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ticket is the answer to POST /lp.
type ticket struct {
	ID    string `json:"id"`
	Token string `json:"token"`
	PollS int    `json:"poll_s"`
}

// client speaks long-poll over an http.Client, as an io.ReadWriter of the bytes of PDUs.
type client struct {
	base string
	http *http.Client
	ticket
	ctx    context.Context
	cancel context.CancelFunc

	writing sync.Mutex
	part    []byte // of a PDU
	posted  uint64

	reading sync.Mutex
	got     []byte
	had     uint64
}

func dialClient(ctx context.Context, hc *http.Client, base string) (*client, error) {
	c := &client{base: base, http: hc}
	c.ctx, c.cancel = context.WithCancel(ctx)
	status, _, body, err := c.do(http.MethodPost, "/lp", nil, 0)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("POST /lp: %d", status)
	}
	if err == nil {
		err = json.Unmarshal(body, &c.ticket)
	}
	if err != nil {
		c.cancel()
		return nil, err
	}
	return c, nil
}

// do makes one request and reads the whole answer.
func (c *client) do(method, path string, body []byte, seq uint64) (status int, gotSeq uint64, got []byte, err error) {
	return c.doCtx(c.ctx, method, path, body, seq)
}

func (c *client) doCtx(ctx context.Context, method, path string, body []byte, seq uint64) (status int, gotSeq uint64, got []byte, err error) {
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return 0, 0, nil, err
	}
	if c.Token != "" {
		r.Header.Set("Authorization", "Bearer "+c.Token)
	}
	if seq > 0 {
		r.Header.Set("Teamtalk-Seq", strconv.FormatUint(seq, 10))
	}
	w, err := c.http.Do(r)
	if err != nil {
		return 0, 0, nil, err
	}
	defer w.Body.Close()
	if got, err = io.ReadAll(w.Body); err != nil {
		return 0, 0, nil, err
	}
	gotSeq, _ = strconv.ParseUint(w.Header.Get("Teamtalk-Seq"), 10, 64)
	return w.StatusCode, gotSeq, got, nil
}

// Write posts the PDUs that have become whole.
func (c *client) Write(b []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.part = append(c.part, b...)
	whole := 0
	for rest := c.part; len(rest) >= pdu.HeaderLen; rest = c.part[whole:] {
		n := int(binary.BigEndian.Uint32(rest))
		if n > len(rest) {
			break
		}
		whole += n
	}
	if whole == 0 {
		return len(b), nil
	}
	for {
		status, _, _, err := c.do(http.MethodPost, "/lp/"+c.ID, c.part[:whole], c.posted+1)
		switch {
		case err != nil:
			return 0, err
		case status == http.StatusServiceUnavailable:
			continue
		case status != http.StatusNoContent:
			return 0, fmt.Errorf("POST: %d", status)
		}
		break
	}
	c.posted++
	c.part = append([]byte(nil), c.part[whole:]...)
	return len(b), nil
}

// Read polls when it has nothing left; io.EOF is 410.
func (c *client) Read(b []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	for len(c.got) == 0 {
		status, seq, body, err := c.do(http.MethodGet, fmt.Sprintf("/lp/%s?after=%d", c.ID, c.had), nil, 0)
		switch {
		case err != nil:
			return 0, err
		case status == http.StatusNoContent:
		case status == http.StatusGone:
			return 0, io.EOF
		case status == http.StatusOK && seq == c.had+1:
			c.had, c.got = seq, body
		default:
			return 0, fmt.Errorf("GET: %d, batch %d after %d", status, seq, c.had)
		}
	}
	n := copy(b, c.got)
	c.got = c.got[n:]
	return n, nil
}

// Close leaves; requests under way end.
func (c *client) Close() error {
	select {
	case <-c.ctx.Done():
		return nil
	default:
	}
	status, _, _, err := c.doCtx(context.WithoutCancel(c.ctx), http.MethodPost, "/lp/"+c.ID+"/close", nil, 0)
	c.cancel()
	if err == nil && status != http.StatusNoContent && status != http.StatusGone {
		err = errors.New("close: " + strconv.Itoa(status))
	}
	return err
}
