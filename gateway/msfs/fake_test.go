package msfs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"hash"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"teamtalk/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeStore is a Store on a disk, without the cluster.
type fakeStore struct {
	dir string

	mu     sync.Mutex // guards what follows
	blobs  map[protocol.BlobID]protocol.Blob
	drafts int
	full   error // why nothing comes in
	opened int

	announced []announcement
}

// announcement is what Begin was called with.
type announcement struct {
	user protocol.UserID
	size uint64
}

func newStore(t testing.TB) *fakeStore {
	return &fakeStore{dir: t.TempDir(), blobs: make(map[protocol.BlobID]protocol.Blob)}
}

func (s *fakeStore) Begin(_ context.Context, u protocol.UserID, size uint64) (Draft, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.announced = append(s.announced, announcement{u, size})
	if s.full != nil {
		return nil, s.full
	}
	f, err := os.CreateTemp(s.dir, "draft-*")
	if err != nil {
		return nil, err
	}
	s.drafts++
	return &fakeDraft{store: s, file: f, hash: sha256.New()}, nil
}

func (s *fakeStore) Keep(_ context.Context, d Draft, b protocol.Blob) (protocol.Blob, error) {
	own := d.(*fakeDraft)
	own.hash.Sum(b.ID[:0])
	b.Size, b.Added = own.size, protocol.FromUnix(1_700_000_000)
	if err := os.Rename(own.file.Name(), filepath.Join(s.dir, b.ID.String())); err != nil {
		return b, err
	}
	own.Abort()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blobs[b.ID] = b
	return b, nil
}

func (s *fakeStore) Blob(id protocol.BlobID) (protocol.Blob, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.blobs[id]
	if !ok {
		return b, protocol.Errorf(protocol.CodeNotFound, "no such blob")
	}
	return b, nil
}

func (s *fakeStore) Open(_ context.Context, id protocol.BlobID) (io.ReadSeekCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened++
	return os.Open(filepath.Join(s.dir, id.String()))
}

// begun is how many drafts are neither kept nor given up.
func (s *fakeStore) begun() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.drafts
}

func (s *fakeStore) fill(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.full = err
}

// drop forgets a blob, as a recall does.
func (s *fakeStore) drop(id protocol.BlobID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.blobs, id)
}

// checkClean fails if anything was left behind that is no blob.
func (s *fakeStore) checkClean(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	files, err := os.ReadDir(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(s.blobs) || s.drafts != 0 {
		t.Errorf("%d files of %d blobs, and %d drafts", len(files), len(s.blobs), s.drafts)
	}
}

type fakeDraft struct {
	store *fakeStore
	file  *os.File
	hash  hash.Hash
	size  uint64
	over  bool
}

func (d *fakeDraft) Write(b []byte) (int, error) {
	d.store.mu.Lock()
	full := d.store.full
	d.store.mu.Unlock()
	if full != nil {
		return 0, full
	}
	n, err := d.file.Write(b)
	d.hash.Write(b[:n])
	d.size += uint64(n)
	return n, err
}

func (d *fakeDraft) Abort() {
	d.store.mu.Lock()
	defer d.store.mu.Unlock()
	if d.over {
		return
	}
	d.over = true
	d.store.drafts--
	d.file.Close()
	_ = os.Remove(d.file.Name())
}

// world is a Handler behind a server as it is in a node, on connections in memory.
type world struct {
	*testing.T
	store   *fakeStore
	handler *Handler
	server  *http.Server
	conns   *pipes
	client  *http.Client

	transport *http.Transport
}

// As the servers of a node have them.
const serverTime = 30 * time.Second

func newWorld(t *testing.T, change func(*Config)) *world {
	t.Helper()
	w := &world{T: t, store: newStore(t), conns: &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}}
	cfg := Config{Store: w.store, Tickets: NewTickets([]byte("key")), Base: func() string { return "http://chat.example.com/msfs/" },
		Log: slog.New(slog.DiscardHandler), Client: func(*http.Request) netip.AddrPort { return netip.MustParseAddrPort("192.0.2.7:1234") }}
	if change != nil {
		change(&cfg)
	}
	var err error
	if w.handler, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", http.NotFoundHandler())
	for _, p := range Patterns() {
		mux.Handle(p, w.handler)
	}
	w.server = &http.Server{Handler: Guard(mux), ReadTimeout: serverTime, WriteTimeout: serverTime, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo),
		Protocols: new(http.Protocols)}
	w.server.Protocols.SetHTTP1(true)
	w.server.Protocols.SetUnencryptedHTTP2(true)
	var conns sync.WaitGroup
	w.server.ConnState = func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			conns.Add(1)
		case http.StateClosed:
			conns.Done()
		default:
		}
	}
	served := make(chan struct{})
	go func() { // ends with Close; waited for below
		defer close(served)
		_ = w.server.Serve(w.conns)
	}()
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return w.conns.dial() }}
	w.client = &http.Client{Transport: transport}
	w.transport = transport
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		_ = w.server.Close()
		<-served
		conns.Wait()
	})
	return w
}

// useHTTP2 has the client speak that from its next request on.
func (w *world) useHTTP2() {
	w.transport.Protocols = new(http.Protocols)
	w.transport.Protocols.SetUnencryptedHTTP2(true)
}

// do asks and reads the answer.
func (w *world) do(method, path string, header map[string]string, body io.Reader) (*http.Response, []byte) {
	w.Helper()
	r, err := http.NewRequestWithContext(w.Context(), method, "http://chat.example.com"+path, body)
	if err != nil {
		w.Fatal(err)
	}
	for k, v := range header {
		r.Header.Set(k, v)
	}
	rsp, err := w.client.Do(r)
	if err != nil {
		w.Fatalf("%s %s: %v", method, path, err)
	}
	defer rsp.Body.Close()
	b, err := io.ReadAll(rsp.Body)
	if err != nil {
		w.Fatalf("%s %s: %v", method, path, err)
	}
	return rsp, b
}

// form sends a legacy form and returns what it came to.
func (w *world) form(name string, content []byte) (code int, path, url string) {
	w.Helper()
	rsp, b := w.do("POST", "/", map[string]string{"Content-Type": "multipart/form-data; boundary=b"}, bytes.NewReader(formOf(name, content)))
	var got struct {
		Code      int    `json:"error_code"`
		Path, URL string `json:"-"`
	}
	var where struct{ Path, URL string }
	if rsp.StatusCode != 200 || json.Unmarshal(b, &got) != nil || json.Unmarshal(b, &where) != nil {
		w.Fatalf("%d %q", rsp.StatusCode, b)
	}
	return got.Code, where.Path, where.URL
}

func formOf(name string, content []byte) []byte {
	var b bytes.Buffer
	b.WriteString("--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"" + name + "\"\r\nContent-Type: image/png\r\n\r\n")
	b.Write(content)
	b.WriteString("\r\n--b--\r\n")
	return b.Bytes()
}

// pipes is a listener in memory.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) dial() (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.conns <- server:
		return client, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 8080} }

var errFull = errors.Join(ErrNoSpace, errors.New("nothing left"))
