package msfs

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"teamtalk/protocol"
)

// end closes what belongs to a bubble before it ends.
func (w *world) end() {
	w.client.CloseIdleConnections()
	_ = w.server.Close()
}

// ticket is an address for an upload of user 7.
func (w *world) ticket(name string, size int, contentType string) string {
	w.Helper()
	path, _, err := w.handler.cfg.Tickets.Upload(7, name, uint64(size), contentType, time.Now())
	if err != nil {
		w.Fatal(err)
	}
	return path
}

// send sends a piece and returns the status and the answer.
func (w *world) send(ticket string, offset int, body io.Reader) (int, map[string]any) {
	w.Helper()
	rsp, b := w.do("POST", ticket, map[string]string{offsetHeader: fmt.Sprint(offset)}, body)
	return rsp.StatusCode, w.object(b)
}

func (w *world) object(b []byte) map[string]any {
	w.Helper()
	var got map[string]any
	if err := json.Unmarshal(b, &got); err != nil {
		w.Fatalf("%q: %v", b, err)
	}
	return got
}

// [TT-MEDIA-5]: in one piece and in many, the offset is told whenever it is asked for, and a complete upload is told again.
func TestUpload(t *testing.T) {
	w := newWorld(t, nil)
	content := bytes.Repeat([]byte("0123456789"), 30_000)
	sum := fmt.Sprintf("%x", sha256.Sum256(content))
	for name, pieces := range map[string][]int{"one": {len(content)}, "three": {1, 99_999, 200_000}, "many": {70_000, 70_000, 70_000, 70_000, 20_000}} {
		ticket, offset := w.ticket("notes.txt", len(content), "text/plain"), 0
		for i, n := range pieces {
			status, got := w.send(ticket, offset, bytes.NewReader(content[offset:offset+n]))
			offset += n
			if i < len(pieces)-1 {
				if status != http.StatusAccepted || got["offset"] != float64(offset) {
					t.Errorf("%s: piece %d: %d %v", name, i, status, got)
				}
				if rsp, b := w.do("GET", ticket, nil, nil); rsp.StatusCode != 200 || w.object(b)["offset"] != float64(offset) || w.object(b)["size"] != float64(len(content)) {
					t.Errorf("%s: piece %d: told %d %s", name, i, rsp.StatusCode, b)
				}
				continue
			}
			path := got["path"].(string)
			if status != 200 || got["sha256"] != sum || got["size"] != float64(len(content)) || got["type"] != "text/plain" ||
				!strings.HasSuffix(path, sum+".txt") || got["url"] != "http://chat.example.com/msfs/"+path {
				t.Errorf("%s: %d %v", name, status, got)
			}
			_, again := w.send(ticket, 0, bytes.NewReader(content))
			rsp, b := w.do("GET", ticket, nil, nil)
			if again["sha256"] != sum || rsp.StatusCode != 200 || w.object(b)["sha256"] != sum {
				t.Errorf("%s: again %v, told %s", name, again, b)
			}
		}
	}
	if b, err := w.store.Blob(protocol.BlobID(sha256.Sum256(content))); err != nil || b.Owner != 7 || b.Type != "text/plain" {
		t.Errorf("kept: %+v %v", b, err)
	}
	w.store.checkClean(t)
}

// [TT-MEDIA-5] [TT-MEDIA-6] [TT-MEDIA-7]: what can't be taken is refused with a status and a code, and leaves nothing behind.
func TestBadUploads(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxUpload = 1 << 20 })
	for _, tt := range []struct {
		name   string
		ticket string
		offset string
		body   io.Reader
		full   error
		status int
		code   string
	}{
		{name: "a ticket of somebody else's making", ticket: UploadPath + "AAAA", status: 403, code: "forbidden"},
		{name: "larger than allowed", ticket: w.ticket("a", 1<<20+1, ""), body: strings.NewReader("x"), status: 413, code: "too_large"},
		{name: "no number", ticket: w.ticket("a", 5, ""), offset: "-1", status: 400, code: "invalid"},
		{name: "another offset", ticket: w.ticket("a", 5, ""), offset: "2", body: strings.NewReader("x"), status: 409, code: "invalid"},
		{name: "longer than announced", ticket: w.ticket("a", 5, ""), body: strings.NewReader("123456"), status: 413, code: "too_large"},
		{name: "longer, without saying so", ticket: w.ticket("a", 5, ""), body: struct{ io.Reader }{strings.NewReader("123456")}, status: 413, code: "too_large"},
		{name: "a picture that would fill the memory", ticket: w.ticket("a.png", len(bomb()), ""), body: bytes.NewReader(bomb()), status: 413, code: "too_large"},
		{name: "a full disk", ticket: w.ticket("a", 5, ""), body: strings.NewReader("12345"), full: errFull, status: 507, code: "quota"},
		{name: "over the quota", ticket: w.ticket("a", 5, ""), body: strings.NewReader("12345"), full: protocol.Errorf(protocol.CodeQuota, "full"), status: 507, code: "quota"},
		{name: "no leader", ticket: w.ticket("a", 5, ""), body: strings.NewReader("12345"), full: protocol.Errorf(protocol.CodeUnavailable, "x"), status: 503, code: "unavailable"},
		{name: "our fault", ticket: w.ticket("a", 5, ""), body: strings.NewReader("12345"), full: io.ErrNoProgress, status: 500, code: "internal"},
	} {
		w.store.fill(tt.full)
		rsp, b := w.do("POST", tt.ticket, map[string]string{offsetHeader: tt.offset}, tt.body)
		got := w.object(b)
		if rsp.StatusCode != tt.status || got["code"] != tt.code || got["error"] == "" || rsp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %v", tt.name, rsp.StatusCode, got)
		}
		if strings.Contains(string(b), io.ErrNoProgress.Error()) {
			t.Errorf("%s: tells strangers of our faults: %s", tt.name, b)
		}
		w.store.checkClean(t)
	}
	if rsp, _ := w.do("PUT", w.ticket("a", 5, ""), nil, nil); rsp.StatusCode != 405 {
		t.Errorf("PUT: %d", rsp.StatusCode)
	}
}

// [TT-MEDIA-6]: one user may have so many uploads begun.
func TestManyPartialUploads(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Tuning.Partials = 2 })
	first := w.ticket("a", 5, "")
	for _, ticket := range []string{first, w.ticket("b", 5, "")} {
		if status, _ := w.send(ticket, 0, strings.NewReader("12")); status != 202 {
			t.Fatal(status)
		}
	}
	third := w.ticket("c", 5, "")
	if status, got := w.send(third, 0, strings.NewReader("12")); status != 429 || got["code"] != "rate_limited" {
		t.Errorf("the third: %d %v", status, got)
	}
	if status, _ := w.send(first, 2, strings.NewReader("345")); status != 200 {
		t.Error("the first does not go on")
	}
	if status, _ := w.send(third, 0, strings.NewReader("12345")); status != 200 {
		t.Errorf("the third, after the first: %d", status)
	}
}

// [TT-MEDIA-8]: a photo is stored without where it was made; what was received counts for the offset.
func TestUploadIsCleaned(t *testing.T) {
	w := newWorld(t, nil)
	plain := picturePNG(t, 50, 40)
	note := append([]byte("\x00\x00\x00\x0btEXt"), "where\x00there1234"...)
	content := append(append(append([]byte(nil), plain[:33]...), note...), plain[33:]...)
	ticket := w.ticket("a.png", len(content), "image/png")
	if status, got := w.send(ticket, 0, bytes.NewReader(content[:45])); status != 202 || got["offset"] != float64(45) {
		t.Fatalf("%d %v", status, got)
	}
	status, got := w.send(ticket, 45, bytes.NewReader(content[45:]))
	if status != 200 || got["sha256"] != fmt.Sprintf("%x", sha256.Sum256(plain)) || got["width"] != float64(50) || got["height"] != float64(40) || got["type"] != "image/png" {
		t.Errorf("%d %v", status, got)
	}
}

// post begins an upload on a connection of its own, with a body of n bytes that the caller sends.
func post(t *testing.T, w *world, ticket string, offset, n int) net.Conn {
	t.Helper()
	conn, err := w.conns.dial()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\n%s: %d\r\nContent-Length: %d\r\n\r\n", ticket, offsetHeader, offset, n); err != nil {
		t.Fatal(err)
	}
	return conn
}

func readAnswer(t *testing.T, conn net.Conn) (int, string) {
	t.Helper()
	rsp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer rsp.Body.Close()
	b, err := io.ReadAll(rsp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return rsp.StatusCode, string(b)
}

// [TT-MSFS-9]: a large upload on a slow network takes its time, far more than a request has otherwise; one that stalls is told where to go on.
func TestSlowUpload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		const size = 1 << 20
		ticket := w.ticket("film.mp4", size, "")
		began := time.Now()
		conn := post(t, w, ticket, 0, size)
		part := make([]byte, 8<<10)
		for sent := 0; sent < size/2; sent += len(part) {
			time.Sleep(10 * time.Second)
			if _, err := conn.Write(part); err != nil {
				t.Fatalf("after %v: %v", time.Since(began), err)
			}
		}
		if took := time.Since(began); took < 10*time.Minute {
			t.Fatalf("too fast to show anything: %v", took)
		}
		stalled := time.Now()
		status, body := readAnswer(t, conn)
		if took := time.Since(stalled); status != 408 || w.object([]byte(body))["offset"] != float64(size/2) || took > 31*time.Second {
			t.Errorf("after a stall of %v: %d %s", took, status, body)
		}
		conn.Close()
		if status, got := w.send(ticket, size/2, bytes.NewReader(make([]byte, size/2))); status != 200 {
			t.Errorf("%d %v", status, got)
		}
		w.store.checkClean(t)
		w.end()
	})
}

// [TT-MSFS-9]: a byte now and then is a stall, too.
func TestDrippingUpload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		conn := post(t, w, w.ticket("a", 1000, ""), 0, 1000)
		began, dried := time.Now(), make(chan struct{})
		go func() { // ends when nothing is taken any more; waited for below
			defer close(dried)
			for {
				time.Sleep(time.Second)
				if _, err := conn.Write([]byte("x")); err != nil {
					return
				}
			}
		}()
		if status, body := readAnswer(t, conn); status != 408 || time.Since(began) > 31*time.Second {
			t.Errorf("after %v: %d %s", time.Since(began), status, body)
		}
		conn.Close()
		<-dried
		w.end()
	})
}

// [TT-MEDIA-5]: who begins anew does not wait for a connection of his that is dead without the server knowing.
func TestTakeOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		ticket := w.ticket("a", 10, "")
		dead := post(t, w, ticket, 0, 10)
		_, _ = dead.Write([]byte("0123"))
		synctest.Wait()
		read := make(chan struct{})
		go func() { // ends with the connection; waited for below
			defer close(read)
			_, _ = io.Copy(io.Discard, dead)
		}()
		began := time.Now()
		if status, got := w.send(ticket, 4, strings.NewReader("456789")); status != 200 || time.Since(began) > time.Second {
			t.Errorf("after %v: %d %v", time.Since(began), status, got)
		}
		dead.Close()
		<-read
		w.store.checkClean(t)
		w.end()
	})
}

// [TT-MEDIA-6]: what nobody goes on with is removed after an hour, what is complete is no longer told, and a stop leaves nothing.
func TestPartialUploadsGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan struct{})
		go func() { defer close(ran); _ = w.handler.Run(ctx) }() // ends with ctx
		left, goes := w.ticket("a", 10, ""), w.ticket("b", 10, "")
		w.send(left, 0, strings.NewReader("123"))
		w.send(goes, 0, strings.NewReader("123"))
		time.Sleep(50 * time.Minute)
		w.send(goes, 3, strings.NewReader("456"))
		time.Sleep(20 * time.Minute)
		if _, b := w.do("GET", left, nil, nil); w.object(b)["offset"] != 0.0 {
			t.Errorf("the one left behind: %s", b)
		}
		if _, b := w.do("GET", goes, nil, nil); w.object(b)["offset"] != 6.0 {
			t.Errorf("the other one: %s", b)
		}
		if w.store.begun() != 1 {
			t.Errorf("%d drafts", w.store.begun())
		}
		if status, _ := w.send(left, 3, strings.NewReader("4567890")); status != 409 {
			t.Errorf("goes on where it was: %d", status)
		}
		time.Sleep(5 * time.Minute)
		cancel()
		<-ran
		w.store.checkClean(t)
		w.end()
	})
}

// Uploads of one ticket at the same time come to one blob or are told the offset, whatever their order.
func TestUploadsAtOnce(t *testing.T) {
	w := newWorld(t, nil)
	content := bytes.Repeat([]byte("x"), 100_000)
	ticket := w.ticket("a", len(content), "")
	statuses := make(chan int)
	for range 4 {
		go func() { // ends with the answer
			r, _ := http.NewRequestWithContext(t.Context(), "POST", "http://x"+ticket, bytes.NewReader(content))
			rsp, err := w.client.Do(r)
			if err != nil {
				statuses <- 0 // interrupted while it still sent
				return
			}
			rsp.Body.Close()
			statuses <- rsp.StatusCode
		}()
	}
	for range 4 {
		switch s := <-statuses; s {
		case 0, 200, 202, 408, 409:
		default:
			t.Errorf("status %d", s)
		}
	}
	offset := 0
	if _, b := w.do("GET", ticket, nil, nil); w.object(b)["offset"] != nil {
		offset = int(w.object(b)["offset"].(float64))
	}
	if status, got := w.send(ticket, offset, bytes.NewReader(content[offset:])); status != 200 || got["sha256"] != fmt.Sprintf("%x", sha256.Sum256(content)) {
		t.Errorf("%d %v", status, got)
	}
	w.store.checkClean(t)
}

// [TT-MSFS-9]: the same over HTTP/2, where a request has deadlines of its own.
func TestSlowOverHTTP2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.useHTTP2()
		const size = 1 << 20
		began := time.Now()
		slow, drip := io.Pipe()
		go func() { // ends with the body
			part := make([]byte, 8<<10)
			for sent := 0; sent < size; sent += len(part) {
				time.Sleep(5 * time.Second)
				if _, err := drip.Write(part); err != nil {
					return
				}
			}
			_ = drip.Close()
		}()
		rsp, b := w.do("POST", w.ticket("a.bin", size, ""), nil, slow)
		if rsp.StatusCode != 200 || rsp.ProtoMajor != 2 || time.Since(began) < 10*time.Minute {
			t.Fatalf("%s after %v: %d %s", rsp.Proto, time.Since(began), rsp.StatusCode, b)
		}
		stalled, stop := io.Pipe()
		go func() { _, _ = stop.Write([]byte("x")) }() // ends at once
		began = time.Now()
		rsp, b = w.do("POST", w.ticket("b.bin", size, ""), nil, stalled)
		if rsp.StatusCode != 408 || w.object(b)["offset"] != 1.0 || time.Since(began) > 31*time.Second {
			t.Errorf("after %v: %d %s", time.Since(began), rsp.StatusCode, b)
		}
		_ = stop.Close()
		w.downloadSlowly(t, 12<<20)
		w.end()
	})
}

// downloadSlowly fetches content for far longer than an answer may take otherwise.
func (w *world) downloadSlowly(t *testing.T, size int) {
	t.Helper()
	ticket := w.ticket("c.bin", size, "")
	_, got := w.send(ticket, 0, bytes.NewReader(make([]byte, size)))
	r, err := http.NewRequestWithContext(t.Context(), "GET", "http://x/"+got["path"].(string), nil)
	if err != nil {
		t.Fatal(err)
	}
	rsp, err := w.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer rsp.Body.Close()
	began := time.Now()
	for all := 0; all < size; {
		<-time.After(10 * time.Second)
		n, err := io.CopyN(io.Discard, rsp.Body, 64<<10)
		if all += int(n); err != nil {
			t.Fatalf("after %v and %d bytes: %v", time.Since(began), all, err)
		}
	}
	if took := time.Since(began); took < 10*time.Minute {
		t.Errorf("too fast to show anything: %v", took)
	}
}

// farStore takes its time for what is to be kept.
type farStore struct {
	*fakeStore
	takes time.Duration
}

func (s *farStore) Keep(ctx context.Context, d Draft, b protocol.Blob) (protocol.Blob, error) {
	select {
	case <-time.After(s.takes):
	case <-ctx.Done():
		return protocol.Blob{}, ctx.Err()
	}
	return s.fakeStore.Keep(ctx, d, b)
}

// A store elsewhere gets the content only when it is recorded: the time for that grows with the size.
func TestFarStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		far := &farStore{}
		w := newWorld(t, func(c *Config) {
			far.fakeStore = c.Store.(*fakeStore)
			c.Store = far
		})
		content := make([]byte, 5<<20)
		far.takes = w.handler.cfg.Tuning.KeepWithin + time.Duration(len(content)/keepSlowest-1)*time.Second
		if status, got := w.send(w.ticket("a.bin", len(content), ""), 0, bytes.NewReader(content)); status != http.StatusOK {
			t.Errorf("upload: %d %v", status, got)
		}
		if code, path, _ := w.form("a.bin", content); code != 0 || path == "" {
			t.Errorf("form: %d %q", code, path)
		}
		far.takes = time.Hour
		if status, got := w.send(w.ticket("b.bin", len(content), ""), 0, bytes.NewReader(content)); status < http.StatusInternalServerError {
			t.Errorf("a store that never ends: %d %v", status, got)
		}
		w.end()
	})
}
