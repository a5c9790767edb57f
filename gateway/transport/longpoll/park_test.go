package longpoll

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"teamtalk/gateway/transport/transporttest"
	"teamtalk/protocol"
)

// raw is one connection of a client.
type raw struct {
	t  *testing.T
	nc net.Conn
	r  *bufio.Reader
}

func dialRaw(t *testing.T, address string) *raw {
	t.Helper()
	nc, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(time.Minute))
	return &raw{t, nc, bufio.NewReader(nc)}
}

func (c *raw) poll(tk *client, query string) {
	c.t.Helper()
	if _, err := fmt.Fprintf(c.nc, "GET /lp/%s?%s HTTP/1.1\r\nHost: example.com\r\nOrigin: http://example.com\r\nAuthorization: Bearer %s\r\n\r\n", tk.ID, query, tk.Token); err != nil {
		c.t.Fatal(err)
	}
}

func (c *raw) want(what string, status int, seq, body string) *http.Response {
	c.t.Helper()
	w, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.t.Fatalf("%s: %v", what, err)
	}
	b, err := io.ReadAll(w.Body)
	_ = w.Body.Close()
	if err != nil || w.StatusCode != status || w.Header.Get("Teamtalk-Seq") != seq || string(b) != body || len(w.TransferEncoding) > 0 ||
		status != 204 && w.ContentLength != int64(len(body)) {
		c.t.Errorf("%s: %s, batch %q, %d bytes, %v; want %d, %q, %d bytes", what, w.Status, w.Header.Get("Teamtalk-Seq"), len(b), err, status, seq, len(body))
	}
	for name, value := range map[string]string{"Cache-Control": "no-store, no-transform", "Content-Type": "application/octet-stream", "Access-Control-Allow-Origin": "http://example.com"} {
		if w.Header.Get(name) != value { // [TT-LP-2]
			c.t.Errorf("%s: %s: %q", what, name, w.Header.Get(name))
		}
	}
	if w.Header.Get("Date") == "" {
		c.t.Errorf("%s: no Date", what)
	}
	return w
}

// parking waits until a poll is parked.
func (h *Handler) parking(t *testing.T) {
	t.Helper()
	for range 3000 {
		h.mu.RLock()
		for _, s := range h.sessions {
			s.mu.Lock()
			is := s.down.parked != nil
			s.mu.Unlock()
			if is {
				h.mu.RUnlock()
				return
			}
		}
		h.mu.RUnlock()
		<-time.After(10 * time.Millisecond)
	}
	t.Fatal("the poll is not parked")
}

// A poll that is parked is answered as any other, and its connection goes on [TT-LP-4] [TT-LP-5].
func TestParkedPolls(t *testing.T) {
	desk := transporttest.NewDesk(t)
	h := New(Config{Handle: desk.Handle, Log: slog.New(slog.DiscardHandler), Timing: Timing{Park: 1}})
	srv := startServer(t, h, false, false, 30*time.Second)
	t.Cleanup(func() {
		desk.Release()
		h.Close()
	})
	c, err := dialClient(t.Context(), srv.Client(), srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	conn := desk.Next(t)
	write := func(f []byte) {
		if err := conn.Write([][]byte{f}); err != nil {
			t.Fatal(err)
		}
	}
	one, two := dialRaw(t, srv.Listener.Addr().String()), dialRaw(t, srv.Listener.Addr().String())

	one.poll(c, "after=0&wait=1")
	one.want("in time there is nothing", 204, "", "")
	one.poll(c, "after=0")
	h.parking(t)
	two.poll(c, "after=0")
	one.want("the older of two", 204, "", "")
	h.parking(t)
	write(frame(1, "a"))
	two.want("the batch", 200, "1", string(frame(1, "a")))
	one.poll(c, "after=0")
	one.want("the batch again, on the first connection", 200, "1", string(frame(1, "a")))

	one.poll(c, "after=1")
	h.parking(t)
	one.poll(c, "after=1&wait=0") // sent ahead: it is read after the answer to the one before
	_ = two.nc.Close()
	write(frame(2, "b"))
	one.want("the second batch", 200, "2", string(frame(2, "b")))
	one.want("the request sent ahead", 200, "2", string(frame(2, "b")))

	one.poll(c, "after=2")
	h.parking(t)
	write(frame(3, "c"))
	one.want("the last batch", 200, "3", string(frame(3, "c")))
	one.poll(c, "after=3")
	h.parking(t)
	if err := conn.Close(protocol.CodeKicked); err != nil {
		t.Error(err)
	}
	one.want("the end", 410, "", "")
	if h.open() != 0 {
		t.Errorf("%d sessions left", h.open())
	}
}

// What came with the poll in one piece is not lost sight of: the client is told to send it again elsewhere.
func TestParkedWithMoreBehind(t *testing.T) {
	desk := transporttest.NewDesk(t)
	h := New(Config{Handle: desk.Handle, Log: slog.New(slog.DiscardHandler), Timing: Timing{Park: 100 * time.Millisecond}})
	srv := startServer(t, h, false, false, 30*time.Second)
	t.Cleanup(func() {
		desk.Release()
		h.Close()
	})
	c, err := dialClient(t.Context(), srv.Client(), srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	desk.Next(t)
	one := dialRaw(t, srv.Listener.Addr().String())
	get := fmt.Sprintf("GET /lp/%s?after=0&wait=1 HTTP/1.1\r\nHost: example.com\r\nOrigin: http://example.com\r\nAuthorization: Bearer %s\r\n\r\n", c.ID, c.Token)
	if _, err := io.WriteString(one.nc, get+get); err != nil {
		t.Fatal(err)
	}
	if w := one.want("the poll", 204, "", ""); !w.Close {
		t.Error("the connection is said to go on")
	}
	if _, err := one.r.ReadByte(); err == nil {
		t.Error("the connection goes on")
	}
}

// Neither the end of the server nor that of the handler waits for what is parked.
func TestParkedAtTheEnd(t *testing.T) {
	desk := transporttest.NewDesk(t)
	h := New(Config{Handle: desk.Handle, Log: slog.New(slog.DiscardHandler), Timing: Timing{Park: 1}})
	srv := startServer(t, h, false, false, 30*time.Second)
	c, err := dialClient(t.Context(), srv.Client(), srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	conn := desk.Next(t)
	one := dialRaw(t, srv.Listener.Addr().String())
	one.poll(c, "after=0")
	h.parking(t)
	if err := srv.Config.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := conn.Write([][]byte{frame(1, "late")}); err != nil {
		t.Error(err)
	}
	one.want("after Shutdown of the server", 200, "1", string(frame(1, "late")))
	if _, err := one.r.ReadByte(); err == nil {
		t.Error("the connection goes on")
	}
	desk.Release()
	h.Close()
}

// Close does not wait for a client that takes nothing.
func TestCloseHurriesAnswers(t *testing.T) {
	desk := transporttest.NewDesk(t)
	h := New(Config{Handle: desk.Handle, Log: slog.New(slog.DiscardHandler), Timing: Timing{Park: 1, Hurry: 10 * time.Millisecond, Body: time.Hour}})
	srv := startServer(t, h, false, false, 30*time.Second)
	c, err := dialClient(t.Context(), srv.Client(), srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	conn := desk.Next(t)
	one := dialRaw(t, srv.Listener.Addr().String())
	one.poll(c, "after=0")
	h.parking(t)
	if err := conn.Write([][]byte{make([]byte, 64<<20)}); err != nil {
		t.Fatal(err)
	}
	if _, err := one.r.ReadByte(); err != nil { // the answer is on its way
		t.Fatal(err)
	}
	desk.Release()
	h.Close()
}
