package dial

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pass lets virtual time pass; for use in a bubble.
func pass(d time.Duration) { <-time.After(d) }

// memNet is a network of pipes, so that time may be virtual.
type memNet struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newMemNet() *memNet { return &memNet{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (n *memNet) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case n.conns <- there:
		return here, nil
	case <-n.closed:
	case <-ctx.Done():
	}
	_ = here.Close()
	return nil, errFake
}

func (n *memNet) ListenPacket(context.Context) (net.PacketConn, error) { return nil, errFake }

func (n *memNet) Accept() (net.Conn, error) {
	select {
	case nc := <-n.conns:
		return nc, nil
	case <-n.closed:
		return nil, net.ErrClosed
	}
}

func (n *memNet) Close() error {
	n.once.Do(func() { close(n.closed) })
	return nil
}

func (n *memNet) Addr() net.Addr { return &net.TCPAddr{} }

// fault is what happens to a request.
type fault int

const (
	none       fault = iota
	lostBefore       // the server never sees it
	lostAfter        // its answer is lost
	cutAnswer        // its answer breaks off
	badGateway       // a proxy answers 502 in the server's place
	portal           // something answers 200 with a page
	stale            // an answer of the past is repeated
	damaged          // the answer is not whole PDUs
	faults
)

// lpDouble is a long-poll server as docs/PROTOCOL.md has it, whose network is bad.
type lpDouble struct {
	t      *testing.T
	faults func() fault  // of the next request to a session; nil: none
	hold   time.Duration // what polls get
	cut    time.Duration // at which something cuts a poll; 0: nothing does
	answer func(w http.ResponseWriter, r *http.Request) bool

	mu       sync.Mutex // guards what follows
	up       []byte
	last     uint64
	posts    int
	inFlight int
	polls    int
	waiting  []byte
	batch    []byte
	former   []byte // the batch before
	latest   []byte
	sent     uint64
	acked    uint64
	more     chan struct{}
	closed   bool
	quiet
}

// quiet is how long a client leaves a session without a poll.
type quiet struct {
	lastPoll time.Time
	silence  time.Duration // the longest
}

const lpToken = "tok-123"

func newDouble(t *testing.T) *lpDouble {
	return &lpDouble{t: t, hold: 25 * time.Second, more: make(chan struct{})}
}

// say sends frames down.
func (s *lpDouble) say(frames ...[]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range frames {
		s.waiting = append(s.waiting, f...)
	}
	close(s.more)
	s.more = make(chan struct{})
}

func (s *lpDouble) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.answer != nil && s.answer(w, r) {
		return
	}
	if r.URL.Path == "/lp" && r.Method == http.MethodPost {
		s.mu.Lock()
		s.lastPoll = time.Now()
		s.mu.Unlock()
		_, _ = fmt.Fprintf(w, `{"id":"1-abc","token":%q,"poll_s":%d}`, lpToken, int(s.hold/time.Second))
		return
	}
	if r.Header.Get("Authorization") != "Bearer "+lpToken || !strings.HasPrefix(r.URL.Path, "/lp/1-abc") {
		s.t.Errorf("%s %s without the token", r.Method, r.URL)
		w.WriteHeader(http.StatusNotFound)
		return
	}
	f := none
	if s.faults != nil && !strings.HasSuffix(r.URL.Path, "/close") {
		f = s.faults()
	}
	switch f {
	case lostBefore:
		panic(http.ErrAbortHandler)
	case badGateway:
		w.WriteHeader(http.StatusBadGateway)
		return
	case portal:
		_, _ = io.WriteString(w, "<html>please pay</html>")
		return
	default: // later
	}
	switch {
	case strings.HasSuffix(r.URL.Path, "/close"):
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodPost:
		s.post(w, r, f)
	default:
		s.poll(w, r, f)
	}
}

func (s *lpDouble) post(w http.ResponseWriter, r *http.Request, f fault) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	n, _ := strconv.ParseUint(r.Header.Get(seqHeader), 10, 64)
	s.mu.Lock()
	s.posts++
	if s.inFlight++; s.inFlight > 1 {
		s.t.Error("two POSTs at once")
	}
	last := s.last
	if n == s.last+1 {
		s.last = n
		s.up = append(s.up, body...)
	}
	s.mu.Unlock()
	pass(50 * time.Millisecond) // the way back, of virtual time
	s.mu.Lock()
	s.inFlight--
	s.mu.Unlock()
	switch {
	case f == lostAfter || f == cutAnswer:
		panic(http.ErrAbortHandler)
	case n > last+1:
		w.Header().Set(seqHeader, strconv.FormatUint(last, 10))
		w.WriteHeader(http.StatusConflict)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

func (s *lpDouble) poll(w http.ResponseWriter, r *http.Request, f fault) {
	after, _ := strconv.ParseUint(r.URL.Query().Get("after"), 10, 64)
	hold := s.hold
	if wait := r.URL.Query().Get("wait"); wait != "" {
		n, _ := strconv.Atoi(wait)
		hold = min(hold, time.Duration(n)*time.Second)
	}
	s.mu.Lock()
	s.polls++
	s.silence = max(s.silence, time.Since(s.lastPoll))
	switch {
	case after < s.acked || after > s.sent:
		s.mu.Unlock()
		w.WriteHeader(http.StatusConflict)
		return
	case after == s.sent:
		s.acked, s.batch = s.sent, nil
	}
	more := s.more
	ready := s.sent > s.acked || len(s.waiting) > 0
	s.mu.Unlock()
	if !ready {
		limit := hold
		if s.cut > 0 {
			limit = min(limit, s.cut)
		}
		select {
		case <-more:
		case <-time.After(limit):
			if s.cut > 0 && s.cut < hold {
				panic(http.ErrAbortHandler)
			}
		case <-r.Context().Done():
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastPoll = time.Now()
	if s.sent == s.acked && len(s.waiting) > 0 {
		s.sent++
		s.former, s.batch, s.waiting = s.latest, s.waiting, nil
		s.latest = s.batch
	}
	if s.sent == s.acked {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	s.reply(w, f)
}

func (s *lpDouble) reply(w http.ResponseWriter, f fault) {
	seq, batch := s.sent, s.batch
	switch f {
	case stale:
		seq, batch = seq-1, s.former
	case damaged:
		batch = batch[:len(batch)-1]
	case lostAfter:
		panic(http.ErrAbortHandler)
	default:
	}
	w.Header().Set(seqHeader, strconv.FormatUint(seq, 10))
	w.Header().Set("Content-Length", strconv.Itoa(len(batch)))
	if f == cutAnswer {
		_, _ = w.Write(batch[:len(batch)/2])
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write(batch)
}

// inBubble runs a test of a long-poll connection in virtual time.
func inBubble(t *testing.T, s *lpDouble, test func(t *testing.T, c Conn, err error)) {
	t.Helper()
	n := newMemNet()
	server := &http.Server{Handler: s, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	var served sync.WaitGroup
	served.Go(func() { _ = server.Serve(n) })
	d, err := New([]string{"http://h"}, Options{Net: n, Proxy: direct, NetworkKey: func() string { return "test" }, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	c, err := d.Race().Next(t.Context())
	test(t, c, err)
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	_ = server.Close()
	served.Wait()
	pass(time.Minute) // for handlers that are under way
	synctest.Wait()
}
