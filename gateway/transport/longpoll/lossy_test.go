package longpoll

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"teamtalk/gateway/transport"
	"teamtalk/gateway/transport/transporttest"
	"teamtalk/protocol"
	"teamtalk/protocol/pdu"
)

func numbered(n int) []byte {
	return transporttest.Frame(pdu.CmdMsgData, 0, binary.BigEndian.AppendUint32(make([]byte, n%50), uint32(n)))
}

// numbersIn are those of the PDUs in a batch.
func numbersIn(b []byte) (numbers []int, err error) {
	for len(b) > 0 {
		h, err := pdu.ParseHeader(b)
		if err != nil || int(h.Length) > len(b) {
			return nil, fmt.Errorf("a PDU of %d bytes in %d: %w", h.Length, len(b), err)
		}
		numbers = append(numbers, int(binary.BigEndian.Uint32(b[h.Length-4:])))
		b = b[h.Length:]
	}
	return numbers, nil
}

// counting checks that numbers come by one.
type counting struct {
	what string
	last int
}

func (c *counting) take(numbers ...int) error {
	for _, n := range numbers {
		if n != c.last+1 {
			return fmt.Errorf("%s: %d after %d", c.what, n, c.last)
		}
		c.last = n
	}
	return nil
}

// sent is a request that may arrive again at any time.
type sent struct {
	method, target, seq string
	body                []byte
}

// model is a client on a network that loses requests and answers, repeats and reorders.
type model struct {
	st      *stage
	p       *peer
	past    []sent
	posted  int    // the last number that the client knows to be accepted
	body    []byte // of the POST it repeats
	made    int    // PDUs made by the client
	had     int    // the last batch it has
	got     counting
	read    counting
	written int
}

// request sends once; the answer is lost if nothing is returned.
func (m *model) request(t *rapid.T, s sent, lossy bool) *reply {
	m.past = append(m.past, s)
	fate := 0
	if lossy {
		fate = rapid.IntRange(0, 3).Draw(t, "fate")
	}
	if fate == 1 { // the request is lost; perhaps it comes later
		return nil
	}
	w := m.run(s)
	if fate == 2 { // the answer is lost
		return nil
	}
	return &w
}

func (m *model) run(s sent) reply {
	return m.st.do(s.method, s.target, s.body, append(m.p.auth(), "Teamtalk-Seq", s.seq)...)
}

func (m *model) post(t *rapid.T, lossy bool) {
	if m.body == nil {
		for range rapid.IntRange(1, 3).Draw(t, "PDUs") {
			m.made++
			m.body = append(m.body, numbered(m.made)...)
		}
	}
	w := m.request(t, sent{"POST", "/lp/" + m.p.ID, strconv.Itoa(m.posted + 1), m.body}, lossy)
	if w == nil {
		return
	}
	if w.Code != http.StatusNoContent {
		t.Fatalf("POST %d: %d, last %s", m.posted+1, w.Code, w.seq())
	}
	m.posted++
	m.body = nil
}

func (m *model) poll(t *rapid.T, lossy bool) {
	w := m.request(t, sent{"GET", fmt.Sprintf("/lp/%s?after=%d&wait=0", m.p.ID, m.had), "", nil}, lossy)
	if w == nil || w.Code == http.StatusNoContent {
		return
	}
	if w.Code != http.StatusOK || w.seq() != strconv.Itoa(m.had+1) {
		t.Fatalf("a poll after %d: %d, batch %s", m.had, w.Code, w.seq())
	}
	numbers, err := numbersIn(w.Body.Bytes())
	if err == nil {
		err = m.got.take(numbers...)
	}
	if err != nil {
		t.Fatal(err)
	}
	m.had++
}

// again delivers an old request once more; nobody waits for the answer.
func (m *model) again(t *rapid.T) {
	if len(m.past) == 0 {
		return
	}
	s := m.past[rapid.IntRange(0, len(m.past)-1).Draw(t, "which")]
	if w := m.run(s); w.Code != 200 && w.Code != 204 && w.Code != 409 {
		t.Fatalf("%s %s once more: %d", s.method, s.target, w.Code)
	}
}

func (m *model) write(t *rapid.T) {
	var frames [][]byte
	for range rapid.IntRange(1, 3).Draw(t, "PDUs") {
		m.written++
		frames = append(frames, numbered(m.written))
	}
	if err := m.p.conn.Write(frames); err != nil {
		t.Fatal(err)
	}
}

func (m *model) serverReads(t *rapid.T) {
	for len(m.p.session().up.queue) > 0 {
		p, err := m.p.conn.Read(pdu.MaxLen)
		if err == nil {
			err = m.read.take(int(binary.BigEndian.Uint32(p.Body[len(p.Body)-4:])))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Whatever the network does to requests and answers, both ways everything arrives once and in order [TT-LP-3] [TT-LP-4].
func TestExactlyOnceInOrder(t *testing.T) {
	st := newStage(t, func(c *Config) { c.Limits.OpenBurst = 1 << 30 })
	defer st.end()
	rapid.Check(t, func(t *rapid.T) {
		m := &model{st: st, p: st.open(), got: counting{what: "the client got"}, read: counting{what: "the server read"}}
		t.Repeat(map[string]func(*rapid.T){
			"post":  func(t *rapid.T) { m.post(t, true) },
			"poll":  func(t *rapid.T) { m.poll(t, true) },
			"again": m.again,
			"write": m.write,
			"read":  m.serverReads,
		})
		for m.body != nil {
			m.serverReads(t)
			m.post(t, false)
		}
		m.serverReads(t)
		for range 2 {
			m.poll(t, false)
		}
		if m.read.last != m.made || m.got.last != m.written {
			t.Fatalf("read %d of %d, got %d of %d", m.read.last, m.made, m.got.last, m.written)
		}
		_ = m.p.conn.Close(protocol.CodeUnspecified)
		m.p.session().leave(errSilent, endUnread)
	})
}

// weather is a network between an http.Client and a Handler: requests and answers are lost, delayed, and requests arrive twice.
type weather struct {
	h *Handler

	mu     sync.Mutex // guards random
	random *rand.Rand

	late sync.WaitGroup // requests whose client has given up
}

var errLost = errors.New("lost")

func (w *weather) dice() (lost, lostAnswer, twice bool, before, after, again time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delay := func() time.Duration { return time.Duration(w.random.ExpFloat64() * float64(80*time.Millisecond)) }
	return w.random.IntN(8) == 0, w.random.IntN(8) == 0, w.random.IntN(6) == 0, delay(), delay(), 10 * delay()
}

func (w *weather) RoundTrip(r *http.Request) (*http.Response, error) {
	lost, lostAnswer, twice, before, after, again := w.dice()
	if twice {
		w.late.Go(func() { // ends with the request
			<-time.After(again)
			w.serve(context.Background(), r)
		})
	}
	<-time.After(before)
	if lost {
		<-time.After(time.Second) // the client's patience
		return nil, errLost
	}
	got := w.serve(r.Context(), r)
	<-time.After(after)
	if lostAnswer {
		<-time.After(time.Second)
		return nil, errLost
	}
	return got, r.Context().Err()
}

func (w *weather) serve(ctx context.Context, r *http.Request) *http.Response {
	c := r.Clone(ctx)
	if r.GetBody != nil {
		c.Body, _ = r.GetBody()
	}
	c.RemoteAddr, c.RequestURI = "192.0.2.1:1", r.URL.String()
	rec := httptest.NewRecorder()
	w.h.ServeHTTP(rec, c)
	return rec.Result()
}

// The same with everything at once and polls that are held, in virtual time.
func TestExactlyOnceInBadWeather(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { badWeather(t, seed, 120) })
		})
	}
}

func badWeather(t *testing.T, seed uint64, n int) {
	h := New(Config{Handle: func(c transport.Conn) { // echoes
		read := counting{what: "the server read"}
		for {
			p, err := c.Read(pdu.MaxLen)
			if err != nil {
				return
			}
			if err := read.take(int(binary.BigEndian.Uint32(p.Body[len(p.Body)-4:]))); err != nil {
				t.Error(err)
			}
			if err := c.Write([][]byte{pdu.AppendRaw(nil, p.Header, p.Body)}); err != nil {
				t.Error(err)
			}
		}
	}})
	net := &weather{h: h, random: rand.New(rand.NewPCG(seed, 1))}
	hc := &http.Client{Transport: net}
	var c *client
	for c == nil {
		c, _ = dialClient(t.Context(), hc, "http://example.com")
	}
	var both sync.WaitGroup
	both.Go(func() { // ends when all is accepted
		for i := 1; i <= n; {
			if status, _, _, err := c.do("POST", "/lp/"+c.ID, join(numbered(i), numbered(i+1)), uint64(i+1)/2); err != nil {
				continue
			} else if status != http.StatusNoContent {
				t.Errorf("POST: %d", status)
				return
			}
			i += 2
		}
	})
	both.Go(func() { // ends when all is back
		got := counting{what: "the client got"}
		for had := uint64(0); got.last < n; {
			status, seq, body, err := c.do("GET", fmt.Sprintf("/lp/%s?after=%d&wait=5", c.ID, had), nil, 0)
			if err != nil || status == http.StatusNoContent {
				continue
			}
			numbers, err := numbersIn(body)
			if err == nil {
				err = got.take(numbers...)
			}
			if status != http.StatusOK || seq != had+1 || err != nil {
				t.Errorf("a poll after %d: %d, batch %d, %v", had, status, seq, err)
				return
			}
			had = seq
		}
	})
	both.Wait()
	h.Close()
	c.cancel()
	net.late.Wait()
	if h.open() != 0 {
		t.Errorf("%d sessions left", h.open())
	}
}
